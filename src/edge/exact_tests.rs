//! Exact towers of foreign models, and what they are made of, with every set of kernels.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::kernels::Kernels;
use super::program;
use super::program::{Action, Step};
use super::tests::{assert_exact, images, size};
use crate::export::{self, nets};
use crate::graph::{ConvAttrs, DType, Graph, Tensor as Constant};
use crate::onnx::ModelProto;
use crate::random::{self, Stream};
use crate::tower::{INPUT, OUTPUT};
use crate::walk::Types;
use ndarray::{ArrayD, IxDyn};
use std::collections::BTreeMap;

#[test]
fn exact_towers_of_random_foreign_models_keep_their_bits() {
    let mut steps = BTreeMap::<&str, usize>::new();
    for seed in 0..36 {
        let model = nets::grown(seed);
        let types = Types::with_batch(&model, 1).unwrap();
        let of = |name: &str| types.get(name).unwrap().sizes().unwrap();
        let (side, dim) = (of(INPUT)[2], of(OUTPUT)[1]);
        let pictures = nets::pictures(side, 8, 1);
        let spec = nets::spec(side, dim);
        let made = export::integers(&model, &spec, pictures.view(), &mut nets::Interpreted).unwrap();
        let images = nets::pictures(side, 2, 2);
        assert_exact(&made.model, &images, &format!("tower {seed}"));
        let program = program(&made.model, size(&images), Kernels::best()).unwrap();
        program.steps.iter().for_each(|step| *steps.entry(step.action.name()).or_default() += 1);
    }
    let wanted = ["integer product", "table of each byte", "times one for each channel"];
    assert!(wanted.iter().all(|name| steps.contains_key(name)), "{steps:?}");
    // Beside them there are products of maps that no step makes bytes of.
    let of = |name: &str| steps.get(name).copied().unwrap_or(0);
    assert!(!Kernels::best().has_depthwise_bytes() || of("float product of each channel") == 0, "{steps:?}");
}

/// A convolution of each channel by itself of integers, which are below 0 too where `signed`, and what makes integers of 8
/// bits of it.
fn each_channel(rng: &mut Stream, signed: bool) -> (ModelProto, [usize; 3]) {
    let mut pick = |of: &[usize]| of[random::below(rng, of.len())];
    let channels = pick(&[1, 2, 5, 16, 24, 33, 64, 72, 100]);
    let size = [1, pick(&[1, 2, 7, 9, 12]), pick(&[1, 3, 8, 11])];
    let (k, stride, dilation) = (pick(&[1, 2, 3, 5]), pick(&[1, 2]), pick(&[1, 1, 2]));
    let pad = dilation * (k - 1);
    let pads = [pad / 2, pick(&[pad / 2, pad]), pad - pad / 2, pad];
    let (shift, low) = (pick(&[3, 5, 9]) as i32, if signed { -127.0 } else { 0.0 });
    let g = Graph::new("each channel");
    let mut weights = |name: &str, shape: &[usize]| {
        let w = ArrayD::from_shape_simple_fn(IxDyn(shape), || random::below(rng, 255) as f32 - 127.0);
        g.initializer(name, Constant::F32(w))
    };
    let x = g.input(INPUT, DType::U8, &size_of(size)).cast(DType::F32);
    let x = x.conv(weights("v", &[channels, 1, 1, 1]), Some(weights("a", &[channels])), ConvAttrs::default());
    let x = (x * g.scalar(2f32.powi(-7))).floor().clip(low, 127.0);
    let attrs = ConvAttrs { pads, groups: channels, strides: [stride; 2], dilations: [dilation; 2] };
    let y = x.conv(weights("w", &[channels, 1, k, k]), Some(weights("b", &[channels])), attrs);
    let y = (y * g.scalar(2f32.powi(-shift))).floor().clip(low, 127.0);
    let z = y.conv(weights("u", &[9, channels, 1, 1]), None, ConvAttrs::default());
    g.output(OUTPUT, z.flatten(1));
    (g.to_model_batched("N").unwrap(), size)
}

