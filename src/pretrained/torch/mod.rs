//! Files of tensors as `torch.save` wrote them before PyTorch 1.6, and still does where it is asked to: five pickles (a magic
//! number, a version, sizes of types, the object, the keys of its storages), then the numbers of each storage.
//! See `torch/serialization.py` (`_legacy_save`).
//!
//! A pickle is a program. Here it is not executed: `pickle` knows the few instructions and the four names that a
//! dictionary of tensors is written with, and everything else is refused by its name, before anything of it is used.

mod pickle;
#[cfg(test)]
pub(super) mod tests;

use crate::onnx::{DType, Tensor};
use crate::{Error, Result};
use pickle::{Machine, Value};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// What the first pickle holds (`MAGIC_NUMBER`), little-endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// What the second holds.
const PROTOCOL: i64 = 1001;
/// Tensors of a file: more than any network has.
const MOST_TENSORS: usize = 100_000;
/// Tensors that share numbers may be so many times larger than the file.
const MOST_SHARED: usize = 4;

/// Numbers that tensors are views of.
#[derive(Clone, Debug, PartialEq)]
struct Storage {
    key: String,
    dtype: DType,
    len: usize,
}

/// A tensor as the pickle tells it.
#[derive(Clone, Debug, PartialEq)]
struct View {
    storage: Rc<Storage>,
    offset: usize,
    shape: Vec<usize>,
    /// Numbers from one place to the next, by axis.
    strides: Vec<usize>,
}

impl View {
    /// Bytes of its numbers; the most that there are where they cannot be counted.
    fn bytes(&self) -> usize {
        self.shape.iter().fold(self.storage.dtype.bytes(), |n, &side| n.saturating_mul(side))
    }

    /// The place in the storage of its last number; none where there is no such place.
    fn last(&self) -> Option<usize> {
        let steps = self
            .shape
            .iter()
            .zip(&self.strides)
            .map(|(&side, &stride)| side.checked_sub(1)?.checked_mul(stride));
        steps.into_iter().try_fold(self.offset, |at, step| at.checked_add(step?))
    }

    /// Its numbers in order of its axes, out of those of its storage, which reach to [`View::last`].
    fn gathered(&self, bytes: &[u8]) -> Vec<u8> {
        let size = self.storage.dtype.bytes();
        let mut numbers = Vec::with_capacity(self.bytes());
        let mut at = vec![0; self.shape.len()];
        loop {
            let place =
                self.offset + at.iter().zip(&self.strides).map(|(i, stride)| i * stride).sum::<usize>();
            numbers.extend_from_slice(&bytes[place * size..][..size]);
            // The next place: the last axis runs first.
            let Some(axis) = (0..at.len()).rfind(|&axis| at[axis] + 1 < self.shape[axis]) else {
                return numbers;
            };
            at[axis] += 1;
            at[axis + 1..].fill(0);
        }
    }
}

/// The tensors of a file by their names; `file` stands in messages.
///
/// # Errors
/// What is no such file, is cut off, is of another byte order, or holds anything but a dictionary of float32 and int64
/// tensors; tensors that reach beyond their storage.
pub fn read(bytes: &[u8], file: &str) -> Result<BTreeMap<String, Tensor>> {
    if bytes.starts_with(b"PK") {
        let why =
            "is torch's zip format; the older one is read here (`_use_new_zipfile_serialization=False`)";
        return Err(Error::invalid(file, why));
    }
    tensors(bytes).map_err(|why| Error::invalid(file, why))
}

