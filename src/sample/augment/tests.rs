//! The distortions: what changes nothing, what keeps the ink, what is its own inverse.
#![allow(clippy::unwrap_used)]

use super::warp::{Shape, thicken};
use super::*;
use crate::random::stream;
use proptest::prelude::*;

fn drawing(side: usize) -> Vec<u8> {
    let mut plane = vec![0; side * side];
    for i in side / 4..3 * side / 4 {
        plane[i * side + side / 2] = 255;
        plane[(side / 3) * side + i] = 200;
    }
    plane
}

fn shapes(how: Augment, side: usize) -> impl Iterator<Item = Shape> {
    let distortion = Distortion::new(&Augment { probability: 1.0, ..how }, 1, side).unwrap();
    (0..50).map(move |i| distortion.draw(&mut stream(1, "test", i, 0)).unwrap().shape)
}

fn applied(shape: &Shape, from: &[u8]) -> Vec<u8> {
    let mut to = vec![0; from.len()];
    shape.ink(from, &mut to);
    to
}

proptest! {
    #[test]
    fn no_strength_changes_nothing(seed: u64, side in 1usize..40, salt: u8) {
        let how = Augment { probability: 1.0, ..Augment::default() };
        for channels in [1, 3] {
            let distortion = Distortion::new(&how, channels, side).unwrap();
            let drawn = distortion.draw(&mut stream(seed, "test", 0, 0)).unwrap();
            let image: Vec<u8> = (0..channels * side * side).map(|i| (i as u8).wrapping_mul(37) ^ salt).collect();
            let mut to = vec![0; image.len()];
            distortion.apply(&drawn, &image, &mut to);
            prop_assert_eq!(to, image);
        }
    }
}

#[test]
fn each_strength_changes_something_and_keeps_the_ink() {
    let plane = drawing(28);
    let ink = |p: &[u8]| p.iter().map(|&x| f64::from(x)).sum::<f64>();
    let none = Augment::default;
    let alone = [
        Augment { rotate: 15.0, ..none() },
        Augment { scale: 0.1, ..none() },
        Augment { shear: 0.2, ..none() },
        Augment { shift: 0.1, ..none() },
        Augment { elastic: 0.03, ..none() },
    ];
    for how in alone {
        for shape in shapes(how.clone(), 28) {
            let moved = applied(&shape, &plane);
            assert_ne!(moved, plane, "{how:?}");
            let ratio = ink(&moved) / ink(&plane);
            assert!((0.6..1.5).contains(&ratio), "{how:?}: {ratio}");
        }
    }
}

/// The moves of single pictures of colours, one strength at a time, `[3, S, S]`.
fn moved(how: Augment, side: usize, from: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let distortion = Distortion::new(&Augment { probability: 1.0, ..how }, 3, side).unwrap();
    (0..60).map(move |i| {
        let mut to = vec![0; from.len()];
        distortion.apply(&distortion.draw(&mut stream(2, "test", i, 0)).unwrap(), from, &mut to);
        to
    })
}

fn picture(side: usize) -> Vec<u8> {
    (0..3 * side * side).map(|i| (i * 29 % 251) as u8).collect()
}

#[test]
fn a_flip_is_its_own_inverse_and_comes_as_often_as_asked() {
    for side in [1, 2, 7, 8] {
        let from = picture(side);
        let mirror = |image: &[u8]| -> Vec<u8> {
            image.chunks_exact(side).flat_map(|row| row.iter().rev().copied()).collect()
        };
        for to in moved(Augment { flip: 1.0, ..Augment::default() }, side, &from) {
            assert_eq!(to, mirror(&from));
            assert_eq!(mirror(&to), from);
        }
    }
    let from = picture(9);
    let half = moved(Augment { flip: 0.5, ..Augment::default() }, 9, &from).filter(|to| *to != from).count();
    assert!((18..42).contains(&half), "{half} of 60");
    // Of ink too.
    let how = Augment { flip: 1.0, probability: 1.0, ..Augment::default() };
    let distortion = Distortion::new(&how, 1, 2).unwrap();
    let mut to = [0; 4];
    distortion.apply(&distortion.draw(&mut stream(0, "test", 0, 0)).unwrap(), &[1, 2, 3, 4], &mut to);
    assert_eq!(to, [2, 1, 4, 3]);
}

#[test]
fn crops_enlarge_a_part_and_bring_in_nothing_else() {
    // Red tells the column, green the row.
    let side = 32;
    let at = |channel: usize, y: usize, x: usize| (channel * side + y) * side + x;
    let mut from = vec![0; 3 * side * side];
    for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
        (from[at(0, y, x)], from[at(1, y, x)]) = (8 * x as u8, 8 * y as u8);
    }
    let mut least = 1.0_f64;
    for to in moved(Augment { crop: 0.75, ..Augment::default() }, side, &from) {
        let width = f64::from(to[at(0, 9, 31)] - to[at(0, 9, 0)]) / 8.0 + 1.0;
        let height = f64::from(to[at(1, 31, 9)] - to[at(1, 0, 9)]) / 8.0 + 1.0;
        let (share, ratio) = (width * height / 1024.0, width / height);
        assert!((0.22..=1.0).contains(&share) && (0.7..1.43).contains(&ratio), "{share} {ratio}");
        assert!(to[at(2, 0, 0)..].iter().all(|&level| level == 0), "the empty channel stays empty");
        least = least.min(share);
    }
    assert!(least < 0.4, "{least}");
}

