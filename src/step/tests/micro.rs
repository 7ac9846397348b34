//! Steps by micro-batches against whole ones, by the float64 interpreter.

use super::*;
use crate::model::MicroBatches;
use crate::walk::placement;
use ndarray::Axis;
use std::collections::BTreeSet;

/// The rows of a tensor of the whole batch that are a micro-batch's.
fn part_of(plan: MicroBatches, number: usize, name: &str, whole: &ArrayD<f64>) -> ArrayD<f64> {
    let mut rows = plan.rows(number);
    if name == "batch.same" {
        rows.truncate(plan.size / 2);
    }
    whole.select(Axis(0), &rows)
}

/// The step by micro-batches on what the whole step was given; sums are taken one after another.
fn by_parts(step: &StepGraph, whole: &Tensors) -> Tensors {
    let micro = step.micro.as_ref().unwrap();
    let plan = micro.plan;
    let taken = |graph: &PartGraph, more: Tensors| -> Tensors {
        let state = graph.state.iter().map(|name| (name.clone(), whole[name].clone()));
        interpreter::run(&graph.model, state.chain(more).collect()).unwrap()
    };
    let drawn = |number: usize| -> Tensors {
        let names = step.batch.iter().map(|s| &s.name).chain(step.masks.iter().map(|m| &m.name));
        names.map(|name| (name.clone(), part_of(plan, number, name, &whole[name]))).collect()
    };
    let mut sums = Tensors::new();
    let mut add = |outputs: Tensors| {
        for (name, value) in outputs {
            match sums.entry(format!("sum.{name}")) {
                std::collections::btree_map::Entry::Occupied(mut sum) => *sum.get_mut() += &value,
                std::collections::btree_map::Entry::Vacant(free) => drop(free.insert(value)),
            }
        }
    };
    let cotangent = micro.span.as_ref().map(|span| {
        let [rows, dim] = [plan.size * plan.count, span.embed.outputs[0].shape[1]];
        let mut embedding = ArrayD::zeros(IxDyn(&[rows, dim]));
        for number in 0..plan.count {
            let own = &taken(&span.embed, drawn(number))[EMBEDDING];
            for (row, place) in own.outer_iter().zip(plan.rows(number)) {
                embedding.index_axis_mut(Axis(0), place).assign(&row);
            }
        }
        let mut inputs: Tensors =
            span.batch.iter().map(|spec| (spec.name.clone(), whole[&spec.name].clone())).collect();
        inputs.insert(EMBEDDING.into(), embedding);
        let mut outputs = taken(&span.loss, inputs);
        let cotangent = outputs.remove(COTANGENT).unwrap();
        add(outputs);
        cotangent
    });
    for number in 0..plan.count {
        let mut inputs = drawn(number);
        if let Some(cotangent) = &cotangent {
            inputs.insert(COTANGENT.into(), part_of(plan, number, COTANGENT, cotangent));
        }
        add(taken(&micro.gradient, inputs));
    }
    let names = step.state.iter().map(|s| s.input.as_str()).chain(["lr", "step"]);
    sums.extend(names.map(|name| (name.to_string(), whole[name].clone())));
    interpreter::run(&step.model, sums).unwrap()
}

/// Each loss, with a sampling of twelve images.
fn losses() -> Vec<(Json, Json)> {
    let images = json!({"images": {"batch": 12}});
    let classes = json!({"classes": {"classes": 4, "drawings": 3}});
    let pairs = json!({"zipped-pairs": {"batch": 6}});
    let beside = json!({"cosine": {"scale": 5.0, "margin": 0.2}});
    vec![
        (json!({"spring": {"margin": 1.0}}), pairs.clone()),
        (json!({"spring-linear": {"margin": 1.0}}), json!({"listed-pairs": {"batch": 6, "n_samples": 9}})),
        (json!("sigmoid"), pairs),
        (json!("sigmoid"), classes.clone()),
        (json!("softmax"), images.clone()),
        (json!({"cosine": {"scale": 5.0, "margin": 0.2}}), images.clone()),
        (json!({"contrast": {"scale": 5.0}}), classes.clone()),
        (json!("prototype"), json!({"episodes": {"way": 3, "shot": 1, "queries": 3}})),
        (json!({"distil": {"teacher": "t", "dim": 5, "weight": 2.0, "beside": beside}}), images.clone()),
        (json!({"distil": {"teacher": "t", "dim": 5, "by": "square"}}), images),
        (
            json!({"distil": {"teacher": "t", "dim": 5, "by": "relations", "beside": {"contrast": {"scale": 5.0}}}}),
            classes,
        ),
    ]
}

/// Dropout, penalties, clipping, momentum and averages, but no normalisation by the batch.
fn small(loss: &Json, sampling: &Json, changes: Json) -> Recipe {
    let mut all = json!({
        "size": 6, "loss": loss, "sampling": sampling,
        "tower": [
            {"conv": {"filters": 3, "kernel": 3}}, "sigmoid", {"dropout": 0.3}, "flatten", {"fc": {"units": 4}},
            "sigmoid", {"dropout": 0.4}, {"fc": {"units": 3}}
        ],
        "l2": [{"layers": "conv", "value": 0.01}], "clip_norm": 0.05, "ema": 0.9,
        "optimiser": {"sgd": {"lr": 0.1, "momentum": 0.9}},
    });
    for (key, value) in changes.as_object().unwrap() {
        all[key] = value.clone();
    }
    recipe(all)
}

