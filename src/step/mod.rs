//! One training step as a graph of standard ONNX operators, for [`Target::Kernels`] with some of our own: forward, loss,
//! backward, update.
//!
//! Inputs: `batch.*`, `mask.*`, `lr`, `step` (1 for the first), and the state: `param.*`,
//! `stat.*` (running statistics of batch normalisation), the optimiser's, `ema.*`. Outputs: `loss`,
//! `metric.*`, and for every state input `X` the output `next.X`. The metadata key
//! [`UPDATES_KEY`] lists these pairs. Nothing random happens inside.
//!
//! A recipe with micro-batches has several graphs instead (see [`MicroGraphs`]): what each micro-batch gives, and the
//! update by their sums.

mod batch;
mod loss;
mod micro;
mod optimiser;
mod schedule;
mod state;

use crate::graph::{Channels, ConvWeightGrad, DType, Expr, GradOptions, Graph, gradients};
use crate::model::recipe::LayerFactor;
use crate::model::{Kind, Mode, ParamSpec, Part, Recipe, Role, Statistic, forward_with, param_specs, plan};
use crate::onnx::ModelProto;
use crate::{Error, Result};
use batch::Inputs;
use loss::Metric;
use optimiser::Updates;
use serde::Serialize;
use std::collections::BTreeMap;

pub use crate::model::MaskSpec;
pub use loss::head_specs;
pub use micro::{COTANGENT, EMBEDDING, MicroGraphs, PartGraph, SpanGraphs};
pub use schedule::learning_rate;
pub use state::{exported_params, initial_state};

/// Metadata key of the state's pairs: a JSON list of `[input, output]`.
pub const UPDATES_KEY: &str = "siamese.updates";
/// Metadata key of the recipe, as JSON.
pub const RECIPE_KEY: &str = "siamese.recipe";

/// The classes of the training material, as the sampler numbers them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrainingClasses {
    /// How many there are, turns and flips counted.
    pub count: usize,
    /// The group of each class, `[count]`; classes of one group are siblings: their drawings may
    /// look the same (an O and its quarter turns). Empty where there are none.
    pub groups: Vec<i64>,
}

impl TrainingClasses {
    /// Classes of which no two look the same.
    pub fn distinct(count: usize) -> Self {
        Self { count, groups: Vec::new() }
    }

    /// Classes of which these pairs may look the same.
    ///
    /// # Panics
    /// Where a pair names a class that is not there.
    pub fn with_siblings(count: usize, pairs: &[(usize, usize)]) -> Self {
        let mut groups: Vec<i64> = (0..count as i64).collect();
        for &(a, b) in pairs {
            let (keep, gone) = (groups[a].min(groups[b]), groups[a].max(groups[b]));
            if keep != gone {
                groups.iter_mut().filter(|g| **g == gone).for_each(|g| *g = keep);
            }
        }
        Self { count, groups }
    }
}

/// What the graph is lowered for; all compute the same, and differ in speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The CPU provider.
    Cpu,
    /// The CPU provider with our own kernels beside its operators ([`crate::graph::Kernel`]). The other targets' graphs
    /// are standard ONNX.
    Kernels,
    /// The CUDA provider.
    Cuda,
}

/// A training step.
#[derive(Clone, Debug)]
pub struct StepGraph {
    /// The graph, with its metadata: the whole step (`train.onnx`), or with micro-batches its end, the update by their
    /// sums (`update.onnx`).
    pub model: ModelProto,
    /// What gives the sums, where the recipe has micro-batches.
    pub micro: Option<MicroGraphs>,
    /// The inputs `batch.*`, of a micro-batch where there are any.
    pub batch: Vec<TensorSpec>,
    /// The inputs `mask.*`, likewise, in the order in which their random streams are numbered.
    pub masks: Vec<MaskSpec>,
    /// The state.
    pub state: Vec<StateSpec>,
    /// The outputs `metric.*`.
    pub metrics: Vec<String>,
    /// The parameters and statistics behind the state: the tower's, then the loss's own (`head.*`).
    pub params: Vec<ParamSpec>,
}

impl StepGraph {
    /// The graphs with the names of their files; the first is [`StepGraph::model`].
    pub fn files(&self) -> Vec<(&'static str, &ModelProto)> {
        let Some(micro) = &self.micro else { return vec![("train.onnx", &self.model)] };
        let mut files = vec![("update.onnx", &self.model), ("gradient.onnx", &micro.gradient.model)];
        if let Some(span) = &micro.span {
            files.extend([("embed.onnx", &span.embed.model), ("loss.onnx", &span.loss.model)]);
        }
        files
    }
}

