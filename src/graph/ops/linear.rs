//! Matrix products and convolutions.

use crate::graph::builder::{broadcast, signed};
use crate::graph::{Expr, Tensor};
use crate::onnx::{AttributeProto, NodeProto, Operator};
use ndarray::ArrayD;

/// Attributes of a 2-D convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvAttrs {
    /// Along H and W.
    pub strides: [usize; 2],
    /// Zeros before H, before W, after H, after W.
    pub pads: [usize; 4],
    /// Along H and W.
    pub dilations: [usize; 2],
    /// Groups of channels that do not mix.
    pub groups: usize,
}

/// One phase of an image along one axis: the taps that reach it, and how far from m their places are.
pub(crate) type Phase = Vec<(usize, i64)>;

impl Default for ConvAttrs {
    fn default() -> Self {
        Self { strides: [1; 2], pads: [0; 4], dilations: [1; 2], groups: 1 }
    }
}

impl ConvAttrs {
    /// Those of a node.
    pub(crate) fn of(node: &NodeProto) -> Self {
        fn list<const N: usize>(node: &NodeProto, name: &str, default: usize) -> [usize; N] {
            let ints = node.ints(name).unwrap_or_default();
            std::array::from_fn(|i| ints.get(i).map_or(default, |&n| n as usize))
        }
        Self {
            strides: list(node, "strides", 1),
            pads: list(node, "pads", 0),
            dilations: list(node, "dilations", 1),
            groups: node.int_or("group", 1) as usize,
        }
    }

    pub(super) fn attributes(&self, kernel: [usize; 2]) -> Vec<AttributeProto> {
        vec![
            AttributeProto::ints("kernel_shape", signed(&kernel)),
            AttributeProto::ints("strides", signed(&self.strides)),
            AttributeProto::ints("pads", signed(&self.pads)),
            AttributeProto::ints("dilations", signed(&self.dilations)),
            AttributeProto::int("group", self.groups as i64),
        ]
    }

    /// A stride splits the image into phases, along each axis the pixels `s·m + r` for one r < s. Pixel `s·m + r` lies
    /// under tap i of place `m + (r + pad − d·i)/s`, where that is a whole number.
    pub(crate) fn phases(&self, axis: usize, taps: usize) -> Vec<Phase> {
        let [stride, dilation, pad] =
            [self.strides[axis], self.dilations[axis], self.pads[axis]].map(|n| n as i64);
        let reaches = |r: i64| {
            let off = move |i: usize| r + pad - dilation * i as i64;
            (0..taps).filter(move |&i| off(i) % stride == 0).map(move |i| (i, off(i) / stride)).collect()
        };
        (0..stride).map(reaches).collect()
    }

    /// The extent of a kernel of `k` taps along an axis.
    pub(crate) fn extent(&self, axis: usize, k: usize) -> usize {
        self.dilations[axis] * (k - 1) + 1
    }

    /// `[N, F, H′, W′]` of an image `[N, C, H, W]` and a kernel `[F, C/groups, kH, kW]`.
    pub(super) fn convolved(&self, input: &[usize], kernel: &[usize]) -> Result<Vec<usize>, String> {
        let fail = |why: &str| format!("{why}: input {input:?}, kernel {kernel:?}, {self:?}");
        let (&[n, c, h, width], &[filters, inner, kh, kw]) = (input, kernel) else {
            return Err(fail("4 axes are needed"));
        };
        if self.groups == 0 || inner * self.groups != c || filters % self.groups != 0 {
            return Err(fail("channels do not fit"));
        }
        if [kh, kw].contains(&0) || self.strides.contains(&0) {
            return Err(fail("a side or a stride is 0"));
        }
        let mut shape = vec![n, filters];
        for (axis, (side, k)) in [(h, kh), (width, kw)].into_iter().enumerate() {
            let room = (side + self.pads[axis] + self.pads[axis + 2]).checked_sub(self.extent(axis, k));
            let room = room.ok_or_else(|| fail("the kernel is larger than the image"))?;
            shape.push(room / self.strides[axis] + 1);
        }
        Ok(shape)
    }

