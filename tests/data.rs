//! `siamese data`: what the user sees, and that bad input is refused without a trace.

use assert_cmd::Command;
use std::fs;
use std::path::Path;
use std::process::Output;

/// Runs `siamese data ARGS` with an empty cache.
pub fn data(cache: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("siamese").unwrap();
    command.env("XDG_CACHE_HOME", cache).env("HOME", cache).env_remove("SIAMESE_DATA");
    command.arg("data").args(arguments).output().unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Class folders `ant` and `cat` with two pictures each.
fn class_folders(dir: &Path) {
    for (class, shade) in [("ant", 0_u8), ("cat", 90)] {
        fs::create_dir_all(dir.join(class)).unwrap();
        for drawer in 0..2 {
            let picture = image::GrayImage::from_fn(20, 20, |x, y| {
                image::Luma([if (x + drawer) % 5 == 2 && (4..16).contains(&y) { shade } else { 255 }])
            });
            picture.save(dir.join(class).join(format!("{drawer}.png"))).unwrap();
        }
    }
}

#[test]
fn info_recognises_class_folders() {
    let dir = tempfile::tempdir().unwrap();
    class_folders(&dir.path().join("d"));
    let output = data(dir.path(), &["info", dir.path().join("d").to_str().unwrap(), "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let told: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    let part = &told["parts"][0];
    assert_eq!((part["classes"].as_u64(), part["images"].as_u64()), (Some(2), Some(4)));
}

#[test]
fn get_refuses_what_is_not_the_data_set() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    fs::create_dir_all(&from).unwrap();
    for bytes in [&b""[..], b"text"] {
        fs::write(from.join("images_background.zip"), bytes).unwrap();
        let into = dir.path().join("into");
        let arguments =
            ["get", "omniglot", "--from", from.to_str().unwrap(), "--data", into.to_str().unwrap()];
        let output = data(dir.path(), &arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("images_background.zip"), "{}", stderr(&output));
        assert!(!into.exists(), "something was written");
    }
}

#[test]
fn offline_is_obeyed() {
    let dir = tempfile::tempdir().unwrap();
    let output = data(dir.path(), &["get", "omniglot", "--offline"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--offline forbids"), "{}", stderr(&output));
}

#[test]
fn a_sheet_has_a_row_for_each_character() {
    let dir = tempfile::tempdir().unwrap();
    class_folders(&dir.path().join("d"));
    let (folder, out) = (dir.path().join("d"), dir.path().join("sheet.png"));
    let arguments =
        ["sheet", out.to_str().unwrap(), "--data", folder.to_str().unwrap(), "--size", "20", "--json"];
    let output = data(dir.path(), &arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let picture = image::open(&out).unwrap().to_luma8();
    // Gaps of 3 pixels around 2 × 2 drawings of 20.
    assert_eq!(picture.dimensions(), (49, 49));
    // Column 2 of the first drawing of `ant` is ink, its corner is paper.
    assert_eq!((picture.get_pixel(5, 13)[0], picture.get_pixel(3, 3)[0]), (0, 255));
}

#[test]
fn a_framed_sheet_shows_ink_in_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, out) = (dir.path().join("d"), dir.path().join("sheet.png"));
    fs::create_dir_all(folder.join("dot")).unwrap();
    let corner =
        image::GrayImage::from_fn(20, 20, |x, y| image::Luma([if x < 6 && y > 13 { 0 } else { 255 }]));
    corner.save(folder.join("dot/0.png")).unwrap();
    let middle = |more: &[&str]| {
        let (out, folder) = (out.to_str().unwrap(), folder.to_str().unwrap());
        let output = data(dir.path(), &[&["sheet", out, "--data", folder, "--size", "16"], more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        image::open(out).unwrap().to_luma8().get_pixel(3 + 8, 3 + 8)[0]
    };
    assert_eq!((middle(&[]), middle(&["--framed"])), (255, 0));
}

#[test]
fn bad_input_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    class_folders(&at("good"));
    class_folders(&at("text"));
    fs::write(at("text/cat/0.png"), "not a picture").unwrap();
    class_folders(&at("hollow"));
    fs::create_dir(at("hollow/bee")).unwrap();
    fs::create_dir_all(at("cut")).unwrap();
    fs::write(at("cut/images_background.zip"), b"PK\x03\x04").unwrap();
    fs::create_dir_all(at("magic")).unwrap();
    fs::write(at("magic/train-images-idx3-ubyte"), [0, 0, 9, 3]).unwrap();
    fs::write(at("magic/train-labels-idx1-ubyte"), [0, 0, 8, 1, 0, 0, 0, 0]).unwrap();
    fs::create_dir_all(at("lone")).unwrap();
    fs::write(at("lone/train-labels-idx1-ubyte"), [0, 0, 8, 1, 0, 0, 0, 0]).unwrap();
    for (folder, names) in [
        ("text", "text/cat/0.png"),
        ("hollow", "hollow/bee"),
        ("cut", "images_background.zip"),
        ("magic", "train-images-idx3-ubyte"),
        ("lone", "train-images-idx3-ubyte"),
        ("absent", "absent"),
    ] {
        let (place, out) = (at(folder), at("out.png"));
        let (place, out) = (place.to_str().unwrap(), out.to_str().unwrap());
        for arguments in [vec!["info", place, "--strict"], vec!["sheet", out, "--data", place, "--strict"]] {
            let output = data(dir.path(), &arguments);
            assert_eq!(output.status.code(), Some(2), "{folder}: {}", stderr(&output));
            assert!(stderr(&output).contains(names), "{folder}: {}", stderr(&output));
            assert!(!at("out.png").exists());
        }
    }
    let good = at("good");
    for (extra, says) in [(["--alphabet", "Latin"], "no alphabet \"Latin\""), (["--size", "0"], "size is 0")]
    {
        let out = at("out.png");
        let mut arguments =
            vec!["sheet", out.to_str().unwrap(), "--data", good.to_str().unwrap(), "--columns", "9"];
        arguments.extend(extra);
        let output = data(dir.path(), &arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(says), "{}", stderr(&output));
    }
    let output =
        data(dir.path(), &["sheet", at("out.txt").to_str().unwrap(), "--data", good.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
}
