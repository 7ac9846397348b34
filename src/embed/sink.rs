//! Where embeddings go, row by row.

use crate::Result;
use ndarray::ArrayView1;

/// Takes embeddings in order.
pub trait Sink {
    /// One embedding `[D]`.
    fn row(&mut self, source: &str, label: &str, embedding: ArrayView1<'_, f32>) -> Result<()>;
    /// Ends what was begun, and puts a file into its place.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Gives every row to each of several sinks.
pub struct Tee(pub Vec<Box<dyn Sink>>);

impl Sink for Tee {
    fn row(&mut self, source: &str, label: &str, embedding: ArrayView1<'_, f32>) -> Result<()> {
        self.0.iter_mut().try_for_each(|sink| sink.row(source, label, embedding))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.0.into_iter().try_for_each(Sink::finish)
    }
}

/// Numbers as bytes.
pub(super) fn bytes(embedding: ArrayView1<'_, f32>) -> Vec<u8> {
    embedding.iter().flat_map(|x| x.to_le_bytes()).collect()
}