fn classes() -> TrainingClasses {
    TrainingClasses::with_siblings(4, &[(0, 1)])
}

fn cut(recipe: &Recipe, size: usize, target: Target) -> StepGraph {
    let recipe = Recipe { micro_batch: Some(size), ..recipe.clone() };
    recipe.validate().unwrap();
    build(&recipe, &classes(), target).unwrap()
}

/// Equal up to the float32 constants of the graphs: a third is none.
#[track_caller]
fn same_step(parts: &Tensors, whole: &Tensors, of: &str) {
    assert_eq!(parts.keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>(), "{of}");
    for (name, expected) in whole {
        let greatest = expected.iter().fold(1e-3_f64, |most, e| most.max(e.abs()));
        for (got, expected) in parts[name].iter().zip(expected) {
            assert!((got - expected).abs() <= 1e-6 * greatest, "{of} {name}: {got}, not {expected}");
        }
    }
}

#[test]
fn the_sum_over_micro_batches_is_the_step_on_the_whole_batch() {
    for (loss, sampling) in losses() {
        let recipe = small(&loss, &sampling, json!({}));
        let whole = Setup::new(&recipe, &classes());
        let expected = whole.run();
        for size in [2, 4, 6, 12] {
            for target in [Target::Cpu, Target::Cuda] {
                let step = cut(&recipe, size, target);
                assert_eq!(step.micro.as_ref().unwrap().span.is_some(), recipe.loss_spans_batch());
                same_step(&by_parts(&step, &whole.inputs), &expected, &format!("{loss} by {size}"));
            }
        }
    }
}

/// Compatibility compares with the older tower's embeddings of the whole batch.
#[test]
fn micro_batches_are_told_among_all_that_the_older_tower_saw() {
    let (loss, sampling) =
        (json!({"cosine": {"scale": 5.0, "margin": 0.2}}), json!({"images": {"batch": 12}}));
    let recipe = small(&loss, &sampling, json!({"compatible": {"with": "old"}}));
    let whole = Setup::new(&recipe, &classes());
    let step = cut(&recipe, 4, Target::Cpu);
    same_step(&by_parts(&step, &whole.inputs), &whole.run(), "compatible by 4");
}

/// With normalisation a micro-batch is a batch of its own: one of them is the whole step, of several the running
/// statistics are the mean of what each alone would make of them.
#[test]
fn normalisation_sees_micro_batches() {
    let tower = json!([{"conv": {"filters": 3, "kernel": 3}}, "batch-norm", "sigmoid", "flatten", {"fc": {"units": 3}}]);
    for (loss, sampling) in losses() {
        let recipe = small(&loss, &sampling, json!({"tower": tower}));
        let whole = Setup::new(&recipe, &classes());
        same_step(&by_parts(&cut(&recipe, 12, Target::Cpu), &whole.inputs), &whole.run(), &loss.to_string());
    }
    let sampling = |batch: usize| json!({"images": {"batch": batch}});
    let of = |batch| small(&json!("softmax"), &sampling(batch), json!({"tower": tower}));
    let whole = Setup::new(&of(12), &classes());
    let step = cut(&of(12), 4, Target::Cpu);
    let (plan, parts) = (step.micro.as_ref().unwrap().plan, by_parts(&step, &whole.inputs));
    let alone = (0..3).map(|number| {
        let mut one = Setup::new(&of(4), &classes());
        for (name, value) in &mut one.inputs {
            let given = &whole.inputs[name];
            *value =
                if name.starts_with("batch.") { part_of(plan, number, name, given) } else { given.clone() };
        }
        one.run()
    });
    let alone: Vec<Tensors> = alone.collect();
    for name in ["next.stat.bn1.mean", "next.stat.bn1.var"] {
        let mean = alone.iter().fold(ArrayD::zeros(parts[name].raw_dim()), |sum, one| sum + &one[name]) / 3.0;
        all_close(&parts[name], &mean);
    }
    close(parts["loss"].sum(), alone.iter().map(|one| one["loss"].sum()).sum::<f64>() / 3.0);
}

#[test]
fn graphs_of_micro_batches_are_plain_describe_themselves_and_stay_on_cuda() {
    for (loss, sampling) in losses() {
        let tower = json!([{"conv": {"filters": 3, "kernel": 3}}, "batch-norm", "relu", "flatten", {"fc": {"units": 3}}]);
        let recipe = small(&loss, &sampling, json!({"tower": tower}));
        let step = cut(&recipe, 4, Target::Cuda);
        for (name, model) in step.files() {
            let graph = model.graph.as_ref().unwrap();
            let (inputs, outputs) = (graph.input.iter(), graph.output.iter());
            let names: BTreeSet<&str> = inputs.chain(outputs).map(|value| value.name()).collect();
            assert_eq!(names.len(), graph.input.len() + graph.output.len(), "{loss} {name}: a name twice");
            placement::is_plain(model).unwrap_or_else(|e| panic!("{loss} {name}: {e}"));
            let fallbacks = placement::cuda_fallbacks(model);
            assert!(fallbacks.is_empty(), "{loss} {name}: {fallbacks:?}");
            assert!(model.metadata(RECIPE_KEY).unwrap().contains("\"micro_batch\":4"));
        }
        assert!(step.model.metadata(UPDATES_KEY).is_some());
    }
}
