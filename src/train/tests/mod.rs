//! The loop on ONNX Runtime, with data made here.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod team;

use super::*;
use crate::data::{Class, Dataset};
use crate::model::{read_params, write_params};
use crate::onnx::ModelProto;
use crate::runtime::{Device, Lookup, Options};
use crate::step::initial_state;
use crate::{Error, Result};
use ndarray::Array4;
use prost::Message;
use rand::RngExt;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Four alphabets of 6 classes of 8 drawings: random 8×8 blots with a little noise, told by drawer.
fn blots() -> Dataset {
    let mut rng = crate::model::seeded(1, "blots");
    let (classes, drawings) = (24, 8);
    let shapes: Vec<[u8; 64]> =
        (0..classes).map(|_| std::array::from_fn(|_| 255 * u8::from(rng.random_bool(0.4)))).collect();
    let images = Array4::from_shape_fn((classes * drawings, 1, 8, 8), |(i, _, y, x)| {
        let noise = rng.random_range(0..60);
        shapes[i / drawings][8 * y + x].saturating_sub(noise)
    });
    Dataset {
        name: "blots".into(),
        images,
        labels: (0..classes * drawings).map(|i| (i / drawings) as u32).collect(),
        classes: (0..classes).map(|c| Class { name: format!("c{c}"), alphabet: c as u32 / 6 }).collect(),
        alphabets: ["a", "b", "c", "d"].map(String::from).into(),
        drawers: (0..classes * drawings).map(|i| (i % drawings) as u16).collect(),
        sources: vec![String::new(); classes * drawings],
    }
}

/// A small recipe with everything that makes state: momentum, statistics, masks, averages.
fn recipe(changes: Value) -> Recipe {
    let mut all = json!({
        "name": "small", "about": "for tests", "size": 8,
        "data": {"omniglot": {"hold_out": ["b"]}},
        "tower": [
            {"conv": {"filters": 6, "kernel": 3, "stride": 2, "padding": "half"}}, "batch-norm", "relu",
            "flatten", {"dropout": 0.25}, {"fc": {"units": 12}}, "l2-norm"
        ],
        "loss": {"cosine": {"scale": 10.0, "margin": 0.1}},
        "sampling": {"images": {"batch": 24, "turns": 4}},
        "augment": {"rotate": 5.0, "shift": 0.05, "probability": 0.5},
        "optimiser": {"adam-w": {"lr": 0.01, "weight_decay": 0.01}},
        "schedule": {"cosine": {"warm_up": 3}},
        "ema": 0.9, "clip_norm": 5.0, "wccn": 0.5, "steps": 30,
        "evaluation": {"protocol": {"one-shot": {"episodes": 20}}, "every": 10},
    });
    for (key, value) in changes.as_object().unwrap() {
        all[key] = value.clone();
    }
    Recipe::parse(&all.to_string(), "test").unwrap()
}

/// One that trains with few parts: no masks, one weight.
fn plain(changes: Value) -> Recipe {
    let mut all = json!({
        "tower": ["flatten", {"fc": {"units": 4}}], "loss": {"spring": {"margin": 5.0}},
        "sampling": {"zipped-pairs": {"batch": 8}}, "optimiser": {"sgd": {"lr": 0.1}},
        "schedule": "constant", "augment": null, "ema": null, "clip_norm": null, "wccn": null, "steps": 8,
    });
    for (key, value) in changes.as_object().unwrap() {
        all[key] = value.clone();
    }
    recipe(all)
}

/// What an observer saw; stops the run after a step.
#[derive(Default)]
struct Seen {
    notes: Vec<String>,
    steps: Vec<(u64, f64)>,
    figures: Vec<(u64, Validation)>,
    evaluator: Option<Evaluator>,
    stop_after: Option<u64>,
    stop: AtomicBool,
}

struct Watch<'a>(&'a mut Seen, &'a AtomicBool);

impl Observer for Watch<'_> {
    fn step(&mut self, p: &Progress) {
        self.0.steps.push((p.step, p.loss));
        self.1.store(self.0.stop_after == Some(p.step), std::sync::atomic::Ordering::Relaxed);
    }

    fn note(&mut self, text: &str) {
        self.0.notes.push(text.into());
    }

    fn evaluated(&mut self, step: u64, validation: &Validation) {
        self.0.figures.push((step, validation.clone()));
    }
}

struct Setup {
    recipe: Recipe,
    material: Material,
    threads: usize,
    every_steps: u64,
    team: Team,
}

impl Setup {
    fn new(recipe: Recipe) -> Self {
        let material = Material::new(&recipe, blots()).unwrap();
        Self { recipe, material, threads: 1, every_steps: 4, team: Team::default() }
    }

