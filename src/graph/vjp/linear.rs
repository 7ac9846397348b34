//! Rules of matrix products and convolutions.

use super::{Call, joined};
use crate::graph::{ConvAttrs, ConvWeightGrad, Expr};

pub(super) fn gemm_left<'g>(c: &Call<'g>) -> Expr<'g> {
    match transposed(c) {
        [false, b] => c.dy.gemm(c.x[1], None, [false, !b]),
        [true, b] => c.x[1].gemm(c.dy, None, [b, true]),
    }
}

pub(super) fn gemm_right<'g>(c: &Call<'g>) -> Expr<'g> {
    match transposed(c) {
        [a, false] => c.x[0].gemm(c.dy, None, [!a, false]),
        [a, true] => c.dy.gemm(c.x[0], None, [true, a]),
    }
}

fn transposed(c: &Call<'_>) -> [bool; 2] {
    ["transA", "transB"].map(|name| c.node.flag(name))
}

/// Derivative with respect to the image: the transposed convolution; its output padding gives the
/// rows and columns back that a stride did not reach.
pub(super) fn image<'g>(c: &Call<'g>) -> Expr<'g> {
    let (x, w, attrs) = (c.x[0], c.x[1], ConvAttrs::of(&c.node));
    let unreached = [0, 1].map(|axis| {
        let side = x.dim(2 + axis) + attrs.pads[axis] + attrs.pads[axis + 2];
        (side - attrs.extent(axis, w.dim(2 + axis))) % attrs.strides[axis]
    });
    c.dy.conv_transpose(w, attrs, unreached)
}

// Harder derivatives: those with respect to the kernel.

pub(super) fn weight<'g>(c: &Call<'g>) -> Expr<'g> {
    let attrs = ConvAttrs::of(&c.node);
    c.attempt(|| {
        let [filters, channels, kh, kw] = c.x[1].dims()?;
        let own = [filters / attrs.groups, channels, kh, kw];
        let part = |group: usize| {
            let [x, dy] = [c.x[0], c.dy].map(|v| group_of(v, group, attrs.groups));
            match c.how.conv_weight {
                ConvWeightGrad::Swapped => swapped(x, dy, own, attrs),
                ConvWeightGrad::Cpu if channels >= GATHERED => gathered(x, dy, own, attrs),
                ConvWeightGrad::Cpu => by_products(x, dy, own, attrs),
            }
        };
        let parts: Vec<_> = (0..attrs.groups).map(part).collect();
        joined(&parts, 0)
    })
}

/// The channels of one group.
fn group_of(v: Expr<'_>, group: usize, groups: usize) -> Expr<'_> {
    let count = v.dim(1) / groups;
    v.narrow(1, group * count..(group + 1) * count)
}

/// A convolution over the batch: `dY` is the kernel, stride and dilation change places.
fn swapped<'g>(x: Expr<'g>, dy: Expr<'g>, kernel: [usize; 4], attrs: ConvAttrs) -> Expr<'g> {
    const EXCHANGED: [usize; 4] = [1, 0, 2, 3];
    let over = ConvAttrs { strides: attrs.dilations, dilations: attrs.strides, pads: attrs.pads, groups: 1 };
    let dw = x.transpose(&EXCHANGED).conv(dy.transpose(&EXCHANGED), None, over);
    // With a stride the result may have rows that belong to no tap of the kernel.
    dw.slice(&[0, 0], &kernel[2..], &[2, 3], &[1, 1]).transpose(&EXCHANGED)
}

/// Channels from which on a pixel is worth a move of its own: `Gather` of pixels runs on all cores,
/// `Slice` and `Concat` on one, but they move whole rows.
const GATHERED: usize = 32;

/// Per image the product of `dY: [F, P]` with the columns `[P, kH·kW·C]` of the image with channels last;
/// then the sum over the batch.
fn gathered<'g>(x: Expr<'g>, dy: Expr<'g>, [f, c, kh, kw]: [usize; 4], attrs: ConvAttrs) -> Expr<'g> {
    let (n, places) = (dy.dim(0), dy.dim(2) * dy.dim(3));
    let columns = x.channels_last().columns([kh, kw], attrs).reshape(&[n, places, kh * kw * c]);
    let sum = dy.reshape(&[n, f, places]).matmul(columns).sum(&[0]);
    sum.reshape(&[f, kh, kw, c]).transpose(&[0, 3, 1, 2])
}

/// Per image the product of the columns `[kH·kW·C, P]`, a slice a tap, with `dYᵀ: [P, F]`; then the
/// sum over the batch.
fn by_products<'g>(x: Expr<'g>, dy: Expr<'g>, [f, c, kh, kw]: [usize; 4], attrs: ConvAttrs) -> Expr<'g> {
    let (n, places) = (dy.dim(0), [dy.dim(2), dy.dim(3)]);
    let [top, left, bottom, right] = attrs.pads;
    let padded = x.pad(&[0, 0, top, left, 0, 0, bottom, right], 0.0);
    // What one tap of the kernel sees: `[N, C, H′, W′]`.
    let tap = |i: usize, j: usize| {
        let starts = [i * attrs.dilations[0], j * attrs.dilations[1]];
        let ends = [0, 1].map(|axis| starts[axis] + (places[axis] - 1) * attrs.strides[axis] + 1);
        padded.slice(&starts, &ends, &[2, 3], &attrs.strides)
    };
    let taps: Vec<_> = (0..kh * kw).map(|at| tap(at / kw, at % kw)).collect();
    let places = places[0] * places[1];
    let columns = dy.graph().concat(&taps, 1).reshape(&[n, kh * kw * c, places]);
    let sum = columns.matmul(dy.reshape(&[n, f, places]).transpose(&[0, 2, 1])).sum(&[0]);
    sum.reshape(&[kh, kw, c, f]).transpose(&[3, 2, 0, 1])
}
