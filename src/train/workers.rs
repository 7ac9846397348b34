//! The workers of a process: threads, each with sessions of its own, that share the micro-batches of a step.

use super::feed::{Known, Named, StepInputs};
use super::ranks::{Team, gather};
use super::tensors::{failed, output, session, tensor, to_host};
use super::tree::{Join, Tree};
use crate::runtime::ort::SessionOptions;
use crate::runtime::{Device, Lookup};
use crate::step::{COTANGENT, EMBEDDING, MaskSpec, MicroGraphs, PartGraph, StateSpec, StepGraph, TensorSpec};
use crate::{Error, Result};
use ort::session::{Session, SessionInputValue};
use ort::value::DynValue;
use prost::Message;
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// State tensors by the names of their inputs.
pub(super) type State<'a> = HashMap<&'a str, &'a DynValue>;

/// What computes the sums of a step.
pub(super) struct Workers {
    team: Team,
    graphs: MicroGraphs,
    batch: Vec<TensorSpec>,
    masks: Vec<MaskSpec>,
    /// The parameters and statistics, which every process has.
    shared: Vec<StateSpec>,
    device: Device,
    gradient: Pool,
    span: Option<Span>,
}

/// What rank 0 says before each step, or after the last one.
pub(super) enum Heard {
    /// The parameters of the next step.
    Step(Named),
    /// There is no further step.
    End {
        /// Whether the run came to its end.
        finished: bool,
    },
}

/// The first number of such a message; the parameters follow.
const GO_ON: f32 = 1.0;
const FINISHED: f32 = 0.0;
const STOP: f32 = -1.0;

/// What a loss over the whole batch needs.
struct Span {
    embed: Pool,
    /// At rank 0.
    loss: Option<Pool>,
    batch: Vec<TensorSpec>,
}

impl Workers {
    /// Of a step with micro-batches; of others there are none.
    pub fn of(
        graph: &StepGraph,
        team: &Team,
        library: &Lookup,
        options: &SessionOptions,
    ) -> Result<Option<Self>> {
        let Some(graphs) = graph.micro.clone() else { return Ok(None) };
        let pool = |graph: &PartGraph, workers| Pool::new(graph, workers, library, options);
        let span = graphs.span.as_ref().map(|span| {
            Ok::<_, Error>(Span {
                embed: pool(&span.embed, team.workers)?,
                loss: team.leads().then(|| pool(&span.loss, 1)).transpose()?,
                batch: span.batch.clone(),
            })
        });
        let shared = |spec: &&StateSpec| spec.input.starts_with("param.") || spec.input.starts_with("stat.");
        Ok(Some(Self {
            team: team.clone(),
            batch: graph.batch.clone(),
            masks: graph.masks.clone(),
            shared: graph.state.iter().filter(shared).cloned().collect(),
            device: options.device,
            gradient: pool(&graphs.gradient, team.workers)?,
            span: span.transpose()?,
            graphs,
        }))
    }

    /// The sums `sum.*` of a step; at other ranks than 0 none.
    pub fn sums(&mut self, inputs: StepInputs, state: &State<'_>) -> Result<Named> {
        let named = inputs.parts.into_iter().map(|part| part.named(&self.batch, &self.masks));
        let mut parts: Vec<Named> = named.collect::<Result<_>>()?;
        let mut sums = Named::new();
        if self.span.is_some() {
            let whole = inputs.whole.ok_or_else(|| Error::invalid("a step", "lacks the batch's targets"))?;
            let cotangent = self.spanned(&parts, whole, state, &mut sums)?;
            self.hand_out(&cotangent, &mut parts)?;
        }
        let plan = self.graphs.plan;
        let joined = self.gradient.joined(&self.team, plan.count, Join::Sum, &parts, state)?;
        if let Some(values) = joined {
            for (spec, values) in slices(&self.graphs.gradient.outputs, &values) {
                sums.push(summed(spec, values)?);
            }
        }
        Ok(sums)
    }

