//! Which drawings of a batch of classes belong together.

use crate::graph::{DType, Expr};
use crate::step::TrainingClasses;

/// Of every two drawings of a batch, how they are related: `[B, B]` of 0 and 1. What is neither is of another
/// class.
pub(super) struct Related<'g> {
    /// Two drawings of one class.
    pub positive: Expr<'g>,
    /// What takes no part: a drawing with itself, or with a sibling of its class.
    pub out: Expr<'g>,
    /// A drawing with itself.
    pub itself: Expr<'g>,
}

impl<'g> Related<'g> {
    pub(super) fn of(labels: Expr<'g>, classes: &TrainingClasses) -> Self {
        let (g, batch) = (labels.graph(), labels.dim(0));
        let itself = g.ints(&(0..batch as i64).collect::<Vec<_>>()).one_hot(batch);
        let positive = equality(labels, labels) - itself;
        let out = match classes.groups.is_empty() {
            true => itself,
            false => {
                let own = g.ints(&classes.groups).gather(labels, 0);
                equality(own, own) - positive
            }
        };
        Self { positive, out, itself }
    }
}

/// 1 where `a: [A]` equals `b: [B]`, else 0: `[A, B]`.
pub(super) fn equality<'g>(a: Expr<'g>, b: Expr<'g>) -> Expr<'g> {
    a.reshape(&[a.dim(0), 1]).equal(b).cast(DType::F32)
}
