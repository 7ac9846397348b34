#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::kernels::Kernels;
use super::*;
use crate::export::{self, Calibration};
use crate::graph::{ConvAttrs, DType, Expr, Graph, Tensor as Constant};
use crate::model::recipe::{Init, Layer, Padding};
use crate::model::{self, Params, Recipe, Role};
use crate::random::{self, Stream};
use crate::tower::{INPUT, OUTPUT, Provenance};
use crate::walk::interpreter;
use ndarray::{Array4, ArrayD, IxDyn};
use prost::Message;
use std::collections::BTreeMap;

fn images(seed: u64, count: usize, [channels, height, width]: [usize; 3]) -> Array4<u8> {
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
fn truth(model: &ModelProto, images: &Array4<u8>) -> Vec<Vec<f64>> {
    let one = |image: ndarray::ArrayView3<'_, u8>| {
        let image = image.mapv(f64::from).insert_axis(ndarray::Axis(0)).into_dyn();
        let inputs = BTreeMap::from([(INPUT.to_string(), image)]);
        interpreter::run(model, inputs).unwrap().remove(OUTPUT).unwrap().iter().copied().collect()
    };
    images.outer_iter().map(one).collect()
}

/// What a program gives, every image with the same scratch.
fn lowered(program: &Program, images: &Array4<u8>) -> Vec<Vec<f64>> {
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

fn size(images: &Array4<u8>) -> [usize; 3] {
    let &[_, channels, height, width] = images.shape() else { unreachable!("four axes") };
    [channels, height, width]
}

/// The plan of a model for one image, lowered or as tract has it.
fn plan(model: &ModelProto, size: [usize; 3], lower: bool) -> (Arc<TypedSimplePlan>, bool) {
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
    let typed = if lower { super::lower(typed, model).unwrap() } else { typed };
    let optimised = typed.into_optimized().unwrap();
    let has = optimised.nodes().iter().any(|node| node.op_is::<Lowered>());
    (optimised.into_runnable().unwrap(), has)
}

/// What a plan gives.
fn planned(plan: &Arc<TypedSimplePlan>, images: &Array4<u8>) -> Vec<Vec<f64>> {
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
fn assert_exact(model: &ModelProto, images: &Array4<u8>, what: &str) {
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
    Recipe { size, tower, init: Init::He, ..Recipe::load(path).unwrap() }
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
    Layer::Conv { filters, kernel, stride, padding }
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
        recipe.tower.push(Layer::Sigmoid);
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

/// A random graph of operations on integers and their binary fractions, none of which float32 rounds.
struct Fuzz<'g> {
    rng: Stream,
    g: &'g Graph,
    values: Vec<Bounded<'g>>,
}

/// A value with the bound of its magnitude and the exponent of its step.
type Bounded<'g> = (Expr<'g>, f64, i32);

impl<'g> Fuzz<'g> {
    fn of(seed: u64) -> ModelProto {
        let mut rng = random::stream(seed, "fuzz", 0, 0);
        let g = &Graph::new("fuzz");
        let channels = [1, 3][random::below(&mut rng, 2)];
        let size = 9 + random::below(&mut rng, 8);
        let image = g.input(INPUT, DType::U8, &[1, channels, size, size + seed as usize % 3]);
        let mut fuzz = Fuzz { rng, g, values: vec![(image.cast(DType::F32), 255.0, 0)] };
        for _ in 0..14 {
            fuzz.grow();
        }
        let (last, ..) = fuzz.values[fuzz.values.len() - 1];
        g.output(OUTPUT, last.flatten(1));
        g.to_model_batched("N").unwrap()
    }

    fn below(&mut self, n: usize) -> usize {
        random::below(&mut self.rng, n)
    }

    /// One more value: mostly of the latest, sometimes of an earlier one.
    fn grow(&mut self) {
        let back = if self.below(4) == 0 { self.below(self.values.len()) } else { 0 };
        let (x, most, step) = self.values[self.values.len() - 1 - back];
        let grown = match self.below(11) {
            0..=2 => self.conv(x, most, step),
            3 => {
                let exponent = self.below(9) as i32 - 7;
                Some((x * 2f32.powi(exponent), most * 2f64.powi(exponent), step + exponent))
            }
            4 => Some((x.floor(), most + 1.0, step.max(0))),
            5 => {
                let low = [0.0, -127.0, -3.0][self.below(3)];
                Some((x.clip(low, 127.0), most.clamp(0.0, 127.0), step.min(0)))
            }
            6 => Some((x.relu(), most, step)),
            7 => self.pool(x, most, step),
            8 => {
                let offset = [0.5, -2.0, 7.0][self.below(3)];
                Some((x + offset, most + 7.0, step.min(-1)))
            }
            _ => Some(self.sum(x, most, step)),
        };
        // What float32 might round is no part of the graph's last value.
        if let Some(grown) = grown.filter(|(_, most, step)| most * 2f64.powi(-step) < 16_777_216.0) {
            self.values.push(grown);
        }
    }

    fn conv(&mut self, x: Expr<'g>, most: f64, step: i32) -> Option<Bounded<'g>> {
        let shape = x.shape();
        let (k, stride) = ([1, 2, 3, 5][self.below(4)], 1 + self.below(2));
        let (filters, taps) = (1 + self.below(50), shape[1] * k * k);
        // As great as the sums allow, and sometimes beyond what 8 bits hold.
        let room = 8_000_000.0 * 2f64.powi(step) / (taps as f64 * most);
        let greatest = room.min([127.0, 127.0, 300.0][self.below(3)]).floor();
        if greatest < 1.0 || shape[2] * shape[3] < 9 {
            return None;
        }
        let weights = ArrayD::from_shape_fn(IxDyn(&[filters, shape[1], k, k]), |_| {
            random::between(&mut self.rng, -greatest as f32, greatest as f32).round()
        });
        let bias = ArrayD::from_shape_fn(IxDyn(&[filters]), |_| {
            random::below(&mut self.rng, 400) as f32 - 200.0 + [0.0, 0.5][random::below(&mut self.rng, 2)]
        });
        let number = self.values.len();
        let w = if greatest <= 127.0 {
            let bytes = weights.mapv(|w| w as i8);
            self.g.initializer(&format!("w{number}"), Constant::I8(bytes)).cast(DType::F32)
        } else {
            self.g.initializer(&format!("w{number}"), Constant::F32(weights))
        };
        let b = self.g.initializer(&format!("b{number}"), Constant::F32(bias));
        let pads = [0, 1, 2, 3].map(|_| self.below(k));
        let attrs = ConvAttrs { strides: [stride; 2], pads, ..ConvAttrs::default() };
        let fits = shape[2] + pads[0] + pads[2] >= k && shape[3] + pads[1] + pads[3] >= k;
        fits.then(|| (x.conv(w, Some(b), attrs), taps as f64 * most * greatest + 201.0, step.min(-1)))
    }

    fn pool(&mut self, x: Expr<'g>, most: f64, step: i32) -> Option<Bounded<'g>> {
        let (mean, k) = (self.below(2) == 0, [1, 2, 3][self.below(3)]);
        let window = if mean { [k.min(2); 2] } else { [k, 2] };
        if x.dim(2) < window[0] || x.dim(3) < window[1] {
            return None;
        }
        Some(match mean {
            true => (x.average_pool(window, [2, 1]), most, step - 2),
            false => (x.max_pool(window, [1 + k % 2, 2]), most, step),
        })
    }

    /// The sum with an earlier value of the same shape, either of which may be scaled first.
    fn sum(&mut self, x: Expr<'g>, most: f64, step: i32) -> Bounded<'g> {
        let alike: Vec<_> = self.values.iter().filter(|v| v.0.shape() == x.shape()).copied().collect();
        let (mut other, mut other_most, mut other_step) = alike[self.below(alike.len())];
        if self.below(2) == 0 {
            (other, other_most, other_step) = (other * 0.25, other_most * 0.25, other_step - 2);
        }
        let (a, b) = if self.below(2) == 0 { (x, other) } else { (other, x) };
        (a + b, most + other_most, step.min(other_step))
    }
}

#[test]
fn random_graphs_of_exact_operations_keep_their_bits() {
    let mut integers = 0;
    for seed in 0..80 {
        let model = Fuzz::of(seed);
        let dims = model.graph.as_ref().unwrap().input[0].clone();
        let Some(crate::onnx::type_proto::Value::Tensor(tensor)) = dims.r#type.and_then(|t| t.value) else {
            panic!("the image is a tensor")
        };
        let dim = |i: usize| match tensor.shape.as_ref().unwrap().dim[i].value {
            Some(crate::onnx::DimensionValue::Value(d)) => d as usize,
            _ => panic!("the size is known"),
        };
        let images = images(seed, 2, [dim(1), dim(2), dim(3)]);
        let Some(compiled) = program(&model, size(&images), Kernels::best()) else {
            // A graph without a product is left to tract.
            let (plan, _) = plan(&model, size(&images), true);
            assert_eq!(planned(&plan, &images), truth(&model, &images), "graph {seed}");
            continue;
        };
        integers += compiled.steps.iter().filter(|s| s.action.name() == "integer product").count();
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
    // Two values leave the lowered part: one into `Abs`, the other into the sum behind it.
    let pooled = x.conv(w, None, attrs).relu().max_pool([2, 2], [2, 2]);
    g.output(OUTPUT, ((-pooled).abs() + pooled).flatten(1));
    let model = g.to_model_batched("N").unwrap();
    let images = images(1, 3, [1, 12, 12]);
    assert!(program(&model, size(&images), Kernels::best()).is_none(), "the whole of it is not lowered");
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
