//! The graphs of a step by micro-batches: what each of them gives, and the update by their sums.

use super::batch::Inputs;
use super::loss::{self, Metric};
use super::{Making, StepGraph, Taken, TensorSpec, Updates, with_json};
use super::{RECIPE_KEY, channels, learned, parameter_inputs, penalty, state_name, with_penalties};
use crate::Result;
use crate::graph::{DType, Expr, Graph, gradients};
use crate::model::{MaskSpec, MicroBatches, Mode, ParamSpec, Statistic, forward_with};
use crate::onnx::ModelProto;
use std::collections::BTreeMap;

/// What gives the sums that the update takes: its input `sum.X` is the sum of the outputs `X` of `gradient` over the
/// micro-batches, or the output `X` of the loss over the whole batch.
///
/// Outputs are `grad.*`, `batch_stat.*` (statistics of batch normalisation), `loss`, `metric.*`, and `terms.*` (how many
/// terms a metric is the mean of, where that differs). Each has its share in the whole batch: a plain sum is all that
/// is left to do.
#[derive(Clone, Debug)]
pub struct MicroGraphs {
    /// How the batch is cut.
    pub plan: MicroBatches,
    /// A micro-batch's images, with the parameters → its part of the sums. Where the loss spans the batch it takes
    /// `cotangent` `[b, D]`, the loss's gradient with respect to the embeddings, in place of targets.
    pub gradient: PartGraph,
    /// What comes before, where the loss spans the batch.
    pub span: Option<SpanGraphs>,
}

/// The graphs of a loss that compares images of different micro-batches.
#[derive(Clone, Debug)]
pub struct SpanGraphs {
    /// A micro-batch's images → `embedding` `[b, D]`.
    pub embed: PartGraph,
    /// `embedding` `[B, D]` of the whole batch, with its `batch.*` → `cotangent` `[B, D]`, and its part of the sums.
    pub loss: PartGraph,
    /// The inputs `batch.*` of that.
    pub batch: Vec<TensorSpec>,
}

/// A graph of parameters and inputs of its own.
#[derive(Clone, Debug)]
pub struct PartGraph {
    /// The graph.
    pub model: ModelProto,
    /// The inputs that are state: `param.*` and `stat.*`.
    pub state: Vec<String>,
    /// The outputs, float32, in order.
    pub outputs: Vec<TensorSpec>,
}

impl MicroGraphs {
    /// What the update takes the sums of: names without `sum.`, and shapes.
    pub fn sums(&self) -> impl Iterator<Item = &TensorSpec> {
        let whole = self.span.iter().flat_map(|span| &span.loss.outputs);
        self.gradient.outputs.iter().chain(whole.filter(|spec| spec.name != COTANGENT))
    }
}

/// The loss's gradient with respect to the embeddings.
pub const COTANGENT: &str = "cotangent";
/// The embeddings.
pub const EMBEDDING: &str = "embedding";

/// A graph in the making, whose outputs are described.
struct Part<'g, 'p> {
    g: &'g Graph,
    values: BTreeMap<String, Expr<'g>>,
    params: Vec<&'p ParamSpec>,
    outputs: Vec<TensorSpec>,
}

impl<'g, 'p> Part<'g, 'p> {
    /// With the parameters as inputs.
    fn new(g: &'g Graph, params: impl IntoIterator<Item = &'p ParamSpec>) -> Self {
        let params: Vec<&ParamSpec> = params.into_iter().collect();
        Self { g, values: parameter_inputs(g, params.iter().copied()), params, outputs: Vec::new() }
    }

