//! Shapes of a graph's values for a batch of one, as far as they can be told without running it: from the
//! file where it says them, else from the operators of common towers.

use crate::graph::numbers;
use crate::onnx::{GraphProto, NodeProto, ValueInfoProto};
use crate::tower::contract;
use std::collections::HashMap;

/// Shapes by the value's name.
pub(super) struct Shapes(HashMap<String, Vec<i64>>);

impl Shapes {
    pub fn of(graph: &GraphProto) -> Self {
        let mut shapes = HashMap::new();
        for tensor in &graph.initializer {
            shapes.insert(tensor.name().to_string(), tensor.dims.clone());
        }
        for value in graph.input.iter().chain(&graph.value_info).chain(&graph.output) {
            if let Some(shape) = known(value) {
                shapes.entry(value.name().to_string()).or_insert(shape);
            }
        }
        let mut shapes = Self(shapes);
        for node in &graph.node {
            if let (Some(output), Some(shape)) = (node.output.first(), shapes.infer(node, graph)) {
                shapes.0.entry(output.clone()).or_insert(shape);
            }
        }
        shapes
    }

    pub fn get(&self, name: &str) -> Option<&[i64]> {
        self.0.get(name).map(Vec::as_slice)
    }

    fn input(&self, node: &NodeProto, i: usize) -> Option<&[i64]> {
        self.get(node.input.get(i)?)
    }

    fn infer(&self, node: &NodeProto, graph: &GraphProto) -> Option<Vec<i64>> {
        let x = self.input(node, 0);
        match node.op_type() {
            "Cast"
            | "Relu"
            | "Clip"
            | "Floor"
            | "Sigmoid"
            | "Tanh"
            | "Sqrt"
            | "Identity"
            | "Exp"
            | "Abs"
            | "Neg"
            | "Round"
            | "LeakyRelu"
            | "PRelu"
            | "HardSwish"
            | "HardSigmoid"
            | "BatchNormalization"
            | "Dropout"
            | "Softmax"
            | "LayerNormalization"
            | "Gelu"
            | "Erf"
            | "InstanceNormalization"
            | "LRN" => Some(x?.to_vec()),
            "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Max" | "Min" => broadcast(x?, self.input(node, 1)?),
            "Conv" => window(node, x?, &self.input(node, 1)?[2..], self.input(node, 1)?[0]),
            "MaxPool" | "AveragePool" => window(node, x?, ints(node, "kernel_shape")?, *x?.get(1)?),
            "GlobalAveragePool" | "GlobalMaxPool" => Some([&x?[..2], &vec![1; x?.len() - 2]].concat()),
            "Gemm" => {
                let (w, flip) = (self.input(node, 1)?, int(node, "transB") == Some(1));
                Some(vec![*x?.first()?, *w.get(usize::from(!flip))?])
            }
            "MatMul" => {
                let (a, b) = (x?, self.input(node, 1)?);
                let lead = a.len().checked_sub(1)?;
                Some([&a[..lead], &[*b.last()?]].concat()).filter(|_| b.len() == 2)
            }
            "Flatten" => {
                let axis = int(node, "axis").unwrap_or(1).max(0) as usize;
                let x = x.filter(|x| axis <= x.len())?;
                Some(vec![x[..axis].iter().product(), x[axis..].iter().product()])
            }
            "Transpose" => ints(node, "perm")?.iter().map(|&a| x?.get(a as usize).copied()).collect(),
            "Concat" => self.concat(node),
            "Pad" => pad(x?, &constant(graph, node.input.get(1)?)?),
            "Reshape" => reshape(x?, &constant(graph, node.input.get(1)?)?),
            "ReduceMean" | "ReduceSum" => self.reduce(node, graph),
            _ => None,
        }
    }

    fn concat(&self, node: &NodeProto) -> Option<Vec<i64>> {
        let axis = int(node, "axis")?;
        let mut shape = self.input(node, 0)?.to_vec();
        let axis = if axis < 0 { axis + shape.len() as i64 } else { axis } as usize;
        for i in 1..node.input.len() {
            *shape.get_mut(axis)? += self.input(node, i)?.get(axis)?;
        }
        Some(shape)
    }

    fn reduce(&self, node: &NodeProto, graph: &GraphProto) -> Option<Vec<i64>> {
        let x = self.input(node, 0)?;
        let axes = match ints(node, "axes") {
            Some(axes) => axes.to_vec(),
            None => constant(graph, node.input.get(1)?)?,
        };
        let reduced = |a: usize| axes.iter().any(|&r| r == a as i64 || r + x.len() as i64 == a as i64);
        let keep = int(node, "keepdims").unwrap_or(1) == 1;
        let dims = x.iter().enumerate().filter(|(a, _)| keep || !reduced(*a));
        Some(dims.map(|(a, d)| if reduced(a) { 1 } else { *d }).collect())
    }
}

