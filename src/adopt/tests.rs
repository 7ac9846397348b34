//! Proofs on runtimes made of the interpreter: sound ones, faulty ones, and one that sees a whole batch.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, Tensor, ValueInfoProto,
};
use crate::runtime::{
    Backend, Device, Embedder, Engine, Interpreted, Options, ReadTower, Runtime, check_images,
};
use crate::tower::{INPUT, Provenance};
use ndarray::{Array2, ArrayD, ArrayView4, Axis, IxDyn};

/// The interpreter, which runs a batch as one, as ONNX Runtime does.
#[derive(Clone, Copy, Debug)]
struct Together;

impl Backend for Together {
    fn version(&self) -> &'static str {
        "1"
    }

    fn open(&self, _: &Options, tower: ReadTower<'_>) -> Result<Box<dyn Embedder>> {
        Ok(Box::new(Whole { spec: tower.spec, model: tower.model.clone() }))
    }

    fn engine(&self, _: &Options) -> Result<Box<dyn Engine>> {
        Ok(Box::new(Interpreted::sound("together")))
    }
}

struct Whole {
    spec: TowerSpec,
    model: ModelProto,
}

impl Embedder for Whole {
    fn spec(&self) -> &TowerSpec {
        &self.spec
    }

    fn embed(&mut self, images: ArrayView4<'_, u8>) -> Result<Array2<f32>> {
        check_images(&self.spec, &images)?;
        let mut engine = Interpreted::sound("together");
        let mut rows = Vec::new();
        for part in images.axis_chunks_iter(Axis(0), self.spec.batch.unwrap_or(64)) {
            let input = [(INPUT.to_string(), Tensor::U8(part.to_owned().into_dyn()))];
            rows.extend(engine.run(&self.model, &input)?.remove(0).to_f64().iter().map(|&x| x as f32));
        }
        Ok(Array2::from_shape_vec((images.len_of(Axis(0)), self.spec.dim), rows).unwrap())
    }
}

fn together() -> Runner {
    let runtime = Runtime {
        name: "together",
        title: "Together",
        about: "",
        devices: &[Device::Cpu],
        levels: &[],
        library: false,
        backend: Some(Box::leak(Box::new(Together))),
    };
    Box::leak(Box::new(runtime)).with(Options::default()).unwrap()
}

fn node(inputs: &[&str], op: &str, output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|name| (*name).into()).collect(),
        output: vec![output.into()],
        name: Some(format!("the_{output}")),
        op_type: Some(op.into()),
        attribute,
        ..NodeProto::default()
    }
}

/// Means of the channels, and what comes after them, as far as `y`: `[N, 3, 6, 6]` → `[N, D]`.
fn model(after: Vec<NodeProto>) -> ModelProto {
    let mut node =
        vec![node(&["x"], "GlobalAveragePool", "pool", vec![]), node(&["pool"], "Flatten", "flat", vec![])];
    node.extend(after);
    let mut input = Tensor::F32(ArrayD::zeros(IxDyn(&[1, 3, 6, 6]))).value_info("x");
    if let Some(crate::onnx::type_proto::Value::Tensor(t)) = &mut input.r#type.as_mut().unwrap().value {
        t.shape.as_mut().unwrap().dim[0].value = None;
    }
    let weights = ArrayD::from_shape_fn(IxDyn(&[3, 2]), |at| 0.5 - at[0] as f32 * 0.3 + at[1] as f32);
    let zeros = ArrayD::<f32>::zeros(IxDyn(&[3, 3]));
    let graph = GraphProto {
        node,
        input: vec![input],
        output: vec![ValueInfoProto { name: Some("y".into()), ..ValueInfoProto::default() }],
        initializer: vec![Tensor::F32(weights).to_proto("two"), Tensor::F32(zeros).to_proto("zeros")],
        ..GraphProto::default()
    };
    ModelProto {
        ir_version: Some(8),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { version: Some(17), ..OperatorSetIdProto::default() }],
        ..ModelProto::default()
    }
}

/// Imports a model with runtimes, and gives what is told, the tower's file and its folder.
fn adopted(model: &ModelProto, runners: Vec<Runner>) -> (Result<Adopted>, PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (folder.path().join("foreign.onnx"), folder.path().join("tower.onnx"));
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    let how = Proving { runners, progress: &|_| {} };
    (adopt(&path, &out, &ImportOptions::default(), &how), out, folder)
}