    fn train(&self, dir: &Path, resume: bool, seen: &mut Seen) -> Result<FinishedRun> {
        let (stop, evaluator) = (std::mem::take(&mut seen.stop), seen.evaluator.take());
        let job = Job { resume, evaluator: evaluator.as_ref(), ..self.job(dir, &stop) };
        train(&job, &mut Watch(seen, &stop))
    }

    /// What another process than the first one does.
    fn follow(&self) -> Result<bool> {
        follow(&self.job(Path::new("nowhere"), &AtomicBool::new(false)))
    }

    fn job<'a>(&'a self, dir: &Path, stop: &'a AtomicBool) -> Job<'a> {
        Job {
            recipe: &self.recipe,
            material: &self.material,
            folder: Folder::new(dir),
            library: Lookup::default(),
            session: SessionOptions { threads: self.threads, kernels: true, ..SessionOptions::default() },
            team: self.team.clone(),
            start: None,
            resume: false,
            evaluator: None,
            log_every: 5,
            checkpoints: Checkpoints { every: Duration::MAX, every_steps: self.every_steps },
            stop,
        }
    }

    fn evaluator(&self) -> Evaluator {
        let runtime = Options { threads: 1, ..Options::default() };
        Evaluator::new(&self.recipe, &self.material, runtime).unwrap()
    }
}

fn bytes(path: impl AsRef<Path>) -> Vec<u8> {
    fs::read(path).unwrap()
}

fn checkpoint(dir: &Path, step: u64) -> std::path::PathBuf {
    dir.join(format!("checkpoint-{step:08}.safetensors"))
}

#[test]
fn a_run_learns_and_leaves_everything_behind() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(recipe(json!({"steps": 60})));
    let mut seen = Seen { evaluator: Some(setup.evaluator()), ..Seen::default() };
    let summary = setup.train(dir.path(), false, &mut seen).unwrap();

    let lines = Folder::new(dir.path()).lines().unwrap();
    assert_eq!(lines.iter().map(|l| l.step).collect::<Vec<_>>(), (5..=60).step_by(5).collect::<Vec<_>>());
    assert!(lines[11].loss < 0.6 * lines[0].loss, "{} → {}", lines[0].loss, lines[11].loss);
    assert!(lines.iter().all(|l| (l.step % 10 == 0) == l.evaluation.is_some()));
    assert!(lines.iter().all(|l| l.images_per_second > 0.0 && (0.0..=1.0).contains(&l.waiting_share)));

    for name in ["recipe.json", "data.json", "train.onnx", "params.safetensors", "accuracy.json"] {
        assert!(dir.path().join(name).exists(), "{name}");
    }
    // Trained by our own kernels, and left in standard ONNX.
    let step = ModelProto::decode(&bytes(dir.path().join("train.onnx"))[..]).unwrap();
    assert!(step.graph.unwrap().node.iter().all(|node| node.domain().is_empty()));
    // Six one-shot classes held out: the best of the figures is what is exported.
    let best = seen.figures.iter().map(|(_, f)| f.accuracy.accuracy).fold(0.0, f64::max);
    let (step, figure) = seen.figures.iter().find(|(_, f)| f.accuracy.accuracy == best).unwrap();
    assert!(figure.held_out && figure.accuracy.protocol.starts_with("6-way one-shot within alphabets"));
    assert!(best > 0.5, "{best}");
    assert_eq!(summary.params_step, *step);
    let trained = crate::export::trained(dir.path()).unwrap();
    assert_eq!(trained.told.accuracy, std::slice::from_ref(&figure.accuracy));
    assert_eq!(trained.told.data_sha256, Some(setup.material.facts.sha256.clone()));
    let tower = crate::export::float(&trained.recipe, &trained.params, &trained.told).unwrap();
    assert!(tower.graph.is_some());
}

#[test]
fn a_continued_run_ends_with_the_bits_of_an_undisturbed_one() {
    // Two threads: the parts of a sum are the same for a given number of them.
    for threads in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
        let setup = Setup { threads, ..Setup::new(recipe(json!({}))) };
        let seen = || Seen { evaluator: Some(setup.evaluator()), ..Seen::default() };
        setup.train(&whole, false, &mut seen()).unwrap();

        for (i, after) in [7, 20].into_iter().enumerate() {
            let mut seen = Seen { stop_after: Some(after), ..seen() };
            let error = setup.train(&parts, i > 0, &mut seen).unwrap_err();
            assert!(matches!(error, Error::Interrupted(_)), "{error}");
            assert!(error.to_string().contains(&format!("step {after}")), "{error}");
        }
        let mut last = seen();
        // Threads that are not asked for are those of before.
        Setup { threads: 0, ..Setup::new(setup.recipe.clone()) }.train(&parts, true, &mut last).unwrap();
        assert_eq!((last.steps[0].0, last.notes.as_slice()), (21, [].as_slice()));
        for name in ["params.safetensors", "checkpoint-00000030.safetensors", "best.safetensors"] {
            assert!(bytes(whole.join(name)) == bytes(parts.join(name)), "{name}, {threads} threads");
        }
        // The log has one line for each step that is due one.
        let steps: Vec<u64> = Folder::new(&parts).lines().unwrap().iter().map(|l| l.step).collect();
        assert_eq!(steps, [5, 10, 15, 20, 25, 30]);
    }
}

