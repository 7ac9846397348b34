//! Every runtime of this build on a small tower made here.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::Result;
use crate::graph::{ConvAttrs, DType, Graph, Tensor};
use crate::image::Preprocessing;
use crate::onnx::ModelProto;
use crate::tower::TowerSpec;
use crate::tower::{Distance, TowerKind};
use ndarray::{Array4, s};
use prost::Message;

/// Every runtime built in, with these threads.
fn runners(threads: usize) -> Vec<Runner> {
    let options = Options { threads, ..Options::default() };
    Runtime::built_in().map(|runtime| runtime.with(options.clone()).unwrap()).collect()
}

/// `image [N, 1, 6, 6]` → /255 → conv 3×3, stride 2, 4 channels → relu → flatten → `[N, 16]`.
fn tower() -> ModelProto {
    let g = Graph::new("tiny");
    let x = g.input("image", DType::U8, &[1, 1, 6, 6]).cast(DType::F32) * (1.0 / 255.0);
    let weights = (0..36).map(|i| ((i * 7 % 11) as f32 - 5.0) / 8.0).collect();
    let w = g.initializer(
        "conv1.weight",
        Tensor::F32(ndarray::ArrayD::from_shape_vec(vec![4, 1, 3, 3], weights).unwrap()),
    );
    let x = x.conv(w, None, ConvAttrs { strides: [2, 2], ..Default::default() });
    g.output("embedding", x.relu().flatten(1));
    let mut model = g.to_model_batched("N").unwrap();
    let spec = TowerSpec {
        name: "tiny".into(),
        kind: TowerKind::Float,
        preprocessing: Preprocessing::ink(6),
        dim: 16,
        distance: Distance::L2,
        batch: None,
        compatible_with: None,
        sha256: String::new(),
    };
    spec.write_metadata(&mut model).unwrap();
    model
}

fn open(runner: &Runner, model: &ModelProto) -> Result<Box<dyn Embedder>> {
    runner.load_bytes(&model.encode_to_vec(), "tiny.onnx")
}

fn images(count: usize) -> Array4<u8> {
    Array4::from_shape_fn((count, 1, 6, 6), |(n, _, y, x)| (n * 37 + y * 23 + x * 11) as u8)
}

/// The tower by hand, in float64.
fn expected(image: ndarray::ArrayView3<'_, u8>) -> Vec<f64> {
    let mut row = Vec::new();
    for channel in 0..4 {
        for (y, x) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let mut sum = 0.0;
            for (ky, kx) in (0..3).flat_map(|ky| (0..3).map(move |kx| (ky, kx))) {
                let weight = ((((channel * 9 + ky * 3 + kx) * 7 % 11) as f32 - 5.0) / 8.0) as f64;
                sum += weight * f64::from(image[(0, y * 2 + ky, x * 2 + kx)]) / 255.0;
            }
            row.push(sum.max(0.0));
        }
    }
    row
}

#[test]
fn every_runtime_computes_the_tower_row_by_row() {
    for runner in runners(2) {
        let mut embedder = open(&runner, &tower()).unwrap();
        assert_eq!(embedder.spec().dim, 16);
        let images = images(70);
        let together = embedder.embed(images.view()).unwrap();
        assert_eq!(together.dim(), (70, 16));
        for (image, row) in images.outer_iter().zip(together.outer_iter()) {
            for (a, b) in row.iter().zip(expected(image)) {
                assert!((f64::from(*a) - b).abs() <= 1e-5, "{}: {a} is not {b}", runner.name());
            }
        }
        // Row i depends on image i alone: it does not change when the others do.
        let alone = embedder.embed(images.slice(s![69..70, .., .., ..])).unwrap();
        let apart =
            (&together.slice(s![69..70, ..]) - &alone).mapv(f32::abs).fold(0.0, |a: f32, &b| a.max(b));
        assert!(apart <= 1e-6, "{}: {apart}", runner.name());
        assert_eq!(embedder.embed(images.slice(s![0..0, .., .., ..])).unwrap().dim(), (0, 16));
        // A view in another memory order is the same batch.
        let turned = images.view().reversed_axes().as_standard_layout().into_owned();
        assert_eq!(embedder.embed(turned.view().reversed_axes()).unwrap(), together);
    }
}

