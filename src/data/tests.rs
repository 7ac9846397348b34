#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::image::{Colour, Frame, MAX_SIZE};
use ::image::{GrayImage, ImageFormat, Luma};
use idx::Idx;
use proptest::prelude::*;
use std::fs;
use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;

/// A small drawing, black on white, that differs by `mark`.
fn png(mark: u32) -> Vec<u8> {
    let drawing = GrayImage::from_fn(9, 9, |x, y| Luma([if x == 1 + mark % 7 && y > 1 { 0 } else { 255 }]));
    let mut bytes = Cursor::new(Vec::new());
    drawing.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn zip_of(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Two alphabets of two and one characters, two drawers.
fn small_omniglot() -> Vec<u8> {
    let at = ["A/character01/0001", "A/character02/0002", "B/character01/0003"];
    let mut files = Vec::new();
    for (i, stem) in at.iter().enumerate() {
        for drawer in 1..=2 {
            files.push((format!("images_x/{stem}_{drawer:02}.png"), png(2 * i as u32 + drawer)));
        }
    }
    // The archive's order is not the data set's.
    files.reverse();
    let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(n, b)| (n.as_str(), b.clone())).collect();
    zip_of(&files)
}

fn idx_bytes(shape: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    shape.iter().for_each(|n| bytes.extend(n.to_be_bytes()));
    bytes.extend(values);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

#[test]
fn a_zip_becomes_a_sorted_data_set() {
    let set = omniglot::from_zip(small_omniglot(), "small.zip", &Preprocessing::ink(9)).unwrap();
    assert_eq!(set.alphabets, ["A", "B"]);
    let classes: Vec<_> = set.classes.iter().map(|c| (c.name.as_str(), c.alphabet)).collect();
    assert_eq!(classes, [("character01", 0), ("character02", 0), ("character01", 1)]);
    assert_eq!(set.labels, [0, 0, 1, 1, 2, 2]);
    assert_eq!(set.drawers, [0, 1, 0, 1, 0, 1]);
    assert_eq!(set.sources[5], "images_x/B/character01/0003_02.png");
    // Mark m puts the stroke into column 1 + m.
    assert_eq!(set.image(0).index_axis(Axis(0), 0).row(5).to_vec(), [0, 0, 255, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn bad_zips_are_errors_that_name_the_file() {
    let whole = small_omniglot();
    let mut damaged = whole.clone();
    // Inside the first drawing, after the entry's header and name.
    damaged[100] ^= 0x55;
    let bomb = vec![0_u8; archive::MAX_ENTRY_BYTES as usize + 1];
    let cases: [(Vec<u8>, &str); 10] = [
        (damaged, "images_x/B/character01/0003_02.png"),
        (Vec::new(), "0 bytes"),
        (b"PK\x03\x04 and then nothing".to_vec(), "not a whole zip"),
        (whole[..whole.len() - 40].to_vec(), "not a whole zip"),
        (zip_of(&[("../../etc/a/b/c.png", png(0))]), "leads outside"),
        (zip_of(&[("/etc/a/b/c.png", png(0))]), "leads outside"),
        (zip_of(&[("a\\..\\b/c.png", png(0))]), "leads outside"),
        (zip_of(&[("A/b/0001_01.png", bomb)]), "inflates to more than 4 MiB"),
        (zip_of(&[("A/b/0001_01.png", b"text".to_vec())]), "A/b/0001_01.png: is not a picture"),
        (zip_of(&[("readme.txt", b"text".to_vec())]), "holds no drawings"),
    ];
    for (bytes, says) in cases {
        let error = omniglot::from_zip(bytes, "small.zip", &Preprocessing::ink(9)).unwrap_err();
        assert!(
            error.to_string().starts_with("small.zip") && error.to_string().contains(says),
            "{says}: {error}"
        );
    }
    let how = Preprocessing::ink(MAX_SIZE + 1);
    assert!(omniglot::from_zip(whole, "small.zip", &how).is_err());
}

#[test]
fn a_flattering_length_in_the_list_does_not_get_past_the_limit() {
    // The list says 10 bytes; the entry inflates to far more.
    let mut bytes = zip_of(&[("A/b/0001_01.png", vec![0_u8; 8 << 20])]);
    let length = (8_u32 << 20).to_le_bytes();
    for at in 0..bytes.len() - 4 {
        if bytes[at..at + 4] == length {
            bytes[at..at + 4].copy_from_slice(&10_u32.to_le_bytes());
        }
    }
    assert!(omniglot::from_zip(bytes, "bomb.zip", &Preprocessing::ink(9)).is_err());
}

#[test]
fn lake_runs_know_the_answers() {
    let files = [
        ("run01/class_labels.txt", b"run01/test/item01.png run01/training/class02.png\nrun01/test/item02.png run01/training/class01.png\n".to_vec()),
        ("run01/training/class01.png", png(1)),
        ("run01/training/class02.png", png(2)),
        ("run01/test/item01.png", png(3)),
        ("run01/test/item02.png", png(4)),
    ];
    let runs = lake::from_zip(zip_of(&files), "runs.zip", &Preprocessing::ink(9)).unwrap();
    let run = &runs.runs[0];
    assert_eq!((runs.runs.len(), run.name.as_str(), run.answers.as_slice()), (1, "run01", [1, 0].as_slice()));
    assert_eq!((run.training.dim(), run.test.dim()), ((2, 1, 9, 9), (2, 1, 9, 9)));
    let lacking = lake::from_zip(zip_of(&files[..4]), "runs.zip", &Preprocessing::ink(9)).unwrap_err();
    assert!(
        lacking.to_string().contains("line 2") && lacking.to_string().contains("item02.png"),
        "{lacking}"
    );
}

#[test]
fn idx_with_and_without_gzip() {
    let bytes = idx_bytes(&[2, 1, 3], &[1, 2, 3, 4, 5, 6]);
    let wanted = Idx { shape: vec![2, 1, 3], values: vec![1, 2, 3, 4, 5, 6] };
    assert_eq!(idx::parse(bytes.clone(), 3, "x").unwrap(), wanted);
    assert_eq!(idx::parse(gzip(&bytes), 3, "x").unwrap(), wanted);
}

#[test]
fn bad_idx_files_are_errors_that_name_the_file() {
    let whole = gzip(&idx_bytes(&[2], &[1, 2]));
    let cases = [
        (Vec::new(), "0 bytes"),
        (vec![0, 0], "too few"),
        (vec![0, 0, 8, 3, 0, 0, 0, 1], "begins with 00 00 08 03"),
        (vec![0, 0, 8, 1, 0, 0], "ends inside its header"),
        (idx_bytes(&[3], &[1, 2]), "promises [3] values, but 2 follow"),
        (idx_bytes(&[1], &[1, 2]), "promises [1] values, but 2 follow"),
        (idx_bytes(&[u32::MAX], &[1]), "but 1 follow"),
        (whole[..whole.len() - 5].to_vec(), "not a whole gzip"),
    ];
    for (bytes, says) in cases {
        let error = idx::parse(bytes, 1, "labels.gz").unwrap_err().to_string();
        assert!(error.starts_with("labels.gz: ") && error.contains(says), "{says}: {error}");
    }
}

#[test]
fn mnist_counts_must_agree() {
    let pixels = |n| Idx { shape: vec![n, 2, 2], values: vec![0; 4 * n] };
    let digits = |values: &[u8]| Idx { shape: vec![values.len()], values: values.to_vec() };
    let read = |n, d: &[u8], size| {
        let names = ["images", "labels"];
        mnist::from_idx(pixels(n), digits(d), names, mnist::Part::Test, &Preprocessing::ink(size))
    };
    let set = read(3, &[7, 0, 9], 2).unwrap();
    assert_eq!(
        (set.labels.as_slice(), set.classes.len(), set.images.dim()),
        ([7, 0, 9].as_slice(), 10, (3, 1, 2, 2))
    );
    assert_eq!(read(3, &[7, 0, 9], 5).unwrap().images.dim(), (3, 1, 5, 5));
    for (images, labels, says) in [
        (2, [1, 2, 3].as_slice(), "more labels than images"),
        (3, &[1, 2], "fewer labels than images"),
        (2, &[1, 10], "label 1 is 10"),
        (0, &[], "holds no images"),
    ] {
        let error = read(images, labels, 2).unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
    }
}

#[test]
fn mnist_is_framed_even_at_its_own_size() {
    // A digit of 2×3 pixels in the corner of 8×8; at 16 pixels its longer side becomes 13.
    let mut values = vec![0; 64];
    for at in [0, 1, 8, 9, 16, 17] {
        values[at] = 255;
    }
    let read = |how: &Preprocessing| {
        let (pixels, digits) =
            (Idx { shape: vec![1, 8, 8], values: values.clone() }, Idx { shape: vec![1], values: vec![4] });
        mnist::from_idx(pixels, digits, ["images", "labels"], mnist::Part::Test, how).unwrap().images
    };
    let rows =
        |images: &Array4<u8>| images.rows().into_iter().filter(|row| row.iter().any(|&x| x > 0)).count();
    assert_eq!(rows(&read(&Preprocessing::ink(8))), 3);
    let framed = read(&Preprocessing::framed(16, Frame::Ink));
    // 13 whole rows, or 12 and two that are touched.
    assert!((13..=14).contains(&rows(&framed)), "{}", rows(&framed));
    assert_eq!((framed[(0, 0, 0, 0)], framed[(0, 0, 8, 8)]), (0, 255));
    assert_eq!(rows(&read(&Preprocessing::framed(8, Frame::Ink))), 8);
}

fn write(path: PathBuf, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn folders_of_classes_and_of_alphabets() {
    let dir = tempfile::tempdir().unwrap();
    for (i, path) in
        ["flat/cat/1.png", "flat/cat/2.png", "flat/ant/1.png", "flat/.git/x.png"].iter().enumerate()
    {
        write(dir.path().join(path), png(i as u32));
    }
    write(dir.path().join("flat/cat/notes.txt"), "not a picture, and not read");
    let flat = folder(dir.path().join("flat"), &Preprocessing::ink(9), &Triage::strict()).unwrap();
    assert_eq!(flat.alphabets, ["flat"]);
    assert_eq!(flat.classes.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["ant", "cat"]);
    assert_eq!(flat.labels, [0, 1, 1]);

    for path in ["nested/B/b1/1.png", "nested/A/a2/1.png", "nested/A/a1/1.png"] {
        write(dir.path().join(path), png(0));
    }
    let nested = folder(dir.path().join("nested"), &Preprocessing::ink(9), &Triage::strict()).unwrap();
    assert_eq!(nested.alphabets, ["A", "B"]);
    assert_eq!(nested.by_alphabet(), [vec![0, 1], vec![2]]);
}

/// Two groups of one and two classes by three hands, two of them of one maker.
fn small_pictures() -> Vec<u8> {
    let classes = ["food/bread", "food/cake", "trees/oak"];
    let files =
        classes.iter().flat_map(|class| ["ann", "ann-2", "bob"].map(|hand| format!("x/{class}/{hand}.png")));
    let files: Vec<(String, Vec<u8>)> = files.enumerate().map(|(i, path)| (path, png(i as u32))).collect();
    let mut files: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())).collect();
    files.reverse();
    files.push(("x/readme.md", b"not read".to_vec()));
    zip_of(&files)
}

const MAKERS: &str = r#"{"ann": "Ann", "ann-2": "Ann", "bob": "Bob"}"#;

#[test]
fn a_zip_of_class_folders_is_read_as_the_folders_are() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    write(at("p.zip"), small_pictures());
    write(at("makers.json"), MAKERS);
    let how = Preprocessing::ink(9).in_colour(Colour::default());
    let choice = Choice::all_by(Some(&at("makers.json"))).unwrap();
    assert_eq!(choice.makers.as_ref().unwrap().names(), ["Ann", "Bob"]);
    let set = class_folders(at("p.zip"), &how, &choice, &Triage::strict()).unwrap();
    assert_eq!(
        (set.alphabets.as_slice(), set.images.dim()),
        (&["food".into(), "trees".into()][..], (9, 3, 9, 9))
    );
    assert_eq!(set.labels, [0, 0, 0, 1, 1, 1, 2, 2, 2]);
    assert_eq!(set.drawers, [0, 0, 1].repeat(3));
    assert_eq!(set.sources[8], "x/trees/oak/bob.png");
    // The same, unpacked.
    let archive = archive::Archive::of_pictures(&at("p.zip")).unwrap();
    let mut reader = archive.reader().unwrap();
    for entry in archive.entries() {
        let mut bytes = Vec::new();
        reader.read(entry, &mut bytes).unwrap();
        write(dir.path().join(&entry.path), bytes);
    }
    let unpacked = class_folders(at("x"), &how, &choice, &Triage::strict()).unwrap();
    let name = |set: &Dataset| Dataset { name: String::new(), sources: Vec::new(), ..set.clone() };
    assert_eq!(name(&unpacked), name(&set));
    // Without makers, by nobody in particular; in ink, black strokes on white paper.
    let plain = folder(at("p.zip"), &Preprocessing::ink(9), &Triage::strict()).unwrap();
    assert_eq!((plain.drawers, plain.images.dim()), (vec![0; 9], (9, 1, 9, 9)));
    // Classes without groups are of one group, named after the file.
    write(at("flat.zip"), zip_of(&[("b/1.png", png(0)), ("a/1.png", png(1))]));
    let flat = folder(at("flat.zip"), &Preprocessing::ink(9), &Triage::strict()).unwrap();
    assert_eq!((flat.alphabets.as_slice(), flat.title(1)), (&["flat".to_string()][..], "b".into()));
    // Some stems are passed over.
    let some = Choice { leave_out: vec!["ann-2".into()], ..choice.clone() };
    assert_eq!(class_folders(at("p.zip"), &how, &some, &Triage::strict()).unwrap().drawers, [0, 1].repeat(3));
    assert_eq!(class_folders(at("x"), &how, &some, &Triage::strict()).unwrap().len(), 6);
    let survey = Survey::of(&at("p.zip")).unwrap();
    assert_eq!((survey.pictures, survey.coloured, survey.width_px), (9, 0, [9, 9]));
    assert_eq!(Survey::of(&at("x")).unwrap(), survey);
}

#[test]
fn bad_zips_of_class_folders_are_errors_that_name_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let whole = small_pictures();
    let mut damaged = whole.clone();
    damaged[100] ^= 0x55;
    let cases: [(Vec<u8>, &str); 8] = [
        (damaged, "x/trees/oak/bob.png"),
        (Vec::new(), "0 bytes"),
        (whole[..whole.len() - 40].to_vec(), "not a whole zip"),
        (zip_of(&[("../a/b.png", png(0))]), "leads outside"),
        (zip_of(&[("a/1.png", b"text".to_vec())]), "a/1.png: is not a picture"),
        (zip_of(&[("1.png", png(0))]), "1.png: is in no class folder"),
        (zip_of(&[("a/1.png", png(0)), ("g/b/1.png", png(0))]), "put every class into a group, or none"),
        (zip_of(&[("x/g/a/1.png", png(0)), ("y/g/a/1.png", png(0))]), "groups must lie in one folder"),
    ];
    for (bytes, says) in cases {
        let path = dir.path().join("p.zip");
        fs::write(&path, bytes).unwrap();
        let error = folder(&path, &Preprocessing::ink(9), &Triage::strict()).unwrap_err().to_string();
        assert!(error.starts_with(&path.display().to_string()) && error.contains(says), "{says}: {error}");
    }
    let error = folder(dir.path().join("absent.zip"), &Preprocessing::ink(9), &Triage::strict())
        .unwrap_err()
        .to_string();
    assert!(error.contains("absent.zip"), "{error}");
}

#[test]
fn bad_files_of_makers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    write(at("p.zip"), small_pictures());
    for (text, says) in [
        ("", "is no file of makers"),
        ("[1]", "is no file of makers"),
        (r#"{"ann": 3}"#, "is no file of makers"),
        (r#"{"ann": "Ann", "bob": "Bob"}"#, "does not tell who made \"ann-2\""),
    ] {
        write(at("makers.json"), text);
        let read = Choice::all_by(Some(&at("makers.json"))).and_then(|choice| {
            class_folders(at("p.zip"), &Preprocessing::ink(9), &choice, &Triage::strict())
        });
        let error = read.unwrap_err().to_string();
        assert!(error.contains("makers.json") && error.contains(says), "{error}");
    }
    let none = Choice { leave_out: vec!["anne".into()], ..Choice::default() };
    let error =
        class_folders(at("p.zip"), &Preprocessing::ink(9), &none, &Triage::strict()).unwrap_err().to_string();
    assert!(error.contains("no picture named \"anne\""), "{error}");
    let all = Choice { leave_out: ["ann", "ann-2", "bob"].map(String::from).into(), ..Choice::default() };
    assert!(class_folders(at("p.zip"), &Preprocessing::ink(9), &all, &Triage::strict()).is_err());
}

#[test]
fn bad_folders_are_errors_that_name_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir_all(at("empty-class/b")).unwrap();
    write(at("empty-class/a/1.png"), png(0));
    write(at("text/a/1.png"), "text");
    write(at("mixed/a/1.png"), png(0));
    write(at("mixed/B/b/1.png"), png(0));
    write(at("both/a/1.png"), png(0));
    write(at("both/a/b/1.png"), png(0));
    write(at("file"), "a file");
    fs::create_dir_all(at("bare")).unwrap();
    for (name, place, says) in [
        ("empty-class", "empty-class/b", "is an empty class"),
        ("text", "text/a/1.png", "is not a picture"),
        ("mixed", "mixed", "classes beside alphabets"),
        ("both", "both/a", "pictures and folders side by side"),
        ("bare", "bare", "no class folders"),
        ("file", "file", "cannot read the folder"),
        ("absent", "absent", "cannot read the folder"),
    ] {
        let error = folder(at(name), &Preprocessing::ink(9), &Triage::strict()).unwrap_err().to_string();
        assert!(error.contains(&at(place).display().to_string()) && error.contains(says), "{name}: {error}");
    }
}

#[cfg(unix)]
#[test]
fn an_unreadable_folder_is_an_error_that_names_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read_dir(&closed).is_ok() {
        eprintln!("skipped: this user may read every folder");
        return;
    }
    let error = folder(&closed, &Preprocessing::ink(9), &Triage::strict()).unwrap_err().to_string();
    assert!(error.contains("closed"), "{error}");
}

#[test]
fn parts_and_unions_keep_their_labels() {
    let set = omniglot::from_zip(small_omniglot(), "small", &Preprocessing::ink(9)).unwrap();
    let (others, named) = set.split_alphabets(&["A".into()]).unwrap();
    assert_eq!(
        (others.alphabets.as_slice(), others.labels.as_slice()),
        (["B".to_string()].as_slice(), [0, 0].as_slice())
    );
    assert_eq!((named.len(), named.classes.len(), named.classes[1].alphabet), (4, 2, 0));
    assert_eq!(others.image(1), set.image(5));
    let unknown = set.split_alphabets(&["C".into()]).unwrap_err().to_string();
    assert!(unknown.contains("\"C\"") && unknown.contains("A, B"), "{unknown}");

    let mut again = named;
    again.extend(&others).unwrap();
    assert_eq!(again, Dataset { name: again.name.clone(), ..set.clone() });
    let larger = omniglot::from_zip(small_omniglot(), "small", &Preprocessing::ink(10)).unwrap();
    assert!(again.extend(&larger).is_err());

    let some = set.subset(&[5, 0]);
    assert_eq!((some.labels.as_slice(), some.classes.len()), ([2, 0].as_slice(), 3));
}

/// Tests on the published data sets, which are not part of the repository.
pub(super) mod real_data {
    use super::*;

    /// The folder with `omniglot/` and `mnist/`.
    pub fn folder() -> PathBuf {
        std::env::var_os("SIAMESE_DATA")
            .expect("SIAMESE_DATA names the folder with omniglot and mnist")
            .into()
    }

    #[test]
    #[ignore = "needs SIAMESE_DATA"]
    fn the_sets_are_what_their_authors_say() {
        let found = info(&folder(), None, &Triage::strict()).unwrap();
        let counts: Vec<_> = found.parts.iter().map(|p| (p.alphabets, p.classes, p.images)).collect();
        assert_eq!(counts, [(30, 964, 19_280), (20, 659, 13_180), (1, 10, 60_000), (1, 10, 10_000)]);
        assert!(found.parts[..2].iter().all(|p| p.drawers == 20 && p.images_per_class_min == 20));
        let train = &found.parts[2];
        assert_eq!(
            (format!("{:.4}", train.mean), format!("{:.4}", train.std)),
            ("0.1307".into(), "0.3081".into())
        );
        assert_eq!(found.totals[0].images, 32_460);
        let lake = found.lake.unwrap();
        assert_eq!((lake.runs, lake.trials), (20, 400));
    }
}

/// Bytes with some of them changed, dropped from the end, or doubled.
fn mutated(whole: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let length = whole.len();
    let edits = prop::collection::vec((0..length, any::<u8>()), 1..6);
    (edits, prop_oneof![4 => Just(length), 1 => 0..length]).prop_map(move |(edits, keep)| {
        let mut bytes = whole.clone();
        edits.iter().for_each(|&(at, byte)| bytes[at] = byte);
        bytes.truncate(keep);
        bytes
    })
}

/// 100,000 mutations in all.
const MUTATIONS: u32 = 20_000;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(MUTATIONS) })]

    #[test]
    fn no_mutated_zip_panics(bytes in mutated(small_omniglot())) {
        let _ = omniglot::from_zip(bytes, "mutated", &Preprocessing::ink(4));
    }

    #[test]
    fn no_mutated_list_of_runs_panics(bytes in mutated(zip_of(&[
        ("r/class_labels.txt", b"r/a.png r/b.png".to_vec()),
        ("r/a.png", png(0)),
        ("r/b.png", png(1)),
    ]))) {
        let _ = lake::from_zip(bytes, "mutated", &Preprocessing::ink(4));
    }

    #[test]
    fn no_mutated_idx_panics(bytes in mutated(idx_bytes(&[2, 2, 2], &[0, 50, 100, 150, 200, 250, 255, 0]))) {
        if let Ok(pixels) = idx::parse(bytes, 3, "mutated") {
            let digits = Idx { shape: vec![2], values: vec![3, 4] };
            let _ = mnist::from_idx(pixels, digits, ["a", "b"], mnist::Part::Train, &Preprocessing::ink(4));
        }
    }

    #[test]
    fn no_mutated_gzip_panics(bytes in mutated(gzip(&idx_bytes(&[3], &[1, 2, 3])))) {
        let _ = idx::parse(bytes, 1, "mutated");
    }

    #[test]
    fn no_mutated_picture_panics(bytes in mutated(png(3))) {
        let _ = crate::image::decode(&bytes, "mutated", &Preprocessing::ink(4));
    }
}