#[test]
fn a_damaged_checkpoint_is_told_and_the_one_before_it_taken() {
    let dir = tempfile::tempdir().unwrap();
    let whole = tempfile::tempdir().unwrap();
    let setup = Setup::new(recipe(json!({})));
    setup.train(whole.path(), false, &mut Seen::default()).unwrap();
    let mut seen = Seen { stop_after: Some(17), ..Seen::default() };
    setup.train(dir.path(), false, &mut seen).unwrap_err();
    let kept = [8, 12, 16, 17].map(|step| checkpoint(dir.path(), step).exists());
    assert_eq!(kept, [false, true, true, true], "the last three are kept");

    // The newest is cut short, one bit of the other is turned.
    let newest = bytes(checkpoint(dir.path(), 17));
    fs::write(checkpoint(dir.path(), 17), &newest[..newest.len() - 5]).unwrap();
    let mut other = bytes(checkpoint(dir.path(), 16));
    let middle = other.len() / 2;
    other[middle] ^= 1;
    fs::write(checkpoint(dir.path(), 16), other).unwrap();
    let mut seen = Seen::default();
    setup.train(dir.path(), true, &mut seen).unwrap();
    assert_eq!(seen.steps[0].0, 13);
    assert!(seen.notes[0].contains("00000017") && seen.notes[1].contains("is damaged"), "{:?}", seen.notes);
    assert!(bytes(dir.path().join("params.safetensors")) == bytes(whole.path().join("params.safetensors")));

    for entry in fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()) {
        if entry.file_name().unwrap().to_str().unwrap().starts_with("checkpoint-") {
            fs::write(entry, b"nothing").unwrap();
        }
    }
    let error = setup.train(dir.path(), true, &mut Seen::default()).unwrap_err().to_string();
    assert!(error.contains("none of its checkpoints"), "{error}");
}

#[test]
fn a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    // Contrastive loss under so great a step overflows after some steps.
    let setup = Setup {
        every_steps: 1,
        ..Setup::new(plain(json!({"steps": 200, "optimiser": {"sgd": {"lr": 500.0}}})))
    };
    let error = setup.train(dir.path(), false, &mut Seen::default()).unwrap_err().to_string();
    assert!(error.contains("at step ") && error.contains("Lower the learning rate"), "{error}");
    let step = (1..200).rev().find(|&step| checkpoint(dir.path(), step).exists()).unwrap();
    assert!(error.contains(&format!("the checkpoint of step {step} is kept")), "{error}");
    let (state, _) = read_params(&checkpoint(dir.path(), step)).unwrap();
    assert!(state.values().flatten().all(|x| x.is_finite()));
    assert!(!dir.path().join("params.safetensors").exists());
}

#[test]
fn a_run_is_continued_by_its_own_recipe_and_data_only() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(plain(json!({})));
    setup.train(dir.path(), false, &mut Seen::default()).unwrap();

    let told = |setup: &Setup, resume| {
        setup.train(dir.path(), resume, &mut Seen::default()).unwrap_err().to_string()
    };
    assert!(told(&setup, false).contains("holds a run already"));
    let wider = Setup::new(plain(json!({"tower": ["flatten", {"fc": {"units": 5}}]})));
    assert!(told(&wider, true).contains("`tower[1].fc.units` is 4 there, 5 here"), "{}", told(&wider, true));
    let shorter = Setup::new(plain(json!({"steps": 5})));
    assert!(told(&shorter, true).contains("beyond the 5 steps"), "{}", told(&shorter, true));
    let mut data = blots();
    data.images[[0, 0, 0, 0]] ^= 1;
    let other =
        Setup { material: Material::new(&setup.recipe, data).unwrap(), ..Setup::new(plain(json!({}))) };
    assert!(told(&other, true).contains("other data"), "{}", told(&other, true));

    // A checkpoint whose shapes are not the graph's, though it says that it is of this run.
    let path = checkpoint(dir.path(), 8);
    let (mut state, facts) = read_params(&path).unwrap();
    state.insert("param.fc1.bias".into(), ndarray::ArrayD::zeros(ndarray::IxDyn(&[9])));
    write_params(&path, &state, &facts).unwrap();
    let text = told(&setup, true);
    assert!(text.contains("param.fc1.bias has the shape [9]") && text.contains("[4]"), "{text}");
}

