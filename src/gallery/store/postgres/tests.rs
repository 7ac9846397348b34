//! Against a real server: `SIAMESE_POSTGRES` is the address of a database; `fixtures/postgres.sh` starts one.
#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::gallery::tests::{enroll_at_once, example, kill_children, kills, make, open, says, tower};
use crate::gallery::{Candidate, Classifier, Enrolled, Gallery, Shots};
use crate::random::{below, stream};
use crate::tower::{Distance, TowerKind, TowerSpec};
use ndarray::Array2;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// A gallery of this name, which is not there yet.
fn fresh(name: &str) -> PathBuf {
    let server = std::env::var("SIAMESE_POSTGRES").expect("SIAMESE_POSTGRES is the address of a database");
    let at = PathBuf::from(format!("{server}?gallery=test-{name}&application_name=test-{name}"));
    let schema = pool(&at).address.schema.clone();
    beside(&at, &format!("DROP SCHEMA IF EXISTS \"{schema}\" CASCADE"));
    at
}

fn pool(at: &Path) -> Pool {
    Pool::new(Address::of(&at.into()).unwrap())
}

/// Runs statements over a connection of one's own, under another name.
fn beside(at: &Path, sql: &str) {
    let mut pool = pool(at);
    pool.address.application = "beside".into();
    pool.run(|connection| connection.run(sql)).unwrap();
}

fn spec(kind: TowerKind, dim: usize, distance: &Distance) -> TowerSpec {
    TowerSpec { dim, distance: distance.clone(), ..tower(kind, "ab") }
}

/// Examples of few whole numbers, so that there are many ties, and some without a direction.
fn drawn(count: usize, classes: usize, dim: usize) -> Vec<Example> {
    let mut rng = stream(3, "postgres", count as u64, dim as u64);
    let mut each = |i: usize| {
        let embedding = (0..dim).map(|_| below(&mut rng, 3) as f32 - 1.0).collect();
        let label = format!("class {}", below(&mut rng, classes));
        Example { label, embedding, source: format!("{i}.png"), added_unix_s: Some(i as i64) }
    };
    (0..count).map(&mut each).collect()
}

#[test]
#[ignore = "needs a PostgreSQL server"]
fn postgres_answers_as_a_file_does() {
    let dir = tempfile::tempdir().unwrap();
    let dim = 5;
    let alpha = vec![-1.0, 0.5, -2.0, 0.0, -1.0];
    let distances = [Distance::L1, Distance::L2, Distance::Cosine, Distance::WeightedL1 { alpha }];
    for (i, distance) in distances.iter().enumerate() {
        for kind in [TowerKind::Exact, TowerKind::Float] {
            let spec = spec(kind, dim, distance);
            let name = format!("answers-{i}-{}", if kind == TowerKind::Exact { "exact" } else { "float" });
            let (file, address) = (dir.path().join(&name), fresh(&name));
            let mut file = Gallery::create(&file.as_path().into(), &spec, Path::new("t.onnx")).unwrap();
            let mut there = Gallery::create(&address.as_path().into(), &spec, Path::new("t.onnx")).unwrap();
            file.enroll(&drawn(400, 25, dim)).unwrap();
            // Both ways, and what is there already is told.
            assert_eq!(there.merge(&file).unwrap(), Enrolled { added: 400, present: 0 });
            let more = drawn(60, 40, dim);
            there.enroll(&more).unwrap();
            assert_eq!(there.enroll(&more).unwrap(), Enrolled { added: 0, present: 60 });
            let done = file.merge(&there).unwrap();
            assert_eq!((done.added, done.present), (60, 400));
            assert_eq!(file.load().unwrap(), there.load().unwrap());
            assert_eq!(file.classes().unwrap(), there.classes().unwrap());
            assert_eq!(file.examples().unwrap(), there.examples().unwrap());
            let queries = queries(dim);
            let answers = |gallery: &Gallery, exact: bool| {
                let known = gallery.known(Shots::Best, exact).unwrap();
                let classifier = Classifier::new(known, distance.clone(), Shots::Best, "g").unwrap();
                let answers = classifier.classify(queries.view(), 5, None).unwrap();
                (answers, classifier.recall().is_some())
            };
            let (expected, _) = answers(&file, false);
            assert_eq!(answers(&there, false), (expected.clone(), false));
            if matches!(distance, Distance::WeightedL1 { .. }) {
                says(&there.build_index(0.9).unwrap_err(), "weighted-l1");
                continue;
            }
            // A search as wide as the gallery is large finds all that a graph leads to.
            let index = there.build_index(2.0).unwrap();
            assert_eq!((index.ef_search, index.recall_at_1.share), (1000, 1.0), "{name}");
            assert_eq!(answers(&there, false), (expected.clone(), true), "{name}");
            assert_eq!(answers(&there, true), (expected.clone(), false));
            assert_eq!(answers(&open(&address).unwrap(), false).0, expected);
            there.drop_index().unwrap();
            assert_eq!(answers(&there, false), (expected, false));
        }
    }
}

