//! The steps of a program while the graph is still being read: what is fused can still change.

use super::kernels::{Binary, Epilogue, Function, Gating, LayerNorm};
use super::view::View;
use crate::exactness::{Integer, Interval, Range};

/// A map to be; its border grows with the padding of those that read it.
#[derive(Clone, Debug)]
pub struct MapDraft {
    pub channels: usize,
    pub size: [usize; 2],
    pub border: [usize; 4],
    /// What is known of its elements, where float32 rounds none of them.
    pub range: Option<Range>,
    /// Whether the step that fills it can store uint8.
    pub narrow: bool,
    /// What each channel is moved up by, so that bytes can stand for numbers below 0; or nothing.
    pub lift: Vec<u8>,
    /// What it always holds, `[H, W, C]`; nothing fills it then.
    pub constant: Option<Vec<f32>>,
}

impl MapDraft {
    /// Whether it is held as uint8.
    pub fn bytes(&self) -> bool {
        self.narrow && (!self.lift.is_empty() || self.range.as_ref().is_some_and(|r| r.fits(Integer::U8)))
    }

    /// What would move each channel up to where bytes hold it: the same for all where that is enough. None where the elements
    /// are not known to be integers of so few values. The border's 0 is moved too.
    pub fn needed_lift(&self) -> Option<Vec<u8>> {
        let range = self.range.as_ref()?.map(Interval::or_zero);
        let moved = |up: f64| move |c: Interval| Interval::new(c.low + up, c.high + up, c.step.min(0));
        let same = (-range.low()).max(0.0);
        if range.map(moved(same)).fits(Integer::U8) {
            return Some(vec![same as u8; self.channels]);
        }
        let lift = |c: &Interval| (-c.low).max(0.0);
        let each =
            range.channels().iter().map(|c| moved(lift(c))(*c).fits(Integer::U8).then_some(lift(c) as u8));
        each.collect::<Option<Vec<u8>>>().filter(|lift| lift.len() == self.channels)
    }

    /// The range of the bytes that it is held as, with its border.
    pub fn byte_range(&self) -> Option<Range> {
        let range = self.range.as_ref()?;
        let lift = self.lift.iter().map(|up| f64::from(*up));
        let Some(lift) = Range::of_numbers(lift) else { return Some(range.clone()) };
        range
            .map(Interval::or_zero)
            .zip(&lift, |c, up| Interval::new(c.low + up.low, c.high + up.low, c.step.min(0)))
    }
}

/// A value of the graph that is, or will be, in a map.
#[derive(Clone, Debug)]
pub struct LoweredValue {
    pub map: usize,
    /// How it lies there.
    pub view: View,
    /// Zeros around an image that are not in the map: top, left, bottom, right.
    pub pads: [usize; 4],
    /// A power of two that the map's elements are still to be multiplied by.
    pub factor: f32,
    /// The step that fills the map, if it may still be extended: nothing else reads the map.
    pub open: Option<usize>,
}

impl LoweredValue {
    pub fn of(map: usize, view: View) -> Self {
        Self { map, view, pads: [0; 4], factor: 1.0, open: None }
    }
}

/// How far the epilogue of a step has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// May still be scaled and shifted.
    Affine,
    /// Another map was added.
    Added,
    /// There are limits or a floor.
    Limited,
    /// Nothing more can be done to it.
    Done,
}

/// The windows of a convolution or pool on a map.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    pub kernel: [usize; 2],
    pub strides: [usize; 2],
    pub dilations: [usize; 2],
    /// Top, left, bottom, right.
    pub pads: [usize; 4],
    /// Pixels that come out.
    pub size: [usize; 2],
}

/// A convolution, or a product with a matrix (a window as large as the map).
#[derive(Clone, Debug)]
pub struct ProductDraft {
    /// `[O, kh, kw, C / groups]`.
    pub weights: Vec<f32>,
    /// C.
    pub inputs: usize,
    pub groups: usize,
    pub windows: Geometry,
    /// Computed with integers; no input is above this.
    pub integers_to: Option<u8>,
    pub way: Way,
}

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As products with a matrix for each group.
    Products,
    /// By Winograd's tiles.
    Tiles,
    /// Each channel by itself.
    Channels,
}

/// What a pool makes of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    Max,
    /// Whether zeros beside the image count.
    Mean(bool),
    Sum,
}

/// A product of two maps, matrix by matrix.
#[derive(Clone, Debug)]
pub struct MapsDraft {
    /// `[…, M, K]`.
    pub left: View,
    /// `[…, K, N]`.
    pub right: View,
}

/// The pixels along one axis of an image of another size: each a sum of these places times these weights.
pub type Samples = Vec<Vec<(usize, f32)>>;

/// What a step will compute.
#[derive(Clone, Debug)]
pub enum ActionDraft {
    Product(ProductDraft),
    Maps(MapsDraft),
    Elementwise,
    /// What it gives for each byte: `[256]`, or `[C, 256]`.
    Table(Vec<f32>),
    /// With the other map; that may be one pixel for all.
    Combine {
        how: Binary,
        spread: bool,
    },
    /// Times a gate; perhaps scaled, shifted and cut off downwards before the epilogue.
    Gate {
        by: Gating,
        narrowed: Option<[f32; 2]>,
        /// No product is of greater magnitude, and no gate; none where they may be no integers.
        most: Option<f64>,
    },
    Pool(Pooling, Geometry),
    Copy {
        from: View,
        to: View,
    },
    /// For each row and each column of the result the places of the input that it is made of, and their weights.
    Resample([Samples; 2]),
    UnitLength(f32),
    Softmax,
    LayerNorm(LayerNorm),
}

impl ActionDraft {
    /// Whether it can read maps of bytes.
    pub fn takes_bytes(&self) -> bool {
        match self {
            Self::Product(product) => product.integers_to.is_some(),
            Self::Elementwise
            | Self::Table(_)
            | Self::Gate { .. }
            | Self::Pool(..)
            | Self::Copy { .. }
            | Self::Resample(_) => true,
            _ => false,
        }
    }

    /// Whether it can read maps of bytes that are moved up.
    pub fn takes_lifted(&self) -> bool {
        match self {
            Self::Product(_) | Self::Elementwise | Self::Table(_) | Self::Gate { .. } => self.takes_bytes(),
            Self::Pool(pooling, _) => *pooling != Pooling::Max,
            _ => false,
        }
    }

    /// Whether it can store bytes that are moved up.
    pub fn stores_lifted(&self) -> bool {
        matches!(self, Self::Product(_) | Self::Elementwise | Self::Table(_) | Self::Gate { .. })
    }

    /// Whether sums and other maps go through the step's epilogue.
    pub fn has_epilogue(&self) -> bool {
        matches!(self, Self::Product(_) | Self::Maps(_) | Self::Elementwise)
    }

    /// Whether it can read maps of bytes as its second operand.
    pub fn takes_other_bytes(&self) -> bool {
        !matches!(self, Self::Gate { .. }) && self.takes_bytes()
    }
}

/// A step to be.
#[derive(Clone, Debug)]
pub struct StepDraft {
    pub name: String,
    pub action: ActionDraft,
    pub from: usize,
    /// The second operand.
    pub other: Option<usize>,
    /// Added in the epilogue.
    pub residual: Option<usize>,
    pub to: usize,
    /// For those that have one.
    pub epilogue: Epilogue,
    /// What is done after it.
    pub function: Option<Function>,
    pub stage: Stage,
    /// Its result is known to have the graph's very bits, and must keep them.
    pub strict: bool,
}
