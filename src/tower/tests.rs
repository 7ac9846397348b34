#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::graph::{ConvAttrs, DType, Graph, Tensor};
use crate::image::Frame;
use crate::model::Recipe;
use crate::onnx::{DimensionValue, StringStringEntryProto};
use ndarray::{Array4, ArrayD, IxDyn};

/// A hand-made exact tower: `[N, 1, 4, 4]` → conv 2 channels → `[N, 8]`.
pub(crate) fn exact_model() -> ModelProto {
    let g = Graph::new("tower");
    let x = g.input(INPUT, DType::U8, &[1, 1, 4, 4]).cast(DType::F32);
    let w = Array4::from_shape_fn((2, 1, 2, 2), |(f, _, y, x)| (f as i8 * 2 - 1) * (y * 2 + x + 1) as i8);
    let w = g.initializer("conv1.weight", Tensor::I8(w.into_dyn())).cast(DType::F32);
    let b = ArrayD::from_shape_vec(IxDyn(&[2]), vec![8.0f32, -8.0]).unwrap();
    let b = g.initializer("conv1.bias", Tensor::F32(b));
    let y = x.conv(w, Some(b), ConvAttrs { strides: [2, 2], ..ConvAttrs::default() });
    let s = ArrayD::from_shape_vec(IxDyn(&[2, 1, 1]), vec![0.0625f32, 0.125]).unwrap();
    let s = g.initializer("conv1.scale", Tensor::F32(s));
    g.output(OUTPUT, (y * s).floor().clip(0.0, 127.0).flatten(1));
    let mut model = g.to_model_batched("N").unwrap();
    let spec = spec(TowerKind::Exact);
    spec.write_metadata(&mut model).unwrap();
    let bounds = prove(&model).unwrap();
    Provenance { bounds, ..Provenance::default() }.write(&mut model).unwrap();
    model
}

pub(crate) fn spec(kind: TowerKind) -> TowerSpec {
    TowerSpec {
        name: "hand-made".into(),
        kind,
        preprocessing: Preprocessing::ink(4),
        dim: 8,
        distance: Distance::Cosine,
        batch: None,
        compatible_with: None,
        sha256: String::new(),
    }
}

fn read(model: &ModelProto) -> Result<TowerSpec> {
    TowerSpec::from_bytes(&model.encode_to_vec(), "tower.onnx").map(|(spec, _)| spec)
}

#[test]
fn facts_survive_the_file() {
    let model = exact_model();
    let found = read(&model).unwrap();
    let sha256 = sha256(&model.encode_to_vec());
    assert_eq!(found, TowerSpec { sha256, ..spec(TowerKind::Exact) });
    let bounds = Provenance::read(&model).unwrap().bounds;
    assert_eq!((bounds.len(), bounds[0].bound), (1, 10.0 * 255.0 + 8.0));
}

