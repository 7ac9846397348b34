//! Windows that slide over images: the geometry of convolutions and pools.

use super::call::{Call, Outcome, Stop};
use super::dim::{Dim, show};
use super::types::Type;
use ndarray::Slice;
use std::ops::Range;

/// A window along one axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slide {
    pub taps: usize,
    pub stride: usize,
    pub dilation: usize,
    /// Zeros before the axis and after it.
    pub pads: [usize; 2],
}

/// A window along each axis of space.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub slides: Vec<Slide>,
    padding: Padding,
    /// A window that reaches beyond the end is one too.
    ceil: bool,
}

/// Where the zeros come from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Padding {
    /// The node tells their number.
    Told,
    /// As many as let ⌈side/stride⌉ windows fit; of an odd number, the one too many comes last, or first.
    SameUpper,
    SameLower,
}

/// More taps than any model has.
const MOST_TAPS: usize = 1 << 20;

impl Window {
    /// The window that a node tells of, with a kernel of these sides.
    pub fn of<I>(call: &Call<I>, kernel: &[usize]) -> Outcome<Self> {
        let rank = kernel.len();
        let list = |name: &str, least: i64, default: usize, count: usize| {
            let list = call.sizes(name, least)?.unwrap_or_else(|| vec![default; count]);
            match list.len() == count {
                true => Ok(list),
                false => Err(call.fail(format!("its {name} has {} numbers, not {count}", list.len()))),
            }
        };
        let (strides, dilations) = (list("strides", 1, 1, rank)?, list("dilations", 1, 1, rank)?);
        let pads = list("pads", 0, 0, 2 * rank)?;
        let (padding, told) = match call.node.text("auto_pad") {
            None | Some("NOTSET" | "") => (Padding::Told, true),
            Some("VALID") => (Padding::Told, false),
            Some("SAME_UPPER") => (Padding::SameUpper, false),
            Some("SAME_LOWER") => (Padding::SameLower, false),
            Some(other) => return Err(call.fail(format!("its auto_pad {other:?} is not known"))),
        };
        if kernel.contains(&0) || super::types::count(kernel) > MOST_TAPS {
            return Err(call.fail(format!("its kernel is {kernel:?}")));
        }
        let slide = |i: usize| Slide {
            taps: kernel[i],
            stride: strides[i],
            dilation: dilations[i],
            pads: if told { [pads[i], pads[i + rank]] } else { [0; 2] },
        };
        Ok(Self { slides: (0..rank).map(slide).collect(), padding, ceil: call.node.flag("ceil_mode") })
    }

    /// How many windows fit along each axis.
    pub fn places(&self, call: &Call<Type>, sides: &[Dim]) -> Outcome<Vec<Dim>> {
        let each = self.slides.iter().zip(sides).map(|(slide, side)| match self.padding {
            Padding::Told => slide.places(side, self.ceil),
            Padding::SameUpper | Padding::SameLower => side.ceil_div(slide.stride as f64),
        });
        let places: Vec<Dim> = each.collect();
        match places.iter().any(|p| p.number().is_some_and(|p| p < 1.0)) {
            true => Err(call.fail(format!("the window is larger than the image {}", show(sides)))),
            false => Ok(places),
        }
    }

    /// The same window, its padding resolved for an image of these sides.
    pub fn fitted(mut self, sides: &[usize]) -> Self {
        for (slide, &side) in self.slides.iter_mut().zip(sides) {
            let reach = (side.div_ceil(slide.stride).max(1) - 1) * slide.stride + slide.extent();
            let total = reach.saturating_sub(side);
            match self.padding {
                Padding::Told => {}
                Padding::SameUpper => slide.pads = [total / 2, total - total / 2],
                Padding::SameLower => slide.pads = [total - total / 2, total / 2],
            }
        }
        self
    }

    /// The windows of images, `[N, C, H, W]`.
    pub fn pair<I>(&self, call: &Call<I>) -> Outcome<[Slide; 2]> {
        let misfit = || call.fail("is evaluated of images [N, C, H, W] alone");
        self.slides.as_slice().try_into().map_err(|_| misfit())
    }

    /// Padding of a transposed convolution, by its sides and those of its result.
    pub fn cut_to(mut self, sides: &[usize], out: &[usize], extra: &[usize]) -> Self {
        for (i, slide) in self.slides.iter_mut().enumerate() {
            let full = slide.stride * (sides[i].max(1) - 1) + extra[i] + slide.extent();
            let total = full.saturating_sub(out[i]);
            match self.padding {
                Padding::Told if slide.pads[0] + slide.pads[1] == total => {}
                Padding::SameUpper => slide.pads = [total / 2, total - total / 2],
                Padding::Told | Padding::SameLower => slide.pads = [total - total / 2, total / 2],
            }
        }
        self
    }

