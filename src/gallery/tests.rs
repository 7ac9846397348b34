#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::image::Preprocessing;
use crate::tower::{Distance, TowerKind};
use std::io::Read;
use std::process::{Command, Stdio};

pub(super) fn tower(kind: TowerKind, hash: &str) -> TowerSpec {
    TowerSpec {
        name: "test".into(),
        kind,
        preprocessing: Preprocessing::ink(8),
        dim: 4,
        distance: Distance::L2,
        batch: None,
        compatible_with: None,
        sha256: hash.repeat(32),
    }
}

pub(super) fn example(label: &str, source: &str, embedding: [f32; 4]) -> Example {
    Example { label: label.into(), embedding: embedding.into(), source: source.into(), added_unix_s: None }
}

pub(super) fn make(path: &Path, kind: TowerKind) -> Gallery {
    Gallery::create(&path.into(), &tower(kind, "ab"), Path::new("tower.onnx")).unwrap()
}

pub(super) fn open(path: &Path) -> Result<Gallery> {
    Gallery::open(&path.into())
}

pub(super) fn says(error: &Error, words: &str) {
    let text = format!("{error}");
    assert!(text.contains(words), "{text:?} does not say {words:?}");
}

#[test]
fn what_is_enrolled_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    for (kind, name) in [(TowerKind::Float, "float"), (TowerKind::Exact, "exact")] {
        let path = dir.path().join(name);
        let given = [
            example("b", "1.png", [1.0, -127.0, 3.0, 0.0]),
            example("ä b", "2.png", [127.0, 2.0, -3.0, 1.0]),
            example("b", "3.png", [0.0, 0.0, 0.0, 9.0]),
        ];
        let done = make(&path, kind).enroll(&given).unwrap();
        assert_eq!(done, Enrolled { added: 3, present: 0 });
        let mut gallery = open(&path).unwrap();
        let loaded = gallery.load().unwrap();
        assert_eq!(loaded.labels, ["b", "ä b"]);
        assert_eq!(loaded.classes, [0, 1, 0]);
        for (given, row) in given.iter().zip(loaded.embeddings.outer_iter()) {
            assert_eq!(given.embedding, row.to_vec());
        }
        // The same again changes nothing.
        assert_eq!(gallery.enroll(&given[..2]).unwrap(), Enrolled { added: 0, present: 2 });
        assert_eq!(gallery.classes().unwrap()[0].examples, 2);
    }
}

#[test]
fn classes_and_sources_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut gallery = make(&dir.path().join("g"), TowerKind::Float);
    let at = |x: f32| [x, 0.0, 0.0, 0.0];
    gallery
        .enroll(&[example("a", "1", at(1.0)), example("a", "2", at(2.0)), example("b", "3", at(3.0))])
        .unwrap();
    says(&gallery.remove(&["a".into(), "zz".into()], None).unwrap_err(), "no class \"zz\"");
    assert_eq!(gallery.remove(&["a".into()], Some("2")).unwrap(), 1);
    assert_eq!(gallery.load().unwrap().labels, ["a", "b"]);
    assert_eq!(gallery.remove(&["a".into()], None).unwrap(), 1);
    assert_eq!(gallery.load().unwrap().labels, ["b"]);
}

#[test]
fn galleries_of_one_tower_merge_and_others_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let at = |x: f32| [x, 0.0, 0.0, 0.0];
    let mut one = make(&dir.path().join("one"), TowerKind::Float);
    one.enroll(&[example("a", "1", at(1.0)), example("b", "2", at(2.0))]).unwrap();
    let mut two = make(&dir.path().join("two"), TowerKind::Float);
    two.enroll(&[example("b", "2", at(2.0)), example("c", "3", at(3.0))]).unwrap();
    assert_eq!(one.merge(&two).unwrap(), Enrolled { added: 1, present: 1 });
    assert_eq!(one.load().unwrap().labels, ["a", "b", "c"]);
    let other = tower(TowerKind::Float, "cd");
    let error = Gallery::create(one.location(), &other, Path::new("t")).err().unwrap();
    says(&error, &"ab".repeat(32));
    says(&error, &"cd".repeat(32));
    let third = Gallery::create(&dir.path().join("three").as_path().into(), &other, Path::new("t")).unwrap();
    says(&one.merge(&third).unwrap_err(), &"cd".repeat(32));
}

