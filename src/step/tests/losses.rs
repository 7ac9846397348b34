//! Values of the losses against a computation by hand, and their gradients against differences.

use super::*;
use crate::model::recipe::Compatible;
use ndarray::{Array1, Array2, Axis, Ix1, Ix2};

/// The embeddings that the small tower gives for the batch: `x·Wᵀ + b`.
fn embeddings(inputs: &Tensors) -> Array2<f64> {
    let images = &inputs["batch.images"];
    let n = images.shape()[0];
    let x = images.clone().into_shape_with_order((n, 16)).unwrap() * f64::from(1.0_f32 / 255.0);
    let w = inputs["param.fc1.weight"].clone().into_dimensionality::<Ix2>().unwrap();
    let bias = inputs["param.fc1.bias"].clone().into_dimensionality::<Ix1>().unwrap();
    x.dot(&w.t()) + bias
}

fn pair_distances(inputs: &Tensors) -> Vec<f64> {
    let e = embeddings(inputs);
    let half = e.nrows() / 2;
    let squared = |i: usize| (&e.row(i) - &e.row(i + half)).mapv(|x| x * x).sum();
    (0..half).map(squared).collect()
}

fn mean(terms: impl Iterator<Item = f64>) -> f64 {
    terms.collect::<Array1<f64>>().mean().unwrap()
}

fn row_of(inputs: &Tensors, name: &str) -> Vec<f64> {
    inputs[name].iter().copied().collect()
}

/// `−ln softmax(logits)[truth]`.
fn surprise(logits: &[f64], truth: usize) -> f64 {
    let most = logits.iter().copied().fold(f64::MIN, f64::max);
    most + logits.iter().map(|x| (x - most).exp()).sum::<f64>().ln() - logits[truth]
}

#[test]
fn spring_pulls_by_the_square_and_spring_linear_by_the_distance() {
    for (name, square) in [("spring", true), ("spring-linear", false)] {
        let recipe = recipe(json!({"loss": {name: {"margin": 2.0}}}));
        let mut setup = Setup::new(&recipe, &TrainingClasses::distinct(10));
        let same = vec![1.0, 0.0, 0.0, 1.0];
        setup.inputs.insert("batch.same".into(), ArrayD::from_shape_vec(IxDyn(&[4]), same.clone()).unwrap());
        let squared = pair_distances(&setup.inputs);
        let d: Vec<f64> = squared.iter().map(|s| (s + f64::from(1e-6_f32)).sqrt()).collect();
        assert!(d.iter().any(|d| *d < 2.0), "the margin plays no part: {d:?}");
        let term = |i: usize| {
            let near = if square { squared[i] } else { d[i] };
            same[i] * near + (1.0 - same[i]) * (2.0 - d[i]).max(0.0).powi(2)
        };
        let outputs = setup.run();
        close(outputs["loss"].sum(), mean((0..4).map(term)));
        close(outputs["metric.same"].sum(), (d[0] + d[3]) / 2.0);
        close(outputs["metric.different"].sum(), (d[1] + d[2]) / 2.0);
    }
}

#[test]
fn spring_has_a_finite_gradient_where_both_images_are_equal() {
    let mut setup = Setup::new(&recipe(json!({})), &TrainingClasses::distinct(10));
    setup.inputs.get_mut("batch.images").unwrap().fill(0.0);
    let outputs = setup.run();
    assert!(outputs.values().all(|v| v.iter().all(|x| x.is_finite())));
}

#[test]
fn sigmoid_is_the_cross_entropy_of_the_weighted_distance() {
    let recipe = recipe(json!({"loss": "sigmoid"}));
    let mut setup = Setup::new(&recipe, &TrainingClasses::distinct(10));
    let alpha = vec![-1.5, 0.5, 2.0];
    setup
        .inputs
        .insert("param.head.alpha".into(), ArrayD::from_shape_vec(IxDyn(&[3]), alpha.clone()).unwrap());
    let same = row_of(&setup.inputs, "batch.same");
    let e = embeddings(&setup.inputs);
    let logit = |i: usize| {
        let apart = (&e.row(i) - &e.row(i + 4)).mapv(f64::abs);
        apart.iter().zip(&alpha).map(|(d, a)| d * a).sum::<f64>() + 1.0
    };
    let term = |i: usize| {
        let p = 1.0 / (1.0 + (-logit(i)).exp());
        if same[i] == 1.0 { -p.ln() } else { -(1.0 - p).ln() }
    };
    let right = (0..4).filter(|i| (logit(*i) > 0.0) == (same[*i] == 1.0)).count();
    let outputs = setup.run();
    close(outputs["loss"].sum(), mean((0..4).map(term)));
    close(outputs["metric.accuracy"].sum(), right as f64 / 4.0);
}

