//! `siamese train` as a user runs it: killed, stopped, and given what is wrong.

use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use siamese::model::read_params;
use siamese::train::Folder;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

/// Something small with everything that makes state. Its evaluations write a line after each step.
pub fn recipe() -> Value {
    json!({
        "name": "tiny", "about": "for tests", "size": 16,
        "data": {"glyphs": {"alphabets": 2, "characters": 6, "drawers": 6}},
        "tower": [
            {"conv": {"filters": 4, "kernel": 3, "stride": 2, "padding": "half"}}, "batch-norm", "relu",
            "flatten", {"dropout": 0.25}, {"fc": {"units": 8}}, "l2-norm"
        ],
        "loss": {"cosine": {"scale": 10.0, "margin": 0.1}},
        "sampling": {"images": {"batch": 12}},
        "augment": {"rotate": 5.0, "shift": 0.05, "probability": 0.5},
        "optimiser": {"adam-w": {"lr": 0.01, "weight_decay": 0.01}},
        "schedule": {"cosine": {"warm_up": 5}}, "ema": 0.9, "clip_norm": 5.0, "steps": 120,
        "evaluation": {"protocol": {"one-shot": {"episodes": 1}}, "every": 1},
    })
}

/// Checkpoints often enough that something is lost by a kill, and not all.
const EVERY_3: &[&str] = &["--checkpoint-steps", "3"];

/// A folder with `recipe.json`, where runs are made.
struct Place(tempfile::TempDir);

impl Place {
    fn new(recipe: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("recipe.json"), format!("{recipe:#}")).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Training on the CPU into `run`, with a line of the log after each step.
    fn command(&self, run: &str, more: &[&str]) -> Command {
        self.command_on("cpu", run, more)
    }

    fn command_on(&self, device: &str, run: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_siamese"));
        command.current_dir(self.0.path()).args(["train", "recipe.json", "--out", run]);
        command.args(["--device", device, "--threads", "1", "--log-every", "1"]);
        command.args(more);
        command
    }

    fn train(&self, run: &str, more: &[&str]) -> Output {
        self.command(run, more).output().unwrap()
    }