#[test]
fn what_cannot_be_kept_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut gallery = make(&dir.path().join("g"), TowerKind::Float);
    let good = example("good", "0", [0.0; 4]);
    let long = "x".repeat(10_240);
    let short = Example { embedding: vec![1.0], ..example("a", "short.png", [0.0; 4]) };
    for (bad, words) in [
        (example("two\nlines", "1", [0.0; 4]), "control character"),
        (example(&long, "1", [0.0; 4]), "10240 bytes"),
        (example("  ", "1", [0.0; 4]), "empty"),
        (example("a", "nan.png", [0.0, f32::NAN, 0.0, 0.0]), "nan.png"),
        (example("a", "inf.png", [0.0, 0.0, 0.0, f32::INFINITY]), "inf.png"),
        (short, "has 1 numbers"),
    ] {
        says(&gallery.enroll(&[good.clone(), bad]).unwrap_err(), words);
        assert!(gallery.load().unwrap().labels.is_empty());
    }
    let mut exact = make(&dir.path().join("e"), TowerKind::Exact);
    says(&exact.enroll(&[example("a", "half.png", [0.5, 0.0, 0.0, 0.0])]).unwrap_err(), "no whole number");
    says(&exact.enroll(&[example("a", "far.png", [128.0, 0.0, 0.0, 0.0])]).unwrap_err(), "±127");
}

#[test]
fn files_that_are_no_gallery_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let refused = |name: &str| open(&at(name)).err().unwrap();
    let mut gallery = make(&at("good"), TowerKind::Float);
    let many: Vec<Example> = (0..2000).map(|i| example("a", &i.to_string(), [i as f32; 4])).collect();
    gallery.enroll(&many).unwrap();
    drop(gallery);
    let bytes = std::fs::read(at("good")).unwrap();
    std::fs::write(at("empty"), b"").unwrap();
    std::fs::write(at("text"), b"not a database, but long enough to have a header".repeat(9)).unwrap();
    rusqlite::Connection::open(at("other")).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    says(&refused("absent"), "cannot open the gallery");
    says(&refused("empty"), "0 bytes");
    says(&refused("text"), "not a gallery");
    says(&refused("other"), "not a gallery");
    // Copied only in part, at many lengths.
    for part in 1..20 {
        std::fs::write(at("part"), &bytes[..bytes.len() * part / 20]).unwrap();
        let read = open(&at("part")).and_then(|g| g.load());
        says(&read.err().unwrap(), "part");
    }
    // A changed byte of an embedding.
    let needle = 1234.0_f32.to_le_bytes().repeat(4);
    let place = bytes.windows(16).position(|w| w == needle).unwrap();
    let mut changed = bytes.clone();
    changed[place] ^= 1;
    std::fs::write(at("changed"), &changed).unwrap();
    says(&open(&at("changed")).unwrap().load().err().unwrap(), "example 1235 is damaged");
}

#[test]
fn a_threshold_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut gallery = make(&dir.path().join("g"), TowerKind::Float);
    let threshold = PairThreshold {
        distance: 1.25,
        chosen_at: "equal error rate".into(),
        data: "test".into(),
        same_pairs: 10,
        different_pairs: 90,
        true_accept_rate: 0.9,
        false_accept_rate: 0.1,
        calibrated_unix_s: 5,
    };
    gallery.set_threshold(threshold.clone()).unwrap();
    assert_eq!(Gallery::open(gallery.location()).unwrap().facts().threshold, Some(threshold));
}

/// Galleries of before there was identification have a threshold by pairs: it serves, and is told of.
#[test]
fn a_gallery_with_a_threshold_by_pairs_still_opens() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("g");
    make(&path, TowerKind::Float).enroll(&[example("a", "1", [0.0; 4])]).unwrap();
    let old = r#"{"distance":1.5,"chosen_at":"equal error rate","data":"d","same_pairs":1,"different_pairs":2,
        "true_accept_rate":0.9,"false_accept_rate":0.1,"calibrated_unix_s":0}"#;
    let db = rusqlite::Connection::open(&path).unwrap();
    let json: String = db.query_row("SELECT json FROM facts", [], |row| row.get(0)).unwrap();
    let mut facts: serde_json::Value = serde_json::from_str(&json).unwrap();
    facts.as_object_mut().unwrap().remove("calibrates_itself");
    facts["threshold"] = serde_json::from_str(old).unwrap();
    db.execute("UPDATE facts SET json = ?1", [facts.to_string()]).unwrap();
    let gallery = open(&path).unwrap();
    assert_eq!(Limit::Calibrated.rule(gallery.facts()), Some(Rule::distance(1.5)));
    assert!(gallery.doubts().unwrap().unwrap().contains("by pairs"));
    assert!(!gallery.is_stale().unwrap());
}

