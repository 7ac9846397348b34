//! JPEG → a picture, in integer arithmetic, so that its pixels are the same bits on every CPU.
//!
//! Two decoders, both pure Rust, which build for ARM64 and WebAssembly; which reads what was chosen by comparing
//! both with libjpeg-turbo on files of every subsampling, order of scans, restart interval and colour space:
//!
//! - `zune-jpeg` is fast, and within 3 levels of libjpeg on the files that nearly every camera and program
//!   writes ([`Markers::is_plain`]). It runs without its vector code: the compiler's own is as fast, and nothing then
//!   hangs on the CPU. It draws stripes where a baseline file has a scan for each component, guesses colours
//!   otherwise than libjpeg, and fills up what is missing of a file with grey.
//! - `jpeg-decoder`, without its vector code too, is right on all of them but takes 1.8 times as long. It reads the rest.
//!
//! What neither does is done here: [`Markers`] reads the structure first, so that a file that breaks off is
//! refused as libjpeg's users refuse it, and kinds of JPEG that are not read are named. Arithmetic coding, lossless and
//! hierarchical JPEG and samples of 12 bits are refused.

mod markers;
#[cfg(test)]
mod tests;

use self::markers::{Colours, Markers};
use super::decode::MAX_DECODER_BYTES;
use super::picture::check_size;
use crate::{Error, Result};
use ::image::{DynamicImage, GrayImage, RgbaImage, metadata::Orientation};
use jpeg_decoder::ColorTransform;
use zune_jpeg::zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};

/// Decodes a JPEG as it lies in the file, and tells how it is to be turned; `name` is for messages.
pub(super) fn picture(bytes: &[u8], name: &str) -> Result<(DynamicImage, Orientation)> {
    let markers = Markers::read(bytes).map_err(|why| Error::invalid(name, why))?;
    check_size(markers.width.into(), markers.height.into(), name)?;
    let decoded = if markers.is_plain() { plain(bytes, &markers) } else { any(bytes, &markers) };
    let image = decoded.map_err(|e| Error::invalid_because(name, "cannot be decoded as a picture", e))?;
    let orientation = markers.exif.and_then(Orientation::from_exif_chunk);
    Ok((image, orientation.unwrap_or(Orientation::NoTransforms)))
}

type Decoded = std::result::Result<DynamicImage, Box<dyn std::error::Error + Send + Sync>>;

/// The fast decoder.
fn plain(bytes: &[u8], markers: &Markers<'_>) -> Decoded {
    let space = if markers.colours == Colours::Grey { ColorSpace::Luma } else { ColorSpace::RGBA };
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_use_unsafe(false)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX)
        .jpeg_set_out_colorspace(space);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    image(decoder.decode().map_err(|e| format!("{e:?}"))?, markers)
}

/// The decoder of everything else.
fn any(bytes: &[u8], markers: &Markers<'_>) -> Decoded {
    let mut decoder = jpeg_decoder::Decoder::new(bytes);
    decoder.set_color_transform(match markers.colours {
        Colours::Grey => ColorTransform::Grayscale,
        Colours::Ycc => ColorTransform::YCbCr,
        Colours::Rgb => ColorTransform::RGB,
        Colours::Cmyk => ColorTransform::CMYK,
        Colours::Ycck => ColorTransform::YCCK,
    });
    decoder.set_max_decoding_buffer_size(MAX_DECODER_BYTES as usize);
    let mut samples = decoder.decode()?;
    match markers.colours {
        Colours::Grey => {}
        Colours::Ycc | Colours::Rgb => {
            samples = samples.as_chunks().0.iter().flat_map(|&[r, g, b]| [r, g, b, 255]).collect();
        }
        Colours::Cmyk | Colours::Ycck => {
            samples.as_chunks_mut().0.iter_mut().for_each(|inks| *inks = from_inks(*inks));
        }
    }
    image(samples, markers)
}

/// Grey levels, or red, green, blue and opacity: as many as the frame promises.
fn image(samples: Vec<u8>, markers: &Markers<'_>) -> Decoded {
    let (width, height) = (u32::from(markers.width), u32::from(markers.height));
    let count = samples.len();
    let image = match markers.colours {
        Colours::Grey => GrayImage::from_raw(width, height, samples).map(Into::into),
        _ => RgbaImage::from_raw(width, height, samples).map(Into::into),
    };
    image.ok_or_else(|| format!("{count} samples were decoded, too few for {width}×{height} pixels").into())
}

/// The colour of four inks.
fn from_inks(inks: [u8; 4]) -> [u8; 4] {
    let [cyan, magenta, yellow, black] = inks.map(u32::from);
    let light = 255 - black;
    let level = |ink: u32| (light - (ink * light + 127) / 255) as u8;
    [level(cyan), level(magenta), level(yellow), 255]
}
