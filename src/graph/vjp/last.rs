//! Rules of images with channels last.

use super::{Call, joined, pool};
use crate::graph::builder::signed;
use crate::graph::{ConvAttrs, Expr, Kernel, Phase};
use crate::onnx::AttributeProto;

pub(super) fn bias<'g>(c: &Call<'g>) -> Expr<'g> {
    c.dy.channel_sums().reshape(&[c.dy.dim(3)])
}

/// The product of the cotangent with the columns of the forward pass; the smaller is the one to turn.
pub(super) fn weight<'g>(c: &Call<'g>) -> Expr<'g> {
    c.attempt(|| {
        let [f, channels, kh, kw] = c.x[1].dims()?;
        let columns = c.x[0].columns([kh, kw], ConvAttrs::of(&c.node));
        let product = c.dy.reshape(&[columns.dim(0), f]).gemm(columns, None, [true, false]);
        let dw = product.reshape(&[f, kh, kw, channels]).transpose(&[0, 3, 1, 2]);
        dw.graph().region(Kernel::ConvGradWeight, &[c.x[0], c.dy], &[dw], c.node.attribute.clone());
        Ok(dw)
    })
}

// The derivative with respect to the image: every phase is a product of its own over columns of the cotangent, with
// the taps that reach it.

pub(super) fn image<'g>(c: &Call<'g>) -> Expr<'g> {
    c.attempt(|| {
        let (attrs, w) = (ConvAttrs::of(&c.node), c.x[1]);
        let ([n, height, width, channels], [_, _, kh, kw]) = (c.x[0].dims()?, w.dims()?);
        let [below, across] = [attrs.phases(0, kh), attrs.phases(1, kw)];
        let pixels = [height.div_ceil(attrs.strides[0]), width.div_ceil(attrs.strides[1])];
        let view = View::of(c.dy, [&below, &across], pixels)?;
        let band = |rows: &Phase| {
            let parts = across.iter().map(|columns| phase(w, &view, rows, columns));
            let parts = parts.collect::<Result<Vec<_>, String>>()?;
            let side = pixels[1] * attrs.strides[1] * channels;
            Ok(joined(&parts, 3)?.reshape(&[n, pixels[0], 1, side]))
        };
        let bands = below.iter().map(band).collect::<Result<Vec<_>, String>>()?;
        let whole = [n, pixels[0] * attrs.strides[0], pixels[1] * attrs.strides[1], channels];
        let dx = joined(&bands, 2)?.reshape(&whole).slice(&[0, 0], &[height, width], &[1, 2], &[1, 1]);
        let of_image = AttributeProto::ints("image", signed(&c.x[0].shape()));
        let attributes = [&c.node.attribute[..], &[of_image]].concat();
        dx.graph().region(Kernel::ConvGradImage, &[c.dy, w], &[dx], attributes);
        Ok(dx)
    })
}

pub(super) fn max_pool<'g>(c: &Call<'g>) -> Expr<'g> {
    let first = |v: Expr<'g>| v.channels_first();
    let call = Call { x: vec![first(c.x[0])], y: first(c.y), dy: first(c.dy), ..c.clone() };
    let dx = pool::max_pool(&call).channels_last();
    dx.graph().region(Kernel::MaxPoolGrad, &[c.x[0], c.y, c.dy], &[dx], c.node.attribute.clone());
    dx
}

/// The cotangent with zeros around, so that every tap of every pixel finds a place.
struct View<'g> {
    /// `[N, H·W, F]`.
    places: Expr<'g>,
    width: usize,
    before: [i64; 2],
    /// Pixels of one phase.
    pixels: [usize; 2],
}

impl<'g> View<'g> {
    fn of(dy: Expr<'g>, along: [&[Phase]; 2], pixels: [usize; 2]) -> Result<Self, String> {
        let mut pads = [0; 8];
        for axis in 0..2 {
            let offs = || along[axis].iter().flatten().map(|tap| tap.1);
            let beyond = offs().max().unwrap_or(0) + pixels[axis] as i64 - dy.dim(1 + axis) as i64;
            pads[1 + axis] = (-offs().min().unwrap_or(0)).max(0) as usize;
            pads[5 + axis] = beyond.max(0) as usize;
        }
        let padded = dy.pad(&pads, 0.0);
        let [n, h, width, f] = padded.dims()?;
        let places = padded.reshape(&[n, h * width, f]);
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
fn phase<'g>(w: Expr<'g>, view: &View<'g>, rows: &Phase, columns: &Phase) -> Result<Expr<'g>, String> {
    let ([f, c, kh, kw], [height, width]) = (w.dims()?, view.pixels);
    let n = view.places.dim(0);
    let taps: Vec<i64> =
        rows.iter().flat_map(|(i, _)| columns.iter().map(move |(j, _)| (i * kw + j) as i64)).collect();
    if taps.is_empty() {
        return Ok(w.graph().scalar(0.0).expand(&[n, height, width, c]));
    }
    let chosen = picked(w.reshape(&[f, c, kh * kw]), &taps, 2).transpose(&[2, 0, 1]);
    let matrix = chosen.reshape(&[taps.len() * f, c]);
    let seen = picked(view.places, &view.seen(rows, columns), 1);
    let seen = seen.reshape(&[n * height * width, taps.len() * f]);
    Ok(seen.gemm(matrix, None, [false, false]).reshape(&[n, height, width, c]))
}

/// The entries at `indices` along an axis.
fn picked<'g>(v: Expr<'g>, indices: &[i64], axis: usize) -> Expr<'g> {
    if indices.iter().copied().eq(0..v.dim(axis) as i64) {
        return v;
    }
    v.gather(v.graph().ints(indices), axis as i64)
}