/// Name, type and shape of an input.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// Its name in the graph.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// The static shape.
    pub shape: Vec<usize>,
}

/// A float32 tensor that one step hands to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSpec {
    /// `param.conv1.weight`.
    pub input: String,
    /// `next.param.conv1.weight`.
    pub output: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// Builds the training step of a recipe.
///
/// # Errors
/// A recipe whose layers do not fit, or classes that do not fit the loss.
pub fn build(recipe: &Recipe, classes: &TrainingClasses, target: Target) -> Result<StepGraph> {
    check_classes(recipe, classes)?;
    let mut params = param_specs(recipe)?;
    params.extend(head_specs(recipe, classes)?);
    let making = Making { recipe, classes, target, params: &params };
    match recipe.micro_batches() {
        None => making.whole(),
        Some(plan) => making.micro(plan),
    }
}

/// What the graphs of a step are made of.
struct Making<'a> {
    recipe: &'a Recipe,
    classes: &'a TrainingClasses,
    target: Target,
    /// The tower's, then the loss's own.
    params: &'a [ParamSpec],
}

/// What the update takes.
struct Taken<'g, 'm> {
    /// The loss, without penalties.
    loss: Expr<'g>,
    /// `metric.*`.
    metrics: Vec<(&'m str, Expr<'g>)>,
    /// The gradients of what is learned, in order.
    grads: Vec<Expr<'g>>,
    /// The statistics of the batch.
    stats: Vec<Statistic<'g>>,
}

impl Making<'_> {
    /// The whole step in one graph.
    fn whole(&self) -> Result<StepGraph> {
        let recipe = self.recipe;
        let g = &self.graph("train");
        let mut inputs = Inputs::new(g, recipe, recipe.sampling.images());
        let (images, known) = (inputs.images(), inputs.known()?);
        let updates = Updates::new(recipe, g);
        let values = parameter_inputs(g, self.params);
        let built = forward_with(recipe, images, &values, Mode::Train, channels(recipe, self.target)?)?;
        let (parts, total) = g.within("loss", || {
            let parts = loss::build(recipe, self.classes, &known, built.embedding, &values)?;
            let total = with_penalties(recipe, self.params, &values, parts.loss);
            Ok::<_, Error>((parts, total))
        })?;
        let wrt: Vec<Expr> = learned(self.params).map(|spec| values[&spec.name]).collect();
        let grads = gradients(total, &wrt, self.grad_options());
        let metrics = parts.metrics.into_iter().map(|Metric { name, value, .. }| (name, value)).collect();
        let taken = Taken { loss: total, metrics, grads, stats: built.stats };
        let ended = self.end(g, updates, &values, taken)?;
        Ok(StepGraph { batch: inputs.specs, masks: built.masks, ..ended })
    }

    /// Ends a graph with the update and the outputs; the rest of the step is left empty.
    fn end<'g>(
        &self,
        g: &'g Graph,
        mut updates: Updates<'g, '_>,
        values: &BTreeMap<String, Expr<'g>>,
        taken: Taken<'g, '_>,
    ) -> Result<StepGraph> {
        let specs: Vec<&ParamSpec> = learned(self.params).collect();
        let wrt: Vec<Expr> = specs.iter().map(|spec| values[&spec.name]).collect();
        updates.learn(&specs, &wrt, taken.grads);
        for stat in taken.stats {
            updates.push(format!("stat.{}", stat.name), stat.next(values[&stat.name]));
        }
        g.output("loss", taken.loss);
        let metrics = taken.metrics.iter().map(|(name, _)| format!("metric.{name}")).collect();
        for (name, value) in taken.metrics {
            g.output(&format!("metric.{name}"), value);
        }
        let state = updates.finish();
        let model = with_metadata(g.to_model()?, self.recipe, &state)?;
        let params = self.params.to_vec();
        Ok(StepGraph { model, micro: None, batch: Vec::new(), masks: Vec::new(), state, metrics, params })
    }

    /// An empty graph of this part of the step.
    fn graph(&self, of: &str) -> Graph {
        let name = format!("{}-{of}", self.recipe.name);
        if self.target == Target::Kernels { Graph::for_kernels(&name) } else { Graph::new(&name) }
    }

    fn grad_options(&self) -> GradOptions {
        let conv_weight = match self.target {
            Target::Cpu | Target::Kernels => ConvWeightGrad::Cpu,
            Target::Cuda => ConvWeightGrad::Swapped,
        };
        GradOptions { conv_weight }
    }
}

