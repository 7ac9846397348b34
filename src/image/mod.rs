//! The pixel contract: any picture → ink. The only place that decodes, inverts and resizes.
//!
//! Ink is `uint8 [1, S, S]`: 0 is paper, 255 the darkest stroke. It is made in integer arithmetic
//! only, and pictures are decoded in integers, so that the same file gives the same bytes on every machine.
//! Colours are `uint8 [3, S, S]`, red first, as a screen shows them: for towers of our own made in integers
//! as ink is, for foreign ones by the filter that they were trained with.
//!
//! Nothing here trusts its input: pixels and memory are limited before anything is decoded. In a browser the browser
//! decodes.

mod colour;
#[cfg(not(target_family = "wasm"))]
mod decode;
#[cfg(not(target_family = "wasm"))]
pub mod folder;
mod ink;
#[cfg(not(target_family = "wasm"))]
mod jpeg;
mod picture;
mod rgb;
#[cfg(not(target_family = "wasm"))]
mod seen;
pub mod shown;
#[cfg(test)]
mod tests;
mod triage;
mod window;

pub use colour::{Backdrop, Colour, Fit};
#[cfg(not(target_family = "wasm"))]
pub use decode::{EXTENSIONS, MAX_FILE_BYTES, is_picture_name};
pub use picture::{MAX_PIXELS, MAX_SIDE};
#[cfg(not(target_family = "wasm"))]
pub use seen::{Seen, colours_lost, look};
pub use triage::{Tally, Triage};

#[cfg(not(target_family = "wasm"))]
use crate::files;
use crate::{Error, Result};
use ndarray::{Array3, ArrayView2};
use picture::{Picture, Pixels, check_size};
use serde::{Deserialize, Serialize};
#[cfg(not(target_family = "wasm"))]
use std::path::Path;

/// The greatest side of a tower's input, pixels.
pub const MAX_SIZE: usize = 4096;

/// Which of the two tones of a picture is ink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Polarity {
    /// The border tells: its tone is paper.
    #[default]
    Auto,
    /// Dark ink on light paper.
    Dark,
    /// Light ink on dark paper.
    Light,
}

/// What the square of ink is laid around.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Frame {
    /// The picture: all of it is seen, and where in it the ink lies, and how large, counts.
    #[default]
    Picture,
    /// The ink: its bounding box lies in the middle and its longer side takes 13/16 of the square
    /// (less where the ink is shorter than a quarter of the picture). Place and size do not count.
    Ink,
}

impl Frame {
    /// Whether it is the usual one, which files need not tell.
    pub fn is_picture(&self) -> bool {
        *self == Self::Picture
    }
}

/// How a picture file becomes the `uint8 [C, S, S]` input of a tower; kept in the tower's metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Preprocessing {
    /// Ink levels `[1, S, S]`, 0 = paper: area-averaged, aspect kept, padded with paper.
    Ink {
        /// Side of the square, pixels.
        size: usize,
        /// Which tone is ink.
        #[serde(default)]
        polarity: Polarity,
        /// What the square is laid around.
        #[serde(default, skip_serializing_if = "Frame::is_picture")]
        frame: Frame,
    },
    /// Colours `[3, S, S]`, 0–255, red first: area-averaged.
    Colour {
        /// Side of the square, pixels.
        size: usize,
        /// How the square is laid over the picture.
        #[serde(default)]
        fit: Fit,
        /// What lies under transparency and beside the picture.
        #[serde(default)]
        backdrop: Backdrop,
    },
    /// Colours `[3, S, S]`, 0–255, for foreign towers; scaling by mean and standard deviation is
    /// inside the imported graph.
    Rgb {
        /// Side of the square, pixels.
        size: usize,
        /// The filter of the resize.
        #[serde(default)]
        filter: Filter,
        /// Resize the shorter side to `size / crop` and cut the centre; 1.0 squeezes the whole
        /// picture into the square.
        #[serde(default = "one")]
        crop: f64,
    },
}

/// The filter of an RGB resize.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// Two-tap linear interpolation, widened when shrinking.
    #[default]
    Triangle,
    /// Catmull-Rom cubic.
    Cubic,
    /// Lanczos with three lobes.
    Lanczos3,
    /// Nearest pixel.
    Nearest,
}

fn one() -> f64 {
    1.0
}

impl Preprocessing {
    /// Ink of side `size`, polarity found from the border, all of the picture seen.
    pub fn ink(size: usize) -> Self {
        Self::framed(size, Frame::Picture)
    }

    /// Ink of side `size`, polarity found from the border.
    pub fn framed(size: usize, frame: Frame) -> Self {
        Self::Ink { size, polarity: Polarity::Auto, frame }
    }

