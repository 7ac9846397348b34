#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::graph::{DType, Graph};
use crate::image::Colour;
use crate::model::recipe::{Activation, Init, Layer, Padding};
use crate::model::{self, Mode, Params, Recipe, Role};
use crate::onnx::data_type;
use crate::random;
use crate::tower::{Distance, INPUT, OUTPUT, Provenance, TowerKind, TowerSpec, prove};
use crate::walk::{Interpreter, interpreter};
use ndarray::{Array2, Array4, ArrayD, Axis};
use std::collections::BTreeMap;

fn recipe(name: &str) -> Recipe {
    Recipe::load(Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx").join(name)).unwrap()
}

/// A recipe with a tower of its own.
fn with(size: usize, tower: Vec<Layer>) -> Recipe {
    Recipe { size, tower: tower.into(), init: Init::He, ..recipe("mnist-fc2") }
}

fn conv(filters: usize, kernel: usize, stride: usize, padding: Padding) -> Layer {
    Layer::Conv { filters, kernel, stride, padding, groups: 1 }
}

/// Parameters as if trained: biases and statistics are not at their start.
fn params(recipe: &Recipe) -> Params {
    let specs = model::param_specs(recipe).unwrap();
    let mut params = model::initialise(recipe, &specs, 7);
    for (i, spec) in specs.iter().enumerate() {
        let mut rng = random::stream(7, "test parameters", i as u64, 0);
        let range = match spec.role {
            Role::Weight => continue,
            Role::Bias | Role::Shift | Role::Mean => (-0.2, 0.2),
            Role::Scale | Role::Var => (0.5, 1.5),
        };
        params.get_mut(&spec.name).unwrap().mapv_inplace(|_| random::between(&mut rng, range.0, range.1));
    }
    if recipe.wccn.is_some() {
        let dim = model::plan(recipe).unwrap().last().unwrap().output[0];
        params.insert(model::WCCN.into(), Array2::eye(dim).into_dyn());
    }
    params
}

/// Pictures of a few strokes, as the recipe's tower takes them.
fn images_for(recipe: &Recipe, count: usize) -> Array4<u8> {
    let [channels, size, _] = recipe.image();
    let ink = images(size, count);
    // Strokes of other levels in each channel, on what is no longer black.
    Array4::from_shape_fn((count, channels, size, size), |(i, c, y, x)| {
        let level = ink[[(i + c) % count, 0, y, x]];
        if channels == 1 { level } else { 255 - level / (c + 1) as u8 }
    })
}

/// Strokes of ink.
fn images(size: usize, count: usize) -> Array4<u8> {
    let mut images = Array4::zeros((count, 1, size, size));
    for (i, mut image) in images.outer_iter_mut().enumerate() {
        let mut rng = random::stream(1, "test images", i as u64, 0);
        for _ in 0..3 {
            let (line, across, level) = (
                random::below(&mut rng, size),
                random::happens(&mut rng, 0.5),
                128 + random::below(&mut rng, 128),
            );
            for along in 0..size {
                let at = if across { [0, line, along] } else { [0, along, line] };
                image[at] = level as u8;
            }
        }
    }
    images
}

/// One image through the reference interpreter.
fn truth(model: &ModelProto, images: &Array4<u8>) -> ArrayD<f64> {
    let inputs = BTreeMap::from([(INPUT.to_string(), images.mapv(f64::from).into_dyn())]);
    interpreter::run(model, inputs).unwrap().remove(OUTPUT).unwrap()
}

/// Each image alone, in float32.
fn in_float32(model: &ModelProto, images: &Array4<u8>) -> ArrayD<f32> {
    let interpreter = Interpreter::<f32>::new(model).unwrap();
    let one = |image: ndarray::ArrayView4<u8>| {
        let inputs = BTreeMap::from([(INPUT.to_string(), image.mapv(f32::from).into_dyn())]);
        interpreter.run(inputs).unwrap().remove(OUTPUT).unwrap()
    };
    let rows: Vec<_> = images.axis_chunks_iter(Axis(0), 1).map(one).collect();
    ndarray::concatenate(Axis(0), &rows.iter().map(|r| r.view()).collect::<Vec<_>>()).unwrap()
}

fn exactly(recipe: &Recipe, images: &Array4<u8>, correct_biases: bool) -> Result<ModelProto> {
    let how = Calibration { images: images.view(), correct_biases };
    exact(recipe, &params(recipe), &Provenance::default(), how)
}

/// Towers with every kind of layer that has an exact form.
fn towers() -> Vec<Recipe> {
    use Layer::*;
    let same = Padding::Same;
    vec![
        Recipe { size: 16, ..recipe("glyphs-demo") },
        // Convolutions with an even kernel and a stride (uneven padding), max-pooling, two products.
        with(
            12,
            vec![
                conv(4, 4, 2, same),
                Relu,
                MaxPool { size: 2 },
                conv(6, 3, 1, same),
                Relu,
                Flatten,
                Fc { units: 20 },
                Relu,
                Dropout(0.5),
                Fc { units: 9 },
            ],
        ),
        // Activations with a sign, ReLU after pooling, normalisation of a product.
        with(
            9,
            vec![
                conv(4, 2, 1, Padding::Valid),
                MaxPool { size: 2 },
                Relu,
                conv(4, 3, 1, same),
                Flatten,
                Fc { units: 12 },
                BatchNorm,
                Relu,
                Fc { units: 5 },
                L2Norm,
            ],
        ),
        // Means of 4 and of 9 pixels inside, blocks with both kinds of shortcut, a mean at the end.
        with(
            24,
            vec![
                conv(4, 3, 1, Padding::Half),
                BatchNorm,
                Relu,
                AveragePool { size: 2 },
                Residual { filters: 4, stride: 1 },
                AveragePool { size: 3 },
                conv(8, 3, 1, Padding::Half),
                Relu,
                Residual { filters: 12, stride: 2 },
                GlobalAveragePool,
            ],
        ),
        // A mean of 9 pixels at the end, and one of 25 that nothing rounds before.
        with(15, vec![AveragePool { size: 5 }, conv(4, 1, 1, same), Relu, GlobalAveragePool]),
        with(8, vec![Flatten, Fc { units: 6 }]),
        // Groups of channels, and each channel by itself.
        with(
            12,
            vec![
                conv(6, 3, 2, Padding::Half),
                Relu,
                Depthwise { kernel: 3, stride: 1, padding: Padding::Half },
                BatchNorm,
                Relu,
                Conv { filters: 8, kernel: 3, stride: 2, padding: Padding::Half, groups: 2 },
                Relu,
                Flatten,
                Fc { units: 10 },
            ],
        ),
        // Colours: a block of them, and one right behind the image.
        Recipe {
            colour: Some(Colour::default()),
            ..with(
                12,
                vec![
                    conv(6, 3, 2, Padding::Half),
                    BatchNorm,
                    Relu,
                    Residual { filters: 8, stride: 2 },
                    AveragePool { size: 3 },
                    Flatten,
                    Fc { units: 16 },
                    L2Norm,
                ],
            )
        },
    ]
}

#[test]
fn a_float_tower_gives_what_the_training_graph_gives() {
    for recipe in towers() {
        let params = params(&recipe);
        let images = images_for(&recipe, 3);
        let g = Graph::new("inference");
        let image = g.input(INPUT, DType::U8, images.shape());
        let values =
            params.iter().map(|(k, v)| (k.clone(), g.initializer(k, crate::graph::Tensor::F32(v.clone()))));
        let values = values.collect();
        let inferred = model::forward(&recipe, image, &values, Mode::Infer).unwrap().embedding;
        g.output(OUTPUT, inferred);
        let expected = truth(&g.to_model().unwrap(), &images);
        let tower = float(&recipe, &params, &Provenance::default()).unwrap();
        let found = truth(&tower, &images);
        let scale = expected.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        for (a, b) in found.iter().zip(&expected) {
            assert!((a - b).abs() <= 1e-5 * scale, "{a} for {b} at scale {scale}");
        }
    }
}

#[test]
fn a_tower_without_normalisation_is_the_training_graph_itself() {
    let recipe = Recipe { size: 8, ..recipe("mnist-fc2") };
    let (params, images) = (params(&recipe), images(8, 4));
    let g = Graph::new("training");
    let image = g.input(INPUT, DType::U8, images.shape());
    let inputs: BTreeMap<_, _> =
        params.iter().map(|(k, v)| (k.clone(), g.input(k, DType::F32, v.shape()))).collect();
    let trained = model::forward(&recipe, image, &inputs, Mode::Train).unwrap().embedding;
    g.output(OUTPUT, trained);
    let mut values: BTreeMap<_, _> = params.iter().map(|(k, v)| (k.clone(), v.mapv(f64::from))).collect();
    values.insert(INPUT.into(), images.mapv(f64::from).into_dyn());
    let expected = interpreter::run(&g.to_model().unwrap(), values).unwrap().remove(OUTPUT).unwrap();
    assert_eq!(truth(&float(&recipe, &params, &Provenance::default()).unwrap(), &images), expected);
}

#[test]
fn the_calibration_computes_what_the_reference_computes() {
    for recipe in towers() {
        let images = images_for(&recipe, 3);
        let tower = float(&recipe, &params(&recipe), &Provenance::default()).unwrap();
        let (found, expected) = (in_float32(&tower, &images), truth(&tower, &images));
        let scale = expected.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        for (a, b) in found.iter().zip(&expected) {
            assert!((f64::from(*a) - b).abs() <= 1e-5 * scale, "{a} for {b}");
        }
    }
}

/// The cosine of two vectors.
fn cosine(a: impl Iterator<Item = f64> + Clone, b: impl Iterator<Item = f64> + Clone) -> f64 {
    let dot = |x: &dyn Fn(f64, f64) -> f64| a.clone().zip(b.clone()).map(|(a, b)| x(a, b)).sum::<f64>();
    dot(&|a, b| a * b) / (dot(&|a, _| a * a) * dot(&|_, b| b * b)).sqrt()
}

#[test]
fn exact_towers_stay_near_the_float_ones_and_are_integers() {
    for (i, recipe) in towers().into_iter().enumerate() {
        for correct in [false, true] {
            let images = images_for(&recipe, 60);
            let tower = exactly(&recipe, &images, correct).unwrap();
            let few = images.slice_move(ndarray::s![..4, .., .., ..]);
            let (found, trained) = (
                truth(&tower, &few),
                truth(&float(&recipe, &params(&recipe), &Provenance::default()).unwrap(), &few),
            );
            for (a, b) in found.outer_iter().zip(trained.outer_iter()) {
                let alike = cosine(a.iter().copied(), b.iter().copied());
                assert!(alike > 0.995, "tower {i}, corrected {correct}: cosine {alike}");
                assert!(a.iter().all(|x| x.fract() == 0.0 && x.abs() <= 127.0));
            }
            assert!(found.iter().any(|x| x.abs() > 30.0), "tower {i} does not use its range: {found}");
        }
    }
}

#[test]
fn float32_in_another_order_gives_the_same_bits() {
    for recipe in towers() {
        let images = images_for(&recipe, 20);
        let tower = exactly(&recipe, &images, false).unwrap();
        assert_eq!(in_float32(&tower, &images).mapv(f64::from), truth(&tower, &images));
    }
}

#[test]
fn saved_towers_tell_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe("omniglot-edge");
    let path = folder.path().join("tower.onnx");
    let tower = float(&recipe, &params(&recipe), &Provenance::default()).unwrap();
    let spec = save(&tower, &path).unwrap();
    assert_eq!((spec.name.as_str(), spec.kind, spec.dim), ("omniglot-edge", TowerKind::Float, 128));
    assert_eq!(spec.distance, Distance::Cosine);
    assert_eq!(Provenance::read(&tower).unwrap().recipe.unwrap(), recipe);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let exact_path = folder.path().join("tower.exact.onnx");
    let told = Provenance { data: Some("test".into()), ..Provenance::default() };
    let images = images(32, 8);
    let how = Calibration { images: images.view(), correct_biases: false };
    let exact = exact(&recipe, &params(&recipe), &told, how).unwrap();
    let spec = save(&exact, &exact_path).unwrap();
    assert_eq!((spec.kind, spec.dim, spec.distance), (TowerKind::Exact, 128, Distance::Cosine));
    let told = Provenance::read(&exact).unwrap();
    assert_eq!(
        (told.bounds.as_slice(), told.data.as_deref()),
        (prove(&exact).unwrap().as_slice(), Some("test"))
    );
    let bytes = |path: &Path| std::fs::metadata(path).unwrap().len();
    let share = bytes(&exact_path) as f64 / bytes(&path) as f64;
    assert!(share < 0.28, "the exact file has {share} of the float one's size");
}