    /// The loss over all embeddings: its part of the sums, and its gradient with respect to the embeddings, `[B, D]`;
    /// zeros at other ranks than 0.
    fn spanned(
        &mut self,
        parts: &[Named],
        whole: Known,
        state: &State<'_>,
        sums: &mut Named,
    ) -> Result<Vec<f32>> {
        let plan = self.graphs.plan;
        let dim = self.dim();
        let Some(span) = &mut self.span else { return Ok(Vec::new()) };
        let joined = span.embed.joined(&self.team, plan.count, Join::Append, parts, state)?;
        let mut cotangent = vec![0.0; plan.count * plan.size * dim];
        let (Some(joined), Some(loss)) = (joined, &mut span.loss) else { return Ok(cotangent) };
        let mut rows = cotangent.clone();
        let places = (0..plan.count).flat_map(|number| plan.rows(number));
        for (row, place) in joined.chunks_exact(dim).zip(places) {
            rows[place * dim..(place + 1) * dim].copy_from_slice(row);
        }
        let mut inputs = whole.named(&span.batch)?;
        inputs.push((EMBEDDING.into(), tensor(vec![plan.count * plan.size, dim], rows)?));
        let values = run(&mut loss.sessions[0], &loss.graph, &inputs, state)?;
        for (spec, values) in slices(&loss.graph.outputs, &values) {
            match spec.name.as_str() {
                COTANGENT => cotangent.copy_from_slice(values),
                _ => sums.push(summed(spec, values)?),
            }
        }
        Ok(cotangent)
    }

    /// Gives each micro-batch its part of rank 0's cotangent.
    fn hand_out(&self, cotangent: &[f32], parts: &mut [Named]) -> Result<()> {
        let mut cotangent = cotangent.to_vec();
        self.team.ranks.broadcast(&mut cotangent)?;
        let (plan, dim) = (self.graphs.plan, self.dim());
        for (number, part) in self.team.own(plan.count).zip(parts) {
            let rows = plan.rows(number).into_iter();
            let own = rows.flat_map(|row| cotangent[row * dim..(row + 1) * dim].iter().copied()).collect();
            part.push((COTANGENT.into(), tensor(vec![plan.size, dim], own)?));
        }
        Ok(())
    }

    /// D of a loss over the whole batch.
    fn dim(&self) -> usize {
        let embedding = self.graphs.span.as_ref().and_then(|span| span.embed.outputs.first());
        embedding.and_then(|spec| spec.shape.last().copied()).unwrap_or_default()
    }

    /// At rank 0: gives the others the parameters of the next step.
    pub fn tell(&self, state: &State<'_>) -> Result<()> {
        if self.team.ranks.count() == 1 {
            return Ok(());
        }
        let mut words = vec![GO_ON];
        for name in self.shared.iter().map(|spec| spec.input.as_str()) {
            let value = state.get(name).ok_or_else(|| Error::invalid(name, "is missing in the state"))?;
            words.extend(to_host(value, self.device)?);
        }
        self.team.ranks.broadcast(&mut words)
    }

    /// At rank 0: ends the others' work, because the run is finished or the user wants to stop.
    pub fn end(&self, finished: bool) -> Result<()> {
        let mut words = vec![0.0; self.words()];
        words[0] = if finished { FINISHED } else { STOP };
        self.team.ranks.broadcast(&mut words)
    }

    /// Numbers of a message from rank 0.
    fn words(&self) -> usize {
        1 + self.shared.iter().map(|spec| count(&spec.shape)).sum::<usize>()
    }

    /// At other ranks: what rank 0 says next.
    pub fn hear(&self) -> Result<Heard> {
        let mut words = vec![0.0; self.words()];
        self.team.ranks.broadcast(&mut words)?;
        if words[0] != GO_ON {
            return Ok(Heard::End { finished: words[0] == FINISHED });
        }
        let mut rest = &words[1..];
        let named = self.shared.iter().map(|spec| {
            let values = rest.split_off(..count(&spec.shape)).unwrap_or_default();
            Ok((spec.input.clone(), tensor(spec.shape.clone(), values.to_vec())?))
        });
        named.collect::<Result<_>>().map(Heard::Step)
    }
}

