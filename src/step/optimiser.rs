//! The update: clipping, the optimisers, the moving average; all as graph operations.

use super::{StateSpec, layer_factor};
use crate::Result;
use crate::graph::{DType, Graph, Value};
use crate::model::recipe::Optimiser;
use crate::model::{ParamSpec, Recipe, Role};

/// Decay of Adam's first moment (Kingma, Ba 2015).
const BETA1: f64 = 0.9;
/// Decay of Adam's second moment.
const BETA2: f64 = 0.999;
/// Adam's ε, added to the root of the second moment.
const ADAM_EPSILON: f32 = 1e-8;
/// Added to the gradient's norm, as PyTorch's `clip_grad_norm_` does.
const NORM_EPSILON: f32 = 1e-6;

/// The state's new values, gathered while the graph grows.
pub(super) struct Updates {
    lr: Value,
    step: Value,
    next: Vec<(StateSpec, Value)>,
}

impl Updates {
    pub(super) fn new(lr: Value, step: Value) -> Self {
        Self { lr, step, next: Vec::new() }
    }

    /// Declares an optimiser's state input.
    fn input(g: &mut Graph, prefix: &str, spec: &ParamSpec) -> Value {
        g.input(&format!("{prefix}.{}", spec.name), DType::F32, &spec.shape)
    }

    /// Records the next value of a state input.
    pub(super) fn push(&mut self, g: &Graph, input: String, next: Value) {
        let (output, shape) = (format!("next.{input}"), g.shape(next).to_vec());
        self.next.push((StateSpec { input, output, shape }, next));
    }

    /// Declares the outputs.
    pub(super) fn finish(self, g: &mut Graph) -> Vec<StateSpec> {
        for (spec, value) in &self.next {
            g.output(&spec.output, *value);
        }
        self.next.into_iter().map(|(spec, _)| spec).collect()
    }
}

/// Builds the update of every learned parameter.
pub(super) fn update(
    g: &mut Graph,
    recipe: &Recipe,
    specs: &[&ParamSpec],
    params: &[Value],
    grads: Vec<Value>,
    updates: &mut Updates,
) -> Result<()> {
    let outer = g.scope("update");
    let grads = match recipe.clip_norm {
        Some(norm) => clip(g, grads, norm)?,
        None => grads,
    };
    let rule = Rule::new(g, recipe, updates)?;
    let average = recipe.ema.map(|decay| average_share(g, updates.step, decay)).transpose()?;
    for ((spec, param), grad) in specs.iter().zip(params).zip(grads) {
        let within = g.scope(&spec.name);
        let next = rule.apply(g, recipe, spec, *param, grad, updates)?;
        updates.push(g, format!("param.{}", spec.name), next);
        if let Some(share) = average {
            let old = Updates::input(g, "ema", spec);
            let new = towards(g, old, next, share)?;
            updates.push(g, format!("ema.{}", spec.name), new);
        }
        g.set_scope(within);
    }
    g.set_scope(outer);
    Ok(())
}

/// Scales all gradients so that their common norm is at most `norm`.
fn clip(g: &mut Graph, grads: Vec<Value>, norm: f32) -> Result<Vec<Value>> {
    let mut total = None;
    for grad in &grads {
        let square = g.mul(*grad, *grad)?;
        let axes: Vec<i64> = (0..g.shape(*grad).len() as i64).collect();
        let sum = g.reduce_sum(square, &axes, false)?;
        total = Some(match total {
            None => sum,
            Some(before) => g.add(before, sum)?,
        });
    }
    let Some(total) = total else { return Ok(grads) };
    let length = g.sqrt(total)?;
    let epsilon = g.scalar(NORM_EPSILON);
    let length = g.add(length, epsilon)?;
    let norm = g.scalar(norm);
    let factor = g.div(norm, length)?;
    let one = g.scalar(1.0);
    let factor = g.min(factor, one)?;
    grads.into_iter().map(|grad| g.mul(grad, factor)).collect()
}

/// Share of the new weights in the moving average: `1 − min(decay, (1 + t) / (10 + t))`, so that
/// the first steps do not leave the start's random weights in the average for long.
fn average_share(g: &mut Graph, step: Value, decay: f32) -> Result<Value> {
    let (one, ten, decay) = (g.scalar(1.0), g.scalar(10.0), g.scalar(decay));
    let above = g.add(step, one)?;
    let below = g.add(step, ten)?;
    let ramp = g.div(above, below)?;
    let decay = g.min(ramp, decay)?;
    g.sub(one, decay)
}

/// `old + share·(new − old)`.
fn towards(g: &mut Graph, old: Value, new: Value, share: Value) -> Result<Value> {
    let change = g.sub(new, old)?;
    let part = g.mul(change, share)?;
    g.add(old, part)
}

/// An optimiser with the scalars that all parameters share.
enum Rule {
    Sgd { lr: Value, momentum: f32, nesterov: bool },
    Adam { lr: Value, scales: Scales, weight_decay: f32 },
}

impl Rule {
    fn new(g: &mut Graph, recipe: &Recipe, updates: &Updates) -> Result<Self> {
        let lr = updates.lr;
        Ok(match recipe.optimiser {
            Optimiser::Sgd { momentum, nesterov, .. } => Self::Sgd { lr, momentum, nesterov },
            Optimiser::Adam { .. } => {
                Self::Adam { lr, scales: Scales::new(g, updates.step)?, weight_decay: 0.0 }
            }
            Optimiser::AdamW { weight_decay, .. } => {
                Self::Adam { lr, scales: Scales::new(g, updates.step)?, weight_decay }
            }
        })
    }

