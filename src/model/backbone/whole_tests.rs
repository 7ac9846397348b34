//! Whole models: names of weights, what is frozen, what training does, and models that cannot be trained.
#![allow(clippy::unwrap_used)]

use super::tests::{ints, list, model, node, random, scalar};
use super::*;
use crate::graph::{GradOptions, Graph, gradients};
use crate::model::Role;
use crate::onnx::{AttributeProto, NodeProto};
use crate::walk::interpreter::{self, Values};
use ndarray::IxDyn;

/// A backbone of nodes between `x0: [N, 4]` and `y`.
fn chain(nodes: Vec<NodeProto>, stored: &[(&str, &[usize])]) -> Result<Backbone> {
    let tensor = |(name, shape): &(&str, &[usize])| {
        let mut i = 0.0;
        let array = ArrayD::from_shape_simple_fn(IxDyn(shape), || {
            i += 1.0;
            (0.3 * i as f32).sin()
        });
        Tensor::F32(array).to_proto(name)
    };
    whole(model(nodes, stored.iter().map(tensor).collect(), &["y"], 17))
}

fn whole(model: ModelProto) -> Result<Backbone> {
    let facts =
        Facts { preprocessing: Preprocessing::ink(2), dim: 4, sha256: String::new(), notes: Vec::new() };
    Backbone::new(Vec::new(), model, facts)
}

/// `x0 → conv → norm → relu → matmul → y`, names as exporters give them.
fn usual() -> Backbone {
    let nodes = vec![
        node("Reshape", &["x0", "shape"], "image", vec![]),
        node("Conv", &["image", "stem.weight"], "a", vec![]),
        node(
            "BatchNormalization",
            &["a", "bn.weight", "bn.bias", "bn.mean", "bn.var"],
            "b",
            vec![AttributeProto::float("momentum", 0.8)],
        ),
        node("Relu", &["b"], "c", vec![]),
        node("Dropout", &["c", "rate"], "d", vec![]),
        node("Flatten", &["d"], "e", vec![]),
        node("MatMul", &["e", "head.weight"], "f", vec![]),
        node("Add", &["f", "head.bias"], "y", vec![]),
    ];
    let mut stored: Vec<TensorProto> = [
        ("stem.weight", vec![4, 1, 1, 1]),
        ("bn.weight", vec![4]),
        ("bn.bias", vec![4]),
        ("bn.mean", vec![4]),
        ("bn.var", vec![4]),
        ("head.weight", vec![16, 4]),
        ("head.bias", vec![4]),
    ]
    .into_iter()
    .map(|(name, shape)| Tensor::F32(ArrayD::from_elem(shape, 0.5)).to_proto(name))
    .collect();
    stored.push(ints(&[-1, 1, 2, 2]).to_proto("shape"));
    stored.push(scalar(0.25).to_proto("rate"));
    whole(model(nodes, stored, &["y"], 17)).unwrap()
}

fn names(backbone: &Backbone, change: impl Fn(&mut OnnxTower)) -> Result<Vec<String>> {
    let mut how = OnnxTower::new("m.onnx");
    change(&mut how);
    Ok(backbone.specs(&how)?.into_iter().map(|spec| spec.name).collect())
}

#[test]
fn weights_have_the_names_of_the_file_and_what_they_do() {
    let backbone = usual();
    let specs = backbone.specs(&OnnxTower::new("m.onnx")).unwrap();
    let found: Vec<(&str, Role)> = specs.iter().map(|spec| (spec.name.as_str(), spec.role)).collect();
    // A loss has weights named `head.` of its own.
    let expected = [
        ("stem.weight", Role::Weight),
        ("bn.weight", Role::Scale),
        ("bn.bias", Role::Shift),
        ("model.head.weight", Role::Weight),
        ("model.head.bias", Role::Bias),
    ];
    assert_eq!(found, expected);
    assert_eq!(backbone.value("model.head.bias").unwrap().unwrap(), ArrayD::from_elem(vec![4], 0.5));
    let all = names(&backbone, |how| how.batch_norm = BatchNorm::Batch).unwrap();
    assert!(all.contains(&"bn.mean".into()) && all.contains(&"bn.var".into()) && all.len() == 7);
}

