//! The steps of a program while the graph is still being read: what is fused can still change.

use super::kernels::Epilogue;
use crate::exactness::{Integer, Range};

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
}

impl MapDraft {
    /// Whether it is held as uint8.
    pub fn bytes(&self) -> bool {
        self.narrow && self.range.as_ref().is_some_and(|r| r.fits(Integer::U8))
    }
}

/// A value of the graph that is, or will be, in a map.
#[derive(Clone, Debug)]
pub struct LoweredValue {
    pub map: usize,
    /// `[N, C·H·W]` rather than `[N, C, H, W]`.
    pub flat: bool,
    /// Zeros around it that are not in the map: top, left, bottom, right.
    pub pads: [usize; 4],
    /// A power of two that the map's elements are still to be multiplied by.
    pub factor: f32,
    /// The step that fills the map, if it may still be extended: nothing else reads the map.
    pub open: Option<usize>,
}

impl LoweredValue {
    pub fn of(map: usize, flat: bool) -> Self {
        Self { map, flat, pads: [0; 4], factor: 1.0, open: None }
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
}

/// A convolution, or a product with a matrix (a window as large as the map).
#[derive(Clone, Debug)]
pub struct ProductDraft {
    /// `[O, kh, kw, C]`.
    pub weights: Vec<f32>,
    /// C.
    pub inputs: usize,
    pub kernel: [usize; 2],
    pub strides: [usize; 2],
    /// Top and left.
    pub pads: [usize; 2],
    /// Computed with integers; no input is above this.
    pub integers_to: Option<u8>,
    /// Computed by Winograd's tiles.
    pub tiled: bool,
}

/// A pool without padding.
#[derive(Clone, Copy, Debug)]
pub struct PoolDraft {
    pub kernel: [usize; 2],
    pub strides: [usize; 2],
}

/// What a step will compute.
#[derive(Clone, Debug)]
pub enum ActionDraft {
    Product(ProductDraft),
    Elementwise,
    Max(PoolDraft),
    Mean(PoolDraft),
    Sum(PoolDraft),
    Sigmoid,
    UnitLength(f32),
}

/// A step to be.
#[derive(Clone, Debug)]
pub struct StepDraft {
    pub name: String,
    pub action: ActionDraft,
    pub from: usize,
    pub residual: Option<usize>,
    pub to: usize,
    /// For [`ActionDraft::Product`] and [`ActionDraft::Elementwise`].
    pub epilogue: Epilogue,
    pub stage: Stage,
    /// Its result is known to have the graph's very bits, and must keep them.
    pub strict: bool,
}
