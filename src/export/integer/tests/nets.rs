//! Float towers of the operators that have an exact form, grown at random.

#![allow(clippy::unwrap_used)]
use super::super::Runs;
use crate::Result;
use crate::image::{Backdrop, Fit, Preprocessing};
use crate::onnx::{
    AttributeProto as Attribute, Dimension, DimensionValue, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, Tensor, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, data_type,
    type_proto,
};
use crate::random::{self, Stream};
use crate::tower::{Distance, INPUT, OUTPUT, TowerKind, TowerSpec};
use crate::walk::{Interpreter, Values};
use ndarray::{Array4, ArrayD, ArrayView4, Axis, IxDyn};

/// Runs float graphs without a runtime.
pub(crate) struct Interpreted;

impl Runs for Interpreted {
    fn run(
        &mut self,
        model: &ModelProto,
        images: ArrayView4<'_, u8>,
        take: &mut dyn FnMut(Vec<Tensor>) -> Result<()>,
    ) -> Result<()> {
        let interpreter = Interpreter::<f32>::new(model)?;
        for image in images.axis_chunks_iter(Axis(0), 1) {
            let inputs = Values::from([(INPUT.to_string(), image.mapv(f32::from).into_dyn())]);
            let outputs = interpreter.run(inputs)?;
            let graph = model.graph.as_ref().unwrap();
            take(graph.output.iter().map(|o| Tensor::F32(outputs[o.name()].clone())).collect())?;
        }
        Ok(())
    }
}

/// A value: its name and `[C, H, W]`.
#[derive(Clone)]
pub(crate) struct At {
    pub name: String,
    pub size: [usize; 3],
}

/// A float tower that grows.
pub(crate) struct Net {
    pub rng: Stream,
    nodes: Vec<NodeProto>,
    weights: Vec<TensorProto>,
    image: [usize; 3],
}

impl Net {
    pub fn new(seed: u64, side: usize) -> Self {
        let rng = random::stream(seed, "float towers", 0, 0);
        Self { rng, nodes: Vec::new(), weights: Vec::new(), image: [3, side, side] }
    }

    pub fn below(&mut self, n: usize) -> usize {
        random::below(&mut self.rng, n)
    }