#[test]
fn weights_are_frozen_by_prefix_and_by_depth() {
    let backbone = usual();
    let heads = ["model.head.weight", "model.head.bias"];
    assert_eq!(names(&backbone, |how| how.train_last = Some(1)).unwrap(), heads);
    assert_eq!(names(&backbone, |how| how.train_last = Some(2)).unwrap().len(), 5);
    assert_eq!(names(&backbone, |how| how.freeze = vec!["stem".into(), "bn".into()]).unwrap(), heads);
    let refused = |change: &dyn Fn(&mut OnnxTower)| names(&backbone, change).unwrap_err().to_string();
    let wrong = refused(&|how| how.freeze = vec!["stm.".into()]);
    assert!(wrong.contains("tower.freeze") && wrong.contains("did you mean \"stem.weight\"?"), "{wrong}");
    assert!(refused(&|how| how.freeze = vec![String::new()]).contains("are frozen; leave some to learn"));
    assert!(refused(&|how| how.train_last = Some(0)).contains("are frozen"));
    let plain = chain(vec![node("MatMul", &["x0", "w"], "y", vec![])], &[("w", &[4, 4])]);
    let none = names(&plain.unwrap(), |how| how.batch_norm = BatchNorm::Batch).unwrap_err().to_string();
    assert!(none.contains("has no batch normalisation"), "{none}");
}

/// The embedding of a batch of two, and the whole that was built.
fn built(backbone: &Backbone, how: &OnnxTower, mode: Mode) -> (Vec<String>, Vec<String>, Vec<Operator>) {
    let g = Graph::new("t");
    let values = backbone
        .specs(how)
        .unwrap()
        .into_iter()
        .map(|spec| (spec.name.clone(), g.input(&spec.name, DType::F32, &spec.shape)))
        .collect();
    let x = g.input("x0", DType::F32, &[2, 4]);
    let made = backbone.forward(how, x, &values, mode, Channels::First).unwrap();
    assert_eq!(made.embedding.shape(), [2, 4]);
    g.output("y", made.embedding);
    let model = g.to_model().unwrap();
    let masks = made.masks.iter().map(|m| format!("{} {:?} {}", m.name, m.shape, m.keep)).collect();
    let stats = made.stats.into_iter().map(|stat| stat.name).collect();
    (masks, stats, model.graph.unwrap().node.iter().filter_map(NodeProto::operator).collect())
}

#[test]
fn training_drops_by_masks_and_normalises_as_it_is_told() {
    let backbone = usual();
    let frozen = OnnxTower::new("m.onnx");
    let batch = OnnxTower { batch_norm: BatchNorm::Batch, ..frozen.clone() };
    let (masks, stats, operators) = built(&backbone, &frozen, Mode::Train);
    assert_eq!(masks, ["mask.d [2, 4, 2, 2] 0.75"]);
    assert!(stats.is_empty() && !operators.contains(&Operator::ReduceMean));
    // Frozen normalisation is in the convolution's weights: no pass over images of its own.
    assert_eq!(operators.iter().filter(|op| **op == Operator::Conv).count(), 1);
    let (_, stats, operators) = built(&backbone, &batch, Mode::Train);
    assert_eq!(stats, ["bn.mean", "bn.var"]);
    assert!(operators.contains(&Operator::ReduceMean));
    let (masks, stats, _) = built(&backbone, &batch, Mode::Infer);
    assert!(masks.is_empty() && stats.is_empty());
}

#[test]
fn a_weight_that_is_used_twice_gets_the_sum_of_both_gradients() {
    let nodes = |second: &str| {
        vec![
            node("MatMul", &["x0", "w"], "a", vec![]),
            node("Tanh", &["a"], "b", vec![]),
            node("Identity", &[second], "same", vec![]),
            node("MatMul", &["b", "same"], "y", vec![]),
        ]
    };
    let gradient = |second: &str, names: &[&str]| {
        let backbone = chain(nodes(second), &[("w", &[4, 4]), ("v", &[4, 4])]).unwrap();
        let how = OnnxTower::new("m.onnx");
        assert_eq!(backbone.specs(&how).unwrap().len(), names.len());
        let g = Graph::new("t");
        let inputs: BTreeMap<String, Expr> =
            names.iter().map(|n| ((*n).to_string(), g.input(n, DType::F32, &[4, 4]))).collect();
        let x = g.input("x0", DType::F32, &[2, 4]);
        let y = backbone.forward(&how, x, &inputs, Mode::Train, Channels::First).unwrap().embedding;
        let wrt: Vec<Expr> = names.iter().map(|n| inputs[*n]).collect();
        let all = gradients(y.squared().total(), &wrt, GradOptions::default());
        g.output("d", all.into_iter().reduce(|a, b| a + b).unwrap());
        let mut at = Values::from([("x0".to_string(), random("x0", &[2, 4], false))]);
        at.extend(names.iter().map(|n| ((*n).to_string(), random("w", &[4, 4], false))));
        interpreter::run(&g.to_model().unwrap(), at).unwrap()["d"].clone()
    };
    let (shared, apart) = (gradient("w", &["w"]), gradient("v", &["w", "v"]));
    assert!((shared - apart).iter().all(|d| d.abs() < 1e-12));
}

