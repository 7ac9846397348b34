//! Nodes that integers go through as floats do: elements in other places, or the greatest of some.
//!
//! Each is written anew in the form of opset 17 with a free batch: lists are constants, `Squeeze`, `Unsqueeze`
//! and most reshapes become a `Reshape` that keeps axis 0, a `Split` becomes slices, padding is told in numbers.

use super::graph::{Id, Moved, Op};
use super::read::{Reader, Refused};
use crate::onnx::{AttributeProto, NodeProto, Operator};

/// A node of this kind as a value; none where it makes its values itself.
pub(super) fn moved(
    reader: &mut Reader<'_>,
    node: &NodeProto,
    operator: Operator,
    shape: &[usize],
) -> Result<Option<Op>, Refused> {
    use Operator::*;
    if operator == Concat {
        return concat(reader, node).map(Some);
    }
    let x = reader.value(node, 0)?;
    let from = reader.shape(x).to_vec();
    let one = |moved: Moved| Ok(Some(Op::Move { inputs: vec![x], moved }));
    match operator {
        Reshape | Flatten | Squeeze | Unsqueeze => match from == shape {
            true => reader.alias(node),
            false => one(reshaped(shape)?),
        },
        Transpose => one(transposed(node, shape.len())?),
        Slice => one(sliced(reader, node, from.len())?),
        Split => split(reader, node, x),
        Pad => {
            let moved = padded(reader, node, from.len())?;
            let Op::Permuted { x: inner, order } = &reader.values[x].op else { return one(moved) };
            let (inner, order) = (*inner, order.clone());
            Ok(Some(reader.reordered(x, Op::Move { inputs: vec![inner], moved }, order)))
        }
        MaxPool => one(greatest(node, &from)?),
        GlobalMaxPool | ReduceMax => one(greatest_of_all(reader, node, operator, &from, shape)?),
        Gather => permuted(reader, node, x, &from).map(Some),
        _ => Err("has no exact form here".into()),
    }
}

fn list(sizes: &[usize]) -> Vec<i64> {
    sizes.iter().map(|&d| d as i64).collect()
}

/// To these sizes for one picture; the batch stays.
fn reshaped(shape: &[usize]) -> Result<Moved, Refused> {
    match shape.split_first() {
        Some((1, rest)) => {
            let target = [&[0], list(rest).as_slice()].concat();
            Ok(Moved { operator: Operator::Reshape, attributes: Vec::new(), lists: vec![target] })
        }
        _ => Err("moves elements between pictures of a batch".into()),
    }
}

fn transposed(node: &NodeProto, rank: usize) -> Result<Moved, Refused> {
    let backwards: Vec<i64> = (0..rank as i64).rev().collect();
    let order = node.ints("perm").map_or(backwards, <[i64]>::to_vec);
    match order.first() {
        Some(0) => Ok(Moved {
            operator: Operator::Transpose,
            attributes: vec![AttributeProto::ints("perm", order)],
            lists: Vec::new(),
        }),
        _ => Err("moves the batch to another axis".into()),
    }
}

/// An axis that is not the batch's, counted from the front.
fn inner(axis: i64, rank: usize) -> Result<i64, Refused> {
    let axis = if axis < 0 { axis + rank as i64 } else { axis };
    if (1..rank as i64).contains(&axis) { Ok(axis) } else { Err("works along the batch".into()) }
}

fn ranges(starts: Vec<i64>, ends: Vec<i64>, axes: Vec<i64>, steps: Vec<i64>) -> Moved {
    Moved { operator: Operator::Slice, attributes: Vec::new(), lists: vec![starts, ends, axes, steps] }
}