    /// Starts training and ends it by `end` right after the `lines`th line about a step.
    fn ended(
        &self,
        run: &str,
        more: &[&str],
        lines: usize,
        end: impl Fn(&mut Child),
    ) -> (ExitStatus, String) {
        let mut child = self.command(run, more).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let (mut told, mut seen) = (String::new(), 0);
        for line in BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok) {
            seen += usize::from(line.starts_with("step "));
            told += &(line.clone() + "\n");
            if seen == lines && line.starts_with("step ") {
                end(&mut child);
            }
        }
        (child.wait().unwrap(), told)
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Everything that a run computed, the pace left out.
fn computed(run: &Path) -> (Vec<u8>, Vec<u8>, Vec<Value>) {
    let file = |name: &str| fs::read(run.join(name)).unwrap();
    let lines = Folder::new(run)
        .lines()
        .unwrap()
        .into_iter()
        .map(|line| json!([line.step, line.loss, line.lr, line.metrics, line.evaluation]));
    (file("params.safetensors"), file("checkpoint-00000120.safetensors"), lines.collect())
}

#[test]
fn killed_at_ten_moments_a_run_ends_with_the_bits_of_an_undisturbed_one() {
    let place = Place::new(&recipe());
    let whole = place.train("whole", EVERY_3);
    assert!(whole.status.success(), "{}", stderr(&whole));

    let mut rng = rand_pcg::Pcg64::seed_from_u64(9);
    for kill in 0..10 {
        let lines = rng.random_range(1..=7);
        let (status, told) =
            place.ended("parts", &[EVERY_3, &["--resume"]].concat(), lines, |child| child.kill().unwrap());
        assert_eq!(status.code(), None, "kill {kill} came too late: {told}");
        assert!(!place.path("parts/params.safetensors").exists());
    }
    // What kills leave half written goes when the run goes on.
    fs::write(place.path("parts/checkpoint-00000009.safetensors.partial"), "half").unwrap();
    let last = place.train("parts", &[EVERY_3, &["--resume"]].concat());
    assert!(last.status.success(), "{}", stderr(&last));
    assert!(computed(&place.path("whole")) == computed(&place.path("parts")));
    let left = fs::read_dir(place.path("parts")).unwrap().map(|e| e.unwrap().path());
    assert_eq!(left.filter(|p| p.extension().is_some_and(|e| e == "partial")).count(), 0);

    // Killed between the last checkpoint and the parameters, it only has to write these.
    let params = place.path("parts/params.safetensors");
    fs::remove_file(&params).unwrap();
    assert!(place.train("parts", &[EVERY_3, &["--resume"]].concat()).status.success());
    assert!(computed(&place.path("whole")) == computed(&place.path("parts")));
}

/// Each part of the run by another number of workers.
#[test]
fn killed_and_continued_by_other_workers_a_run_ends_with_the_same_bits() {
    let mut by_micro_batches = recipe();
    by_micro_batches["micro_batch"] = 3.into();
    let place = Place::new(&by_micro_batches);
    let by = |workers: &'static str| [EVERY_3, &["--workers", workers]].concat();
    let whole = place.train("whole", &by("1"));
    assert!(whole.status.success(), "{}", stderr(&whole));
    for (workers, lines) in [("2", 40), ("4", 30)] {
        let resumed = [by(workers), vec!["--resume"]].concat();
        let (status, told) = place.ended("parts", &resumed, lines, |child| child.kill().unwrap());
        assert_eq!(status.code(), None, "{told}");
        assert!(told.contains(&format!(", {workers} workers, into")), "{told}");
    }
    let last = place.train("parts", &[by("3"), vec!["--resume"]].concat());
    assert!(last.status.success(), "{}", stderr(&last));
    assert!(computed(&place.path("whole")) == computed(&place.path("parts")));
    for name in ["gradient.onnx", "update.onnx"] {
        assert!(place.path("parts").join(name).is_file(), "{name}");
    }
    assert!(!place.path("parts/train.onnx").exists());
}

#[cfg(unix)]
#[test]
fn an_interrupt_finishes_the_step_saves_and_exits_with_130() {
    let place = Place::new(&recipe());
    let interrupt = |child: &mut Child| {
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    };
    let (status, told) = place.ended("run", &[], 4, interrupt);
    assert_eq!(status.code(), Some(130), "{told}");
    assert!(told.contains("stopping after this step") && told.contains("--resume goes on"), "{told}");
    let saved = fs::read_dir(place.path("run")).unwrap().map(|e| e.unwrap().path());
    let saved = saved.filter(|p| p.file_name().unwrap().to_string_lossy().starts_with("checkpoint-"));
    let saved: Vec<PathBuf> = saved.collect();
    assert_eq!(saved.len(), 1, "{saved:?}");
    let step = read_params(&saved[0]).unwrap().1["step"].as_u64().unwrap();
    assert!((4..120).contains(&step) && told.contains(&format!("step {step} is saved")), "{told}");
}

#[test]
fn what_cannot_be_trained_exits_with_2_and_says_why() {
    struct Case {
        change: fn(&mut Value),
        arguments: &'static [&'static str],
        told: &'static [&'static str],
    }
    let same = |_: &mut Value| {};
    for Case { change, arguments, told } in [
        Case {
            change: |r| r["steps"] = "many".into(),
            arguments: &[],
            told: &["recipe.json, line", "whole number"],
        },
        Case { change: |r| r["tower"][2] = "rellu".into(), arguments: &[], told: &["did you mean `relu`"] },
        Case { change: |r| r["clipnorm"] = 1.into(), arguments: &[], told: &["did you mean `clip_norm`"] },
        Case {
            change: |r| r["tower"][3] = json!({"max-pool": {"size": 9}}),
            arguments: &[],
            told: &["layer pool1: a window of 9 does not fit a side of 8", "relu1 gives [4, 8, 8]"],
        },
        Case {
            change: |r| r["tower"][5]["fc"]["units"] = 1_000_000_000_000_u64.into(),
            arguments: &[],
            told: &["layer fc1", "are the most"],
        },
        Case {
            change: |r| r["optimiser"]["adam-w"]["lr"] = 0.into(),
            arguments: &[],
            told: &["adam-w.lr: 0 must be"],
        },
        Case { change: |r| r["sampling"]["images"]["batch"] = 0.into(), arguments: &[], told: &["batch"] },
        Case {
            change: |r| r["optimiser"]["adam-w"]["lr"] = 1e30.into(),
            arguments: &[],
            told: &["at step 2 the loss is NaN", "no checkpoint had been written", "Lower the learning rate"],
        },
        Case {
            change: |r| {
                r["loss"] = json!({"distil": {"teacher": "omniglot-edge-exact", "dim": 64}});
            },
            arguments: &[],
            told: &["loss.distil: takes 64 numbers", "gives 128"],
        },
        Case {
            change: |r| r["loss"] = json!({"distil": {"teacher": "efficientnet-lite9", "dim": 64}}),
            arguments: &[],
            told: &["efficientnet-lite9", "siamese model list"],
        },
        Case {
            change: same,
            arguments: &["--compatible-with", "omniglot-edge-exact"],
            told: &["compatible: omniglot-edge gives 128 numbers compared by cosine", "this recipe"],
        },
        Case {
            change: |r| r["compatible"] = json!({"with": "omniglot-edge-exact", "sha256": "ab"}),
            arguments: &[],
            told: &["compatible: SHA-256 ab is asked for, but omniglot-edge-exact has"],
        },
        Case {
            change: |r| r["micro_batch"] = 5.into(),
            arguments: &[],
            told: &["micro_batch: 5 must divide the batch's 12 images; 4 would do"],
        },
        Case {
            change: same,
            arguments: &["--workers", "2"],
            told: &["--workers: share a step's micro-batches", "--set micro_batch=N", "12 images"],
        },
        Case {
            change: |r| r["micro_batch"] = 6.into(),
            arguments: &["--workers", "3"],
            told: &["--workers: 3 are more than the 2 micro-batches"],
        },
        Case { change: same, arguments: &["--steps", "0"], told: &["steps: 0 must be from 1"] },
        Case {
            change: same,
            arguments: &["--init-from", "nothing"],
            told: &["neither a file nor a shipped recipe"],
        },
    ] {
        let mut changed = recipe();
        change(&mut changed);
        let place = Place::new(&changed);
        let output = place.train("run", arguments);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{told:?}: {text}");
        for part in told {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("panicked"), "{text}");
        assert!(!place.path("run/params.safetensors").exists());
    }
}

