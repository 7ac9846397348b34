//! What the user tells of a foreign model.

use super::{Preset, SetInput};
use crate::image::Filter;
use crate::tower::Distance;

/// What a foreign model does not tell of itself.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Name of the tower; none for the file's.
    pub name: Option<String>,
    /// From picture to pixels; its size and channels must be the model's.
    pub pixels: Pixels,
    /// A usual way to scale pixels, which the next three override.
    pub preset: Option<Preset>,
    /// Factor on the levels 0–255 before mean and standard deviation; none for the preset's, else 1/255, or 1
    /// where the model takes bytes.
    pub scale: Option<f32>,
    /// Taken from each channel, one number or one a channel; none for the preset's, else 0.
    pub mean: Option<Vec<f32>>,
    /// Divides each channel after that; none for the preset's, else 1.
    pub std: Option<Vec<f32>>,
    /// Blue, green, red, as OpenCV has them.
    pub bgr: bool,
    /// Inputs beside the picture that are set once and for all.
    pub set_inputs: Vec<SetInput>,
    /// The output that is the embedding, or any value inside; none where there is one output.
    pub output: Option<String>,
    /// D, where it is to be checked, or can neither be told from the nodes nor found by running the model.
    pub dim: Option<usize>,
    /// The distance of its embeddings.
    pub distance: Distance,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            name: None,
            pixels: Pixels::default(),
            preset: None,
            scale: None,
            mean: None,
            std: None,
            bgr: false,
            set_inputs: Vec::new(),
            output: None,
            dim: None,
            distance: Distance::Cosine,
        }
    }
}

/// What is known of the pixels; the model tells the rest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pixels {
    /// Side of the square.
    pub size: Option<usize>,
    /// Colours (true) or ink (false).
    pub rgb: Option<bool>,
    /// Filter of the resize of colours; none for the preset's, else linear.
    pub filter: Option<Filter>,
    /// Share of the shorter side that is kept; none for all.
    pub crop: Option<f64>,
}