fn tensors(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, String> {
    let mut rest = bytes;
    if pickled(&mut rest)?.1 != Value::Long(MAGIC.as_slice().into()) {
        return Err("is no file of torch's older format".into());
    }
    if pickled(&mut rest)?.1 != Value::Int(PROTOCOL) {
        return Err(format!("is of another version of torch's older format than {PROTOCOL}"));
    }
    let (facts, told) = pickled(&mut rest)?;
    let little = facts
        .entries(&told)?
        .any(|(key, value)| *key == Value::Text("little_endian".into()) && *value == Value::Bool(true));
    if !little {
        return Err("was not written on a little-endian machine".into());
    }
    let (object, state) = pickled(&mut rest)?;
    let views = views(&object, &state)?;
    let (list, keys) = pickled(&mut rest)?;
    let mut known: HashMap<String, &Storage> = HashMap::new();
    for (name, View { storage, .. }) in &views {
        if known.insert(storage.key.clone(), storage).is_some_and(|other| *other != **storage) {
            return Err(format!("tells of the storage of {name:?} in two ways"));
        }
    }
    let storages = storages(&list, &keys, &known, rest)?;
    // Views may share storages, so that a small file could ask for any memory.
    let asked = views.iter().map(|(_, view)| view.bytes()).fold(0, usize::saturating_add);
    if asked > bytes.len().saturating_mul(MOST_SHARED) {
        return Err(format!("has tensors of {asked} bytes in a file of {}", bytes.len()));
    }
    views.iter().map(|(name, view)| Ok((name.clone(), tensor(name, view, &storages)?))).collect()
}

/// The next pickle of the file: its machine, which holds what it made, and its result.
fn pickled(rest: &mut &[u8]) -> Result<(Machine, Value), String> {
    let mut machine = Machine::default();
    let value = machine.run(rest)?;
    Ok((machine, value))
}

/// The dictionary's tensors.
fn views(machine: &Machine, state: &Value) -> Result<Vec<(String, View)>, String> {
    let mut views: BTreeMap<String, View> = BTreeMap::new();
    for (key, value) in machine.entries(state)? {
        let Value::Text(name) = key else { return Err(format!("has {} for a tensor's name", key.kind())) };
        let Value::Tensor(view) = value else {
            return Err(format!("has {} where the tensor {name:?} should be", value.kind()));
        };
        if views.insert(name.to_string(), (**view).clone()).is_some() {
            return Err(format!("holds the tensor {name:?} twice"));
        }
        if views.len() > MOST_TENSORS {
            return Err(format!("holds more than {MOST_TENSORS} tensors"));
        }
    }
    Ok(views.into_iter().collect())
}

/// The bytes of each storage, in the order of their keys: a count and the numbers.
fn storages<'a>(
    machine: &Machine,
    keys: &Value,
    known: &HashMap<String, &Storage>,
    mut rest: &'a [u8],
) -> Result<HashMap<String, &'a [u8]>, String> {
    let mut found = HashMap::new();
    for key in machine.items(keys)? {
        let Value::Text(key) = key else { return Err(format!("has {} for a storage's key", key.kind())) };
        let storage =
            known.get(&**key).ok_or_else(|| format!("holds a storage {key:?} that no tensor views"))?;
        let cut = || format!("is cut off in the storage {key:?}");
        let (count, behind) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
        if u64::from_le_bytes(*count) != storage.len as u64 {
            let count = u64::from_le_bytes(*count);
            return Err(format!(
                "tells of {} numbers in the storage {key:?}, which has {count}",
                storage.len
            ));
        }
        let length = storage.len.checked_mul(storage.dtype.bytes()).ok_or_else(cut)?;
        let (numbers, behind) = behind.split_at_checked(length).ok_or_else(cut)?;
        if found.insert(key.to_string(), numbers).is_some() {
            return Err(format!("holds the storage {key:?} twice"));
        }
        rest = behind;
    }
    match rest.len() {
        0 => Ok(found),
        more => Err(format!("has {more} bytes behind its end")),
    }
}

fn tensor(name: &str, view: &View, storages: &HashMap<String, &[u8]>) -> Result<Tensor, String> {
    let View { storage, shape, .. } = view;
    let bytes = storages.get(&storage.key).ok_or_else(|| format!("has no numbers of the tensor {name:?}"))?;
    let beyond = || format!("has a tensor {name:?} of {shape:?} that reaches beyond its storage");
    let numbers = match view.bytes() {
        0 => Vec::new(),
        _ if view.last().ok_or_else(beyond)? < storage.len => view.gathered(bytes),
        _ => return Err(beyond()),
    };
    Tensor::from_bytes(storage.dtype, shape, &numbers).map_err(|e| e.to_string())
}
