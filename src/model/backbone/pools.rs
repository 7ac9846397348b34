//! Rules of pools. Padding and windows that reach beyond the image become numbers around it.

use super::node::{Made, Node};
use super::products::Window;
use crate::graph::{Expr, Tensor};
use ndarray::ArrayD;

/// Below every number that a map can hold.
const LOWEST: f32 = f32::MIN;

/// A pool as it is built: its image with what is around it, and how its windows lie.
struct Pool<'g> {
    x: Expr<'g>,
    window: Window,
    pads: [usize; 4],
    places: [usize; 2],
}

impl<'g> Pool<'g> {
    fn of(n: &Node<'_, 'g>) -> Result<Self, String> {
        let mut x = n.x(0)?;
        if x.rank() == 3 {
            x = x.reshape(&[x.dim(0), x.dim(1), 1, x.dim(2)]);
        }
        let sides: Vec<usize> =
            n.proto.ints("kernel_shape").unwrap_or_default().iter().map(|&k| k.max(1) as usize).collect();
        let sides = match (x.rank(), sides.as_slice()) {
            (4, &[across]) => [1, across],
            (4, &[down, across]) => [down, across],
            _ => return Err(format!("goes over {} axes; 1 and 2 can be trained", sides.len())),
        };
        let window = Window::of(n, sides)?;
        if window.dilations != [1, 1] {
            return Err("has taps apart from each other (dilations)".into());
        }
        let image = [x.dim(2), x.dim(3)];
        let pads = window.pads(image);
        let places = match n.shape()? {
            &[_, _, across] => [1, across],
            &[_, _, down, across] => [down, across],
            other => return Err(format!("gives {other:?}")),
        };
        Ok(Self { x, window, pads, places })
    }

    /// The pads, and what the last windows need besides.
    fn reach(&self) -> [usize; 4] {
        let mut pads = self.pads;
        for axis in 0..2 {
            let need = (self.places[axis] - 1) * self.window.strides[axis] + self.window.sides[axis];
            pads[2 + axis] = need.saturating_sub(self.x.dim(2 + axis) + pads[axis]).max(pads[2 + axis]);
        }
        pads
    }

    /// The image with a number around it.
    fn padded(&self, value: f32) -> Expr<'g> {
        let [top, left, bottom, right] = self.reach();
        self.x.pad(&[0, 0, top, left, 0, 0, bottom, right], value)
    }

    /// How many pixels count in each window along an axis.
    fn counts(&self, axis: usize, padding: bool) -> Vec<usize> {
        let side = self.x.dim(2 + axis);
        let (low, high) = match padding {
            true => (0, side + self.pads[axis] + self.pads[2 + axis]),
            false => (self.pads[axis], side + self.pads[axis]),
        };
        let starts = (0..self.places[axis]).map(|place| place * self.window.strides[axis]);
        starts.map(|s| (s.max(low)..(s + self.window.sides[axis]).min(high)).len()).collect()
    }
}

pub(super) fn max<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    if n.proto.output.iter().skip(1).any(|name| !name.is_empty()) {
        return Err("gives the places of the maxima".into());
    }
    let pool = Pool::of(n)?;
    let y = pool.padded(LOWEST).max_pool(pool.window.sides, pool.window.strides);
    Ok(first(y, pool.places).reshape(n.shape()?))
}

/// The means over whole windows, times what makes them means over the pixels that count.
pub(super) fn average<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let pool = Pool::of(n)?;
    let y = first(pool.padded(0.0).average_pool(pool.window.sides, pool.window.strides), pool.places);
    let padding = n.proto.flag("count_include_pad");
    let [down, across] = [0, 1].map(|axis| pool.counts(axis, padding));
    let area = pool.window.sides[0] * pool.window.sides[1];
    let shape = [1, 1, pool.places[0], pool.places[1]];
    let factors =
        ArrayD::from_shape_fn(&shape[..], |i| area as f32 / (down[i[2]] * across[i[3]]).max(1) as f32);
    let y = if factors.iter().all(|f| *f == 1.0) { y } else { y * n.g.constant(None, Tensor::F32(factors)) };
    Ok(y.reshape(n.shape()?))
}

/// The first windows along each axis: those of the node.
fn first(y: Expr<'_>, places: [usize; 2]) -> Expr<'_> {
    y.slice(&[0, 0], &places, &[2, 3], &[1, 1])
}

pub(super) fn global_average<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let x = n.x(0)?;
    Ok(x.mean_kept(&space(x)))
}

pub(super) fn global_max<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let x = n.x(0)?;
    Ok(x.amax_kept(&space(x)))
}

fn space(x: Expr<'_>) -> Vec<i64> {
    (2..x.rank() as i64).collect()
}
