//! A small network of each kind with weights of a formula, for the tests of this room and of those below.
#![allow(clippy::unwrap_used)]

// The builds without ONNX Runtime have nobody who reads it.
#[cfg_attr(not(feature = "ort"), allow(unused_imports))]
pub use super::torch::tests::file;

use super::*;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What PyTorch computed.
#[derive(Deserialize)]
pub struct Golden {
    /// Names and shapes of the small network's weights, in the order that numbers them.
    pub weights: Vec<(String, Vec<usize>)>,
    /// The embedding of each of two pictures.
    pub small: Vec<Vec<f64>>,
}

pub fn golden() -> Golden {
    serde_json::from_str(include_str!("../../fixtures/published.json")).unwrap()
}

/// Two pictures of this side, as `picture` in the script.
pub fn pictures(size: usize) -> ArrayD<f32> {
    ArrayD::from_shape_fn(IxDyn(&[2, 3, size, size]), |i| {
        let (n, c, y, x) = (i[0], i[1], i[2], i[3]);
        ((x * 7 + y * 13 + c * 101 + n * 57 + (x * y / 8) % 97 * 3) % 256) as f32
    })
}

/// As `number` in the script: from −0.5 to 0.5.
fn number(tensor: usize, place: usize) -> f64 {
    let mixed = (place as u64 * 2_654_435_761 + tensor as u64 * 40_503 + 12_345) % (1 << 32);
    mixed as f64 / 4_294_967_296.0 - 0.5
}

pub fn weights() -> BTreeMap<String, Tensor> {
    let named = golden().weights.into_iter().enumerate();
    let tensor = |(place, (name, shape)): (usize, (String, Vec<usize>))| {
        if name.ends_with("num_batches_tracked") {
            return (name, Tensor::I64(ndarray::arr0(3).into_dyn()));
        }
        let mut i = 0;
        let positive = name.ends_with("running_var");
        let values = ArrayD::from_shape_simple_fn(IxDyn(&shape), || {
            i += 1;
            (number(place, i - 1) + if positive { 0.75 } else { 0.0 }) as f32
        });
        (name, Tensor::F32(values))
    };
    named.map(tensor).collect()
}

/// The proportions of the small network.
pub fn small() -> Published {
    Published {
        name: "small",
        pixels: Pixels { size: 21, ..PUBLISHED[0].pixels },
        network: EfficientNetLite {
            stem: 32,
            stages: &[
                Stage { repeats: 1, kernel: 3, stride: 1, expand: 1, filters: 8 },
                Stage { repeats: 2, kernel: 5, stride: 2, expand: 3, filters: 16 },
                Stage { repeats: 1, kernel: 3, stride: 2, expand: 2, filters: 24 },
            ],
            head: 1280,
        },
        ..PUBLISHED[0]
    }
}
