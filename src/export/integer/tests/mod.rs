#![allow(clippy::unwrap_used)]
pub(crate) mod nets;

use super::*;
use crate::onnx::{AttributeProto as Attribute, Operator};
use crate::tower::{INPUT, OUTPUT};
use crate::walk::{Interpreter, Values};
use ndarray::{Array2, Array4};
use nets::{Interpreted, Net, grown, pictures, spec};
use prost::Message;

/// Embeddings in float64.
fn truth(model: &ModelProto, images: &Array4<u8>) -> Array2<f64> {
    let inputs = Values::from([(INPUT.to_string(), images.mapv(f64::from).into_dyn())]);
    let rows = Interpreter::<f64>::new(model).unwrap().run(inputs).unwrap().remove(OUTPUT).unwrap();
    rows.into_dimensionality().unwrap()
}

fn in_float32(model: &ModelProto, images: &Array4<u8>) -> Array2<f64> {
    let inputs = Values::from([(INPUT.to_string(), images.mapv(f32::from).into_dyn())]);
    let rows = Interpreter::<f32>::new(model).unwrap().run(inputs).unwrap().remove(OUTPUT).unwrap();
    rows.mapv(f64::from).into_dimensionality().unwrap()
}

fn side(model: &ModelProto) -> usize {
    let types = crate::walk::Types::with_batch(model, 1).unwrap();
    types.get(INPUT).unwrap().sizes().unwrap()[2]
}

fn made(model: &ModelProto, count: usize) -> Result<Made> {
    let (side, dim) = (side(model), truth(model, &pictures(side(model), 1, 0)).ncols());
    integers(model, &spec(side, dim), pictures(side, count, 1).view(), &mut Interpreted)
}

fn cosine(a: ndarray::ArrayView1<'_, f64>, b: ndarray::ArrayView1<'_, f64>) -> f64 {
    a.dot(&b) / (a.dot(&a).sqrt() * b.dot(&b).sqrt()).max(1e-12)
}

#[test]
fn random_towers_are_proven_keep_their_bits_and_stay_near_the_float_ones() {
    let mut sum = 0.0;
    for seed in 0..40 {
        let model = grown(seed);
        let made = made(&model, 12).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let images = pictures(side(&model), 4, 2);
        let exact = truth(&made.model, &images);
        assert_eq!(exact, in_float32(&made.model, &images), "seed {seed}");
        let (spec, _) = TowerSpec::from_bytes(&made.model.encode_to_vec(), "net").unwrap();
        assert_eq!(spec.kind, TowerKind::Exact);
        let float = truth(&model, &images);
        for (a, b) in float.outer_iter().zip(exact.outer_iter()) {
            let alike = cosine(a, b);
            assert!(alike > 0.95, "seed {seed}: {alike}");
            sum += alike / 160.0;
        }
    }
    assert!(sum > 0.99, "{sum}");
}

#[test]
fn every_form_comes_up() {
    let mut operators = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let made = made(&grown(seed), 2).unwrap();
        operators.extend(made.model.graph.unwrap().node.into_iter().filter_map(|n| n.op_type));
    }
    use Operator::*;
    for operator in [
        Add, Cast, Clip, Concat, Conv, Floor, Gather, Gemm, MaxPool, Mul, ReduceSum, Relu, Reshape, Slice,
        Sub, Transpose,
    ] {
        assert!(operators.contains(operator.name()), "{operator}");
    }
    for operator in
        ["Sigmoid", "HardSwish", "Erf", "BatchNormalization", "Div", "ReduceL2", "GlobalAveragePool"]
    {
        assert!(!operators.contains(operator), "{operator}");
    }
}

#[test]
fn what_has_no_exact_form_is_told_by_its_node() {
    let softmax = || {
        let mut net = Net::new(0, 9);
        let x = net.head();
        let x = net.conv(&x, 6, 3, 2, 1);
        let mean = net.node("GlobalAveragePool", &[&x.name], vec![]);
        let rows = net.node("Flatten", &[&mean], vec![]);
        let shares = net.node("Softmax", &[&rows], vec![Attribute::int("axis", 1)]);
        net.model(&shares, 6)
    };
    let said = made(&softmax(), 2).unwrap_err().to_string();
    assert!(
        said.contains("(Softmax) divides by a sum")
            && said.contains("/net/Softmax_")
            && said.contains("stays a float tower"),
        "{said}"
    );
    let mut net = Net::new(0, 9);
    let x = net.head();
    let a = net.conv(&x, 6, 3, 2, 1);
    let b = net.conv(&x, 6, 3, 2, 1);
    let y = net.node("Div", &[&a.name, &b.name], vec![]);
    let mean = net.node("GlobalAveragePool", &[&y], vec![]);
    let rows = net.node("Flatten", &[&mean], vec![]);
    let said = made(&net.model(&rows, 6), 2).unwrap_err().to_string();
    assert!(said.contains("(Div) divides by a computed value"), "{said}");
}

#[test]
fn an_exact_tower_and_no_pictures_are_refused() {
    let exact = TowerSpec { kind: TowerKind::Exact, ..spec(9, 4) };
    let images = pictures(9, 2, 0);
    let said = integers(&grown(0), &exact, images.view(), &mut Interpreted).unwrap_err().to_string();
    assert!(said.contains("exact already"), "{said}");
    let none = Array4::zeros((0, 3, 9, 9));
    let said = integers(&grown(0), &spec(9, 4), none.view(), &mut Interpreted).unwrap_err().to_string();
    assert!(said.contains("give a few hundred"), "{said}");
}

#[test]
fn weights_take_a_byte_and_little_else_is_stored() {
    let mut net = Net::new(3, 16);
    let mut x = net.head();
    for filters in [32, 64, 64] {
        x = net.conv(&x, filters, 3, 2, 1);
        x = net.norm(&x);
        x = net.like("Relu", &x, &[], vec![]);
    }
    let mean = net.node("GlobalAveragePool", &[&x.name], vec![]);
    let rows = net.node("Flatten", &[&mean], vec![]);
    let model = net.model(&rows, 64);
    let exact = made(&model, 4).unwrap().model;
    let share = exact.encoded_len() as f64 / model.encoded_len() as f64;
    assert!(share < 0.3, "{share}");
}
