//! Models in the forms that exporters, optimisers and hubs leave them in.

use super::forms::{Form, as_given, read, rows};
use crate::export::{Batch, ImportOptions, Pixels, Preset, SetInput};
use crate::onnx::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, SparseTensorProto,
    Tensor, TensorProto, ValueInfoProto, attribute_type, data_type,
};
use crate::tower::{INPUT, Provenance};
use ndarray::{Array2, Array4, ArrayD, IxDyn, array};

fn pictures() -> Array4<u8> {
    Array4::from_shape_fn((3, 3, 4, 4), |(n, c, y, x)| ((n * 83 + c * 59 + y * 31 + x * 17) % 253) as u8)
}

/// Means of channels, mixed: `[N, 3, 4, 4]` → `[N, 5]`.
fn means() -> Form {
    Form::new(&[1, 3, 4, 4])
        .open_batch()
        .node("x", "GlobalAveragePool", "pool", vec![])
        .node("pool", "Flatten", "flat", vec![])
        .weight("head", &[3, 5])
        .node("flat head", "MatMul", "y", vec![])
        .output(&[1, 5])
}

/// The rows of the tower made of a model, and its notes.
fn tower(model: &ModelProto, options: &ImportOptions) -> (Array2<f64>, Vec<String>) {
    let foreign = read(model, options).unwrap();
    let imported = foreign.tower(foreign.batches()[0], foreign.dim().unwrap(), &[]).unwrap();
    (rows(&imported.model, &pictures(), 3), imported.notes)
}

fn expected() -> Array2<f64> {
    let foreign = means().read(&ImportOptions::default());
    as_given(&means().model(), &foreign, &pictures())
}

fn near(a: &Array2<f64>, b: &Array2<f64>) -> bool {
    a.dim() == b.dim() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6)
}

#[test]
fn nodes_out_of_order_are_sorted() {
    let mut model = means().model();
    model.graph.as_mut().unwrap().node.reverse();
    let (found, notes) = tower(&model, &ImportOptions::default());
    assert!(near(&found, &expected()));
    assert!(notes.iter().any(|n| n.contains("not in order")), "{notes:?}");
    // Two nodes that wait for each other.
    let mut circle = means().node("y", "Relu", "loop", vec![]).model();
    circle.graph.as_mut().unwrap().node[0].input[0] = "loop".into();
    let said = read(&circle, &ImportOptions::default()).unwrap_err().to_string();
    assert!(said.contains("need each other's results"), "{said}");
}

fn sparse(dims: Vec<i64>, values: Vec<f32>, places: Tensor) -> SparseTensorProto {
    let values = Tensor::F32(ndarray::arr1(&values).into_dyn()).to_proto("head");
    SparseTensorProto { values: Some(values), indices: Some(places.to_proto("places")), dims }
}

#[test]
fn sparse_weights_become_dense() {
    let mut dense = vec![0.0f32; 15];
    (dense[1], dense[7], dense[14]) = (0.5, -2.0, 1.25);
    let mut whole = means().model();
    let weights = Tensor::F32(ArrayD::from_shape_vec(IxDyn(&[3, 5]), dense).unwrap());
    whole.graph.as_mut().unwrap().initializer = vec![weights.to_proto("head")];
    let (wanted, _) = tower(&whole, &ImportOptions::default());
    let by_number = Tensor::I64(ndarray::arr1(&[1i64, 7, 14]).into_dyn());
    let by_axes = Tensor::I64(array![[0i64, 1], [1, 2], [2, 4]].into_dyn());
    for places in [by_number, by_axes] {
        let mut model = whole.clone();
        let graph = model.graph.as_mut().unwrap();
        graph.initializer.clear();
        graph.sparse_initializer = vec![sparse(vec![3, 5], vec![0.5, -2.0, 1.25], places)];
        // Old files list weights among the inputs.
        graph.input.push(ValueInfoProto { name: Some("head".into()), ..ValueInfoProto::default() });
        let (found, notes) = tower(&model, &ImportOptions::default());
        assert!(near(&found, &wanted) && notes.iter().any(|n| n.contains("made dense")), "{notes:?}");
    }
    for (dims, places) in [(vec![3, 5], vec![1i64, 7, 15]), (vec![1 << 20, 1 << 20], vec![0, 1, 2])] {
        let mut model = whole.clone();
        let places = Tensor::I64(ndarray::arr1(&places).into_dyn());
        model.graph.as_mut().unwrap().sparse_initializer = vec![sparse(dims, vec![1.0; 3], places)];
        assert!(
            read(&model, &ImportOptions::default())
                .unwrap_err()
                .to_string()
                .contains("sparse weight \"head\"")
        );
    }
}

