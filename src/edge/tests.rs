#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::Error;
use crate::export::{self, Calibration};
use crate::graph::{ConvAttrs, DType, Graph, Tensor as Constant};
use crate::model::recipe::{Init, Layer, Padding};
use crate::model::{self, Params, Recipe, Role};
use crate::onnx::{NodeProto, Operator};
use crate::op::range::{Facts, range, tests::growth::Growth};
use crate::random::{self, Stream};
use crate::tower::{INPUT, OUTPUT, Provenance};
use crate::walk::interpreter;
use ndarray::{Array4, ArrayD, IxDyn};
use prost::Message;
use std::collections::BTreeMap;
use std::sync::Arc;
use tract_onnx::prelude::*;

pub(super) fn images(seed: u64, count: usize, [channels, height, width]: [usize; 3]) -> Array4<u8> {
    let mut rng = random::stream(seed, "images", 0, 0);
    // Mostly paper and full ink: the ends of the range.
    let pixel = |rng: &mut Stream| match random::below(rng, 4) {
        0 => 255,
        1 => random::below(rng, 256) as u8,
        _ => 0,
    };
    Array4::from_shape_fn((count, channels, height, width), |_| pixel(&mut rng))
}

/// The float64 interpreter's output, image by image.
pub(super) fn truth(model: &ModelProto, images: &Array4<u8>) -> Vec<Vec<f64>> {
    let one = |image: ndarray::ArrayView3<'_, u8>| {
        let image = image.mapv(f64::from).insert_axis(ndarray::Axis(0)).into_dyn();
        let inputs = BTreeMap::from([(INPUT.to_string(), image)]);
        interpreter::run(model, inputs).unwrap().remove(OUTPUT).unwrap().iter().copied().collect()
    };
    images.outer_iter().map(one).collect()
}

/// What a program gives, every image with the same scratch.
pub(super) fn lowered(program: &Program, images: &Array4<u8>) -> Vec<Vec<f64>> {
    let elements = program.output_size(0);
    let mut scratch = program.scratch();
    let one = |image: ndarray::ArrayView3<'_, u8>| {
        program.run(&mut scratch, image.as_slice().unwrap());
        let mut out = vec![0.0; elements];
        program.output(&scratch, 0, 0, &mut out);
        out.into_iter().map(f64::from).collect()
    };
    images.outer_iter().map(one).collect()
}

/// What a program gives for as many images at once as it takes.
fn together(program: &Program, images: &Array4<u8>) -> Vec<Vec<f64>> {
    let mut scratch = program.scratch();
    let mut rows = Vec::new();
    for group in images.axis_chunks_iter(ndarray::Axis(0), program.images) {
        program.run(&mut scratch, group.as_slice().unwrap());
        rows.extend((0..group.shape()[0]).map(|i| {
            let mut out = vec![0.0; program.output_size(0)];
            program.output(&scratch, 0, i, &mut out);
            out.into_iter().map(f64::from).collect::<Vec<f64>>()
        }));
    }
    rows
}

pub(super) fn size(images: &Array4<u8>) -> [usize; 3] {
    let &[_, channels, height, width] = images.shape() else { unreachable!("four axes") };
    [channels, height, width]
}

/// The plan of a model for one image, lowered or as tract has it.
pub(super) fn plan(model: &ModelProto, size: [usize; 3], lower: bool) -> (Arc<TypedSimplePlan>, bool) {
    let [channels, height, width] = size;
    let bytes = model.encode_to_vec();
    let typed = onnx()
        .with_ignore_value_info(true)
        .model_for_read(&mut bytes.as_slice())
        .unwrap()
        .with_input_fact(0, u8::fact([1, channels, height, width]).into())
        .unwrap()
        .into_typed()
        .unwrap();
    let typed = if lower { super::lower(typed, model, Kernels::best()).unwrap() } else { typed };
    let optimised = typed.into_optimized().unwrap();
    let has = optimised.nodes().iter().any(|node| node.op_is::<LoweredOp>());
    (optimised.into_runnable().unwrap(), has)
}

/// What a plan gives.
pub(super) fn planned(plan: &Arc<TypedSimplePlan>, images: &Array4<u8>) -> Vec<Vec<f64>> {
    let mut state = plan.spawn().unwrap();
    let one = |image: ndarray::ArrayView3<'_, u8>| {
        let shape = [&[1], image.shape()].concat();
        let input = Tensor::from_shape(&shape, image.as_slice().unwrap()).unwrap();
        let output = state.run(tvec!(input.into())).unwrap();
        let output = output[0].try_as_plain_ram().unwrap().as_slice::<f32>().unwrap();
        output.iter().map(|x| f64::from(*x)).collect()
    };
    images.outer_iter().map(one).collect()
}

