//! The pixel contract: any picture → ink. The only place that decodes, inverts and resizes.

use serde::{Deserialize, Serialize};

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
    /// Ink of side `size`, polarity found from the border.
    pub fn ink(size: usize) -> Self {
        Self::Ink { size, polarity: Polarity::Auto }
    }

    /// Side of the square, pixels.
    pub fn size(&self) -> usize {
        match self {
            Self::Ink { size, .. } | Self::Rgb { size, .. } => *size,
        }
    }

    /// Channels of the tower's input: 1 for ink, 3 for RGB.
    pub fn channels(&self) -> usize {
        match self {
            Self::Ink { .. } => 1,
            Self::Rgb { .. } => 3,
        }
    }
}
