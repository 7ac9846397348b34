//! Blocks of foreign backbones, generated: one image, one thread, by every runtime.
//!
//! Each is a tower of its own: a convolution of 1×1 that makes the block's channels, the block as often as its network has
//! it in a row, and a mean over all pixels.

use crate::Done;
use crate::towers::Runtimes;
use criterion::{BenchmarkId, Criterion, SamplingMode};
use ndarray::{Array4, ArrayD, IxDyn};
use prost::Message;
use siamese::graph::{ConvAttrs, DType, Expr, Graph, Tensor};
use siamese::image::{Backdrop, Fit, Preprocessing};
use siamese::random::{self, Stream};
use siamese::tower::{Distance, INPUT, OUTPUT, TowerKind, TowerSpec};

/// A network's block: its side, its channels, and how it is built.
struct Block {
    name: &'static str,
    side: usize,
    channels: usize,
    build: for<'g> fn(&mut Builder<'g>, Expr<'g>) -> Expr<'g>,
}

const BLOCKS: [Block; 5] = [
    Block { name: "ResNet-18, 28×28×128", side: 28, channels: 128, build: residual },
    Block { name: "MobileNetV2, 56×56×24", side: 56, channels: 24, build: inverted },
    Block { name: "MobileNetV3, 14×14×48", side: 14, channels: 48, build: hard_swish },
    Block { name: "EfficientNet, 28×28×40", side: 28, channels: 40, build: squeezed },
    Block { name: "ConvNeXt, 28×28×80", side: 28, channels: 80, build: wide },
];

struct Builder<'g> {
    graph: &'g Graph,
    rng: Stream,
}

impl<'g> Builder<'g> {
    /// A convolution with random weights and a bias; `groups` of channels.
    fn conv(&mut self, x: Expr<'g>, outputs: usize, kernel: usize, groups: usize) -> Expr<'g> {
        let inputs = x.dim(1) / groups;
        let most = (2.0 / (inputs * kernel * kernel) as f32).sqrt();
        let w = self.numbers(&[outputs, inputs, kernel, kernel], most);
        let bias = self.numbers(&[outputs], 0.1);
        let attrs = ConvAttrs { pads: [kernel / 2; 4], groups, ..ConvAttrs::default() };
        x.conv(w, Some(bias), attrs)
    }

    fn numbers(&mut self, shape: &[usize], most: f32) -> Expr<'g> {
        let numbers =
            ArrayD::from_shape_simple_fn(IxDyn(shape), || random::between(&mut self.rng, -most, most));
        self.graph.constant(None, Tensor::F32(numbers))
    }
}

fn residual<'g>(b: &mut Builder<'g>, x: Expr<'g>) -> Expr<'g> {
    let y = b.conv(x, x.dim(1), 3, 1).relu();
    (b.conv(y, x.dim(1), 3, 1) + x).relu()
}

fn inverted<'g>(b: &mut Builder<'g>, x: Expr<'g>) -> Expr<'g> {
    let wide = 6 * x.dim(1);
    let y = b.conv(x, wide, 1, 1).clip(0.0, 6.0);
    let y = b.conv(y, wide, 3, wide).clip(0.0, 6.0);
    b.conv(y, x.dim(1), 1, 1) + x
}

fn hard_swish<'g>(b: &mut Builder<'g>, x: Expr<'g>) -> Expr<'g> {
    let wide = 6 * x.dim(1);
    let swish = |x: Expr<'g>| x * x.hard_sigmoid(1.0 / 6.0, 0.5);
    let y = b.conv(x, wide, 1, 1);
    let y = b.conv(swish(y), wide, 5, wide);
    b.conv(swish(y), x.dim(1), 1, 1) + x
}

fn squeezed<'g>(b: &mut Builder<'g>, x: Expr<'g>) -> Expr<'g> {
    let wide = 6 * x.dim(1);
    let silu = |x: Expr<'g>| x * x.sigmoid();
    let y = b.conv(x, wide, 1, 1);
    let y = b.conv(silu(y), wide, 5, wide);
    let y = silu(y);
    let gate = b.conv(y.mean_kept(&[2, 3]), wide / 24, 1, 1);
    let gate = b.conv(silu(gate), wide, 1, 1).sigmoid();
    b.conv(y * gate, x.dim(1), 1, 1) + x
}

fn wide<'g>(b: &mut Builder<'g>, x: Expr<'g>) -> Expr<'g> {
    let y = b.conv(x, x.dim(1), 7, x.dim(1));
    let y = b.conv(y, 4 * x.dim(1), 1, 1);
    let bent = y * y.sigmoid();
    b.conv(bent, x.dim(1), 1, 1) + x
}

impl Block {
    /// The bytes of its tower.
    fn tower(&self) -> siamese::Result<Vec<u8>> {
        let graph = Graph::new(self.name);
        let mut builder = Builder { graph: &graph, rng: random::stream(1, self.name, 0, 0) };
        let image = graph.input(INPUT, DType::U8, &[1, 3, self.side, self.side]).cast(DType::F32);
        let mut x = builder.conv(image * graph.scalar(1.0 / 255.0), self.channels, 1, 1);
        for _ in 0..2 {
            x = (self.build)(&mut builder, x);
        }
        graph.output(OUTPUT, x.mean(&[2, 3]));
        let mut model = graph.to_model_batched("N")?;
        let spec = TowerSpec {
            name: self.name.into(),
            kind: TowerKind::Float,
            preprocessing: Preprocessing::Colour {
                size: self.side,
                fit: Fit::default(),
                backdrop: Backdrop::default(),
            },
            dim: self.channels,
            distance: Distance::Cosine,
            batch: None,
            compatible_with: None,
            sha256: String::new(),
        };
        spec.write_metadata(&mut model)?;
        Ok(model.encode_to_vec())
    }
}

pub fn benches(criterion: &mut Criterion, runtimes: &Runtimes) -> Done {
    let mut group = criterion.benchmark_group("backbones");
    group.sampling_mode(SamplingMode::Flat);
    for block in BLOCKS {
        let tower = block.tower()?;
        let mut rng = random::stream(2, block.name, 0, 0);
        let image = Array4::from_shape_simple_fn((1, 3, block.side, block.side), || {
            random::below(&mut rng, 256) as u8
        });
        for runner in runtimes.with(1)? {
            let mut embedder = runner.load_bytes(&tower, block.name)?;
            let id = BenchmarkId::new(runner.name(), block.name);
            group.bench_function(id, |b| b.iter(|| embedder.embed(image.view())));
        }
    }
    group.finish();
    Ok(())
}
