//! One training step after another on a session, the state handed from each to the next.

use super::feed::Inputs;
use crate::model::Params;
use crate::runtime::ort::{NAME, SessionOptions, builder};
use crate::runtime::{Device, Lookup, OptLevel};
use crate::sample::Targets;
use crate::step::StepGraph;
use crate::{Error, Result};
use ndarray::{Array, ArrayD, IxDyn};
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{Session, SessionInputValue, SessionOutputs};
use ort::value::{DynValue, Tensor};
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
    device: Device,
}

impl Stepper {
    /// A session for `graph` that begins with `state` (keyed by state input).
    ///
    /// # Errors
    /// Those of `session`; a state that lacks a tensor of the graph.
    pub fn new(
        graph: &StepGraph,
        mut state: Params,
        library: &Lookup,
        options: &SessionOptions,
    ) -> Result<Self> {
        let session = session(&graph.model.encode_to_vec(), library, options)?;
        let values = graph.state.iter().map(|spec| {
            let array = state.remove(&spec.input).filter(|a| a.shape() == spec.shape);
            let array = array.ok_or_else(|| {
                Error::invalid(&spec.input, format!("the state lacks it in the shape {:?}", spec.shape))
            })?;
            tensor(spec.shape.clone(), flat(array))
        });
        let state = values.collect::<Result<_>>()?;
        Ok(Self { session, graph: graph.clone(), state, device: options.device })
    }

    /// Runs step `step` (1 is the first) with the learning rate `lr`.
    ///
    /// # Errors
    /// Inputs that do not fit the graph; a failure of the runtime.
    pub fn step(&mut self, inputs: Inputs, lr: f32, step: u64) -> Result<Measured> {
        let own = self.own_inputs(inputs, lr, step)?;
        match self.device {
            Device::Cpu => self.step_on_host(own),
            Device::Cuda => self.step_on_device(own),
        }
    }

    /// The state as arrays, keyed by state input.
    ///
    /// # Errors
    /// A failure of the runtime to hand it over.
    pub fn state(&self) -> Result<Params> {
        let pairs = self.graph.state.iter().zip(&self.state).map(|(spec, value)| {
            let values = to_host(value, self.device)?;
            let array = ArrayD::from_shape_vec(IxDyn(&spec.shape), values);
            Ok((
                spec.input.clone(),
                array.map_err(|e| Error::invalid_because(&spec.input, "changed its shape", e))?,
            ))
        });
        pairs.collect()
    }

    /// Batch, masks, learning rate and step number, by name.
    fn own_inputs(&self, inputs: Inputs, lr: f32, step: u64) -> Result<Vec<(String, DynValue)>> {
        let images = inputs.batch.images;
        let mut own = vec![
            ("batch.images".into(), tensor(images.shape().to_vec(), flat(images))?),
            ("lr".into(), tensor(vec![], vec![lr])?),
            ("step".into(), tensor(vec![], vec![step as f32])?),
        ];
        match inputs.batch.targets {
            Targets::Same(same) => own.push(("batch.same".into(), tensor(vec![same.len()], same)?)),
            Targets::Labels(labels) => own.push(("batch.labels".into(), tensor(vec![labels.len()], labels)?)),
            Targets::Episode => {}
        }
        if let Some(rows) = inputs.teacher {
            own.push(("batch.teacher".into(), tensor(rows.shape().to_vec(), flat(rows))?));
        }
        for (spec, mask) in self.graph.masks.iter().zip(inputs.masks) {
            own.push((spec.name.clone(), tensor(spec.shape.clone(), flat(mask))?));
        }
        // Inputs that the graph does not use (the step number under SGD) are still its inputs.
        Ok(own)
    }

    /// The outputs of one run are the inputs of the next; nothing is copied.
    fn step_on_host(&mut self, own: Vec<(String, DynValue)>) -> Result<Measured> {
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
    fn step_on_device(&mut self, own: Vec<(String, DynValue)>) -> Result<Measured> {
        let bound = |e| failed("bind the state to the device", e);
        let device = MemoryInfo::new(AllocationDevice::CUDA, 0, AllocatorType::Device, MemoryType::Default)
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

/// A session for the graph. On CUDA a node that would go to the CPU is an error, for it would copy its
/// operands over the bus at every step.
fn session(model: &[u8], library: &Lookup, options: &SessionOptions) -> Result<Session> {
    // The last level's blocked layout is for weights that are constants: here it gains nothing, and moves
    // of tensors in and out of it took a tenth of a step.
    let options = SessionOptions { level: options.level.min(OptLevel::Extended), ..options.clone() };
    let mut builder = builder(library, &options)?;
    if options.device == Device::Cuda {
        let strict = builder.with_disable_cpu_fallback();
        builder = strict.map_err(|e| failed("configure a session", ort::Error::<()>::from(e)))?;
    }
    builder.commit_from_memory(model).map_err(|e| failed("load the training graph", e))
}

/// Takes the measurements and the new state out of a run's outputs.
fn collect(graph: &StepGraph, outputs: &mut SessionOutputs) -> Result<(Measured, Vec<DynValue>)> {
    let scalar = |name: &str| -> Result<f32> {
        let value =
            outputs.get(name).ok_or_else(|| Error::invalid(name, "is no output of the training graph"))?;
        let (_, data) =
            value.try_extract_tensor::<f32>().map_err(|e| failed("hand over a measurement", e))?;
        data.first().copied().ok_or_else(|| Error::invalid(name, "is empty"))
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

fn tensor<T>(shape: Vec<usize>, data: Vec<T>) -> Result<DynValue>
where
    T: ort::value::PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
{
    Tensor::from_array((shape, data)).map(Tensor::into_dyn).map_err(|e| failed("take over a tensor", e))
}

/// The elements in order of the shape; not copied where they lie so already.
fn flat<T: Clone, D: ndarray::Dimension>(array: Array<T, D>) -> Vec<T> {
    if !array.is_standard_layout() {
        return array.iter().cloned().collect();
    }
    let length = array.len();
    match array.into_raw_vec_and_offset() {
        (elements, offset) if offset.unwrap_or(0) == 0 && elements.len() == length => elements,
        (elements, offset) => elements[offset.unwrap_or(0)..][..length].to_vec(),
    }
}

fn to_host(value: &DynValue, device: Device) -> Result<Vec<f32>> {
    let told = |e| failed("hand over the state", e);
    let read =
        |value: &DynValue| value.try_extract_tensor::<f32>().map(|(_, data)| data.to_vec()).map_err(told);
    match device {
        Device::Cpu => read(value),
        Device::Cuda => {
            let on_device = value.view().downcast::<ort::value::TensorValueType<f32>>().map_err(told)?;
            read(&on_device.to(AllocationDevice::CPU, 0).map_err(told)?.into_dyn())
        }
    }
}

fn failed(action: &str, source: ort::Error) -> Error {
    Error::Runtime { runtime: NAME, action: action.into(), source: Box::new(source) }
}
