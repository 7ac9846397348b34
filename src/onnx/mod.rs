//! The ONNX file format: its messages, the operators of its standard domain by name, tensors,
//! constants, accessors, and what a file is that is none.

mod constants;
mod kind;
mod messages;
mod node;
mod operator;
mod tensor;

pub use constants::Constants;
pub use kind::other_than_onnx;
pub use messages::*;
pub use operator::Operator;
pub use tensor::{DType, Tensor, floats, numbers};

/// Whether a domain's name is one of the two spellings of the standard domain.
pub fn is_standard(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

impl ModelProto {
    /// The value of a metadata key.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata_props.iter().find(|p| p.key.as_deref() == Some(key))?.value.as_deref()
    }

    /// Sets a metadata key, replacing an earlier value.
    pub fn set_metadata(&mut self, key: &str, value: impl Into<String>) {
        self.metadata_props.retain(|p| p.key.as_deref() != Some(key));
        let entry = StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) };
        self.metadata_props.push(entry);
    }

    /// The version of the standard operator set that the model imports.
    pub fn opset(&self) -> Option<i64> {
        self.opset_import.iter().find(|o| is_standard(o.domain()))?.version
    }
}
