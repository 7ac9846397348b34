//! The graphs of all recipes: names, shapes, metadata; and the tower in its three modes.

use super::*;
use crate::model::{fold, forward, tests::shipped};
use crate::onnx::{DimensionValue, ModelProto, ValueInfoProto, type_proto};
use crate::walk::placement;
use std::collections::BTreeSet;

fn shape(info: &ValueInfoProto) -> Vec<usize> {
    let Some(type_proto::Value::Tensor(t)) = info.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        panic!("{info:?} is not a tensor");
    };
    let side = |d: &crate::onnx::Dimension| match d.value {
        Some(DimensionValue::Value(n)) => n as usize,
        _ => panic!("{:?} has a symbolic side", info.name),
    };
    t.shape.as_ref().unwrap().dim.iter().map(side).collect()
}

fn classes_of(recipe: &Recipe) -> TrainingClasses {
    match recipe.name.as_str() {
        "omniglot-edge" | "omniglot-edge-base" => {
            let siblings: Vec<_> = (0..3856).map(|c| (c, c / 4 * 4)).collect();
            TrainingClasses::with_siblings(3856, &siblings)
        }
        _ => TrainingClasses::distinct(10),
    }
}

#[test]
fn every_recipe_has_a_step_with_the_contracts_names_and_shapes() {
    for recipe in shipped() {
        for target in [Target::Cpu, Target::Cuda] {
            let step = build(&recipe, &classes_of(&recipe), target).unwrap();
            let graph = step.model.graph.as_ref().unwrap();
            let shapes = |infos: &[ValueInfoProto]| -> BTreeMap<String, Vec<usize>> {
                infos.iter().map(|i| (i.name.clone().unwrap(), shape(i))).collect()
            };
            let (inputs, outputs) = (shapes(&graph.input), shapes(&graph.output));

            let mut expected: BTreeMap<String, Vec<usize>> =
                [("lr".to_string(), vec![]), ("step".to_string(), vec![])].into();
            expected.extend(step.batch.iter().map(|s| (s.name.clone(), s.shape.clone())));
            expected.extend(step.masks.iter().map(|s| (s.name.clone(), s.shape.clone())));
            expected.extend(step.state.iter().map(|s| (s.input.clone(), s.shape.clone())));
            assert_eq!(inputs, expected, "{}", recipe.name);

            let mut expected: BTreeMap<String, Vec<usize>> = [("loss".to_string(), vec![])].into();
            expected.extend(step.metrics.iter().map(|m| (m.clone(), vec![])));
            expected.extend(step.state.iter().map(|s| (s.output.clone(), s.shape.clone())));
            assert_eq!(outputs, expected, "{}", recipe.name);

            let pairs: Vec<[String; 2]> =
                serde_json::from_str(step.model.metadata(UPDATES_KEY).unwrap()).unwrap();
            let listed: BTreeSet<[String; 2]> = pairs.into_iter().collect();
            let own = step.state.iter().map(|s| [s.input.clone(), format!("next.{}", s.input)]);
            assert_eq!(listed, own.collect(), "{}", recipe.name);
            let kept: Recipe = serde_json::from_str(step.model.metadata(RECIPE_KEY).unwrap()).unwrap();
            assert_eq!(kept, recipe);
        }
    }
}

#[test]
fn no_parameter_is_stored_in_a_training_graph() {
    use prost::Message;
    for recipe in shipped() {
        let step = build(&recipe, &classes_of(&recipe), Target::Cuda).unwrap();
        assert!(step.model.encoded_len() < 400_000, "{}: {} bytes", recipe.name, step.model.encoded_len());
    }
}

#[test]
fn classes_that_do_not_fit_are_refused() {
    let recipe = recipe(json!({}));
    let one = build(&recipe, &TrainingClasses::distinct(1), Target::Cpu).unwrap_err();
    assert!(one.to_string().contains('1'), "{one}");
    let odd = TrainingClasses { count: 3, groups: vec![0, 0] };
    assert!(build(&recipe, &odd, Target::Cpu).unwrap_err().to_string().contains("siblings"));
}

/// Builds the tower alone and runs it on the images.
fn embed(recipe: &Recipe, params: &Params, images: &ArrayD<f64>, mode: Mode) -> ArrayD<f64> {
    let g = Graph::new("tower");
    let image = g.input("image", DType::U8, images.shape());
    let values = params.iter().map(|(k, v)| (k.clone(), g.input(k, DType::F32, v.shape()))).collect();
    let built = forward(recipe, image, &values, mode).unwrap();
    g.output("embedding", built.embedding);
    let mut inputs = wide(params);
    inputs.insert("image".into(), images.clone());
    for mask in built.masks {
        inputs.insert(mask.name, ArrayD::ones(IxDyn(&mask.shape)));
    }
    interpreter::run(&g.to_model().unwrap(), inputs).unwrap()["embedding"].clone()
}