fn size_of([channels, height, width]: [usize; 3]) -> [usize; 4] {
    [1, channels, height, width]
}

#[test]
fn each_channel_by_itself_keeps_its_bits_whatever_sides_strides_and_padding() {
    for seed in 0..60 {
        let mut rng = random::stream(seed, "each channel", 0, 0);
        let (model, size) = each_channel(&mut rng, seed % 2 == 0);
        let images = images(seed, 2, size);
        assert_exact(&model, &images, &format!("graph {seed}"));
        for kernels in Kernels::all().into_iter().filter(|k| k.has_depthwise_bytes()) {
            let program = program(&model, size, kernels).unwrap();
            let floats = program.steps.iter().filter(|step| step.action.name().starts_with("float product"));
            assert_eq!(floats.count(), 0, "{} kernels, graph {seed}: {program:#?}", kernels.name);
        }
    }
}

#[test]
fn a_padded_image_less_its_levels_is_multiplied_as_bytes() {
    let mut rng = random::stream(1, "levels", 0, 0);
    let mut weights = |shape: &[usize]| {
        Constant::F32(ArrayD::from_shape_simple_fn(IxDyn(shape), || {
            random::below(&mut rng, 255) as f32 - 127.0
        }))
    };
    let g = Graph::new("levels");
    let levels = ArrayD::from_shape_vec(IxDyn(&[1, 3, 1, 1]), vec![124.0, 116.0, 104.0]).unwrap();
    let x = g.input(INPUT, DType::U8, &[1, 3, 9, 11]).cast(DType::F32);
    let x = x - g.initializer("levels", Constant::F32(levels));
    let attrs = ConvAttrs { pads: [1; 4], strides: [2; 2], ..ConvAttrs::default() };
    let y = x.conv(g.initializer("w", weights(&[20, 3, 3, 3])), None, attrs);
    g.output(OUTPUT, (y * g.scalar(2f32.powi(-9))).floor().clip(-127.0, 127.0).flatten(1));
    let model = g.to_model_batched("N").unwrap();
    let images = images(6, 3, [3, 9, 11]);
    assert_exact(&model, &images, "levels");
    let program = program(&model, size(&images), Kernels::best()).unwrap();
    assert!(program.steps.iter().any(|step| step.action.name() == "integer product"), "{program:#?}");
}

#[test]
fn a_border_that_is_moved_above_all_of_its_map_is_multiplied_as_it_is() {
    // Of -250 to -200 the bytes are 0 to 50, and the 0 of the padding is 250: kernels for less than 128 would not do.
    let g = Graph::new("border");
    let constant = |name: &str, shape: &[usize], value: f32| {
        g.initializer(name, Constant::F32(ArrayD::from_elem(IxDyn(shape), value)))
    };
    let x = g.input(INPUT, DType::U8, &[1, 1, 6, 7]).cast(DType::F32);
    let x = x.conv(constant("v", &[2, 1, 1, 1], -1.0), None, ConvAttrs::default()).clip(-250.0, -200.0);
    let attrs = ConvAttrs { pads: [1; 4], ..ConvAttrs::default() };
    g.output(OUTPUT, x.conv(constant("w", &[20, 2, 3, 3], 127.0), None, attrs).flatten(1));
    let model = g.to_model_batched("N").unwrap();
    let images = images(7, 2, [1, 6, 7]);
    assert_exact(&model, &images, "border");
    let program = program(&model, size(&images), Kernels::best()).unwrap();
    assert!(program.steps.iter().any(|step| step.action.name() == "integer product"), "{program:#?}");
}

