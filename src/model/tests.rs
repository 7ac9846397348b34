#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::recipe::{Layer, LayerFactor, Loss, Optimiser, Padding};
use super::*;
use ndarray::{ArrayD, IxDyn};
use std::path::{Path, PathBuf};

/// The folders of the recipes that come with the package.
pub(crate) fn shipped() -> Vec<Recipe> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    folders.retain(|f| f.join("recipe.json").exists());
    folders.sort();
    folders.iter().map(|f| Recipe::load(f).unwrap()).collect()
}

/// One of them.
pub(crate) fn shipped_named(name: &str) -> Recipe {
    Recipe::load(Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx").join(name)).unwrap()
}

fn with_tower(size: usize, tower: Vec<Layer>) -> Recipe {
    Recipe { size, tower: tower.into(), ..shipped_named("mnist-fc2") }
}

fn conv(kernel: usize, stride: usize, padding: Padding) -> Layer {
    Layer::Conv { filters: 4, kernel, stride, padding, groups: 1 }
}

#[test]
fn every_experiment_has_a_recipe_named_after_its_folder() {
    let names: Vec<String> = shipped().into_iter().map(|r| r.name).collect();
    let expected: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, expected);
    for name in names {
        assert_eq!(shipped_named(&name).name, name);
    }
}

#[test]
fn a_recipe_written_and_read_again_is_the_same() {
    for recipe in shipped() {
        let text = serde_json::to_string_pretty(&recipe).unwrap();
        assert_eq!(Recipe::parse(&text, "again").unwrap(), recipe);
    }
}

#[test]
fn the_koch_tower_has_the_shapes_of_the_paper() {
    let placed = plan(&shipped_named("omniglot-fc1")).unwrap();
    let shape = |name: &str| placed.iter().find(|p| p.name == name).unwrap().output.clone();
    assert_eq!(shape("conv1"), [64, 96, 96]);
    assert_eq!(shape("conv2"), [128, 42, 42]);
    assert_eq!(shape("conv3"), [128, 18, 18]);
    assert_eq!(shape("conv4"), [256, 6, 6]);
    assert_eq!(shape("flatten1"), [9216]);
    assert_eq!(shape("fc1"), [4096]);
    let cost = cost(&shipped_named("omniglot-fc1")).unwrap();
    assert!((38_900_000..39_000_000).contains(&cost.parameters), "{cost:?}");
    assert!((1_790_000_000..1_860_000_000).contains(&cost.flop), "{cost:?}");
}

#[test]
fn a_layer_of_several_parts_wires_them() {
    let tower = vec![
        Layer::Residual { filters: 1, stride: 1 },
        Layer::Residual { filters: 3, stride: 2 },
        Layer::Flatten,
    ];
    let parts = plan(&with_tower(6, tower)).unwrap();
    let told = |part: &Part| {
        let inputs: Vec<&str> = part.inputs.iter().map(|&place| parts[place].name.as_str()).collect();
        format!("{} of {}", part.name, inputs.join(", "))
    };
    let told: Vec<String> = parts.iter().map(told).collect();
    assert_eq!(
        told[6..9],
        ["block1.add of block1.bn2, image", "block1.relu2 of block1.add", "block2.conv1 of block1.relu2"]
    );
    assert_eq!(told[13..15], ["block2.conv3 of block1.relu2", "block2.bn3 of block2.conv3"]);
    assert_eq!(
        (told[15].as_str(), told[17].as_str()),
        ("block2.add of block2.bn2, block2.bn3", "flatten1 of block2.relu2")
    );
    assert!(parts.iter().filter_map(Part::product).all(|product| !product.bias), "all are normalised");
    assert_eq!(parts[17].output, [27]);
}

#[test]
fn the_edge_tower_stays_within_its_budget() {
    let cost = cost(&shipped_named("omniglot-edge")).unwrap();
    assert!(cost.parameters <= 375_000, "{cost:?}");
    assert!(cost.flop <= 40_000_000, "{cost:?}");
}

#[test]
fn the_colour_tower_takes_colours_and_stays_within_its_budget() {
    let recipe = shipped_named("emoji-edge");
    assert_eq!(recipe.image(), [3, 48, 48]);
    let weight = &param_specs(&recipe).unwrap()[0];
    assert_eq!((weight.name.as_str(), &weight.shape[..]), ("conv1.weight", &[24, 3, 3, 3][..]));
    // An exact file has one byte a weight, four a bias and a few for the rest: below 1 MB.
    let cost = cost(&recipe).unwrap();
    assert!(cost.parameters <= 900_000 && cost.flop <= 80_000_000, "{cost:?}");
}