/// Among them the examples' own kind, what lies between, and what has no direction.
fn queries(dim: usize) -> Array2<f32> {
    let mut rng = stream(4, "postgres queries", 0, 0);
    Array2::from_shape_fn((50, dim), |(i, _)| match i {
        0 => 0.0,
        1..25 => below(&mut rng, 3) as f32 - 1.0,
        _ => below(&mut rng, 40) as f32 / 10.0 - 2.0,
    })
}

/// A class of many examples hides the others from a search that asks for few.
#[test]
#[ignore = "needs a PostgreSQL server"]
fn postgres_finds_further_classes_behind_large_ones() {
    let at = fresh("behind");
    let mut gallery = make(&at, TowerKind::Float);
    let many = (0..3000).map(|i| example("near", &i.to_string(), [1.0 + 1e-4 * i as f32, 0.0, 0.0, 0.0]));
    let far = (0..7).map(|i| example(&format!("far {i}"), &i.to_string(), [100.0 + i as f32, 0.0, 0.0, 0.0]));
    gallery.enroll(&many.chain(far).collect::<Vec<_>>()).unwrap();
    gallery.build_index(2.0).unwrap();
    let known = gallery.known(Shots::Best, false).unwrap();
    let classifier = Classifier::new(known, Distance::L2, Shots::Best, "g").unwrap();
    for _ in 0..2 {
        let answers = classifier.classify(Array2::zeros((1, 4)).view(), 6, None).unwrap();
        let told = |Candidate { label, distance }: &Candidate| (label.clone(), *distance);
        let found: Vec<(String, f32)> = answers[0].nearest.iter().map(told).collect();
        let far = (0..5).map(|i| (format!("far {i}"), 100.0 + i as f32));
        assert_eq!(found, [("near".to_string(), 1.0)].into_iter().chain(far).collect::<Vec<_>>());
    }
}

/// Embeddings of more numbers than an index in float32 takes.
#[test]
#[ignore = "needs a PostgreSQL server"]
fn postgres_indexes_long_embeddings_in_half() {
    let (at, dim) = (fresh("half"), 2500);
    let spec = spec(TowerKind::Float, dim, &Distance::L2);
    let mut gallery = Gallery::create(&at.as_path().into(), &spec, Path::new("t")).unwrap();
    let of = |i: usize| Example {
        label: (i % 10).to_string(),
        embedding: (0..dim).map(|j| ((i * 31 + j * 7) % 97) as f32 / 97.0).collect(),
        source: i.to_string(),
        added_unix_s: None,
    };
    gallery.enroll(&(0..60).map(of).collect::<Vec<_>>()).unwrap();
    assert_eq!(gallery.build_index(0.99).unwrap().recall_at_1.share, 1.0);
    let asked = Array2::from_shape_vec((1, dim), of(17).embedding).unwrap();
    let known = gallery.known(Shots::Best, false).unwrap();
    let answers = Classifier::new(known, Distance::L2, Shots::Best, "g")
        .unwrap()
        .classify(asked.view(), 1, None)
        .unwrap();
    assert_eq!((answers[0].label.as_deref(), answers[0].distance), (Some("7"), 0.0));
    let too_long = TowerSpec { dim: 16_001, ..spec };
    let error = Gallery::create(&fresh("long").as_path().into(), &too_long, Path::new("t")).err().unwrap();
    says(&error, "at most 16000");
}