#[test]
fn a_tower_of_one_picture_is_run_picture_by_picture() {
    let mut fixed = tower();
    for value in fixed.graph.iter_mut().flat_map(|g| g.input.iter_mut().chain(&mut g.output)) {
        if let Some(crate::onnx::type_proto::Value::Tensor(t)) = &mut value.r#type.as_mut().unwrap().value {
            t.shape.as_mut().unwrap().dim[0].value = Some(crate::onnx::DimensionValue::Value(1));
        }
    }
    assert!(open(&runners(1)[0], &fixed).is_err(), "the metadata tell of any batch");
    fixed.set_metadata("siamese.batch", "1");
    for runner in runners(2) {
        let mut embedder = open(&runner, &fixed).unwrap();
        assert_eq!(embedder.spec().batch, Some(1));
        let together = embedder.embed(images(7).view()).unwrap();
        let free = open(&runner, &tower()).unwrap().embed(images(7).view()).unwrap();
        let apart = (&together - &free).mapv(f32::abs).fold(0.0, |a: f32, &b| a.max(b));
        assert!(apart <= 1e-6, "{}: {apart}", runner.name());
    }
    fixed.set_metadata("siamese.batch", "2");
    assert!(open(&runners(1)[0], &fixed).map(|_| ()).unwrap_err().to_string().contains("siamese.batch"));
}

#[test]
fn the_number_of_threads_changes_no_row_by_more_than_rounding() {
    for (one, many) in runners(1).iter().zip(&runners(0)) {
        let images = images(33);
        let a = open(one, &tower()).unwrap().embed(images.view()).unwrap();
        let b = open(many, &tower()).unwrap().embed(images.view()).unwrap();
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-6), "{}", one.name());
    }
}

#[test]
fn images_of_another_shape_are_refused_with_both_shapes() {
    for runner in runners(1) {
        let mut embedder = open(&runner, &tower()).unwrap();
        let error = embedder.embed(Array4::zeros((2, 1, 6, 7)).view()).unwrap_err().to_string();
        assert!(error.contains("[2, 1, 6, 7]") && error.contains("[N, 1, 6, 6]"), "{error}");
    }
}

