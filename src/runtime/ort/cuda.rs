//! Whether CUDA can be used: ONNX Runtime is asked to compute something there. Its provider cannot be looked
//! at in any other way (opened without ONNX Runtime as its host it takes the process down).

use super::{SessionOptions, session};
use crate::graph::{ConvAttrs, DType, Graph, Tensor};
use crate::runtime::{Device, Lookup};
use crate::{Error, Result};
use ndarray::{Array, IxDyn};
use prost::Message;

/// Runs a convolution on the first CUDA device.
///
/// # Errors
/// [`Error::Missing`] (exit 3) in the words of what failed: the driver, CUDA's libraries, cuDNN, the device.
pub fn try_cuda(lookup: &Lookup) -> Result<()> {
    convolve(lookup).map_err(|error| match error {
        missing @ Error::Missing { .. } => missing,
        other => cannot(other),
    })
}

/// The error of what kept CUDA from being used.
pub(super) fn cannot(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    let told = format!("{:#}", anyhow::Error::from(source));
    let fix = "check the driver and that the CUDA 13 and cuDNN 9 libraries are on the library path, \
               or choose the CPU";
    Error::missing(format!("CUDA cannot be used: {}", own_words(&told)), fix)
}

fn convolve(lookup: &Lookup) -> Result<()> {
    let g = Graph::new("probe");
    let x = g.input("x", DType::F32, &[1, 1, 8, 8]);
    let w = g.initializer("w", Tensor::F32(Array::ones(IxDyn(&[2, 1, 3, 3]))));
    g.output("y", x.conv(w, None, ConvAttrs::default()));
    let options = SessionOptions { device: Device::Cuda, ..SessionOptions::default() };
    let mut session = session(lookup, &options, &g.to_model()?.encode_to_vec(), "a probe")?;
    let failed = |source: ort::Error| Error::Runtime {
        runtime: super::NAME,
        action: "run a probe".into(),
        source: Box::new(source),
    };
    let input = ort::value::Tensor::from_array(([1_usize, 1, 8, 8], vec![1.0_f32; 64])).map_err(failed)?;
    session.run(ort::inputs![input]).map(|_| ()).map_err(failed)
}

/// The part of a message that tells, out of a template's signature, file, line and host: `CUDA failure 35:
/// CUDA driver version is insufficient for CUDA runtime version`. A message without one stays as it is.
fn own_words(message: &str) -> &str {
    let telling = ["CUDA failure ", "CUDNN failure ", "CUBLAS failure ", "Failed to load library "];
    let begin = telling.iter().find_map(|words| message.find(words)).unwrap_or(0);
    let told = &message[begin..];
    told.split(" ; GPU=").next().unwrap_or(told).trim()
}

#[cfg(test)]
mod tests {
    use super::own_words;

    #[test]
    fn a_failure_of_cuda_is_told_without_its_template() {
        let long = "failed to load a probe: /onnxruntime_src/core/providers/cuda/cuda_call.cc:154 std::conditional_t<THRW, \
                    void> CudaCall(ERRTYPE) [with ERRTYPE = cudaError] CUDA failure 35: CUDA driver version is \
                    insufficient for CUDA runtime version ; GPU=-1 ; hostname=here ; file=/a.cc ; line=355 ; expr=f();";
        let told = "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version";
        assert_eq!(own_words(long), told);
        let told = "Failed to load library /a/libcuda.so with error: libcublasLt.so.13: cannot open";
        assert_eq!(
            own_words(&format!("b.cc:2043 Provider& Get() [ONNXRuntimeError] : 1 : FAIL : {told}")),
            told
        );
        assert_eq!(own_words("anything else"), "anything else");
    }
}
