//! Rules of matrix products and convolutions.

use super::{Call, Cotangents};
use crate::Result;
use crate::graph::{ConvAttrs, ConvWeightGrad, Graph, Value};

pub(super) fn matmul(g: &mut Graph, call: &Call) -> Result<Cotangents> {
    let (a, b) = (call.node.inputs[0], call.node.inputs[1]);
    call.each(|i| match i {
        0 => turned(g, b).and_then(|b| g.matmul(call.dy, b)),
        _ => turned(g, a).and_then(|a| g.matmul(a, call.dy)),
    })
}

/// The last two axes exchanged.
fn turned(g: &mut Graph, v: Value) -> Result<Value> {
    let rank = g.shape(v).len();
    let mut order: Vec<usize> = (0..rank).collect();
    order.swap(rank - 1, rank - 2);
    g.transpose(v, &order)
}

pub(super) fn gemm(g: &mut Graph, call: &Call) -> Result<Cotangents> {
    let (a, b, dy) = (call.node.inputs[0], call.node.inputs[1], call.dy);
    let [turn_a, turn_b] = ["transA", "transB"].map(|name| call.node.int(name, 0) == 1);
    call.each(|i| match (i, turn_a, turn_b) {
        (0, false, _) => g.gemm(dy, b, None, false, !turn_b),
        (0, true, _) => g.gemm(b, dy, None, turn_b, true),
        (1, _, false) => g.gemm(a, dy, None, !turn_a, false),
        (1, _, true) => g.gemm(dy, a, None, true, turn_a),
        _ => Ok(dy),
    })
}

pub(super) fn conv(g: &mut Graph, call: &Call) -> Result<Cotangents> {
    let attrs = attributes(call);
    call.each(|i| match i {
        0 => image(g, call, attrs),
        1 => weight(g, call, attrs),
        _ => g.reduce_sum(call.dy, &[0, 2, 3], false),
    })
}

pub(super) fn attributes(call: &Call) -> ConvAttrs {
    let at = |name, i: usize| call.node.ints(name)[i] as usize;
    ConvAttrs {
        strides: [0, 1].map(|i| at("strides", i)),
        pads: [0, 1, 2, 3].map(|i| at("pads", i)),
        dilations: [0, 1].map(|i| at("dilations", i)),
        groups: call.node.int("group", 1) as usize,
    }
}

/// Derivative with respect to the image: the transposed convolution; its output padding gives the
/// rows and columns back that a stride did not reach.
fn image(g: &mut Graph, call: &Call, attrs: ConvAttrs) -> Result<Value> {
    let (x, w) = (call.x(), call.node.inputs[1]);
    let unreached = [0, 1].map(|axis| {
        let side = g.shape(x)[2 + axis] + attrs.pads[axis] + attrs.pads[axis + 2];
        (side - attrs.extent(axis, g.shape(w)[2 + axis])) % attrs.strides[axis]
    });
    g.conv_transpose(call.dy, w, attrs, unreached)
}

// Derivatives with respect to the kernel.

fn weight(g: &mut Graph, call: &Call, attrs: ConvAttrs) -> Result<Value> {
    let (x, kernel) = (call.x(), g.shape(call.node.inputs[1]).to_vec());
    let own = [kernel[0] / attrs.groups, kernel[1], kernel[2], kernel[3]];
    let mut parts = Vec::with_capacity(attrs.groups);
    for group in 0..attrs.groups {
        let x = channels(g, x, group, attrs.groups)?;
        let dy = channels(g, call.dy, group, attrs.groups)?;
        parts.push(match call.how.conv_weight {
            ConvWeightGrad::Swapped => swapped(g, x, dy, own, attrs)?,
            ConvWeightGrad::Cpu if own[1] >= GATHERED => gathered(g, x, dy, own, attrs)?,
            ConvWeightGrad::Cpu => by_products(g, x, dy, own, attrs)?,
        });
    }
    if parts.len() == 1 { Ok(parts[0]) } else { g.concat(&parts, 0) }
}

