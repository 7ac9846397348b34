#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use ::image::{DynamicImage, GrayImage, ImageBuffer, ImageFormat, Luma, Rgb, Rgba};
use ndarray::{Array2, array, s};
use std::io::Cursor;

fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A 12×12 page with a 4×4 block: paper and ink as given.
fn block(paper: u8, ink: u8) -> GrayImage {
    GrayImage::from_fn(12, 12, |x, y| {
        let inside = (4..8).contains(&x) && (4..8).contains(&y);
        Luma([if inside { ink } else { paper }])
    })
}

fn ink_of(image: DynamicImage, how: &Preprocessing) -> Array3<u8> {
    decode(&encode(&image, ImageFormat::Png), "test.png", how).unwrap()
}

/// The block as ink `[1, 12, 12]`.
fn block_of_ink() -> Array3<u8> {
    let mut ink = Array3::zeros((1, 12, 12));
    ink.slice_mut(s![0, 4..8, 4..8]).fill(255);
    ink
}

#[test]
fn every_lossless_format_and_depth_gives_the_same_ink() {
    let page = DynamicImage::from(block(255, 0));
    let how = Preprocessing::ink(12);
    for format in [ImageFormat::Png, ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::WebP, ImageFormat::Tiff]
    {
        // GIF and WebP have no grey.
        let colour = DynamicImage::from(page.to_rgb8());
        assert_eq!(decode(&encode(&colour, format), "page", &how).unwrap(), block_of_ink(), "{format:?}");
    }
    for deep in [
        DynamicImage::from(page.to_luma16()),
        page.to_rgb16().into(),
        page.to_rgba16().into(),
        page.to_luma_alpha16().into(),
        page.to_luma_alpha8().into(),
        page.to_rgba8().into(),
    ] {
        assert_eq!(ink_of(deep, &how), block_of_ink());
    }
}