    pub fn node(&mut self, op: &str, inputs: &[&str], attributes: Vec<Attribute>) -> String {
        let name = format!("{op}_{}", self.nodes.len());
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|i| (*i).to_string()).collect(),
            output: vec![name.clone()],
            name: Some(format!("/net/{name}")),
            op_type: Some(op.into()),
            attribute: attributes,
            ..NodeProto::default()
        });
        name
    }

    pub fn constant(&mut self, tensor: Tensor) -> String {
        let name = format!("w{}", self.weights.len());
        self.weights.push(tensor.to_proto(&name));
        name
    }

    pub fn numbers(&mut self, shape: &[usize], low: f32, high: f32) -> String {
        let rng = &mut self.rng;
        let array = ArrayD::from_shape_fn(IxDyn(shape), |_| random::between(rng, low, high));
        self.constant(Tensor::F32(array))
    }

    pub fn number(&mut self, x: f32) -> String {
        self.constant(Tensor::F32(ndarray::arr0(x).into_dyn()))
    }

    pub fn list(&mut self, list: &[i64]) -> String {
        self.constant(Tensor::I64(ndarray::arr1(list).into_dyn()))
    }

    /// The pixels, scaled as `imagenet` does; sometimes blue first.
    pub fn head(&mut self) -> At {
        let mut x = self.node("Cast", &[INPUT], vec![Attribute::int("to", data_type::FLOAT.into())]);
        if self.below(3) == 0 {
            let order = self.list(&[2, 1, 0]);
            x = self.node("Gather", &[&x, &order], vec![Attribute::int("axis", 1)]);
        }
        let per_channel = |net: &mut Self, list: [f32; 3]| {
            net.constant(Tensor::F32(ArrayD::from_shape_fn(IxDyn(&[1, 3, 1, 1]), |i| list[i[1]])))
        };
        let scale = self.number(1.0 / 255.0);
        let (mean, std) =
            (per_channel(self, [0.485, 0.456, 0.406]), per_channel(self, [0.229, 0.224, 0.225]));
        x = self.node("Mul", &[&x, &scale], vec![]);
        x = self.node("Sub", &[&x, &mean], vec![]);
        x = self.node("Div", &[&x, &std], vec![]);
        At { name: x, size: self.image }
    }

    pub fn conv(&mut self, x: &At, filters: usize, k: usize, stride: usize, groups: usize) -> At {
        let [c, h, w] = x.size;
        let spread = (3.0 / (c / groups * k * k) as f32).sqrt();
        let weight = self.numbers(&[filters, c / groups, k, k], -spread, spread);
        let bias = self.numbers(&[filters], -0.2, 0.2);
        let pad = if k > h { 0 } else { k / 2 };
        let attributes = vec![
            Attribute::ints("strides", vec![stride as i64; 2]),
            Attribute::ints("pads", vec![pad as i64; 4]),
            Attribute::int("group", groups as i64),
        ];
        let name = self.node("Conv", &[&x.name, &weight, &bias], attributes);
        let side = |s: usize| (s + 2 * pad - k) / stride + 1;
        At { name, size: [filters, side(h), side(w)] }
    }

    pub fn norm(&mut self, x: &At) -> At {
        let c = [x.size[0]];
        let [scale, shift] = [(0.6, 1.4), (-0.4, 0.4)].map(|(low, high)| self.numbers(&c, low, high));
        let [mean, var] = [(-0.2, 0.2), (0.5, 1.5)].map(|(low, high)| self.numbers(&c, low, high));
        self.like("BatchNormalization", x, &[&scale, &shift, &mean, &var], vec![])
    }

    /// A node whose result has the size of its first input.
    pub fn like(&mut self, op: &str, x: &At, others: &[&str], attributes: Vec<Attribute>) -> At {
        let inputs = [&[x.name.as_str()], others].concat();
        At { name: self.node(op, &inputs, attributes), size: x.size }
    }

    /// An activation, of many.
    pub fn activation(&mut self, x: &At) -> At {
        match self.below(9) {
            0 => self.like("Relu", x, &[], vec![]),
            1 => {
                let (low, high) = (self.number(0.0), self.number(6.0));
                self.like("Clip", x, &[&low, &high], vec![])
            }
            2 => self.like("HardSwish", x, &[], vec![]),
            3 => {
                let gate = self.like("Sigmoid", x, &[], vec![]);
                self.like("Mul", x, &[&gate.name], vec![])
            }
            4 => {
                // Hard swish, as it is written before opset 14.
                let (three, zero, six) = (self.number(3.0), self.number(0.0), self.number(6.0));
                let shifted = self.like("Add", x, &[&three], vec![]);
                let limited = self.like("Clip", &shifted, &[&zero, &six], vec![]);
                let product = self.like("Mul", x, &[&limited.name], vec![]);
                self.like("Div", &product, &[&six], vec![])
            }
            5 => {
                let slopes = self.numbers(&[x.size[0], 1, 1], 0.05, 0.4);
                self.like("PRelu", x, &[&slopes], vec![])
            }
            6 => self.like("LeakyRelu", x, &[], vec![]),
            7 => {
                // GELU by the error function.
                let (root, one, half) = (self.number(2f32.sqrt()), self.number(1.0), self.number(0.5));
                let scaled = self.like("Div", x, &[&root], vec![]);
                let erf = self.like("Erf", &scaled, &[], vec![]);
                let sum = self.like("Add", &erf, &[&one], vec![]);
                let product = self.like("Mul", x, &[&sum.name], vec![]);
                self.like("Mul", &product, &[&half], vec![])
            }
            _ => self.like("Tanh", x, &[], vec![]),
        }
    }

    pub fn squeeze(&mut self, x: &At) -> At {
        let c = x.size[0];
        let pooled = At { name: self.node("GlobalAveragePool", &[&x.name], vec![]), size: [c, 1, 1] };
        let inner = self.conv(&pooled, 4, 1, 1, 1);
        let inner = self.like("Relu", &inner, &[], vec![]);
        let outer = self.conv(&inner, c, 1, 1, 1);
        let gate = if self.below(2) == 0 { "Sigmoid" } else { "HardSigmoid" };
        let gate = self.like(gate, &outer, &[], vec![]);
        self.like("Mul", x, &[&gate.name], vec![])
    }

    pub fn pool(&mut self, op: &str, x: &At, pad: bool) -> At {
        let [c, h, w] = x.size;
        let mut attributes = vec![
            Attribute::ints("kernel_shape", vec![3, 3]),
            Attribute::ints("strides", vec![if pad { 1 } else { 2 }; 2]),
        ];
        if pad {
            attributes.push(Attribute::ints("pads", vec![1; 4]));
        }
        if op == "AveragePool" && pad {
            attributes.push(Attribute::int("count_include_pad", 1));
        }
        let side = |s: usize| if pad { s } else { (s - 3) / 2 + 1 };
        At { name: self.node(op, &[&x.name], attributes), size: [c, side(h), side(w)] }
    }

    /// Channels dealt out to groups, as ShuffleNet does.
    pub fn shuffle(&mut self, x: &At) -> At {
        let [c, h, w] = x.size.map(|d| d as i64);
        let (apart, again) = (self.list(&[-1, 2, c / 2, h, w]), self.list(&[-1, c, h, w]));
        let name = self.node("Reshape", &[&x.name, &apart], vec![]);
        let name = self.node("Transpose", &[&name], vec![Attribute::ints("perm", vec![0, 2, 1, 3, 4])]);
        At { name: self.node("Reshape", &[&name, &again], vec![]), size: x.size }
    }

    pub fn concat(&mut self, a: &At, b: &At) -> At {
        let name = self.node("Concat", &[&a.name, &b.name], vec![Attribute::int("axis", 1)]);
        At { name, size: [a.size[0] + b.size[0], a.size[1], a.size[2]] }
    }

    pub fn half(&mut self, x: &At, second: bool) -> At {
        let half = (x.size[0] / 2) as i64;
        let [from, to] = if second { [half, 2 * half] } else { [0, half] };
        let [from, to, axis] = [from, to, 1].map(|n| self.list(&[n]));
        At {
            name: self.node("Slice", &[&x.name, &from, &to, &axis], vec![]),
            size: [half as usize, x.size[1], x.size[2]],
        }
    }

    /// One block, of many.
    pub fn block(&mut self, x: &At) -> At {
        let [c, h, _] = x.size;
        match self.below(9) {
            0 => {
                let stride = 1 + if h >= 6 { self.below(2) } else { 0 };
                let y = self.conv(x, 8, 3, stride, 1);
                let y = self.norm(&y);
                self.activation(&y)
            }
            1 => {
                let y = self.conv(x, c, 3, 1, c);
                let y = self.norm(&y);
                self.activation(&y)
            }
            2 => {
                // A linear bottleneck with its shortcut.
                let y = self.conv(x, 2 * c, 1, 1, 1);
                let y = self.activation(&y);
                let y = self.conv(&y, c, 3, 1, 1);
                self.like("Add", &y, &[&x.name], vec![])
            }
            3 => self.squeeze(x),
            4 if h >= 5 => {
                let op = if self.below(2) == 0 { "MaxPool" } else { "AveragePool" };
                self.pool(op, x, false)
            }
            5 => {
                let a = self.conv(x, 4, 1, 1, 1);
                let a = self.activation(&a);
                let op = if self.below(2) == 0 { "MaxPool" } else { "AveragePool" };
                let b = self.pool(op, x, true);
                self.concat(&a, &b)
            }
            6 => {
                // Normalisation of what is there already, of both signs.
                let y = self.norm(x);
                let y = self.like("Relu", &y, &[], vec![]);
                let y = self.conv(&y, 6, 1, 1, 1);
                self.concat(x, &y)
            }
            7 if c.is_multiple_of(2) => {
                let (a, b) = (self.half(x, false), self.half(x, true));
                let b = self.conv(&b, c / 2, 3, 1, 1);
                let b = self.activation(&b);
                let y = self.concat(&a, &b);
                self.shuffle(&y)
            }
            _ => {
                let groups = if c.is_multiple_of(2) { 2 } else { 1 };
                let y = self.conv(x, 8, 3, 1, groups);
                let z = self.conv(x, 8, 1, 1, 1);
                let y = self.like("Sub", &y, &[&z.name], vec![]);
                self.activation(&y)
            }
        }
    }

    /// The end: a mean, or a product of all, sometimes with rows of unit length.
    pub fn tail(mut self, x: &At) -> ModelProto {
        let mut dim = x.size[0];
        let mut y = match self.below(3) {
            0 => {
                dim = 12;
                let flat = self.node("Flatten", &[&x.name], vec![]);
                let weight = self.numbers(&[12, x.size.iter().product()], -0.1, 0.1);
                self.node("Gemm", &[&flat, &weight], vec![Attribute::int("transB", 1)])
            }
            1 => {
                let axes = vec![Attribute::ints("axes", vec![2, 3]), Attribute::int("keepdims", 0)];
                self.node("ReduceMean", &[&x.name], axes)
            }
            _ => {
                let mean = self.node("GlobalAveragePool", &[&x.name], vec![]);
                self.node("Flatten", &[&mean], vec![])
            }
        };
        if self.below(2) == 0 {
            let least = self.number(1e-12);
            let length = vec![Attribute::ints("axes", vec![1]), Attribute::int("keepdims", 1)];
            let length = self.node("ReduceL2", &[&y], length);
            let length = self.node("Max", &[&length, &least], vec![]);
            y = self.node("Div", &[&y, &length], vec![]);
        }
        self.model(&y, dim)
    }

    /// The tower whose embedding is a value.
    pub fn model(mut self, last: &str, dim: usize) -> ModelProto {
        self.nodes.push(NodeProto {
            input: vec![last.into()],
            output: vec![OUTPUT.into()],
            name: Some("embedding".into()),
            op_type: Some("Identity".into()),
            ..NodeProto::default()
        });
        let graph = GraphProto {
            node: self.nodes,
            initializer: self.weights,
            input: vec![value(INPUT, data_type::UINT8, &self.image)],
            output: vec![value(OUTPUT, data_type::FLOAT, &[dim])],
            ..GraphProto::default()
        };
        let mut model = ModelProto {
            ir_version: Some(8),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(17) }],
            graph: Some(graph),
            ..ModelProto::default()
        };
        spec(self.image[1], dim).write_metadata(&mut model).unwrap();
        model
    }
}