/// Parameters whose running statistics are those of the batch.
fn after_many_steps(recipe: &Recipe, images: &ArrayD<f64>) -> Params {
    let graph = build(recipe, &TrainingClasses::distinct(2), Target::Cpu).unwrap();
    let mut state = initial_state(recipe, &graph).unwrap();
    let mut inputs = wide(&state);
    inputs.insert("batch.images".into(), images.clone());
    inputs.insert("batch.same".into(), ArrayD::ones(IxDyn(&[images.shape()[0] / 2])));
    for name in ["lr", "step"] {
        inputs.insert(name.into(), ArrayD::zeros(IxDyn(&[])));
    }
    for _ in 0..250 {
        let outputs = interpreter::run(&graph.model, inputs.clone()).unwrap();
        for s in graph.state.iter().filter(|s| s.input.starts_with("stat.")) {
            inputs.insert(s.input.clone(), outputs[&s.output].clone());
        }
    }
    for (name, value) in &mut state {
        *value = inputs[name].mapv(|x| x as f32);
    }
    exported_params(&state, recipe).unwrap()
}

#[test]
fn running_statistics_converge_and_folding_changes_nothing() {
    let recipe = recipe(json!({
        "size": 6,
        "tower": [
            {"conv": {"filters": 2, "kernel": 3}}, "batch-norm", "relu", {"residual": {"filters": 3, "stride": 2}},
            "flatten", {"fc": {"units": 3}}, "batch-norm", "relu", {"fc": {"units": 2}}
        ],
    }));
    let mut rng = crate::model::seeded(2, "images");
    let images = ArrayD::from_shape_simple_fn(IxDyn(&[8, 1, 6, 6]), || f64::from(rng.random_range(0..256)));
    let params = after_many_steps(&recipe, &images);
    let train = embed(&recipe, &params, &images, Mode::Train);
    let infer = embed(&recipe, &params, &images, Mode::Infer);
    let folded = embed(&recipe, &fold(&recipe, &params).unwrap(), &images, Mode::Folded);
    for ((t, i), f) in train.iter().zip(&infer).zip(&folded) {
        assert!((i - f).abs() < 1e-5 * i.abs().max(1.0), "folding: {i}, {f}");
        // The running variance is the unbiased one: 8/7 of the batch's at the last layer.
        assert!((t - i).abs() < 0.2 * t.abs().max(1.0), "statistics: {t}, {i}");
    }
    // A row depends on its own image alone.
    let one = images.slice_axis(ndarray::Axis(0), (3..4).into()).to_owned();
    let alone = embed(&recipe, &params, &one, Mode::Infer);
    alone.iter().zip(infer.index_axis(ndarray::Axis(0), 3)).for_each(|(a, b)| close(*a, *b));
}

/// The lowering for the CPU keeps channels last and multiplies matrices; the one for CUDA convolves. Both
/// are one and the same step.
#[test]
fn every_target_takes_the_same_step() {
    for colour in [Json::Null, json!({})] {
        takes_the_same_step(colour);
    }
}

fn takes_the_same_step(colour: Json) {
    let recipe = recipe(json!({
        "size": 9, "colour": colour,
        "tower": [
            {"conv": {"filters": 2, "kernel": 3, "padding": "same"}}, "batch-norm", "relu", {"dropout": 0.5},
            {"conv": {"filters": 3, "kernel": 4, "stride": 2, "padding": "same"}}, "relu",
            {"residual": {"filters": 3}}, {"residual": {"filters": 2, "stride": 2}},
            {"average-pool": {"size": 2}}, {"dropout": 0.25}, "flatten", {"fc": {"units": 3}},
        ],
    }));
    let classes = TrainingClasses::distinct(2);
    let mut setup = Setup::new(&recipe, &classes);
    let (cuda, masks) = (setup.run(), setup.graph.masks.clone());
    setup.graph = build(&recipe, &classes, Target::Cpu).unwrap();
    assert_eq!(setup.graph.masks, masks, "what is drawn is for channels first");
    let ops = |ops: &Tensors| ops.keys().cloned().collect::<BTreeSet<_>>();
    let nodes = setup.graph.model.graph.as_ref().unwrap();
    assert!(nodes.node.iter().all(|n| n.op_type.as_deref() != Some("Conv")), "the CPU has products instead");
    let cpu = setup.run();
    assert_eq!(ops(&cuda), ops(&cpu));
    for (name, value) in &cuda {
        // The bias of a layer before a normalisation does nothing: its steps are rounding alone.
        let far = (&cpu[name] - value).into_iter().find(|d| d.abs() > 1e-9);
        assert_eq!(far, None, "{name}");
    }
}

