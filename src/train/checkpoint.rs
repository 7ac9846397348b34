//! Tensors with facts beside them, as safetensors files that are replaced atomically and tell when
//! a bit of them has changed.

use crate::model::Params;
use crate::{Error, Result};
use ndarray::{ArrayD, IxDyn};
use safetensors::tensor::View;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The one metadata key: all facts as one JSON text, so that equal contents give equal files.
const KEY: &str = "siamese";
/// The fact that proves the tensors: CRC-32C of their names, shapes and values.
const CHECKSUM: &str = "crc32c";

/// Writes tensors and facts (a JSON object); the file appears whole or not at all.
///
/// # Errors
/// A folder that cannot be written, or a full disk; an earlier file stays as it was.
pub fn write_params(path: &Path, params: &Params, facts: &Value) -> Result<()> {
    let mut facts = facts.clone();
    facts[CHECKSUM] = json!(checksum(params));
    let head = HashMap::from([(KEY.to_string(), facts.to_string())]);
    place(path, |partial| {
        let views = params.iter().map(|(name, array)| (name.as_str(), Stored(array)));
        safetensors::serialize_to_file(views, Some(head), partial).map_err(|e| match e {
            safetensors::SafeTensorError::IoError(e) => Error::io("write", path)(e),
            e => Error::invalid_because(path.display(), "cannot be stored", e),
        })
    })
}

/// Puts bytes in place of a file's, atomically and surely on disk.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    place(path, |partial| {
        File::create(partial).and_then(|mut f| f.write_all(bytes)).map_err(Error::io("write", path))
    })
}

/// Has a file written beside its place, waits until the disk holds it, and moves it there.
fn place(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = write(&partial).and_then(|()| {
        File::open(&partial).and_then(|f| f.sync_all()).map_err(Error::io("write", path))?;
        fs::rename(&partial, path).map_err(Error::io("write", path))
    });
    if written.is_err() {
        // On a full disk the fragment must not stay; if it cannot go, there is nothing to do.
        let _ = fs::remove_file(&partial);
    }
    written
}

/// A float32 array as it is stored: little-endian, in order of its shape.
struct Stored<'a>(&'a ArrayD<f32>);

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.0.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    fn data_len(&self) -> usize {
        self.0.len() * size_of::<f32>()
    }
}

fn checksum(params: &Params) -> u32 {
    params.iter().fold(0, |sum, (name, array)| {
        let sum = crc32c::crc32c_append(sum, name.as_bytes());
        let sum = crc32c::crc32c_append(sum, format!("{:?}", array.shape()).as_bytes());
        crc32c::crc32c_append(sum, &Stored(array).data())
    })
}

/// Reads what [`write_params`] wrote: the tensors and the facts.
///
/// # Errors
/// A file that is missing, cut short, changed, or of other contents.
pub fn read_params(path: &Path) -> Result<(Params, Value)> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let broken = |e| Error::invalid_because(path.display(), "is no whole safetensors file", e);
    let file = SafeTensors::deserialize(&bytes).map_err(broken)?;
    let params = file.iter().map(|(name, view)| {
        if view.dtype() != Dtype::F32 {
            return Err(Error::invalid(path.display(), format!("{name} is {:?}, not float32", view.dtype())));
        }
        let values = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let array = ArrayD::from_shape_vec(IxDyn(view.shape()), values).map_err(|e| {
            Error::invalid_because(path.display(), format!("{name} does not fill its shape"), e)
        })?;
        Ok((name.to_string(), array))
    });
    let params = params.collect::<Result<Params>>()?;
    let (_, head) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
    let facts = head.metadata().as_ref().and_then(|m| m.get(KEY)).map_or("{}", String::as_str);
    let facts: Value = serde_json::from_str(facts)
        .map_err(|e| Error::invalid_because(path.display(), "its facts are no JSON", e))?;
    if facts.get(CHECKSUM).is_some_and(|sum| *sum != json!(checksum(&params))) {
        return Err(Error::invalid(path.display(), "is damaged: its checksum does not fit its contents"));
    }
    Ok((params, facts))
}