    /// Sides of a transposed convolution's result.
    pub fn transposed(&self, sides: &[Dim], extra: &[usize]) -> Vec<Dim> {
        let each = self.slides.iter().zip(sides).zip(extra).map(|((slide, side), extra)| {
            let stride = Dim::from(slide.stride);
            match self.padding {
                Padding::SameUpper | Padding::SameLower => side * &stride,
                Padding::Told => {
                    let rest = (extra + slide.extent()) as f64 - (slide.pads[0] + slide.pads[1]) as f64;
                    &(&(side - &Dim::Known(1.0)) * &stride) + &Dim::Known(rest)
                }
            }
        });
        each.collect()
    }
}

impl Slide {
    /// From the first tap to the last.
    pub fn extent(&self) -> usize {
        self.dilation * (self.taps - 1) + 1
    }

    fn places(&self, side: &Dim, ceil: bool) -> Dim {
        let (stride, extent) = (self.stride as f64, self.extent() as f64);
        let [before, after] = self.pads.map(|p| p as f64);
        let room = side + &Dim::Known(before + after - extent);
        if !ceil {
            return &room.floor_div(stride) + &Dim::Known(1.0);
        }
        let places = &room.ceil_div(stride) + &Dim::Known(1.0);
        // A window that would begin behind the image is none.
        match (places.number(), side.number()) {
            (Some(n), Some(side)) if (n - 1.0) * stride >= side + before => Dim::Known(n - 1.0),
            (Some(_), Some(_)) => places,
            _ if after + stride <= extent => places,
            _ => Dim::Unknown,
        }
    }

    /// The places whose tap `tap` lies on an axis of length `side`, and what it sees of it.
    pub fn seen(&self, tap: usize, side: usize, places: usize) -> Option<(Range<usize>, Slice)> {
        let offset = tap * self.dilation;
        let first = self.pads[0].saturating_sub(offset).div_ceil(self.stride);
        let end = (side + self.pads[0]).checked_sub(offset)?.div_ceil(self.stride).min(places);
        let count = end.checked_sub(first).filter(|count| *count > 0)?;
        let start = first * self.stride + offset - self.pads[0];
        let slice = Slice::new(
            start as isize,
            Some((start + (count - 1) * self.stride + 1) as isize),
            self.stride as isize,
        );
        Some((first..end, slice))
    }

    /// How many of a place's taps lie on the axis, or between the ends of its padding.
    pub fn covered(&self, place: usize, side: usize, padded: bool) -> usize {
        let (low, high) = match padded {
            true => (0, side + self.pads[0] + self.pads[1]),
            false => (self.pads[0], side + self.pads[0]),
        };
        let start = place * self.stride;
        (0..self.taps).filter(|tap| (low..high).contains(&(start + tap * self.dilation))).count()
    }
}

/// The sides of a kernel: an attribute, or the axes of the weight behind the first two.
pub(super) fn kernel(call: &Call<Type>, weight: Option<&[Dim]>) -> Outcome<Vec<usize>> {
    match (call.sizes("kernel_shape", 1)?, weight) {
        (Some(kernel), _) => Ok(kernel),
        (None, Some(w)) => w[2..].iter().map(|d| d.size().ok_or(Stop::Unknown)).collect(),
        (None, None) => Err(call.fail("its kernel_shape is missing")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_tap_sees_what_lies_on_the_axis() {
        // Places 0..3 begin at -1, 1, 3 of an axis of 5; tap 1 is two further on.
        let slide = Slide { taps: 2, stride: 2, dilation: 2, pads: [1, 1] };
        let (places, slice) = slide.seen(0, 5, 3).unwrap();
        assert_eq!((places, slice.start, slice.end), (1..3, 1, Some(4)));
        let (places, slice) = slide.seen(1, 5, 3).unwrap();
        assert_eq!((places, slice.start, slice.end), (0..2, 1, Some(4)));
        assert!(Slide { pads: [9, 0], ..slide }.seen(0, 5, 3).is_none());
        assert_eq!([0, 1, 2].map(|p| slide.covered(p, 5, false)), [1, 2, 1]);
        assert_eq!([0, 1, 2].map(|p| slide.covered(p, 5, true)), [2, 2, 2]);
    }

    #[test]
    fn the_last_window_begins_in_the_image() {
        let slide = Slide { taps: 2, stride: 3, dilation: 1, pads: [0, 0] };
        for (side, floor, ceil) in [(5, 2, 2), (6, 2, 2), (7, 2, 3), (8, 3, 3)] {
            let told = [false, true].map(|up| slide.places(&Dim::from(side), up));
            assert_eq!(told, [Dim::from(floor), Dim::from(ceil)], "{side}");
        }
        assert_eq!(slide.places(&Dim::symbol("H"), false).to_string(), "floor((H - 2)/3) + 1");
        assert_eq!(slide.places(&Dim::symbol("H"), true), Dim::Unknown);
    }
}