#[test]
fn all_operators_without_a_derivative_are_named_at_once() {
    let nodes = vec![
        node("MatMul", &["x0", "w"], "a", vec![]),
        node("TopK", &["a", "k"], "b", vec![]),
        node("NonZero", &["b"], "c", vec![]),
        node("Loop", &["", "", "c"], "d", vec![]),
        node("TopK", &["d", "k"], "y", vec![]),
    ];
    let said = chain(nodes, &[("w", &[4, 4])]).unwrap_err().to_string();
    for part in [
        "TopK has no derivative (the TopK and 1 more)",
        "NonZero is not known here",
        "Loop is control flow",
        "cannot be trained",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// What only a form lacks is told by its node too.
#[test]
fn forms_without_a_derivative_are_named() {
    let nodes = vec![
        node("Reshape", &["x0", "shape"], "image", vec![]),
        node("MaxPool", &["image"], "a", vec![list("kernel_shape", &[2, 2]), list("dilations", &[2, 1])]),
        node("Flatten", &["a"], "b", vec![]),
        node("MatMul", &["b", "w"], "y", vec![]),
    ];
    let mut given = model(nodes, vec![ints(&[-1, 1, 2, 2]).to_proto("shape")], &["y"], 17);
    given.graph.as_mut().unwrap().initializer.push(Tensor::F32(ArrayD::zeros(vec![1, 4])).to_proto("w"));
    let backbone = whole(given).unwrap();
    let g = Graph::new("t");
    let x = g.input("x0", DType::F32, &[2, 4]);
    let how = OnnxTower::new("m.onnx");
    let wrong = backbone.forward(&how, x, &BTreeMap::new(), Mode::Train, Channels::First).unwrap_err();
    assert!(wrong.to_string().contains("MaxPool"), "{wrong}");
}

#[test]
fn models_that_were_made_small_are_refused() {
    let nodes = vec![
        node("DequantizeLinear", &["small", "scale"], "w", vec![]),
        node("MatMul", &["x0", "w"], "y", vec![]),
    ];
    let said = chain(nodes, &[("scale", &[1])]).unwrap_err().to_string();
    assert!(said.contains("is quantised (its first such operator is DequantizeLinear)"), "{said}");
    let half = TensorProto {
        data_type: Some(crate::onnx::data_type::FLOAT16),
        dims: vec![4, 4],
        raw_data: Some(vec![0; 32].into()),
        name: Some("w".into()),
        ..TensorProto::default()
    };
    let given = model(vec![node("MatMul", &["x0", "w"], "y", vec![])], vec![half], &["y"], 17);
    let said = whole(given).unwrap_err().to_string();
    assert!(said.contains("weight w") && said.contains("16 bits"), "{said}");
    let bare = chain(vec![node("Relu", &["x0"], "y", vec![])], &[]).unwrap_err().to_string();
    assert!(bare.contains("no float32 weights"), "{bare}");
}

#[test]
fn what_is_exported_is_the_file_with_what_was_learned() {
    let backbone = usual();
    let how = OnnxTower { freeze: vec!["bn".into()], ..OnnxTower::new("m.onnx") };
    let mut params = Params::new();
    for spec in backbone.specs(&how).unwrap() {
        params.insert(spec.name.clone(), ArrayD::from_elem(spec.shape, 2.0));
    }
    let given = &backbone.model;
    let trained = backbone.trained(&how, &params).unwrap();
    let [before, after] = [given, &trained].map(|model| model.graph.as_ref().unwrap());
    assert_eq!(before.node, after.node);
    for (old, new) in before.initializer.iter().zip(&after.initializer) {
        let learned = ["stem.weight", "head.weight", "head.bias"].contains(&new.name());
        assert_eq!(old != new, learned, "{}", new.name());
    }
    params.insert("stem.weight".into(), ArrayD::from_elem(vec![4, 1, 1, 1], f32::NAN));
    assert!(backbone.trained(&how, &params).unwrap_err().to_string().contains("stem.weight: holds a NaN"));
    params.remove("stem.weight");
    assert!(backbone.trained(&how, &params).unwrap_err().to_string().contains("stem.weight: is missing"));
}