    /// `[N, C, H, W]` of a result `[N, F, H′, W′]` and a kernel `[F, C/groups, kH, kW]`.
    fn transposed(&self, input: &[usize], kernel: &[usize], more: [usize; 2]) -> Result<Vec<usize>, String> {
        let fail = |why: &str| format!("{why}: input {input:?}, kernel {kernel:?}, {self:?}");
        let (&[n, f, h, width], &[filters, inner, kh, kw]) = (input, kernel) else {
            return Err(fail("4 axes are needed"));
        };
        if f != filters || self.groups == 0 || f % self.groups != 0 {
            return Err(fail("channels do not fit"));
        }
        if [h, width, kh, kw].contains(&0) {
            return Err(fail("a side is 0"));
        }
        let mut shape = vec![n, inner * self.groups];
        for (axis, (side, k)) in [(h, kh), (width, kw)].into_iter().enumerate() {
            let full = self.strides[axis] * (side - 1) + more[axis] + self.extent(axis, k);
            let side = full.checked_sub(self.pads[axis] + self.pads[axis + 2]).filter(|s| *s > 0);
            shape.push(side.ok_or_else(|| fail("the padding leaves nothing"))?);
        }
        Ok(shape)
    }
}

impl Expr<'_> {
    /// Matrix product `[…, M, K] · […, K, N]` → `[…, M, N]`, leading axes broadcast.
    pub fn matmul(self, b: Self) -> Self {
        self.graph().attempt("MatMul", || {
            let (left, right) = (self.shape(), b.shape());
            let shape = product(&left, &right).ok_or_else(|| format!("shapes {left:?} and {right:?}"))?;
            Ok(self.graph().node(Operator::MatMul, &[self, b], vec![], self.dtype(), shape))
        })
    }

    /// `x·wᵀ + bias` of `x: [N, D]`, `w: [F, D]` and `bias: [F]`.
    pub fn linear(self, w: Self, bias: Option<Self>) -> Self {
        self.gemm(w, bias, [false, true])
    }

    /// `a′·b′ + c` of matrices, each transposed where asked; `c` broadcasts to the result.
    pub fn gemm(self, b: Self, c: Option<Self>, transposed: [bool; 2]) -> Self {
        self.graph().attempt("Gemm", || {
            let (left, right, [trans_a, trans_b]) = (self.shape(), b.shape(), transposed);
            let fail =
                || format!("shapes {left:?} (transposed: {trans_a}) and {right:?} (transposed: {trans_b})");
            let (&[a0, a1], &[b0, b1]) = (left.as_slice(), right.as_slice()) else { return Err(fail()) };
            let (rows, inner) = if trans_a { (a1, a0) } else { (a0, a1) };
            let (inner_b, columns) = if trans_b { (b1, b0) } else { (b0, b1) };
            if inner != inner_b {
                return Err(fail());
            }
            let shape = vec![rows, columns];
            if let Some(c) = c.filter(|c| broadcast(&[&shape, &c.shape()]).as_ref() != Some(&shape)) {
                return Err(format!("the bias {:?} does not broadcast to {shape:?}", c.shape()));
            }
            let inputs: Vec<Self> = [self, b].into_iter().chain(c).collect();
            let attributes =
                vec![AttributeProto::flag("transA", trans_a), AttributeProto::flag("transB", trans_b)];
            Ok(self.graph().node(Operator::Gemm, &inputs, attributes, self.dtype(), shape))
        })
    }

    /// Convolution of `[N, C, H, W]` with `w: [F, C/groups, kH, kW]` and `bias: [F]`.
    ///
    /// Uneven padding becomes a `Pad` of its own, because the CUDA provider has no gradient for it.
    pub fn conv(self, w: Self, bias: Option<Self>, attrs: ConvAttrs) -> Self {
        let [top, left, bottom, right] = attrs.pads;
        if top != bottom || left != right {
            let padded = self.pad(&[0, 0, top, left, 0, 0, bottom, right], 0.0);
            return padded.conv(w, bias, ConvAttrs { pads: [0; 4], ..attrs });
        }
        self.graph().attempt("Conv", || {
            let shape = attrs.convolved(&self.shape(), &w.shape())?;
            if let Some(b) = bias.filter(|b| b.shape() != [shape[1]]) {
                return Err(format!("bias {:?} for {} filters", b.shape(), shape[1]));
            }
            let inputs: Vec<Self> = [self, w].into_iter().chain(bias).collect();
            let attributes = attrs.attributes([w.dim(2), w.dim(3)]);
            Ok(self.graph().node(Operator::Conv, &inputs, attributes, self.dtype(), shape))
        })
    }

    /// [`Expr::conv`] of each channel by itself, `w: [C, 1, kH, kW]`, as a product a channel: of its images of the
    /// whole batch with the matrix `[H·W, H′·W′]` that the kernel is. For maps of few pixels, where a convolution
    /// a channel is all overhead; the derivatives are products too.
    pub fn conv_of_small_maps(self, w: Self, bias: Option<Self>, attrs: ConvAttrs) -> Self {
        self.graph().attempt("Conv", || {
            let shape = attrs.convolved(&self.shape(), &w.shape())?;
            let ([n, c, h, width], [filters, own, kh, kw]) = (self.dims()?, w.dims()?);
            if own != 1 || filters != c || attrs.groups != c {
                return Err(format!("{filters} filters of {own} channels for {c} channels by themselves"));
            }
            let [pixels, places] = [h * width, shape[2] * shape[3]];
            let name = format!(
                "taps_{h}x{width}_{kh}x{kw}_{:?}_{:?}_{:?}",
                attrs.strides, attrs.pads, attrs.dilations
            );
            let taps = taps([h, width], [kh, kw], [shape[2], shape[3]], attrs);
            let taps = self.graph().initializer_once(&name.replace([' ', '[', ']'], ""), taps);
            let matrices = w.reshape(&[c, kh * kw]).matmul(taps).reshape(&[c, pixels, places]);
            let images = self.reshape(&[n, c, pixels]).transpose(&[1, 0, 2]);
            let y = images.matmul(matrices).transpose(&[1, 0, 2]).reshape(&shape);
            Ok(bias.map_or(y, |bias| y + bias.reshape(&[c, 1, 1])))
        })
    }

    /// Transposed convolution of `[N, F, H, W]` with `w: [F, C/groups, kH, kW]`; `output_padding`
    /// adds rows and columns after the result.
    pub fn conv_transpose(self, w: Self, attrs: ConvAttrs, output_padding: [usize; 2]) -> Self {
        self.graph().attempt("ConvTranspose", || {
            let shape = attrs.transposed(&self.shape(), &w.shape(), output_padding)?;
            let mut attributes = attrs.attributes([w.dim(2), w.dim(3)]);
            if output_padding != [0, 0] {
                attributes.push(AttributeProto::ints("output_padding", signed(&output_padding)));
            }
            Ok(self.graph().node(Operator::ConvTranspose, &[self, w], attributes, self.dtype(), shape))
        })
    }
}

