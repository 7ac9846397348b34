//! Towers with convolutions by Winograd's tiles, against the float64 interpreter.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::kernels::Kernels;
use super::program;
use super::tests::{assert_exact, images, lowered, size, truth};
use crate::graph::{ConvAttrs, DType, Graph, Tensor as Constant};
use crate::onnx::ModelProto;
use crate::random;
use crate::tower::{INPUT, OUTPUT};
use ndarray::{Array4, ArrayD, IxDyn};

#[test]
fn convolutions_by_tiles_agree_with_float64_whatever_their_sides_and_padding() {
    for seed in 0..24 {
        let mut rng = random::stream(seed, "tiles", 0, 0);
        let mut number = |n: usize| 1 + random::below(&mut rng, n);
        let (inputs, outputs) = (15 + number(30), 15 + number(60));
        let (size, pads) = ([7 + number(8), 7 + number(8)], [0; 4].map(|_| number(3) - 1));
        let g = Graph::new("tiles");
        let x = g.input(INPUT, DType::U8, &[1, 1, size[0], size[1]]).cast(DType::F32);
        let mut weights = |name: &str, shape: &[usize], most: f32| {
            let w = ArrayD::from_shape_fn(IxDyn(shape), |_| random::between(&mut rng, -most, most));
            g.initializer(name, Constant::F32(w))
        };
        let (first, second) =
            (weights("w1", &[inputs, 1, 1, 1], 0.01), weights("w2", &[outputs, inputs, 3, 3], 0.2));
        let bias = weights("b", &[outputs], 0.5);
        let x = x.conv(first, None, ConvAttrs::default());
        let y = x.conv(second, Some(bias), ConvAttrs { pads, ..ConvAttrs::default() });
        g.output(OUTPUT, y.flatten(1));
        let model = g.to_model_batched("N").unwrap();
        let images = images(seed, 2, [1, size[0], size[1]]);
        let truth = truth(&model, &images);
        for kernels in Kernels::all() {
            let program = program(&model, [1, size[0], size[1]], kernels).expect("it is lowered whole");
            assert!(program.steps.iter().any(|s| s.action.name() == "float product of tiles"), "{program:?}");
            let given = lowered(&program, &images);
            let off = given.iter().flatten().zip(truth.iter().flatten()).map(|(a, b)| (a - b).abs());
            let (worst, most) =
                (off.fold(0.0, f64::max), truth.iter().flatten().fold(0f64, |m, x| m.max(x.abs())));
            assert!(worst <= 1e-6 * most, "{} kernels, graph {seed}: off by {worst} of {most}", kernels.name);
        }
    }
}

/// A convolution of 3×3 of integers, with every pixel and weight at an end of its range or anywhere.
fn integer_conv(seed: u64, ends: bool) -> (ModelProto, Array4<u8>) {
    let mut rng = random::stream(seed, "tiles of integers", 0, 0);
    let mut number = |n: usize| 1 + random::below(&mut rng, n);
    let (inputs, outputs, size) = (15 + number(30), 15 + number(60), [7 + number(8), 7 + number(8)]);
    let pads = [0; 4].map(|_| number(3) - 1);
    let image = Array4::from_shape_simple_fn((1, inputs, size[0], size[1]), || match ends {
        true => [0, 255][number(2) - 1],
        false => (number(256) - 1) as u8,
    });
    let weights = ArrayD::from_shape_simple_fn(IxDyn(&[outputs, inputs, 3, 3]), || match ends {
        true => [-128.0, 127.0][number(2) - 1],
        false => number(256) as f32 - 129.0,
    });
    let g = Graph::new("tiles of integers");
    let x = g.input(INPUT, DType::U8, &[1, inputs, size[0], size[1]]).cast(DType::F32);
    let weights = g.initializer("w", Constant::F32(weights));
    g.output(OUTPUT, x.conv(weights, None, ConvAttrs { pads, ..ConvAttrs::default() }).flatten(1));
    (g.to_model_batched("N").unwrap(), image)
}

#[test]
fn tiles_of_integers_give_the_very_sums_whatever_sides_padding_and_pixels() {
    for seed in 0..30 {
        let (model, images) = integer_conv(seed, seed % 2 == 0);
        assert_exact(&model, &images, &format!("convolution {seed}"));
        for kernels in Kernels::all() {
            let program = program(&model, size(&images), kernels).unwrap();
            let tiles = program.steps.iter().any(|s| s.action.name() == "integer product of tiles");
            assert_eq!(tiles, kernels.tiles_integers(), "{program:?}");
        }
    }
}