    fn learned(&self) -> impl Iterator<Item = &'p ParamSpec> {
        self.params.iter().copied().filter(|spec| !spec.role.is_statistic())
    }

    /// Its learned parameters, in order.
    fn wrt(&self) -> Vec<Expr<'g>> {
        self.learned().map(|spec| self.values[&spec.name]).collect()
    }

    fn output(&mut self, name: String, value: Expr<'g>) {
        self.g.output(&name, value);
        self.outputs.push(TensorSpec { name, dtype: DType::F32, shape: value.shape() });
    }

    fn gradients(&mut self, grads: impl IntoIterator<Item = Expr<'g>>) {
        let names: Vec<String> = self.learned().map(|spec| format!("grad.{}", spec.name)).collect();
        names.into_iter().zip(grads).for_each(|(name, grad)| self.output(name, grad));
    }

    /// The loss and the metrics of a part that is `share` of the batch.
    fn measured(&mut self, parts: loss::Parts<'g>, share: f32) {
        self.output("loss".into(), parts.loss * share);
        for Metric { name, value, terms } in parts.metrics {
            match terms {
                None => self.output(format!("metric.{name}"), value * share),
                Some(terms) => {
                    self.output(format!("metric.{name}"), value * terms);
                    self.output(format!("terms.{name}"), terms);
                }
            }
        }
    }

    fn finish(self, making: &Making) -> Result<PartGraph> {
        let model = with_json(self.g.to_model()?, RECIPE_KEY, making.recipe)?;
        let state = self.params.iter().map(|spec| state_name(spec)).collect();
        Ok(PartGraph { model, state, outputs: self.outputs })
    }
}

/// What the update needs to know of the graph of gradients, besides its outputs.
struct Told {
    batch: Vec<TensorSpec>,
    masks: Vec<MaskSpec>,
    /// Names and shares of [`Statistic`].
    stats: Vec<(String, f32)>,
}

