//! `siamese export`, `import` and `inspect`, and what their towers give on the runtimes.

use assert_cmd::Command;
use ndarray::{Array2, Array4, ArrayD, Ix2};
use safetensors::tensor::{Dtype, TensorView};
use siamese::export::{DATA_FILE, DataFacts, PARAMS_FILE};
use siamese::model::{self, Params, Recipe};
use siamese::onnx::ModelProto;
use siamese::tower::{Distance, TowerKind, TowerSpec};
use siamese::walk::{Interpreter, Values};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

fn siamese(arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("siamese").unwrap();
    command.env_remove("SIAMESE_DATA").args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The embeddings of [`images`] without a runtime.
fn interpreted(model: &ModelProto) -> Array2<f32> {
    let inputs = Values::from([("image".to_string(), images().mapv(f32::from).into_dyn())]);
    let outputs = Interpreter::new(model).unwrap().run(inputs).unwrap();
    outputs["embedding"].clone().into_dimensionality::<Ix2>().unwrap()
}

/// What a refusal says; it must exit with 2.
fn refused(arguments: &[&str]) -> String {
    let output = siamese(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stdout(&output));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn succeeds(arguments: &[&str]) -> String {
    let output = siamese(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    stdout(&output)
}

/// Class folders of small drawings.
fn drawings(folder: &Path) {
    for class in 0..3u8 {
        let class_folder = folder.join(format!("class{class}"));
        fs::create_dir_all(&class_folder).unwrap();
        for k in 0..5u8 {
            let mut picture = image::GrayImage::from_pixel(20, 20, image::Luma([255]));
            for i in 2..18 {
                picture.put_pixel(i, u32::from(3 + 5 * class + k % 3), image::Luma([k * 9]));
                picture.put_pixel(u32::from(4 + 2 * k), i, image::Luma([0]));
            }
            picture.save(class_folder.join(format!("{k}.png"))).unwrap();
        }
    }
}

fn write_params(path: &Path, params: &Params) {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = params
        .iter()
        .map(|(k, v)| (k.clone(), v.shape().to_vec(), v.iter().flat_map(|x| x.to_le_bytes()).collect()))
        .collect();
    let views =
        bytes.iter().map(|(k, s, b)| (k.as_str(), TensorView::new(Dtype::F32, s.clone(), b).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// The folder of a run that was trained for no steps: `run/` beside the drawings.
pub fn run_folder(root: &Path) -> PathBuf {
    drawings(&root.join("drawings"));
    let run = root.join("run");
    fs::create_dir(&run).unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/glyphs-demo");
    let data = model::recipe::Data::Folder {
        path: root.join("drawings"),
        makers: None,
        hold_out: Vec::new(),
        leave_out: Vec::new(),
    };
    let recipe = Recipe { data, size: 16, ..Recipe::load(shipped).unwrap() };
    fs::write(run.join("recipe.json"), serde_json::to_string(&recipe).unwrap()).unwrap();
    let params = model::initialise(&recipe, &model::param_specs(&recipe).unwrap(), 3);
    write_params(&run.join(PARAMS_FILE), &params);
    run
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn images() -> Array4<u8> {
    Array4::from_shape_fn(
        (9, 1, 16, 16),
        |(n, _, y, x)| if (x + n) % 7 == 0 || y == n { 200 + n as u8 } else { 0 },
    )
}

#[test]
fn a_run_becomes_towers_that_tell_what_they_are() {
    let root = tempfile::tempdir().unwrap();
    let run = run_folder(root.path());
    let said = succeeds(&["export", text(&run)]);
    assert!(said.contains("float tower glyphs-demo, D = 64, distance cosine"), "{said}");
    let said = succeeds(&["export", text(&run), "--exact", "--calibrate", "10", "--correct-biases"]);
    assert!(said.contains("proven exact: the greatest sum is 2^"), "{said}");
    let exact = run.join("tower.exact.onnx");
    let (spec, _) = TowerSpec::read(&exact).unwrap();
    assert_eq!((spec.kind, spec.dim, &spec.distance), (TowerKind::Exact, 64, &Distance::Cosine));
    let told = succeeds(&["inspect", text(&exact)]);
    for words in
        ["exact       proven", "trained on", "(15 images)", "MFLOP an image", "on CUDA", &spec.sha256]
    {
        assert!(told.contains(words), "{words:?} is not in\n{told}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&succeeds(&["inspect", text(&exact), "--json"])).unwrap();
    assert_eq!(json["tower"]["kind"], "exact");
    assert_eq!(json["opsets"][""], 17);
    assert_eq!(json["inputs"][0]["shape"], "[N, 1, 16, 16]");
    assert_eq!(json["tower"]["proven"], json["tower"]["provenance"]["bounds"]);
    let products = json["operators"]["Conv"].as_u64().unwrap() + json["operators"]["Gemm"].as_u64().unwrap();
    let sums = json["operators"]["Add"].as_u64().unwrap();
    assert_eq!(json["tower"]["proven"].as_array().unwrap().len() as u64, products + sums);
    if cfg!(feature = "tract") {
        assert!(told.contains("on tract: all"), "{told}");
        assert_eq!(json["lowering"]["left"], serde_json::json!([]));
    }
}

#[test]
fn inspection_counts_what_the_recipe_costs() {
    let root = tempfile::tempdir().unwrap();
    let run = run_folder(root.path());
    succeeds(&["export", text(&run)]);
    let tower = run.join("tower.onnx");
    let json: serde_json::Value =
        serde_json::from_str(&succeeds(&["inspect", text(&tower), "--json"])).unwrap();
    let cost = model::cost(&Recipe::load(&run).unwrap()).unwrap();
    assert_eq!(json["mflop"].as_f64().unwrap(), cost.flop as f64 / 1e6);
    // The factor 1/255 and the ε of the normalisation are constants of the file too.
    assert_eq!(json["parameters"].as_u64().unwrap(), cost.parameters + 2);
}

#[test]
fn the_data_must_be_those_of_the_run() {
    let root = tempfile::tempdir().unwrap();
    let run = run_folder(root.path());
    let facts = DataFacts { name: "others".into(), images: 3, sha256: "ab".repeat(32) };
    fs::write(run.join(DATA_FILE), serde_json::to_string(&facts).unwrap()).unwrap();
    let said = refused(&["export", text(&run), "--exact"]);
    assert!(said.contains("is not what the run was trained on"), "{said}");
    assert!(!run.join("tower.exact.onnx").exists());
    succeeds(&["export", text(&run)]);
    let told = succeeds(&["inspect", text(&run.join("tower.onnx"))]);
    assert!(told.contains("others (3 images)"), "{told}");
}

#[test]
fn what_is_no_run_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let run = run_folder(root.path());
    let missing = root.path().join("absent");
    assert!(refused(&["export", text(&missing)]).contains("siamese train"));
    assert!(refused(&["export", text(&run), "--calibrate", "5"]).contains("--exact"));
    assert!(refused(&["export", text(&run), "--exact", "--calibrate", "0"]).contains("--calibrate"));
    let params = run.join(PARAMS_FILE);
    let whole = fs::read(&params).unwrap();
    fs::write(&params, &whole[..whole.len() / 2]).unwrap();
    assert!(refused(&["export", text(&run)]).contains("cut off"));
    let lacking: Params = [("conv1.weight".to_string(), ArrayD::zeros(vec![16, 1, 3, 3]))].into();
    write_params(&params, &lacking);
    assert!(refused(&["export", text(&run)]).contains("is missing; was it trained with glyphs-demo?"));
    fs::remove_file(&params).unwrap();
    assert!(refused(&["export", text(&run)]).contains("has no params.safetensors"));
}

#[test]
fn a_flipped_bit_of_a_parameter_is_not_exported() {
    let root = tempfile::tempdir().unwrap();
    let run = run_folder(root.path());
    let file = run.join(PARAMS_FILE);
    let (params, _) = model::read_params(&file).unwrap();
    model::write_params(&file, &params, &serde_json::json!({"step": 0})).unwrap();
    succeeds(&["export", text(&run)]);
    let whole = fs::read(&file).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&whole).unwrap();
    for name in ["conv1.weight", "bn2.var", "block2.conv3.weight", "fc1.bias"] {
        let values = tensors.tensor(name).unwrap().data().as_ptr() as usize;
        let mut flipped = whole.clone();
        flipped[values - whole.as_ptr() as usize + 1] ^= 16;
        fs::write(&file, flipped).unwrap();
        let said = refused(&["export", text(&run)]);
        assert!(said.contains(&format!("{PARAMS_FILE}: parameter {name}: is damaged")), "{said}");
    }
}

#[test]
fn a_tower_that_was_changed_is_refused_by_inspect() {
    let root = tempfile::tempdir().unwrap();
    let run = run_folder(root.path());
    succeeds(&["export", text(&run), "--exact"]);
    let path = run.join("tower.exact.onnx");
    let mut model = TowerSpec::read(&path).unwrap().1;
    let tensors = &mut model.graph.as_mut().unwrap().initializer;
    let bias = tensors.iter_mut().find(|t| t.name() == "conv1.bias").unwrap();
    bias.edit_raw(|raw| raw[..4].copy_from_slice(&2e7f32.to_le_bytes()));
    fs::write(&path, prost::Message::encode_to_vec(&model)).unwrap();
    let said = refused(&["inspect", text(&path)]);
    assert!(said.contains("conv1/Conv") && said.contains("2^24"), "{said}");
}

#[test]
fn a_foreign_model_becomes_a_tower() {
    let root = tempfile::tempdir().unwrap();
    let run = run_folder(root.path());
    succeeds(&["export", text(&run)]);
    // A tower without its metadata is as foreign as any.
    let mut model = TowerSpec::read(run.join("tower.onnx")).unwrap().1;
    model.metadata_props.clear();
    let foreign = root.path().join("foreign.onnx");
    fs::write(&foreign, prost::Message::encode_to_vec(&model)).unwrap();
    let told = succeeds(&["inspect", text(&foreign)]);
    assert!(told.contains("no siamese.* metadata"), "{told}");
    let out = root.path().join("imported.onnx");
    let arguments =
        ["import", text(&foreign), "--scale", "1", "--name", "mine", "--distance", "l2", "-o", text(&out)];
    let said = succeeds(&arguments);
    assert!(said.contains("tower mine, [N, 1, 16, 16] → D = 64, distance l2"), "{said}");
    let (spec, imported) = TowerSpec::read(&out).unwrap();
    assert_eq!((spec.name.as_str(), spec.distance), ("mine", Distance::L2));
    assert_eq!(interpreted(&imported), interpreted(&model));
    assert!(refused(&["import", text(&out), "-o", text(&out)]).contains("a tower already"));
    let said = refused(&["import", text(&foreign), "-o", text(&foreign)]);
    assert!(said.contains("is the model itself"), "{said}");
    assert!(refused(&["import", text(&foreign), "--size", "17", "-o", text(&out)]).contains("--size 17"));
    assert!(refused(&["import", text(&foreign), "--rgb", "-o", text(&out)]).contains("takes 1 channels"));
    fs::write(&foreign, b"not a model").unwrap();
    assert!(refused(&["inspect", text(&foreign)]).contains("is not an ONNX model"));
}

#[cfg(feature = "tract")]
/// From the tower of a run to an exact one by pictures of one's own.
#[test]
fn a_float_tower_becomes_exact_by_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_folder(folder.path());
    let pictures = folder.path().join("pictures");
    drawings(&pictures);
    succeeds(&["export", text(&run)]);
    let float = run.join("tower.onnx");
    let exact = folder.path().join("mine.onnx");
    let said =
        succeeds(&["export", text(&float), "--exact", "--calibrate", text(&pictures), "-o", text(&exact)]);
    for words in
        ["proven exact", "nearest other picture is the float tower's", "3-way one-shot", "the same bits on"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    let (spec, model) = TowerSpec::read(&exact).unwrap();
    assert_eq!(spec.kind, TowerKind::Exact);
    assert!(interpreted(&model).iter().all(|x| x.fract() == 0.0 && x.abs() <= 127.0));
    let again = refused(&["export", text(&exact), "--exact", "--calibrate", text(&pictures)]);
    assert!(again.contains("is exact already"), "{again}");
    assert!(refused(&["export", text(&float), "--exact"]).contains("--calibrate DIR"));
    assert!(refused(&["export", text(&float)]).contains("is a file"));
}

#[test]
fn tract_gives_the_bits_of_the_exact_tower() {
    use siamese::runtime::{Options, TRACT};
    let root = tempfile::tempdir().unwrap();
    let run = run_folder(root.path());
    succeeds(&["export", text(&run)]);
    succeeds(&["export", text(&run), "--exact"]);
    let embed = |name: &str| {
        let path = run.join(name);
        let own = interpreted(&TowerSpec::read(&path).unwrap().1);
        let runner = TRACT.with(Options { threads: 1, ..Options::default() }).unwrap();
        (own, runner.load(&path).unwrap().embed(images().view()).unwrap())
    };
    let (own, tract) = embed("tower.exact.onnx");
    assert_eq!(own, tract);
    let (own, tract) = embed("tower.onnx");
    assert!((&own - &tract).iter().all(|d| d.abs() < 1e-5));
}
