#![allow(clippy::unwrap_used, clippy::expect_used)]
pub(super) mod forms;
mod readings;

use super::*;
use crate::export::save;
use crate::graph::{DType, Expr, Graph, Tensor};
use crate::image::Preprocessing;
use crate::onnx::{
    AttributeProto, NodeProto, StringStringEntryProto, TensorProto, attribute_type, data_type,
};
use crate::tower::{Distance, INPUT, OUTPUT, Provenance};
use crate::walk::interpreter;
use ndarray::{Array4, ArrayD, IxDyn, array};
use std::collections::BTreeMap;

fn weights<'g>(g: &'g Graph, name: &str, shape: &[usize]) -> Expr<'g> {
    let mut next = 0.1f32;
    let array = ArrayD::from_shape_fn(IxDyn(shape), |_| {
        next = (next * 1.7 + 0.3) % 1.0;
        next - 0.5
    });
    g.initializer(name, Tensor::F32(array))
}

/// A small foreign model: `pixels` → conv → mean → `features [N, 4, 1, 1]` → `scores [N, 7]`, batch fixed
/// at 1, and an inner value that is called like a tower's output.
fn foreign(channels_last: bool) -> ModelProto {
    let g = &Graph::new("foreign");
    let shape = if channels_last { [1, 6, 6, 3] } else { [1, 3, 6, 6] };
    let mut x = g.input("pixels", DType::F32, &shape);
    if channels_last {
        x = x.channels_first();
    }
    let x = x.conv(weights(g, "image", &[4, 3, 3, 3]), None, Default::default()).relu();
    let features = x.average_pool([4, 4], [4, 4]);
    let scores = features.reshape(&[1, 4]).linear(weights(g, "classifier", &[7, 4]), None);
    // Reshaped to [1, …] as the pictures are, but no picture.
    let offset = weights(g, "offset", &[7]).reshape(&[1, 7]);
    g.output("features", features);
    g.output("scores", scores + offset);
    g.to_model().unwrap()
}

fn saved(model: &ModelProto) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("foreign.onnx");
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    (folder, path)
}

fn options(output: &str) -> ImportOptions {
    ImportOptions {
        mean: Some(vec![0.5, 0.4, 0.3]),
        std: Some(vec![0.2, 0.3, 0.25]),
        output: Some(output.into()),
        ..ImportOptions::default()
    }
}

fn pictures() -> Array4<u8> {
    Array4::from_shape_fn((2, 3, 6, 6), |(n, c, y, x)| ((n * 131 + c * 71 + y * 37 + x * 11) % 256) as u8)
}

/// Shapes in `Constant` nodes, as other exporters write them, in place of weights.
fn shapes_as_constants(model: &mut ModelProto) {
    let graph = model.graph.as_mut().unwrap();
    let (shapes, weights) = std::mem::take(&mut graph.initializer)
        .into_iter()
        .partition(|t| graph.node.iter().any(|n| n.op_type() == "Reshape" && n.input[1] == t.name()));
    graph.initializer = weights;
    let shapes: Vec<TensorProto> = shapes;
    assert!(!shapes.is_empty());
    let constant = |tensor: TensorProto| NodeProto {
        op_type: Some("Constant".into()),
        output: vec![tensor.name().into()],
        attribute: vec![AttributeProto {
            name: Some("value".into()),
            t: Some(tensor),
            r#type: Some(attribute_type::TENSOR),
            ..AttributeProto::default()
        }],
        ..NodeProto::default()
    };
    graph.node.splice(0..0, shapes.into_iter().map(constant));
}

#[test]
fn an_imported_model_computes_what_it_computed() {
    for (channels_last, bgr, output) in [
        (false, false, "features"),
        (true, false, "scores"),
        (false, true, "scores"),
        (true, true, "features"),
    ] {
        let mut model = foreign(channels_last);
        if bgr {
            shapes_as_constants(&mut model);
        }
        let (_folder, path) = saved(&model);
        let imported = import(&path, &ImportOptions { bgr, ..options(output) }).unwrap();
        let out = path.with_file_name("tower.onnx");
        let spec = save(&imported.model, &out).unwrap();
        assert_eq!(spec.dim, if output == "features" { 4 } else { 7 });
        assert_eq!((spec.name.as_str(), &spec.distance), ("foreign", &Distance::Cosine));
        assert_eq!(spec.preprocessing, Preprocessing::Rgb { size: 6, filter: Default::default(), crop: 1.0 });
        let images = pictures();
        let given = BTreeMap::from([(INPUT.to_string(), images.mapv(f64::from).into_dyn())]);
        let found = interpreter::run(&imported.model, given).unwrap().remove(OUTPUT).unwrap();
        for (i, image) in images.outer_iter().enumerate() {
            // What the model's own program would feed it.
            let mut x = image.mapv(|level| f64::from(level) * f64::from(1.0f32 / 255.0)).into_dyn();
            if bgr {
                x.invert_axis(ndarray::Axis(0));
            }
            for (c, (m, s)) in [(0.5f32, 0.2f32), (0.4, 0.3), (0.3, 0.25)].into_iter().enumerate() {
                x.index_axis_mut(ndarray::Axis(0), c).mapv_inplace(|v| (v - f64::from(m)) / f64::from(s));
            }
            if channels_last {
                x = x.permuted_axes(vec![1, 2, 0]);
            }
            let x = x.insert_axis(ndarray::Axis(0)).as_standard_layout().into_owned();
            let own = interpreter::run(&model, BTreeMap::from([("pixels".to_string(), x)])).unwrap();
            for (a, b) in found.index_axis(ndarray::Axis(0), i).iter().zip(&own[output]) {
                assert!((a - b).abs() < 1e-9, "{a} for {b}");
            }
        }
    }
}