/// Layers of small networks: the step's gradients are those of central differences.
#[test]
fn layers_of_small_networks_learn() {
    let recipe = recipe(json!({
        "size": 6, "colour": {},
        "tower": [
            {"conv": {"filters": 4, "kernel": 3, "padding": "half", "groups": 1}}, "hard-swish",
            {"depthwise": {"kernel": 3, "stride": 2, "padding": "half"}}, "batch-norm", "silu",
            {"conv": {"filters": 6, "kernel": 3, "padding": "half", "groups": 2}}, "relu6",
            {"squeeze-excite": {"units": 2}},
            {"inverted-residual": {"filters": 6, "expand": 2, "activation": "hard-swish", "squeeze": 2}},
            {"inverted-residual": {"filters": 4, "kernel": 5, "stride": 2, "expand": 1}},
            "global-average-pool", {"fc": {"units": 3}},
        ],
    }));
    let mut setup = Setup::new(&recipe, &TrainingClasses::distinct(2));
    let ops = setup.graph.model.graph.as_ref().unwrap();
    assert!(ops.node.iter().any(|n| n.op_type.as_deref() == Some("Conv")), "groups are not gathered");
    let cpu = build(&recipe, &TrainingClasses::distinct(2), Target::Cpu).unwrap();
    assert!(cpu.model.graph.unwrap().node.iter().any(|n| n.op_type.as_deref() == Some("Conv")));
    let outputs = setup.run();
    let weights: Vec<String> = setup
        .inputs
        .keys()
        .filter(|name| name.starts_with("param.") && name.ends_with("weight"))
        .cloned()
        .collect();
    assert_eq!(weights.len(), 13);
    for name in weights {
        let gradient = setup.gradient(&outputs, &name);
        // Along a direction of ones and minus ones.
        let sign = |i: usize| if i.is_multiple_of(3) { 1.0 } else { -1.0 };
        let along: f64 = gradient.iter().enumerate().map(|(i, g)| g * sign(i)).sum();
        let start = setup.inputs[&name].clone();
        let mut loss = |step: f64| {
            let moved = setup.inputs.get_mut(&name).unwrap();
            moved.iter_mut().zip(&start).enumerate().for_each(|(i, (x, s))| *x = s + step * sign(i));
            setup.run()["loss"].sum()
        };
        let difference = (loss(1e-6) - loss(-1e-6)) / 2e-6;
        setup.inputs.insert(name.clone(), start);
        let scale = along.abs().max(difference.abs()).max(1e-3);
        assert!((along - difference).abs() < 1e-4 * scale, "{name}: {along}, {difference}");
    }
}

#[test]
fn running_statistics_move_a_tenth_of_the_way() {
    let recipe = recipe(json!({"tower": ["flatten", {"fc": {"units": 1}}, "batch-norm"]}));
    let mut setup = Setup::new(&recipe, &TrainingClasses::distinct(2));
    // The first pixel's level is the activation.
    let weight = setup.inputs.get_mut("param.fc1.weight").unwrap();
    weight.fill(0.0);
    weight[[0, 0]] = 255.0;
    let images = setup.inputs.get_mut("batch.images").unwrap();
    for (i, level) in [0.0, 0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 2.0].into_iter().enumerate() {
        images[[i, 0, 0, 0]] = level;
    }
    let outputs = setup.run();
    close(outputs["next.stat.bn1.mean"].sum(), 0.1);
    close(outputs["next.stat.bn1.var"].sum(), 1.0 + 0.1 * (8.0 / 7.0 - 1.0));
}

/// The graphs in the repository, as files: plain ONNX, and no node that CUDA would hand to the CPU.
#[test]
fn every_shipped_training_graph_is_plain_and_stays_on_cuda() {
    for (name, _) in crate::model::SHIPPED {
        let path = format!("{}/onnx/{name}/train.onnx", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(&path)
            .unwrap_or_else(|e| panic!("{path}: {e}; `siamese train {name} --graph-only`"));
        let model = <ModelProto as prost::Message>::decode(&bytes[..]).unwrap();
        placement::is_plain(&model).unwrap_or_else(|e| panic!("{name}: {e}"));
        let fallbacks = placement::cuda_fallbacks(&model);
        assert!(fallbacks.is_empty(), "{name}: {fallbacks:?}");
        assert!(model.metadata(UPDATES_KEY).is_some(), "{name} lacks {UPDATES_KEY}");
    }
}
