//! Checkpoints and parameters as safetensors files, replaced atomically.

use crate::model::Params;
use crate::{Error, Result};
use ndarray::{ArrayD, IxDyn};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;

/// The training state after a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Steps done.
    pub step: u64,
    /// The state, keyed by state input.
    pub state: Params,
}

/// Writes tensors with text beside them; the file appears whole or not at all.
///
/// # Errors
/// A folder that cannot be written, or a full disk; an earlier file stays as it was.
pub fn write_params(path: &Path, params: &Params, about: &[(&str, String)]) -> Result<()> {
    let bytes: Vec<(&String, &[usize], Vec<u8>)> = params
        .iter()
        .map(|(name, array)| (name, array.shape(), array.iter().flat_map(|x| x.to_le_bytes()).collect()))
        .collect();
    let mut views = Vec::with_capacity(bytes.len());
    for (name, shape, data) in &bytes {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), data)
            .map_err(|e| Error::invalid_because(name, "cannot be stored", e))?;
        views.push((name.as_str(), view));
    }
    let about: HashMap<String, String> = about.iter().map(|(k, v)| (k.to_string(), v.clone())).collect();
    let file = safetensors::serialize(views, Some(about))
        .map_err(|e| Error::invalid_because(path.display(), "cannot be stored", e))?;
    replace(path, &file)
}

/// Puts a file in place of another, atomically and surely on disk.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(Error::io("create a file in", dir))?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(Error::io("write", path))?;
    file.persist(path).map_err(|e| Error::io("write", path)(e.error))?;
    Ok(())
}

/// Reads what [`write_params`] wrote.
///
/// # Errors
/// A file that is missing, cut short, or of other contents.
pub fn read_params(path: &Path) -> Result<(Params, HashMap<String, String>)> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let broken = |e| Error::invalid_because(path.display(), "is no whole safetensors file", e);
    let (_, head) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
    let about = head.metadata().clone().unwrap_or_default();
    let file = SafeTensors::deserialize(&bytes).map_err(broken)?;
    let params = file.iter().map(|(name, view)| {
        if view.dtype() != Dtype::F32 {
            return Err(Error::invalid(path.display(), format!("{name} is {:?}, not float32", view.dtype())));
        }
        let values = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let array = ArrayD::from_shape_vec(IxDyn(view.shape()), values);
        Ok((
            name.to_string(),
            array.map_err(|e| {
                Error::invalid_because(path.display(), format!("{name} does not fill its shape"), e)
            })?,
        ))
    });
    Ok((params.collect::<Result<_>>()?, about))
}
