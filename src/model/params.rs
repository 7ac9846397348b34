//! Named arrays and facts beside them as safetensors files that prove themselves: parameters, and the
//! states of trainings. Everything that reads or writes such a file does it here.

use super::{Recipe, param_specs};
use crate::files::{self, Replacement};
use crate::{Error, Result};
use ndarray::{ArrayD, IxDyn};
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Named parameters or other state, `layer.name` → array, in a stable order.
pub type Params = BTreeMap<String, ArrayD<f32>>;

/// The one metadata key: all facts as one JSON text, so that equal contents give equal files.
const KEY: &str = "siamese";
/// The fact that proves the others: the CRC-32C of `facts` and of each of `tensors`.
const CHECKSUMS: &str = "checksums";
/// What proved the tensors in earlier files: the CRC-32C of all of them.
const CHECKSUM: &str = "crc32c";
/// The longest file that is read, bytes: more than a machine that trains holds.
const MAX_BYTES: u64 = 1 << 36;

/// Writes arrays and facts (a JSON object); the file appears whole or not at all.
///
/// # Errors
/// A folder that cannot be written, or a full disk; an earlier file stays as it was.
pub fn write_params(path: &Path, params: &Params, facts: &Value) -> Result<()> {
    let header =
        header(params, facts).map_err(|e| Error::invalid_because(path.display(), "cannot be stored", e))?;
    let mut file = Replacement::create(path)?;
    file.append(&(header.len() as u64).to_le_bytes())?;
    file.append(&header)?;
    for array in params.values() {
        file.append(&stored(array))?;
    }
    file.finish()
}

/// The facts, and the names, shapes and places of the arrays, which follow it in their order.
fn header(params: &Params, facts: &Value) -> Result<Vec<u8>, SafeTensorError> {
    let mut end = 0;
    let tensors = params.iter().map(|(name, array)| {
        let begin = end;
        end += array.len() * size_of::<f32>();
        let info =
            TensorInfo { dtype: Dtype::F32, shape: array.shape().to_vec(), data_offsets: (begin, end) };
        (name.clone(), info)
    });
    let mut proven = facts.clone();
    proven[CHECKSUMS] = checksums(params, facts);
    let facts = HashMap::from([(KEY.to_string(), proven.to_string())]);
    let mut json = serde_json::to_vec(&Metadata::new(Some(facts), tensors.collect())?)?;
    // The tensors begin at a multiple of 8 bytes.
    json.resize(json.len().next_multiple_of(8), b' ');
    Ok(json)
}

