//! Whatever bytes are read, there is a result or an error: the corpus in `fuzz/`, and mutations of it.
#![cfg(all(feature = "tract", feature = "serve"))]

mod http;
mod mutate;
mod readers;

use super::towers;
use mutate::mutate;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use readers::Reader;
use siamese::tower::{Distance, TowerKind};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How long a reader's inputs are mutated where nothing else was asked for.
const USUAL: Duration = Duration::from_secs(4);
/// No input takes longer, whatever else the machine does.
const PATIENCE: Duration = Duration::from_secs(120);

/// A reader that is told to read each input before it does.
struct Course {
    name: &'static str,
    told: Sender<Vec<u8>>,
    read: Reader,
    wrong: Vec<String>,
}

impl Course {
    /// Reads an input; a panic is written down.
    fn read(&mut self, input: &[u8]) {
        if self.told.send(input.to_vec()).is_err() {
            return;
        }
        let read = &mut self.read;
        if catch_unwind(AssertUnwindSafe(|| read(input))).is_err() {
            self.wrong.push(keep(self.name, "panic", input));
        }
    }
}

/// Writes an input that went wrong to where it can be looked at; tells where.
fn keep(name: &str, what: &str, input: &[u8]) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("{name}-{what}-{}", &siamese::tower::sha256(input)[..12]));
    fs::write(&file, input).unwrap();
    file.display().to_string()
}

/// The inputs of a reader.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut inputs: Vec<Vec<u8>> = files.into_iter().map(|file| fs::read(file).unwrap()).collect();
    if name == "tower" {
        inputs.extend([TowerKind::Float, TowerKind::Exact].map(squares));
    }
    inputs
}

/// A tower of ours.
fn squares(kind: TowerKind) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("squares.onnx");
    towers::squares(&file, 8, 4, kind, Distance::L1);
    fs::read(file).unwrap()
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// Reads the corpus and mutations of it.
fn hostile(name: &'static str, read: Reader) {
    let corpus = corpus(name);
    assert!(corpus.len() > 1 && corpus.iter().all(|bytes| bytes.len() < 1 << 20), "{name}");
    let (told, inputs) = channel();
    let reading = std::thread::spawn(move || {
        let mut course = Course { name, told, read, wrong: Vec::new() };
        for bytes in &corpus {
            course.read(bytes);
        }
        let mut rng = Pcg64Mcg::seed_from_u64(number("SIAMESE_FUZZ_SEED").unwrap_or(0));
        let (wanted, begun, mut count) = (number("SIAMESE_FUZZ"), Instant::now(), 0_u64);
        while wanted.map_or(begun.elapsed() < USUAL, |wanted| count < wanted) && course.wrong.len() < 20 {
            let [one, other] = [0; 2].map(|_| &corpus[rng.random_range(0..corpus.len())]);
            course.read(&mutate(one, other, &mut rng));
            count += 1;
        }
        (count, course.wrong)
    });
    let mut last = Vec::new();
    loop {
        match inputs.recv_timeout(PATIENCE) {
            Ok(input) => last = input,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => panic!("{name}: no end of {}", keep(name, "hang", &last)),
        }
    }
    let (count, wrong) = reading.join().unwrap();
    eprintln!("{name}: {count} mutated inputs, {} panics", wrong.len());
    assert!(wrong.is_empty(), "{name}: {} panics:\n{}", wrong.len(), wrong.join("\n"));
}

/// A test of each reader.
macro_rules! readers {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                hostile(stringify!($name), readers::$name());
            }
        )*
    };
}

readers! { model tower metadata gallery recipe parameters omniglot lake idx picture }

#[test]
fn request() {
    hostile("request", http::request());
}
