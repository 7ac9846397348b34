//! Updates against a direct computation.

use super::*;

const STEPS: usize = 4;

/// Runs some steps of a recipe; before each, the gradient as a recipe with plain descent gives it.
/// `expect` is handed the step, every parameter with its gradient, and the parameter after.
fn follow(changes: Json, mut expect: impl FnMut(usize, &str, &ArrayD<f64>, &ArrayD<f64>) -> ArrayD<f64>) {
    let own = recipe(changes);
    let mut plain = Setup::new(&recipe(json!({"l2": own.l2})), &TrainingClasses::distinct(10));
    let mut setup = Setup::new(&own, &TrainingClasses::distinct(10));
    for step in 1..=STEPS {
        setup.set("step", step as f64);
        setup.set("lr", 0.1 / step as f64);
        for name in ["param.fc1.weight", "param.fc1.bias"] {
            plain.inputs.insert(name.into(), setup.inputs[name].clone());
        }
        let gradients = plain.run();
        let outputs = setup.run();
        for name in ["param.fc1.weight", "param.fc1.bias"] {
            let gradient = plain.gradient(&gradients, name);
            let expected = expect(step, name, &setup.inputs[name], &gradient);
            all_close(&outputs[&format!("next.{name}")], &expected);
        }
        setup.advance(&outputs);
    }
}

/// The learning rate that `follow` sets.
fn rate(step: usize) -> f64 {
    0.1 / step as f64
}

/// A float32 constant of the graph, widened.
fn f(x: f32) -> f64 {
    f64::from(x)
}

fn slot<'a>(slots: &'a mut Tensors, name: &str, like: &ArrayD<f64>) -> &'a mut ArrayD<f64> {
    slots.entry(name.into()).or_insert_with(|| ArrayD::zeros(like.raw_dim()))
}

#[test]
fn descent_subtracts_the_gradient() {
    follow(json!({}), |step, _, p, g| p - &(g * rate(step)));
}

#[test]
fn momentum_and_nesterov_agree_with_the_formula() {
    for nesterov in [false, true] {
        let mut buffers = Tensors::new();
        follow(
            json!({"optimiser": {"sgd": {"lr": 0.1, "momentum": 0.9, "nesterov": nesterov}}}),
            |step, name, p, g| {
                let b = slot(&mut buffers, name, p);
                *b = &*b * f(0.9) + g;
                let direction = if nesterov { g + &(&*b * f(0.9)) } else { b.clone() };
                p - &(direction * rate(step))
            },
        );
    }
}

#[test]
fn adam_and_adam_w_agree_with_the_formula() {
    for weight_decay in [0.0, 0.1] {
        let optimiser = if weight_decay == 0.0 {
            json!({"adam": {"lr": 0.1}})
        } else {
            json!({"adam-w": {"lr": 0.1, "weight_decay": weight_decay}})
        };
        let (mut first, mut second) = (Tensors::new(), Tensors::new());
        follow(json!({"optimiser": optimiser}), |step, name, p, g| {
            let m = slot(&mut first, name, p);
            *m = &*m * 0.9 + g * 0.1;
            let v = slot(&mut second, name, p);
            *v = &*v * 0.999 + g * g * 0.001;
            let m = &*m / (1.0 - 0.9_f64.powi(step as i32));
            let v = &*v / (1.0 - 0.999_f64.powi(step as i32));
            let kept = if name.ends_with("weight") { 1.0 - rate(step) * f(weight_decay) } else { 1.0 };
            p * kept - m / (v.mapv(f64::sqrt) + 1e-8) * rate(step)
        });
    }
}

#[test]
fn a_layers_factor_scales_its_learning_rate() {
    let factors = json!([{"layers": "f", "value": 0.0}, {"layers": "fc1", "value": 0.25}]);
    follow(json!({"lr_factors": factors}), |step, _, p, g| p - &(g * (rate(step) * 0.25)));
}

#[test]
fn gradients_are_clipped_by_their_common_norm() {
    let plain = Setup::new(&recipe(json!({})), &TrainingClasses::distinct(10));
    let outputs = plain.run();
    let gradients = ["param.fc1.weight", "param.fc1.bias"].map(|name| plain.gradient(&outputs, name));
    let norm = gradients.iter().map(|g| (g * g).sum()).sum::<f64>().sqrt();
    for (limit, factor) in [(norm as f32 / 2.0, 0.5), (norm as f32 * 2.0, 1.0)] {
        let clipped = Setup::new(&recipe(json!({"clip_norm": limit})), &TrainingClasses::distinct(10));
        let outputs = clipped.run();
        for (name, g) in ["param.fc1.weight", "param.fc1.bias"].iter().zip(&gradients) {
            let got = clipped.gradient(&outputs, name);
            got.iter().zip(g).for_each(|(a, b)| assert!((a - b * factor).abs() < 1e-5 * norm, "{a} {b}"));
        }
    }
}

#[test]
fn the_moving_average_follows_with_a_rising_decay() {
    let mut setup = Setup::new(&recipe(json!({"ema": 0.3})), &TrainingClasses::distinct(10));
    let mut average = setup.inputs["param.fc1.weight"].clone();
    for step in 1..=STEPS {
        setup.set("step", step as f64);
        let outputs = setup.run();
        let decay = ((1.0 + step as f64) / (10.0 + step as f64)).min(f(0.3));
        average = &average * decay + &outputs["next.param.fc1.weight"] * (1.0 - decay);
        all_close(&outputs["next.ema.fc1.weight"], &average);
        setup.advance(&outputs);
    }
}

#[test]
fn what_is_exported_is_the_average_where_the_recipe_keeps_one() {
    for (ema, prefix) in [(Json::Null, "param."), (json!(0.9), "ema.")] {
        let tower = json!(["flatten", {"fc": {"units": 3}}, "batch-norm"]);
        let recipe = recipe(json!({"ema": ema, "loss": "sigmoid", "tower": tower}));
        let graph = build(&recipe, &TrainingClasses::distinct(2), Target::Cpu).unwrap();
        let mut state = initial_state(&recipe, &graph).unwrap();
        assert_eq!(state.len(), graph.state.len());
        state.get_mut(&format!("{prefix}fc1.weight")).unwrap().fill(7.0);
        let params = exported_params(&state, &recipe).unwrap();
        let names: Vec<&str> = params.keys().map(String::as_str).collect();
        let expected =
            ["bn1.bias", "bn1.mean", "bn1.scale", "bn1.var", "fc1.weight", "head.alpha", "head.beta"];
        assert_eq!(names, expected);
        assert!(params["fc1.weight"].iter().all(|x| *x == 7.0));

        state.remove("stat.bn1.var");
        assert!(exported_params(&state, &recipe).unwrap_err().to_string().contains("bn1.var"));
    }
}
