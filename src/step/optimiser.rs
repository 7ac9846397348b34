//! The update: clipping, the optimisers, the moving average; all as graph operations.

use super::{StateSpec, layer_factor};
use crate::graph::{DType, Expr, Graph, Kernel};
use crate::model::recipe::Optimiser;
use crate::model::{ParamSpec, Recipe, Role};
use crate::onnx::AttributeProto;

/// Decay of Adam's first moment (Kingma, Ba 2015).
const BETA1: f64 = 0.9;
/// Decay of Adam's second moment.
const BETA2: f64 = 0.999;
/// Adam's ε, added to the root of the second moment.
const ADAM_EPSILON: f32 = 1e-8;
/// Added to the gradient's norm, as PyTorch's `clip_grad_norm_` does.
const NORM_EPSILON: f32 = 1e-6;

/// The state's new values, gathered while the graph grows.
pub(super) struct Updates<'g, 'r> {
    recipe: &'r Recipe,
    lr: Expr<'g>,
    step: Expr<'g>,
    next: Vec<(StateSpec, Expr<'g>)>,
}

impl<'g, 'r> Updates<'g, 'r> {
    /// Declares the inputs `lr` and `step`.
    pub(super) fn new(recipe: &'r Recipe, g: &'g Graph) -> Self {
        let [lr, step] = ["lr", "step"].map(|name| g.input(name, DType::F32, &[]));
        Self { recipe, lr, step, next: Vec::new() }
    }

    /// Builds the update of every learned parameter.
    pub(super) fn learn(&mut self, specs: &[&ParamSpec], params: &[Expr<'g>], grads: Vec<Expr<'g>>) {
        let g = self.lr.graph();
        g.within("update", || {
            let grads = match self.recipe.clip_norm {
                Some(norm) => clip(&grads, norm),
                None => grads,
            };
            let rule = Rule::new(&self.recipe.optimiser, self.step);
            let share = self.recipe.ema.map(|decay| average_share(self.step, decay));
            for ((spec, param), grad) in specs.iter().zip(params).zip(grads) {
                g.within(&spec.name, || self.learn_one(spec, *param, grad, &rule, share));
            }
        });
    }

    fn learn_one(
        &mut self,
        spec: &ParamSpec,
        param: Expr<'g>,
        grad: Expr<'g>,
        rule: &Rule<'g>,
        share: Option<Expr<'g>>,
    ) {
        let lr = layer_factor(&self.recipe.lr_factors, spec).map_or(self.lr, |factor| self.lr * factor);
        let (next, adam) = match *rule {
            Rule::Sgd { momentum, nesterov } => {
                (param - self.sgd_direction(spec, grad, momentum, nesterov) * lr, None)
            }
            Rule::Adam { scales, weight_decay } => {
                let decays = weight_decay != 0.0 && spec.role == Role::Weight;
                let m = self.decayed_sum("adam_m", spec, grad, BETA1);
                let v = self.decayed_sum("adam_v", spec, grad.squared(), BETA2);
                let direction = m.next / (v.next.sqrt() + scales.epsilon);
                let rate = lr * scales.rate;
                let step = direction * rate;
                let kept = decays.then(|| 1.0 - lr * weight_decay);
                let next = kept.map_or(param, |kept| param * kept) - step;
                (next, Some(Adam { m, v, rate, epsilon: scales.epsilon, kept }))
            }
        };
        self.push(format!("param.{}", spec.name), next);
        let averaged = share.map(|share| {
            let average = self.input("ema", spec);
            let moved = average + (next - average) * share;
            self.push(format!("ema.{}", spec.name), moved);
            Averaged { average, share, moved }
        });
        if let Some(adam) = adam {
            adam.region([param, grad], next, averaged);
        }
    }

    /// `b ← μ·b + g`; the direction is `b`, or `g + μ·b` in Nesterov's form.
    fn sgd_direction(&mut self, spec: &ParamSpec, grad: Expr<'g>, momentum: f32, nesterov: bool) -> Expr<'g> {
        if momentum == 0.0 {
            return grad;
        }
        let b = self.decayed_sum("momentum", spec, grad, f64::from(momentum)).next;
        if nesterov { grad + b * momentum } else { b }
    }

    /// `S ← β·S + x`, kept as the state `prefix`.
    fn decayed_sum(&mut self, prefix: &str, spec: &ParamSpec, x: Expr<'g>, beta: f64) -> Sum<'g> {
        let beta = x.graph().scalar(beta as f32);
        let old = self.input(prefix, spec);
        let next = old * beta + x;
        self.push(format!("{prefix}.{}", spec.name), next);
        Sum { old, next }
    }

    /// Declares a state input.
    fn input(&self, prefix: &str, spec: &ParamSpec) -> Expr<'g> {
        self.lr.graph().input(&format!("{prefix}.{}", spec.name), DType::F32, &spec.shape)
    }

    /// Records the next value of a state input.
    pub(super) fn push(&mut self, input: String, next: Expr<'g>) {
        let output = format!("next.{input}");
        self.next.push((StateSpec { input, output, shape: next.shape() }, next));
    }

    /// Declares the outputs.
    pub(super) fn finish(self) -> Vec<StateSpec> {
        for (spec, value) in &self.next {
            value.graph().output(&spec.output, *value);
        }
        self.next.into_iter().map(|(spec, _)| spec).collect()
    }
}

/// Scales all gradients so that their common norm is at most `norm`.
fn clip<'g>(grads: &[Expr<'g>], norm: f32) -> Vec<Expr<'g>> {
    let squares = grads.iter().map(|grad| grad.squared().total());
    let Some(total) = squares.reduce(|a, b| a + b) else { return Vec::new() };
    let factor = (norm / (total.sqrt() + NORM_EPSILON)).min(1.0);
    grads.iter().map(|grad| *grad * factor).collect()
}

