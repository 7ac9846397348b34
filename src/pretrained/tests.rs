//! A small network of each kind against PyTorch (`fixtures/published.py`), and weights that are not its own.
#![allow(clippy::unwrap_used)]

use super::testing::{golden, pictures, small, weights};
use super::*;
use crate::walk::Interpreter;
use std::collections::BTreeMap;

fn graph(weights: BTreeMap<String, Tensor>) -> Result<ModelProto> {
    small().graph(weights.into(), "image", "embedding")
}

#[test]
fn features_are_those_of_pytorch() {
    let model = graph(weights()).unwrap();
    let inputs = BTreeMap::from([("image".to_string(), pictures(21))]);
    let found = Interpreter::<f32>::new(&model).unwrap().run(inputs).unwrap().remove("embedding").unwrap();
    assert_eq!(found.shape(), [2, 1280]);
    let wanted = golden().small.concat();
    let scale = (wanted.iter().map(|x| x * x).sum::<f64>() / wanted.len() as f64).sqrt();
    let apart = found.iter().zip(&wanted).map(|(&a, b)| (f64::from(a) - b).abs()).fold(0.0, f64::max);
    assert!(scale > 0.01 && apart < 1e-5 * scale, "{apart} of {scale}");
}

#[test]
fn a_file_of_weights_becomes_the_same_network() {
    let read = torch::read(&torch::tests::file(&weights()), "x.pth").unwrap();
    assert_eq!(graph(read).unwrap(), graph(weights()).unwrap());
}

#[test]
fn weights_of_another_network_are_refused() {
    let refused = |change: &dyn Fn(&mut BTreeMap<String, Tensor>)| {
        let mut weights = weights();
        change(&mut weights);
        graph(weights).unwrap_err().to_string()
    };
    let floats = |shape: &[usize], x: f32| Tensor::F32(ArrayD::from_elem(IxDyn(shape), x));
    for (told, said) in [
        ("_bn0.running_mean\": is missing", refused(&|w| drop(w.remove("_bn0.running_mean")))),
        ("_blocks.1._expand_conv.weight\": is missing", {
            refused(&|w| drop(w.remove("_blocks.1._expand_conv.weight")))
        }),
        ("is float32 [32, 1, 3, 3], not float32 [32, 3, 3, 3]", {
            refused(&|w| drop(w.insert("_conv_stem.weight".into(), floats(&[32, 1, 3, 3], 0.0))))
        }),
        ("not finite", refused(&|w| drop(w.insert("_bn0.weight".into(), floats(&[32], f32::NAN))))),
        ("is negative", refused(&|w| drop(w.insert("_bn0.running_var".into(), floats(&[32], -1.0))))),
        ("another network", refused(&|w| drop(w.insert("_blocks.9._bn0.weight".into(), floats(&[1], 0.0))))),
    ] {
        assert!(said.contains(told), "{said}");
    }
    // The classifier is left out, and need not be there.
    let mut without = weights();
    without.retain(|name, _| !name.starts_with("_fc"));
    assert_eq!(graph(without).unwrap(), graph(weights()).unwrap());
}
