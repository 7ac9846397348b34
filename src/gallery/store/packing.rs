//! How embeddings lie in a store: packed as the tower's kind allows, each with a checksum.

use super::super::{Example, Facts};
use crate::recognise::signed_byte;
use crate::tower::TowerKind;
use crate::{Error, Result};

/// What is kept of an example.
pub struct PackedExample<'a> {
    /// Its class.
    pub label: &'a str,
    /// Its embedding `[D]`.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "files keep it packed"))]
    pub embedding: &'a [f32],
    /// The embedding, packed.
    pub bytes: Vec<u8>,
    /// CRC-32C of these bytes.
    pub checksum: u32,
    /// Where it came from.
    pub source: &'a str,
    /// Its picture's file, where that is to be kept.
    pub picture: Option<&'a [u8]>,
    /// Seconds since 1970.
    pub added_unix_s: i64,
}

/// How the embeddings of a gallery lie in its store: numbers of exact towers as a signed byte each, others
/// as little-endian float32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    kind: TowerKind,
    dim: usize,
}

impl Packing {
    /// That of a gallery.
    pub fn of(facts: &Facts) -> Self {
        Self { kind: facts.kind, dim: facts.dim }
    }

    /// D.
    pub fn dim(self) -> usize {
        self.dim
    }

    /// An example as it is kept; one without a time was added `now`.
    ///
    /// # Errors
    /// An embedding that is not finite, or that no exact tower gives.
    pub fn pack(self, example: &Example, now: i64) -> Result<PackedExample<'_>> {
        let (embedding, at) = (&example.embedding, &example.source);
        if let Some((j, x)) = embedding.iter().enumerate().find(|(_, x)| !x.is_finite()) {
            let why =
                format!("the tower gives {x} at place {j} of its embedding; nothing can be near to that");
            return Err(Error::invalid(at, why));
        }
        let bytes = self.bytes(embedding, at)?;
        Ok(PackedExample {
            label: &example.label,
            checksum: crc32c::crc32c(&bytes),
            embedding,
            bytes,
            source: at,
            picture: None,
            added_unix_s: example.added_unix_s.unwrap_or(now),
        })
    }

    /// An embedding, packed.
    fn bytes(self, embedding: &[f32], at: &str) -> Result<Vec<u8>> {
        match self.kind {
            TowerKind::Float => Ok(embedding.iter().flat_map(|x| x.to_le_bytes()).collect()),
            TowerKind::Exact => embedding.iter().map(|&x| signed_byte(x, at)).collect(),
        }
    }

    /// Whether an embedding that is not kept packed is what was written.
    #[cfg(feature = "postgres")]
    pub fn is_whole(self, embedding: &[f32], checksum: i64) -> bool {
        let packed = self.bytes(embedding, "");
        embedding.len() == self.dim && packed.is_ok_and(|b| i64::from(crc32c::crc32c(&b)) == checksum)
    }

    /// Appends the numbers of a packed embedding; false where the bytes are not what was written.
    pub fn unpack(self, bytes: &[u8], checksum: i64, into: &mut Vec<f32>) -> bool {
        if i64::from(crc32c::crc32c(bytes)) != checksum {
            return false;
        }
        match self.kind {
            TowerKind::Float if bytes.len() == 4 * self.dim => {
                let (numbers, _) = bytes.as_chunks::<4>();
                into.extend(numbers.iter().map(|&b| f32::from_le_bytes(b)));
                true
            }
            TowerKind::Exact if bytes.len() == self.dim => {
                into.extend(bytes.iter().map(|&b| f32::from(b.cast_signed())));
                true
            }
            _ => false,
        }
    }
}