/// Which tap of the kernel connects a pixel with a place of the result: `[kH·kW, H·W·H′·W′]` of 0 and 1.
fn taps(image: [usize; 2], kernel: [usize; 2], result: [usize; 2], attrs: ConvAttrs) -> Tensor {
    let (pixels, places) = (image[0] * image[1], result[0] * result[1]);
    let mut taps = ArrayD::zeros(vec![kernel[0] * kernel[1], pixels * places]);
    let seen = |axis: usize, place: usize, tap: usize| {
        let at = place * attrs.strides[axis] + tap * attrs.dilations[axis];
        at.checked_sub(attrs.pads[axis]).filter(|&at| at < image[axis])
    };
    for place in 0..places {
        for tap in 0..kernel[0] * kernel[1] {
            let row = seen(0, place / result[1], tap / kernel[1]);
            if let (Some(y), Some(x)) = (row, seen(1, place % result[1], tap % kernel[1])) {
                taps[[tap, (y * image[1] + x) * places + place]] = 1.0;
            }
        }
    }
    Tensor::F32(taps)
}

/// The shape of a matrix product.
fn product(left: &[usize], right: &[usize]) -> Option<Vec<usize>> {
    let ([outer @ .., rows, inner], [outer_b @ .., inner_b, columns]) = (left, right) else { return None };
    let mut shape = broadcast(&[outer, outer_b]).filter(|_| inner == inner_b)?;
    shape.extend([rows, columns]);
    Some(shape)
}
