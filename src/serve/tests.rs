#![allow(clippy::unwrap_used)]
use super::*;
use crate::gallery::{Example, Gallery, Limit, Location, PairThreshold, Shots};
use crate::runtime::{Embedder as _, MockEmbedder, TRACT};
use std::path::Path;
use std::sync::Arc;

const OPTIONS: Options =
    Options { shots: Shots::Best, limit: Limit::Calibrated, exact: false, editable: true };

const ASKED: Asked = Asked { top: 5, with_ink: false, limit: None, second_look: None };

struct Setup {
    dir: tempfile::TempDir,
}

impl Setup {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn location(&self) -> Location {
        self.dir.path().join("g").as_path().into()
    }

    fn gallery(&self) -> Gallery {
        Gallery::create(&self.location(), MockEmbedder::new(8, 4).spec(), Path::new("t.onnx")).unwrap()
    }

    fn recogniser(&self, options: Options) -> crate::Result<Recogniser> {
        Recogniser::new(self.gallery(), Box::new(MockEmbedder::new(8, 4)), &TRACT, options)
    }
}

/// A picture with a bar at a row, as a PNG.
fn bar(row: u32) -> Vec<u8> {
    let picture =
        image::GrayImage::from_fn(8, 8, |x, y| image::Luma([if y == row && x > 0 { 0 } else { 255 }]));
    let mut png = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
    png.into_inner()
}

fn enroll(recogniser: &Recogniser, label: &str, row: u32) -> u64 {
    recogniser.enroll(&bar(row), label.into(), format!("row {row}")).unwrap().added
}

fn ask(recogniser: &Recogniser, row: u32) -> Recognised {
    recogniser.classify(&bar(row), ASKED).unwrap()
}

fn label(recogniser: &Recogniser, row: u32) -> Option<String> {
    ask(recogniser, row).answered.answer.label
}

#[test]
fn what_is_enrolled_is_known_at_once() {
    let setup = Setup::new();
    let recogniser = setup.recogniser(OPTIONS).unwrap();
    assert!(matches!(recogniser.classify(&bar(2), ASKED), Err(RequestError::NotYet(_))));
    assert_eq!((enroll(&recogniser, "two", 2), enroll(&recogniser, "two", 2)), (1, 0));
    enroll(&recogniser, "five", 5);
    let found = recogniser
        .classify(&bar(5), Asked { top: 1, with_ink: true, limit: None, second_look: None })
        .unwrap();
    assert_eq!((found.answered.answer.label.as_deref(), found.answered.answer.distance), (Some("five"), 0.0));
    assert_eq!(found.answered.answer.nearest.len(), 1);
    assert!(found.ink.unwrap().starts_with("data:image/png;base64,"));
    assert_eq!(recogniser.remove("five".into(), None).unwrap(), 1);
    assert_eq!(label(&recogniser, 5).as_deref(), Some("two"));
    assert!(matches!(recogniser.remove("five".into(), None), Err(RequestError::Absent(_))));
    assert!(matches!(recogniser.remove("two".into(), Some("row 9")), Err(RequestError::Absent(_))));
}

#[test]
fn what_others_do_to_the_file_counts_from_the_next_request_on() {
    let setup = Setup::new();
    let recogniser = setup.recogniser(OPTIONS).unwrap();
    enroll(&recogniser, "two", 2);
    assert_eq!(label(&recogniser, 6).as_deref(), Some("two"));
    let embedding = recogniser.embed(&bar(6)).unwrap();
    let example = Example { label: "six".into(), embedding, source: "elsewhere".into(), added_unix_s: None };
    let mut other = Gallery::open(&setup.location()).unwrap();
    other.enroll(&[example]).unwrap();
    assert_eq!(label(&recogniser, 6).as_deref(), Some("six"));
    other.set_threshold(threshold(0.0)).unwrap();
    assert_eq!((label(&recogniser, 6).as_deref(), label(&recogniser, 7)), (Some("six"), None));
    let told = serde_json::to_value(recogniser.told().unwrap()).unwrap();
    assert_eq!((&told["threshold"], &told["classes"][1]["label"]), (&0.0.into(), &"six".into()));
}