#[test]
fn beside_a_picture_of_colours_its_edge_goes_on() {
    let from = vec![255; 3 * 16 * 16];
    let how = Augment { rotate: 90.0, shift: 0.5, scale: 0.5, elastic: 0.1, ..Augment::default() };
    assert!(moved(how, 16, &from).all(|to| to == from));
}

#[test]
fn each_strength_changes_a_picture() {
    let from = picture(16);
    let none = Augment::default;
    for how in [
        Augment { rotate: 20.0, ..none() },
        Augment { crop: 0.5, ..none() },
        Augment { blur: 1.5, ..none() },
        Augment { brightness: 0.5, ..none() },
        Augment { contrast: 0.5, ..none() },
        Augment { saturation: 0.9, ..none() },
        Augment { hue: 90.0, ..none() },
        Augment { grey: 1.0, ..none() },
        Augment { erase: 0.3, ..none() },
    ] {
        let changed = moved(how.clone(), 16, &from).filter(|to| *to != from).count();
        assert!(changed >= 45, "{how:?}: {changed} of 60");
        let once: Vec<_> = moved(how.clone(), 16, &from).collect();
        assert!(moved(how, 16, &from).eq(once), "a pure function of the stream");
    }
}

#[test]
fn strengths_that_do_not_fit_the_images_are_refused() {
    let why = |how: Augment, channels| Distortion::new(&how, channels, 8).unwrap_err().to_string();
    assert!(why(Augment { hue: 10.0, ..Augment::default() }, 1).contains("augment.hue: changes colours"));
    assert!(why(Augment { thickness: 1.0, ..Augment::default() }, 3).contains("augment.thickness"));
    assert!(
        why(Augment { crop: 1.0, ..Augment::default() }, 3)
            .contains("augment.crop: 1 must be from 0 to 0.99")
    );
    assert!(why(Augment { blur: f32::NAN, ..Augment::default() }, 3).contains("augment.blur"));
}

#[test]
fn a_shift_by_whole_pixels_moves_them() {
    let plane = drawing(16);
    let shape = Shape::shifted(16, [2.0, -1.0]);
    let moved = applied(&shape, &plane);
    for (y, x) in (1..16).flat_map(|y| (0..14).map(move |x| (y, x))) {
        assert_eq!(moved[y * 16 + x], plane[(y - 1) * 16 + x + 2]);
    }
    assert!(moved[..16].iter().all(|&p| p == 0), "paper comes in from outside");
}

#[test]
fn far_shifts_leave_paper() {
    let shape = Shape::shifted(8, [1e9, -1e9]);
    assert!(applied(&shape, &[255; 64]).iter().all(|&p| p == 0));
}

#[test]
fn thickness_adds_that_many_pixels_to_a_stroke() {
    let mut plane = vec![0; 21 * 21];
    (0..21).for_each(|y| (8..13).for_each(|x| plane[y * 21 + x] = 255));
    let width = |p: &[u8]| p[10 * 21..11 * 21].iter().map(|&x| f32::from(x)).sum::<f32>() / 255.0;
    for pixels in [-4.0, -1.5, -0.6, 0.5, 1.0, 2.0, 5.0] {
        let now = width(&thicken(&plane, 21, pixels));
        assert!((now - 5.0 - pixels).abs() < 0.05, "{pixels}: {now}");
    }
}

/// The pixels of one distortion, as a number: it must not differ between machines.
#[test]
fn distortions_are_the_same_on_every_machine() {
    let how = Augment {
        rotate: 20.0,
        scale: 0.2,
        shear: 0.3,
        shift: 0.1,
        elastic: 0.05,
        thickness: 1.0,
        probability: 1.0,
        ..Augment::default()
    };
    let hash = shapes(how, 28).fold(0u64, |hash, shape| {
        applied(&shape, &drawing(28))
            .iter()
            .fold(hash, |h, &p| (h ^ u64::from(p)).wrapping_mul(0x0100_0000_01b3))
    });
    assert_eq!(hash, 5_562_763_408_661_543_815);
}

#[test]
fn a_probability_of_nothing_distorts_nothing() {
    let none = Distortion::new(&Augment { rotate: 9.0, ..Augment::default() }, 1, 8).unwrap();
    assert!((0..100).all(|i| none.draw(&mut stream(0, "test", i, 0)).is_none()));
}
