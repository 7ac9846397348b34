//! Weights that a model keeps in files of their own.
//!
//! A location is a path below the model's folder. Anything else (an absolute path, `..`, a link that
//! leads out) is refused: a model must not be able to read a stranger's files.

use crate::onnx::{GraphProto, TensorProto};
use crate::{Error, Result};
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

/// `TensorProto.DataLocation`.
const EXTERNAL: i32 = 1;

/// Reads the tensors that lie outside the file into the model. `folder` is that of the model.
///
/// # Errors
/// A location outside the folder, a file that cannot be read or is too short.
pub(super) fn read_in(graph: &mut GraphProto, folder: &Path) -> Result<()> {
    let mut files = HashMap::new();
    each_tensor(graph, &mut |tensor| match tensor.data_location() {
        EXTERNAL => read_one(tensor, folder, &mut files),
        _ => Ok(()),
    })
}

/// Shows every tensor of a graph, those of attributes and nested graphs too.
pub(super) fn each_tensor(
    graph: &mut GraphProto,
    visit: &mut dyn FnMut(&mut TensorProto) -> Result<()>,
) -> Result<()> {
    for tensor in &mut graph.initializer {
        visit(tensor)?;
    }
    for attribute in graph.node.iter_mut().flat_map(|n| &mut n.attribute) {
        for tensor in attribute.t.iter_mut().chain(&mut attribute.tensors) {
            visit(tensor)?;
        }
        for nested in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            each_tensor(nested, visit)?;
        }
    }
    Ok(())
}

fn read_one(tensor: &mut TensorProto, folder: &Path, files: &mut HashMap<PathBuf, Vec<u8>>) -> Result<()> {
    let at = format!("weight {}", tensor.name());
    let entry =
        |key: &str| tensor.external_data.iter().find(|e| e.key() == key).map(|e| e.value().to_string());
    let location = entry("location")
        .ok_or_else(|| Error::invalid(&at, "is outside the file, but nothing tells where"))?;
    let path = inside(folder, &location).map_err(|why| Error::invalid(&at, why))?;
    if !files.contains_key(&path) {
        let bytes = std::fs::read(&path).map_err(|e| {
            Error::invalid_because(&at, format!("its data file {} cannot be read", path.display()), e)
        })?;
        files.insert(path.clone(), bytes);
    }
    let number = |key: &str| -> Result<Option<usize>> {
        let parse = |text: String| {
            text.parse()
                .map_err(|e| Error::invalid_because(&at, format!("its {key} {text:?} is no number"), e))
        };
        entry(key).map(parse).transpose()
    };
    let file = &files[&path];
    let start = number("offset")?.unwrap_or(0);
    let end = match number("length")? {
        Some(length) => start.checked_add(length),
        None => Some(file.len()),
    };
    let part = end.and_then(|end| file.get(start..end)).ok_or_else(|| {
        Error::invalid(&at, format!("lies beyond the end of {} ({} bytes)", path.display(), file.len()))
    })?;
    tensor.raw_data = Some(part.to_vec());
    tensor.external_data.clear();
    tensor.data_location = None;
    Ok(())
}

/// The file of a location, if it lies in the folder.
fn inside(folder: &Path, location: &str) -> Result<PathBuf, String> {
    let refused = || {
        format!(
            "its data {location:?} is outside the model's folder {}, which is refused; put it beside the model",
            folder.display()
        )
    };
    let relative = Path::new(location);
    if !relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Err(refused());
    }
    let path = folder.join(relative);
    match (path.canonicalize(), folder.canonicalize()) {
        (Ok(path), Ok(folder)) if path.starts_with(&folder) => Ok(path),
        (Ok(_), Ok(_)) => Err(refused()),
        (Err(e), _) | (_, Err(e)) => Err(format!("its data file {} cannot be opened: {e}", path.display())),
    }
}