fn tanh() -> Vec<NodeProto> {
    vec![node(&["flat"], "Tanh", "y", vec![])]
}

#[test]
fn what_a_runtime_proves_is_written_and_told() {
    let sound = Interpreted::sound("one").runner();
    let (adopted, out, _folder) = adopted(&model(tanh()), vec![together(), sound]);
    let adopted = adopted.unwrap();
    let proof = adopted.proof.unwrap();
    assert_eq!(proof.proven(), ["together", "one"]);
    assert!(proof.difference() < 1e-6 && proof.spread > 0.01 && proof.scale > 0.1, "{proof:?}");
    assert!(adopted.notes.iter().all(|note| !note.contains("warning")), "{:?}", adopted.notes);
    let (spec, model) = TowerSpec::read(&out).unwrap();
    assert_eq!((spec.dim, spec.batch), (3, None));
    assert_eq!(Provenance::read(&model).unwrap().proven, ["together", "one"]);
}

#[test]
fn a_runtime_with_wrong_rows_is_named_and_the_tower_written() {
    let faulty = Interpreted { name: "faulty", fault: Some(("Tanh", |x| x * 1.05)) }.runner();
    let (adopted, out, _folder) = adopted(&model(tanh()), vec![together(), faulty]);
    let adopted = adopted.unwrap();
    assert_eq!(adopted.proof.as_ref().unwrap().proven(), ["together"]);
    assert!(adopted.notes.iter().any(|n| n.contains("gives wrong rows: row")), "{:?}", adopted.notes);
    assert!(out.exists());
}

#[test]
fn a_tower_that_no_runtime_proves_is_not_written() {
    // The truth is of the first runtime that runs the model, which then fails at the tower's own `Cast`.
    let faulty = Interpreted { name: "faulty", fault: Some(("Cast", |x| x + 9.0)) }.runner();
    let (refused, out, _folder) = adopted(&model(tanh()), vec![faulty]);
    let said = refused.map(|_| ()).unwrap_err();
    assert_eq!(said.exit_code(), 2);
    let said = said.to_string();
    assert!(said.contains("no tower was written") && said.contains("gives wrong rows"), "{said}");
    assert!(!out.exists());
    // A model that nothing runs.
    let unknown = model(vec![node(&["flat"], "Sparkle", "y", vec![])]);
    let (refused, out, _folder) = adopted(&unknown, vec![together()]);
    let said = refused.map(|_| ()).unwrap_err().to_string();
    assert!(said.contains("is run by no runtime at hand") && said.contains("Sparkle"), "{said}");
    assert!(!out.exists());
}

/// A model whose open batch mixes its pictures: each is less the mean of all.
#[test]
fn rows_that_depend_on_their_batch_are_found_and_run_one_by_one() {
    let axes = vec![AttributeProto::ints("axes", vec![0])];
    let mixing = model(vec![
        node(&["flat"], "Relu", "r", vec![]),
        node(&["r"], "ReduceMax", "all", axes),
        node(&["r", "all"], "Add", "y", vec![]),
    ]);
    let foreign = {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        std::fs::write(&path, mixing.encode_to_vec()).unwrap();
        Foreign::read(&path, &ImportOptions::default()).unwrap()
    };
    // Without the proof the maximum over one picture would be taken for the picture, which is right.
    assert_eq!(foreign.batches()[0], Batch::Free);
    // A node that cannot be followed leaves an open batch as it is; only running it shows what it does.
    let across = model(vec![
        node(&["flat"], "Softmax", "shares", vec![AttributeProto::int("axis", 0)]),
        node(&["shares", "flat"], "Add", "y", vec![]),
    ]);
    let (adopted, out, _folder) = adopted(&across, vec![together()]);
    let adopted = adopted.unwrap();
    assert_eq!(adopted.tower.batch, Some(1));
    assert!(adopted.notes.iter().any(|n| n.contains("one picture at a time")), "{:?}", adopted.notes);
    assert_eq!(TowerSpec::read(&out).unwrap().0.batch, Some(1));
}

