//! Steps by micro-batches, and the teams that share them.

use super::*;
use crate::train::ranks::testing::wired;
use std::rc::Rc;

/// A recipe with everything that makes state, by micro-batches, of a loss on rows or one over the whole batch.
fn by_micro_batches(spans: bool) -> Setup {
    let mut changes = json!({"micro_batch": 6, "steps": 12});
    if spans {
        changes["loss"] = json!({"contrast": {"scale": 10.0}});
        changes["sampling"] = json!({"classes": {"classes": 8, "drawings": 3}});
    }
    Setup { every_steps: 3, ..Setup::new(recipe(changes)) }
}

fn workers(count: usize) -> Team {
    Team { workers: count, ..Team::default() }
}

/// Trains by processes, which are threads here, of so many workers each.
fn train_by(ranks: usize, workers: usize, spans: bool, dir: &Path, resume: bool, stop_after: Option<u64>) {
    std::thread::scope(|scope| {
        for rank in wired(ranks) {
            scope.spawn(move || {
                let leads = rank.rank() == 0;
                let team = Team { ranks: Rc::new(rank), workers };
                let setup = Setup { team, ..by_micro_batches(spans) };
                if !leads {
                    return assert_eq!(setup.follow().unwrap(), stop_after.is_none());
                }
                let mut seen = Seen { stop_after, ..Seen::default() };
                match (setup.train(dir, resume, &mut seen), stop_after) {
                    (Ok(_), None) | (Err(Error::Interrupted(_)), Some(_)) => {}
                    (ended, _) => panic!("{ended:?}"),
                }
            });
        }
    });
}

#[test]
fn any_number_of_workers_and_processes_trains_the_same_bits() {
    for spans in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let one = dir.path().join("one");
        train_by(1, 1, spans, &one, false, None);
        let computed = |run: &Path| {
            let lines = Folder::new(run).lines().unwrap().into_iter();
            let lines = lines.map(|l| (l.step, l.loss.to_bits(), format!("{:?}", l.metrics)));
            (
                bytes(run.join("params.safetensors")),
                read_params(&checkpoint(run, 12)).unwrap(),
                lines.collect::<Vec<_>>(),
            )
        };
        let expected = computed(&one);
        for (ranks, workers) in [(1, 2), (1, 3), (1, 4), (2, 1), (3, 1), (2, 2), (4, 1)] {
            let run = dir.path().join(format!("{ranks}x{workers}"));
            train_by(ranks, workers, spans, &run, false, None);
            assert!(computed(&run) == expected, "{ranks} processes of {workers} workers");
        }
        // Stopped twice, and each time continued by another team.
        let parts = dir.path().join("parts");
        // Where a line of the log ends, for a line's means begin anew with a process.
        train_by(1, 3, spans, &parts, false, Some(5));
        train_by(4, 1, spans, &parts, true, Some(10));
        train_by(1, 2, spans, &parts, true, None);
        assert!(computed(&parts) == expected, "stopped and continued");
    }
}

/// Without normalisation by the batch the sum over micro-batches is the gradient of the whole batch.
#[test]
fn micro_batches_train_what_whole_batches_do() {
    for (loss, sampling) in [
        (json!({"spring": {"margin": 1.0}}), json!({"zipped-pairs": {"batch": 12}})),
        (json!({"cosine": {"scale": 10.0, "margin": 0.1}}), json!({"images": {"batch": 24, "turns": 4}})),
        (json!({"contrast": {"scale": 10.0}}), json!({"classes": {"classes": 8, "drawings": 3}})),
        (json!("prototype"), json!({"episodes": {"way": 4, "shot": 2, "queries": 4}})),
    ] {
        let of = |micro_batch: Value| {
            let dir = tempfile::tempdir().unwrap();
            let tower = json!([
                {"conv": {"filters": 6, "kernel": 3, "stride": 2, "padding": "half"}}, "relu", "flatten",
                {"fc": {"units": 12}}, "l2-norm"
            ]);
            let changes = json!({
                "tower": tower, "loss": loss, "sampling": sampling, "micro_batch": micro_batch, "steps": 5,
                "wccn": null, "optimiser": {"sgd": {"lr": 0.1, "momentum": 0.9}},
            });
            Setup::new(recipe(changes)).train(dir.path(), false, &mut Seen::default()).unwrap();
            let line = Folder::new(dir.path()).lines().unwrap().pop().unwrap();
            (read_params(&dir.path().join("params.safetensors")).unwrap().0, line)
        };
        let ((whole, told), (parts, told_of_parts)) = (of(Value::Null), of(json!(6)));
        for (name, expected) in &whole {
            let greatest = expected.iter().fold(0.0_f32, |most, e| most.max(e.abs()));
            let far =
                parts[name].iter().zip(expected).find(|(a, b)| (*a - *b).abs() > 1e-5 * greatest.max(0.1));
            assert_eq!(far, None, "{loss} {name}");
        }
        let near = |a: f64, b: f64| (a - b).abs() < 1e-5 * b.abs().max(1.0);
        assert!(near(told_of_parts.loss, told.loss), "{loss}: {}, {}", told_of_parts.loss, told.loss);
        for (name, value) in told.metrics {
            assert!(near(told_of_parts.metrics[&name], value), "{loss} {name}");
        }
    }
}

#[test]
fn teams_without_work_are_refused() {
    let told = |setup: &Setup| {
        let dir = tempfile::tempdir().unwrap();
        setup.train(dir.path(), false, &mut Seen::default()).unwrap_err().to_string()
    };
    let whole = Setup { team: workers(2), ..Setup::new(recipe(json!({}))) };
    let text = told(&whole);
    assert!(
        text.contains("--workers: share a step's micro-batches") && text.contains("batch of 24 images"),
        "{text}"
    );
    let many = Setup { team: workers(5), ..by_micro_batches(false) };
    assert!(told(&many).contains("--workers: 5 are more than the 4 micro-batches"), "{}", told(&many));
    let rank = wired(5).remove(0);
    let many = Setup { team: Team { ranks: Rc::new(rank), workers: 0 }, ..by_micro_batches(false) };
    assert!(told(&many).contains("are 5, and a step has 4 micro-batches"), "{}", told(&many));
    let text = workers(2).fit(&many.recipe, Device::Cuda).err().unwrap().to_string();
    assert!(text.contains("on CUDA a process has one device"), "{text}");
}

/// A process that has other data ends its work and says why.
#[test]
fn a_process_with_other_data_is_refused() {
    let said = std::thread::scope(|scope| {
        let mut ranks = wired(2).into_iter();
        let (first, second) = (ranks.next().unwrap(), ranks.next().unwrap());
        let leader = scope.spawn(move || {
            let dir = tempfile::tempdir().unwrap();
            let team = Team { ranks: Rc::new(first), workers: 1 };
            Setup { team, ..by_micro_batches(false) }.train(dir.path(), false, &mut Seen::default()).map(drop)
        });
        let other = scope.spawn(move || {
            let team = Team { ranks: Rc::new(second), workers: 1 };
            let setup = by_micro_batches(false);
            let mut data = blots();
            data.images[[0, 0, 0, 0]] ^= 1;
            let material = Material::new(&setup.recipe, data).unwrap();
            Setup { team, material, ..setup }.follow()
        });
        let said = other.join().unwrap().unwrap_err().to_string();
        // Who leads misses it: by MPI all would be ended.
        assert!(leader.join().unwrap().unwrap_err().to_string().contains("is gone"));
        said
    });
    assert!(said.contains("process 1: has another recipe, other data"), "{said}");
}