fn node(inputs: &[&str], domain: &str, op: &str, outputs: &[&str]) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|name| (*name).into()).collect(),
        output: outputs.iter().map(|name| (*name).into()).collect(),
        domain: Some(domain.into()),
        op_type: Some(op.into()),
        ..NodeProto::default()
    }
}

/// `Pooled(x) = Shrunk(GlobalAveragePool(x))`, `Shrunk(x) = LeakyRelu(Flatten(x), alpha)`.
fn with_functions(opset: i64) -> ModelProto {
    let mut leaky = node(&["f"], "", "LeakyRelu", &["out"]);
    leaky.attribute = vec![AttributeProto {
        name: Some("alpha".into()),
        ref_attr_name: Some("slope".into()),
        r#type: Some(attribute_type::FLOAT),
        ..AttributeProto::default()
    }];
    let mut call = node(&["p"], "own", "Shrunk", &["out"]);
    call.attribute =
        vec![AttributeProto { ref_attr_name: Some("slope".into()), ..AttributeProto::flag("slope", true) }];
    let function = |name: &str, node: Vec<NodeProto>| FunctionProto {
        name: Some(name.into()),
        domain: Some("own".into()),
        input: vec!["in".into()],
        output: vec!["out".into()],
        attribute: vec!["slope".into()],
        node,
        opset_import: vec![OperatorSetIdProto { version: Some(opset), ..OperatorSetIdProto::default() }],
        ..FunctionProto::default()
    };
    let mut model = means().model();
    model.functions = vec![
        function("Pooled", vec![node(&["in"], "", "GlobalAveragePool", &["p"]), call]),
        function("Shrunk", vec![node(&["in"], "", "Flatten", &["f"]), leaky]),
    ];
    model.opset_import.push(OperatorSetIdProto { domain: Some("own".into()), version: Some(1) });
    let graph = model.graph.as_mut().unwrap();
    let mut pooled = node(&["x"], "own", "Pooled", &["flat"]);
    pooled.attribute = vec![AttributeProto {
        f: Some(0.25),
        r#type: Some(attribute_type::FLOAT),
        ..AttributeProto { name: Some("slope".into()), ..AttributeProto::default() }
    }];
    graph.node.splice(0..2, [pooled]);
    model
}

#[test]
fn functions_are_replaced_by_what_they_do() {
    let (found, notes) = tower(&with_functions(17), &ImportOptions::default());
    // The means are not negative, so that the slope does not show.
    assert!(near(&found, &expected()), "{found}");
    assert!(notes.iter().any(|n| n.starts_with("2 calls")), "{notes:?}");
    let foreign = read(&with_functions(17), &ImportOptions::default()).unwrap();
    let model = foreign.tower(Batch::Free, 5, &[]).unwrap().model;
    assert!(model.functions.is_empty() && model.opset_import.len() == 1);
    let leaky = model.graph.as_ref().unwrap().node.iter().find(|n| n.op_type() == "LeakyRelu").unwrap();
    assert_eq!(leaky.attribute("alpha").unwrap().f, Some(0.25));
    // The same operators at another opset; others.
    assert!(read(&with_functions(16), &ImportOptions::default()).is_ok());
    let said = read(&with_functions(8), &ImportOptions::default()).unwrap_err().to_string();
    assert!(said.contains("is written for opset 8"), "{said}");
    // A function that calls itself.
    let mut endless = with_functions(17);
    endless.functions[1].node[0] = node(&["in"], "own", "Pooled", &["f"]);
    let said = read(&endless, &ImportOptions::default()).unwrap_err().to_string();
    assert!(said.contains("without end"), "{said}");
}

/// `y = If(training, 0·x, x)` before all else, and a factor that is to be kept.
fn with_inputs() -> ModelProto {
    let branch = |op: &str, name: &str| GraphProto {
        node: vec![node(&["x"], "", op, &[name])],
        output: vec![ValueInfoProto { name: Some(name.into()), ..ValueInfoProto::default() }],
        ..GraphProto::default()
    };
    let graph_of = |name: &str, g: GraphProto| AttributeProto {
        name: Some(name.into()),
        g: Some(g),
        r#type: Some(attribute_type::GRAPH),
        ..AttributeProto::default()
    };
    let mut model = means().model();
    let graph = model.graph.as_mut().unwrap();
    let mut choice = node(&["train:0"], "", "If", &["chosen"]);
    choice.attribute =
        vec![graph_of("then_branch", branch("Floor", "t")), graph_of("else_branch", branch("Identity", "e"))];
    graph.node[0].input[0] = "kept".into();
    graph.node.splice(0..0, [choice, node(&["chosen", "keep"], "", "Mul", &["kept"])]);
    graph.input.push(Tensor::Bool(ndarray::arr0(false).into_dyn()).value_info("train:0"));
    graph.input.push(Tensor::F32(ndarray::arr0(1.0f32).into_dyn()).value_info("keep"));
    model
}