#[test]
fn jpeg_is_ink_up_to_its_losses() {
    let page = DynamicImage::from(block(255, 0));
    let ink = decode(&encode(&page, ImageFormat::Jpeg), "page.jpg", &Preprocessing::ink(12)).unwrap();
    let worst = ink.iter().zip(&block_of_ink()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(worst < 64, "off by {worst}");
}

#[test]
fn the_border_tells_the_paper() {
    for (paper, ink) in [(255, 0), (0, 255), (200, 20), (90, 10), (40, 240)] {
        let drawn = ink_of(block(paper, ink).into(), &Preprocessing::ink(12));
        assert_eq!(drawn[(0, 0, 0)], 0, "paper {paper}, ink {ink}");
        assert!(drawn[(0, 5, 5)] > 150, "paper {paper}, ink {ink}: {}", drawn[(0, 5, 5)]);
    }
}

#[test]
fn a_known_tone_wins_over_the_border() {
    // A frame of ink around paper: the border misleads, the caller knows.
    let frame = block(0, 255);
    let how = |polarity| Preprocessing::Ink { size: 12, polarity, frame: Frame::Picture };
    assert_eq!(ink_of(frame.clone().into(), &how(Polarity::Auto))[(0, 5, 5)], 255);
    let dark = ink_of(frame.into(), &how(Polarity::Dark));
    assert_eq!((dark[(0, 0, 0)], dark[(0, 5, 5)]), (255, 0));
}

#[test]
fn a_blank_page_has_no_ink() {
    for tone in [0, 1, 127, 128, 255] {
        let page = GrayImage::from_pixel(9, 7, Luma([tone]));
        assert!(ink_of(page.into(), &Preprocessing::ink(16)).iter().all(|&x| x == 0), "tone {tone}");
    }
}

#[test]
fn what_is_transparent_is_paper() {
    for stroke in [[0_u8, 0, 0], [255, 255, 255]] {
        let page = ImageBuffer::from_fn(12, 12, |x, y| {
            let inside = (4..8).contains(&x) && (4..8).contains(&y);
            let [r, g, b] = stroke;
            if inside { Rgba([r, g, b, 255]) } else { Rgba([9, 200, 77, 0]) }
        });
        assert_eq!(ink_of(page.into(), &Preprocessing::ink(12)), block_of_ink(), "{stroke:?}");
    }
}

#[test]
fn areas_are_averaged_exactly() {
    // 3 → 2: each target pixel covers one and a half source pixels an axis.
    let gray = array![[0_u8, 90, 180], [90, 180, 0], [180, 0, 255]];
    let how = Preprocessing::ink(2).with_tone(Polarity::Light);
    let small = from_gray(gray.view(), &how).unwrap();
    let sums = [
        2 * 90 + 2 * 90 + 180,  // and (0, 0) is 0
        4 * 180 + 2 * 90 + 180, // and (1, 2) is 0
        4 * 180 + 2 * 90 + 180, // and (2, 1) is 0
        4 * 255 + 180,
    ];
    let expected: Vec<u8> = sums.iter().map(|sum| ((sum + 4) / 9) as u8).collect();
    assert_eq!(small.iter().copied().collect::<Vec<_>>(), expected);
}

#[test]
fn averaging_keeps_the_mean_and_the_aspect() {
    let gray =
        Array2::from_shape_fn((40, 100), |(y, x)| if y == 0 { 0 } else { ((7 * x + 13 * y) % 251) as u8 });
    let how = Preprocessing::ink(50).with_tone(Polarity::Light);
    let small = from_gray(gray.view(), &how).unwrap();
    assert!(small.slice(s![0, ..15, ..]).iter().chain(small.slice(s![0, 35.., ..]).iter()).all(|&x| x == 0));
    let sum = |a: ArrayView2<'_, u8>| a.iter().map(|&x| f64::from(x)).sum::<f64>() / a.len() as f64;
    let (before, after) = (sum(gray.view()), sum(small.slice(s![0, 15..35, ..])));
    assert!((before - after).abs() < 0.5, "{before} {after}");
}

/// White paper with black rectangles (left, top, width, height).
fn page(width: u32, height: u32, marks: &[[u32; 4]]) -> DynamicImage {
    let inked = |x, y| marks.iter().any(|[l, t, w, h]| (*l..l + w).contains(&x) && (*t..t + h).contains(&y));
    GrayImage::from_fn(width, height, |x, y| Luma([if inked(x, y) { 0 } else { 255 }])).into()
}

fn framed(picture: DynamicImage, size: usize) -> Array3<u8> {
    ink_of(picture, &Preprocessing::framed(size, Frame::Ink))
}

#[test]
fn framed_ink_lies_in_the_middle_whatever_its_place_and_size() {
    // Two bars, 52 pixels in all: 13/16 of 64.
    let bars = |left, top, k: u32| [[left, top, 52 * k, 4 * k], [left, top, 4 * k, 20 * k]];
    let first = framed(page(105, 105, &bars(3, 80, 1)), 64);
    assert_eq!(first.slice(s![0, 22..26, 6..58]).iter().filter(|&&x| x == 255).count(), 4 * 52);
    assert_eq!(first.iter().filter(|&&x| x > 0).count(), 4 * 52 + 16 * 4);
    for (side, left, top, k) in
        [(105, 50, 1, 1), (105, 0, 85, 1), (210, 60, 5, 2), (400, 17, 300, 3), (900, 9, 9, 8)]
    {
        assert_eq!(framed(page(side, side, &bars(left, top, k)), 64), first, "{side}: {left}, {top}, {k}");
    }
}

#[test]
fn a_dot_stays_small_and_a_blank_page_blank() {
    let dot = framed(page(105, 105, &[[50, 20, 3, 3]]), 32);
    // It is enlarged as ink of 27 pixels (a quarter of 105) would be, not to 26 of 32 pixels.
    let sum: f64 = dot.iter().map(|&x| f64::from(x) / 255.0).sum();
    assert!((sum - 9.0 * (26.0_f64 / 27.0).powi(2)).abs() < 0.1, "{sum}");
    assert!(framed(page(30, 20, &[]), 32).iter().all(|&x| x == 0));
}

#[test]
fn a_speck_does_not_move_the_frame_of_a_large_picture() {
    let stroke = [300, 300, 40, 400];
    let clean = framed(page(1000, 1000, &[stroke]), 32);
    assert_eq!(framed(page(1000, 1000, &[stroke, [990, 5, 2, 2]]), 32), clean);
    // What is larger belongs to the drawing.
    assert_ne!(framed(page(1000, 1000, &[stroke, [700, 305, 30, 30]]), 32), clean);
}

#[test]
fn framed_ink_of_any_picture_fills_the_square_within_its_margin() {
    for (width, height, size) in
        [(1, 1, 1), (1, 1, 28), (1, 500, 28), (500, 1, 28), (2, 3, 105), (97, 61, 4096)]
    {
        let ink = framed(page(width, height, &[[0, 0, width, height.div_ceil(2)]]), size);
        assert_eq!(ink.dim(), (1, size, size));
    }
}

#[test]
fn one_pixel_and_one_row_are_pictures_too() {
    for (width, height, size) in [(1, 1, 1), (1, 1, 28), (1, 500, 28), (500, 1, 28), (2, 3, 105)] {
        let page = GrayImage::from_fn(width, height, |x, y| Luma([if (x + y) % 2 == 0 { 255 } else { 0 }]));
        let ink = ink_of(page.into(), &Preprocessing::ink(size));
        assert_eq!(ink.dim(), (1, size, size));
    }
}

#[test]
fn the_same_bytes_on_every_machine() {
    let page = ImageBuffer::from_fn(97, 61, |x, y| {
        let v = |k: u32| ((x * k + y * (k + 2)) % 256) as u8;
        Rgba([v(3), v(5), v(7), v(11) | 64])
    });
    for (frame, golden) in GOLDEN_INK {
        let ink = ink_of(DynamicImage::from(page.clone()), &Preprocessing::framed(28, frame));
        let sum = ink.iter().fold(0_u64, |h, &x| (h ^ u64::from(x)).wrapping_mul(0x0100_0000_01b3));
        assert_eq!(sum, golden, "the pixel contract changed: {frame:?} {sum:#x}");
    }
}

/// FNV over the ink of the picture above, written down when the contract was made, for each frame.
const GOLDEN_INK: [(Frame, u64); 2] =
    [(Frame::Picture, 0xfed2_b728_cf89_9d3b), (Frame::Ink, 0x2218_2aca_b36a_8846)];

#[test]
fn colours_keep_their_channels() {
    let page =
        ImageBuffer::from_fn(20, 10, |x, _| if x < 10 { Rgb([200_u8, 10, 30]) } else { Rgb([1, 2, 250]) });
    let how = |crop| Preprocessing::Rgb { size: 10, filter: Filter::Triangle, crop };
    let whole = ink_of(page.clone().into(), &how(1.0));
    assert_eq!(whole.dim(), (3, 10, 10));
    assert_eq!(whole.slice(s![.., 5, 1]).to_vec(), [200, 10, 30]);
    assert_eq!(whole.slice(s![.., 5, 8]).to_vec(), [1, 2, 250]);
    // The central 5×5 window shows both halves.
    let centre = ink_of(page.into(), &how(0.5));
    assert_eq!((centre[(0, 5, 0)], centre[(2, 5, 9)]), (200, 250));
}

/// Red as given row by row, green 10 and blue 255 everywhere.
fn reds<const W: usize>(rows: [[u8; W]; 2]) -> DynamicImage {
    ImageBuffer::from_fn(W as u32, 2, |x, y| Rgb([rows[y as usize][x as usize], 10, 255])).into()
}

/// The red plane of a picture in colours of this size.
fn red(picture: DynamicImage, size: usize, fit: Fit, backdrop: Backdrop) -> Array2<u8> {
    let colours = ink_of(picture, &Preprocessing::Colour { size, fit, backdrop });
    assert_eq!(colours.dim(), (3, size, size));
    colours.index_axis_move(ndarray::Axis(0), 0)
}

#[test]
fn squares_of_colours_are_laid_as_asked_and_averaged_exactly() {
    let wide = || reds([[0, 100, 200, 40], [20, 120, 220, 60]]);
    // Means of two columns; rows stay.
    assert_eq!(red(wide(), 2, Fit::Squeeze, Backdrop::White), array![[50, 120], [70, 140]]);
    assert_eq!(red(wide(), 2, Fit::Crop, Backdrop::White), array![[100, 200], [120, 220]]);
    // One row of two means of four; the odd row of backdrop is below.
    assert_eq!(red(wide(), 2, Fit::Pad, Backdrop::White), array![[60, 130], [255, 255]]);
    let padded = red(wide(), 4, Fit::Pad, Backdrop::Black);
    assert_eq!(padded, array![[0, 0, 0, 0], [0, 100, 200, 40], [20, 120, 220, 60], [0, 0, 0, 0]]);
    // The middle 2 of 5 columns begin half a pixel in: (0 + 100) / 2, (100 + 250) / 2.
    let odd = reds([[9, 0, 100, 250, 9], [9, 50, 51, 51, 9]]);
    // 50.5 and 51: to the nearest, halves up.
    assert_eq!(red(odd, 2, Fit::Crop, Backdrop::White), array![[50, 175], [51, 51]]);
    // Enlarged: a pixel of 2 becomes one and a half of 3.
    let small = reds([[0, 90], [0, 90]]);
    assert_eq!(red(small, 3, Fit::Squeeze, Backdrop::White).row(0), array![0, 45, 90]);
    // The other channels are laid alike, and grey pictures have three equal ones.
    let how = Preprocessing::Colour { size: 2, fit: Fit::Pad, backdrop: Backdrop::White };
    let colours = ink_of(wide(), &how);
    assert_eq!(colours.slice(s![1.., 0, 1]).to_vec(), [10, 255]);
    let grey = ink_of(GrayImage::from_raw(2, 2, vec![1, 2, 3, 4]).unwrap().into(), &how);
    assert!((0..3).all(|c| grey.index_axis(ndarray::Axis(0), c) == array![[1, 2], [3, 4]]));
}

#[test]
fn transparency_shows_the_backdrop() {
    let clear = ImageBuffer::from_fn(2, 1, |x, _| Rgba([200_u8, 0, 100, if x == 0 { 0 } else { 128 }]));
    for (backdrop, expected) in [
        // 200·128/255 + 255·127/255 = 227.4; 127; 177.2.
        (Backdrop::White, [[255, 227], [255, 127], [255, 177]]),
        (Backdrop::Black, [[0, 100], [0, 0], [0, 50]]),
    ] {
        let how = Preprocessing::Colour { size: 2, fit: Fit::Squeeze, backdrop };
        let colours = ink_of(clear.clone().into(), &how);
        for (channel, levels) in expected.into_iter().enumerate() {
            assert_eq!(colours.slice(s![channel, 0, ..]).to_vec(), levels, "{backdrop:?}");
        }
    }
}

#[test]
fn colours_are_told_from_grey() {
    let seen = |picture: DynamicImage| look(&encode(&picture, ImageFormat::Png), "x").unwrap();
    let wide = seen(reds([[0, 100, 200, 40], [20, 120, 220, 60]]));
    assert_eq!(wide, Seen { width_px: 4, height_px: 2, coloured: true });
    let page = block(255, 0);
    assert!(!seen(page.clone().into()).coloured);
    assert!(!seen(DynamicImage::from(page.clone()).to_rgb8().into()).coloured, "grey in three channels");
    let mut dotted = DynamicImage::from(page).to_rgba8();
    dotted.put_pixel(0, 0, Rgba([255, 0, 0, 255]));
    assert!(!seen(dotted.clone().into()).coloured, "one dot of 144");
    for x in 1..12 {
        dotted.put_pixel(x, 0, Rgba([255, 0, 0, 255]));
    }
    assert!(seen(dotted.clone().into()).coloured, "a line");
    for x in 0..12 {
        dotted.put_pixel(x, 0, Rgba([255, 0, 0, 10]));
    }
    assert!(!seen(dotted.into()).coloured, "what nobody sees");
}

#[test]
fn colours_are_written_and_read_again() {
    let how = Preprocessing::Colour { size: 48, fit: Fit::Crop, backdrop: Backdrop::Black };
    let text = serde_json::to_string(&how).unwrap();
    assert_eq!(text, r#"{"kind":"colour","size":48,"fit":"crop","backdrop":"black"}"#);
    assert_eq!(serde_json::from_str::<Preprocessing>(&text).unwrap(), how);
    assert!(serde_json::from_str::<Preprocessing>(r#"{"kind":"colour","size":48,"fit":"stretch"}"#).is_err());
}

/// A PNG header that promises this many pixels, and nothing after it.
fn promise(width: u32, height: u32) -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([1, 0, 0, 0, 0]);
    let mut crc = flate2::Crc::new();
    crc.update(&header);
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    png.extend(&header);
    png.extend(crc.sum().to_be_bytes());
    png
}

#[test]
fn bad_pictures_are_errors_that_name_the_file() {
    struct Case {
        bytes: Vec<u8>,
        says: &'static str,
    }
    let whole = encode(&block(255, 0).into(), ImageFormat::Png);
    let cases = [
        Case { bytes: Vec::new(), says: "0 bytes" },
        Case { bytes: b"this is text, not a picture".to_vec(), says: "is not a picture" },
        Case { bytes: promise(60_000, 60_000), says: "60000×60000" },
        Case { bytes: promise(40_000, 1), says: "40000×1" },
        Case { bytes: promise(0, 5), says: "none at all" },
        Case { bytes: promise(10, 10), says: "cannot be decoded" },
        Case { bytes: whole[..whole.len() / 2].to_vec(), says: "cannot be decoded" },
        Case { bytes: b"BM".to_vec(), says: "cannot be decoded" },
    ];
    for case in cases {
        let error = decode(&case.bytes, "pile/of/x.png", &Preprocessing::ink(28)).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("pile/of/x.png: ") && text.contains(case.says), "{}: {text}", case.says);
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn senseless_preprocessing_is_an_error() {
    let bytes = encode(&block(255, 0).into(), ImageFormat::Png);
    let rgb = |crop| Preprocessing::Rgb { size: 8, filter: Filter::Nearest, crop };
    for how in [Preprocessing::ink(0), Preprocessing::ink(1 << 40), rgb(0.0), rgb(1.5), rgb(f64::NAN)] {
        assert!(decode(&bytes, "x", &how).is_err(), "{how:?}");
    }
    assert!(from_gray(Array2::zeros((0, 5)).view(), &Preprocessing::ink(8)).is_err());
}

#[test]
fn names_of_pictures() {
    for (name, is) in
        [("a.png", true), ("b/C.JPeG", true), (".png", false), (".a.png", false), ("a.txt", false)]
    {
        assert_eq!(is_picture_name(Path::new(name)), is, "{name}");
    }
}

/// Of every format.
#[test]
fn what_breaks_off_is_no_picture() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/picture");
    let mut tried = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let (whole, how) = (std::fs::read(&path).unwrap(), Preprocessing::ink(9));
        if decode(&whole, "a", &how).is_err() {
            // Kept for what it once did.
            continue;
        }
        tried += 1;
        // A moving picture's first frame may be whole.
        let halves: &[usize] = if path.ends_with("moving.gif") { &[20, 10] } else { &[70, 50, 20] };
        for percent in halves {
            let kept = &whole[..whole.len() * percent / 100];
            assert!(decode(kept, "a", &how).is_err(), "{percent} % of {}", path.display());
        }
    }
    assert!(tried > 20, "{tried}");
}