#[test]
fn sigmoid_of_a_batch_of_classes_takes_every_two_drawings_but_siblings() {
    let recipe = recipe(json!({
        "loss": "sigmoid", "sampling": {"classes": {"classes": 3, "drawings": 2}},
    }));
    let labels = [0_usize, 0, 5, 5, 7, 7];
    for siblings in [vec![], vec![(0, 5)]] {
        let classes = match siblings.as_slice() {
            [] => TrainingClasses::distinct(10),
            pairs => TrainingClasses::with_siblings(10, pairs),
        };
        let mut setup = Setup::new(&recipe, &classes);
        let given = labels.iter().map(|&l| l as f64).collect();
        setup.inputs.insert("batch.labels".into(), ArrayD::from_shape_vec(IxDyn(&[6]), given).unwrap());
        let alpha = ArrayD::from_shape_vec(IxDyn(&[3]), vec![-1.5, 0.5, 2.0]).unwrap();
        setup.inputs.insert("param.head.alpha".into(), alpha.clone());
        let e = embeddings(&setup.inputs);
        let logit = |i: usize, j: usize| {
            let apart = (&e.row(i) - &e.row(j)).mapv(f64::abs);
            apart.iter().zip(&alpha).map(|(d, a)| d * a).sum::<f64>() + 1.0
        };
        let pairs = |same: bool| {
            let kept = |&(i, j): &(usize, usize)| {
                let pair = (labels[i].min(labels[j]), labels[i].max(labels[j]));
                i != j && (labels[i] == labels[j]) == same && !siblings.contains(&pair)
            };
            (0..6).flat_map(|i| (0..6).map(move |j| (i, j))).filter(kept).collect::<Vec<_>>()
        };
        let term = |same: bool, (i, j): (usize, usize)| {
            let p = 1.0 / (1.0 + (-logit(i, j)).exp());
            if same { -p.ln() } else { -(1.0 - p).ln() }
        };
        let right = |same: bool, (i, j)| f64::from(u8::from((logit(i, j) > 0.0) == same));
        let both = |of: &dyn Fn(bool, (usize, usize)) -> f64| {
            mean([true, false].map(|same| mean(pairs(same).into_iter().map(|p| of(same, p)))).into_iter())
        };
        let outputs = setup.run();
        close(outputs["loss"].sum(), both(&term));
        close(outputs["metric.accuracy"].sum(), both(&right));
    }
}

#[test]
fn softmax_is_the_surprise_of_the_classifier() {
    let recipe = recipe(json!({"loss": "softmax", "sampling": {"images": {"batch": 6}}}));
    let setup = Setup::new(&recipe, &TrainingClasses::distinct(5));
    let w = setup.inputs["param.head.weight"].clone().into_dimensionality::<Ix2>().unwrap();
    let bias = setup.inputs["param.head.bias"].clone().into_dimensionality::<Ix1>().unwrap();
    let logits = embeddings(&setup.inputs).dot(&w.t()) + bias;
    let labels = row_of(&setup.inputs, "batch.labels");
    let rows: Vec<Vec<f64>> = logits.rows().into_iter().map(|r| r.to_vec()).collect();
    let term = |i: usize| surprise(&rows[i], labels[i] as usize);
    let right = |i: &usize| rows[*i].iter().all(|x| *x <= rows[*i][labels[*i] as usize]);
    let outputs = setup.run();
    close(outputs["loss"].sum(), mean((0..6).map(term)));
    close(outputs["metric.accuracy"].sum(), (0..6).filter(right).count() as f64 / 6.0);
}

#[test]
fn cosine_takes_the_margin_from_the_true_class_and_leaves_siblings_out() {
    let recipe = recipe(json!({
        "loss": {"cosine": {"scale": 8.0, "margin": 0.3}}, "sampling": {"images": {"batch": 6}},
    }));
    let classes = TrainingClasses::with_siblings(5, &[(0, 3), (3, 4)]);
    assert_eq!(classes.groups, [0, 1, 2, 0, 0]);
    let mut setup = Setup::new(&recipe, &classes);
    let labels = vec![0.0, 1.0, 2.0, 3.0, 4.0, 0.0];
    setup.inputs.insert("batch.labels".into(), ArrayD::from_shape_vec(IxDyn(&[6]), labels.clone()).unwrap());
    let unit = |a: Array2<f64>| {
        let length = a.mapv(|x| x * x).sum_axis(Axis(1)).mapv(f64::sqrt).insert_axis(Axis(1));
        a / length
    };
    let w = unit(setup.inputs["param.head.weight"].clone().into_dimensionality::<Ix2>().unwrap());
    let cosines = unit(embeddings(&setup.inputs)).dot(&w.t());
    let term = |i: usize| {
        let truth = labels[i] as usize;
        let logit = |j: usize| {
            let sibling = j != truth && classes.groups[j] == classes.groups[truth];
            let margin = if j == truth { f64::from(0.3_f32) } else { 0.0 };
            if sibling { f64::MIN } else { 8.0 * (cosines[[i, j]] - margin) }
        };
        surprise(&(0..5).map(logit).collect::<Vec<_>>(), truth)
    };
    close(setup.run()["loss"].sum(), mean((0..6).map(term)));
}