#[test]
fn inputs_beside_the_picture_are_set_once_and_for_all() {
    let set = |texts: &[&str]| ImportOptions {
        set_inputs: texts.iter().map(|text| text.parse().unwrap()).collect(),
        ..ImportOptions::default()
    };
    let (found, _) = tower(&with_inputs(), &set(&["train:0=false", "keep=1"]));
    assert!(near(&found, &expected()));
    // Levels below 1 are floored to 0.
    let (floored, _) = tower(&with_inputs(), &set(&["train:0=true", "keep=0.5"]));
    assert!(floored.iter().all(|x| *x == 0.0));
    let said = |options: &ImportOptions| read(&with_inputs(), options).map(|_| ()).unwrap_err().to_string();
    assert!(said(&set(&[])).contains("train:0") && said(&set(&[])).contains("--set-input"));
    assert!(said(&set(&["nothing=1"])).contains("is no input of the model"));
    assert!("a".parse::<SetInput>().is_err() && "a=b".parse::<SetInput>().is_err());
    assert_eq!("a=b=TRUE".parse(), Ok(SetInput { name: "a=b".into(), value: 1.0 }));
}

#[test]
fn an_input_without_a_shape_is_told_one() {
    let mut model = means().model();
    let graph = model.graph.as_mut().unwrap();
    for value in graph.input.iter_mut().chain(&mut graph.output) {
        if let Some(crate::onnx::type_proto::Value::Tensor(t)) = &mut value.r#type.as_mut().unwrap().value {
            t.shape = None;
        }
    }
    let pixels = Pixels { size: Some(4), rgb: Some(true), ..Pixels::default() };
    let (found, _) = tower(&model, &ImportOptions { pixels, ..ImportOptions::default() });
    assert!(near(&found, &expected()));
    let said = read(&model, &ImportOptions::default()).map(|_| ()).unwrap_err().to_string();
    assert!(said.contains("has no shape in the file") && said.contains("--size"), "{said}");
}

fn of_bytes() -> ModelProto {
    let mut model = means().model();
    let graph = model.graph.as_mut().unwrap();
    graph.input = vec![Tensor::U8(ArrayD::zeros(IxDyn(&[1, 3, 4, 4]))).value_info("x")];
    let mut cast = node(&["x"], "", "Cast", &["float"]);
    cast.attribute = vec![AttributeProto::int("to", i64::from(data_type::FLOAT))];
    graph.node[0].input[0] = "float".into();
    graph.node.insert(0, cast);
    model
}

#[test]
fn a_model_of_bytes_gets_them_as_they_are() {
    let (found, notes) = tower(&of_bytes(), &ImportOptions::default());
    assert!(near(&(&found / 255.0), &expected()) && notes.iter().all(|n| !n.contains("preset")), "{notes:?}");
    let (raw, _) =
        tower(&of_bytes(), &ImportOptions { preset: Some(Preset::Raw), ..ImportOptions::default() });
    assert_eq!(raw, found);
    for wrong in [
        ImportOptions { preset: Some(Preset::Imagenet), ..ImportOptions::default() },
        ImportOptions { scale: Some(1.0 / 255.0), ..ImportOptions::default() },
        ImportOptions { mean: Some(vec![127.5]), ..ImportOptions::default() },
    ] {
        let said = read(&of_bytes(), &wrong).map(|_| ()).unwrap_err().to_string();
        assert!(said.contains("--scale 1") && said.contains("uint8"), "{said}");
    }
}

/// Each preset at level 200 of the second channel, by hand.
#[test]
fn presets_scale_as_they_are_documented_and_are_overridden() {
    let levels = |options: &ImportOptions| {
        let mut image = Array4::zeros((1, 3, 4, 4));
        image.fill(200);
        let fed = means().read(options).feed(image.view()).to_f64();
        fed[[0, 1, 2, 3]]
    };
    let of = |preset| ImportOptions { preset: Some(preset), ..ImportOptions::default() };
    let level = 200.0 / 255.0;
    for (preset, wanted) in [
        (Preset::Imagenet, (level - 0.456) / 0.224),
        (Preset::Clip, (level - 0.457_827_5) / 0.261_302_58),
        (Preset::Inception, (level - 0.5) / 0.5),
        (Preset::Arcface, (200.0 - 127.5) / 127.5),
        (Preset::Raw, 200.0),
    ] {
        assert!((levels(&of(preset)) - wanted).abs() < 1e-5, "{preset:?}");
        assert!(tower(&means().model(), &of(preset)).1.iter().all(|n| !n.contains("--preset")), "{preset:?}");
    }
    let own = ImportOptions { mean: Some(vec![0.0, 0.25, 0.0]), ..of(Preset::Imagenet) };
    assert!((levels(&own) - (level - 0.25) / 0.224).abs() < 1e-5);
    // Nothing told of colours is told.
    let notes = tower(&means().model(), &ImportOptions::default()).1;
    assert!(notes.iter().any(|n| n.contains("--preset") && n.contains("imagenet")), "{notes:?}");
}