/// Hard swish of integers, as exact towers have it, with a factor for each channel.
fn hard_swish(rng: &mut Stream, narrowed: bool) -> (ModelProto, [usize; 3]) {
    let mut pick = |of: &[usize]| of[random::below(rng, of.len())];
    let channels = pick(&[5, 16, 24, 33, 72]);
    let size = [1, pick(&[1, 2, 7]), pick(&[1, 3, 8])];
    let (three, low) = (pick(&[40, 99, 127]) as f32, if pick(&[0, 1]) == 0 { -127.0 } else { -9.0 });
    let g = Graph::new("hard swish");
    let mut weights = |name: &str, shape: &[usize], of: &dyn Fn(usize) -> f32| {
        let w = ArrayD::from_shape_simple_fn(IxDyn(shape), || of(random::below(rng, 255)));
        g.initializer(name, Constant::F32(w))
    };
    let level = |x: usize| x as f32 - 127.0;
    let x = g.input(INPUT, DType::U8, &size_of(size)).cast(DType::F32);
    let v = weights("v", &[channels, 1, 1, 1], &level);
    let x = x.conv(v, Some(weights("a", &[channels], &level)), ConvAttrs::default());
    let x = (x * g.scalar(2f32.powi(-7))).floor().clip(low, 127.0);
    let mut y = x * (x + g.scalar(three)).clip(0.0, 2.0 * three);
    if narrowed {
        y = (y * g.scalar(2f32.powi(-3)) + g.scalar(0.5)).floor();
    }
    // Of few bits, as exporters choose them.
    let factors = weights("f", &[1, channels, 1, 1], &|x| (x % 16 + 8) as f32 / 16384.0);
    let y = (y * factors + g.scalar(0.5)).floor().clip(-20.0, 127.0);
    let z = y.conv(weights("u", &[9, channels, 1, 1], &level), None, ConvAttrs::default());
    g.output(OUTPUT, z.flatten(1));
    (g.to_model_batched("N").unwrap(), size)
}

#[test]
fn hard_swish_of_each_channel_keeps_its_bits_without_tables() {
    for seed in 0..40 {
        let mut rng = random::stream(seed, "hard swish", 0, 0);
        let (model, size) = hard_swish(&mut rng, seed % 2 == 0);
        assert_exact(&model, &images(seed, 2, size), &format!("graph {seed}"));
        let program = program(&model, size, Kernels::best()).unwrap();
        let steps: Vec<&str> = program.steps.iter().map(|step| step.action.name()).collect();
        assert!(steps.contains(&"times itself within limits"), "graph {seed}: {steps:?}");
        let gate = |step: &Step| matches!(&step.action, Action::Gate { integers: Some(_), .. });
        assert!(program.steps.iter().any(gate), "graph {seed}: {program:#?}");
        assert!(program.maps.iter().skip(1).rev().skip(1).all(|map| map.bytes), "graph {seed}: {program:#?}");
    }
}

#[test]
fn a_ramp_that_begins_far_beyond_its_limit_keeps_its_bits() {
    let g = Graph::new("far");
    let constant = |name: &str, shape: &[usize], of: &[f32]| {
        g.initializer(name, Constant::F32(ArrayD::from_shape_vec(IxDyn(shape), of.to_vec()).unwrap()))
    };
    let x = g.input(INPUT, DType::U8, &[1, 1, 6, 7]).cast(DType::F32);
    let x =
        x.conv(constant("v", &[2, 1, 1, 1], &[1.0, -1.0]), None, ConvAttrs::default()).clip(-127.0, 127.0);
    // In 16 bits the sum would be below 0.
    let y = x * (x + g.scalar(32_700.0)).clip(0.0, 100.0);
    let y = (y * constant("f", &[1, 2, 1, 1], &[2f32.powi(-7), 2f32.powi(-8)]) + g.scalar(0.5)).floor();
    let y =
        y.clip(-127.0, 127.0).conv(constant("w", &[1, 2, 1, 1], &[3.0, -5.0]), None, ConvAttrs::default());
    g.output(OUTPUT, y.flatten(1));
    let model = g.to_model_batched("N").unwrap();
    assert_exact(&model, &images(8, 2, [1, 6, 7]), "far");
}
