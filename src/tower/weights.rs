//! What must be true of the weights in a tower's file.

use crate::onnx::{GraphProto, data_type, numbers};
use crate::{Error, Result};

/// Whether a model holds all its weights itself, as a tower must: its SHA-256 is that of one file.
pub(super) fn whole(graph: &GraphProto) -> Result<()> {
    let Some(outside) = graph.initializer.iter().find(|tensor| tensor.data_location == Some(1)) else {
        return Ok(());
    };
    let place = outside.external_data.iter().find(|entry| entry.key.as_deref() == Some("location"));
    let place = place.and_then(|entry| entry.value.as_deref()).unwrap_or("no file is named");
    let why = format!(
        "lies outside the file ({place:?}); a tower holds all its weights: make one of the model with \
         `siamese import`"
    );
    Err(Error::invalid(format!("weight {}", outside.name()), why))
}

/// Whether every weight of a model is a finite number.
///
/// # Errors
/// The first that is not, with the tensor and the place.
pub fn finite(graph: &GraphProto) -> Result<()> {
    for tensor in &graph.initializer {
        let bad = match tensor.data_type() {
            data_type::FLOAT if !tensor.raw_data().is_empty() => {
                let (chunks, _) = tensor.raw_data().as_chunks::<4>();
                chunks.iter().position(|b| !f32::from_le_bytes(*b).is_finite())
            }
            data_type::FLOAT => tensor.float_data.iter().position(|x| !x.is_finite()),
            data_type::DOUBLE | data_type::FLOAT16 => numbers(tensor)?.iter().position(|x| !x.is_finite()),
            _ => None,
        };
        if let Some(i) = bad {
            let why =
                "is not a finite number (NaN or infinite); the training diverged or the file is damaged";
            return Err(Error::invalid(format!("weight {} at {i}", tensor.name()), why));
        }
    }
    Ok(())
}
