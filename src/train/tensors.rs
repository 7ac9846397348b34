//! Tensors of ONNX Runtime, and sessions of the graphs of a training step.

use super::operators;
use crate::runtime::ort::{NAME, SessionOptions, builder};
use crate::runtime::{Device, Lookup, OptLevel};
use crate::{Error, Result};
use ndarray::Array;
use ort::memory::AllocationDevice;
use ort::session::{Session, SessionOutputs};
use ort::value::{DynValue, Tensor};

/// A session for a graph of a training step. On CUDA a node that would go to the CPU is an error, for it would copy its
/// operands over the bus at every step.
pub(super) fn session(model: &[u8], library: &Lookup, options: &SessionOptions) -> Result<Session> {
    // The last level's blocked layout is for weights that are constants: here it gains nothing, and moves
    // of tensors in and out of it took a tenth of a step.
    let options = SessionOptions { level: options.level.min(OptLevel::Extended), ..options.clone() };
    let mut builder = builder(library, &options)?;
    if options.device == Device::Cuda {
        let strict = builder.with_disable_cpu_fallback();
        builder = strict.map_err(|e| failed("configure a session", ort::Error::<()>::from(e)))?;
    }
    if options.device == Device::Cpu && options.kernels {
        let own = operators::domain().map_err(|e| failed("make our own operators", e))?;
        let with_own = builder.with_operators(own);
        builder = with_own.map_err(|e| failed("configure a session", ort::Error::<()>::from(e)))?;
    }
    builder.commit_from_memory(model).map_err(|e| failed("load the training graph", e))
}

/// A tensor that owns its elements.
pub(super) fn tensor<T>(shape: Vec<usize>, data: Vec<T>) -> Result<DynValue>
where
    T: ort::value::PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
{
    Tensor::from_array((shape, data)).map(Tensor::into_dyn).map_err(|e| failed("take over a tensor", e))
}

/// The elements in order of the shape; not copied where they lie so already.
pub(super) fn flat<T: Clone, D: ndarray::Dimension>(array: Array<T, D>) -> Vec<T> {
    if !array.is_standard_layout() {
        return array.iter().cloned().collect();
    }
    let length = array.len();
    match array.into_raw_vec_and_offset() {
        (elements, offset) if offset.unwrap_or(0) == 0 && elements.len() == length => elements,
        (elements, offset) => elements[offset.unwrap_or(0)..][..length].to_vec(),
    }
}

/// The elements of a tensor that may be on the device.
pub(super) fn to_host(value: &DynValue, device: Device) -> Result<Vec<f32>> {
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

/// The elements of an output.
pub(super) fn output<'a>(outputs: &'a SessionOutputs<'_>, name: &str) -> Result<&'a [f32]> {
    let value =
        outputs.get(name).ok_or_else(|| Error::invalid(name, "is no output of the training graph"))?;
    let extracted = value.try_extract_tensor::<f32>();
    extracted.map(|(_, data)| data).map_err(|e| failed("hand over a result", e))
}

pub(super) fn failed(action: &str, source: ort::Error) -> Error {
    Error::Runtime { runtime: NAME, action: action.into(), source: Box::new(source) }
}