/// A teacher of another width, and one whose relations are learned without any label.
#[test]
fn a_student_learns_what_a_larger_tower_makes_of_the_pictures() {
    for (name, distil) in [
        ("beside", json!({"dim": 128, "weight": 3.0, "beside": {"cosine": {"scale": 10.0, "margin": 0.1}}})),
        ("alone", json!({"dim": 128, "by": "relations"})),
    ] {
        let mut taught = recipe();
        taught["loss"]["distil"] = distil;
        taught["loss"]["distil"]["teacher"] = "omniglot-edge-exact".into();
        taught["loss"].as_object_mut().unwrap().remove("cosine");
        taught["evaluation"]["every"] = 120.into();
        let place = Place::new(&taught);
        let output = place.train("run", &[]);
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        assert!(stderr(&output).contains("looks at 72 pictures, once"), "{}", stderr(&output));
        let losses: Vec<f64> =
            Folder::new(place.path("run")).lines().unwrap().iter().map(|l| l.loss).collect();
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        assert!(mean(&losses[100..]) < 0.7 * mean(&losses[..10]), "{name}: {losses:?}");
        // What was asked once is kept, and asked again of another teacher alone.
        let kept = fs::read(place.path("run/teacher.safetensors")).unwrap();
        fs::remove_file(place.path("run/params.safetensors")).unwrap();
        let output = place.train("run", &["--resume"]);
        assert!(output.status.success() && !stderr(&output).contains("once"), "{name}: {}", stderr(&output));
        assert_eq!(fs::read(place.path("run/teacher.safetensors")).unwrap(), kept);
        // The map to the teacher is no part of the tower.
        let export = Command::new(env!("CARGO_BIN_EXE_siamese"))
            .current_dir(place.0.path())
            .args(["export", "run", "--json"])
            .output()
            .unwrap();
        let told: Value = serde_json::from_slice(&export.stdout).unwrap();
        assert!(export.status.success() && told.to_string().contains("tower.onnx"), "{}", stderr(&export));
        let (params, _) = read_params(&place.path("run/params.safetensors")).unwrap();
        assert_eq!(params.contains_key("head.teacher"), name == "beside");
    }
}

#[test]
fn cuda_where_there_is_none_exits_with_3_and_names_what_is_missing() {
    if siamese::runtime::provision::driver_fault().is_none() {
        eprintln!("skipped: this machine has an NVIDIA driver");
        return;
    }
    let place = Place::new(&recipe());
    let mut command = Command::new(env!("CARGO_BIN_EXE_siamese"));
    let output =
        command.current_dir(place.0.path()).args(["train", "recipe.json", "--device", "cuda"]).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let text = stderr(&output);
    assert!(text.contains("NVIDIA driver") && text.contains("choose the CPU"), "{text}");
    assert!(!text.contains("fetching"), "{text}");
}

#[test]
fn tf32_is_refused_where_the_training_would_run_on_the_cpu() {
    let place = Place::new(&recipe());
    let mut command = Command::new(env!("CARGO_BIN_EXE_siamese"));
    let output = command
        .current_dir(place.0.path())
        .args(["train", "recipe.json", "--device", "cpu", "--tf32"])
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("--tf32: is how CUDA may round"), "{}", stderr(&output));
    assert!(!place.path("runs").exists());
}