#[test]
fn contrast_compares_each_drawing_with_all_others_but_siblings() {
    let recipe = recipe(json!({
        "loss": {"contrast": {"scale": 6.0}}, "sampling": {"classes": {"classes": 3, "drawings": 3}},
    }));
    let labels = [0_usize, 0, 0, 5, 5, 5, 7, 7, 7];
    for siblings in [vec![], vec![(0, 5)]] {
        let classes = match siblings.as_slice() {
            [] => TrainingClasses::distinct(10),
            pairs => TrainingClasses::with_siblings(10, pairs),
        };
        let mut setup = Setup::new(&recipe, &classes);
        let given = labels.iter().map(|&l| l as f64).collect();
        setup.inputs.insert("batch.labels".into(), ArrayD::from_shape_vec(IxDyn(&[9]), given).unwrap());
        let e = embeddings(&setup.inputs);
        let cosine = |i: usize, j: usize| {
            e.row(i).dot(&e.row(j)) / (e.row(i).dot(&e.row(i)) * e.row(j).dot(&e.row(j))).sqrt()
        };
        let strangers = |i: usize, j: usize| {
            let pair = (labels[i].min(labels[j]), labels[i].max(labels[j]));
            !siblings.contains(&pair)
        };
        let term = |i: usize| {
            let others: Vec<usize> = (0..9).filter(|&j| j != i && strangers(i, j)).collect();
            let logits: Vec<f64> = others.iter().map(|&j| 6.0 * cosine(i, j)).collect();
            let own = (0..others.len()).filter(|&k| labels[others[k]] == labels[i]);
            mean(own.map(|k| surprise(&logits, k)))
        };
        let right = |i: usize| {
            let others = (0..9).filter(|&j| j != i && strangers(i, j));
            let best = others.max_by(|&a, &b| cosine(i, a).total_cmp(&cosine(i, b))).unwrap();
            f64::from(u8::from(labels[best] == labels[i]))
        };
        let outputs = setup.run();
        close(outputs["loss"].sum(), mean((0..9).map(term)));
        close(outputs["metric.accuracy"].sum(), mean((0..9).map(right)));
    }
}

#[test]
fn prototype_compares_queries_with_the_means_of_the_supports() {
    let recipe = recipe(json!({
        "loss": "prototype", "sampling": {"episodes": {"way": 3, "shot": 2, "queries": 2}},
    }));
    let setup = Setup::new(&recipe, &TrainingClasses::distinct(10));
    let e = embeddings(&setup.inputs);
    let prototype = |c: usize| (&e.row(2 * c) + &e.row(2 * c + 1)) / 2.0;
    let term = |q: usize| {
        let logit = |c: usize| -(&e.row(6 + q) - &prototype(c)).mapv(|x| x * x).sum();
        surprise(&(0..3).map(logit).collect::<Vec<_>>(), q / 2)
    };
    close(setup.run()["loss"].sum(), mean((0..6).map(term)));
}