#[test]
fn a_calibration_is_stale_as_soon_as_any_example_came_or_went() {
    let dir = tempfile::tempdir().unwrap();
    let mut gallery = make(&dir.path().join("g"), TowerKind::Float);
    let of = |class: usize, i: usize| {
        let at = [(class * class) as f32, class as f32, 0.1 * i as f32, 0.0];
        example(&class.to_string(), &format!("{class} {i}"), at)
    };
    let all: Vec<Example> = (0..6).flat_map(|class| (0..3).map(move |i| of(class, i))).collect();
    gallery.enroll(&all).unwrap();
    let found = gallery.calibrate(Some(0.3)).unwrap();
    assert!(found.classes == 6 && found.point.true_positives.is_some_and(|t| t.share > 0.0));
    assert!(!gallery.is_stale().unwrap());
    // The same embeddings under another label are something else.
    gallery.remove(&["5".into()], Some("5 2")).unwrap();
    assert!(gallery.is_stale().unwrap());
    gallery.enroll(&[Example { label: "4".into(), ..of(5, 2) }]).unwrap();
    assert!(gallery.is_stale().unwrap());
    // Asked for nothing else, it calibrates to what was asked before.
    assert_eq!(gallery.calibrate(None).unwrap().point.asked, 0.3);
    assert!(!open_at(&gallery).is_stale().unwrap());
    // Where it cannot, it keeps what it had.
    let kept = gallery.facts().identification.clone();
    gallery.remove(&["0".into(), "1".into(), "2".into(), "3".into()], None).unwrap();
    says(&gallery.calibrate(None).unwrap_err(), "has 2 classes");
    assert_eq!(open_at(&gallery).facts().identification, kept);
}

fn open_at(gallery: &Gallery) -> Gallery {
    Gallery::open(gallery.location()).unwrap()
}

/// Examples of one enrolment of the child below.
const BATCH: u64 = 37;

/// Not a test: the child of the next one. It enrolls until it is killed, and tells each enrolment
/// after it was committed.
#[test]
#[ignore = "the child process of another test"]
fn enrolling_child() {
    let Some(path) = std::env::var_os("SIAMESE_TEST_GALLERY") else { return };
    let mut gallery = make(Path::new(&path), TowerKind::Float);
    let from = gallery.classes().unwrap().iter().map(|e| e.examples).sum::<u64>() / BATCH;
    for batch in from.. {
        let source = |i: u64| format!("{batch} {i}");
        let examples: Vec<Example> =
            (0..BATCH).map(|i| example(&format!("class {}", i % 7), &source(i), [i as f32; 4])).collect();
        gallery.enroll(&examples).unwrap();
        println!("committed {}", batch + 1);
    }
}

/// Kills of the test below; `SIAMESE_KILLS=200` for the full number.
pub(super) fn kills() -> u64 {
    std::env::var("SIAMESE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(40)
}

/// These tests as a command; behind the words of `SIAMESE_TEST_RUNNER` where they are for another processor.
fn this_program() -> Command {
    let program = std::env::current_exe().unwrap();
    let runner = std::env::var("SIAMESE_TEST_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    let Some(first) = words.next() else { return Command::new(program) };
    let mut command = Command::new(first);
    command.args(words).arg(program);
    command
}

#[test]
fn a_kill_leaves_exactly_what_was_committed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gallery");
    let mut halves = 0;
    kill_children(&path, kills(), || halves += u64::from(dir.path().join("gallery-journal").exists()));
    eprintln!("{halves} of {} kills were in the middle of a transaction", kills());
}

/// Kills a process that enrolls, again and again: what it was told is there, and no half of an enrolment.
pub(super) fn kill_children(at: &Path, kills: u64, mut killed: impl FnMut()) {
    let mut rng = crate::random::stream(11, "kills", 0, 0);
    let mut before = 0;
    for kill in 0..kills {
        let mut child = this_program()
            .args(["--exact", "gallery::tests::enrolling_child", "--ignored", "--nocapture"])
            .env("SIAMESE_TEST_GALLERY", at)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // A random number of bytes of its output, then a spin of random length: any moment of a
        // transaction is hit.
        let mut told = vec![0; 20 + crate::random::below(&mut rng, 200)];
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut told).unwrap();
        for _ in 0..crate::random::below(&mut rng, 300_000) {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        out.read_to_end(&mut told).unwrap();
        let text = String::from_utf8(told).unwrap();
        let last = text.lines().rfind(|l| l.starts_with("committed ")).and_then(|l| l[10..].parse().ok());
        killed();
        let gallery = open(at).unwrap();
        let loaded = gallery.load().unwrap();
        let count = loaded.classes.len() as u64;
        assert_eq!(count % BATCH, 0, "kill {kill}: half an enrolment");
        let told: u64 = last.unwrap_or(before);
        assert!(
            count / BATCH == told || count / BATCH == told + 1,
            "kill {kill}: {told} told, {count} there"
        );
        before = count / BATCH;
    }
}

#[test]
fn two_processes_enroll_at_once_and_both_land() {
    let dir = tempfile::tempdir().unwrap();
    enroll_at_once(&dir.path().join("g"));
}

/// Several writers, each with its own connection, as processes have; the gallery is made by whoever is first.
pub(super) fn enroll_at_once(at: &Path) {
    std::thread::scope(|scope| {
        for writer in 0..4 {
            scope.spawn(move || {
                let mut gallery = make(at, TowerKind::Float);
                for i in 0..10 {
                    let name = format!("{writer} {i}");
                    gallery.enroll(&[example(&name, &name, [i as f32; 4])]).unwrap();
                }
            });
        }
    });
    assert_eq!(open(at).unwrap().load().unwrap().labels.len(), 40);
}
