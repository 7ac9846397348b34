//! Every operator by hand-computed cases. Each case is also evaluated in float32, its shape is told before
//! it is evaluated, and told again with each size of its first input a symbol.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod elementwise;
mod hostile;
mod images;
mod indices;
mod matrices;
mod moves;
mod symbols;

use super::*;
use crate::onnx::{AttributeProto, NodeProto, Tensor, TensorProto};
use ndarray::IxDyn;
use std::collections::BTreeMap;

/// A node, its inputs, and what it gives.
pub struct Case {
    node: NodeProto,
    opset: i64,
    inputs: Vec<Option<(DType, ArrayD<f64>)>>,
    gives: Vec<ArrayD<f64>>,
}

/// An array of a shape.
pub fn array(shape: &[usize], values: &[f64]) -> ArrayD<f64> {
    ArrayD::from_shape_vec(IxDyn(shape), values.to_vec()).unwrap()
}

/// `0, 1, 2, …` in a shape.
pub fn count_up(shape: &[usize]) -> ArrayD<f64> {
    let values: Vec<f64> = (0..shape.iter().product::<usize>()).map(|i| i as f64).collect();
    array(shape, &values)
}

/// A case of an operator, whose node has one result.
pub fn case(op: &str) -> Case {
    let node = NodeProto {
        op_type: Some(op.into()),
        name: Some(format!("the_{op}")),
        output: vec!["y0".into()],
        ..NodeProto::default()
    };
    Case { node, opset: 17, inputs: Vec::new(), gives: Vec::new() }
}

impl Case {
    fn with(mut self, attribute: AttributeProto) -> Self {
        self.node.attribute.push(attribute);
        self
    }

    fn named(name: &str) -> AttributeProto {
        AttributeProto { name: Some(name.into()), ..AttributeProto::default() }
    }

    pub fn int(self, name: &str, i: i64) -> Self {
        self.with(AttributeProto::int(name, i))
    }

    pub fn ints(self, name: &str, ints: &[i64]) -> Self {
        self.with(AttributeProto::ints(name, ints.into()))
    }

    pub fn text(self, name: &str, text: &str) -> Self {
        self.with(AttributeProto::text(name, text))
    }

    pub fn float(self, name: &str, f: f32) -> Self {
        self.with(AttributeProto { f: Some(f), ..Self::named(name) })
    }

    pub fn floats(self, name: &str, floats: &[f32]) -> Self {
        self.with(AttributeProto { floats: floats.into(), ..Self::named(name) })
    }

    pub fn tensor(self, name: &str, t: TensorProto) -> Self {
        self.with(AttributeProto { t: Some(t), ..Self::named(name) })
    }

    pub fn opset(self, opset: i64) -> Self {
        Self { opset, ..self }
    }

    fn given(mut self, dtype: DType, value: ArrayD<f64>) -> Self {
        self.node.input.push(format!("x{}", self.inputs.len()));
        self.inputs.push(Some((dtype, value)));
        self
    }

    /// A float32 input.
    pub fn on(self, shape: &[usize], values: &[f64]) -> Self {
        self.given(DType::F32, array(shape, values))
    }

    /// A float32 input `0, 1, 2, …`.
    pub fn on_count(self, shape: &[usize]) -> Self {
        self.given(DType::F32, count_up(shape))
    }

    /// An int64 list.
    pub fn on_list(self, list: &[i64]) -> Self {
        let values: Vec<f64> = list.iter().map(|&i| i as f64).collect();
        self.given(DType::I64, array(&[list.len()], &values))
    }

    /// An int64 input.
    pub fn on_integers(self, shape: &[usize], values: &[f64]) -> Self {
        self.given(DType::I64, array(shape, values))
    }

    /// A bool input.
    pub fn on_flags(self, shape: &[usize], values: &[f64]) -> Self {
        self.given(DType::Bool, array(shape, values))
    }

    /// An input that is left out.
    pub fn on_nothing(mut self) -> Self {
        self.node.input.push(String::new());
        self.inputs.push(None);
        self
    }

    /// What the case gives.
    pub fn gives(mut self, shape: &[usize], values: &[f64]) -> Self {
        self.gives.push(array(shape, values));
        self.node.output = (0..self.gives.len()).map(|i| format!("y{i}")).collect();
        self
    }

    fn operator(&self) -> Operator {
        self.node.operator().unwrap()
    }

    fn integers(&self) -> bool {
        matches!(self.inputs.first(), Some(Some((dtype, _))) if !dtype.is_float())
    }

