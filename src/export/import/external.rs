//! Weights that a model keeps in files of their own.
//!
//! A location is a path below the model's folder. Anything else (an absolute path, `..`, a link that
//! leads out) is refused: a model must not be able to read a stranger's files.
//!
//! A model may be reached through links, as in the cache of the Hugging Face hub, where
//! `snapshots/<revision>/model.onnx` and its data are links into `blobs/`. Then its folder is that of every
//! link on the way and that of the real file, and in such a cache `blobs/` too.

use crate::onnx::{GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto};
use crate::{Error, Result};
use bytes::Bytes;
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

/// `TensorProto.DataLocation`.
const EXTERNAL: i32 = 1;

type Visit<'a> = dyn FnMut(&mut TensorProto) -> Result<()> + 'a;

/// Reads the tensors that lie outside the file `path` into the model.
///
/// # Errors
/// A location outside the model's folder, a file that cannot be read or is too short.
pub(super) fn read_in(model: &mut ModelProto, path: &Path) -> Result<()> {
    let (mut files, folders) = (HashMap::new(), Folders::of(path));
    let visit: &mut Visit = &mut |tensor| match tensor.data_location() {
        EXTERNAL => read_one(tensor, &folders, &mut files),
        _ => Ok(()),
    };
    model.graph.iter_mut().try_for_each(|graph| in_graph(graph, visit))?;
    model.functions.iter_mut().try_for_each(|function| in_nodes(&mut function.node, visit))
}

fn in_graph(graph: &mut GraphProto, visit: &mut Visit) -> Result<()> {
    graph.initializer.iter_mut().try_for_each(&mut *visit)?;
    graph.sparse_initializer.iter_mut().try_for_each(|sparse| in_sparse(sparse, visit))?;
    in_nodes(&mut graph.node, visit)
}

fn in_sparse(sparse: &mut SparseTensorProto, visit: &mut Visit) -> Result<()> {
    sparse.values.iter_mut().chain(&mut sparse.indices).try_for_each(visit)
}

fn in_nodes(nodes: &mut [NodeProto], visit: &mut Visit) -> Result<()> {
    for attribute in nodes.iter_mut().flat_map(|n| &mut n.attribute) {
        attribute.t.iter_mut().chain(&mut attribute.tensors).try_for_each(&mut *visit)?;
        attribute.sparse_tensor.iter_mut().try_for_each(|sparse| in_sparse(sparse, visit))?;
        attribute.g.iter_mut().chain(&mut attribute.graphs).try_for_each(|graph| in_graph(graph, visit))?;
    }
    Ok(())
}

fn read_one(
    tensor: &mut TensorProto,
    folders: &Folders,
    files: &mut HashMap<PathBuf, Vec<u8>>,
) -> Result<()> {
    let at = format!("weight {}", tensor.name());
    let entry =
        |key: &str| tensor.external_data.iter().find(|e| e.key() == key).map(|e| e.value().to_string());
    let location = entry("location")
        .ok_or_else(|| Error::invalid(&at, "is outside the file, but nothing tells where"))?;
    let path = folders.find(&location).map_err(|why| Error::invalid(&at, why))?;
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
    tensor.raw_data = Some(Bytes::copy_from_slice(part));
    tensor.external_data.clear();
    tensor.data_location = None;
    Ok(())
}

/// Where a model's data may lie.
struct Folders {
    /// The folder of the path that the user gave, of each link on the way, and of the real file.
    named: Vec<PathBuf>,
    /// The same without links, and `blobs/` of a hub's cache.
    real: Vec<PathBuf>,
}

/// Links to links: more is a circle.
const MOST_LINKS: usize = 40;

impl Folders {
    fn of(model: &Path) -> Self {
        let folder = |path: &Path| match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let (mut named, mut path) = (vec![folder(model)], model.to_path_buf());
        for _ in 0..MOST_LINKS {
            let Ok(target) = std::fs::read_link(&path) else { break };
            path = folder(&path).join(target);
            named.push(folder(&path));
        }
        let real = named.iter().filter_map(|folder| folder.canonicalize().ok());
        let real: Vec<PathBuf> = real.flat_map(|folder| [blobs(&folder), Some(folder)]).flatten().collect();
        Self { named, real }
    }

    /// The file of a location, if it lies in one of the folders.
    fn find(&self, location: &str) -> Result<PathBuf, String> {
        let first = &self.named[0];
        let refused = || {
            format!(
                "its data {location:?} is outside the model's folder {}, which is refused; put it beside the model",
                first.display()
            )
        };
        let relative = Path::new(location);
        if !relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
            return Err(refused());
        }
        let mut found =
            self.named.iter().filter_map(|folder| folder.join(relative).canonicalize().ok()).peekable();
        if found.peek().is_none() {
            let path = first.join(relative);
            let why = path.canonicalize().err().map_or_else(String::new, |e| format!(": {e}"));
            return Err(format!(
                "its data file {} cannot be opened{why}; fetch it too, and put it beside the model",
                path.display()
            ));
        }
        found.find(|path| self.real.iter().any(|folder| path.starts_with(folder))).ok_or_else(refused)
    }
}

/// `blobs/` of the repository in a hub's cache that a folder `…/snapshots/<revision>/…` lies in.
fn blobs(folder: &Path) -> Option<PathBuf> {
    let snapshots =
        folder.ancestors().find(|above| above.file_name().is_some_and(|name| name == "snapshots"))?;
    let blobs = snapshots.parent()?.join("blobs");
    let real = blobs.canonicalize().ok()?;
    // A link in its place leads out of the repository.
    (blobs == real).then_some(real)
}