#[test]
fn what_the_embedding_does_not_need_is_left_out() {
    let (_folder, path) = saved(&foreign(false));
    let imported = import(&path, &options("features")).unwrap();
    let graph = imported.model.graph.as_ref().unwrap();
    assert!(graph.initializer.iter().all(|t| t.name() != "classifier"));
    assert!(graph.node.iter().all(|n| n.op_type() != "Gemm" && n.op_type() != "Reshape"));
    assert!(imported.notes.iter().any(|n| n.contains("fixed at 1")));
    let told = Provenance::read(&imported.model).unwrap();
    assert!(told.source.unwrap().starts_with("foreign.onnx, SHA-256 "));
    let scores = import(&path, &options("scores")).unwrap();
    assert!(scores.notes.iter().any(|n| n.contains("1 Reshape")));
}

/// A change to the model or the options, and what the error must say.
type Fault = (&'static str, fn(&mut ModelProto, &mut ImportOptions), &'static str);

fn elem_type(model: &mut ModelProto, input: bool, kind: i32) {
    let g = model.graph.as_mut().unwrap();
    let info = if input { &mut g.input[0] } else { &mut g.output[0] };
    if let Some(crate::onnx::type_proto::Value::Tensor(t)) = &mut info.r#type.as_mut().unwrap().value {
        t.elem_type = Some(kind);
    }
}

fn drop_axis(model: &mut ModelProto, input: bool) {
    let g = model.graph.as_mut().unwrap();
    let info = if input { &mut g.input[0] } else { &mut g.output[0] };
    if let Some(crate::onnx::type_proto::Value::Tensor(t)) = &mut info.r#type.as_mut().unwrap().value {
        t.shape.as_mut().unwrap().dim.pop();
    }
}

fn external(model: &mut ModelProto, location: &str) {
    let tensor: &mut TensorProto = &mut model.graph.as_mut().unwrap().initializer[0];
    tensor.raw_data = None;
    tensor.data_location = Some(1);
    let entry = |k: &str, v: &str| StringStringEntryProto { key: Some(k.into()), value: Some(v.into()) };
    tensor.external_data = vec![entry("location", location), entry("offset", "4"), entry("length", "432")];
}

