//! A float tower's graph → an exact tower, whatever network it is.
//!
//! The graph is read for one picture (`read`): constants are folded, what does nothing is left out. Then it is
//! decided where numbers are rounded (`plan`), pictures of the user's tell how large they become (`observe`), each
//! value gets a unit (`units`), and integers are chosen channel by channel (`channel`) and written (`emit`).
//!
//! **The forms**, for whoever lowers them. A, B are integers of 7 bits and, unless a limit says otherwise, a sign:
//! `[0, 127]` or `[−127, 127]`, with 0 for the number 0. Weights are of 8 bits, `[−127, 127]`, stored as int8 and
//! cast to float32. Sums fit 25 bits with their sign. f and g are factors: an integer of at most 11 bits times a
//! power of two, one for all or one a channel.
//!
//! | float | exact |
//! |---|---|
//! | the picture | `Cast(image)`; where it is padded, `Sub` of a level for each channel: as bytes, a border of that level |
//! | product, batch normalisation, sums, limits | `Conv(A, W, b) · 2^s [+ B·f …] → Floor → Clip`; b holds half a step |
//! | a sum without a product | `A·f + B·g + h → Floor → Clip` |
//! | mean | `ReduceSum(A) · f + ½ → Floor → Clip`, or `Conv` of each channel with ones |
//! | product of two maps, or of a map and a gate a channel | `(A·B)·f + ½ → Floor → Clip` |
//! | function of one value (`SiLU`, sigmoid, tanh, GELU …) | `Gather(table, Cast(A + 127))`: 255 integers, 128 without a sign |
//! | hard swish | `A·Clip(A + t, 0, 2t) · f + ½ → Floor → Clip`, with t for 3 |
//! | leaky and parametric ReLU | `Relu(A)·f + Clip(A, −127, 0)·g + ½ → Floor → Clip` |
//! | concatenation, slices, shapes, axes, zero padding, maxima | themselves |
//!
//! Where a sum is too great for a factor, it is first `· 2^−j + ½ → Floor`. The order of operators within a form is
//! always the one above, so that each form is the epilogue of its first node. Rows of unit length at the end are
//! left out: the distance is then the cosine, which divides by the length itself.

mod channel;
mod emit;
mod function;
mod graph;
mod known;
mod moves;
mod observe;
mod plan;
mod read;
mod tail;
#[cfg(test)]
pub(super) mod tests;
mod units;
mod write;

use crate::onnx::{ModelProto, Tensor};
use crate::tower::{Distance, Provenance, TowerKind, TowerSpec, prove};
use crate::{Error, Result};
use ndarray::ArrayView4;
use serde::Serialize;

/// What runs a float graph on pictures, for the calibration.
pub trait Runs {
    /// Gives `take` the outputs of the model for each picture of `[N, C, S, S]`, one after the other. The model
    /// takes `image: uint8 [1, C, S, S]`.
    ///
    /// # Errors
    /// Where it cannot be run; what `take` gives.
    fn run(
        &mut self,
        model: &ModelProto,
        images: ArrayView4<'_, u8>,
        take: &mut dyn FnMut(Vec<Tensor>) -> Result<()>,
    ) -> Result<()>;
}

/// An exact tower made of a float one.
#[derive(Clone, Debug)]
pub struct Made {
    /// The tower, with its metadata.
    pub model: ModelProto,
    /// What the integers cost.
    pub cost: Cost,
}

/// What the integers cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Convolutions and products.
    pub products: usize,
    /// Those whose weights have fewer than 8 bits in some channels, so that their sums stay below 2²⁴.
    pub coarser: Vec<Coarser>,
    /// Functions that became tables.
    pub tables: Vec<String>,
}

/// A product whose weights have fewer bits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Coarser {
    /// The node.
    pub node: String,
    /// Its channels whose weights lost bits.
    pub channels: usize,
    /// All of its channels.
    pub of: usize,
    /// The most bits that one lost.
    pub bits: i32,
}

/// Makes an exact tower of a float one: `image: uint8 [N, C, S, S]` → `embedding: float32 [N, D]`, integers in
/// [−127, 127]. Scales are chosen on `images` `[N, C, S, S]`. The bounds are proven and written into the metadata.
///
/// # Errors
/// A tower that is exact already; operators without an exact form, by node; a float tower that cannot be run, or
/// that is not finite on the pictures; no pictures.
pub fn integers(
    model: &ModelProto,
    tower: &TowerSpec,
    images: ArrayView4<'_, u8>,
    runs: &mut dyn Runs,
) -> Result<Made> {
    if tower.kind == TowerKind::Exact {
        return Err(Error::invalid(format!("the tower {}", tower.name), "is exact already"));
    }
    if images.shape()[0] == 0 {
        return Err(Error::invalid("the pictures of the calibration", "are none; give a few hundred"));
    }
    let read = read::read(model)?;
    let distance = distance(tower, read.graph.normalised)?;
    let plan = plan::plan(&read)?;
    let spreads = observe::observe(model, &read.graph, &plan, images, runs)?;
    let units = units::units(&read.graph, &plan, &spreads)?;
    let (writer, last, cost) = emit::Emitter::new(&read, &plan, &units, &spreads).emit(images)?;
    let mut model_made = writer.model(&tower.name, &images.shape()[1..], tower.dim, &last, tower.batch);
    let spec = TowerSpec { kind: TowerKind::Exact, distance, sha256: String::new(), ..tower.clone() };
    spec.write_metadata(&mut model_made)?;
    let mut told = Provenance::read(model)?;
    // What was measured and proven was the float tower.
    told.accuracy.clear();
    told.proven.clear();
    told.bounds = prove(&model_made)?;
    told.write(&mut model_made)?;
    Ok(Made { model: model_made, cost })
}

/// The distance of the integers: that of unit rows is the cosine's.
fn distance(tower: &TowerSpec, normalised: bool) -> Result<Distance> {
    match (&tower.distance, normalised) {
        (Distance::Cosine | Distance::L2, true) => Ok(Distance::Cosine),
        (other, false) => Ok(other.clone()),
        (other, true) => {
            let why = format!("is {} of rows of unit length, which integers do not have", other.name());
            Err(Error::invalid("the distance", why))
        }
    }
}
