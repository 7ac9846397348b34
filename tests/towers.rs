//! Towers without training: ink averaged over squares. They need no data, and recognise a little.

use siamese::graph::{ConvAttrs, DType, Graph, Tensor};
use siamese::image::Preprocessing;
use siamese::tower::{Distance, Provenance, TowerKind, TowerSpec, prove};
use std::path::Path;

/// A copy of a tower that says it was trained to be compatible with another one.
pub fn compatible(path: &Path, like: &Path, old: &Path) {
    let (spec, mut model) = TowerSpec::read(like).unwrap();
    let compatible_with = Some(TowerSpec::read(old).unwrap().0.sha256);
    TowerSpec { name: "newer".into(), compatible_with, ..spec }.write_metadata(&mut model).unwrap();
    std::fs::write(path, prost::Message::encode_to_vec(&model)).unwrap();
}

/// Writes a tower of images of `size` pixels whose embedding is the ink of `square`×`square` squares.
pub fn squares(path: &Path, size: usize, square: usize, kind: TowerKind, distance: Distance) {
    let g = Graph::new("squares");
    let x = g.input("image", DType::U8, &[1, 1, size, size]).cast(DType::F32);
    let strides = [square, square];
    let y = match kind {
        TowerKind::Float => x.average_pool(strides, strides) * (1.0 / 255.0),
        TowerKind::Exact => {
            let ones = ndarray::ArrayD::from_elem(ndarray::IxDyn(&[1, 1, square, square]), 1_i8);
            let w = g.initializer("conv1.weight", Tensor::I8(ones)).cast(DType::F32);
            let zero = ndarray::ArrayD::from_elem(ndarray::IxDyn(&[1]), 0.0_f32);
            let b = g.initializer("conv1.bias", Tensor::F32(zero));
            let y = x.conv(w, Some(b), ConvAttrs { strides, ..ConvAttrs::default() });
            let shift = (2.0 * (square * square) as f32).log2().ceil();
            let scale = ndarray::ArrayD::from_elem(ndarray::IxDyn(&[1, 1, 1]), (-shift).exp2());
            let scale = g.initializer("conv1.scale", Tensor::F32(scale));
            (y * scale).floor().clip(0.0, 127.0)
        }
    };
    g.output("embedding", y.flatten(1));
    let mut model = g.to_model_batched("N").unwrap();
    let spec = TowerSpec {
        name: "squares".into(),
        kind,
        preprocessing: Preprocessing::ink(size),
        dim: (size / square).pow(2),
        distance,
        batch: None,
        compatible_with: None,
        sha256: String::new(),
    };
    spec.write_metadata(&mut model).unwrap();
    if kind == TowerKind::Exact {
        let bounds = prove(&model).unwrap();
        Provenance { bounds, ..Provenance::default() }.write(&mut model).unwrap();
    }
    let bytes = prost::Message::encode_to_vec(&model);
    std::fs::write(path, bytes).unwrap();
}