/// Share of the new weights in the moving average: `1 − min(decay, (1 + t) / (10 + t))`, so that
/// the first steps do not leave the start's random weights in the average for long.
fn average_share(t: Expr<'_>, decay: f32) -> Expr<'_> {
    let [one, ten, decay] = [1.0, 10.0, decay].map(|x| t.graph().scalar(x));
    one - ((t + one) / (t + ten)).min(decay)
}

/// A sum of the state that decays, before and after the step.
#[derive(Clone, Copy)]
struct Sum<'g> {
    old: Expr<'g>,
    next: Expr<'g>,
}

/// A moving average, and after the step.
struct Averaged<'g> {
    average: Expr<'g>,
    share: Expr<'g>,
    moved: Expr<'g>,
}

/// Adam's step of one parameter; see [`Scales`].
struct Adam<'g> {
    m: Sum<'g>,
    v: Sum<'g>,
    rate: Expr<'g>,
    epsilon: Expr<'g>,
    /// `1 − lr·λ` for weights; biases and normalisations are not decayed.
    kept: Option<Expr<'g>>,
}

impl<'g> Adam<'g> {
    /// What a kernel computes of it.
    fn region(&self, [param, grad]: [Expr<'g>; 2], next: Expr<'g>, averaged: Option<Averaged<'g>>) {
        let mut inputs = vec![param, grad, self.m.old, self.v.old, self.rate, self.epsilon];
        let mut outputs = vec![next, self.m.next, self.v.next];
        inputs.extend(self.kept);
        if let Some(Averaged { average, share, moved }) = averaged {
            inputs.extend([average, share]);
            outputs.push(moved);
        }
        let attributes = vec![
            AttributeProto::float("beta1", BETA1 as f32),
            AttributeProto::float("beta2", BETA2 as f32),
            AttributeProto::flag("decay", self.kept.is_some()),
        ];
        param.graph().region(Kernel::Adam, &inputs, &outputs, attributes);
    }
}

/// An optimiser with the scalars that all parameters share.
enum Rule<'g> {
    Sgd { momentum: f32, nesterov: bool },
    Adam { scales: Scales<'g>, weight_decay: f32 },
}

impl<'g> Rule<'g> {
    fn new(optimiser: &Optimiser, step: Expr<'g>) -> Self {
        match *optimiser {
            Optimiser::Sgd { momentum, nesterov, .. } => Self::Sgd { momentum, nesterov },
            Optimiser::Adam { .. } => Self::Adam { scales: Scales::new(step), weight_decay: 0.0 },
            Optimiser::AdamW { weight_decay, .. } => Self::Adam { scales: Scales::new(step), weight_decay },
        }
    }
}

/// What turns Adam's sums into its step; scalars, the same for all parameters.
///
/// The state holds `M = m/(1 − β₁)` and `V = v/(1 − β₂)`, so that each decay is one product and one
/// sum over the parameter (`M ← β₁·M + g`): passes over large tensors are what an update costs. With
/// `k = √((1 − β₂)/(1 − β₂ᵗ))` the step `lr·m̂/(√v̂ + ε)` is `lr·rate·M/(√V + epsilon)`.
#[derive(Clone, Copy)]
struct Scales<'g> {
    /// `(1 − β₁)/(1 − β₁ᵗ)/k`.
    rate: Expr<'g>,
    /// `ε/k`.
    epsilon: Expr<'g>,
}

impl<'g> Scales<'g> {
    /// In float64: in float32 the difference `1 − βᵗ` loses five digits at the first steps.
    fn new(step: Expr<'g>) -> Self {
        let t = step.cast(DType::F64);
        let first = correction(t, BETA1);
        let k = correction(t, BETA2).sqrt();
        let epsilon = k.graph().scalar(ADAM_EPSILON);
        Self { rate: first / k, epsilon: epsilon / k }
    }
}

/// `(1 − β)/(1 − βᵗ)` of `t: float64 []`, float32 `[]`.
fn correction(t: Expr<'_>, beta: f64) -> Expr<'_> {
    let power = (t * beta.ln() as f32).exp();
    ((1.0 - beta) as f32 / (1.0 - power)).cast(DType::F32)
}
