//! Losses on a teacher's embeddings of the same pictures, `[B, T]` (see [`Distil`]).

use super::{Metric, Parts};
use crate::graph::Expr;
use crate::model::recipe::{Distil, Likeness};
use crate::model::unit_length;

/// The likeness of embeddings `[B, D]` and the teacher's, with the map W `[T, D]` where they need one.
pub(super) fn build<'g>(
    distil: &Distil,
    embedding: Expr<'g>,
    teacher: Expr<'g>,
    map: Option<Expr<'g>>,
) -> Parts<'g> {
    let seen = map.map_or(embedding, |map| embedding.linear(map, None));
    let cosine = || (unit_length(seen) * unit_length(teacher)).sum(&[1]).mean(&[0]);
    match distil.by {
        Likeness::Cosine => {
            let likeness = cosine();
            Parts { loss: 1.0 - likeness, metrics: vec![Metric::new("teacher", likeness)] }
        }
        Likeness::Square => {
            let loss = (seen - teacher).squared().mean(&[0, 1]);
            Parts { loss, metrics: vec![Metric::new("teacher", cosine())] }
        }
        Likeness::Relations => {
            let apart = (cosines(embedding) - cosines(teacher)).squared();
            // A picture and itself are no two pictures, and are alike for both.
            let batch = embedding.dim(0);
            let loss = apart.total() * (1.0 / (batch * (batch - 1).max(1)) as f32);
            Parts { loss, metrics: vec![Metric::new("apart", loss.sqrt())] }
        }
    }
}

/// The cosines of every two rows, `[B, B]`.
fn cosines(x: Expr<'_>) -> Expr<'_> {
    let x = unit_length(x);
    x.linear(x, None)
}
