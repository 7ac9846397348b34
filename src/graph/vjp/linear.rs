//! Rules of matrix products and convolutions.

use super::{Call, joined};
use crate::graph::{ConvAttrs, ConvWeightGrad, Expr, Tensor};
use ndarray::ArrayD;

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

/// Of many matrices by one, a single product and no sum of products.
pub(super) fn matmul_right<'g>(c: &Call<'g>) -> Expr<'g> {
    let (x, w) = (c.x[0], c.x[1]);
    let (&[.., inner], &[_, columns]) = (x.shape().as_slice(), w.shape().as_slice()) else {
        return x.turned().matmul(c.dy);
    };
    let rows = x.count() / inner.max(1);
    x.reshape(&[rows, inner]).gemm(c.dy.reshape(&[rows, columns]), None, [true, false])
}

fn transposed(c: &Call<'_>) -> [bool; 2] {
    ["transA", "transB"].map(|name| c.node.flag(name))
}

/// Derivative with respect to the image: the transposed convolution; its output padding gives the
/// rows and columns back that a stride did not reach.
pub(super) fn image<'g>(c: &Call<'g>) -> Expr<'g> {
    let (x, w, attrs) = (c.x[0], c.x[1], ConvAttrs::of(&c.node));
    if c.how.conv_weight == ConvWeightGrad::Cpu
        && attrs == ConvAttrs::default()
        && w.count() == w.dim(0) * w.dim(1)
    {
        // Of one pixel, a convolution again: half the time of the transposed one.
        return c.dy.conv(w.transpose(&[1, 0, 2, 3]), None, attrs);
    }
    let unreached = [0, 1].map(|axis| {
        let side = x.dim(2 + axis) + attrs.pads[axis] + attrs.pads[axis + 2];
        (side - attrs.extent(axis, w.dim(2 + axis))) % attrs.strides[axis]
    });
    c.dy.conv_transpose(w, attrs, unreached)
}

// Harder derivatives: those with respect to the kernel.

/// Batch and channels in each other's place.
const EXCHANGED: [usize; 4] = [1, 0, 2, 3];

pub(super) fn weight<'g>(c: &Call<'g>) -> Expr<'g> {
    let attrs = ConvAttrs::of(&c.node);
    c.attempt(|| {
        let [filters, channels, kh, kw] = c.x[1].dims()?;
        if c.how.conv_weight == ConvWeightGrad::Cpu {
            if channels == 1 && attrs.groups == filters && filters > 1 {
                return channel_by_channel(c.x[0], c.dy, [kh, kw], attrs);
            }
            if [kh, kw] == [1, 1] && attrs.groups == 1 && attrs.pads == [0; 4] {
                return of_pixels(c.x[0], c.dy, attrs);
            }
        }
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
    let over = ConvAttrs { strides: attrs.dilations, dilations: attrs.strides, pads: attrs.pads, groups: 1 };
    let dw = x.transpose(&EXCHANGED).conv(dy.transpose(&EXCHANGED), None, over);
    // With a stride the result may have rows that belong to no tap of the kernel.
    dw.slice(&[0, 0], &kernel[2..], &[2, 3], &[1, 1]).transpose(&EXCHANGED)
}

/// Of a kernel of one pixel: a product an image and the sum over the batch, or, where the sums are larger than the
/// images, one product with the channels before the batch.
fn of_pixels<'g>(x: Expr<'g>, dy: Expr<'g>, attrs: ConvAttrs) -> Result<Expr<'g>, String> {
    let ([n, f, rows, columns], [_, c, _, _]) = (dy.dims()?, x.dims()?);
    let ends = [(rows - 1) * attrs.strides[0] + 1, (columns - 1) * attrs.strides[1] + 1];
    let x = x.slice(&[0, 0], &ends, &[2, 3], &attrs.strides);
    let places = rows * columns;
    let product = if f * c <= places * (f + c) {
        dy.reshape(&[n, f, places]).matmul(x.reshape(&[n, c, places]).turned()).sum(&[0])
    } else {
        let [x, dy] =
            [(x, c), (dy, f)].map(|(v, count)| v.transpose(&EXCHANGED).reshape(&[count, n * places]));
        dy.gemm(x, None, [false, true])
    };
    Ok(product.reshape(&[f, c, 1, 1]))
}

/// Of a convolution of each channel by itself: for each row of the kernel, a product a channel over the batch and
/// all rows of the image, of every column that is seen with every column of the result; the taps are sums over its
/// diagonals. A product in place of kH·kW passes over the images: most of what it computes is not asked for, and
/// still it takes a third of the time of one convolution a group.
fn channel_by_channel<'g>(
    x: Expr<'g>,
    dy: Expr<'g>,
    kernel: [usize; 2],
    attrs: ConvAttrs,
) -> Result<Expr<'g>, String> {
    let ([n, c, _, width], [_, _, rows, columns]) = (x.dims()?, dy.dims()?);
    let [top, _, bottom, _] = attrs.pads;
    let x = x.transpose(&EXCHANGED).pad(&[0, 0, top, 0, 0, 0, bottom, 0], 0.0);
    let dy = dy.transpose(&EXCHANGED).reshape(&[c, n * rows, columns]);
    let diagonals = diagonals(width, columns, kernel[1], attrs);
    let name = format!(
        "diagonals_{width}_{columns}_{}_{}_{}_{}",
        kernel[1], attrs.strides[1], attrs.pads[1], attrs.dilations[1]
    );
    let diagonals = dy.graph().initializer_once(&name, diagonals);
    let row = |i: usize| {
        let start = i * attrs.dilations[0];
        let end = start + (rows - 1) * attrs.strides[0] + 1;
        let seen = x.slice(&[start], &[end], &[2], &attrs.strides[..1]).reshape(&[c, n * rows, width]);
        seen.turned().matmul(dy).reshape(&[c, width * columns]).matmul(diagonals)
    };
    let taps: Vec<_> = (0..kernel[0]).map(row).collect();
    Ok(joined(&taps, 1)?.reshape(&[c, 1, kernel[0], kernel[1]]))
}

/// Which pairs of a column that is seen and a column of the result belong to which tap: `[W·W′, kW]`.
fn diagonals(width: usize, columns: usize, taps: usize, attrs: ConvAttrs) -> Tensor {
    let seen = |column: usize, tap: usize| {
        (column * attrs.strides[1] + tap * attrs.dilations[1]).checked_sub(attrs.pads[1])
    };
    let shape = [width * columns, taps];
    Tensor::F32(ArrayD::from_shape_fn(&shape[..], |i| {
        let [from, to] = [i[0] / columns, i[0] % columns];
        f32::from(u8::from(seen(to, i[1]) == Some(from)))
    }))
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
