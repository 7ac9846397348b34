//! The idx format of MNIST: `0 0 type rank`, the lengths as big-endian `u32`, then the values.
//! <http://yann.lecun.com/exdb/mnist/>; gzip around it is undone.

use crate::{Error, Result, files};
use flate2::read::GzDecoder;
use std::io::Read;
use std::path::Path;

/// The longest file once inflated, bytes.
const MAX_BYTES: u64 = 256 << 20;
/// The code of unsigned bytes, the only type that MNIST uses.
const UNSIGNED_BYTE: u8 = 8;

/// An array of unsigned bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idx {
    /// The lengths of its axes.
    pub shape: Vec<usize>,
    /// Its values, the last axis fastest.
    pub values: Vec<u8>,
}

/// Reads a file of `rank` axes, with gzip or without.
pub fn load(path: impl AsRef<Path>, rank: usize) -> Result<Idx> {
    let path = path.as_ref();
    parse(files::read(path, MAX_BYTES, "a file of a data set")?, rank, &path.display().to_string())
}

/// Reads an array of `rank` axes from bytes, with gzip or without; `name` is for messages.
pub fn parse(bytes: Vec<u8>, rank: usize, name: &str) -> Result<Idx> {
    let mut bytes = inflate(bytes, name)?;
    let shape = shape(&bytes, rank, name)?;
    let header = 4 + 4 * rank;
    let present = bytes.len() - header;
    let promised = shape.iter().try_fold(1_usize, |product, &n| product.checked_mul(n));
    if promised != Some(present) {
        let why = format!("its header promises {shape:?} values, but {present} follow; fetch it again");
        return Err(Error::invalid(name, why));
    }
    bytes.drain(..header);
    Ok(Idx { shape, values: bytes })
}

/// Undoes gzip where there is one.
pub(super) fn inflate(bytes: Vec<u8>, name: &str) -> Result<Vec<u8>> {
    if bytes.is_empty() {
        return Err(Error::invalid(name, "is empty (0 bytes), not an idx file"));
    }
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut inflated = Vec::new();
    GzDecoder::new(bytes.as_slice()).take(MAX_BYTES + 1).read_to_end(&mut inflated).map_err(|e| {
        Error::invalid_because(name, "is not a whole gzip file (cut short or damaged); fetch it again", e)
    })?;
    if inflated.len() as u64 > MAX_BYTES {
        let why = format!("inflates to more than {} MiB; this is no MNIST", MAX_BYTES >> 20);
        return Err(Error::invalid(name, why));
    }
    Ok(inflated)
}

/// The header's axes.
fn shape(bytes: &[u8], rank: usize, name: &str) -> Result<Vec<usize>> {
    let wanted = [0, 0, UNSIGNED_BYTE, rank as u8];
    let Some(magic) = bytes.get(..4) else {
        return Err(Error::invalid(name, format!("has {} bytes, too few for an idx header", bytes.len())));
    };
    if magic != wanted {
        let why = format!(
            "begins with {}, not with {}; it is no idx file of unsigned bytes with {rank} axes",
            hex(magic),
            hex(&wanted)
        );
        return Err(Error::invalid(name, why));
    }
    let lengths = bytes.get(4..4 + 4 * rank).ok_or_else(|| Error::invalid(name, "ends inside its header"))?;
    Ok(lengths.chunks_exact(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize).collect())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
}
