//! Rules of images with channels last.

use super::linear::attributes;
use super::{Call, Cotangents};
use crate::Result;
use crate::graph::{ConvAttrs, Graph, Value};

pub(super) fn conv(g: &mut Graph, call: &Call) -> Result<Cotangents> {
    let attrs = attributes(call);
    call.each(|i| match i {
        0 => image(g, call, attrs),
        1 => weight(g, call, attrs),
        _ => {
            let sums = g.channel_sums(call.dy)?;
            let filters = g.shape(call.dy)[3];
            g.reshape(sums, &[filters])
        }
    })
}

/// The product of the cotangent with the columns of the forward pass; the smaller is the one to turn.
fn weight(g: &mut Graph, call: &Call, attrs: ConvAttrs) -> Result<Value> {
    let &[f, c, kh, kw] = g.shape(call.node.inputs[1]) else { return Err(call.fail("a kernel has 4 axes")) };
    let columns = g.columns(call.x(), [kh, kw], attrs)?;
    let rows = g.shape(columns)[0];
    let dy = g.reshape(call.dy, &[rows, f])?;
    let product = g.gemm(dy, columns, None, true, false)?;
    let channels_last = g.reshape(product, &[f, kh, kw, c])?;
    g.transpose(channels_last, &[0, 3, 1, 2])
}

// The derivative with respect to the image. A stride splits the image into phases, along each axis the
// pixels `s·m + r` for one r < s. Every phase is a product of its own over columns of the cotangent, with
// the taps that reach it: pixel `s·m + r` lies under tap i of place `m + (r + pad − d·i)/s`, where that
// is a whole number.

/// One phase along one axis: the taps that reach it, and how far from m their places are.
type Phase = Vec<(usize, i64)>;

fn phases(axis: usize, taps: usize, attrs: ConvAttrs) -> Vec<Phase> {
    let [stride, dilation, pad] =
        [attrs.strides[axis], attrs.dilations[axis], attrs.pads[axis]].map(|n| n as i64);
    let reaches = |r: i64| {
        let off = move |i: usize| r + pad - dilation * i as i64;
        (0..taps).filter(move |&i| off(i) % stride == 0).map(move |i| (i, off(i) / stride)).collect()
    };
    (0..stride).map(reaches).collect()
}

fn image(g: &mut Graph, call: &Call, attrs: ConvAttrs) -> Result<Value> {
    let shape = g.shape(call.x()).to_vec();
    let kernel = g.shape(call.node.inputs[1])[2..].to_vec();
    let along = [0, 1].map(|axis| phases(axis, kernel[axis], attrs));
    let pixels = [0, 1].map(|axis| shape[1 + axis].div_ceil(attrs.strides[axis]));
    let view = View::of(g, call.dy, &along, pixels)?;
    let mut bands = Vec::with_capacity(along[0].len());
    for rows in &along[0] {
        let parts = along[1].iter().map(|columns| phase(g, call, &view, rows, columns));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let band = joined(g, &parts, 3)?;
        bands.push(g.reshape(band, &[shape[0], pixels[0], 1, pixels[1] * attrs.strides[1] * shape[3]])?);
    }
    let bands = joined(g, &bands, 2)?;
    let sides = [0, 1].map(|axis| pixels[axis] * attrs.strides[axis]);
    let whole = g.reshape(bands, &[shape[0], sides[0], sides[1], shape[3]])?;
    g.slice(whole, &[0, 0], &shape[1..3], &[1, 2], &[1, 1])
}

fn joined(g: &mut Graph, parts: &[Value], axis: usize) -> Result<Value> {
    if let [one] = parts { Ok(*one) } else { g.concat(parts, axis) }
}

/// The cotangent with zeros around, so that every tap of every pixel finds a place.
struct View {
    /// `[N, H·W, F]`.
    places: Value,
    width: usize,
    before: [i64; 2],
    /// Pixels of one phase.
    pixels: [usize; 2],
}

impl View {
    fn of(g: &mut Graph, dy: Value, along: &[Vec<Phase>; 2], pixels: [usize; 2]) -> Result<Self> {
        let mut pads = [0; 8];
        for axis in 0..2 {
            let offs = || along[axis].iter().flatten().map(|tap| tap.1);
            let beyond = offs().max().unwrap_or(0) + pixels[axis] as i64 - g.shape(dy)[1 + axis] as i64;
            pads[1 + axis] = (-offs().min().unwrap_or(0)).max(0) as usize;
            pads[5 + axis] = beyond.max(0) as usize;
        }
        let padded = g.pad(dy, &pads, 0.0)?;
        let &[n, h, width, f] = g.shape(padded) else {
            return Err(g.misfit("ConvLast", "4 axes are needed"));
        };
        let places = g.reshape(padded, &[n, h * width, f])?;
        Ok(Self { places, width, before: [pads[1] as i64, pads[2] as i64], pixels })
    }

    /// Where each tap of each pixel of a phase looks.
    fn seen(&self, rows: &Phase, columns: &Phase) -> Vec<i64> {
        let mut seen = Vec::new();
        for y in 0..self.pixels[0] as i64 {
            for x in 0..self.pixels[1] as i64 {
                for (_, row) in rows {
                    let start = (y + row + self.before[0]) * self.width as i64;
                    seen.extend(columns.iter().map(|(_, column)| start + x + column + self.before[1]));
                }
            }
        }
        seen
    }
}

/// One phase of the image: `[N, pixels, C]`, as `[N, H/s, W/s, C]`.
fn phase(g: &mut Graph, call: &Call, view: &View, rows: &Phase, columns: &Phase) -> Result<Value> {
    let w = call.node.inputs[1];
    let &[f, c, kh, kw] = g.shape(w) else { return Err(call.fail("a kernel has 4 axes")) };
    let (n, [height, width]) = (g.shape(view.places)[0], view.pixels);
    let taps: Vec<i64> =
        rows.iter().flat_map(|(i, _)| columns.iter().map(move |(j, _)| (i * kw + j) as i64)).collect();
    if taps.is_empty() {
        let zero = g.scalar(0.0);
        return g.expand(zero, &[n, height, width, c]);
    }
    let flat = g.reshape(w, &[f, c, kh * kw])?;
    let chosen = picked(g, flat, &taps, 2)?;
    let chosen = g.transpose(chosen, &[2, 0, 1])?;
    let matrix = g.reshape(chosen, &[taps.len() * f, c])?;
    let seen = picked(g, view.places, &view.seen(rows, columns), 1)?;
    let seen = g.reshape(seen, &[n * height * width, taps.len() * f])?;
    let product = g.gemm(seen, matrix, None, false, false)?;
    g.reshape(product, &[n, height, width, c])
}

/// The entries at `indices` along an axis.
fn picked(g: &mut Graph, v: Value, indices: &[i64], axis: usize) -> Result<Value> {
    if indices.iter().copied().eq(0..g.shape(v)[axis] as i64) {
        return Ok(v);
    }
    let list = g.ints(indices);
    g.gather(v, list, axis as i64)
}
