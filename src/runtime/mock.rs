//! An embedder without a runtime.

use super::{Embedder, check_images};
use crate::Result;
use crate::image::Preprocessing;
use crate::tower::{Distance, TowerKind, TowerSpec};
use ndarray::{Array2, ArrayView4, Axis};

/// A fixed random projection of the pixels: deterministic, needs no library, and similar images get
/// similar embeddings. For tests of what stands above a runtime.
#[derive(Clone, Debug)]
pub struct MockEmbedder {
    spec: TowerSpec,
}

impl MockEmbedder {
    /// For ink of side `size`, with embeddings `[dim]` compared by L2.
    pub fn new(size: usize, dim: usize) -> Self {
        let spec = TowerSpec {
            name: "mock".into(),
            kind: TowerKind::Float,
            preprocessing: Preprocessing::ink(size),
            dim,
            distance: Distance::L2,
            batch: None,
            compatible_with: None,
            sha256: format!("{size:032x}{dim:032x}"),
        };
        Self { spec }
    }
}

/// A weight in [−1, 1), the same on every machine: SplitMix64 of both indices.
fn weight(pixel: usize, column: usize) -> f32 {
    let mut x = (((pixel as u64) << 32) | column as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    // The upper 24 bits, which float32 holds exactly.
    ((x ^ (x >> 31)) >> 40) as f32 / 8_388_608.0 - 1.0
}

impl Embedder for MockEmbedder {
    fn spec(&self) -> &TowerSpec {
        &self.spec
    }

    fn embed(&mut self, images: ArrayView4<'_, u8>) -> Result<Array2<f32>> {
        check_images(&self.spec, &images)?;
        let mut rows = Array2::zeros((images.len_of(Axis(0)), self.spec.dim));
        for (image, mut row) in images.axis_iter(Axis(0)).zip(rows.rows_mut()) {
            for (pixel, &ink) in image.iter().enumerate().filter(|&(_, &ink)| ink > 0) {
                let ink = f32::from(ink) / 255.0;
                row.iter_mut().enumerate().for_each(|(column, sum)| *sum += ink * weight(pixel, column));
            }
        }
        Ok(rows)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use ndarray::{Array4, s};

    #[test]
    fn rows_depend_on_their_image_alone_and_on_all_of_it() {
        let images = Array4::from_shape_fn((5, 1, 6, 6), |(n, _, y, x)| (n * 31 + y * 7 + x * 3) as u8);
        let mut mock = MockEmbedder::new(6, 8);
        let together = mock.embed(images.view()).unwrap();
        for n in 0..5 {
            let alone = mock.embed(images.slice(s![n..=n, .., .., ..])).unwrap();
            assert_eq!(alone.row(0), together.row(n));
        }
        assert_ne!(together.row(0), together.row(1));
        assert!(
            mock.embed(Array4::zeros((2, 1, 6, 5)).view()).unwrap_err().to_string().contains("[N, 1, 6, 6]")
        );
    }
}
