#![allow(clippy::unwrap_used)]
use super::*;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use std::io::Read as _;
use std::path::Path;

/// A file of `fixtures/jpeg.py`.
#[derive(serde::Deserialize)]
struct File {
    name: String,
    file: String,
    width: u32,
    height: u32,
    /// What libjpeg gives, deflated; none of a kind that is not read.
    rgb: Option<String>,
}

impl File {
    fn bytes(&self) -> Vec<u8> {
        BASE64_STANDARD.decode(&self.file).unwrap()
    }

    fn libjpeg(&self) -> Option<Vec<u8>> {
        let deflated = BASE64_STANDARD.decode(self.rgb.as_ref()?).unwrap();
        let mut pixels = Vec::new();
        flate2::read::ZlibDecoder::new(deflated.as_slice()).read_to_end(&mut pixels).unwrap();
        Some(pixels)
    }
}

fn files() -> Vec<File> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/jpeg.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn file(name: &str) -> Vec<u8> {
    files().into_iter().find(|file| file.name.starts_with(name)).unwrap().bytes()
}

/// How far levels lie apart: on average, and at most.
fn apart(ours: &[u8], theirs: &[u8]) -> (f64, u8) {
    let apart: Vec<u8> = ours.iter().zip(theirs).map(|(a, b)| a.abs_diff(*b)).collect();
    let sum: f64 = apart.iter().map(|&d| f64::from(d)).sum();
    (sum / apart.len() as f64, apart.into_iter().max().unwrap())
}

#[test]
fn every_structure_gives_the_pixels_of_libjpeg() {
    let (mut read, mut wrong) = (0, Vec::new());
    for file in files() {
        let Some(theirs) = file.libjpeg() else {
            let said = picture(&file.bytes(), "a.jpg").unwrap_err().to_string();
            assert!(
                said.starts_with("a.jpg: is a JPEG") && said.contains("not read"),
                "{}: {said}",
                file.name
            );
            continue;
        };
        let (image, _) = picture(&file.bytes(), "a.jpg").unwrap();
        assert_eq!((image.width(), image.height()), (file.width, file.height), "{}", file.name);
        read += 1;
        let (mean, most) = apart(&image.to_rgb8(), &theirs);
        // Decoders round colours between samples each in its own way.
        if mean > 0.5 || most > 4 {
            wrong.push(format!("{}: {mean:.2} on average, {most} at most", file.name));
        }
    }
    assert!(read > 80 && wrong.is_empty(), "{} of {read}\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn both_decoders_read_what_is_plain_alike() {
    let mut plain_ones = 0;
    for file in files() {
        let bytes = file.bytes();
        let Some(markers) = Markers::read(&bytes).ok().filter(Markers::is_plain) else { continue };
        plain_ones += 1;
        let [fast, slow] =
            [plain(&bytes, &markers), any(&bytes, &markers)].map(|image| image.unwrap().to_rgb8());
        let (mean, most) = apart(&fast, &slow);
        assert!(mean < 0.5 && most <= 4, "{}: {mean:.2} on average, {most} at most", file.name);
    }
    assert!(plain_ones > 20, "{plain_ones}");
}

#[test]
fn what_breaks_off_is_refused_wherever_it_does() {
    for name in ["4:2:0", "4:2:0 progressive", "4:4:4 separate scans", "4:2:2 restarts", "grey", "four inks"]
    {
        let whole = file(&format!("{name},"));
        for kept in (2..whole.len()).step_by(7).chain([whole.len() - 1]) {
            let said = picture(&whole[..kept], "a.jpg").unwrap_err().to_string();
            assert!(said.contains("cut off"), "{name}, {kept} of {} bytes: {said}", whole.len());
            let mut hollow = whole.clone();
            hollow[kept..].fill(0);
            assert!(picture(&hollow, "a.jpg").is_err(), "{name}, zeros from {kept} on");
        }
    }
}

#[test]
fn a_component_that_no_scan_holds_is_missed() {
    let mut file = file("4:4:4 separate scans,");
    let last = file.windows(2).rposition(|two| two == [0xff, 0xda]).unwrap();
    file.truncate(last);
    file.extend([0xff, 0xd9]);
    let said = picture(&file, "a.jpg").unwrap_err().to_string();
    assert!(said.contains("a whole component is missing"), "{said}");
}

#[test]
fn scans_without_end_are_refused() {
    let whole = file("grey progressive,");
    let last = whole.windows(2).rposition(|two| two == [0xff, 0xda]).unwrap();
    let scan = &whole[last..whole.len() - 2];
    let many: Vec<u8> = [&whole[..last], &scan.repeat(1000), &[0xff, 0xd9]].concat();
    let said = picture(&many, "a.jpg").unwrap_err().to_string();
    assert!(said.contains("more than 512 scans"), "{said}");
}

#[test]
fn the_colours_are_those_that_the_markers_tell() {
    let colours = |name: &str| Markers::read(&file(name)).unwrap().colours;
    assert_eq!(colours("grey"), Colours::Grey);
    assert_eq!(colours("no word"), Colours::Ycc);
    assert_eq!(colours("Adobe's transform 0"), Colours::Rgb);
    assert_eq!(colours("red, green, blue"), Colours::Rgb);
    assert_eq!(colours("JFIF and Adobe's"), Colours::Ycc);
    assert_eq!(colours("four inks, no"), Colours::Cmyk);
    assert_eq!(colours("luma and black"), Colours::Ycck);
}