/// Recipes that between them have every kind of layer, loss, sampling and optimiser.
fn of_every_kind() -> Vec<(&'static str, Value)> {
    let changed = |changes: Value| {
        let mut all = recipe();
        for (key, value) in changes.as_object().unwrap() {
            all[key] = value.clone();
        }
        all
    };
    let residual = json!([
        {"conv": {"filters": 4, "kernel": 3, "padding": "half"}}, "batch-norm", "relu",
        {"residual": {"filters": 6, "stride": 2}}, {"average-pool": {"size": 2}}, "flatten",
        {"fc": {"units": 8}}, "l2-norm"
    ]);
    let plain = json!([
        {"conv": {"filters": 4, "kernel": 5, "padding": "valid"}}, "relu", {"max-pool": {"size": 2}}, "flatten",
        {"fc": {"units": 16}}, "relu", {"dropout": 0.5}, {"fc": {"units": 8}}
    ]);
    let residual = |loss: Value, sampling: Value| {
        changed(json!({"tower": residual, "loss": loss, "sampling": sampling, "wccn": 1.0}))
    };
    let plain = |loss: Value, sampling: Value, optimiser: Value| {
        changed(json!({"tower": plain, "loss": loss, "sampling": sampling, "optimiser": optimiser,
                       "ema": null, "clip_norm": null, "l2": [{"layers": "conv", "value": 1e-3}]}))
    };
    let classes = json!({"classes": {"classes": 4, "drawings": 2, "within": 0.5}});
    let episodes = json!({"episodes": {"way": 4, "shot": 1, "queries": 2}});
    let zipped = json!({"zipped-pairs": {"batch": 8}});
    let listed = json!({"listed-pairs": {"batch": 8, "n_samples": 100}});
    let sgd = json!({"sgd": {"lr": 0.01, "momentum": 0.9}});
    vec![
        ("cosine", recipe()),
        ("contrast", residual(json!({"contrast": {"scale": 10.0}}), classes.clone())),
        ("prototype", residual(json!("prototype"), episodes)),
        ("spring", plain(json!({"spring": {"margin": 5.0}}), zipped.clone(), sgd)),
        (
            "spring-linear",
            plain(json!({"spring-linear": {"margin": 5.0}}), zipped, json!({"adam": {"lr": 1e-3}})),
        ),
        ("sigmoid", plain(json!("sigmoid"), listed, json!({"adam": {"lr": 1e-3}}))),
        ("sigmoid of all", plain(json!("sigmoid"), classes.clone(), json!({"adam": {"lr": 1e-3}}))),
        ("softmax", plain(json!("softmax"), json!({"images": {"batch": 12}}), json!({"adam": {"lr": 1e-3}}))),
    ]
}

/// The first steps on CUDA have the losses of the same steps on the CPU. Later ones drift apart by
/// rounding, as two runs of different threads do.
#[test]
fn cuda_takes_the_steps_of_the_processor() {
    if let Some(fault) = siamese::runtime::provision::driver_fault() {
        eprintln!("skipped: this machine has no NVIDIA driver ({fault})");
        return;
    }
    for (name, recipe) in of_every_kind() {
        let place = Place::new(&recipe);
        let losses = |device: &str| {
            let mut command = place.command_on(device, device, &["--offline", "--steps", "20"]);
            let output = command.output().unwrap();
            let lines = || Folder::new(place.path(device)).lines().unwrap().into_iter().map(|line| line.loss);
            (output.status.code(), stderr(&output), lines().collect::<Vec<_>>())
        };
        let (code, told, on_cuda) = losses("cuda");
        if code == Some(3) {
            eprintln!("skipped: {told}");
            return;
        }
        assert_eq!(code, Some(0), "{name}: {told}");
        let (code, told, on_cpu) = losses("cpu");
        assert_eq!(code, Some(0), "{name}: {told}");
        let apart: Vec<f64> =
            on_cuda.iter().zip(&on_cpu).map(|(a, b)| 1e6 * (a - b).abs() / b.abs()).collect();
        eprintln!("{name}: losses apart by {apart:.1?}·10⁻⁶");
        assert_eq!(apart.len(), 20);
        assert!(apart[0] < 10.0 && apart[..5].iter().all(|&d| d < 100.0), "{name}: {on_cuda:?} {on_cpu:?}");
    }
}

/// The checkpoint before one that cannot be written survives, and the run can go on.
#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_one_before_it() {
    let place = Place::new(&recipe());
    let obstacle = place.path("run/checkpoint-00000060.safetensors");
    let (status, told) = place.ended("run", EVERY_3, 1, |_| fs::create_dir(&obstacle).unwrap());
    assert_eq!(status.code(), Some(2), "{told}");
    assert!(told.contains("not saved; the checkpoint of step 57 is kept"), "{told}");
    assert!(told.contains("checkpoint-00000060.safetensors: is no file that could be replaced"), "{told}");
    fs::remove_dir(&obstacle).unwrap();
    let (status, told) = place.ended("run", &[EVERY_3, &["--resume"]].concat(), usize::MAX, |_| {});
    assert!(status.success(), "{told}");
    assert!(told.contains("step 58:") && !told.contains("step 57:"), "{told}");
}