#[test]
#[ignore = "needs a PostgreSQL server"]
fn postgres_changes_by_others_are_seen_and_told() {
    let at = fresh("seen");
    let mut one = make(&at, TowerKind::Float);
    let mut two = open(&at).unwrap();
    let mut watcher = two.watch().unwrap().unwrap();
    let soon = Duration::from_secs(20);
    // That it listens from now on.
    assert!(watcher.wait(soon).unwrap());
    assert!(!watcher.wait(Duration::from_millis(1)).unwrap());
    assert!(!one.refresh().unwrap() && !two.refresh().unwrap());
    one.enroll(&[example("a", "1", [0.0; 4])]).unwrap();
    // One's own change is none by somebody else.
    assert!(!one.refresh().unwrap());
    assert!(watcher.wait(soon).unwrap());
    assert!(two.refresh().unwrap() && !two.refresh().unwrap());
    assert_eq!(two.load().unwrap().labels, ["a"]);
    two.set_calibrates_itself(true).unwrap();
    assert!(one.refresh().unwrap() && one.facts().calibrates_itself);
    // What changes nothing is no change.
    assert_eq!(two.enroll(&[example("a", "1", [0.0; 4])]).unwrap(), Enrolled { added: 0, present: 1 });
    assert!(!one.refresh().unwrap());
    assert_eq!(two.remove(&["a".into()], None).unwrap(), 1);
    assert!(one.refresh().unwrap() && one.load().unwrap().labels.is_empty());
    assert!(two.remove(&["a".into()], None).is_err());
}

#[test]
#[ignore = "needs a PostgreSQL server"]
fn postgres_galleries_of_a_database_are_apart_and_of_one_tower() {
    let (one, two) = (fresh("apart-1"), fresh("apart-2"));
    says(&open(&one).err().unwrap(), "there is none");
    assert!(Gallery::find(&one.as_path().into()).unwrap().is_none());
    make(&one, TowerKind::Float).enroll(&[example("a", "1", [1.0; 4])]).unwrap();
    let mut other =
        Gallery::create(&two.as_path().into(), &tower(TowerKind::Float, "cd"), Path::new("t")).unwrap();
    assert!(other.load().unwrap().labels.is_empty());
    let error =
        Gallery::create(&one.as_path().into(), &tower(TowerKind::Float, "cd"), Path::new("t")).err().unwrap();
    says(&error, &"ab".repeat(32));
    says(&error, &"cd".repeat(32));
    assert!(!error.to_string().contains("siamese-test"), "{error}");
    says(&other.merge(&open(&one).unwrap()).unwrap_err(), &"ab".repeat(32));
    beside(&one, "UPDATE gallery SET format = 9");
    says(&open(&one).err().unwrap(), "format 9");
}

#[test]
#[ignore = "needs a PostgreSQL server"]
fn postgres_damaged_examples_are_told() {
    let at = fresh("damaged");
    let mut gallery = make(&at, TowerKind::Float);
    let all: Vec<Example> = (0..50).map(|i| example("a", &i.to_string(), [i as f32; 4])).collect();
    gallery.enroll(&all).unwrap();
    gallery.build_index(0.5).unwrap();
    beside(&at, "UPDATE examples SET embedding = '[6,6,6,6.0000005]' WHERE id = 7");
    says(&gallery.load().err().unwrap(), "example 7 is damaged");
    says(&gallery.examples().err().unwrap(), "example 7 is damaged");
    let known = gallery.known(Shots::Best, false).unwrap();
    let classifier = Classifier::new(known, Distance::L2, Shots::Best, "g").unwrap();
    let asked = |x: f32| classifier.classify(Array2::from_elem((1, 4), x).view(), 1, None);
    says(&asked(6.0).err().unwrap(), "is damaged");
    assert_eq!(asked(30.0).unwrap()[0].distance, 0.0);
    beside(&at, "UPDATE gallery SET facts = '{'");
    says(&open(&at).err().unwrap(), "facts cannot be read");
    beside(&at, "DROP TABLE examples");
    says(&gallery.load().err().unwrap(), "something is missing");
}

#[test]
#[ignore = "needs a PostgreSQL server"]
fn postgres_calibrations_go_stale_as_in_files() {
    let mut gallery = make(&fresh("stale"), TowerKind::Float);
    let of = |class: usize, i: usize| {
        example(
            &class.to_string(),
            &format!("{class} {i}"),
            [(class * class) as f32, class as f32, 0.1 * i as f32, 0.0],
        )
    };
    gallery.enroll(&(0..6).flat_map(|class| (0..3).map(move |i| of(class, i))).collect::<Vec<_>>()).unwrap();
    gallery.calibrate(Some(0.3)).unwrap();
    assert!(!gallery.is_stale().unwrap());
    gallery.remove(&["5".into()], Some("5 2")).unwrap();
    assert!(gallery.is_stale().unwrap());
    gallery.enroll(&[of(5, 2)]).unwrap();
    assert!(gallery.is_stale().unwrap());
    gallery.calibrate(None).unwrap();
    assert!(!gallery.is_stale().unwrap());
}

