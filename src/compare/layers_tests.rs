#![allow(clippy::unwrap_used)]
use super::*;
use crate::graph::{ConvAttrs, DType, Graph, Tensor};
use crate::runtime::{Interpreted, Options, Runtime};
use ndarray::{Array, IxDyn};

/// `[2, 1, 6, 6]` bytes → two convolutions with a residual sum → `[2, D]`.
pub fn tower(scale_second: f32) -> ModelProto {
    let g = Graph::new("t");
    let x = g.input("image", DType::U8, &[2, 1, 6, 6]).cast(DType::F32);
    let weight = |name: &str, shape: &[usize], scale: f32| {
        let data = Array::from_shape_fn(IxDyn(shape), |i| {
            scale * ((i[0] * 7 + i[1] * 3 + i[2] + 2 * i[3]) % 5) as f32 * 0.1 - 0.17
        });
        g.initializer(name, Tensor::F32(data))
    };
    let attrs = ConvAttrs { pads: [1, 1, 1, 1], ..ConvAttrs::default() };
    let active = x.conv(weight("conv1.weight", &[3, 1, 3, 3], 1.0), None, attrs).relu();
    let second = active.conv(weight("conv2.weight", &[3, 3, 3, 3], scale_second), None, attrs);
    g.output("embedding", (active + second).flatten(1));
    g.to_model().unwrap()
}

pub fn images() -> Named {
    let pixels = Array::from_shape_fn(IxDyn(&[2, 1, 6, 6]), |i| (i[0] * 31 + i[2] * 17 + i[3] * 5) as u8);
    vec![("image".into(), Tensor::U8(pixels))]
}

fn node_of(layers: &Layerwise, place: Option<usize>) -> &NodeGaps {
    &layers.layers[place.unwrap()]
}

#[test]
fn runtimes_that_agree_introduce_only_rounding() {
    let model = tower(1.0);
    let (mut a, mut b) = (Interpreted::sound("a"), Interpreted::sound("b"));
    let said = analyse((&mut a, &mut b), [&model, &model], &images(), Tolerance::default()).unwrap();
    assert_eq!(said.layers.len(), 6);
    assert!(said.no_reference.is_none() && said.suspect.is_none() && said.largest.is_none());
    assert!(said.layers.iter().all(|l| l.introduced.between == 0.0 && l.failed.is_none()));
    // float32 rounds, so the mock is not the truth.
    assert!(said.layers.last().unwrap().cumulative.a.unwrap() > 0.0);
    assert!(said.tapping.iter().all(|t| t.bit_equal));
    assert_eq!(said.nearer, Some(Nearer::Neither));
}

#[test]
fn a_changed_weight_is_located_at_its_node() {
    let (model, planted) = (tower(1.0), tower(1.01));
    let (mut a, mut b) = (Interpreted::sound("a"), Interpreted::sound("b"));
    let said = analyse((&mut a, &mut b), [&model, &planted], &images(), Tolerance::default()).unwrap();
    let suspect = node_of(&said, said.suspect);
    let convs: Vec<_> = said.layers.iter().filter(|l| l.op == "Conv").collect();
    assert_eq!(suspect.node, convs[1].node);
    assert_eq!(said.suspect, said.largest);
    // The nodes after it inherit the difference and add nothing.
    let last = said.layers.last().unwrap();
    assert_eq!(last.introduced.between, 0.0);
    assert!(last.inherited.unwrap().between > 1.0 && last.cumulative.between > 1.0);
    assert_eq!(last.nearer, Some(Nearer::A));
}

#[test]
fn a_runtime_that_is_wrong_at_an_operator_is_caught_there() {
    let model = tower(1.0);
    let (mut a, mut b) =
        (Interpreted::sound("a"), Interpreted { name: "b", fault: Some(("Relu", |x| x + 0.5)) });
    let said = analyse((&mut a, &mut b), [&model, &model], &images(), Tolerance::default()).unwrap();
    let suspect = node_of(&said, said.suspect);
    assert_eq!(suspect.op, "Relu");
    assert_eq!(suspect.introduced.a, Some(0.0));
    assert!((suspect.introduced.b.unwrap() - 0.5).abs() < 1e-4);
}

#[test]
fn the_first_nan_is_located() {
    let model = tower(1.0);
    let (mut a, mut b) =
        (Interpreted::sound("a"), Interpreted { name: "b", fault: Some(("Add", |_| f64::NAN)) });
    let said = analyse((&mut a, &mut b), [&model, &model], &images(), Tolerance::default()).unwrap();
    assert_eq!(node_of(&said, said.first_non_finite).op, "Add");
    assert_eq!(node_of(&said, said.suspect).op, "Add");
}

#[test]
fn without_a_reference_the_runtimes_are_still_compared() {
    let mut model = tower(1.0);
    model.graph.as_mut().unwrap().node[0].op_type = Some("NoSuchOperator".into());
    assert!(interpreter::trace(&model, interpreter::Values::new()).is_err());
    struct Blind(Interpreted, ModelProto);
    // A runtime that knows more operators than the reference: it is given the plain model's nodes.
    impl Engine for Blind {
        fn name(&self) -> &str {
            self.0.name()
        }
        fn run(&mut self, model: &ModelProto, inputs: &[(String, Tensor)]) -> Result<Vec<Tensor>> {
            let mut known = model.clone();
            for node in &mut known.graph.as_mut().unwrap().node {
                let named = |n: &&crate::onnx::NodeProto| n.name == node.name;
                node.op_type
                    .clone_from(&self.1.graph.as_ref().unwrap().node.iter().find(named).unwrap().op_type);
            }
            self.0.run(&known, inputs)
        }
    }
    let mut a = Blind(Interpreted::sound("a"), tower(1.0));
    let mut b = Blind(Interpreted { name: "b", fault: Some(("Flatten", |x| x * 2.0)) }, tower(1.0));
    let said = analyse((&mut a, &mut b), [&model, &model], &images(), Tolerance::default()).unwrap();
    assert!(said.no_reference.is_some() && said.nearer.is_none());
    assert_eq!(node_of(&said, said.suspect).op, "Flatten");
}

#[test]
fn every_runtime_runs_taps_and_single_nodes_like_the_reference() {
    let model = tower(1.0);
    for runtime in Runtime::built_in() {
        let mut a = runtime.with(Options { threads: 1, ..Options::default() }).unwrap().engine().unwrap();
        let mut b = Interpreted::sound("reference");
        let said = analyse((&mut *a, &mut b), [&model, &model], &images(), Tolerance::default()).unwrap();
        assert!(said.suspect.is_none() && said.layers.iter().all(|l| l.failed.is_none()), "{said:#?}");
        assert_eq!(said.layers[0].introduced.between, 0.0);
        assert_eq!(said.tapping[0].runtime, runtime.name);
        let exact = said.layers.last().unwrap().cumulative.a == Some(0.0);
        assert!(exact || said.nearer.is_some_and(|n| n != Nearer::A), "{said:#?}");
    }
}
