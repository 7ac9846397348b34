#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::data::Class;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A set whose image `i` has the level `i + 1` in a corner's pixel: (classes of each alphabet) ×
/// `drawers` drawings.
fn set(alphabets: &[usize], drawers: usize, side: usize) -> Dataset {
    let classes: Vec<Class> = (0..alphabets.len())
        .flat_map(|a| (0..alphabets[a]).map(move |c| Class { name: format!("c{c}"), alphabet: a as u32 }))
        .collect();
    let n = classes.len() * drawers;
    let images = Array4::from_shape_fn((n, 1, side, side), |(i, _, y, x)| {
        ((i * 31 + y * side + x) % 251) as u8 + if (y, x) == (0, 0) { 1 } else { 0 }
    });
    Dataset {
        name: "made up".into(),
        images,
        labels: (0..n).map(|i| (i / drawers) as u32).collect(),
        classes,
        alphabets: (0..alphabets.len()).map(|a| format!("a{a}")).collect(),
        drawers: (0..n).map(|i| (i % drawers) as u16).collect(),
        sources: vec![String::new(); n],
    }
}

fn distorted() -> Augment {
    Augment {
        rotate: 20.0,
        scale: 0.2,
        shear: 0.2,
        shift: 0.1,
        elastic: 0.05,
        thickness: 1.0,
        probability: 0.9,
        ..Augment::default()
    }
}

fn kinds() -> Vec<Sampling> {
    vec![
        Sampling::ZippedPairs { batch: 9 },
        Sampling::ListedPairs { batch: 9, n_samples: 40 },
        Sampling::Images { batch: 11, turns: 4, flips: true },
        Sampling::Classes {
            classes: 5,
            drawings: 3,
            turns: 4,
            flips: false,
            within: 0.5,
            different_makers: false,
        },
        Sampling::Episodes { way: 4, shot: 2, queries: 3, turns: 4, within: 0.5 },
    ]
}

