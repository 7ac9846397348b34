//! Files and bytes → a [`Picture`] of 8-bit grey or colour with alpha, within limits.

use super::folder::is_foreign;
use super::jpeg;
use super::picture::{MAX_PIXELS, Picture, Pixels, check_size};
use crate::{Error, Result};
use ::image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, metadata::Orientation};
use std::io::Cursor;
use std::path::Path;

/// The longest picture file that is read, bytes.
pub const MAX_FILE_BYTES: u64 = 256 << 20;
/// The most memory that a decoder may take, bytes: eight for each allowed pixel.
pub(super) const MAX_DECODER_BYTES: u64 = 8 * MAX_PIXELS;

/// The ends of the names of files that class folders count as pictures.
pub const EXTENSIONS: [&str; 8] = ["png", "jpg", "jpeg", "gif", "bmp", "webp", "tif", "tiff"];

/// Whether the name of a file ends like a picture's. Hidden and foreign files are none.
pub fn is_picture_name(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|n| is_foreign(&n.to_string_lossy()));
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    !hidden && extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str()))
}

/// Decodes a picture, upright as its EXIF tag says; `name` is for messages.
pub(super) fn picture(bytes: &[u8], name: &str) -> Result<Picture> {
    if bytes.is_empty() {
        return Err(Error::invalid(name, "is empty (0 bytes), not a picture"));
    }
    let broken = |e: ::image::ImageError| Error::invalid_because(name, "cannot be decoded as a picture", e);
    let mut reader = ImageReader::new(Cursor::new(bytes));
    let format = ::image::guess_format(bytes).ok().filter(|f| f.reading_enabled());
    let Some(format) = format else {
        return Err(Error::invalid(name, "is not a picture; PNG, JPEG, GIF, BMP, WebP and TIFF are read"));
    };
    if format == ImageFormat::Jpeg {
        let (mut image, orientation) = jpeg::picture(bytes, name)?;
        image.apply_orientation(orientation);
        return Ok(flatten(image));
    }
    reader.set_format(format);
    reader.limits(limits());
    if let Some((width, height)) = declared_size(bytes, format) {
        check_size(width, height, name)?;
    }
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, name)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    image.apply_orientation(orientation);
    Ok(flatten(image))
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    limits
}

/// The size in a PNG's header, read before a decoder makes its row buffers, so that the message
/// can tell the size. Other decoders tell it before they reserve memory.
fn declared_size(bytes: &[u8], format: ImageFormat) -> Option<(u32, u32)> {
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    (format == ImageFormat::Png && bytes.get(12..16)? == b"IHDR").then(|| Some((number(16)?, number(20)?)))?
}

/// To 8 bits a sample: grey where the picture is opaque grey, else colour with alpha.
fn flatten(image: DynamicImage) -> Picture {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let pixels = match image {
        DynamicImage::ImageLuma8(levels) => Pixels::Gray(levels.into_raw()),
        DynamicImage::ImageLuma16(levels) => {
            Pixels::Gray(levels.into_raw().into_iter().map(to_8_bits).collect())
        }
        DynamicImage::ImageRgba8(colours) => Pixels::Rgba(colours.as_raw().as_chunks().0.to_vec()),
        DynamicImage::ImageRgba16(colours) => {
            Pixels::Rgba(colours.pixels().map(|p| p.0.map(to_8_bits)).collect())
        }
        DynamicImage::ImageRgb16(colours) => Pixels::Rgba(
            colours.pixels().map(|p| [to_8_bits(p[0]), to_8_bits(p[1]), to_8_bits(p[2]), 255]).collect(),
        ),
        DynamicImage::ImageLumaA16(levels) => Pixels::Rgba(
            levels
                .pixels()
                .map(|p| {
                    let [level, alpha] = p.0.map(to_8_bits);
                    [level, level, level, alpha]
                })
                .collect(),
        ),
        other => Pixels::Rgba(other.to_rgba8().pixels().map(|p| p.0).collect()),
    };
    Picture { width, height, pixels }
}

/// 0–65535 → 0–255, to the nearest.
fn to_8_bits(level: u16) -> u8 {
    ((u32::from(level) + 128) / 257) as u8
}