/// Bits equal to the interpreter's, with every kernel and inside tract.
pub(super) fn assert_exact(model: &ModelProto, images: &Array4<u8>, what: &str) {
    let truth = truth(model, images);
    for kernels in Kernels::all() {
        let program = program(model, size(images), kernels).expect("it is lowered whole");
        assert_eq!(lowered(&program, images), truth, "{what}, {} kernels", kernels.name);
    }
    let (plan, has) = plan(model, size(images), true);
    assert!(has, "{what}: nothing was lowered inside tract");
    assert_eq!(planned(&plan, images), truth, "{what}, inside tract");
}

fn recipe(size: usize, tower: Vec<Layer>) -> Recipe {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/mnist-fc2");
    Recipe { size, tower: tower.into(), init: Init::He, ..Recipe::load(path).unwrap() }
}

/// Parameters as if trained.
fn params(recipe: &Recipe) -> Params {
    let specs = model::param_specs(recipe).unwrap();
    let mut params = model::initialise(recipe, &specs, 3);
    for (i, spec) in specs.iter().enumerate() {
        let mut rng = random::stream(3, "lowering parameters", i as u64, 0);
        let range = match spec.role {
            Role::Weight => continue,
            Role::Bias | Role::Shift | Role::Mean => (-0.2, 0.2),
            Role::Scale | Role::Var => (0.5, 1.5),
        };
        params.get_mut(&spec.name).unwrap().mapv_inplace(|_| random::between(&mut rng, range.0, range.1));
    }
    params
}

fn conv(filters: usize, kernel: usize, stride: usize, padding: Padding) -> Layer {
    Layer::Conv { filters, kernel, stride, padding, groups: 1 }
}

/// Towers of every kind of layer, with odd sizes, both strides and windows of 1, 3, 5 and even sides.
fn recipes() -> Vec<Recipe> {
    use Layer::*;
    let (half, same, valid) = (Padding::Half, Padding::Same, Padding::Valid);
    vec![
        recipe(
            17,
            vec![
                conv(16, 3, 1, half),
                BatchNorm,
                Relu,
                conv(20, 3, 2, half),
                BatchNorm,
                Relu,
                Residual { filters: 20, stride: 1 },
                Residual { filters: 37, stride: 2 },
                conv(9, 1, 1, valid),
                Relu,
                Flatten,
                Fc { units: 33 },
            ],
        ),
        recipe(
            15,
            vec![
                conv(5, 5, 1, valid),
                Relu,
                MaxPool { size: 2 },
                conv(70, 5, 2, half),
                Relu,
                AveragePool { size: 2 },
                conv(6, 1, 2, valid),
                GlobalAveragePool,
            ],
        ),
        recipe(
            13,
            vec![
                conv(4, 4, 2, same),
                MaxPool { size: 2 },
                Relu,
                conv(6, 2, 1, same),
                AveragePool { size: 3 },
                Flatten,
                Fc { units: 20 },
                Relu,
                Dropout(0.5),
                Fc { units: 9 },
                L2Norm,
            ],
        ),
        recipe(
            24,
            vec![
                conv(4, 3, 1, half),
                Relu,
                AveragePool { size: 2 },
                Residual { filters: 4, stride: 1 },
                conv(130, 3, 2, half),
                Relu,
                Residual { filters: 12, stride: 2 },
                AveragePool { size: 2 },
                Flatten,
                Fc { units: 16 },
                L2Norm,
            ],
        ),
        recipe(8, vec![Flatten, Fc { units: 6 }]),
    ]
}

#[test]
fn exact_towers_keep_their_bits_on_every_kernel_and_inside_tract() {
    for (i, recipe) in recipes().iter().enumerate() {
        let images = images(i as u64, 3, [1, recipe.size, recipe.size]);
        let how = Calibration { images: images.view(), correct_biases: i % 2 == 0 };
        let model = export::exact(recipe, &params(recipe), &Provenance::default(), how).unwrap();
        assert_exact(&model, &images, &format!("tower {i}"));
        let program = program(&model, size(&images), Kernels::best()).unwrap();
        // Whatever reads 8-bit maps was found to be computable with integers.
        let floats = program.steps.iter().filter(|s| s.action.name() == "float product");
        assert!(floats.clone().all(|s| !program.maps[s.from].bytes), "tower {i}: {:?}", program.describe());
    }
}

#[test]
fn images_that_are_run_together_keep_their_bits() {
    let mut grouped = 0;
    for (i, recipe) in recipes().iter().enumerate() {
        let images = images(i as u64, 29, [1, recipe.size, recipe.size]);
        let how = Calibration { images: images.view(), correct_biases: true };
        let float = export::float(recipe, &params(recipe), &Provenance::default()).unwrap();
        let exact = export::exact(recipe, &params(recipe), &Provenance::default(), how).unwrap();
        for (model, kernels) in
            [float, exact].iter().flat_map(|m| Kernels::all().into_iter().map(move |k| (m, k)))
        {
            let program = program(model, size(&images), kernels).unwrap();
            grouped += usize::from(program.images > 1);
            let alone = lowered(&program, &images);
            assert!(together(&program, &images) == alone, "tower {i}, {} kernels: {program:?}", kernels.name);
        }
    }
    assert!(grouped > 0, "no program takes several images");
}