fn threshold(distance: f32) -> PairThreshold {
    PairThreshold {
        distance,
        chosen_at: "test".into(),
        data: "none".into(),
        same_pairs: 1,
        different_pairs: 1,
        true_accept_rate: 1.0,
        false_accept_rate: 0.0,
        calibrated_unix_s: 0,
    }
}

#[test]
fn a_fixed_limit_stands_whatever_was_calibrated() {
    let setup = Setup::new();
    setup.gallery().set_threshold(threshold(1e9)).unwrap();
    let recogniser = setup.recogniser(Options { limit: Limit::At(0.0), ..OPTIONS }).unwrap();
    enroll(&recogniser, "two", 2);
    assert_eq!((label(&recogniser, 2).as_deref(), label(&recogniser, 3)), (Some("two"), None));
}

#[test]
fn what_cannot_be_used_changes_nothing() {
    let setup = Setup::new();
    let recogniser = setup.recogniser(OPTIONS).unwrap();
    for (picture, label) in [(b"no picture".to_vec(), "a"), (bar(1), ""), (bar(1), "two\nlines")] {
        let refused = recogniser.enroll(&picture, label.into(), "s".into());
        assert!(matches!(refused, Err(RequestError::Request(_))), "{label:?}: {refused:?}");
    }
    assert!(matches!(recogniser.embed(&bar(1)[..40]), Err(RequestError::Request(_))));
    assert_eq!(serde_json::to_value(recogniser.told().unwrap()).unwrap()["classes"], serde_json::json!([]));
}

#[test]
fn a_gallery_that_cannot_answer_as_asked_is_refused_at_the_start() {
    let setup = Setup::new();
    enroll(&setup.recogniser(OPTIONS).unwrap(), "two", 2);
    let said = setup.recogniser(Options { shots: Shots::First(3), ..OPTIONS }).err().unwrap().to_string();
    assert!(said.contains("1 of the 3 examples"), "{said}");
    let other = Box::new(MockEmbedder::new(8, 5));
    let said = Recogniser::new(setup.gallery(), other, &TRACT, OPTIONS).err().unwrap().to_string();
    assert!(said.contains("belongs to the tower"), "{said}");
}

#[test]
fn many_at_a_time_get_the_answers_of_one_at_a_time() {
    let setup = Setup::new();
    let recogniser = Arc::new(setup.recogniser(OPTIONS).unwrap());
    for row in 0..8 {
        enroll(&recogniser, &row.to_string(), row);
    }
    let ask = |row: u32| {
        let recogniser = Arc::clone(&recogniser);
        std::thread::spawn(move || (row, label(&recogniser, row)))
    };
    let asked: Vec<_> = (0..64).map(|i| ask(i % 8)).collect();
    for answer in asked {
        let (row, found) = answer.join().unwrap();
        assert_eq!(found, Some(row.to_string()));
    }
}

#[test]
fn a_changed_gallery_is_told_of_and_calibrated_again_where_it_does_so_by_itself() {
    let setup = Setup::new();
    let recogniser = setup.recogniser(OPTIONS).unwrap();
    for row in 0..5 {
        enroll(&recogniser, &row.to_string(), row);
    }
    let stale = || ask(&recogniser, 6).by.stale;
    let doubted = || !serde_json::to_value(recogniser.told().unwrap()).unwrap()["doubts"].is_null();
    assert_eq!((stale(), doubted()), (false, false));
    let mut other = Gallery::open(&setup.location()).unwrap();
    other.calibrate(Some(0.5)).unwrap();
    assert_eq!((stale(), doubted()), (false, false));
    enroll(&recogniser, "5", 5);
    assert_eq!((stale(), doubted()), (true, true));
    other.set_calibrates_itself(true).unwrap();
    assert_eq!((stale(), doubted()), (false, false));
    enroll(&recogniser, "7", 7);
    assert_eq!((stale(), doubted()), (false, false));
}
