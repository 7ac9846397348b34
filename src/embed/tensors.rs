//! The safetensors format: a JSON header and one tensor, `embeddings`, float32 `[N, D]`.

use super::sink::{Sink, bytes};
use crate::Result;
use crate::files::Replacement;
use crate::tower::TowerSpec;
use ndarray::ArrayView1;
use serde_json::{Value, json};

/// Room that is kept for the header's numbers, which are known at the end.
const ROOM: usize = 96;

pub(super) struct Tensors {
    file: Replacement,
    rows: u64,
    dim: usize,
    facts: Value,
    head: usize,
}

impl Tensors {
    pub fn new(mut file: Replacement, tower: &TowerSpec) -> Result<Self> {
        let facts = json!({ "tower": tower.name, "tower_sha256": tower.sha256 });
        let text = header(&facts, 0, tower.dim);
        let head = (text.len() + ROOM).next_multiple_of(8);
        file.append(&padded(text, head))?;
        Ok(Self { file, rows: 0, dim: tower.dim, facts, head })
    }
}

impl Sink for Tensors {
    fn row(&mut self, _: &str, _: &str, embedding: ArrayView1<'_, f32>) -> Result<()> {
        self.rows += 1;
        self.file.append(&bytes(embedding))
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let text = header(&self.facts, self.rows, self.dim);
        self.file.rewrite_head(&padded(text, self.head))?;
        self.file.finish()
    }
}

fn header(facts: &Value, rows: u64, dim: usize) -> String {
    let end = rows * dim as u64 * 4;
    let tensor = json!({ "dtype": "F32", "shape": [rows, dim], "data_offsets": [0, end] });
    json!({ "__metadata__": facts, "embeddings": tensor }).to_string()
}

/// The length, the header, and spaces.
fn padded(text: String, head: usize) -> Vec<u8> {
    let mut bytes = (head as u64).to_le_bytes().to_vec();
    bytes.extend(text.into_bytes());
    bytes.resize(8 + head, b' ');
    bytes
}
