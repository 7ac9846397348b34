//! A picture → colours `[3, S, S]`, red first, in integers throughout.
//!
//! What is transparent shows the [`Backdrop`]; the square is laid over the picture as [`Fit`] says, and areas
//! are averaged, each channel by itself.

use super::ink::over;
use super::picture::{Picture, Pixels};
use super::window::{Padded, Window, average_areas};
use ndarray::{Array3, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

/// How a square of colours is made of a picture. In a recipe: `"colour": {}` for the usual way,
/// `"colour": {"fit": "crop", "backdrop": "black"}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Colour {
    /// How the square is laid over the picture.
    pub fit: Fit,
    /// What lies under transparency and beside the picture.
    pub backdrop: Backdrop,
}

/// How the square is laid over a picture that is not square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// All of the picture is in the square, its aspect kept, the backdrop beside it.
    #[default]
    Pad,
    /// The square is the middle of the picture, as large as its shorter side.
    Crop,
    /// All of the picture is squeezed into the square.
    Squeeze,
}

/// What lies under transparency and beside the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backdrop {
    /// Paper.
    #[default]
    White,
    /// Night.
    Black,
}

impl Backdrop {
    /// Its level in every channel.
    pub fn level(self) -> u8 {
        match self {
            Self::White => 255,
            Self::Black => 0,
        }
    }
}

/// Colours `[3, S, S]`.
pub(super) fn from_picture(picture: &Picture, size: usize, how: Colour) -> Array3<u8> {
    let (width, height) = (picture.width, picture.height);
    let backdrop = how.backdrop.level();
    let mut square = Array3::from_elem((3, size, size), backdrop);
    let laid = Laid::new(how.fit, width, height, size);
    let mut lay = |channel: usize, levels: &[u8]| {
        let mut plane = square.index_axis_mut(Axis(0), channel);
        match &laid {
            Laid::Padded(padded) => padded.lay(levels, plane),
            Laid::Over(across, down) => {
                let small = average_areas(levels, across, down);
                if let Ok(small) = ArrayView2::from_shape((size, size), &small) {
                    plane.assign(&small);
                }
            }
        }
    };
    match &picture.pixels {
        Pixels::Gray(levels) => (0..3).for_each(|channel| lay(channel, levels)),
        Pixels::Rgba(colours) => {
            for channel in 0..3 {
                let levels: Vec<u8> = colours.iter().map(|c| over(c[channel], backdrop, c[3])).collect();
                lay(channel, &levels);
            }
        }
    }
    square
}

/// A square laid over a picture.
enum Laid {
    Padded(Padded),
    Over(Window, Window),
}

impl Laid {
    fn new(fit: Fit, width: usize, height: usize, size: usize) -> Self {
        let shorter = width.min(height);
        match fit {
            Fit::Pad => Self::Padded(Padded::new(width, height, size)),
            Fit::Crop => {
                Self::Over(Window::middle(width, shorter, size), Window::middle(height, shorter, size))
            }
            Fit::Squeeze => Self::Over(Window::whole(width, size), Window::whole(height, size)),
        }
    }
}