/// Multiplications and additions of one node, counted separately (a multiply-add is 2); none if it is a
/// product whose shapes are not known.
pub(super) fn flop(node: &NodeProto, shapes: &Shapes) -> Option<u64> {
    let of = |i: usize| shapes.get(node.input.get(i)?);
    let output = || Some(shapes.get(node.output.first()?)?.iter().product::<i64>());
    let inner = match node.op_type() {
        "Conv" => of(1)?[1..].iter().product::<i64>(),
        "ConvTranspose" => {
            return Some(2 * (of(0)?.iter().product::<i64>() * of(1)?[1..].iter().product::<i64>()) as u64);
        }
        "Gemm" => *of(1)?.get(usize::from(int(node, "transB") == Some(1)))?,
        "MatMul" => *of(0)?.last()?,
        _ => return Some(0),
    };
    Some(2 * (output()? * inner) as u64)
}

/// A value's shape with 1 for a symbolic batch; none if any other size is open.
fn known(value: &ValueInfoProto) -> Option<Vec<i64>> {
    let (_, shape) = contract::tensor(value).ok()?;
    let (batch, rest) = shape.split_first()?;
    let rest: Option<Vec<i64>> = rest.iter().copied().collect();
    Some([&[batch.unwrap_or(1)], rest?.as_slice()].concat())
}

fn constant(graph: &GraphProto, name: &str) -> Option<Vec<i64>> {
    let stored = graph.initializer.iter().find(|t| t.name() == name);
    let made = || {
        graph.node.iter().find(|n| n.op_type() == "Constant" && n.output.first().is_some_and(|o| o == name))
    };
    let tensor = stored.or_else(|| made()?.attribute.iter().find_map(|a| a.t.as_ref()))?;
    Some(numbers(tensor).ok()?.iter().map(|&x| x as i64).collect())
}

fn broadcast(a: &[i64], b: &[i64]) -> Option<Vec<i64>> {
    let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    let mut shape = long.to_vec();
    let offset = long.len() - short.len();
    for (d, s) in shape[offset..].iter_mut().zip(short) {
        match (*d, *s) {
            (x, y) if x == y || y == 1 => {}
            (1, y) => *d = y,
            _ => return None,
        }
    }
    Some(shape)
}

fn window(node: &NodeProto, x: &[i64], kernel: &[i64], channels: i64) -> Option<Vec<i64>> {
    let axes = kernel.len();
    let list =
        |name: &str, default: i64, n: usize| ints(node, name).map_or(vec![default; n], <[i64]>::to_vec);
    let (strides, dilations) = (list("strides", 1, axes), list("dilations", 1, axes));
    let pads = list("pads", 0, 2 * axes);
    let auto =
        node.attribute.iter().find(|a| a.name() == "auto_pad").map(|a| a.s().to_vec()).unwrap_or_default();
    let up = int(node, "ceil_mode") == Some(1);
    let mut shape = vec![*x.first()?, channels];
    for i in 0..axes {
        let (side, stride) = (*x.get(i + 2)?, *strides.get(i).filter(|s| **s > 0)?);
        shape.push(if auto.starts_with(b"SAME") {
            (side + stride - 1) / stride
        } else {
            let room = side + pads.get(i)? + pads.get(i + axes)? - (kernel[i] - 1) * dilations.get(i)? - 1;
            (if up { room + stride - 1 } else { room }) / stride + 1
        });
    }
    Some(shape).filter(|s| s.iter().all(|d| *d > 0))
}

fn pad(x: &[i64], counts: &[i64]) -> Option<Vec<i64>> {
    let fits = counts.len() == 2 * x.len();
    fits.then(|| x.iter().enumerate().map(|(a, d)| d + counts[a] + counts[a + x.len()]).collect())
}

fn reshape(x: &[i64], to: &[i64]) -> Option<Vec<i64>> {
    let total: i64 = x.iter().product();
    let copied: Option<Vec<i64>> =
        to.iter().enumerate().map(|(i, &d)| if d == 0 { x.get(i).copied() } else { Some(d) }).collect();
    let copied = copied?;
    let rest: i64 = copied.iter().filter(|d| **d > 0).product();
    let open = copied.iter().filter(|d| **d < 0).count();
    (open <= 1 && rest > 0).then(|| copied.iter().map(|&d| if d < 0 { total / rest } else { d }).collect())
}

fn int(node: &NodeProto, name: &str) -> Option<i64> {
    node.attribute.iter().find(|a| a.name() == name)?.i
}

fn ints<'a>(node: &'a NodeProto, name: &str) -> Option<&'a [i64]> {
    Some(&node.attribute.iter().find(|a| a.name() == name)?.ints)
}