#[test]
fn float_towers_agree_with_float64_to_rounding() {
    const TOLERANCE: f64 = 2e-5;
    for (i, recipe) in recipes().iter().enumerate() {
        let mut recipe = recipe.clone();
        recipe.tower = [recipe.tower.layers(), &[Layer::Sigmoid]].concat().into();
        let images = images(i as u64, 2, [1, recipe.size, recipe.size]);
        let model = export::float(&recipe, &params(&recipe), &Provenance::default()).unwrap();
        let truth = truth(&model, &images);
        let close = |given: &[Vec<f64>], what: &str| {
            let pairs = given.iter().flatten().zip(truth.iter().flatten());
            let worst = pairs.map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f64::max);
            assert!(worst <= TOLERANCE, "tower {i}, {what}: off by {worst}");
        };
        for kernels in Kernels::all() {
            let program = program(&model, size(&images), kernels).expect("it is lowered whole");
            close(&lowered(&program, &images), kernels.name);
        }
        let (plan, has) = plan(&model, size(&images), true);
        assert!(
            has && planned(&plan, &images)
                == lowered(&program(&model, size(&images), Kernels::best()).unwrap(), &images)
        );
        close(&planned(&plan, &images), "inside tract");
    }
}

/// A random graph of operators that float32 does not round, in forms that steps compute.
fn random_exact(seed: u64) -> (ModelProto, [usize; 3]) {
    use Operator::*;
    const KINDS: [Operator; 12] =
        [Conv, Mul, Div, Floor, Clip, Clip, Relu, AveragePool, MaxPool, Add, Sub, Identity];
    let rule = |node: &NodeProto, facts: &Facts<'_>| {
        let other = match node.operator() {
            Some(Conv) => node.int_or("group", 1) != 1,
            Some(MaxPool) => node.ints("pads").is_some(),
            Some(Sub) => !node.input.iter().any(|name| facts.constants.has(name)),
            _ => false,
        };
        if other { Err(Error::invalid("the node", "has another form")) } else { range(node, facts) }
    };
    let mut rng = random::stream(seed, "kinds", 0, 0);
    let mut growth = Growth::new(seed, 9 + seed as usize % 8, &rule);
    for _ in 0..20 {
        let convolve = random::below(&mut rng, 5) == 0;
        growth.grow(if convolve { Conv } else { KINDS[random::below(&mut rng, KINDS.len())] });
    }
    let size = &growth.values[INPUT].shape()[1..];
    let size = [size[0], size[1], size[2]];
    (growth.into_model(), size)
}

#[test]
fn random_graphs_of_exact_operations_keep_their_bits() {
    let mut integers = 0;
    for seed in 0..80 {
        let (model, size) = random_exact(seed);
        let images = images(seed, 2, size);
        let Ok(compiled) = program(&model, size, Kernels::best()) else {
            // A graph without a product is left to tract.
            let (plan, _) = plan(&model, size, true);
            assert_eq!(planned(&plan, &images), truth(&model, &images), "graph {seed}");
            continue;
        };
        integers += compiled.steps.iter().filter(|s| s.action.name().starts_with("integer product")).count();
        assert_exact(&model, &images, &format!("graph {seed}: {:#?}", compiled.describe()));
    }
    assert!(integers >= 20, "only {integers} products were computed with integers");
}

#[test]
fn what_is_not_known_is_left_to_tract() {
    let g = Graph::new("mixed");
    let x = g.input(INPUT, DType::U8, &[1, 1, 12, 12]).cast(DType::F32);
    let weights = ArrayD::from_shape_fn(IxDyn(&[8, 1, 3, 3]), |i| (i[0] * 9 + i[2] * 3 + i[3]) as f32 - 40.0);
    let w = g.initializer("w", Constant::F32(weights));
    let attrs = ConvAttrs { pads: [1; 4], ..ConvAttrs::default() };
    // Two values leave the lowered part: one into `Sign`, the other into the sum behind it.
    let pooled = x.conv(w, None, attrs).relu().max_pool([2, 2], [2, 2]);
    g.output(OUTPUT, (pooled.sign() + pooled).flatten(1));
    let model = g.to_model_batched("N").unwrap();
    let images = images(1, 3, [1, 12, 12]);
    let Coverage { lowered, left } = coverage(&model).unwrap();
    assert_eq!(lowered, ["Cast_0", "Conv_1", "Relu_2", "MaxPool_3"]);
    assert_eq!(program(&model, size(&images), Kernels::best()).unwrap_err(), left);
    let reasons: Vec<(&str, Why)> = left.iter().map(|refusal| (refusal.op.as_str(), refusal.why)).collect();
    let expected = [("Sign", Why::Function), ("Add", Why::Input), ("Flatten", Why::Input)];
    assert_eq!(reasons, expected, "the whole of it is not lowered");
    let (plan, has) = plan(&model, size(&images), true);
    assert!(has, "its beginning is");
    assert_eq!(planned(&plan, &images), truth(&model, &images));
}