/// The channels of one group.
fn channels(g: &mut Graph, v: Value, group: usize, groups: usize) -> Result<Value> {
    let count = g.shape(v)[1] / groups;
    g.slice(v, &[group * count], &[(group + 1) * count], &[1], &[1])
}

/// A convolution over the batch: `dY` is the kernel, stride and dilation change places.
fn swapped(g: &mut Graph, x: Value, dy: Value, kernel: [usize; 4], attrs: ConvAttrs) -> Result<Value> {
    const EXCHANGED: [usize; 4] = [1, 0, 2, 3];
    let (x, dy) = (g.transpose(x, &EXCHANGED)?, g.transpose(dy, &EXCHANGED)?);
    let over = ConvAttrs { strides: attrs.dilations, dilations: attrs.strides, pads: attrs.pads, groups: 1 };
    let dw = g.conv(x, dy, None, over)?;
    // With a stride the result may have rows that belong to no tap of the kernel.
    let dw = g.slice(dw, &[0, 0], &kernel[2..], &[2, 3], &[1, 1])?;
    g.transpose(dw, &EXCHANGED)
}

/// Channels from which on a pixel is worth a move of its own: `Gather` of pixels runs on all cores,
/// `Slice` and `Concat` on one, but they move whole rows.
const GATHERED: usize = 32;

/// Per image the product of `dY: [F, P]` with the columns `[P, kH·kW·C]` of the image with channels last;
/// then the sum over the batch.
fn gathered(g: &mut Graph, x: Value, dy: Value, kernel: [usize; 4], attrs: ConvAttrs) -> Result<Value> {
    let [f, c, kh, kw] = kernel;
    let (n, places) = (g.shape(dy)[0], g.shape(dy)[2] * g.shape(dy)[3]);
    let x = g.channels_last(x)?;
    let columns = g.columns(x, [kh, kw], attrs)?;
    let columns = g.reshape(columns, &[n, places, kh * kw * c])?;
    let dy = g.reshape(dy, &[n, f, places])?;
    let products = g.matmul(dy, columns)?;
    let sum = g.reduce_sum(products, &[0], false)?;
    let channels_last = g.reshape(sum, &[f, kh, kw, c])?;
    g.transpose(channels_last, &[0, 3, 1, 2])
}

/// Per image the product of the columns `[kH·kW·C, P]`, a slice a tap, with `dYᵀ: [P, F]`; then the
/// sum over the batch.
fn by_products(g: &mut Graph, x: Value, dy: Value, kernel: [usize; 4], attrs: ConvAttrs) -> Result<Value> {
    let [f, c, kh, kw] = kernel;
    let (n, places) = (g.shape(dy)[0], g.shape(dy)[2] * g.shape(dy)[3]);
    let [top, left, bottom, right] = attrs.pads;
    let padded = g.pad(x, &[0, 0, top, left, 0, 0, bottom, right], 0.0)?;
    let mut taps = Vec::with_capacity(kh * kw);
    for i in 0..kh {
        for j in 0..kw {
            taps.push(tap(g, padded, dy, [i, j], attrs)?);
        }
    }
    let columns = g.concat(&taps, 1)?;
    let columns = g.reshape(columns, &[n, kh * kw * c, places])?;
    let dy = g.reshape(dy, &[n, f, places])?;
    let dy = g.transpose(dy, &[0, 2, 1])?;
    let products = g.matmul(columns, dy)?;
    let sum = g.reduce_sum(products, &[0], false)?;
    let taps_first = g.reshape(sum, &[kh, kw, c, f])?;
    g.transpose(taps_first, &[3, 2, 0, 1])
}

/// What one tap of the kernel sees: `[N, C, H′, W′]`.
fn tap(g: &mut Graph, padded: Value, dy: Value, at: [usize; 2], attrs: ConvAttrs) -> Result<Value> {
    let starts = [0, 1].map(|axis| at[axis] * attrs.dilations[axis]);
    let ends = [0, 1].map(|axis| starts[axis] + (g.shape(dy)[2 + axis] - 1) * attrs.strides[axis] + 1);
    g.slice(padded, &starts, &ends, &[2, 3], &attrs.strides)
}