#[test]
fn useless_embeddings_are_told() {
    let equal = vec![node(&["flat", "zeros"], "MatMul", "y", vec![])];
    let shares = vec![node(&["flat"], "Softmax", "y", vec![AttributeProto::int("axis", 1)])];
    let two = vec![node(&["flat", "two"], "MatMul", "y", vec![])];
    let nan = vec![node(&["flat"], "Neg", "minus", vec![]), node(&["minus"], "Log", "y", vec![])];
    let usual = model(tanh());
    let cases = [(equal, "are equal"), (shares, "is a softmax"), (two, "has 2 numbers"), (nan, "NaN")];
    for (after, words) in cases {
        let (adopted, _, _folder) = adopted(&model(after), vec![together()]);
        let notes = adopted.unwrap().notes.join("\n");
        assert!(notes.contains("warning") && notes.contains(words), "{words}: {notes}");
    }
    let (plain, _, _folder) = adopted(&usual, vec![together()]);
    assert!(!plain.unwrap().notes.join("\n").contains("warning"));
}

#[test]
fn unchecked_writes_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (folder.path().join("foreign.onnx"), folder.path().join("tower.onnx"));
    std::fs::write(&path, model(tanh()).encode_to_vec()).unwrap();
    let adopted = adopt_unchecked(&path, &out, &ImportOptions::default()).unwrap();
    assert!(adopted.proof.is_none() && adopted.notes.iter().any(|n| n.contains("--unchecked")));
    assert!(Provenance::read(&TowerSpec::read(&out).unwrap().1).unwrap().proven.is_empty());
    let own = adopt_unchecked(&path, &path, &ImportOptions::default()).unwrap_err().to_string();
    assert!(own.contains("is the model itself"), "{own}");
}

/// tract runs a tower picture by picture: a batch goes through its engine.
#[cfg(feature = "tract")]
#[test]
fn tract_alone_proves_batches_too() {
    let tract = TRACT.with(Options::default()).unwrap();
    let (plain, _, _folder) = adopted(&model(tanh()), vec![tract.clone()]);
    let plain = plain.unwrap();
    assert!(
        plain.notes.iter().any(|n| n.contains("only tract proved the tower, and ran")),
        "{:?}",
        plain.notes
    );
    assert!(plain.proof.unwrap().runtimes[0].batched);
    let across = model(vec![
        node(&["flat"], "Softmax", "shares", vec![AttributeProto::int("axis", 0)]),
        node(&["shares", "flat"], "Add", "y", vec![]),
    ]);
    let (mixing, _, _folder) = adopted(&across, vec![tract]);
    assert_eq!(mixing.unwrap().tower.batch, Some(1));
}

/// Exact towers of random networks give the float64 interpreter's numbers on every runtime of this build that needs
/// nothing installed, and on ONNX Runtime where it is installed.
#[test]
fn random_exact_towers_have_one_set_of_bits() {
    let offline = crate::runtime::Lookup { offline: true, ..crate::runtime::Lookup::default() };
    let options = Options { library: offline, threads: 1, ..Options::default() };
    let runners: Vec<Runner> = Runtime::built_in()
        .map(|runtime| runtime.with(options.clone()).unwrap())
        .filter(|runner| runner.library().is_ok())
        .collect();
    assert!(!runners.is_empty());
    for seed in 0..24 {
        let model = export::nets::grown(seed);
        let side = 9 + seed as usize % 5;
        let (spec, model) = TowerSpec::from_bytes(&model.encode_to_vec(), "net").unwrap();
        let pictures = export::nets::pictures(side, 8, 1);
        let made = export::integers(&model, &spec, pictures.view(), &mut export::nets::Interpreted).unwrap();
        let bytes = made.model.encode_to_vec();
        let asked = export::nets::pictures(side, 5, 2);
        let inputs = crate::walk::Values::from([(INPUT.to_string(), asked.mapv(f64::from).into_dyn())]);
        let truth = crate::walk::interpreter::run(&made.model, inputs).unwrap().remove("embedding").unwrap();
        let truth = truth.mapv(|x| x as f32);
        for runner in &runners {
            let rows = runner.load_bytes(&bytes, "net").unwrap().embed(asked.view()).unwrap();
            assert_eq!(rows.into_dyn(), truth, "seed {seed} on {}", runner.name());
        }
    }
}
