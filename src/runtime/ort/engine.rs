//! Whole graphs on ONNX Runtime.

use super::{NAME, SessionOptions, session};
use crate::onnx::{self, ModelProto};
use crate::runtime::{Engine, Lookup, Named, ORT};
use crate::{Error, Result};
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor, TensorElementType};
use prost::Message;

/// Makes a session for every graph.
pub struct OrtEngine {
    /// Which library.
    pub library: Lookup,
    /// How the sessions are made.
    pub options: SessionOptions,
}

impl Engine for OrtEngine {
    fn name(&self) -> &str {
        ORT.name
    }

    fn run(&mut self, model: &ModelProto, inputs: &[(String, onnx::Tensor)]) -> Result<Vec<onnx::Tensor>> {
        run(&mut self.session(model)?, inputs)
    }

    fn run_each(&mut self, model: &ModelProto, inputs: &[Named]) -> Result<Vec<Vec<onnx::Tensor>>> {
        let mut session = self.session(model)?;
        inputs.iter().map(|inputs| run(&mut session, inputs)).collect()
    }

    fn stream(
        &mut self,
        model: &ModelProto,
        inputs: &mut dyn Iterator<Item = Named>,
        take: &mut dyn FnMut(Vec<onnx::Tensor>) -> Result<()>,
    ) -> Result<()> {
        let mut session = self.session(model)?;
        for inputs in inputs {
            take(run(&mut session, &inputs)?)?;
        }
        Ok(())
    }
}

impl OrtEngine {
    fn session(&self, model: &ModelProto) -> Result<Session> {
        session(&self.library, &self.options, &model.encode_to_vec(), "a sub-model")
    }
}

fn run(session: &mut Session, inputs: &[(String, onnx::Tensor)]) -> Result<Vec<onnx::Tensor>> {
    let names: Vec<String> = session.outputs().iter().map(|o| o.name().to_string()).collect();
    let values =
        inputs.iter().map(|(name, value)| Ok((name.clone(), SessionInputValue::from(tensor(value)?))));
    let values = values.collect::<ort::Result<Vec<_>>>().map_err(failed)?;
    let results = session.run(values).map_err(failed)?;
    let result = |name: &String| {
        let value = results.get(name).ok_or_else(|| Error::invalid(NAME, format!("gives no {name}")))?;
        read(value)
    };
    names.iter().map(result).collect()
}

fn failed(source: ort::Error) -> Error {
    Error::Runtime { runtime: NAME, action: "run a graph".into(), source: Box::new(source) }
}

fn tensor(value: &onnx::Tensor) -> ort::Result<DynValue> {
    Ok(match value {
        onnx::Tensor::F32(a) => Tensor::from_array(a.clone())?.into_dyn(),
        onnx::Tensor::F64(a) => Tensor::from_array(a.clone())?.into_dyn(),
        onnx::Tensor::U8(a) => Tensor::from_array(a.clone())?.into_dyn(),
        onnx::Tensor::I8(a) => Tensor::from_array(a.clone())?.into_dyn(),
        onnx::Tensor::I32(a) => Tensor::from_array(a.clone())?.into_dyn(),
        onnx::Tensor::I64(a) => Tensor::from_array(a.clone())?.into_dyn(),
        onnx::Tensor::Bool(a) => Tensor::from_array(a.clone())?.into_dyn(),
    })
}

fn read(value: &DynValue) -> Result<onnx::Tensor> {
    let kind = value.dtype().tensor_type();
    let array = match kind {
        Some(TensorElementType::Float32) => {
            value.try_extract_array::<f32>().map(|a| onnx::Tensor::F32(a.to_owned()))
        }
        Some(TensorElementType::Float64) => {
            value.try_extract_array::<f64>().map(|a| onnx::Tensor::F64(a.to_owned()))
        }
        Some(TensorElementType::Uint8) => {
            value.try_extract_array::<u8>().map(|a| onnx::Tensor::U8(a.to_owned()))
        }
        Some(TensorElementType::Int8) => {
            value.try_extract_array::<i8>().map(|a| onnx::Tensor::I8(a.to_owned()))
        }
        Some(TensorElementType::Int32) => {
            value.try_extract_array::<i32>().map(|a| onnx::Tensor::I32(a.to_owned()))
        }
        Some(TensorElementType::Int64) => {
            value.try_extract_array::<i64>().map(|a| onnx::Tensor::I64(a.to_owned()))
        }
        Some(TensorElementType::Bool) => {
            value.try_extract_array::<bool>().map(|a| onnx::Tensor::Bool(a.to_owned()))
        }
        other => {
            let why = format!("gives a tensor of type {other:?}, which is not compared");
            return Err(Error::invalid(NAME, why));
        }
    };
    array.map_err(failed)
}
