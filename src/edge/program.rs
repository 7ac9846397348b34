//! A lowered tower as it runs: maps, and the steps that fill them.

use super::copy::Copying;
use super::kernels::{
    Binary, ByteDepthwise, Depthwise, Epilogue, Extent, Finishing, Function, Gating, IntegerGate, Kernels,
    LayerNorm, Matrix, Offsets, Packed, Requantise, Runs, Sampling, Table,
};
use super::map::Map;
use super::memory::Memory;
use super::winograd::Winograd;

/// The weights of a product.
pub enum Weights {
    /// float32 by float32.
    Float(Packed<f32>),
    /// uint8 by int8 in int32.
    Int(Packed<u8>),
}

/// The weights of a convolution by tiles.
pub enum Tiles {
    /// float32 by float32.
    Float(Winograd<f32>),
    /// int16 by int16 in int32, of maps of uint8.
    Int(Winograd<i16>),
}

/// A table of what all bytes become.
pub enum Function8 {
    /// uint8.
    Bytes(Table<u8>),
    /// float32.
    Floats(Table<f32>),
}

/// The windows of a pool.
pub struct Pool {
    /// What of each pixel's window is inside the map.
    pub extents: Vec<Extent>,
    /// Elements from a row of a window to the next, and from a column to the next.
    pub strides: [usize; 2],
    /// Added to the bytes of each channel first; or nothing.
    pub before: Vec<i32>,
}

/// What a step computes.
pub enum Action {
    /// A convolution or a matrix product.
    Product {
        /// Of each group, packed for the micro-kernels.
        groups: Vec<Weights>,
        /// Input and output channels of a group.
        channels: [usize; 2],
        /// The runs of a window.
        runs: Runs,
        /// What is done to the sums.
        epilogue: Epilogue,
        /// The same for integers that become bytes, where shifts do it.
        requantise: Option<Requantise>,
        /// The same for results of float32, where the kernels do it.
        finishing: Option<Finishing<f32>>,
        /// The same for integers, where the kernels do it.
        finishing_bytes: Option<Finishing<u8>>,
    },
    /// A convolution of each channel by itself.
    Depthwise {
        /// Packed for the kernels.
        weights: Depthwise,
        /// From the beginning of a window to each of its pixels.
        taps: Vec<u32>,
        /// What is done to the sums.
        epilogue: Epilogue,
    },
    /// A convolution of each channel by itself, of bytes.
    ByteDepthwise {
        /// Packed for the kernels.
        weights: ByteDepthwise,
        /// What is done to the sums, if the kernels do not finish them.
        epilogue: Epilogue,
    },
    /// A convolution of 3×3 with fewer products; windows are its tiles, pixels in its order.
    Winograd {
        /// Transformed and packed.
        weights: Tiles,
        /// What is done to the sums.
        epilogue: Epilogue,
        /// The same for integers that become bytes, where shifts do it.
        requantise: Option<Requantise>,
    },
    /// Products of matrices in two maps: windows are the rows of the left ones, and the other map's places
    /// where the right ones begin.
    Maps {
        /// Each right matrix.
        right: Matrix,
        /// Rows of each left matrix.
        rows: usize,
        /// What is done to the sums.
        epilogue: Epilogue,
    },
    /// An [`Epilogue`] alone, row by row; `scale` and `shift` are repeated over a row `[W, C]`.
    Elementwise(Epilogue),
    /// A function of each byte, row by row.
    Table(Function8),
    /// Runs of two maps, element by element.
    Combine {
        /// What is made of two elements.
        how: Binary,
        /// Elements of a run.
        width: usize,
    },
    /// Each element times a gate, and an epilogue.
    Gate {
        /// What it is multiplied by.
        by: Gating,
        /// What is done before the epilogue, whose result is cut off downwards: a factor and a shift.
        narrowed: Option<[f32; 2]>,
        /// What is done to the products.
        epilogue: Epilogue,
        /// The same in integers, from bytes to bytes.
        integers: Option<IntegerGate>,
    },
    /// The greatest of each window.
    MaxPool(Pool),
    /// The sum of each window divided by a number.
    MeanPool(Pool),
    /// Elements in other places.
    Copy(Copying),
    /// An image of another size.
    Resample(Sampling),
    /// Division of each row by the root of the sum of its squares plus a number.
    UnitLength(f32),
    /// `eˣ / Σ eˣ` over the channels of each pixel.
    Softmax,
    /// Normalisation of the channels of each pixel.
    LayerNorm(LayerNorm),
}

