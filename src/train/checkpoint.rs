//! Tensors with facts beside them, as safetensors files that are replaced atomically and tell when
//! a bit of them has changed.

use crate::model::Params;
use crate::{Error, Result};
use ndarray::{ArrayD, IxDyn};
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// The one metadata key: all facts as one JSON text, so that equal contents give equal files.
const KEY: &str = "siamese";
/// The fact that proves the tensors: CRC-32C of their names, shapes and values.
const CHECKSUM: &str = "crc32c";
/// What a file is called while it is written; a kill may leave it behind.
pub(super) const PARTIAL: &str = ".partial";

/// Writes tensors and facts (a JSON object); the file appears whole or not at all.
///
/// # Errors
/// A folder that cannot be written, or a full disk; an earlier file stays as it was.
pub fn write_params(path: &Path, params: &Params, facts: &Value) -> Result<()> {
    let mut facts = facts.clone();
    facts[CHECKSUM] = json!(checksum(params));
    let header =
        header(params, &facts).map_err(|e| Error::invalid_because(path.display(), "cannot be stored", e))?;
    place(path, |file| {
        let mut file = BufWriter::new(file);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        for array in params.values() {
            file.write_all(&stored(array))?;
        }
        file.flush()
    })
}

/// The names, shapes and places of the tensors, which follow it in their order.
fn header(params: &Params, facts: &Value) -> Result<Vec<u8>, SafeTensorError> {
    let mut end = 0;
    let tensors = params.iter().map(|(name, array)| {
        let begin = end;
        end += array.len() * size_of::<f32>();
        let info =
            TensorInfo { dtype: Dtype::F32, shape: array.shape().to_vec(), data_offsets: (begin, end) };
        (name.clone(), info)
    });
    let facts = HashMap::from([(KEY.to_string(), facts.to_string())]);
    let mut json = serde_json::to_vec(&Metadata::new(Some(facts), tensors.collect())?)?;
    // The tensors begin at a multiple of 8 bytes.
    json.resize(json.len().next_multiple_of(8), b' ');
    Ok(json)
}

/// Puts bytes in place of a file's, atomically and surely on disk.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    place(path, |file| file.write_all(bytes))
}

/// Has a file written beside its place, waits until the disk holds it, and moves it there.
fn place(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(PARTIAL);
    let partial = PathBuf::from(partial);
    let written = File::create(&partial).and_then(|mut file| {
        write(&mut file)?;
        file.sync_all()
    });
    let written = written.and_then(|()| fs::rename(&partial, path)).map_err(Error::io("write", path));
    if written.is_err() {
        // On a full disk the fragment must not stay; if it cannot go, there is nothing to do.
        let _ = fs::remove_file(&partial);
    }
    written
}

/// A float32 array as it is stored: little-endian, in order of its shape.
fn stored(array: &ArrayD<f32>) -> Vec<u8> {
    array.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn checksum(params: &Params) -> u32 {
    params.iter().fold(0, |sum, (name, array)| {
        let sum = crc32c::crc32c_append(sum, name.as_bytes());
        let sum = crc32c::crc32c_append(sum, format!("{:?}", array.shape()).as_bytes());
        crc32c::crc32c_append(sum, &stored(array))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn params(value: f32) -> Params {
        [("a.weight".to_string(), ArrayD::from_elem(IxDyn(&[300, 500]), value))].into()
    }

    #[test]
    fn what_is_written_is_read_again_by_others_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("params.safetensors");
        let odd = Params::from([
            ("b".to_string(), ArrayD::from_elem(IxDyn(&[]), -0.5)),
            ("c".to_string(), ArrayD::zeros(IxDyn(&[0, 3]))),
            ("a".to_string(), ArrayD::from_shape_fn(IxDyn(&[2, 3]), |i| (3 * i[0] + i[1]) as f32)),
        ]);
        for params in [Params::new(), odd] {
            write_params(&path, &params, &json!({"step": 3})).unwrap();
            let (read, facts) = read_params(&path).unwrap();
            assert_eq!((&read, &facts["step"]), (&params, &json!(3)));
            let bytes = fs::read(&path).unwrap();
            let known = SafeTensors::deserialize(&bytes).unwrap();
            assert_eq!(known.names().len(), params.len());
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    }

    /// `/dev/full` takes nothing, as a full disk.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_and_the_earlier_file_survives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("params.safetensors");
        write_params(&path, &params(1.0), &json!({})).unwrap();
        let partial = dir.path().join("params.safetensors.partial");
        std::os::unix::fs::symlink("/dev/full", &partial).unwrap();
        let error = anyhow::Error::from(write_params(&path, &params(2.0), &json!({})).unwrap_err());
        assert!(format!("{error:#}").contains("No space left on device"), "{error:#}");
        assert_eq!(read_params(&path).unwrap().0, params(1.0));
        assert!(!partial.is_symlink(), "no fragment is left");
    }
}
