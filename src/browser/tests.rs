#![allow(clippy::unwrap_used)]
use super::*;
use crate::edge::kernels::Kernels;
use crate::recognise::{Exported, Loaded, Rule, Shots};
use crate::tower::{SHIPPED, TowerSpec};
use ndarray::Array2;

fn tower() -> Tower {
    Tower::open(SHIPPED[0].bytes, Kernels::best()).unwrap()
}

/// A picture of noise, `[C, S, S]`.
fn picture(spec: &TowerSpec, seed: usize) -> Vec<u8> {
    let how = &spec.preprocessing;
    (0..how.channels() * how.size() * how.size()).map(|i| ((i * (seed + 7)) % 251) as u8).collect()
}

/// A gallery of two pictures.
fn gallery(tower: &mut Tower) -> Vec<u8> {
    let spec = tower.spec().clone();
    let rows: Vec<f32> = (0..2).flat_map(|seed| tower.embed(&picture(&spec, seed)).unwrap()).collect();
    let embeddings = Array2::from_shape_vec((2, spec.dim), rows).unwrap();
    let known = Loaded { labels: vec!["a".into(), "b".into()], embeddings, classes: vec![0, 1] };
    let rule = Some(Rule::distance(0.0));
    Exported::new("g".into(), &spec, Shots::Best, rule, known).write(spec.kind).unwrap()
}

#[test]
fn shipped_exact_towers_run_without_tract_and_give_the_same_bits_by_all_kernels() {
    for shipped in SHIPPED.iter().filter(|shipped| shipped.name.ends_with("-exact")) {
        let mut rows = Kernels::all().into_iter().map(|kernels| {
            let mut tower = Tower::open(shipped.bytes, kernels).unwrap();
            let input = picture(&tower.spec().clone(), 3);
            tower.embed(&input).unwrap()
        });
        let first = rows.next().unwrap();
        assert!(first.iter().any(|&x| x != 0.0) && rows.all(|row| row == first), "{}", shipped.name);
    }
}

#[test]
fn a_desk_gives_what_it_opened_by_number() {
    let mut desk = Desk::default();
    let (mut opened, file) = (tower(), SHIPPED[0].bytes);
    let spec = opened.spec().clone();
    let known = gallery(&mut opened);
    assert!(String::from_utf8(desk.about().unwrap().bytes).unwrap().contains("portable"));
    assert_eq!([(); 2].map(|()| desk.open_tower(file, 0).unwrap().number), [0, 1]);
    let about = desk.open_gallery(1, &known).unwrap();
    assert_eq!(about.number, 0);
    assert!(
        String::from_utf8(about.bytes).unwrap().contains("\"classes\":[{\"label\":\"a\",\"examples\":1}")
    );
    let rgba = vec![200; 4 * 5 * 9];
    let seen = desk.see(1, 5, 9, &rgba).unwrap().bytes;
    assert_eq!(seen, opened.see(5, 9, &rgba).unwrap());
    for (seed, label) in [(1, "\"b\""), (5, "null")] {
        let embedding = desk.embed(1, &picture(&spec, seed)).unwrap().bytes;
        let answer = String::from_utf8(desk.answer(0, 1, &embedding).unwrap().bytes).unwrap();
        assert!(answer.starts_with(&format!("{{\"label\":{label}")), "{answer}");
    }
    desk.close_tower(0);
    assert!(desk.see(0, 5, 9, &rgba).unwrap_err().to_string().contains("nothing that is open"));
    assert_eq!(desk.open_tower(file, 0).unwrap().number, 0);
    desk.close_gallery(0);
    assert!(desk.answer(0, 1, &[]).is_err());
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut desk = Desk::default();
    assert!(desk.open_tower(SHIPPED[0].bytes, 99).is_err());
    assert!(desk.open_tower(&SHIPPED[0].bytes[..900], 0).unwrap_err().to_string().contains("cut off"));
    let mut opened = tower();
    assert!(opened.embed(&[1, 2]).unwrap_err().to_string().contains("has 2 numbers"));
    let known = gallery(&mut opened);
    let gallery = Gallery::open(&known, opened.spec()).unwrap();
    assert!(gallery.answer(&[0.0], 1).unwrap_err().to_string().contains("has 1 numbers"));
    let another = Tower::open(SHIPPED[1].bytes, Kernels::best()).unwrap();
    assert!(Gallery::open(&known, another.spec()).err().unwrap().to_string().contains("not to"));
}
