//! NumPy's format, version 1.0 (NEP 1).

use super::sink::{Sink, bytes};
use crate::Result;
use crate::files::Replacement;
use ndarray::ArrayView1;

/// Magic, version, length and dictionary, padded to a multiple of 64.
const HEAD: usize = 128;

pub(super) struct Npy {
    file: Replacement,
    rows: u64,
    dim: usize,
}

impl Npy {
    pub fn new(mut file: Replacement, dim: usize) -> Result<Self> {
        file.append(&head(0, dim))?;
        Ok(Self { file, rows: 0, dim })
    }
}

impl Sink for Npy {
    fn row(&mut self, _: &str, _: &str, embedding: ArrayView1<'_, f32>) -> Result<()> {
        self.rows += 1;
        self.file.append(&bytes(embedding))
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.file.rewrite_head(&head(self.rows, self.dim))?;
        self.file.finish()
    }
}

fn head(rows: u64, dim: usize) -> Vec<u8> {
    let mut head = b"\x93NUMPY\x01\x00".to_vec();
    head.extend(((HEAD - 10) as u16).to_le_bytes());
    let dictionary = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}");
    head.extend(dictionary.as_bytes());
    head.resize(HEAD - 1, b' ');
    head.push(b'\n');
    head
}
