//! Pictures → embeddings, by a tower inside the program or in a file.
//!
//! ```sh
//! cargo run --release --example embed -- omniglot-edge-exact a.png b.png
//! ```

use ndarray::Axis;
use siamese::image;
use siamese::runtime::{Options, Runtime};
use std::path::{Path, PathBuf};

/// Embeds each picture: `[N, D]`, row i of picture i.
pub fn embed(tower: &Path, pictures: &[PathBuf]) -> siamese::Result<ndarray::Array2<f32>> {
    let mut embedder = Runtime::preferred().with(Options::default())?.load(tower)?;
    // The tower's own metadata say how a picture becomes its input.
    let how = embedder.spec().preprocessing.clone();
    let images = pictures.iter().map(|path| image::load(path, &how)).collect::<siamese::Result<Vec<_>>>()?;
    let (channels, side) = (how.channels(), how.size());
    let mut batch = ndarray::Array4::zeros((images.len(), channels, side, side));
    for (mut row, image) in batch.outer_iter_mut().zip(&images) {
        row.assign(image);
    }
    embedder.embed(batch.view())
}

#[allow(dead_code, clippy::print_stdout)]
fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let tower = arguments.next().ok_or_else(|| anyhow::anyhow!("embed TOWER PICTURE …"))?;
    let pictures: Vec<PathBuf> = arguments.collect();
    let rows = embed(&tower, &pictures)?;
    for (path, row) in pictures.iter().zip(rows.axis_iter(Axis(0))) {
        println!("{}\t{row}", path.display());
    }
    Ok(())
}
