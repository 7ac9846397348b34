//! One training step after another on a session, the state handed from each to the next.

use super::feed::{Named, StepInputs};
use super::ranks::Team;
use super::tensors::{failed, flat, output, session, tensor, to_host};
use super::workers::{State, Workers};
use crate::model::Params;
use crate::runtime::ort::SessionOptions;
use crate::runtime::{Device, Lookup};
use crate::step::StepGraph;
use crate::{Error, Result};
use ndarray::{ArrayD, IxDyn};
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{Session, SessionInputValue, SessionOutputs};
use ort::value::DynValue;
use prost::Message;
use std::borrow::Cow;

/// What a step measured on its batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The loss before the update.
    pub loss: f32,
    /// `metric.*`, without the prefix.
    pub metrics: Vec<(String, f32)>,
}

/// A session with the training state in it.
pub struct Stepper {
    session: Session,
    graph: StepGraph,
    /// Values of the state, in the graph's order. They never leave the device until asked for.
    state: Vec<DynValue>,
    options: SessionOptions,
    /// Who computes the sums of a step by micro-batches.
    workers: Option<Workers>,
}

impl Stepper {
    /// A session for `graph` that begins with `state` (keyed by state input). A step by micro-batches has one worker.
    ///
    /// # Errors
    /// Those of the session; a state that lacks a tensor of the graph.
    pub fn new(graph: &StepGraph, state: Params, library: &Lookup, options: &SessionOptions) -> Result<Self> {
        Self::with_team(graph, state, library, options, &Team::default())
    }

    /// The same, with a team to share micro-batches.
    ///
    /// # Errors
    /// As [`Stepper::new`].
    pub fn with_team(
        graph: &StepGraph,
        mut state: Params,
        library: &Lookup,
        options: &SessionOptions,
        team: &Team,
    ) -> Result<Self> {
        let session = session(&graph.model.encode_to_vec(), library, options)?;
        let workers = Workers::of(graph, team, library, options)?;
        let values = graph.state.iter().map(|spec| {
            let array = state.remove(&spec.input).filter(|a| a.shape() == spec.shape);
            let array = array.ok_or_else(|| {
                Error::invalid(&spec.input, format!("the state lacks it in the shape {:?}", spec.shape))
            })?;
            tensor(spec.shape.clone(), flat(array))
        });
        let state = values.collect::<Result<_>>()?;
        Ok(Self { session, graph: graph.clone(), state, options: options.clone(), workers })
    }

    /// Runs step `step` (1 is the first) with the learning rate `lr`.
    ///
    /// # Errors
    /// Inputs that do not fit the graph; a failure of the runtime, or of another process of the team.
    pub fn step(&mut self, inputs: impl Into<StepInputs>, lr: f32, step: u64) -> Result<Measured> {
        let mut own = self.taken(inputs.into())?;
        own.push(("lr".into(), tensor(vec![], vec![lr])?));
        // Inputs that the graph does not use (the step number under SGD) are still its inputs.
        own.push(("step".into(), tensor(vec![], vec![step as f32])?));
        match self.options.device {
            Device::Cpu => self.step_on_host(own),
            Device::Cuda => self.step_on_device(own),
        }
    }

    /// Ends the work of the team's other processes, because the run is finished or the user wants to stop.
    ///
    /// # Errors
    /// Where one of them is gone.
    pub fn end(&self, finished: bool) -> Result<()> {
        self.workers.as_ref().map_or(Ok(()), |workers| workers.end(finished))
    }

    /// What the graph takes of a batch: the batch itself, or the sums over its micro-batches.
    fn taken(&mut self, inputs: StepInputs) -> Result<Named> {
        if let Some(workers) = &mut self.workers {
            let names = self.graph.state.iter().map(|spec| spec.input.as_str());
            let state: State = names.zip(&self.state).collect();
            workers.tell(&state)?;
            return workers.sums(inputs, &state);
        }
        let whole = inputs.parts.into_iter().next();
        let whole = whole.ok_or_else(|| Error::invalid("a step", "has no batch"))?;
        whole.named(&self.graph.batch, &self.graph.masks)
    }

    /// The state as arrays, keyed by state input.
    ///
    /// # Errors
    /// A failure of the runtime to hand it over.
    pub fn state(&self) -> Result<Params> {
        let pairs = self.graph.state.iter().zip(&self.state).map(|(spec, value)| {
            let values = to_host(value, self.options.device)?;
            let array = ArrayD::from_shape_vec(IxDyn(&spec.shape), values);
            Ok((
                spec.input.clone(),
                array.map_err(|e| Error::invalid_because(&spec.input, "changed its shape", e))?,
            ))
        });
        pairs.collect()
    }

    /// The outputs of one run are the inputs of the next; nothing is copied.
    fn step_on_host(&mut self, own: Named) -> Result<Measured> {
        let mut feed: Vec<(Cow<'_, str>, SessionInputValue<'_>)> =
            own.into_iter().map(|(name, value)| (Cow::Owned(name), SessionInputValue::from(value))).collect();
        for (spec, value) in self.graph.state.iter().zip(&self.state) {
            feed.push((Cow::Borrowed(&spec.input), SessionInputValue::from(value)));
        }
        let mut outputs = self.session.run(feed).map_err(|e| failed("run a training step", e))?;
        let (measured, state) = collect(&self.graph, &mut outputs)?;
        drop(outputs);
        self.state = state;
        Ok(measured)
    }

    /// New state tensors are bound anew before every run: a buffer bound once would be written while
    /// it is read.
    fn step_on_device(&mut self, own: Named) -> Result<Measured> {
        let bound = |e| failed("bind the state to the device", e);
        let device = MemoryInfo::new(
            AllocationDevice::CUDA,
            self.options.ordinal,
            AllocatorType::Device,
            MemoryType::Default,
        )
        .map_err(bound)?;
        let host = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::CPUOutput)
            .map_err(bound)?;
        let mut binding = self.session.create_binding().map_err(bound)?;
        for (name, value) in &own {
            binding.bind_input(name, value).map_err(bound)?;
        }
        for (spec, value) in self.graph.state.iter().zip(&self.state) {
            binding.bind_input(&spec.input, value).map_err(bound)?;
            binding.bind_output_to_device(&spec.output, &device).map_err(bound)?;
        }
        for name in std::iter::once("loss".to_string()).chain(self.graph.metrics.iter().cloned()) {
            binding.bind_output_to_device(name, &host).map_err(bound)?;
        }
        let mut outputs = self.session.run_binding(&binding).map_err(|e| failed("run a training step", e))?;
        let (measured, state) = collect(&self.graph, &mut outputs)?;
        drop(outputs);
        self.state = state;
        Ok(measured)
    }
}

/// Takes the measurements and the new state out of a run's outputs.
fn collect(graph: &StepGraph, outputs: &mut SessionOutputs) -> Result<(Measured, Vec<DynValue>)> {
    let scalar = |name: &str| -> Result<f32> {
        output(outputs, name)?.first().copied().ok_or_else(|| Error::invalid(name, "is empty"))
    };
    let loss = scalar("loss")?;
    let own_name = |name: &String| name.strip_prefix("metric.").unwrap_or(name).to_string();
    let metrics =
        graph.metrics.iter().map(|name| Ok((own_name(name), scalar(name)?))).collect::<Result<_>>()?;
    let state = graph.state.iter().map(|spec| {
        outputs
            .remove(&spec.output)
            .ok_or_else(|| Error::invalid(&spec.output, "is no output of the training graph"))
    });
    let state = state.collect::<Result<_>>()?;
    Ok((Measured { loss, metrics }, state))
}