#[test]
fn distillation_compares_each_embedding_or_every_two_with_the_teachers() {
    for (by, wide) in [("cosine", 5), ("cosine", 3), ("square", 5), ("square", 3), ("relations", 5)] {
        let beside = json!({"cosine": {"scale": 8.0, "margin": 0.3}});
        let distil = json!({"teacher": "t", "dim": wide, "by": by, "weight": 3.0});
        let mut both = distil.clone();
        both["beside"] = beside.clone();
        let images = json!({"images": {"batch": 6}});
        let with = |loss: Json| {
            let recipe = recipe(json!({"loss": loss, "sampling": images}));
            Setup::new(&recipe, &TrainingClasses::distinct(5))
        };
        let setup = with(json!({"distil": distil}));
        let teacher = setup.inputs["batch.teacher"].clone().into_dimensionality::<Ix2>().unwrap();
        let x = embeddings(&setup.inputs);
        let map = setup.inputs.get("param.head.teacher").cloned();
        assert_eq!(map.is_some(), by != "relations" && wide != 3, "{by} {wide}");
        let seen = map.map_or(x.clone(), |map| x.dot(&map.into_dimensionality::<Ix2>().unwrap().t()));
        let cosine = |a: &Array2<f64>, i: usize, b: &Array2<f64>, j: usize| {
            let (a, b) = (a.row(i), b.row(j));
            a.dot(&b) / (a.dot(&a) * b.dot(&b)).sqrt()
        };
        let pairs = (0..6).flat_map(|i| (0..6).map(move |j| (i, j))).filter(|(i, j)| i != j);
        let expected = match by {
            "cosine" => mean((0..6).map(|i| 1.0 - cosine(&seen, i, &teacher, i))),
            "square" => mean((&seen - &teacher).iter().map(|x| x * x)),
            _ => mean(pairs.map(|(i, j)| (cosine(&x, i, &x, j) - cosine(&teacher, i, &teacher, j)).powi(2))),
        };
        let taught = setup.run()["loss"].sum();
        close(taught, 3.0 * expected);
        // Beside a loss on labels it is added to that.
        let (mut together, mut alone) = (with(json!({"distil": both})), with(beside));
        let labels = ArrayD::from_shape_vec(IxDyn(&[6]), vec![0.0, 1.0, 2.0, 3.0, 4.0, 0.0]).unwrap();
        let proxies = ArrayD::from_shape_fn(IxDyn(&[5, 3]), |i| ((i[0] * 3 + i[1] * 7) % 5) as f64 - 1.7);
        let given = [("batch.labels".to_string(), labels), ("param.head.weight".to_string(), proxies)];
        for other in [&mut together, &mut alone] {
            for (name, value) in setup.inputs.clone().into_iter().chain(given.clone()) {
                other.inputs.entry(name).and_modify(|v| *v = value);
            }
        }
        close(together.run()["loss"].sum(), taught + alone.run()["loss"].sum());
    }
}

#[test]
fn compatibility_tells_each_drawing_among_the_older_towers_embeddings() {
    let sampling = json!({"classes": {"classes": 3, "drawings": 3}});
    let contrast = json!({"loss": {"contrast": {"scale": 6.0}}, "sampling": sampling});
    let mut both = contrast.clone();
    both["compatible"] = json!({"with": "old", "scale": 4.0, "weight": 0.5});
    let labels = [0_usize, 0, 0, 5, 5, 5, 7, 7, 7];
    for siblings in [vec![], vec![(0, 5)]] {
        let classes = match siblings.as_slice() {
            [] => TrainingClasses::distinct(10),
            pairs => TrainingClasses::with_siblings(10, pairs),
        };
        let mut setup = Setup::new(&recipe(both.clone()), &classes);
        let given = labels.iter().map(|&l| l as f64).collect();
        setup.inputs.insert("batch.labels".into(), ArrayD::from_shape_vec(IxDyn(&[9]), given).unwrap());
        let mut alone = Setup::new(&recipe(contrast.clone()), &classes);
        for (name, value) in &mut alone.inputs {
            value.clone_from(&setup.inputs[name]);
        }
        let x = embeddings(&setup.inputs);
        let old = setup.inputs["batch.teacher"].clone().into_dimensionality::<Ix2>().unwrap();
        let cosine = |i: usize, j: usize| {
            let (a, b) = (x.row(i), old.row(j));
            a.dot(&b) / (a.dot(&a) * b.dot(&b)).sqrt()
        };
        let met = |i: usize| {
            (0..9)
                .filter(|&j| !siblings.contains(&(labels[i].min(labels[j]), labels[i].max(labels[j]))))
                .collect()
        };
        let term = |i: usize| {
            let met: Vec<usize> = met(i);
            let logits: Vec<f64> = met.iter().map(|&j| 4.0 * cosine(i, j)).collect();
            let own = (0..met.len()).filter(|&k| labels[met[k]] == labels[i]);
            mean(own.map(|k| surprise(&logits, k)))
        };
        let right = |i: usize| {
            let best = met(i).into_iter().max_by(|&a, &b| cosine(i, a).total_cmp(&cosine(i, b))).unwrap();
            f64::from(u8::from(labels[best] == labels[i]))
        };
        let outputs = setup.run();
        let expected = alone.run()["loss"].sum() + 0.5 * mean((0..9).map(term));
        close(outputs["loss"].sum(), expected);
        close(outputs["metric.compatible"].sum(), mean((0..9).map(right)));
    }
}