#[test]
fn a_product_that_float32_may_round_is_not_computed_with_integers() {
    for (weight, integers) in [(64.0f32, true), (127.0, false)] {
        let g = Graph::new("limit");
        let x = g.input(INPUT, DType::U8, &[1, 1, 26, 26]).cast(DType::F32);
        let w = g.initializer("w", Constant::F32(ArrayD::from_elem(IxDyn(&[2, 1, 26, 26]), weight)));
        g.output(OUTPUT, x.conv(w, None, ConvAttrs::default()).flatten(1));
        let program = program(&g.to_model_batched("N").unwrap(), [1, 26, 26], Kernels::best()).unwrap();
        // 26²·255·64 = 11.0 million, 26²·255·127 = 21.9 million, and 2²⁴ is 16.8 million.
        assert_eq!(program.steps.iter().any(|s| s.action.name() == "integer product"), integers);
    }
}

#[test]
fn integers_below_0_are_moved_up_for_a_product_of_integers() {
    for channels in [5, 600] {
        let weight = |i: [usize; 4]| ((i[0] * 11 + i[1] * 7 + i[2] * 5 + i[3] * 3) % 15) as f32 - 7.0;
        let weights = |shape: &[usize]| {
            Constant::F32(ArrayD::from_shape_fn(IxDyn(shape), |i| weight([i[0], i[1], i[2], i[3]])))
        };
        let g = Graph::new("signed");
        let x = g.input(INPUT, DType::U8, &[1, 1, 6, 6]).cast(DType::F32);
        let attrs = ConvAttrs { pads: [1; 4], ..ConvAttrs::default() };
        let x = x.conv(g.initializer("v", weights(&[channels, 1, 3, 3])), None, attrs);
        let x = (x * g.scalar(0.03125)).floor().clip(-128.0, 127.0);
        // 600·127·128 = 9.8 million is below 2²⁴; that 600·127·255 is not does not matter, since 32 bits hold it.
        let wide = ArrayD::from_elem(IxDyn(&[9, channels, 1, 1]), 127.0);
        let (few, bias) = (
            g.initializer("w", weights(&[9, channels, 1, 1])),
            g.initializer("b", Constant::F32(ArrayD::from_elem(IxDyn(&[9]), 3.0))),
        );
        let w = if channels == 5 { few } else { g.initializer("wide", Constant::F32(wide)) };
        g.output(OUTPUT, x.conv(w, Some(bias), ConvAttrs::default()).flatten(1));
        let model = g.to_model_batched("N").unwrap();
        let images = images(3, 3, [1, 6, 6]);
        assert_exact(&model, &images, &format!("{channels} channels"));
        let program = program(&model, size(&images), Kernels::best()).unwrap();
        let found = program.steps.iter().filter(|s| s.action.name() == "integer product").count();
        assert_eq!(found, 2, "{:#?}", program.describe());
    }
}

#[test]
fn a_map_that_is_read_as_floats_alone_is_stored_as_floats() {
    let weights = |shape: &[usize]| Constant::F32(ArrayD::from_elem(IxDyn(shape), 1.0));
    let g = Graph::new("depthwise");
    let x = g.input(INPUT, DType::U8, &[1, 1, 7, 7]).cast(DType::F32);
    let x = (x.conv(g.initializer("v", weights(&[6, 1, 1, 1])), None, ConvAttrs::default())
        * g.scalar(0.125))
    .floor();
    let attrs = ConvAttrs { pads: [1; 4], groups: 6, ..ConvAttrs::default() };
    let w = Constant::F32(ArrayD::from_shape_fn(IxDyn(&[6, 1, 3, 3]), |i| {
        (i[0] * 9 + i[2] * 3 + i[3]) as f32 - 20.0
    }));
    g.output(OUTPUT, x.conv(g.initializer("w", w), None, attrs).flatten(1));
    let model = g.to_model_batched("N").unwrap();
    let images = images(4, 3, [1, 7, 7]);
    assert_exact(&model, &images, "a depthwise convolution");
    let program = program(&model, size(&images), Kernels::best()).unwrap();
    assert_eq!(program.steps.len(), 2, "{:#?}", program.describe());
}