    fn evaluated<T: Real>(&self) -> Result<Vec<ArrayD<T>>> {
        let arrays: Vec<Option<ArrayD<T>>> =
            self.inputs.iter().map(|i| i.as_ref().map(|(_, v)| v.mapv(T::of))).collect();
        let inputs: Vec<_> = arrays.iter().map(Option::as_ref).collect();
        let call = Call { node: &self.node, opset: self.opset, integers: self.integers(), inputs: &inputs };
        evaluate(self.operator(), &call)
    }

    /// The types that are told of the results; size `axis` of the first input is the symbol `N` if asked.
    fn told(&self, axis: Option<usize>) -> Result<Vec<Type>> {
        let settings = meaning::<f64>(self.operator()).settings;
        let typed = |(i, input): (usize, &Option<(DType, ArrayD<f64>)>)| {
            let (dtype, value) = input.as_ref()?;
            let list = settings.contains(&i) || *dtype == DType::I64;
            let mut typed = Type::of(Some(*dtype), value.shape());
            typed.value = list.then(|| value.mapv(Dim::Known));
            if let (0, Some(axis), Some(shape)) = (i, axis, &mut typed.shape) {
                shape[axis] = Dim::symbol("N");
                typed.value = None;
            }
            Some(typed)
        };
        let types: Vec<Option<Type>> = self.inputs.iter().enumerate().map(typed).collect();
        let inputs: Vec<_> = types.iter().map(Option::as_ref).collect();
        let call = Call { node: &self.node, opset: self.opset, integers: self.integers(), inputs: &inputs };
        infer(self.operator(), &call)
    }

    /// Everything that is wrong.
    fn faults(&self) -> Vec<String> {
        let (found, narrow, told) = (self.evaluated::<f64>(), self.evaluated::<f32>(), self.told(None));
        let (found, narrow, told) = match (found, narrow, told) {
            (Ok(found), Ok(narrow), Ok(told)) => (found, narrow, told),
            (Err(e), _, _) | (_, Err(e), _) | (_, _, Err(e)) => return vec![e.to_string()],
        };
        let narrow: Vec<ArrayD<f64>> = narrow.iter().map(|y| y.mapv(f64::from)).collect();
        let mut faults = Vec::new();
        for (i, expected) in self.gives.iter().enumerate() {
            if told[i].sizes().as_deref() != Some(expected.shape()) || told[i].dtype.is_none() {
                faults.push(format!("{} is told for {:?}", told[i], expected.shape()));
            }
            for (y, tolerance) in [(&found[i], 1e-9), (&narrow[i], 1e-5)] {
                let near = |y: f64, x: f64| y == x || (y - x).abs() <= tolerance * x.abs().max(1.0);
                if y.shape() != expected.shape() || y.iter().zip(expected).any(|(y, x)| !near(*y, *x)) {
                    faults.push(format!("{y} for {expected}, tolerance {tolerance}"));
                }
            }
        }
        if let Some(value) = &told[0].value {
            let wrong = |(told, y): (&Dim, &f64)| told.number().is_some_and(|told| told != *y);
            if value.iter().zip(&found[0]).any(wrong) {
                faults.push(format!("{value:?} is told for {}", found[0]));
            }
        }
        let rank = self.inputs.first().and_then(|i| i.as_ref()).map_or(0, |(_, v)| v.ndim());
        faults.extend((0..rank).flat_map(|axis| self.symbolic_faults(axis)));
        faults
    }

    /// A symbol in place of a size may leave sizes of the result open, but none wrong.
    fn symbolic_faults(&self, axis: usize) -> Vec<String> {
        let told = match self.told(Some(axis)) {
            Ok(told) => told,
            Err(e) => return vec![format!("axis {axis} open: {e}")],
        };
        let n = self.inputs[0].as_ref().unwrap().1.shape()[axis] as f64;
        let fits = |(dim, &size): (&Dim, &usize)| substituted(dim, n).is_none_or(|at| at == size as f64);
        let wrong = told.iter().zip(&self.gives).filter(|(told, result)| {
            let shape = told.shape.as_deref();
            shape.is_some_and(|s| s.len() != result.ndim() || !s.iter().zip(result.shape()).all(fits))
        });
        wrong.map(|(told, result)| format!("axis {axis} open: {told} for {:?}", result.shape())).collect()
    }
}

