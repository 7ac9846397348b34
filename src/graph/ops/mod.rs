//! Forward operators, a file a family; `vjp` mirrors these files.

mod elementwise;
mod last;
mod layout;
mod linear;
mod norm;
mod pool;
mod reduce;

pub use linear::ConvAttrs;
pub(crate) use linear::Phase;
pub use norm::{Channels, Normalised};

/// An axis counted from the front; negative ones count from the end.
fn axis_of(axis: i64, rank: usize) -> Result<usize, String> {
    let from_front = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(from_front)
        .ok()
        .filter(|&a| a < rank)
        .ok_or_else(|| format!("axis {axis} of a tensor with {rank} axes"))
}
