//! `siamese page`: the folder that it writes, and what it refuses. What browsers make of it is tested by
//! `fixtures/wasm.sh`.
#![cfg(feature = "tract")]

use super::gallery::Bench;
use siamese::browser::{Gallery, Tower};
use siamese::edge::kernels::Kernels;
use siamese::image::{self, Preprocessing};
use std::fs;

#[test]
fn a_folder_has_all_that_its_page_names_and_answers_as_classify_does() {
    let bench = Bench::enrolled();
    bench.json(&["calibrate", "g", "--false-positives", "40%"]);
    let written = bench.json(&["page", "g", "-o", "page"]);
    let files: Vec<String> = fs::read_dir(bench.at("page"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(written["files"], files.len());
    let page = fs::read_to_string(bench.at("page/index.html")).unwrap();
    for part in ["page.js", "page.css"] {
        assert!(page.contains(&format!("\"{part}\"")) && files.iter().any(|file| file == part), "{part}");
    }
    assert!(fs::read(bench.at("page/siamese.wasm")).unwrap().starts_with(b"\0asm"));
    assert_eq!(fs::read(bench.at("page/tower.onnx")).unwrap(), fs::read(bench.at("t.onnx")).unwrap());

    // What the module does, by the same code.
    let file = fs::read(bench.at("page/tower.onnx")).unwrap();
    let known = fs::read(bench.at("page/gallery.safetensors")).unwrap();
    for kernels in Kernels::all() {
        let mut tower = Tower::open(&file, kernels).unwrap();
        let gallery = Gallery::open(&known, tower.spec()).unwrap();
        for name in ["asked/bar/9.png", "asked/box/9.png", "asked/dot/9.png", "strange.png"] {
            let input = image::load(bench.at(name), &tower.spec().preprocessing).unwrap();
            let embedding = tower.embed(input.as_slice().unwrap()).unwrap();
            let found = serde_json::to_value(gallery.answer(&embedding, 5).unwrap()).unwrap();
            let output = bench.run(&["classify", "g", name, "--runtime", "tract", "--json"]);
            let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            for key in ["label", "distance", "margin", "strangeness", "nearest"] {
                assert_eq!(found[key], told[key], "{name} {key}");
            }
        }
    }
}

#[test]
fn pixels_are_seen_as_the_file_that_holds_them() {
    let pixels = ::image::RgbaImage::from_fn(70, 33, |x, y| {
        ::image::Rgba([(x * 7) as u8, (y * 31) as u8, (x * y) as u8, if x % 5 == 0 { 40 } else { 255 }])
    });
    let mut png = std::io::Cursor::new(Vec::new());
    pixels.write_to(&mut png, ::image::ImageFormat::Png).unwrap();
    for how in [Preprocessing::ink(32), Preprocessing::ink(16).in_colour(image::Colour::default())] {
        let seen = image::from_rgba(70, 33, pixels.as_raw(), &how).unwrap();
        assert_eq!(seen, image::decode(png.get_ref(), "a.png", &how).unwrap());
        for (width, height, bytes, words) in [
            (70, 32, pixels.as_raw().len(), "9240 bytes; 70×32"),
            (0, 3, 0, "none at all"),
            (1, 40_000, 0, "make it smaller"),
        ] {
            let error = image::from_rgba(width, height, &pixels.as_raw()[..bytes], &how).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}

#[test]
fn what_no_browser_could_use_is_refused() {
    let bench = Bench::new();
    bench.refused(&["page", "g", "-o", "page"], "cannot open the gallery g");
    bench.json(&["enroll", "g", "known", "--tower", "t.onnx"]);
    bench.refused(&["page", "g", "-o", "page", "--tower", "other.onnx"], "belongs to the tower");
    bench.refused(&["page", "g", "-o", "page", "--threshold", "auto"], "no calibrated threshold");
    bench.refused(&["page", "g", "-o", "page", "--shots", "9"], "has 3 of the 9 examples");
    bench.refused(&["page", "g", "-o", "t.onnx"], "t.onnx");
    bench.json(&["remove", "g", "bar", "box", "dot"]);
    bench.refused(&["page", "g", "-o", "page"], "holds no example");
    assert!(!bench.at("page").exists());
}