impl Making<'_> {
    /// The step by micro-batches.
    pub(super) fn micro(&self, plan: MicroBatches) -> Result<StepGraph> {
        let spans = self.recipe.loss_spans_batch();
        let (gradient, told) = self.gradient(plan, spans)?;
        let span = spans.then(|| self.span(plan)).transpose()?;
        let micro = MicroGraphs { plan, gradient, span };
        let step = self.update(&micro, &told.stats)?;
        Ok(StepGraph { micro: Some(micro), batch: told.batch, masks: told.masks, ..step })
    }

    /// The tower's parameters, or all.
    fn params(&self, of_tower: bool) -> impl Iterator<Item = &ParamSpec> {
        self.params.iter().filter(move |spec| !(of_tower && is_of_loss(spec)))
    }

    fn gradient(&self, plan: MicroBatches, spans: bool) -> Result<(PartGraph, Told)> {
        let g = &self.graph("gradient");
        let share = 1.0 / plan.count as f32;
        let mut inputs = Inputs::new(g, self.recipe, plan.size);
        let images = inputs.images();
        let known = (!spans).then(|| inputs.known()).transpose()?;
        let mut part = Part::new(g, self.params(spans));
        let channels = channels(self.recipe, self.target)?;
        let built = forward_with(self.recipe, images, &part.values, Mode::Train, channels)?;
        let objective = g.within("loss", || match known {
            Some(known) => {
                let parts = loss::build(self.recipe, self.classes, &known, built.embedding, &part.values)?;
                let objective = parts.loss * share;
                part.measured(parts, share);
                Ok::<_, crate::Error>(objective)
            }
            // The chain rule: its gradient is that of the whole loss.
            None => {
                let cotangent = g.input(COTANGENT, DType::F32, &built.embedding.shape());
                Ok((built.embedding * cotangent).total())
            }
        })?;
        let grads = gradients(objective, &part.wrt(), self.grad_options());
        part.gradients(grads);
        let mut stats = Vec::new();
        for Statistic { name, batch, share: of_way } in built.stats {
            part.output(format!("batch_stat.{name}"), batch * share);
            stats.push((name, of_way));
        }
        let told = Told { batch: inputs.specs, masks: built.masks, stats };
        Ok((part.finish(self)?, told))
    }

    fn span(&self, plan: MicroBatches) -> Result<SpanGraphs> {
        let g = &self.graph("embed");
        let images = Inputs::new(g, self.recipe, plan.size).images();
        let mut part = Part::new(g, self.params(true));
        let channels = channels(self.recipe, self.target)?;
        let embedding = forward_with(self.recipe, images, &part.values, Mode::Train, channels)?.embedding;
        part.output(EMBEDDING.into(), embedding);
        let embed = part.finish(self)?;

        let g = &self.graph("loss");
        let images = plan.size * plan.count;
        let mut inputs = Inputs::new(g, self.recipe, images);
        let known = inputs.known()?;
        let embedding = g.input(EMBEDDING, DType::F32, &[images, embedding.dim(1)]);
        let mut part = Part::new(g, self.params.iter().filter(|spec| is_of_loss(spec)));
        let parts =
            g.within("loss", || loss::build(self.recipe, self.classes, &known, embedding, &part.values))?;
        let wrt = [vec![embedding], part.wrt()].concat();
        let mut grads = gradients(parts.loss, &wrt, self.grad_options()).into_iter();
        if let Some(cotangent) = grads.next() {
            part.output(COTANGENT.into(), cotangent);
        }
        part.measured(parts, 1.0);
        part.gradients(grads);
        Ok(SpanGraphs { embed, loss: part.finish(self)?, batch: inputs.specs })
    }

    /// The end of a step: penalties, the optimiser, running statistics.
    fn update(&self, micro: &MicroGraphs, stats: &[(String, f32)]) -> Result<StepGraph> {
        let g = &self.graph("update");
        let updates = Updates::new(self.recipe, g);
        let values = parameter_inputs(g, self.params);
        let sums: BTreeMap<&str, Expr> = micro
            .sums()
            .map(|spec| (spec.name.as_str(), g.input(&format!("sum.{}", spec.name), DType::F32, &spec.shape)))
            .collect();
        let loss = with_penalties(self.recipe, self.params, &values, sums["loss"]);
        let grads = self.penalised(loss, &values, &sums);
        let metrics = micro.sums().filter_map(|spec| {
            let name = spec.name.strip_prefix("metric.")?;
            let sum = sums[spec.name.as_str()];
            let terms = sums.get(format!("terms.{name}").as_str());
            Some((name, terms.map_or(sum, |terms| sum / terms.max(1.0))))
        });
        let stats = stats.iter().map(|(name, share)| {
            let batch = sums[format!("batch_stat.{name}").as_str()];
            Statistic { name: name.clone(), batch, share: *share }
        });
        let taken = Taken { loss, metrics: metrics.collect(), grads, stats: stats.collect() };
        self.end(g, updates, &values, taken)
    }

    /// The summed gradients, with those of the penalties.
    fn penalised<'g>(
        &self,
        loss: Expr<'g>,
        values: &BTreeMap<String, Expr<'g>>,
        sums: &BTreeMap<&str, Expr<'g>>,
    ) -> Vec<Expr<'g>> {
        let chosen = || learned(self.params).filter(|spec| penalty(self.recipe, spec).is_some());
        let wrt: Vec<Expr> = chosen().map(|spec| values[&spec.name]).collect();
        let mut penalties: BTreeMap<&str, Expr> = BTreeMap::new();
        if !wrt.is_empty() {
            let grads = gradients(loss, &wrt, self.grad_options());
            penalties.extend(chosen().map(|spec| spec.name.as_str()).zip(grads));
        }
        let grad = |spec: &ParamSpec| {
            let sum = sums[format!("grad.{}", spec.name).as_str()];
            penalties.get(spec.name.as_str()).map_or(sum, |penalty| sum + *penalty)
        };
        learned(self.params).map(grad).collect()
    }
}

/// Whether a parameter is the loss's own; the names of a model's weights never begin so.
fn is_of_loss(spec: &ParamSpec) -> bool {
    spec.layer() == "head"
}