    /// The parameter's next value; the optimiser's own state goes to `updates`.
    fn apply(
        &self,
        g: &mut Graph,
        recipe: &Recipe,
        spec: &ParamSpec,
        param: Value,
        grad: Value,
        updates: &mut Updates,
    ) -> Result<Value> {
        match *self {
            Self::Sgd { lr, momentum, nesterov } => {
                let lr = own_rate(g, recipe, spec, lr)?;
                let direction = sgd_direction(g, spec, grad, momentum, nesterov, updates)?;
                let step = g.mul(direction, lr)?;
                g.sub(param, step)
            }
            Self::Adam { lr, scales, weight_decay } => {
                let lr = own_rate(g, recipe, spec, lr)?;
                let step = adam_step(g, spec, grad, lr, scales, updates)?;
                let kept = decayed(g, spec, param, lr, weight_decay)?;
                g.sub(kept, step)
            }
        }
    }
}

/// The learning rate of one parameter: that of the step times its layer's factor.
fn own_rate(g: &mut Graph, recipe: &Recipe, spec: &ParamSpec, lr: Value) -> Result<Value> {
    match layer_factor(&recipe.lr_factors, spec) {
        None => Ok(lr),
        Some(factor) => {
            let factor = g.scalar(factor);
            g.mul(lr, factor)
        }
    }
}

/// `b ← μ·b + g`; the direction is `b`, or `g + μ·b` in Nesterov's form.
fn sgd_direction(
    g: &mut Graph,
    spec: &ParamSpec,
    grad: Value,
    momentum: f32,
    nesterov: bool,
    updates: &mut Updates,
) -> Result<Value> {
    if momentum == 0.0 {
        return Ok(grad);
    }
    let next = decayed_sum(g, "momentum", spec, grad, f64::from(momentum), updates)?;
    if !nesterov {
        return Ok(next);
    }
    let momentum = g.scalar(momentum);
    let ahead = g.mul(next, momentum)?;
    g.add(grad, ahead)
}

/// What turns Adam's sums into its step; scalars, the same for all parameters.
///
/// The state holds `M = m/(1 − β₁)` and `V = v/(1 − β₂)`, so that each decay is one product and one
/// sum over the parameter (`M ← β₁·M + g`): passes over large tensors are what an update costs. With
/// `k = √((1 − β₂)/(1 − β₂ᵗ))` the step `lr·m̂/(√v̂ + ε)` is `lr·rate·M/(√V + epsilon)`.
#[derive(Clone, Copy)]
struct Scales {
    /// `(1 − β₁)/(1 − β₁ᵗ)/k`.
    rate: Value,
    /// `ε/k`.
    epsilon: Value,
}

impl Scales {
    /// In float64: in float32 the difference `1 − βᵗ` loses five digits at the first steps.
    fn new(g: &mut Graph, step: Value) -> Result<Self> {
        let step = g.cast(step, DType::F64)?;
        let first = correction(g, step, BETA1)?;
        let second = correction(g, step, BETA2)?;
        let k = g.sqrt(second)?;
        let epsilon = g.scalar(ADAM_EPSILON);
        Ok(Self { rate: g.div(first, k)?, epsilon: g.div(epsilon, k)? })
    }
}

/// `(1 − β)/(1 − βᵗ)`, float32 `[]`.
fn correction(g: &mut Graph, step: Value, beta: f64) -> Result<Value> {
    let wide = |g: &mut Graph, x: f64| {
        let x = g.scalar(x as f32);
        g.cast(x, DType::F64)
    };
    let log = wide(g, beta.ln())?;
    let exponent = g.mul(step, log)?;
    let power = g.exp(exponent)?;
    let one = wide(g, 1.0)?;
    let rest = g.sub(one, power)?;
    let share = wide(g, 1.0 - beta)?;
    let ratio = g.div(share, rest)?;
    g.cast(ratio, DType::F32)
}

/// The step of one parameter; see [`Scales`].
fn adam_step(
    g: &mut Graph,
    spec: &ParamSpec,
    grad: Value,
    lr: Value,
    scales: Scales,
    updates: &mut Updates,
) -> Result<Value> {
    let m = decayed_sum(g, "adam_m", spec, grad, BETA1, updates)?;
    let square = g.mul(grad, grad)?;
    let v = decayed_sum(g, "adam_v", spec, square, BETA2, updates)?;
    let root = g.sqrt(v)?;
    let root = g.add(root, scales.epsilon)?;
    let direction = g.div(m, root)?;
    let rate = g.mul(lr, scales.rate)?;
    g.mul(direction, rate)
}

/// `S ← β·S + x`, kept as the state `prefix`.
fn decayed_sum(
    g: &mut Graph,
    prefix: &str,
    spec: &ParamSpec,
    x: Value,
    beta: f64,
    updates: &mut Updates,
) -> Result<Value> {
    let beta = g.scalar(beta as f32);
    let old = Updates::input(g, prefix, spec);
    let kept = g.mul(old, beta)?;
    let next = g.add(kept, x)?;
    updates.push(g, format!("{prefix}.{}", spec.name), next);
    Ok(next)
}

/// `param·(1 − lr·λ)` for weights; biases and normalisations are not decayed.
fn decayed(g: &mut Graph, spec: &ParamSpec, param: Value, lr: Value, weight_decay: f32) -> Result<Value> {
    if weight_decay == 0.0 || spec.role != Role::Weight {
        return Ok(param);
    }
    let decay = g.scalar(weight_decay);
    let lost = g.mul(lr, decay)?;
    let one = g.scalar(1.0);
    let kept = g.sub(one, lost)?;
    g.mul(param, kept)
}