fn picks(sampling: &Sampling, data: &Dataset, seed: u64, k: u64) -> (Vec<Pick>, Targets) {
    match *sampling {
        Sampling::ListedPairs { batch, n_samples } => {
            ListedPairs::new(data, batch, n_samples, seed).unwrap().plan(k)
        }
        Sampling::Images { batch, turns, flips } => {
            Images::new(data, batch, Variants::new(turns, flips).unwrap(), seed).unwrap().plan(k)
        }
        Sampling::Classes { classes, drawings, turns, flips, within, .. } => {
            let variants = Variants::new(turns, flips).unwrap();
            Classes::new(data, (classes, drawings), variants, within, seed).unwrap().plan(k)
        }
        _ => unreachable!("not asked for here"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn batches_are_pure_functions_of_seed_and_number(seed: u64, k in 0u64..1_000_000, threads in 2usize..6) {
        let data = Arc::new(set(&[5, 7], 6, 12));
        let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        for kind in kinds() {
            let one = sampler(&kind, Some(&distorted()), data.clone(), seed).unwrap();
            let many = sampler(&kind, Some(&distorted()), data.clone(), seed).unwrap();
            let expected = pool(1).install(|| one.batch(k));
            // The second sampler has drawn others before, and from other threads.
            pool(threads).install(|| (0..4u64).into_par_iter().for_each(|j| drop(many.batch(k / 2 + j))));
            prop_assert_eq!(&pool(threads).install(|| many.batch(k)), &expected);
            prop_assert_eq!(expected.images.shape()[0], one.batch_images());
            prop_assert_ne!(one.batch(k + 1).images, expected.images);
        }
    }
}

#[test]
fn listed_pairs_are_the_seeds() {
    let data = set(&[4, 6], 20, 4);
    let plan = ListedPairs::new(&data, 32, 1900, 0).unwrap();
    type Pairs = Vec<(usize, usize, bool)>;
    let (similar, different): (Pairs, Pairs) = plan.list.iter().copied().partition(|p| p.2);
    assert_eq!((similar.len(), different.len()), (1900, 1900));
    let listed: BTreeSet<_> = similar.iter().map(|p| (p.0, p.1)).collect();
    assert_eq!(listed.len(), 1900, "190 pairs of each of ten characters, each once");
    assert!(similar.iter().all(|p| data.labels[p.0] == data.labels[p.1] && p.0 != p.1));
    assert!(different.iter().all(|p| data.labels[p.0] != data.labels[p.1]));

    // Dissimilar pairs: each of the 90 ordered pairs of characters about equally often.
    let mut counts = BTreeMap::<_, usize>::new();
    different.iter().for_each(|p| *counts.entry((data.labels[p.0], data.labels[p.1])).or_default() += 1);
    assert_eq!(counts.len(), 90);
    assert!(counts.values().all(|&n| (4..=45).contains(&n)), "mean 21: {counts:?}");

    // One epoch gives every pair once, with its target.
    let mut seen = Vec::new();
    let few = ListedPairs::new(&data, 8, 100, 3).unwrap();
    for k in 0..25 {
        let (picks, targets) = few.plan(k);
        let Targets::Same(same) = targets else { panic!("pairs have a target each") };
        for (i, &same) in same.iter().enumerate() {
            let (a, b) = (picks[i].image, picks[8 + i].image);
            assert_eq!(same == 1.0, data.labels[a] == data.labels[b]);
            seen.push((a, b, same == 1.0));
        }
    }
    let mut list = few.list.clone();
    seen.sort_unstable();
    list.sort_unstable();
    assert_eq!(seen, list);
}

#[test]
fn listed_pairs_say_what_they_can_give() {
    let data = set(&[4], 20, 4);
    let error = |n| ListedPairs::new(&data, 32, n, 0).err().unwrap().to_string();
    assert!(error(761).contains("n_samples is 761; it must be 1 to 760"), "{}", error(761));
    assert!(error(10).contains("batch of 32 pairs"));
}

#[test]
fn zipped_pairs_of_ten_classes_are_similar_one_time_in_ten() {
    let data = Arc::new(set(&[10], 60, 4));
    let sampler = sampler(&Sampling::ZippedPairs { batch: 100 }, None, data, 1).unwrap();
    let share: f32 = (0..200)
        .map(|k| match sampler.batch(k).targets {
            Targets::Same(same) => same.iter().sum::<f32>(),
            _ => panic!("pairs have a target each"),
        })
        .sum::<f32>()
        / 20_000.0;
    assert!((share - 0.1).abs() < 0.01, "{share}");
}

#[test]
fn turned_images_carry_their_own_labels() {
    let data = set(&[3, 2], 4, 5);
    let kind = Sampling::Images { batch: 20, turns: 4, flips: true };
    let sampler = sampler(&kind, None, Arc::new(data.clone()), 9).unwrap();
    assert_eq!(sampler.classes(), 40);
    let variants = Variants::new(4, true).unwrap();
    let mut seen = BTreeSet::new();
    for k in 0..8 {
        let (picks, _) = picks(&kind, &data, 9, k);
        let batch = sampler.batch(k);
        let Targets::Labels(labels) = batch.targets else { panic!("images have a label each") };
        for (i, pick) in picks.iter().enumerate() {
            let mut expected = vec![0; 25];
            variants.copy(pick.variant, 5, data.image(pick.image).as_slice().unwrap(), &mut expected);
            assert_eq!(batch.images.index_axis(ndarray::Axis(0), i).as_slice().unwrap(), expected);
            assert_eq!(labels[i] / 8, i64::from(data.labels[pick.image]));
            assert_eq!(labels[i] % 8, pick.variant as i64);
            seen.insert((pick.image, pick.variant));
        }
    }
    assert_eq!(seen.len(), 160, "an epoch is every variant of every image once");
}

#[test]
fn class_batches_hold_p_classes_of_k_drawings() {
    let data = set(&[5, 7, 3], 6, 4);
    for (within, k) in [0.0, 1.0].into_iter().flat_map(|w| (0..50).map(move |k| (w, k))) {
        let kind = Sampling::Classes {
            classes: 7,
            drawings: 3,
            turns: 4,
            flips: false,
            within,
            different_makers: false,
        };
        let (picks, targets) = picks(&kind, &data, 2, k);
        let Targets::Labels(labels) = targets else { panic!("images have a label each") };
        let images: BTreeSet<_> = picks.iter().map(|p| p.image).collect();
        assert_eq!(images.len(), 21, "no drawing twice");
        let mut turns = BTreeMap::<u32, BTreeSet<i64>>::new();
        for (pick, label) in picks.chunks(3).zip(labels.chunks(3)) {
            assert!(label.iter().all(|&l| l == label[0]), "class by class");
            assert_eq!(label[0] / 4, i64::from(data.labels[pick[0].image]));
            turns.entry(data.classes[label[0] as usize / 4].alphabet).or_default().insert(label[0] % 4);
        }
        let bases: BTreeSet<_> = labels.iter().map(|l| l / 4).collect();
        assert_eq!(bases.len(), 7, "never two variants of one class");
        if within == 1.0 {
            assert!(turns.len() <= 2, "7 classes are one whole alphabet of 7, or two alphabets");
            assert!(turns.values().all(|t| t.len() == 1), "an alphabet is turned as one");
        }
    }
}

#[test]
fn drawings_of_a_class_can_be_by_different_makers() {
    // Classes of 5 drawings by 3 makers: 0 0 1 1 2.
    let mut data = set(&[4, 5], 5, 4);
    data.drawers = [0, 0, 1, 1, 2].repeat(9);
    let mut seen = BTreeSet::new();
    for k in 0..80 {
        let kind = Sampling::Classes {
            classes: 4,
            drawings: 2,
            turns: 1,
            flips: false,
            within: 0.5,
            different_makers: true,
        };
        let batch = sampler(&kind, None, Arc::new(data.clone()), 3).unwrap().batch(k);
        let Targets::Labels(labels) = batch.targets else { panic!("images have a label each") };
        for (pair, labels) in batch.images.axis_chunks_iter(ndarray::Axis(0), 2).zip(labels.chunks(2)) {
            assert_eq!(labels[0], labels[1]);
            let which = |image: ndarray::ArrayView3<u8>| {
                (0..5).map(|i| 5 * labels[0] as usize + i).find(|&i| data.image(i) == image).unwrap()
            };
            let [a, b] = [0, 1].map(|i| which(pair.index_axis(ndarray::Axis(0), i)));
            assert_ne!(data.drawers[a], data.drawers[b], "batch {k}");
            seen.extend([a, b]);
        }
    }
    assert_eq!(seen.len(), 45, "every drawing is drawn");
    let kind = |drawings| Sampling::Classes {
        classes: 4,
        drawings,
        turns: 1,
        flips: false,
        within: 0.0,
        different_makers: true,
    };
    let why = sampler(&kind(4), None, Arc::new(data), 3).err().unwrap().to_string();
    assert!(why.contains("class a0/c0 is by 3") && why.contains("makers"), "{why}");
}

/// All distortions of pictures at once, whatever the threads and the order of batches.
#[test]
fn batches_of_colours_are_pure_functions_of_seed_and_number() {
    let mut data = set(&[3, 2], 4, 12);
    data.images =
        Array4::from_shape_fn((20, 3, 12, 12), |(i, c, y, x)| (i * 13 + c * 70 + y * 5 + x * 11) as u8);
    let how = Augment {
        rotate: 10.0,
        scale: 0.1,
        shift: 0.1,
        crop: 0.3,
        flip: 0.5,
        blur: 1.0,
        brightness: 0.3,
        contrast: 0.3,
        saturation: 0.5,
        hue: 30.0,
        grey: 0.2,
        erase: 0.2,
        probability: 0.9,
        ..Augment::default()
    };
    let kind = Sampling::Images { batch: 16, turns: 1, flips: false };
    let made = |threads: usize, numbers: &[u64]| -> Vec<Batch> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let sampler = sampler(&kind, Some(&how), Arc::new(data.clone()), 5).unwrap();
        pool.install(|| numbers.iter().map(|&k| sampler.batch(k)).collect())
    };
    let (forward, backward) = (made(1, &[0, 1, 2]), made(3, &[2, 1, 0]));
    assert!(forward.iter().eq(backward.iter().rev()));
    assert_ne!(forward[0].images, made(1, &[1])[0].images);
    // The pixels of one batch, as a number: it must not differ between machines.
    let hash =
        forward[0].images.iter().fold(0_u64, |h, &p| (h ^ u64::from(p)).wrapping_mul(0x0100_0000_01b3));
    assert_eq!(hash, 478_208_565_091_438_536);
}

#[test]
fn training_episodes_put_supports_before_queries() {
    let data = set(&[6, 6], 7, 4);
    let variants = Variants::new(4, false).unwrap();
    let classes = Classes::new(&data, (5, 7), variants, 1.0, 4).unwrap();
    let (picks, targets) = Episodes { classes, shot: 3 }.plan(8);
    assert_eq!((picks.len(), targets), (35, Targets::Episode));
    let class = |i: usize| (data.labels[picks[i].image], picks[i].variant);
    for c in 0..5 {
        let supports = (0..3).map(|j| class(3 * c + j));
        let queries = (0..4).map(|j| class(15 + 4 * c + j));
        assert!(supports.chain(queries).all(|x| x == class(3 * c)));
    }
    let images: BTreeSet<_> = picks.iter().map(|p| p.image).collect();
    assert_eq!(images.len(), 35);
}

fn spec(way: usize, shot: usize, queries: usize, within: bool) -> EpisodeSpec {
    EpisodeSpec { way, shot, queries, within, different_drawers: true }
}

#[test]
fn episodes_keep_classes_alphabets_and_drawers_apart() {
    let data = set(&[12, 25, 30], 20, 4);
    for (within, k) in [true, false].into_iter().flat_map(|w| (0..100).map(move |k| (w, k))) {
        let episode = episodes(&data, &spec(20, 2, 3, within), 7).unwrap().episode(k);
        let class = |i: usize| data.labels[i];
        let classes: Vec<_> = episode.supports.iter().map(|s| class(s[0])).collect();
        assert_eq!(classes.iter().collect::<BTreeSet<_>>().len(), 20);
        assert!(episode.supports.iter().all(|s| s.len() == 2 && s[0] != s[1] && class(s[0]) == class(s[1])));
        assert_eq!(episode.queries.len(), 60);
        assert!(episode.queries.iter().all(|&(image, place)| class(image) == classes[place]));
        assert_eq!(episode.queries.iter().map(|q| q.0).collect::<BTreeSet<_>>().len(), 60);
        let alphabets: BTreeSet<_> = classes.iter().map(|&c| data.classes[c as usize].alphabet).collect();
        assert!(!within || (alphabets.len() == 1 && !alphabets.contains(&0)), "{alphabets:?}");
        let drawers = |images: &mut dyn Iterator<Item = usize>| images.map(|i| data.drawers[i]).collect();
        let support: BTreeSet<u16> = drawers(&mut episode.supports.iter().flatten().copied());
        let query: BTreeSet<u16> = drawers(&mut episode.queries.iter().map(|q| q.0));
        assert_eq!((support.len(), query.len()), (2, 3));
        assert!(support.is_disjoint(&query));
    }
}

#[test]
fn episodes_visit_classes_and_drawers_evenly() {
    let data = set(&[10, 10], 5, 2);
    let sampler = episodes(&data, &spec(5, 1, 1, true), 0).unwrap();
    let mut counts = vec![0; data.len()];
    (0..4000).for_each(|k| sampler.episode(k).supports.iter().for_each(|s| counts[s[0]] += 1));
    let mean = 4000.0 * 5.0 / 100.0;
    let chi2: f64 = counts.iter().map(|&n| (f64::from(n) - mean).powi(2) / mean).sum();
    // 99 degrees of freedom; the draws within an episode hang together by drawer, hence the room.
    assert!(chi2 < 400.0 && counts.iter().all(|&n| n > 100), "{chi2}");
}

#[test]
fn what_cannot_be_drawn_is_told_by_name() {
    let data = set(&[5, 7], 3, 4);
    let error = |spec: EpisodeSpec| episodes(&data, &spec, 0).err().unwrap().to_string();
    assert!(error(spec(13, 1, 1, false)).contains("there are 12 classes"));
    assert!(error(spec(8, 1, 1, true)).contains("the largest has 7 classes"));
    assert!(error(spec(5, 2, 2, true)).contains("class a0/c0 has 3 drawings"));
    assert!(error(spec(0, 2, 2, true)).contains("at least 1"));
    let mut hasty = data.clone();
    hasty.drawers = [0, 1, 1].repeat(12);
    let why = episodes(&hasty, &spec(5, 1, 2, true), 0).err().unwrap().to_string();
    assert!(why.contains("class a0/c0 may be left with 1 of 2"), "{why}");
    hasty.drawers = vec![0; 36];
    assert!(episodes(&hasty, &spec(5, 1, 2, true), 0).is_ok(), "the data does not tell drawers");

    let data = Arc::new(data);
    let refused = [
        (Sampling::Images { batch: 37, turns: 1, flips: false }, "37 images"),
        (Sampling::ZippedPairs { batch: 0 }, "0 images"),
        (Sampling::Images { batch: 4, turns: 3, flips: false }, "3 is not a number of turns"),
        (
            Sampling::Classes {
                classes: 13,
                drawings: 1,
                turns: 1,
                flips: false,
                within: 0.0,
                different_makers: false,
            },
            "13 classes",
        ),
        (
            Sampling::Classes {
                classes: 2,
                drawings: 4,
                turns: 1,
                flips: false,
                within: 0.0,
                different_makers: false,
            },
            "has 3 drawings",
        ),
        (
            Sampling::Classes {
                classes: 2,
                drawings: 2,
                turns: 1,
                flips: false,
                within: 1.5,
                different_makers: false,
            },
            "share",
        ),
        (Sampling::Episodes { way: 2, shot: 0, queries: 1, turns: 1, within: 0.0 }, "1 shot"),
    ];
    for (kind, needle) in refused {
        let why = sampler(&kind, None, data.clone(), 0).err().unwrap().to_string();
        assert!(why.contains(needle), "{needle:?} is not in {why:?}");
    }
    let wild = Augment { rotate: f32::NAN, ..Augment::default() };
    let kind = Sampling::Images { batch: 4, turns: 1, flips: false };
    assert!(sampler(&kind, Some(&wild), data, 0).err().unwrap().to_string().contains("augment.rotate"));
}

#[test]
fn masks_keep_their_share_and_scale_it() {
    let m = mask(3, 5, 1, &[64, 256], 0.75);
    assert!(m.iter().all(|&x| x == 0.0 || x == 1.0 / 0.75));
    let kept = m.iter().filter(|&&x| x > 0.0).count() as f64 / m.len() as f64;
    assert!((kept - 0.75).abs() < 0.015, "{kept}");
    assert_eq!(m, mask(3, 5, 1, &[64, 256], 0.75));
    for other in
        [mask(4, 5, 1, &[64, 256], 0.75), mask(3, 6, 1, &[64, 256], 0.75), mask(3, 5, 2, &[64, 256], 0.75)]
    {
        assert_ne!(m, other);
    }
    assert!(mask(0, 0, 0, &[3, 3], 1.0).iter().all(|&x| x == 1.0));
}
