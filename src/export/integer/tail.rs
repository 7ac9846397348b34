//! The end of a tower: rows that are brought to unit length have an exact form without that, since the
//! cosine divides by the length itself.

use super::graph::{Id, Op, Value};
use crate::onnx::Operator;

/// The embedding before it was brought to unit length, and whether it was.
pub(super) fn without_length(values: &[Value], output: Id) -> (Id, bool) {
    match scaled_row(values, output) {
        Some(x) => (x, true),
        None => match &values[output].op {
            // A row that is only shaped anew.
            Op::Move { inputs, moved } if moved.operator == Operator::Reshape => {
                let plain = |x: Id| values[x].shape == values[output].shape;
                match scaled_row(values, inputs[0]) {
                    Some(x) if plain(x) => (x, true),
                    _ => (output, false),
                }
            }
            _ => (output, false),
        },
    }
}

/// x, where a value is `x` divided by its own length.
fn scaled_row(values: &[Value], id: Id) -> Option<Id> {
    let value = &values[id];
    let operator = value.node.as_ref()?.operator()?;
    let Op::Opaque { inputs, .. } = &value.op else { return None };
    match (operator, inputs.as_slice()) {
        (Operator::LpNormalization, [x]) => Some(*x),
        (Operator::Div | Operator::Mul, [x, length]) => is_length(values, *length, *x).then_some(*x),
        _ => None,
    }
}

/// Whether a value is a row's length, or one over it: of no value but x, through a sum of squares, and one number
/// a row until it is spread.
fn is_length(values: &[Value], id: Id, x: Id) -> bool {
    use Operator::{Abs, Add, Clip, Div, Expand, Identity, Max, Pow, Reciprocal, Reshape, Sqrt, Unsqueeze};
    let value = &values[id];
    let operator = value.node.as_ref().and_then(|node| node.operator());
    let inputs = value.op.inputs();
    let of_x = |square: &Value| match square.node.as_ref().and_then(|node| node.operator()) {
        Some(Operator::Mul | Pow) => square.op.inputs().iter().all(|input| *input == x),
        _ => false,
    };
    match (operator, inputs.as_slice()) {
        (Some(Operator::ReduceL2 | Operator::ReduceSumSquare), [from]) => *from == x,
        (Some(Operator::ReduceSum), [from]) => of_x(&values[*from]),
        (
            Some(
                Abs | Add | Clip | Div | Expand | Identity | Max | Pow | Reciprocal | Reshape | Sqrt
                | Unsqueeze,
            ),
            [from],
        ) => is_length(values, *from, x),
        _ => false,
    }
}