#[test]
fn penalties_add_the_squares_of_the_chosen_layers_weights() {
    let plain = Setup::new(&recipe(json!({})), &TrainingClasses::distinct(10));
    let changed = recipe(json!({"l2": [{"layers": "fc", "value": 0.5}]}));
    let penalised = Setup::new(&changed, &TrainingClasses::distinct(10));
    let squares = plain.inputs["param.fc1.weight"].mapv(|x| x * x).sum();
    close(penalised.run()["loss"].sum(), plain.run()["loss"].sum() + 0.5 * squares);
}

/// Every kind of layer and each loss in one small step.
fn thorough(loss: Json, sampling: Json) -> Recipe {
    recipe(json!({
        "size": 9, "loss": loss, "sampling": sampling,
        "tower": [
            {"conv": {"filters": 3, "kernel": 4}}, "batch-norm", "sigmoid",
            {"conv": {"filters": 2, "kernel": 3, "stride": 2}}, "sigmoid",
            {"residual": {"filters": 2}}, {"residual": {"filters": 3, "stride": 2}},
            {"conv": {"filters": 2, "kernel": 2, "padding": "half"}},
            {"average-pool": {"size": 2}}, {"max-pool": {"size": 2}},
            "flatten", {"fc": {"units": 4}}, "batch-norm", {"dropout": 0.4}, {"fc": {"units": 3}}, "l2-norm"
        ],
        "l2": [{"layers": "conv", "value": 0.01}],
    }))
}

#[test]
fn the_whole_steps_gradient_agrees_with_central_differences() {
    let pairs = json!({"zipped-pairs": {"batch": 3}});
    let images = json!({"images": {"batch": 6}});
    let compatible = |recipe: Recipe| Recipe { compatible: Some(Compatible::new("old".as_ref())), ..recipe };
    let mut recipes: Vec<Recipe> = [
        (json!({"spring": {"margin": 1.0}}), pairs.clone()),
        (json!({"spring-linear": {"margin": 1.0}}), pairs.clone()),
        (json!("sigmoid"), pairs),
        (json!("sigmoid"), json!({"classes": {"classes": 3, "drawings": 2}})),
        (json!("softmax"), images.clone()),
        (json!({"cosine": {"scale": 5.0, "margin": 0.2}}), images),
        (json!({"contrast": {"scale": 5.0}}), json!({"classes": {"classes": 3, "drawings": 2}})),
        (json!("prototype"), json!({"episodes": {"way": 2, "shot": 1, "queries": 2}})),
        (json!({"distil": {"teacher": "t", "dim": 5, "weight": 2.0}}), json!({"images": {"batch": 6}})),
        (json!({"distil": {"teacher": "t", "dim": 5, "by": "square"}}), json!({"images": {"batch": 6}})),
        (
            json!({"distil": {"teacher": "t", "dim": 5, "by": "relations", "beside": {"contrast": {"scale": 5.0}}}}),
            json!({"classes": {"classes": 3, "drawings": 2}}),
        ),
    ]
    .map(|(loss, sampling)| thorough(loss, sampling))
    .into();
    let cosine = json!({"cosine": {"scale": 5.0, "margin": 0.2}});
    let thorough = thorough(cosine, json!({"classes": {"classes": 3, "drawings": 2}}));
    // A row that loses all to dropout before the last layer still has a direction.
    recipes.push(Recipe { bias_init: 0.3, ..compatible(thorough) });
    for recipe in recipes {
        let mut setup = Setup::new(&recipe, &TrainingClasses::with_siblings(4, &[(0, 1)]));
        let outputs = setup.run();
        let mut rng = crate::model::seeded(9, "direction");
        let learned: Vec<String> =
            setup.inputs.keys().filter(|name| name.starts_with("param.")).cloned().collect();
        for name in learned {
            let gradient = setup.gradient(&outputs, &name);
            let at = setup.inputs[&name].clone();
            let direction = at.mapv(|_| rng.random_range(-1.0..1.0));
            let mut loss_at = |h: f64| {
                setup.inputs.insert(name.clone(), &at + &(&direction * h));
                setup.run()["loss"].sum()
            };
            let h = 1e-5;
            let numeric = (loss_at(h) - loss_at(-h)) / (2.0 * h);
            loss_at(0.0);
            let exact = (&gradient * &direction).sum();
            // 1e-5: a bias before a normalisation has the gradient 0, up to float32 constants.
            let allowed = 1e-4 * (numeric.abs() + exact.abs()) + 1e-5;
            assert!(
                (numeric - exact).abs() < allowed,
                "{:?} {name}: {exact}, but differences say {numeric}",
                recipe.loss
            );
        }
    }
}