#[test]
fn the_width_is_told_by_the_nodes_where_the_file_leaves_it_open() {
    let mut model = means().model();
    model.graph.as_mut().unwrap().output[0].r#type = None;
    assert_eq!(read(&model, &ImportOptions::default()).unwrap().dim(), Some(5));
    let wrong = ImportOptions { dim: Some(6), ..ImportOptions::default() };
    let said = read(&model, &wrong).map(|_| ()).unwrap_err().to_string();
    assert!(said.contains("--dim: is 6, but the output gives 5"), "{said}");
}

#[test]
fn the_runtimes_that_proved_a_tower_are_kept_in_it() {
    let foreign = means().read(&ImportOptions::default());
    let proven = ["ort".to_string(), "tract".into()];
    let model = foreign.tower(Batch::Free, 5, &proven).unwrap().model;
    assert_eq!(Provenance::read(&model).unwrap().proven, proven);
    assert_eq!(model.graph.unwrap().input[0].name(), INPUT);
}

#[cfg(unix)]
mod links {
    use super::*;
    use crate::export::Foreign;
    use crate::onnx::StringStringEntryProto;
    use prost::Message;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    /// The model with its weights in `head.bin`, and these.
    fn apart() -> (Vec<u8>, Vec<u8>) {
        let mut model = means().model();
        let tensor: &mut TensorProto = &mut model.graph.as_mut().unwrap().initializer[0];
        let raw = tensor.raw_data.take().unwrap();
        tensor.data_location = Some(1);
        let entry = StringStringEntryProto { key: Some("location".into()), value: Some("head.bin".into()) };
        tensor.external_data = vec![entry];
        (model.encode_to_vec(), raw.to_vec())
    }

    fn read(path: &Path) -> Result<Option<usize>, String> {
        Foreign::read(path, &ImportOptions::default()).map(|f| f.dim()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_hub_cache_is_read_and_nothing_outside_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        let (model, weights) = apart();
        std::fs::write(at("hub/models--a/blobs/m0"), &model).unwrap();
        std::fs::write(at("hub/models--a/blobs/w0"), &weights).unwrap();
        std::fs::write(at("hub/models--b/blobs/w1"), &weights).unwrap();
        std::fs::write(at("secret"), &weights).unwrap();
        let snapshot = "hub/models--a/snapshots/rev/";
        symlink("../../blobs/m0", at(&format!("{snapshot}model.onnx"))).unwrap();
        symlink("../../blobs/w0", at(&format!("{snapshot}head.bin"))).unwrap();
        assert_eq!(read(&at(&format!("{snapshot}model.onnx"))), Ok(Some(5)));
        // A link of the user's own to the link of the cache.
        symlink(at(&format!("{snapshot}model.onnx")), at("mine/m.onnx")).unwrap();
        assert_eq!(read(&at("mine/m.onnx")), Ok(Some(5)));
        // A model that is a copy, its data a link.
        std::fs::write(at(&format!("{snapshot}copy/model.onnx")), &model).unwrap();
        symlink("../../../blobs/w0", at(&format!("{snapshot}copy/head.bin"))).unwrap();
        assert_eq!(read(&at(&format!("{snapshot}copy/model.onnx"))), Ok(Some(5)));
        // Links out of the repository.
        for (i, out) in ["../../../../../secret", "../../../../models--b/blobs/w1"].iter().enumerate() {
            let model = at(&format!("{snapshot}out{i}/model.onnx"));
            symlink("../../../blobs/m0", &model).unwrap();
            symlink(out, at(&format!("{snapshot}out{i}/head.bin"))).unwrap();
            let said = read(&model).unwrap_err();
            assert!(said.contains("outside the model's folder"), "{said}");
        }
        // A cache whose blobs are elsewhere.
        std::fs::write(at("hub/models--c/snapshots/rev/model.onnx"), &model).unwrap();
        symlink(dir.path(), at("hub/models--c/blobs")).unwrap();
        symlink("../../blobs/secret", at("hub/models--c/snapshots/rev/head.bin")).unwrap();
        assert!(read(&at("hub/models--c/snapshots/rev/model.onnx")).unwrap_err().contains("outside"));
    }
}