#[test]
fn colour_and_ink_do_not_mix_in_a_recipe() {
    let why = |change: &[&str]| {
        let recipe = shipped_named("omniglot-edge-base");
        let changed = change.iter().fold(recipe, |recipe, change| recipe.changed(change).unwrap());
        changed.validate().unwrap_err().to_string()
    };
    assert!(why(&["colour={}"]).starts_with("frame: "));
    assert!(why(&["colour={}", "frame=picture"]).starts_with("augment.thickness: "));
    let thin = ["colour={}", "frame=picture", "augment.thickness=0", "data.omniglot.glyph_alphabets=3"];
    assert!(why(&thin).starts_with("data.omniglot.glyph_alphabets: "));
    assert!(why(&["augment.hue=20"]).contains(r#"add "colour": {}"#));
    let all = &thin[..3];
    let fits = all.iter().fold(shipped_named("omniglot-edge-base"), |r, change| r.changed(change).unwrap());
    fits.validate().unwrap();
    assert!(fits.changed("colour.fit=stretch").unwrap_err().to_string().contains("squeeze"));
}

#[test]
fn same_padding_gives_the_ceiling_and_half_padding_the_same_side() {
    for (side, kernel, stride) in [(28, 3, 2), (28, 5, 2), (7, 3, 2), (9, 1, 2), (14, 3, 1), (105, 7, 3)] {
        for padding in [Padding::Same, Padding::Half] {
            let recipe = with_tower(side, vec![conv(kernel, stride, padding), Layer::GlobalAveragePool]);
            let placed = plan(&recipe).unwrap();
            assert_eq!(placed[1].output[1], side.div_ceil(stride), "{side} {kernel} {stride} {padding:?}");
        }
    }
}

#[test]
fn a_layer_that_does_not_fit_is_named_with_its_shapes() {
    let small = with_tower(8, vec![conv(9, 1, Padding::Valid), Layer::Flatten]);
    let said = plan(&small).unwrap_err().to_string();
    assert!(said.contains("conv1") && said.contains("[1, 8, 8]") && said.contains('9'), "{said}");

    let unflattened = with_tower(8, vec![conv(3, 1, Padding::Same), Layer::Fc { units: 3 }]);
    let said = plan(&unflattened).unwrap_err().to_string();
    assert!(said.contains("fc1") && said.contains("conv1 gives [4, 8, 8]"), "{said}");

    let open = with_tower(8, vec![conv(3, 1, Padding::Same)]);
    assert!(plan(&open).unwrap_err().to_string().contains("must end in an embedding"));

    let loose = with_tower(8, vec![conv(3, 1, Padding::Same), Layer::Relu, Layer::BatchNorm, Layer::Flatten]);
    assert!(plan(&loose).unwrap_err().to_string().contains("bn1"));
}

#[test]
fn a_misspelt_key_is_refused_with_its_line_and_a_suggestion() {
    let text = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/omniglot-edge-base/recipe.json"),
    )
    .unwrap();
    let line_of = |word: &str| text.lines().position(|l| l.contains(word)).unwrap() + 1;
    for (right, wrong) in
        [("clip_norm", "clip_nrom"), ("\"batch-norm\"", "\"batchnorm\""), ("warm_up", "warmup")]
    {
        let said = Recipe::parse(&text.replacen(right, wrong, 1), "r.json").unwrap_err().to_string();
        let right = right.trim_matches('"');
        assert!(said.contains(&format!("did you mean `{right}`?")), "{said}");
        assert!(said.contains(&format!("r.json, line {}", line_of(right))), "{said}");
    }
    let said =
        Recipe::parse(&text.replace("\"size\": 32", "\"size\": \"big\""), "r.json").unwrap_err().to_string();
    assert!(said.contains("line") && said.contains("string \"big\""), "{said}");
}

#[test]
fn faults_of_a_recipe_are_told_once_and_in_plain_words() {
    let good = include_str!("../../onnx/omniglot-edge-base/recipe.json");
    for (right, wrong, told) in [
        (
            "\"size\": 32",
            "\"size\": \"big\"",
            "invalid type: string \"big\", expected a whole number, 0 or more",
        ),
        ("\"size\": 32", "\"size\": -3", "integer `-3`, expected a whole number, 0 or more"),
        ("\"lr\": 0.0015", "\"lr\": \"0.1\"", "string \"0.1\", expected a number"),
        ("\"relu\"", "{\"relu\": {}}", "settings, expected the name alone"),
        (
            "{\"cosine\": {\"scale\": 20.0, \"margin\": 0.2}}",
            "\"cosine\"",
            "a name alone, expected its settings",
        ),
        ("\"steps\": 21000,", "", "missing key `steps`"),
        ("\"steps\": 21000", "\"steps\": many", "not JSON"),
    ] {
        assert!(good.contains(right), "{right}");
        let error = Recipe::parse(&good.replacen(right, wrong, 1), "r.json").unwrap_err();
        assert!(std::error::Error::source(&error).is_none(), "told twice");
        let said = error.to_string();
        assert!(said.starts_with("r.json, line ") && said.contains(told), "{told}: {said}");
    }
}

#[test]
fn values_out_of_range_are_refused_with_their_place() {
    let good = shipped_named("omniglot-edge-base");
    good.validate().unwrap();
    let factor = |layers: &str, value| vec![LayerFactor { layers: layers.into(), value }];
    for (broken, place) in [
        (Recipe { optimiser: Optimiser::Adam { lr: 0.0 }, ..good.clone() }, "optimiser.adam.lr"),
        (Recipe { optimiser: Optimiser::Adam { lr: -1.0 }, ..good.clone() }, "optimiser.adam.lr"),
        (Recipe { optimiser: Optimiser::Adam { lr: f32::NAN }, ..good.clone() }, "optimiser.adam.lr"),
        (Recipe { steps: 0, ..good.clone() }, "steps"),
        (Recipe { size: 0, ..good.clone() }, "size"),
        (Recipe { ema: Some(1.0), ..good.clone() }, "ema"),
        (Recipe { wccn: Some(0.0), ..good.clone() }, "wccn"),
        (Recipe { wccn: Some(1.0), loss: Loss::Softmax, ..good.clone() }, "wccn"),
        (Recipe { wccn: Some(1.0), tower: vec![Layer::Flatten].into(), ..good.clone() }, "wccn"),
        (Recipe { clip_norm: Some(0.0), ..good.clone() }, "clip_norm"),
        (Recipe { loss: Loss::Spring { margin: 1.0 }, ..good.clone() }, "sampling"),
        (Recipe { name: "../up".into(), ..good.clone() }, "name"),
        (Recipe { l2: factor("convv", 1.0), ..good.clone() }, "did you mean `conv"),
        (Recipe { lr_factors: factor("conv", -1.0), ..good.clone() }, "lr_factors[0].value"),
        (Recipe { init_layers: vec!["conv".into()], ..good.clone() }, "no `init_from`"),
        (
            Recipe {
                init_from: Some("x".into()),
                init_layers: vec!["conv".into(), "cov".into()],
                ..good.clone()
            },
            "init_layers[1]: no layer's name begins with \"cov\"; did you mean `conv",
        ),
        (Recipe { tower: Vec::new().into(), ..good.clone() }, "tower"),
        (
            with_tower(8, vec![Layer::Flatten, Layer::Fc { units: 1 << 40 }]),
            "layer fc1: 1099511627776 units are too many",
        ),
        (
            with_tower(1024, vec![conv(1 << 20, 3, Padding::Same), Layer::Flatten, Layer::Fc { units: 2 }]),
            "layer conv1: its [4, 1, 1048576, 1048576] are",
        ),
    ] {
        let said = broken.validate().unwrap_err().to_string();
        assert!(said.contains(place), "{place}: {said}");
    }
}

#[test]
fn parameters_have_their_roles_shapes_and_first_values() {
    let recipe = shipped_named("omniglot-edge");
    let specs = param_specs(&recipe).unwrap();
    let spec = |name: &str| specs.iter().find(|s| s.name == name).unwrap();
    assert_eq!(spec("conv2.weight").shape, [32, 16, 3, 3]);
    assert_eq!((spec("conv2.weight").fan_in, spec("conv2.weight").fan_out), (144, 288));
    assert_eq!(spec("block2.conv3.weight").shape, [96, 32, 1, 1]);
    assert_eq!(spec("fc1.weight").shape, [128, 384]);
    assert!(specs.iter().all(|s| s.name != "conv1.bias"), "a normalised convolution has no bias");
    assert!(specs.iter().all(|s| !s.name.starts_with("block1.conv3")), "block1 keeps its shape");

    let params = initialise(&recipe, &specs, 7);
    assert_eq!(params, initialise(&recipe, &specs, 7));
    assert_ne!(params, initialise(&recipe, &specs, 8));
    for s in &specs {
        assert_eq!(params[&s.name].shape(), s.shape, "{}", s.name);
    }
    let weight = &params["block3.conv2.weight"];
    let variance = weight.mapv(|x| x * x).mean().unwrap();
    let expected = 2.0 / (96.0 * 9.0);
    assert!((variance / expected - 1.0).abs() < 0.02, "{variance} {expected}");
    assert!(params["bn1.var"].iter().all(|x| *x == 1.0));
    assert!(params["bn1.bias"].iter().all(|x| *x == 0.0));
}

#[test]
fn truncated_and_glorot_weights_stay_within_their_limits() {
    let specs = [ParamSpec {
        name: "fc1.weight".into(),
        shape: vec![50, 40],
        role: Role::Weight,
        fan_in: 40,
        fan_out: 50,
    }];
    for (init, limit, deviation) in [
        (recipe::Init::TruncatedNormal { std: 0.1 }, 0.2, 0.088),
        (recipe::Init::Glorot, (6.0_f32 / 90.0).sqrt(), (2.0_f32 / 90.0).sqrt()),
    ] {
        let recipe = Recipe { init, ..shipped_named("mnist-fc2") };
        let weight = &initialise(&recipe, &specs, 1)["fc1.weight"];
        assert!(weight.iter().all(|x| x.abs() <= limit));
        let std = weight.mapv(|x| x * x).mean().unwrap().sqrt();
        assert!((std / deviation - 1.0).abs() < 0.06, "{std} {deviation}");
    }
}

#[test]
fn folding_one_channel_agrees_with_the_formula() {
    let tower = vec![conv(1, 1, Padding::Valid), Layer::BatchNorm, Layer::Flatten];
    let recipe = with_tower(2, tower);
    let mut params = initialise(&recipe, &param_specs(&recipe).unwrap(), 3);
    let vector = |x: f32| ArrayD::from_elem(IxDyn(&[4]), x);
    params.insert("bn1.scale".into(), vector(3.0));
    params.insert("bn1.bias".into(), vector(0.5));
    params.insert("bn1.mean".into(), vector(2.0));
    params.insert("bn1.var".into(), vector(4.0 - BATCH_NORM_EPSILON));
    let folded = fold(&recipe, &params).unwrap();
    assert_eq!(folded.keys().collect::<Vec<_>>(), ["conv1.bias", "conv1.weight"]);
    for (new, old) in folded["conv1.weight"].iter().zip(&params["conv1.weight"]) {
        assert!((new - old * 1.5).abs() < 1e-6);
    }
    assert!(folded["conv1.bias"].iter().all(|b| (b - (0.5 - 2.0 * 1.5)).abs() < 1e-6));

    params.insert("bn1.var".into(), ArrayD::ones(IxDyn(&[3])));
    assert!(fold(&recipe, &params).unwrap_err().to_string().contains("bn1.var"));
    params.remove("bn1.var");
    assert!(fold(&recipe, &params).unwrap_err().to_string().contains("bn1.var"));
}

#[test]
fn the_embedding_s_normalisation_is_folded_into_the_last_product() {
    let tower = vec![Layer::Flatten, Layer::Fc { units: 3 }, Layer::Relu, Layer::Fc { units: 2 }];
    let recipe = Recipe { wccn: Some(1.0), ..with_tower(2, tower) };
    let mut params = initialise(&recipe, &param_specs(&recipe).unwrap(), 3);
    params.insert("fc2.bias".into(), ndarray::arr1(&[1.0, 10.0]).into_dyn());
    assert!(fold(&recipe, &params).unwrap_err().to_string().contains(WCCN));
    params.insert(WCCN.into(), ndarray::arr2(&[[2.0, 0.0], [3.0, 0.5]]).into_dyn());
    let folded = fold(&recipe, &params).unwrap();
    assert_eq!(folded["fc1.weight"], params["fc1.weight"]);
    assert_eq!(folded["fc2.bias"], ndarray::arr1(&[2.0, 8.0]).into_dyn());
    let (old, new) = (&params["fc2.weight"], &folded["fc2.weight"]);
    for i in 0..3 {
        assert_eq!(new[[0, i]], 2.0 * old[[0, i]]);
        assert!((new[[1, i]] - (3.0 * old[[0, i]] + 0.5 * old[[1, i]])).abs() < 1e-6);
    }
    assert!(!folded.contains_key(WCCN), "the matrix has done its work");
    for bad in [ArrayD::ones(IxDyn(&[3, 3])), ArrayD::from_elem(IxDyn(&[2, 2]), f32::NAN)] {
        params.insert(WCCN.into(), bad);
        assert!(fold(&recipe, &params).unwrap_err().to_string().contains("must be [2, 2]"));
    }
}