fn sliced(reader: &Reader<'_>, node: &NodeProto, rank: usize) -> Result<Moved, Refused> {
    let told = |attribute: &str, i: usize| -> Result<Option<Vec<i64>>, Refused> {
        match (node.ints(attribute), node.input_name(i)) {
            (Some(list), _) => Ok(Some(list.to_vec())),
            (None, None) => Ok(None),
            (None, Some(_)) => Ok(Some(reader.constant(node, i)?.iter().map(|x| *x as i64).collect())),
        }
    };
    let lacks = || "lacks its ends".to_string();
    let (starts, ends) = (told("starts", 1)?.ok_or_else(lacks)?, told("ends", 2)?.ok_or_else(lacks)?);
    let axes = told("axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = told("steps", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
    let axes = axes.into_iter().map(|axis| inner(axis, rank)).collect::<Result<_, _>>()?;
    Ok(ranges(starts, ends, axes, steps))
}

fn split(reader: &mut Reader<'_>, node: &NodeProto, x: Id) -> Result<Option<Op>, Refused> {
    let axis = inner(node.int_or("axis", 0), reader.shape(x).len())?;
    let mut start = 0;
    for output in &node.output {
        let shape = reader.known.shape(output).ok_or("has parts of unknown sizes")?;
        let end = start + shape[axis as usize] as i64;
        let moved = ranges(vec![start], vec![end], vec![axis], vec![1]);
        reader.add(output, shape, Op::Move { inputs: vec![x], moved }, Some(node));
        start = end;
    }
    Ok(None)
}

fn concat(reader: &Reader<'_>, node: &NodeProto) -> Result<Op, Refused> {
    let inputs = (0..node.input.len()).map(|i| reader.value(node, i)).collect::<Result<Vec<_>, _>>()?;
    let rank = inputs.first().map_or(0, |x| reader.shape(*x).len());
    let axis = inner(node.int_or("axis", 1), rank)?;
    let attributes = vec![AttributeProto::int("axis", axis)];
    Ok(Op::Move { inputs, moved: Moved { operator: Operator::Concat, attributes, lists: Vec::new() } })
}

fn padded(reader: &Reader<'_>, node: &NodeProto, rank: usize) -> Result<Moved, Refused> {
    if !matches!(node.text("mode"), None | Some("constant" | "")) {
        return Err("pads with what stands at the edge".into());
    }
    let fill = match node.input_name(2) {
        Some(_) => reader.constant(node, 2)?.first().copied().unwrap_or(0.0),
        None => f64::from(node.float_or("value", 0.0)),
    };
    if fill != 0.0 {
        return Err(format!("pads with {fill}, not with zeros"));
    }
    let told: Vec<i64> = match node.ints("pads") {
        Some(pads) => pads.to_vec(),
        None => reader.constant(node, 1)?.iter().map(|p| *p as i64).collect(),
    };
    let axes: Vec<i64> = match node.input_name(3) {
        Some(_) => reader.constant(node, 3)?.iter().map(|a| *a as i64).collect(),
        None => (0..rank as i64).collect(),
    };
    let mut pads = vec![0; 2 * rank];
    for (i, &axis) in axes.iter().enumerate() {
        let axis = if axis < 0 { axis + rank as i64 } else { axis } as usize;
        for (half, place) in [(0, i), (1, i + axes.len())] {
            let count = told.get(place).copied().ok_or("does not tell all its pads")?;
            *pads.get_mut(half * rank + axis).ok_or("pads an axis that is not there")? = count;
        }
    }
    if pads[0] != 0 || pads[rank] != 0 || pads.iter().any(|p| *p < 0) {
        return Err("pads the batch, or cuts off".into());
    }
    Ok(Moved { operator: Operator::Pad, attributes: Vec::new(), lists: vec![pads] })
}

fn greatest(node: &NodeProto, from: &[usize]) -> Result<Moved, Refused> {
    let kernel = node.ints("kernel_shape").unwrap_or_default().to_vec();
    let (&[_, _, height, width], &[kh, kw]) = (from, kernel.as_slice()) else {
        return Err("takes the greatest of no images [N, C, H, W]".into());
    };
    let strides = node.ints("strides").unwrap_or(&[1, 1]).to_vec();
    let dense = node.ints("dilations").is_none_or(|d| d.iter().all(|d| *d == 1));
    let pads = pads(node, &[height, width], [kh, kw], &strides)?;
    let rest = |side: usize, axis: usize| {
        (side as i64 + pads[axis] + pads[axis + 2] - kernel[axis]) % strides[axis].max(1)
    };
    if !dense || (node.flag("ceil_mode") && (rest(height, 0) != 0 || rest(width, 1) != 0)) {
        return Err("has windows that reach beyond the image".into());
    }
    if node.output.iter().skip(1).any(|o| !o.is_empty()) {
        return Err("tells the places of its maxima".into());
    }
    Ok(window(kernel, strides, pads))
}

fn window(kernel: Vec<i64>, strides: Vec<i64>, pads: Vec<i64>) -> Moved {
    let attributes = vec![
        AttributeProto::ints("kernel_shape", kernel),
        AttributeProto::ints("strides", strides),
        AttributeProto::ints("pads", pads),
    ];
    Moved { operator: Operator::MaxPool, attributes, lists: Vec::new() }
}

fn greatest_of_all(
    reader: &Reader<'_>,
    node: &NodeProto,
    operator: Operator,
    from: &[usize],
    shape: &[usize],
) -> Result<Moved, Refused> {
    let &[_, _, height, width] = from else { return Err("takes the greatest of no images".into()) };
    if operator == Operator::ReduceMax {
        let axes: Vec<i64> = match node.ints("axes") {
            Some(axes) => axes.to_vec(),
            None => reader.constant(node, 1)?.iter().map(|a| *a as i64).collect(),
        };
        let mut axes: Vec<i64> = axes.iter().map(|a| if *a < 0 { a + 4 } else { *a }).collect();
        axes.sort_unstable();
        if axes != [2, 3] || shape.len() != 4 {
            return Err("takes the greatest along other axes than those of an image, or drops them".into());
        }
    }
    Ok(window(list(&[height, width]), vec![1, 1], vec![0; 4]))
}

/// All channels in another order.
fn permuted(reader: &Reader<'_>, node: &NodeProto, x: Id, from: &[usize]) -> Result<Op, Refused> {
    let places = reader.constant(node, 1)?;
    let rank = from.len() as i64;
    let axis = node.int_or("axis", 0);
    let channels = from.get(1).copied().unwrap_or(0);
    let order: Vec<usize> = places.iter().map(|p| p.rem_euclid(channels.max(1) as f64) as usize).collect();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    let all = axis.rem_euclid(rank.max(1)) == 1 && places.ndim() == 1 && sorted.into_iter().eq(0..channels);
    if all { Ok(Op::Permuted { x, order }) } else { Err("picks some elements by their places".into()) }
}

/// The pads of a window `[kh, kw]` (top, left, bottom, right) on an image, also where the node leaves them to
/// the runtime.
pub(super) fn pads(
    node: &NodeProto,
    sides: &[usize],
    extent: [i64; 2],
    strides: &[i64],
) -> Result<Vec<i64>, Refused> {
    let told = node.ints("pads").unwrap_or(&[0; 4]).to_vec();
    let (&[height, width], [_, _]) = (sides, strides) else { return Err("is for no images".into()) };
    if strides.iter().any(|s| *s < 1) || told.len() != 4 || told.iter().any(|p| *p < 0) {
        return Err("has strides or pads that fit no image".into());
    }
    let same = |last: bool| {
        let mut pads = vec![0; 4];
        for (axis, side) in [height as i64, width as i64].into_iter().enumerate() {
            let windows = (side + strides[axis] - 1) / strides[axis];
            let total = ((windows - 1) * strides[axis] + extent[axis] - side).max(0);
            let half = total / 2;
            let (before, after) = if last { (half, total - half) } else { (total - half, half) };
            (pads[axis], pads[axis + 2]) = (before, after);
        }
        pads
    };
    match node.text("auto_pad") {
        None | Some("NOTSET" | "") => Ok(told),
        Some("VALID") => Ok(vec![0; 4]),
        Some("SAME_UPPER") => Ok(same(true)),
        Some("SAME_LOWER") => Ok(same(false)),
        Some(other) => Err(format!("has the padding {other:?}, which is not known")),
    }
}