#[test]
fn every_unknown_operator_is_named_at_once() {
    let mut model = tower();
    let graph = model.graph.as_mut().unwrap();
    let relu = graph.node.iter_mut().find(|node| node.op_type() == "Relu").unwrap();
    relu.op_type = Some("Sparkle".into());
    relu.name = Some("act1".into());
    let flatten = graph.node.iter_mut().find(|node| node.op_type() == "Flatten").unwrap();
    flatten.op_type = Some("Twist".into());
    flatten.domain = Some("com.nobody".into());
    for runner in runners(1) {
        let error = open(&runner, &model).err().expect("it must be refused");
        let told = error.to_string();
        let needed = ["Sparkle (1 node, first act1)", "com.nobody:Twist", "opset 17", "IR 8", "tiny.onnx"];
        assert!(needed.iter().all(|words| told.contains(words)), "{told}");
        assert!(!told.contains("Conv") && !told.contains("Cast"), "{told}");
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn a_model_from_the_future_is_told_its_versions() {
    for runner in runners(1) {
        let mut model = tower();
        // ONNX Runtime 1.32 knows opset 27.
        model.opset_import[0].version = Some(50);
        let told = open(&runner, &model).err().expect("opset 50 must be refused").to_string();
        assert!(told.contains("opset 50") && told.contains("opset 17"), "{told}");
    }
    #[cfg(feature = "ort")]
    {
        let mut model = tower();
        model.ir_version = Some(99);
        let runner = ORT.with(Options::default()).unwrap();
        let error = open(&runner, &model).err().expect("IR 99 must be refused");
        assert!(error.to_string().contains("IR 99"), "{error}");
    }
}

/// A fault put into the tower's graph.
type Damage = (&'static str, fn(&mut crate::onnx::GraphProto));

#[test]
fn damaged_graphs_are_errors() {
    let cases: [Damage; 4] = [
        ("an output that nothing makes", |g| g.node.retain(|node| node.op_type() != "Flatten")),
        ("an input that nothing makes", |g| g.node.retain(|node| node.op_type() != "Relu")),
        ("weights of another shape", |g| {
            let weight = g.initializer.iter_mut().find(|t| t.name() == "conv1.weight").unwrap();
            weight.dims = vec![4, 3, 3, 1];
        }),
        ("weights cut short", |g| {
            let weight = g.initializer.iter_mut().find(|t| t.name() == "conv1.weight").unwrap();
            weight.raw_data.as_mut().unwrap().truncate(50);
        }),
    ];
    for runner in runners(1) {
        for (what, damage) in cases {
            let mut model = tower();
            damage(model.graph.as_mut().unwrap());
            // What a runtime does not see when loading, it must see when running.
            let error = open(&runner, &model).and_then(|mut e| e.embed(images(2).view())).err();
            let error = error.unwrap_or_else(|| panic!("{what} passes"));
            assert!(error.to_string().contains("tiny"), "{what}: {error}");
        }
    }
}

#[test]
fn operators_of_nested_graphs_count() {
    let mut model = tower();
    let inner = model.graph.clone();
    let attribute = crate::onnx::AttributeProto { g: inner, ..Default::default() };
    model.graph.as_mut().unwrap().node[0].attribute.push(attribute);
    let found = support::operators(&model);
    let conv = found.iter().find(|operator| operator.name == "Conv").unwrap();
    assert_eq!(conv.nodes, 2);
}

#[test]
fn optimisation_levels_agree() {
    let images = images(5);
    for runner in runners(1) {
        let at = |level: &OptLevel| {
            let options = Options { level: Some(*level), ..runner.options().clone() };
            open(&runner.with(options).unwrap(), &tower()).unwrap().embed(images.view()).unwrap()
        };
        let all = open(&runner, &tower()).unwrap().embed(images.view()).unwrap();
        for level in runner.runtime().levels {
            assert!(
                all.iter().zip(&at(level)).all(|(a, b)| (a - b).abs() <= 1e-6),
                "{} {level:?}",
                runner.name()
            );
        }
    }
}

#[cfg(feature = "ort")]
#[test]
fn cuda_is_an_error_where_it_is_not() {
    if ort::library(&Lookup::default()).unwrap().has_cuda() {
        eprintln!("skipped: this library has CUDA");
        return;
    }
    let runner = ORT.with(Options { device: Device::Cuda, ..Options::default() }).unwrap();
    assert_eq!(open(&runner, &tower()).err().unwrap().exit_code(), 3);
}

#[test]
fn engines_plan_with_shapes_that_other_nodes_give() {
    let g = Graph::new("reshape");
    let x = g.input("x", DType::F32, &[2, 3]);
    g.output("y", x.reshape(&[3, 2]));
    let mut model = g.to_model().unwrap();
    let graph = model.graph.as_mut().unwrap();
    let shape = graph.node[0].input[1].clone();
    let list = Tensor::I64(ndarray::arr1(&[3i64, 2]).into_dyn());
    graph.initializer.clear();
    graph.input.push(list.value_info(&shape));
    let x = Tensor::F32(ndarray::arr2(&[[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]]).into_dyn());
    let inputs = [("x".to_string(), x), (shape, list)];
    for runner in runners(1) {
        let found = runner.engine().unwrap().run(&model, &inputs).unwrap();
        assert_eq!(
            (found[0].shape(), found[0].to_f64()[[2, 0]]),
            (&[3usize, 2][..], 5.0),
            "{}",
            runner.name()
        );
    }
}

#[test]
fn a_graph_that_an_engine_refuses_is_an_error_that_names_the_runtime() {
    let mut model = tower();
    model.graph.as_mut().unwrap().node[1].op_type = Some("NoSuchOperator".into());
    let inputs = [("image".to_string(), Tensor::U8(images(1).into_dyn()))];
    for runner in runners(1) {
        let error = runner.engine().unwrap().run(&model, &inputs).unwrap_err();
        assert!(error.to_string().contains(runner.runtime().title), "{error}");
    }
}

#[test]
fn doctor_runs_a_tower_on_every_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.onnx");
    std::fs::write(&path, tower().encode_to_vec()).unwrap();
    for runner in runners(1) {
        runner.library().unwrap();
    }
    let report = doctor::examine(&Lookup::default(), Some(&path)).unwrap();
    assert_eq!(report.missing, Vec::<String>::new());
    let tower = report.tower.unwrap();
    assert_eq!(tower.loads.len(), runners(1).len());
    assert!(tower.loads.iter().all(|load| load.fault.is_none() && load.first_result_ms.is_some()));
    assert!(tower.operators.iter().any(|operator| operator.name == "Conv" && operator.nodes == 1));
    assert!(tower.versions.starts_with("IR 8, opset 17"));
}

#[test]
fn doctor_tells_which_runtime_cannot_run_a_tower() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("odd.onnx");
    let mut model = tower();
    let relu = model.graph.as_mut().unwrap().node.iter_mut().find(|node| node.op_type() == "Relu").unwrap();
    relu.op_type = Some("Sparkle".into());
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    for runner in runners(1) {
        runner.library().unwrap();
    }
    let report = doctor::examine(&Lookup::default(), Some(&path)).unwrap();
    assert_eq!(report.missing.len(), runners(1).len());
    assert!(report.missing.iter().all(|one| one.contains("Sparkle")), "{:?}", report.missing);
}