impl Action {
    /// For reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Product { groups, .. } => match groups[..] {
                [Weights::Int(_)] => "integer product",
                [Weights::Float(_)] => "float product",
                [Weights::Int(_), ..] => "integer product of groups",
                _ => "float product of groups",
            },
            Self::Depthwise { .. } => "float product of each channel",
            Self::ByteDepthwise { .. } => "integer product of each channel",
            Self::Winograd { weights: Tiles::Float(_), .. } => "float product of tiles",
            Self::Winograd { weights: Tiles::Int(_), .. } => "integer product of tiles",
            Self::Maps { .. } => "float product of two maps",
            Self::Elementwise(_) => "each element",
            Self::Table(_) => "table of each byte",
            Self::Combine { how: Binary::Mul, .. } => "times another",
            Self::Gate { by: Gating::Channels, .. } => "times one for each channel",
            Self::Gate { by: Gating::Itself(_), .. } => "times itself within limits",
            Self::Combine { how: Binary::Div, .. } => "divided by another",
            Self::Combine { how: Binary::Max | Binary::Min, .. } => "greater or smaller of two",
            Self::MaxPool(_) => "greatest of windows",
            Self::MeanPool(_) => "mean or sum of windows",
            Self::Copy(_) => "copy",
            Self::Resample(_) => "another size",
            Self::UnitLength(_) => "unit length",
            Self::Softmax => "softmax",
            Self::LayerNorm(_) => "layer normalisation",
        }
    }

    /// Whether it multiplies by weights.
    pub fn is_product(&self) -> bool {
        matches!(
            self,
            Self::Product { .. }
                | Self::Depthwise { .. }
                | Self::ByteDepthwise { .. }
                | Self::Winograd { .. }
        )
    }

    /// Whether it may take several images at once.
    pub fn takes_several(&self) -> bool {
        !matches!(self, Self::Copy(_) | Self::Maps { .. } | Self::Resample(_))
    }
}

/// One step: from one map, and perhaps others, to another.
pub struct Step {
    /// For reports: the name of the node that it began with.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// The map it reads.
    pub from: usize,
    /// Where each window, tile or row of that map begins.
    pub windows: Offsets,
    /// The map of a second operand, and its runs.
    pub other: Option<(usize, Offsets)>,
    /// The map that is added, and its pixels or rows.
    pub residual: Option<(usize, Offsets)>,
    /// What is done to each element at the end.
    pub function: Option<Function>,
    /// The map it fills.
    pub to: usize,
    /// The pixels or rows of that map.
    pub at: Offsets,
    /// Whether the border of that map must be cleared first.
    pub clears: bool,
    /// How many images these places are of: 1, or those that the step takes together.
    pub images: usize,
}

impl Step {
    /// The maps it reads.
    pub fn reads(&self) -> impl Iterator<Item = usize> {
        let more = [&self.other, &self.residual].into_iter().flatten().map(|(map, _)| *map);
        more.chain([self.from])
    }
}

/// A lowered tower, or the beginning of one. Map 0 is the image.
pub struct Program {
    /// The kernels that its weights are packed for.
    pub kernels: &'static Kernels,
    /// The maps, by number.
    pub maps: Vec<Map>,
    /// Maps that nothing fills, and what they hold, `[H, W, C]`.
    pub constants: Vec<(usize, Vec<f32>)>,
    /// The memory of the maps.
    pub memory: Memory,
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
            let then = s.function.as_ref().map_or("", Function::name);
            format!("{}: {} {}{another}{then} → {}", s.name, s.action.name(), size(s.from), size(s.to))
        };
        self.steps.iter().map(line).collect()
    }
}