#[test]
fn a_changed_weight_that_breaks_the_bound_is_refused() {
    let recipe = Recipe { size: 16, ..recipe("glyphs-demo") };
    let tower = exactly(&recipe, &images(16, 8), false).unwrap();
    let mut broken = tower.clone();
    let tensors = &mut broken.graph.as_mut().unwrap().initializer;
    let weight = tensors.iter_mut().find(|t| t.name() == "fc1.weight").unwrap();
    assert_eq!(weight.data_type(), data_type::INT8);
    // The same weight as a float32, large enough that sums leave the integers that float32 holds.
    let mut values: Vec<f32> = weight.raw_data().iter().map(|b| f32::from(*b as i8)).collect();
    values[3] = 140_000.0;
    weight.raw_data = Some(values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into());
    weight.data_type = Some(data_type::FLOAT);
    let said = prove(&broken).unwrap_err().to_string();
    assert!(said.contains("channel 0") && said.contains("2^24") && said.contains("fc1/Gemm"), "{said}");
    let said =
        TowerSpec::from_bytes(&broken.encode_to_vec(), "broken.onnx").map(|_| ()).unwrap_err().to_string();
    assert!(said.starts_with("broken.onnx: node fc1/Gemm"), "{said}");
}

#[test]
fn what_cannot_be_exported_is_refused() {
    let sigmoid = with(8, vec![Layer::Flatten, Layer::Fc { units: 4 }, Layer::Sigmoid]);
    let early = with(8, vec![Layer::Flatten, Layer::L2Norm, Layer::Fc { units: 4 }]);
    let image_block = with(8, vec![Layer::Residual { filters: 1, stride: 1 }, Layer::Flatten]);
    let plain = with(8, vec![Layer::Flatten, Layer::Fc { units: 4 }]);
    let cases = [
        (&sigmoid, images(8, 2), "sigmoid1"),
        (&early, images(8, 2), "norm1"),
        (&image_block, images(8, 2), "block1"),
        (&plain, images(8, 0), "are none"),
        (&plain, images(9, 2), "[N, 1, 8, 8]"),
    ];
    for (recipe, images, words) in cases {
        let said = exactly(recipe, &images, false).unwrap_err().to_string();
        assert!(said.contains(words), "{said}");
    }
    let mut lacking = params(&plain);
    let bias = lacking.remove("fc1.bias").unwrap();
    let refused = |params: &Params| float(&plain, params, &Provenance::default()).unwrap_err().to_string();
    assert!(refused(&lacking).contains("parameter fc1.bias: is missing"));
    lacking.insert("fc1.bias".into(), ArrayD::zeros(ndarray::IxDyn(&[5])));
    assert!(refused(&lacking).contains("[5]"));
    lacking.insert("fc1.bias".into(), bias * f32::NAN);
    assert!(refused(&lacking).contains("NaN"));
    let koch = Recipe { loss: model::recipe::Loss::Sigmoid, ..plain.clone() };
    let said = float(&koch, &params(&plain), &Provenance::default()).unwrap_err().to_string();
    assert!(said.contains("head.alpha"), "{said}");
}