/// A float32 array as it is stored: little-endian, in order of its shape.
fn stored(array: &ArrayD<f32>) -> Vec<u8> {
    array.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn checksums(params: &Params, facts: &Value) -> Value {
    let tensors = params.iter().map(|(name, array)| (name.clone(), json!(append(0, name, array))));
    json!({
        "facts": crc32c::crc32c(facts.to_string().as_bytes()),
        "tensors": tensors.collect::<Map<_, _>>(),
    })
}

/// A checksum continued by an array's name, shape and values.
fn append(sum: u32, name: &str, array: &ArrayD<f32>) -> u32 {
    let sum = crc32c::crc32c_append(sum, name.as_bytes());
    let sum = crc32c::crc32c_append(sum, format!("{:?}", array.shape()).as_bytes());
    crc32c::crc32c_append(sum, &stored(array))
}

/// Reads what [`write_params`] wrote, the arrays and the facts, or float32 arrays that somebody else
/// stored, which no checksum proves.
///
/// # Errors
/// A file that is missing, cut short, changed (the array is named), or of other contents.
pub fn read_params(path: &Path) -> Result<(Params, Value)> {
    parse_params(&files::read(path, MAX_BYTES, "a file of parameters")?, &path.display().to_string())
}

/// As [`read_params`], of a file's bytes; `name` stands in messages.
///
/// # Errors
/// As [`read_params`].
pub fn parse_params(bytes: &[u8], name: &str) -> Result<(Params, Value)> {
    let broken =
        |e| Error::invalid_because(name, "is not a safetensors file, or one that is cut off or changed", e);
    let file = SafeTensors::deserialize(bytes).map_err(broken)?;
    let params = file.iter().map(|(param, view)| {
        let fault = |why| Error::invalid(format!("{name}: parameter {param}"), why);
        if view.dtype() != Dtype::F32 {
            return Err(fault(format!("is {:?}, not float32", view.dtype())));
        }
        let values = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let array = ArrayD::from_shape_vec(IxDyn(view.shape()), values).map_err(|e| fault(e.to_string()))?;
        Ok((param.to_string(), array))
    });
    let params = params.collect::<Result<Params>>()?;
    let (_, head) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    let facts = head.metadata().as_ref().and_then(|m| m.get(KEY)).map_or("{}", String::as_str);
    let facts: Map<String, Value> =
        serde_json::from_str(facts).map_err(|e| Error::invalid_because(name, "its facts are no JSON", e))?;
    let facts = verified(&params, facts).map_err(|e| e.at(name))?;
    Ok((params, facts))
}

/// The facts without the checksums among them, which must be right.
fn verified(params: &Params, mut facts: Map<String, Value>) -> Result<Value> {
    let (each, all) = (facts.shift_remove(CHECKSUMS), facts.shift_remove(CHECKSUM));
    let facts = Value::Object(facts);
    let damaged =
        |what: &str| Error::invalid(what, "is damaged: its checksum does not fit; fetch or train it again");
    if let Some(each) = each {
        let found = checksums(params, &facts);
        let same = |name: &&String| each["tensors"][*name] == found["tensors"][*name];
        if let Some(name) = params.keys().find(|name| !same(name)) {
            return Err(damaged(&format!("parameter {name}")));
        }
        if each != found {
            return Err(damaged("the header"));
        }
    } else if let Some(all) = all {
        let found = params.iter().fold(0, |sum, (name, array)| append(sum, name, array));
        if all != json!(found) {
            return Err(damaged("a parameter"));
        }
    }
    Ok(facts)
}

/// Reads the parameters of the recipe's tower, and the facts beside them.
///
/// # Errors
/// As [`read_params`]; a parameter that the tower needs is missing, of another shape, or not finite.
pub fn read_tower(recipe: &Recipe, path: &Path) -> Result<(Params, Value)> {
    let (params, facts) = read_params(path)?;
    check(recipe, &params).map_err(|e| e.at(&path.display().to_string()))?;
    Ok((params, facts))
}

/// Checks that these are parameters of the recipe's tower; others (`head.*`) may be among them.
///
/// # Errors
/// The first that is missing, of another shape, or not finite.
pub fn check(recipe: &Recipe, params: &Params) -> Result<()> {
    for spec in param_specs(recipe)? {
        let fault = |why: String| Error::invalid(format!("parameter {}", spec.name), why);
        let array = shaped(params, &spec.name, &spec.shape)
            .map_err(|why| fault(format!("{why}; was it trained with {}?", recipe.name)))?;
        if array.iter().any(|x| !x.is_finite()) {
            return Err(fault("holds a NaN or an infinite number; the training diverged".into()));
        }
    }
    Ok(())
}

/// The array of a name in the shape that it must have, or why it is not there.
pub fn shaped<'a>(params: &'a Params, name: &str, shape: &[usize]) -> Result<&'a ArrayD<f32>, String> {
    match params.get(name) {
        None => Err("is missing".into()),
        Some(array) if array.shape() != shape => {
            Err(format!("has the shape {:?}, not {shape:?}", array.shape()))
        }
        Some(array) => Ok(array),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    fn odd() -> Params {
        Params::from([
            ("b".to_string(), ArrayD::from_elem(IxDyn(&[]), -0.5)),
            ("c".to_string(), ArrayD::zeros(IxDyn(&[0, 3]))),
            ("a".to_string(), ArrayD::from_shape_fn(IxDyn(&[2, 3]), |i| (3 * i[0] + i[1]) as f32)),
        ])
    }

    /// What reading a file says, with the causes.
    fn refused(path: &Path) -> String {
        format!("{:#}", anyhow::Error::from(read_params(path).unwrap_err()))
    }

    #[test]
    fn what_is_written_is_read_again_by_others_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("params.safetensors");
        for params in [Params::new(), odd()] {
            let facts = json!({"step": 3, "share": 0.1, "by": {"z": null, "a": [1e-30]}});
            write_params(&path, &params, &facts).unwrap();
            assert_eq!(read_params(&path).unwrap(), (params.clone(), facts));
            let bytes = fs::read(&path).unwrap();
            let known = SafeTensors::deserialize(&bytes).unwrap();
            assert_eq!(known.names().len(), params.len());
        }
    }

    #[test]
    fn a_changed_byte_is_found_and_the_parameter_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("params.safetensors");
        write_params(&path, &odd(), &json!({"step": 3})).unwrap();
        let whole = fs::read(&path).unwrap();
        let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
        let damaged = |at: usize, bit: u8| {
            let mut bytes = whole.clone();
            bytes[at] ^= bit;
            fs::write(&path, bytes).unwrap();
            refused(&path)
        };
        // Six numbers of `a`, then the one of `b`.
        for (at, bit, name) in
            [(0, 1, "a"), (3, 128, "a"), (12, 16, "a"), (23, 64, "a"), (24, 1, "b"), (27, 2, "b")]
        {
            let said = damaged(header + at, bit);
            assert!(said.contains(&format!("params.safetensors: parameter {name}: is damaged")), "{said}");
        }
        // The name of an array, a fact, the length of the header.
        let text = String::from_utf8_lossy(&whole[..header]).into_owned();
        for (place, bit, said) in
            [("\"a\":{", 16, "parameter q"), ("step", 2, "the header"), ("dtype", 2, "not a safetensors")]
        {
            let found = damaged(text.find(place).unwrap() + 1, bit);
            assert!(found.contains(said), "{place}: {found}");
        }
        damaged(0, 4);
    }

    #[test]
    fn earlier_files_and_those_of_others_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("params.safetensors");
        let values = stored(&odd()["a"]);
        let view = safetensors::tensor::TensorView::new(Dtype::F32, vec![2, 3], &values).unwrap();
        let write = |facts: Option<&str>| {
            let facts = facts.map(|facts| HashMap::from([(KEY.to_string(), facts.to_string())]));
            fs::write(&path, safetensors::serialize([("a", &view)], facts).unwrap()).unwrap();
        };
        let sum = append(0, "a", &odd()["a"]);
        for facts in [None, Some("{}".to_string()), Some(format!(r#"{{"crc32c":{sum}}}"#))] {
            write(facts.as_deref());
            assert_eq!(read_params(&path).unwrap().0["a"], odd()["a"], "{facts:?}");
        }
        write(Some(&format!(r#"{{"crc32c":{}}}"#, sum ^ 1)));
        assert!(refused(&path).contains("is damaged"));
    }

    #[test]
    fn the_shipped_parameters_are_whole_and_prove_it() {
        let dir = tempfile::tempdir().unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/omniglot-edge");
        let recipe = Recipe::load(&shipped).unwrap();
        let (_, facts) = read_tower(&recipe, &shipped.join("params.safetensors")).unwrap();
        assert_eq!(facts, json!({"step": 4000}));
        let mut bytes = fs::read(shipped.join("params.safetensors")).unwrap();
        let (middle, path) = (bytes.len() / 2, dir.path().join("params.safetensors"));
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(refused(&path).contains("params.safetensors: a parameter: is damaged"));
    }

    #[test]
    fn parameters_of_another_tower_are_refused_with_the_file_and_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("params.safetensors");
        let recipe = Recipe::find("mnist-fc2").unwrap();
        let good = crate::model::initialise(&recipe, &param_specs(&recipe).unwrap(), 1);
        let said = |change: &dyn Fn(&mut Params)| {
            let mut params = good.clone();
            change(&mut params);
            write_params(&path, &params, &json!({})).unwrap();
            read_tower(&recipe, &path).unwrap_err().to_string()
        };
        let file = path.display();
        let missing = said(&|p| drop(p.remove("fc1.bias")));
        assert!(missing.starts_with(&format!("{file}: parameter fc1.bias: is missing; was it")), "{missing}");
        let other = said(&|p| drop(p.insert("fc1.bias".into(), ArrayD::zeros(IxDyn(&[5])))));
        assert!(other.contains("fc1.bias: has the shape [5], not ["), "{other}");
        let diverged = said(&|p| p.get_mut("fc1.bias").into_iter().for_each(|b| b.fill(f32::NAN)));
        assert!(diverged.contains("fc1.bias: holds a NaN"), "{diverged}");
    }
}