/// The parameters that are learned.
fn learned(params: &[ParamSpec]) -> impl Iterator<Item = &ParamSpec> {
    params.iter().filter(|spec| !spec.role.is_statistic())
}

fn check_classes(recipe: &Recipe, classes: &TrainingClasses) -> Result<()> {
    if recipe.loss.on_labels().is_none() {
        return Ok(());
    }
    let at = format!("recipe {}, training classes", recipe.name);
    if classes.count < 2 {
        return Err(Error::invalid(at, format!("{} is too few to tell apart: 2 are needed", classes.count)));
    }
    if !classes.groups.is_empty() && classes.groups.len() != classes.count {
        let why = format!("{} classes, but {} groups of siblings", classes.count, classes.groups.len());
        return Err(Error::invalid(at, why));
    }
    Ok(())
}

/// Largest side of a kernel whose columns are kept in memory.
const LARGEST_KERNEL: usize = 5;

/// Where the graph keeps its channels. The CPU provider multiplies matrices about twice as fast as it
/// convolves on small maps; a max-pool is faster with the channels first, and the columns of a large
/// kernel would not fit into memory; columns of groups are not gathered. Our kernels want the channels last, and pool
/// there. CUDA has its own convolutions.
fn channels(recipe: &Recipe, target: Target) -> Result<Channels> {
    if recipe.tower.onnx().is_some() {
        return Ok(if target == Target::Cuda { Channels::First } else { Channels::Last });
    }
    let plan = plan(recipe)?;
    let mut convolutions = plan.iter().filter_map(Part::product).filter(|product| product.conv.is_some());
    let own = target == Target::Kernels;
    let last = target != Target::Cuda
        && convolutions.clone().next().is_some()
        && convolutions.all(|product| {
            (own || product.weight[2] <= LARGEST_KERNEL) && product.conv.is_none_or(|conv| conv.groups == 1)
        })
        && (own || !plan.iter().any(|part| matches!(part.kind, Kind::MaxPool(_))));
    Ok(if last { Channels::Last } else { Channels::First })
}

/// Name of the state tensor that holds a parameter.
fn state_name(spec: &ParamSpec) -> String {
    let prefix = if spec.role.is_statistic() { "stat" } else { "param" };
    format!("{prefix}.{}", spec.name)
}

fn parameter_inputs<'g, 'p>(
    g: &'g Graph,
    params: impl IntoIterator<Item = &'p ParamSpec>,
) -> BTreeMap<String, Expr<'g>> {
    params.into_iter().map(|s| (s.name.clone(), g.input(&state_name(s), DType::F32, &s.shape))).collect()
}

/// Adds `λ · Σ w²` for the weights of the recipe's chosen layers.
fn with_penalties<'g>(
    recipe: &Recipe,
    params: &[ParamSpec],
    values: &BTreeMap<String, Expr<'g>>,
    loss: Expr<'g>,
) -> Expr<'g> {
    let chosen = params.iter().filter_map(|s| Some((values[&s.name], penalty(recipe, s)?)));
    chosen.fold(loss, |total, (w, lambda)| total + w.squared().total() * lambda)
}

/// λ of a parameter, if it is penalised.
fn penalty(recipe: &Recipe, spec: &ParamSpec) -> Option<f32> {
    layer_factor(&recipe.l2, spec).filter(|_| spec.role == Role::Weight)
}

/// The value for a parameter's layer; of several prefixes that fit, the longest counts.
fn layer_factor(factors: &[LayerFactor], spec: &ParamSpec) -> Option<f32> {
    factors
        .iter()
        .filter(|f| spec.layer().starts_with(&f.layers))
        .max_by_key(|f| f.layers.len())
        .map(|f| f.value)
}

fn with_metadata(model: ModelProto, recipe: &Recipe, state: &[StateSpec]) -> Result<ModelProto> {
    let pairs: Vec<[&str; 2]> = state.iter().map(|s| [s.input.as_str(), s.output.as_str()]).collect();
    with_json(with_json(model, UPDATES_KEY, &pairs)?, RECIPE_KEY, recipe)
}

fn with_json(mut model: ModelProto, key: &str, value: &impl Serialize) -> Result<ModelProto> {
    let json = serde_json::to_string(value);
    model.set_metadata(key, json.map_err(|e| Error::invalid_because(key, "cannot be written as JSON", e))?);
    Ok(model)
}

#[cfg(test)]
mod tests;