#[test]
fn models_and_options_that_do_not_fit_are_refused() {
    let faults: [Fault; 24] = [
        (
            "several outputs",
            |_, o| o.output = None,
            "--output: the outputs are \"features\" float32 [1, 4, 1, 1]",
        ),
        ("no such output", |_, o| o.output = Some("logits".into()), "\"scores\" float32 [1, 7]"),
        ("a map", |_, o| o.output = Some("Relu_1:0".into()), "not [N, D]"),
        ("wrong D", |_, o| o.dim = Some(5), "--dim: is 5"),
        ("integers", |m, _| elem_type(m, true, data_type::INT64), "is int64"),
        ("integer output", |m, _| elem_type(m, false, data_type::INT64), "is int64, not float32"),
        ("rank of the input", |m, _| drop_axis(m, true), "[1, 3, 6]"),
        ("size", |_, o| o.pixels.size = Some(8), "of 6 pixels, not of --size 8"),
        ("ink", |_, o| o.pixels.rgb = Some(false), "takes 3 channels"),
        ("mean", |_, o| o.mean = Some(vec![0.0; 2]), "--mean"),
        ("NaN mean", |_, o| o.mean = Some(vec![f32::NAN]), "--mean"),
        ("std", |_, o| o.std = Some(vec![0.0]), "--std"),
        ("scale", |_, o| o.scale = Some(f32::NAN), "--scale: is NaN"),
        ("an inner value", |_, o| o.output = Some("nowhere".into()), "the last values inside are [\""),
        ("crop", |_, o| o.pixels.crop = Some(2.0), "crop"),
        ("alpha", |_, o| o.distance = Distance::WeightedL1 { alpha: vec![1.0] }, "α has 1"),
        ("opset", |m, _| m.opset_import[0].version = Some(99), "opset 99"),
        ("a tower", |m, _| m.set_metadata("siamese.format", "1"), "a tower already"),
        ("NaN weight", |m, _| nan(m), "at 0: is not a finite number"),
        ("outside", |m, _| external(m, "../secret.bin"), "outside the model's folder"),
        ("absolute", |m, _| external(m, "/etc/passwd"), "outside the model's folder"),
        ("missing data", |m, _| external(m, "absent.bin"), "cannot be opened"),
        ("short data", |m, _| external(m, "foreign.onnx.data"), "lies beyond the end"),
        ("two inputs", |m, _| two_inputs(m), "has one, a picture"),
    ];
    let mut wrong = Vec::new();
    for (what, fault, words) in faults {
        let (mut model, mut options) = (foreign(false), options("features"));
        fault(&mut model, &mut options);
        let (folder, path) = saved(&model);
        std::fs::write(folder.path().join("foreign.onnx.data"), [0u8; 16]).unwrap();
        let said = import(&path, &options).map(|_| ()).unwrap_err().to_string();
        if !(said.contains(words) && said.contains("foreign.onnx")) {
            wrong.push(format!("{what}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn nan(model: &mut ModelProto) {
    let weights = &mut model.graph.as_mut().unwrap().initializer[0];
    weights.edit_raw(|raw| raw[..4].copy_from_slice(&f32::NAN.to_le_bytes()));
}

fn two_inputs(model: &mut ModelProto) {
    let graph = model.graph.as_mut().unwrap();
    let mut second = graph.input[0].clone();
    second.name = Some("mask".into());
    graph.input.push(second);
}

#[test]
fn weights_beside_the_model_are_read_in() {
    let model = foreign(false);
    let mut apart = model.clone();
    let name = model.graph.as_ref().unwrap().initializer[0].name().to_string();
    external(&mut apart, "weights.bin");
    let (folder, path) = saved(&apart);
    let raw = model.graph.as_ref().unwrap().initializer[0].raw_data().to_vec();
    std::fs::write(folder.path().join("weights.bin"), [&[9u8; 4][..], &raw].concat()).unwrap();
    let imported = import(&path, &options("features")).unwrap().model;
    let tensors = imported.graph.unwrap().initializer;
    let renamed = format!("model.{name}");
    let tensor = tensors.iter().find(|t| t.name() == name || t.name() == renamed).unwrap();
    assert_eq!((tensor.raw_data(), tensor.data_location), (&raw[..], None));
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_out_is_refused() {
    let mut model = foreign(false);
    external(&mut model, "weights.bin");
    let (folder, path) = saved(&model);
    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("weights.bin")).unwrap();
    let said = import(&path, &options("features")).map(|_| ()).unwrap_err().to_string();
    assert!(said.contains("outside the model's folder"), "{said}");
}

#[test]
fn a_model_that_tells_nothing_needs_to_be_told() {
    let g = Graph::new("ink");
    let x = g.input("x", DType::F32, &[1, 1, 5, 5]);
    let w = g.initializer("w", Tensor::F32(array![[1.0f32; 25], [0.5; 25]].into_dyn()));
    g.output("y", x.flatten(1).linear(w, None));
    let mut model = g.to_model_batched("batch").unwrap();
    let (_folder, path) = saved(&model);
    let plain = import(&path, &ImportOptions::default()).unwrap();
    assert_eq!((plain.notes.len(), Preprocessing::ink(5)), (0, read(&plain.model).preprocessing));
    // Without shapes in the file, size and channels have to be given.
    for info in &mut model.graph.as_mut().unwrap().input {
        if let Some(crate::onnx::type_proto::Value::Tensor(t)) = &mut info.r#type.as_mut().unwrap().value {
            t.shape.as_mut().unwrap().dim.iter_mut().for_each(|d| d.value = None);
        }
    }
    let (_folder, path) = saved(&model);
    let mut options = ImportOptions::default();
    let said = |o: &ImportOptions| import(&path, o).map(|_| ()).unwrap_err().to_string();
    assert!(said(&options).contains("--rgb or --ink"));
    options.pixels.rgb = Some(false);
    assert!(said(&options).contains("--size"));
    options.pixels.size = Some(5);
    let spec = read(&import(&path, &options).unwrap().model);
    assert_eq!((spec.dim, spec.preprocessing), (2, Preprocessing::ink(5)));
}

fn read(model: &ModelProto) -> TowerSpec {
    TowerSpec::from_bytes(&model.encode_to_vec(), "t.onnx").unwrap().0
}

#[test]
fn what_is_no_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let whole = foreign(false).encode_to_vec();
    let cases: [(&[u8], &str); 3] = [
        (b"GIF89a", "is not an ONNX model"),
        (&whole[..whole.len() - 9], "cut off"),
        (b"", "not an ONNX model"),
    ];
    for (i, (bytes, words)) in cases.into_iter().enumerate() {
        let path = folder.path().join(format!("{i}.onnx"));
        std::fs::write(&path, bytes).unwrap();
        let said = import(&path, &ImportOptions::default()).map(|_| ()).unwrap_err().to_string();
        assert!(said.contains(words) && said.contains(&format!("{i}.onnx")), "{said}");
    }
    assert!(import(&folder.path().join("absent.onnx"), &ImportOptions::default()).is_err());
}