#[test]
fn the_frame_survives_and_older_towers_see_the_whole_picture() {
    let mut model = exact_model();
    let framed = Preprocessing::framed(4, Frame::Ink);
    TowerSpec { preprocessing: framed.clone(), ..spec(TowerKind::Exact) }.write_metadata(&mut model).unwrap();
    assert_eq!(read(&model).unwrap().preprocessing, framed);
    model.set_metadata("siamese.preprocessing", r#"{"kind":"ink","size":4}"#);
    assert_eq!(read(&model).unwrap().preprocessing, Preprocessing::ink(4));
    model.set_metadata("siamese.preprocessing", r#"{"kind":"ink","size":4,"frame":"box"}"#);
    assert!(read(&model).is_err());
}

#[test]
fn weights_of_the_distance_survive_to_the_bit() {
    let alpha: Vec<f32> = (0..8).map(|i| (i as f32 - 3.3).exp() / 7.0).collect();
    let mut model = exact_model();
    let distance = Distance::WeightedL1 { alpha };
    TowerSpec { distance: distance.clone(), ..spec(TowerKind::Exact) }.write_metadata(&mut model).unwrap();
    assert_eq!(read(&model).unwrap().distance, distance);
}

#[test]
fn provenance_survives() {
    let recipe = Recipe::load("onnx/omniglot-edge").unwrap();
    let accuracy = Accuracy {
        protocol: "20-way".into(),
        data: "Lake".into(),
        accuracy: 0.5,
        interval_95: Some([0.25, 0.75]),
    };
    let told = Provenance {
        recipe: Some(recipe),
        source: Some("a.onnx".into()),
        licence: Some("MIT".into()),
        proven: vec!["tract".into()],
        data: Some("Omniglot".into()),
        data_sha256: Some("ab".into()),
        accuracy: vec![accuracy],
        bounds: Vec::new(),
    };
    let mut model = exact_model();
    told.write(&mut model).unwrap();
    assert_eq!(Provenance::read(&model).unwrap(), told);
}

/// A fault put into the hand-made tower, and what the error must say.
type Fault = (&'static str, fn(&mut ModelProto), &'static str);

#[test]
fn contradictions_are_errors() {
    let dim = |m: &mut ModelProto, input: bool, axis: usize, value: i64| {
        let g = m.graph.as_mut().unwrap();
        let info = if input { &mut g.input[0] } else { &mut g.output[0] };
        let Some(crate::onnx::type_proto::Value::Tensor(t)) = &mut info.r#type.as_mut().unwrap().value else {
            unreachable!()
        };
        t.shape.as_mut().unwrap().dim[axis].value = Some(DimensionValue::Value(value));
    };
    let faults: [Fault; 16] = [
        ("no metadata", |m| m.metadata_props.clear(), "siamese import"),
        ("newer format", |m| m.set_metadata("siamese.format", "9"), "reads \"1\""),
        ("kind", |m| m.set_metadata("siamese.kind", "fixed"), "float or exact"),
        ("distance", |m| m.set_metadata("siamese.distance", "l3"), "\"l3\""),
        ("no alpha", |m| m.set_metadata("siamese.distance", "weighted-l1"), "siamese.distance.alpha"),
        ("stray alpha", |m| m.set_metadata("siamese.distance.alpha", "1 2"), "has no weights"),
        ("preprocessing", |m| m.set_metadata("siamese.preprocessing", "{}"), "siamese.preprocessing"),
        ("size", |m| m.set_metadata("siamese.preprocessing", r#"{"kind":"ink","size":8}"#), "[N, 1, 8, 8]"),
        ("colour", |m| m.set_metadata("siamese.preprocessing", r#"{"kind":"rgb","size":4}"#), "[N, 3, 4, 4]"),
        (
            "output name",
            |m| m.graph.as_mut().unwrap().output[0].name = Some("y".into()),
            "\"y\" float32 [N, 8]",
        ),
        ("input name", |m| m.graph.as_mut().unwrap().input[0].name = Some("x".into()), "must be called"),
        ("stated bounds", |m| m.set_metadata("siamese.bounds", "[]"), "0 in number"),
        ("huge weight", |m| bias(m, 2f32.powi(24)), "channel 0"),
        ("changed weight", |m| bias(m, 9.0), "changed after its export"),
        ("NaN", |m| bias(m, f32::NAN), "conv1.bias at 0"),
        ("outside", |m| outside(m, "../secret.bin"), "lies outside the file (\"../secret.bin\")"),
    ];
    for (what, fault, words) in faults {
        let mut model = exact_model();
        fault(&mut model);
        let said = read(&model).map(|_| ()).unwrap_err().to_string();
        assert!(said.contains(words) && said.contains("tower.onnx"), "{what}: {said}");
    }
    let mut fixed = exact_model();
    dim(&mut fixed, true, 0, 1);
    assert!(read(&fixed).unwrap_err().to_string().contains("[1, 1, 4, 4]"));
    let mut unknown = exact_model();
    dim(&mut unknown, false, 1, -1);
    assert!(read(&unknown).unwrap_err().to_string().contains("known D"));
}

/// Moves a weight into another file.
fn outside(model: &mut ModelProto, place: &str) {
    let tensor = &mut model.graph.as_mut().unwrap().initializer[0];
    tensor.raw_data = None;
    tensor.data_location = Some(1);
    let entry = StringStringEntryProto { key: Some("location".into()), value: Some(place.into()) };
    tensor.external_data = vec![entry];
}

/// Sets the first bias.
fn bias(model: &mut ModelProto, value: f32) {
    let weights = &mut model.graph.as_mut().unwrap().initializer;
    let bias = weights.iter_mut().find(|t| t.name() == "conv1.bias").unwrap();
    bias.edit_raw(|raw| raw[..4].copy_from_slice(&value.to_le_bytes()));
}

#[test]
fn what_is_no_model_is_refused() {
    let whole = exact_model().encode_to_vec();
    let cases: [(&str, &[u8], &str); 4] = [
        ("a picture", b"\x89PNG\r\n\x1a\n....", "is not an ONNX model"),
        ("nothing", b"", "is not an ONNX model"),
        ("text", b"hello, this is some text", "is not an ONNX model"),
        ("half", &whole[..whole.len() / 2], "cut off"),
    ];
    for (what, bytes, words) in cases {
        let said = TowerSpec::from_bytes(bytes, "f.onnx").map(|_| ()).unwrap_err().to_string();
        assert!(said.contains(words), "{what}: {said}");
    }
    let folder = TowerSpec::read(env!("CARGO_MANIFEST_DIR")).map(|_| ()).unwrap_err();
    assert!(folder.to_string().contains("is a folder"));
}

#[test]
fn truncation_at_any_byte_is_an_error() {
    let whole = exact_model().encode_to_vec();
    for length in 0..whole.len() {
        assert!(TowerSpec::from_bytes(&whole[..length], "f.onnx").is_err(), "{length} bytes pass");
    }
}

#[test]
fn what_cannot_be_proven_is_refused() {
    let node = |m: &mut ModelProto, op: &str, change: fn(&mut crate::onnx::NodeProto)| {
        let nodes = &mut m.graph.as_mut().unwrap().node;
        change(nodes.iter_mut().find(|n| n.op_type() == op).unwrap());
    };
    type Change = fn(&mut crate::onnx::NodeProto);
    let cases: [(&str, Change, &str); 3] = [
        ("Floor", |n| n.op_type = Some("Round".into()), "cannot be proven"),
        ("Floor", |n| n.op_type = Some("Identity".into()), "not integers"),
        ("Conv", |n| n.domain = Some("com.foreign".into()), "foreign domain"),
    ];
    for (op, change, words) in cases {
        let mut model = exact_model();
        node(&mut model, op, change);
        let said = prove(&model).unwrap_err().to_string();
        assert!(said.contains(words), "{said}");
    }
    let mut model = exact_model();
    let scale = &mut model.graph.as_mut().unwrap().initializer;
    let scale = scale.iter_mut().find(|t| t.name() == "conv1.scale").unwrap();
    scale.edit_raw(|raw| raw[..4].copy_from_slice(&0.3f32.to_le_bytes()));
    assert!(prove(&model).unwrap_err().to_string().contains("more than 24 bits"));
}