/// A polynomial of `N` alone at a value of it.
fn substituted(dim: &Dim, n: f64) -> Option<f64> {
    match dim {
        Dim::Known(x) => Some(*x),
        Dim::Unknown => None,
        Dim::Open(terms) => {
            let term = |(symbols, factor): (&Vec<_>, &f64)| {
                let plain = symbols.iter().all(|s: &std::sync::Arc<str>| &**s == "N");
                plain.then(|| factor * n.powi(symbols.len() as i32))
            };
            terms.iter().map(term).sum()
        }
    }
}

fn cases() -> Vec<Case> {
    let families =
        [elementwise::cases(), images::cases(), indices::cases(), matrices::cases(), moves::cases()];
    families.into_iter().flatten().collect()
}

#[test]
fn operators_give_what_was_computed_by_hand() {
    let about = |case: &Case| format!("{} {:?}", case.node.op_type(), case.node.attribute);
    let wrong =
        |case: &Case| case.faults().into_iter().map(|fault| format!("{}: {fault}", about(case))).collect();
    let faults: Vec<String> = cases().iter().flat_map(|case| -> Vec<String> { wrong(case) }).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_operator_has_a_case() {
    let mut counts: BTreeMap<Operator, usize> = Operator::ALL.iter().map(|op| (*op, 0)).collect();
    cases().iter().for_each(|case| *counts.entry(case.operator()).or_default() += 1);
    let lacking: Vec<_> = counts.iter().filter(|(_, count)| **count == 0).map(|(op, _)| *op).collect();
    assert_eq!(lacking, []);
}

/// What is wrong, and the words of its error.
fn misfits() -> Vec<(Case, &'static str)> {
    let image = || case("Conv").on_count(&[1, 4, 5, 5]);
    vec![
        (case("Add").on_count(&[2, 3]).on_count(&[2]), "the_Add): shapes [2, 3] and [2] do not broadcast"),
        (case("Add").on_count(&[2]), "input 1 is missing"),
        (case("Add").on_count(&[1]).on_list(&[1]), "element types float32 and int64 differ"),
        (image().on_count(&[2, 3, 3, 3]), "kernel [2, 3, 3, 3] on image [1, 4, 5, 5]"),
        (image().on_count(&[2, 4, 7, 7]), "larger than the image [5, 5]"),
        (image().on_count(&[2, 4]), "kernel [2, 4]"),
        (image().on_count(&[2, 4, 3, 3]).ints("strides", &[0, 1]), "its strides holds 0"),
        (
            image().on_count(&[2, 4, 3, 3]).ints("dilations", &[i64::MAX, 1]),
            "its dilations holds 9223372036854775807",
        ),
        (image().on_count(&[2, 4, 3, 3]).ints("pads", &[1, 1]), "its pads has 2 numbers, not 4"),
        (image().on_count(&[2, 4, 3, 3]).on_count(&[3]), "bias [3] for 2 channels"),
        (image().on_count(&[2, 4, 3, 3]).text("auto_pad", "SOME"), "auto_pad \"SOME\""),
        (case("MaxPool").on_count(&[1, 1, 4, 4]), "kernel_shape is missing"),
        (case("MaxPool").on_count(&[1, 1, 4, 4]).ints("kernel_shape", &[1 << 20, 1 << 20]), "its kernel is"),
        (case("MatMul").on_count(&[2, 3]).on_count(&[2, 3]), "shapes [2, 3] and [2, 3]"),
        (case("MatMul").on_count(&[]).on_count(&[2, 3]), "shapes [] and [2, 3]"),
        (case("Gemm").on_count(&[2, 3]).on_count(&[2, 3]), "matrices [2, 3] (transposed: false)"),
        (case("Gemm").on_count(&[2, 3]).on_count(&[3, 4]).on_count(&[3]), "the bias [3] does not broadcast"),
        (case("Reshape").on_count(&[2, 3]).on_list(&[4, -1]), "[2, 3] does not fill [4, -1]"),
        (case("Reshape").on_count(&[2, 3]).on_list(&[-1, -1]), "several sizes -1"),
        (case("Reshape").on_count(&[2, 3]).on_list(&[-7, 3]), "[2, 3] does not fill [-7, 3]"),
        (case("Reshape").on_count(&[2]).on_list(&[2, 0]), "[2] does not fill [2, 0]"),
        (case("Squeeze").on_count(&[2, 1]).on_list(&[0]), "axis 0 of [2, 1] is not of size 1"),
        (case("Squeeze").on_count(&[2, 1]).on_list(&[1, -1]), "name one twice"),
        (case("Transpose").on_count(&[2, 1]).ints("perm", &[0, 0]), "no order of 2 axes"),
        (case("Transpose").on_count(&[2, 1]).ints("perm", &[0, -1]), "its perm holds -1"),
        (
            case("Flatten").on_count(&[2]).int("axis", i64::MIN),
            "axis -9223372036854775808 of a tensor with 1 axes",
        ),
        (case("Concat").on_count(&[2, 2]).on_count(&[3, 3]), "[3, 3] does not continue [2, 2]"),
        (
            case("Split").on_count(&[4]).on_list(&[1, 2]).gives(&[1], &[0.0]).gives(&[2], &[0.0; 2]),
            "do not cut axis 0",
        ),
        (case("Pad").on_count(&[2]).on_list(&[-2, -1]), "would have the shape [-1]"),
        (case("Pad").on_count(&[2]).on_list(&[1]), "pads [1] for 1 axes"),
        (case("Tile").on_count(&[2]).on_list(&[1, 1]), "2 repeats for [2]"),
        (case("Slice").on_count(&[2]).on_list(&[0]).on_list(&[1]).on_list(&[0]).on_list(&[0]), "steps [0]"),
        (case("Slice").on_count(&[2]).on_list(&[0, 1]).on_list(&[1]), "starts [0, 1], ends [1]"),
        (case("Gather").on_count(&[2]).on_list(&[2]), "axis 2 of a tensor with 2 axes"),
        (case("Expand").on_count(&[2]).on_list(&[3]), "[2] does not broadcast to [3]"),
        (case("ConstantOfShape").on_list(&[1 << 20, 1 << 20]), "too large to be computed here"),
        (case("ConstantOfShape").on_list(&[-1]), "would have the shape [-1]"),
        (case("GatherElements").on_count(&[2]).on_list(&[2]), "axis 2 of a tensor with 2 axes"),
        (case("GatherElements").on_count(&[2, 2]).on_list(&[0]), "places [1] for [2, 2]"),
        (case("GatherND").on_count(&[2]).on_list(&[0, 0]), "places of 2 axes in a tensor with 1 axes"),
        (
            case("ScatterND").on_count(&[2]).on_integers(&[1, 1], &[0.0]).on_count(&[2]),
            "[2] at places [1, 1] of [2]",
        ),
        (case("TopK").on_count(&[2]).on_list(&[3]), "takes 3 of axis 0 of [2]"),
        (case("Einsum").on_count(&[2]).text("equation", "...i"), "has an ellipsis"),
        (case("Einsum").on_count(&[2]).text("equation", "ij"), "input 0 of shape [2] for its equation"),
        (
            case("GroupNormalization").on_count(&[1, 3, 2]).int("num_groups", 2),
            "3 channels do not make 2 groups",
        ),
        (case("Range").on_list(&[0]).on_list(&[3]).on_list(&[0]), "its step is 0"),
        (case("DepthToSpace").on_count(&[1, 3, 2, 2]).int("blocksize", 2), "3 is no multiple of 4"),
        (case("BatchNormalization").on_count(&[2]), "[2] has no channels"),
        (case("LRN").on_count(&[2]), "[2] has no channels"),
        (case("ReduceSum").on_count(&[2]).on_list(&[1]), "axis 1 of a tensor with 1 axes"),
        (case("Constant"), "of a kind that is not known here"),
        (
            case("MaxPool")
                .on_count(&[1, 1, 2, 2])
                .ints("kernel_shape", &[2, 2])
                .gives(&[1, 1, 1, 1], &[3.0])
                .gives(&[1, 1, 1, 1], &[3.0]),
            "its result y1 is not evaluated here",
        ),
    ]
}

#[test]
fn inputs_that_do_not_fit_are_told_with_node_and_shapes() {
    let mut wrong = Vec::new();
    for (case, words) in misfits() {
        match case.told(None).and_then(|_| case.evaluated::<f64>()) {
            Err(e) if e.to_string().contains(words) && e.to_string().contains(case.node.name()) => {}
            other => wrong.push(format!("{} gives {other:?}, not {words:?}", case.node.name())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An int64 tensor of a file.
pub fn integers(shape: &[usize], values: &[i64]) -> TensorProto {
    Tensor::I64(ArrayD::from_shape_vec(IxDyn(shape), values.to_vec()).unwrap()).to_proto("t")
}