/// Sessions of one graph, one a worker.
struct Pool {
    sessions: Vec<Session>,
    graph: PartGraph,
}

impl Pool {
    fn new(graph: &PartGraph, workers: usize, library: &Lookup, options: &SessionOptions) -> Result<Self> {
        let model = graph.model.encode_to_vec();
        let sessions = (0..workers.max(1)).map(|_| session(&model, library, options));
        Ok(Self { sessions: sessions.collect::<Result<_>>()?, graph: graph.clone() })
    }

    /// Runs the graph for each of this process's micro-batches, and joins what all of the team have; none at other
    /// ranks than 0.
    fn joined(
        &mut self,
        team: &Team,
        micro_batches: usize,
        join: Join,
        parts: &[Named],
        state: &State<'_>,
    ) -> Result<Option<Vec<f32>>> {
        let length = self.graph.outputs.iter().map(|spec| count(&spec.shape)).sum();
        let tree = Tree::new(micro_batches, length, join);
        let graph = &self.graph;
        each(&mut self.sessions, team.own(micro_batches), |session, number, place| {
            tree.add(number, run(session, graph, &parts[place], state)?);
            Ok(())
        })?;
        gather(team.ranks.as_ref(), &tree, micro_batches)?;
        Ok(tree.take(tree.root()))
    }
}

/// Does the work of each number of a range, on as many threads as there are sessions; the first is this one. The first
/// failure ends the work of all.
fn each(
    sessions: &mut [Session],
    range: Range<usize>,
    work: impl Fn(&mut Session, usize, usize) -> Result<()> + Sync,
) -> Result<()> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let worker = |session: &mut Session| {
        while !failed.load(Ordering::Relaxed) {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= range.len() {
                break;
            }
            work(session, range.start + place, place)
                .inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    };
    let Some((first, others)) = sessions.split_first_mut() else { return Ok(()) };
    std::thread::scope(|scope| {
        let threads: Vec<_> = others.iter_mut().map(|session| scope.spawn(|| worker(session))).collect();
        let own = worker(first);
        let panicked = |_| Err(Error::invalid("a worker", "stopped in the middle of its work"));
        let ends = threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked));
        ends.fold(own, Result::and)
    })
}

/// The outputs of a graph, one behind the other.
fn run(session: &mut Session, graph: &PartGraph, inputs: &Named, state: &State<'_>) -> Result<Vec<f32>> {
    let mut feed: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = Vec::new();
    for (name, value) in inputs {
        feed.push((Cow::Borrowed(name), SessionInputValue::from(value)));
    }
    for name in &graph.state {
        let value =
            state.get(name.as_str()).ok_or_else(|| Error::invalid(name, "is missing in the state"))?;
        feed.push((Cow::Borrowed(name), SessionInputValue::from(*value)));
    }
    let outputs = session.run(feed).map_err(|e| failed("compute a micro-batch", e))?;
    let mut values = Vec::with_capacity(graph.outputs.iter().map(|spec| count(&spec.shape)).sum());
    for spec in &graph.outputs {
        values.extend_from_slice(output(&outputs, &spec.name)?);
    }
    Ok(values)
}

/// Values one behind the other, each with its description.
fn slices<'a>(
    specs: &'a [TensorSpec],
    mut values: &'a [f32],
) -> impl Iterator<Item = (&'a TensorSpec, &'a [f32])> {
    specs.iter().map(move |spec| (spec, values.split_off(..count(&spec.shape)).unwrap_or_default()))
}

/// A sum as an input of the update.
fn summed(spec: &TensorSpec, values: &[f32]) -> Result<(String, DynValue)> {
    Ok((format!("sum.{}", spec.name), tensor(spec.shape.clone(), values.to_vec())?))
}

fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}