#[test]
fn a_run_without_dependence_on_its_end_can_be_lengthened_and_other_threads_are_told() {
    let dir = tempfile::tempdir().unwrap();
    Setup::new(plain(json!({}))).train(dir.path(), false, &mut Seen::default()).unwrap();
    let longer = Setup { threads: 2, ..Setup::new(plain(json!({"steps": 12}))) };
    let mut seen = Seen::default();
    longer.train(dir.path(), true, &mut seen).unwrap();
    assert_eq!(seen.steps.iter().map(|s| s.0).collect::<Vec<_>>(), [9, 10, 11, 12]);
    assert!(seen.notes[0].contains("1 thread,") && seen.notes[0].contains("2 threads"), "{:?}", seen.notes);
}

#[test]
fn a_folder_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _lock = Folder::new(dir.path()).lock().unwrap();
    let error = Setup::new(plain(json!({}))).train(dir.path(), false, &mut Seen::default()).unwrap_err();
    assert!(error.to_string().contains("another process"), "{error}");
}

#[test]
fn layers_of_the_same_name_and_shape_start_a_run() {
    let recipe = plain(json!({"ema": 0.5}));
    let material = Material::new(&recipe, blots()).unwrap();
    let graph = graph(&recipe, &material, Device::Cpu).unwrap();
    let first = initial_state(&recipe, &graph).unwrap();
    let ones = ndarray::ArrayD::ones(first["param.fc1.weight"].raw_dim());
    let other = ndarray::ArrayD::ones(ndarray::IxDyn(&[3]));
    let given: Params =
        [("fc1.weight".to_string(), ones.clone()), ("fc1.bias".to_string(), other.clone())].into();
    let state = starting_state(&recipe, &graph, Some(&given)).unwrap();
    assert_eq!((&state["param.fc1.weight"], &state["ema.fc1.weight"]), (&ones, &ones));
    assert_eq!(state["param.fc1.bias"], first["param.fc1.bias"]);
    let strange: Params = [("conv9.weight".to_string(), other)].into();
    assert!(starting_state(&recipe, &graph, Some(&strange)).unwrap_err().to_string().contains("no layer"));
}

#[test]
fn of_a_start_only_the_layers_that_are_asked_for_are_taken() {
    let recipe = plain(json!({
        "tower": [{"conv": {"filters": 2, "kernel": 3}}, "flatten", {"fc": {"units": 4}}],
        "init_from": "x", "init_layers": ["conv1"],
    }));
    let material = Material::new(&recipe, blots()).unwrap();
    let graph = graph(&recipe, &material, Device::Cpu).unwrap();
    let first = initial_state(&recipe, &graph).unwrap();
    let ones =
        |name: &str| (name.to_string(), ndarray::ArrayD::ones(first[&format!("param.{name}")].raw_dim()));
    let given: Params = ["conv1.weight", "fc1.weight"].map(ones).into();
    let state = starting_state(&recipe, &graph, Some(&given)).unwrap();
    assert_eq!(state["param.conv1.weight"], given["conv1.weight"]);
    assert_eq!(state["param.fc1.weight"], first["param.fc1.weight"]);
    let without: Params = [ones("fc1.weight")].into();
    let said = starting_state(&recipe, &graph, Some(&without)).unwrap_err().to_string();
    assert!(said.contains("shares no layer \"conv1\" with x"), "{said}");
}

#[test]
fn every_protocol_gives_a_figure() {
    for (changes, protocol, held_out) in [
        (json!({}), "6-way one-shot within alphabets, 20 episodes", true),
        (json!({"data": {"omniglot": {}}}), "20-way one-shot, 20 episodes", false),
        (
            json!({"data": "mnist", "loss": {"spring": {"margin": 5.0}}, "sampling": {"zipped-pairs": {"batch": 8}},
                   "evaluation": {"protocol": "nearest-truth", "every": 1}}),
            "nearest ground truth, L2",
            false,
        ),
        (
            json!({"data": "mnist", "loss": "softmax", "evaluation": {"protocol": "accuracy", "every": 1}}),
            "classification",
            false,
        ),
    ] {
        // Parameters as they start have no normalisation yet.
        let mut changes = changes;
        changes["wccn"] = Value::Null;
        let setup = Setup::new(recipe(changes));
        let graph = graph(&setup.recipe, &setup.material, Device::Cpu).unwrap();
        let state = initial_state(&setup.recipe, &graph).unwrap();
        let params = crate::step::exported_params(&state, &setup.recipe).unwrap();
        let figure = setup.evaluator().evaluate(&params).unwrap();
        assert_eq!((figure.accuracy.protocol.as_str(), figure.held_out), (protocol, held_out));
        assert!((0.0..=1.0).contains(&figure.accuracy.accuracy));
    }
}