#[test]
#[ignore = "needs a PostgreSQL server"]
fn postgres_writers_wait_for_each_other() {
    enroll_at_once(&fresh("at-once"));
}

#[test]
#[ignore = "needs a PostgreSQL server"]
fn postgres_kills_of_clients_leave_exactly_what_was_committed() {
    kill_children(&fresh("kills"), kills() / 2, || {});
}

/// Every backend of a gallery is ended again and again, in the middle of whatever it does: all that was told to be
/// added is there, once, and readers never see a part.
#[test]
#[ignore = "needs a PostgreSQL server"]
fn postgres_lost_connections_are_made_again() {
    let at = fresh("lost");
    let mut gallery = make(&at, TowerKind::Float);
    let (over, ended, enrolled) = (AtomicBool::new(false), AtomicI64::new(0), AtomicI64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let end = "SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                       WHERE application_name = 'test-lost') t";
            let mut pool = pool(&at);
            pool.address.application = "beside".into();
            let (mut rng, mut before) = (stream(5, "lost connections", 0, 0), 0);
            while !over.load(Ordering::Relaxed) {
                // Once after each enrolment, so that there is some progress, at any moment of the next.
                let now = enrolled.load(Ordering::Relaxed);
                if now == before {
                    std::thread::yield_now();
                    continue;
                }
                before = now;
                for _ in 0..below(&mut rng, 1_000_000) {
                    std::hint::spin_loop();
                }
                let more = pool.run(|connection| connection.number(end, &[])).unwrap();
                ended.fetch_add(more, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            let reader = open(&at).unwrap();
            while !over.load(Ordering::Relaxed) {
                let known = reader.load().unwrap();
                assert_eq!(known.classes.len() % 20, 0);
            }
        });
        let mut batch = 0;
        while batch < 100 || ended.load(Ordering::Relaxed) < 100 {
            let of = |i: usize| example(&format!("{}", i % 7), &format!("{batch} {i}"), [i as f32; 4]);
            let done = gallery.enroll(&(0..20).map(of).collect::<Vec<_>>()).unwrap();
            assert_eq!(done, Enrolled { added: 20, present: 0 }, "batch {batch}");
            batch += 1;
            enrolled.store(batch, Ordering::Relaxed);
        }
        over.store(true, Ordering::Relaxed);
        assert_eq!(open(&at).unwrap().load().unwrap().classes.len() as i64, 20 * batch);
    });
    eprintln!("{} backends were ended", ended.load(Ordering::Relaxed));
}

/// A commit that the client was never told of, and one that never was.
#[test]
#[ignore = "needs a PostgreSQL server"]
fn postgres_changes_are_done_once_however_the_commit_was_lost() {
    let at = fresh("once");
    make(&at, TowerKind::Float);
    let pool = pool(&at);
    for (committed, sql) in [(true, "COMMIT"), (false, "ROLLBACK")] {
        let (mut tries, mut lost) = (0, false);
        let change = change(&pool, |connection| {
            tries += 1;
            connection.execute("INSERT INTO classes (label) VALUES ($1)", &[Param::Text(sql)])?;
            Ok(Step::Made(tries))
        });
        // Where there is nothing wrong it is done once.
        assert_eq!(change.unwrap().done, 1);
        let mut tries = 0;
        let label = format!("{sql} lost");
        let change = change::change_with(
            &pool,
            |connection| {
                tries += 1;
                connection.execute("INSERT INTO classes (label) VALUES ($1)", &[Param::Text(&label)])?;
                Ok(Step::Made(tries))
            },
            |connection| {
                if std::mem::replace(&mut lost, true) {
                    return connection.run("COMMIT");
                }
                connection.run(sql)?;
                Err(Failure::Lost(std::io::ErrorKind::ConnectionReset.into()))
            },
        )
        .unwrap();
        assert_eq!(change.done, if committed { 1 } else { 2 });
        let found = pool.run(|connection| {
            connection.number("SELECT count(*) FROM classes WHERE label = $1", &[Param::Text(&label)])
        });
        assert_eq!(found.unwrap(), 1);
    }
}