    /// Side of the square, pixels.
    pub fn size(&self) -> usize {
        match self {
            Self::Ink { size, .. } | Self::Colour { size, .. } | Self::Rgb { size, .. } => *size,
        }
    }

    /// Channels of the tower's input: 1 for ink, 3 for colours.
    pub fn channels(&self) -> usize {
        match self {
            Self::Ink { .. } => 1,
            Self::Colour { .. } | Self::Rgb { .. } => 3,
        }
    }

    /// Colours of the same size.
    pub fn in_colour(&self, Colour { fit, backdrop }: Colour) -> Self {
        Self::Colour { size: self.size(), fit, backdrop }
    }

    /// The same with the ink's tone known: what the caller left to the border is decided.
    pub fn with_tone(&self, tone: Polarity) -> Self {
        match *self {
            Self::Ink { size, polarity: Polarity::Auto, frame } => Self::Ink { size, polarity: tone, frame },
            ref other => other.clone(),
        }
    }

    /// Whether the values can be used at all; `at` names who asked.
    pub fn validate(&self, at: &str) -> Result<()> {
        if !(1..=MAX_SIZE).contains(&self.size()) {
            let why = format!("the size is {} pixels; it must be 1 to {MAX_SIZE}", self.size());
            return Err(Error::invalid(at, why));
        }
        match *self {
            Self::Rgb { crop, .. } if !(crop > 0.0 && crop <= 1.0) => {
                Err(Error::invalid(at, format!("the crop is {crop}; it must be above 0 and at most 1")))
            }
            _ => Ok(()),
        }
    }
}

/// Reads a picture file: `uint8 [C, S, S]`.
///
/// The format is told from the content, not from the name. Errors name the file.
#[cfg(not(target_family = "wasm"))]
pub fn load(path: impl AsRef<Path>, how: &Preprocessing) -> Result<Array3<u8>> {
    let path = path.as_ref();
    decode(&read(path)?, &path.display().to_string(), how)
}

/// The bytes of a picture file.
///
/// # Errors
/// A file that cannot be read, or is longer than [`MAX_FILE_BYTES`].
#[cfg(not(target_family = "wasm"))]
pub fn read(path: &Path) -> Result<Vec<u8>> {
    files::read(path, MAX_FILE_BYTES, "a picture")
}

/// Decodes a picture (PNG, JPEG, GIF, BMP, WebP or TIFF; of an animation the first frame):
/// `uint8 [C, S, S]`. `name` is for messages.
#[cfg(not(target_family = "wasm"))]
pub fn decode(bytes: &[u8], name: &str, how: &Preprocessing) -> Result<Array3<u8>> {
    how.validate(name)?;
    let picture = decode::picture(bytes, name)?;
    if how.channels() == 1 {
        seen::tell_of_colours(&picture);
    }
    Ok(pixels(&picture, how))
}

/// From pixels as a browser's canvas has them, row by row, each red, green, blue, opacity: `uint8 [C, S, S]`. The
/// same as of a file that holds these pixels.
///
/// # Errors
/// Sizes that are not decoded from files either; another number of bytes than the size needs.
pub fn from_rgba(width: u32, height: u32, rgba: &[u8], how: &Preprocessing) -> Result<Array3<u8>> {
    const AT: &str = "the picture";
    how.validate("the preprocessing")?;
    check_size(width, height, AT)?;
    let (width, height) = (width as usize, height as usize);
    let (pixels, rest) = rgba.as_chunks();
    if pixels.len() != width * height || !rest.is_empty() {
        let why = format!("has {} bytes; {width}×{height} pixels of 4 bytes are told of", rgba.len());
        return Err(Error::invalid(AT, why));
    }
    Ok(self::pixels(&Picture { width, height, pixels: Pixels::Rgba(pixels.to_vec()) }, how))
}

/// From grey levels `[H, W]` as a screen shows them (0 black, 255 white): `uint8 [C, S, S]`.
pub fn from_gray(gray: ArrayView2<'_, u8>, how: &Preprocessing) -> Result<Array3<u8>> {
    how.validate("the preprocessing")?;
    let (height, width) = gray.dim();
    if width == 0 || height == 0 {
        return Err(Error::invalid("the picture", format!("it has {width}×{height} pixels, so none at all")));
    }
    let picture = Picture::gray(width, height, gray.iter().copied().collect());
    Ok(pixels(&picture, how))
}

fn pixels(picture: &Picture, how: &Preprocessing) -> Array3<u8> {
    match *how {
        Preprocessing::Ink { size, polarity, frame } => ink::from_picture(picture, size, polarity, frame),
        Preprocessing::Colour { size, fit, backdrop } => {
            colour::from_picture(picture, size, Colour { fit, backdrop })
        }
        Preprocessing::Rgb { size, filter, crop } => rgb::from_picture(picture, size, filter, crop),
    }
}