/// Layers without an exact form: their float towers are the training graph, and an exact one is refused by name.
#[test]
fn layers_of_small_networks_are_exported_as_floats() {
    use Layer::*;
    let block = |squeeze, activation, expand| InvertedResidual {
        filters: 6,
        kernel: 3,
        stride: 1,
        expand,
        activation,
        squeeze,
    };
    let layers = [
        (Relu6, "relu6_1"),
        (HardSwish, "hardswish1"),
        (Silu, "silu1"),
        (SqueezeExcite { units: 2 }, "squeeze1"),
        (block(Some(3), Activation::HardSwish, 2), "inverted1"),
        (block(None, Activation::Silu, 1), "inverted1"),
        (block(None, Activation::Relu6, 3), "inverted1"),
    ];
    for (layer, name) in layers {
        let tower = vec![conv(6, 3, 2, Padding::Half), BatchNorm, layer, Flatten, Fc { units: 5 }];
        let recipe = with(9, tower);
        let (params, images) = (params(&recipe), images_for(&recipe, 3));
        let tower = float(&recipe, &params, &Provenance::default()).unwrap();
        let g = Graph::new("training");
        let image = g.input(INPUT, DType::U8, images.shape());
        let values: BTreeMap<_, _> = params
            .iter()
            .map(|(k, v)| (k.clone(), g.initializer(k, crate::graph::Tensor::F32(v.clone()))))
            .collect();
        let built = model::forward(&recipe, image, &values, Mode::Infer).unwrap();
        g.output(OUTPUT, built.embedding);
        let (found, trained) = (truth(&tower, &images), truth(&g.to_model().unwrap(), &images));
        let far = found.iter().zip(&trained).find(|(a, b)| (*a - *b).abs() > 1e-5 * b.abs().max(1.0));
        assert_eq!(far, None, "{name}");
        let why = exactly(&recipe, &images, false).unwrap_err().to_string();
        assert!(why.contains(&format!("layer {name}: has no exact form")), "{why}");
        // From its graph there is one.
        let (spec, graph) = TowerSpec::from_bytes(&tower.encode_to_vec(), name).unwrap();
        let made = integers(&graph, &spec, images.view(), &mut nets::Interpreted).unwrap();
        assert_eq!(in_float32(&made.model, &images).mapv(f64::from), truth(&made.model, &images), "{name}");
    }
    // A block with ReLU and nothing squeezed is exact.
    let tower =
        vec![conv(4, 3, 2, Padding::Half), Relu, block(None, Activation::Relu, 2), Flatten, Fc { units: 5 }];
    let recipe = with(9, tower);
    let images = images_for(&recipe, 12);
    let exact = exactly(&recipe, &images, true).unwrap();
    assert_eq!(in_float32(&exact, &images).mapv(f64::from), truth(&exact, &images));
}