/// The facts of such a tower.
pub(crate) fn spec(side: usize, dim: usize) -> TowerSpec {
    TowerSpec {
        name: "net".into(),
        kind: TowerKind::Float,
        preprocessing: Preprocessing::Colour {
            size: side,
            fit: Fit::default(),
            backdrop: Backdrop::default(),
        },
        dim,
        distance: Distance::Cosine,
        batch: None,
        compatible_with: None,
        sha256: String::new(),
    }
}

/// A random tower; the same for a seed.
pub(crate) fn grown(seed: u64) -> ModelProto {
    let mut net = Net::new(seed, 9 + seed as usize % 5);
    let mut x = net.head();
    x = net.conv(&x, 8, 3, 1, 1);
    x = net.activation(&x);
    for _ in 0..3 {
        x = net.block(&x);
    }
    net.tail(&x)
}

/// Pictures of smooth and of grainy colours `[N, 3, S, S]`.
pub(crate) fn pictures(side: usize, count: usize, seed: u64) -> Array4<u8> {
    Array4::from_shape_fn((count, 3, side, side), |(n, c, y, x)| {
        let mut rng = random::stream(seed, "pictures", n as u64, (c * side * side + y * side + x) as u64);
        let wave = ((y * (n % 5 + 1) + x * (c + 1)) as f32 * 0.35 + n as f32).sin();
        (127.0 + 100.0 * wave + random::between(&mut rng, -28.0, 28.0)) as u8
    })
}

fn value(name: &str, kind: i32, sizes: &[usize]) -> ValueInfoProto {
    let all = std::iter::once(DimensionValue::Param("N".into()));
    let all = all.chain(sizes.iter().map(|&d| DimensionValue::Value(d as i64)));
    let dim = all.map(|v| Dimension { value: Some(v), denotation: None }).collect();
    let tensor = type_proto::Tensor { elem_type: Some(kind), shape: Some(TensorShapeProto { dim }) };
    let kind = TypeProto { value: Some(type_proto::Value::Tensor(tensor)), denotation: None };
    ValueInfoProto { name: Some(name.into()), r#type: Some(kind), ..ValueInfoProto::default() }
}
