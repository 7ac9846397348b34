//! Pictures and folders as people bring them: one rule for every verb.
#![cfg(feature = "tract")]

use super::gallery::Bench;
use serde_json::Value;
use std::fs;

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Class folders with two broken pictures among them.
fn mixed() -> Bench {
    let bench = Bench::enrolled();
    let whole = fs::read(bench.at("known/box/0.png")).unwrap();
    fs::write(bench.at("known/box/1.png"), &whole[..whole.len() - 20]).unwrap();
    fs::write(bench.at("known/dot/2.png"), "no picture").unwrap();
    bench
}

#[test]
fn every_verb_tells_bad_pictures_and_does_the_rest() {
    let bench = mixed();
    let verbs: [(&[&str], &str); 8] = [
        (&["embed", "t.onnx", "known", "-o", "e.npy"], "/embedded 7"),
        (&["embed", "t.onnx", "--data", "known", "--set", "folder", "-o", "e.npy"], "/embedded 7"),
        (&["classify", "g", "known"], "/6/label \"dot\""),
        (&["enroll", "h", "known", "--tower", "t.onnx"], "/added 7"),
        (
            &["verify", "strange.png", "known", "--tower", "t.onnx", "--threshold", "1e9"],
            "/pairs/6/same true",
        ),
        (&["calibrate", "g", "--data", "known"], "/calibration/embeddings 7"),
        (
            &["eval", "t.onnx", "--protocol", "episodes", "--data", "known", "--way", "3"],
            "/evaluation/images 7",
        ),
        (&["data", "info", "known"], "/parts/0/images 7"),
    ];
    for (verb, result) in verbs {
        let strict = bench.run(&[verb, &["--strict"]].concat());
        let said = stderr(&strict);
        let named = ["known/box/1.png", "known/dot/2.png"].map(|name| said.contains(name));
        assert_eq!((strict.status.code(), named), (Some(2), [true, false]), "{verb:?}: {said}");
        let told = bench.run(verb);
        let said = stderr(&told);
        assert!(said.contains("known/box/1.png") && said.contains("known/dot/2.png"), "{verb:?}: {said}");
        assert!(said.contains("2 of 9 pictures"), "{verb:?}: {said}");
        let (place, wanted) = result.split_once(' ').unwrap();
        let done = bench.part(verb);
        // The galleries hold what the first run enrolled.
        let place = if verb[0] == "enroll" { "/present" } else { place };
        assert_eq!(done.pointer(place).map(Value::to_string).as_deref(), Some(wanted), "{verb:?}: {done}");
    }
}

#[test]
fn a_class_without_a_picture_that_can_be_used_is_none() {
    let bench = Bench::enrolled();
    for drawer in 0..3 {
        fs::write(bench.at(&format!("known/box/{drawer}.png")), "no picture").unwrap();
    }
    let told = bench.part(&["data", "info", "known"]);
    assert_eq!((&told["parts"][0]["classes"], &told["broken"]), (&2.into(), &3.into()), "{told}");
}

#[cfg(unix)]
#[test]
fn names_keep_to_their_line() {
    let bench = Bench::enrolled();
    fs::create_dir_all(bench.at("odd")).unwrap();
    fs::copy(bench.at("asked/box/9.png"), bench.at("odd/two\nlines\tand \u{1b}[2J.png")).unwrap();
    fs::write(bench.at("odd/bad\nname.png"), "no picture").unwrap();
    let output = bench.run(&["classify", "g", "odd"]);
    let (told, said) = (String::from_utf8(output.stdout.clone()).unwrap(), stderr(&output));
    assert!(
        told.lines().nth(1).unwrap().starts_with("odd/two\\nlines\\tand \\u{1b}[2J.png\tbox\t0\t")
            && told.lines().count() == 3,
        "{told}"
    );
    assert!(said.contains("odd/bad\\nname.png") && said.lines().count() == 2, "{said}");
    bench.part(&["embed", "t.onnx", "odd", "-o", "e.npy", "--names", "names.tsv"]);
    let names = fs::read_to_string(bench.at("names.tsv")).unwrap();
    assert_eq!((names.lines().count(), names.matches('\t').count()), (1, 1), "{names}");
    // A label is one line: this class cannot be enrolled, the other can.
    fs::create_dir_all(bench.at("classes/a\nb")).unwrap();
    fs::create_dir_all(bench.at("classes/c")).unwrap();
    for class in ["a\nb", "c"] {
        fs::copy(bench.at("asked/box/9.png"), bench.at(&format!("classes/{class}/1.png"))).unwrap();
    }
    assert_eq!(bench.part(&["enroll", "g", "classes"])["added"], 1);
    assert!(stderr(&bench.run(&["enroll", "g", "classes"])).contains("classes/a\\nb/1.png"));
}

#[cfg(unix)]
#[test]
fn links_and_what_systems_leave_make_no_picture_more() {
    use std::os::unix::fs::symlink;
    let bench = Bench::enrolled();
    symlink("..", bench.at("known/box/up")).unwrap();
    symlink("../known", bench.at("known/again")).unwrap();
    fs::create_dir_all(bench.at("known/__MACOSX/box")).unwrap();
    fs::write(bench.at("known/__MACOSX/box/._0.png"), "x").unwrap();
    fs::write(bench.at("known/dot/.DS_Store"), "x").unwrap();
    assert_eq!(bench.json(&["embed", "t.onnx", "known", "-o", "e.npy"])["embedded"], 9);
    assert_eq!(bench.json(&["data", "info", "known"])["parts"][0]["images"], 9);
    assert_eq!(bench.json(&["enroll", "h", "known", "--tower", "t.onnx"])["classes"], 3);
}

/// A process that is killed cannot tidy up.
#[cfg(target_os = "linux")]
#[test]
fn a_killed_embedding_leaves_no_large_file() {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Command, Stdio};
    let bench = Bench::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_siamese"))
        .current_dir(bench.at(""))
        .args(["embed", "t.onnx", "-", "--out", "e.npy"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It waits for more once it has told of this batch.
    let mut list = child.stdin.take().unwrap();
    list.write_all("absent.png\n".repeat(siamese::embed::BATCH).as_bytes()).unwrap();
    let told = BufReader::new(child.stderr.take().unwrap()).lines().next();
    assert!(told.unwrap().unwrap().contains("absent.png"));
    child.kill().unwrap();
    child.wait().unwrap();
    let left: Vec<_> = fs::read_dir(bench.at("")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(siamese::files::PARTIAL)), "{left:?}");
}
