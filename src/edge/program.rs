//! A lowered tower as it runs: maps, and the steps that fill them.

use super::kernels::{Epilogue, Kernels, Offsets, Packed};
use super::map::Map;
use super::winograd::Winograd;

/// The weights of a product.
pub enum Weights {
    /// float32 by float32.
    Float(Packed<f32>),
    /// uint8 by int8 in int32.
    Int(Packed<u8>),
}

/// What a step computes.
pub enum Action {
    /// A convolution or a matrix product.
    Product {
        /// Packed for the micro-kernels.
        weights: Weights,
        /// What is done to the sums.
        epilogue: Epilogue,
    },
    /// A convolution of 3×3 with fewer products; windows are its tiles, pixels in its order.
    Winograd {
        /// Transformed and packed.
        weights: Winograd,
        /// What is done to the sums.
        epilogue: Epilogue,
    },
    /// An [`Epilogue`] alone, row by row; `scale` and `shift` are repeated over a row `[W, C]`.
    Elementwise(Epilogue),
    /// The greatest of each window, whose pixels are so far from its beginning.
    MaxPool(Vec<u32>),
    /// The sum of each window divided by a number.
    MeanPool {
        /// From the beginning of a window to each of its pixels.
        taps: Vec<u32>,
        /// Their count for a mean, 1 for a sum.
        divisor: f32,
    },
    /// `1 / (1 + e⁻ˣ)`, row by row.
    Sigmoid,
    /// Division of each row by the root of the sum of its squares plus a number.
    UnitLength(f32),
}

impl Action {
    /// For reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Product { weights: Weights::Int(_), .. } => "integer product",
            Self::Product { weights: Weights::Float(_), .. } => "float product",
            Self::Winograd { .. } => "float product of tiles",
            Self::Elementwise(_) => "each element",
            Self::MaxPool(_) => "greatest of windows",
            Self::MeanPool { .. } => "mean or sum of windows",
            Self::Sigmoid => "sigmoid",
            Self::UnitLength(_) => "unit length",
        }
    }

    /// Whether it multiplies by weights.
    pub fn is_product(&self) -> bool {
        matches!(self, Self::Product { .. } | Self::Winograd { .. })
    }
}

/// One step: from one map, and perhaps another that is added, to a third.
pub struct Step {
    /// For reports: the name of the node that it began with.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// The map it reads.
    pub from: usize,
    /// Where each window, tile or row of that map begins.
    pub windows: Offsets,
    /// The map that is added, and its pixels or rows.
    pub residual: Option<(usize, Offsets)>,
    /// The map it fills.
    pub to: usize,
    /// The pixels or rows of that map.
    pub at: Offsets,
    /// How many images these places are of: 1, or those that the step takes together.
    pub images: usize,
}

/// A lowered tower, or the beginning of one. Map 0 is the image.
pub struct Program {
    /// The kernels that its weights are packed for.
    pub kernels: &'static Kernels,
    /// The maps, by number.
    pub maps: Vec<Map>,
    /// In the order in which they run: first those that take one image, then those that take several.
    pub steps: Vec<Step>,
    /// The maps that come out.
    pub outputs: Vec<usize>,
    /// The most images of a run.
    pub images: usize,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").field("kernels", &self.kernels).field("steps", &self.describe()).finish()
    }
}

impl Program {
    /// One line for each step: name, what it does, with which numbers, from which size to which.
    pub fn describe(&self) -> Vec<String> {
        let size = |map: usize| {
            let Map { channels, size: [h, w], .. } = self.maps[map];
            format!("{h}×{w}×{channels}")
        };
        let line = |s: &Step| {
            let another = if s.residual.is_some() { " + another" } else { "" };
            format!("{}: {} {}{another} → {}", s.name, s.action.name(), size(s.from), size(s.to))
        };
        self.steps.iter().map(line).collect()
    }
}
