//! How a tensor of the graph lies in a map.
//!
//! Of each axis of the tensor a [`View`] tells over which sides of the map `[H, W, C]` it runs, the outermost
//! first: `[1, C, H, W]` is one, and so are `[1, C·H·W]`, `[1, H·W, C]`, two halves of the channels, or
//! `[1, 3, C/3, H, W]`. What only moves elements (`Reshape`, `Transpose`, `Slice`, `Split`, a channel
//! shuffle) is then another view of the same map, and costs nothing until a step needs the elements
//! elsewhere.

/// A side of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Channels,
    Rows,
    Columns,
}

/// Evenly spaced places along a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub side: Side,
    /// How many, at least 2.
    pub size: usize,
    /// From one to the next; 0 where the same is repeated.
    pub step: isize,
}

/// How a tensor lies in a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Of each axis; nothing for one of size 1.
    axes: Vec<Vec<Part>>,
    /// Where its first element is: channel, row, column.
    pub origin: [isize; 3],
}

impl View {
    /// `[1, C, H, W]` of a whole map.
    pub fn image(channels: usize, [height, width]: [usize; 2]) -> Self {
        let of = |side, size| normal(&[Part { side, size, step: 1 }]);
        let axes =
            vec![Vec::new(), of(Side::Channels, channels), of(Side::Rows, height), of(Side::Columns, width)];
        Self { axes, origin: [0; 3] }
    }

    /// `[1, C]` of a map of one pixel.
    pub fn row(channels: usize) -> Self {
        Self { axes: Self::image(channels, [1, 1]).axes[..2].to_vec(), origin: [0; 3] }
    }

    /// How a tensor of this shape lies in a map that is made for it: its channels, its size and the view.
    pub fn natural(shape: &[usize]) -> (usize, [usize; 2], Self) {
        if let [1, channels, height, width] = *shape {
            return (channels, [height, width], Self::image(channels, [height, width]));
        }
        let (&channels, outer) = shape.split_last().unwrap_or((&1, &[]));
        let (&width, outer) = outer.split_last().unwrap_or((&1, &[]));
        let height = outer.iter().product();
        let whole = Self {
            axes: vec![
                normal(&[Part { side: Side::Rows, size: height, step: 1 }]),
                normal(&[Part { side: Side::Columns, size: width, step: 1 }]),
                normal(&[Part { side: Side::Channels, size: channels, step: 1 }]),
            ],
            origin: [0; 3],
        };
        let view = whole.reshaped(shape).unwrap_or(whole);
        (channels, [height, width], view)
    }

    pub fn shape(&self) -> Vec<usize> {
        self.axes.iter().map(|parts| size(parts)).collect()
    }

    pub fn rank(&self) -> usize {
        self.axes.len()
    }

    pub fn axis(&self, axis: usize) -> &[Part] {
        &self.axes[axis]
    }

    /// All parts, in the order of the tensor's elements.
    pub fn parts(&self) -> Vec<Part> {
        normal(&self.axes.concat())
    }

    /// Whether it covers a map, each element once.
    pub fn covers(&self, channels: usize, [height, width]: [usize; 2]) -> bool {
        let sides = [(Side::Channels, channels), (Side::Rows, height), (Side::Columns, width)];
        let parts = self.parts();
        let full = |(side, size): (Side, usize)| {
            let mut own: Vec<Part> = parts.iter().copied().filter(|p| p.side == side).collect();
            own.sort_by_key(|p| p.step);
            let covered =
                own.iter().try_fold(1, |next, p| (p.step == next as isize).then_some(next * p.size));
            covered == Some(size)
        };
        self.origin == [0; 3] && sides.into_iter().all(full)
    }

    /// Whether these axes together are one whole side of a map, or all of them, in order.
    pub fn is(&self, axes: &[usize], sides: &[(Side, usize)]) -> bool {
        let own: Vec<Part> = axes.iter().flat_map(|axis| &self.axes[*axis]).copied().collect();
        let whole: Vec<Part> =
            sides.iter().map(|(side, size)| Part { side: *side, size: *size, step: 1 }).collect();
        normal(&own) == normal(&whole)
    }

    /// The same elements in the same order.
    pub fn reshaped(&self, shape: &[usize]) -> Option<Self> {
        let all = self.parts();
        let (mut next, mut rest) = (all.into_iter(), None::<Part>);
        let mut axes = Vec::with_capacity(shape.len());
        for &size in shape {
            let (mut left, mut axis) = (size, Vec::new());
            while left > 1 {
                let part = rest.take().or_else(|| next.next())?;
                if part.size <= left {
                    left = divided(left, part.size)?;
                    axis.push(part);
                } else {
                    let inner = divided(part.size, left)?;
                    axis.push(Part { size: left, step: part.step * inner as isize, ..part });
                    rest = Some(Part { size: inner, ..part });
                    left = 1;
                }
            }
            if left == 0 {
                return None;
            }
            axes.push(normal(&axis));
        }
        (rest.is_none() && next.next().is_none()).then_some(Self { axes, origin: self.origin })
    }

    /// Axis i is what axis `order[i]` was.
    pub fn permuted(&self, order: &[usize]) -> Self {
        Self { axes: order.iter().map(|axis| self.axes[*axis].clone()).collect(), origin: self.origin }
    }

    /// `count` places of an axis from `start` on, `step` apart.
    pub fn sliced(&self, axis: usize, start: usize, count: usize, step: isize) -> Option<Self> {
        let mut view = self.clone();
        view.axes[axis] = slice(&self.axes[axis], start, count, step, &mut view.origin)?;
        Some(view)
    }

    /// The least map that holds the same elements with the same sides innermost: its channels, its size and
    /// the view.
    pub fn compact(&self) -> (usize, [usize; 2], Self) {
        let mut places: Vec<(usize, usize)> = Vec::new();
        for (axis, parts) in self.axes.iter().enumerate() {
            places.extend((0..parts.len()).map(|i| (axis, i)));
        }
        let of = |(axis, i): (usize, usize)| self.axes[axis][i];
        // What is repeated comes outermost.
        places.sort_by_key(|place| match of(*place).step {
            0 => isize::MAX,
            step => step.abs(),
        });
        let (mut view, mut sides) = (self.clone(), [1usize; 3]);
        for (axis, i) in places {
            let part = of((axis, i));
            let side = if part.step == 0 { Side::Rows } else { part.side };
            view.axes[axis][i] = Part { side, size: part.size, step: sides[side as usize] as isize };
            sides[side as usize] *= part.size;
        }
        view.axes.iter_mut().for_each(|axis| *axis = normal(axis));
        view.origin = [0; 3];
        let [channels, height, width] = sides;
        (channels, [height, width], view)
    }

    /// Where each element is, in the order of the tensor, given the elements between neighbours on each side.
    pub fn places(&self, units: [usize; 3]) -> Vec<usize> {
        let units = units.map(|unit| unit as isize);
        let first: isize = self.origin.iter().zip(units).map(|(at, unit)| at * unit).sum();
        let mut places = vec![first];
        for part in self.parts() {
            let apart = part.step * units[part.side as usize];
            let repeated = |first: &isize| {
                let first = *first;
                (0..part.size as isize).map(move |i| first + i * apart)
            };
            places = places.iter().flat_map(repeated).collect();
        }
        places.into_iter().map(|place| place as usize).collect()
    }

    /// The elements between neighbours on an axis, given those of each side; none where they are not even.
    pub fn stride(&self, axis: usize, units: [usize; 3]) -> Option<usize> {
        match self.axes[axis][..] {
            [] => Some(0),
            [part] => usize::try_from(part.step * units[part.side as usize] as isize).ok(),
            _ => None,
        }
    }

    /// Another last axis: all channels of a map.
    pub fn with_channels(mut self, channels: usize) -> Self {
        if let Some(last) = self.axes.last_mut() {
            *last = normal(&[Part { side: Side::Channels, size: channels, step: 1 }]);
        }
        self
    }

    /// These axes alone.
    pub fn axes(&self, axes: std::ops::Range<usize>) -> Self {
        Self { axes: self.axes[axes].to_vec(), origin: self.origin }
    }

    /// Axes of size 1 repeated up to a shape, which may have more axes before them.
    pub fn broadcast(&self, shape: &[usize]) -> Option<Self> {
        let more = shape.len().checked_sub(self.rank())?;
        let mut axes = vec![Vec::new(); more];
        axes.extend(self.axes.iter().cloned());
        for (axis, &wanted) in axes.iter_mut().zip(shape) {
            match size(axis) {
                1 => *axis = normal(&[Part { side: Side::Channels, size: wanted, step: 0 }]),
                own if own == wanted => {}
                _ => return None,
            }
        }
        Some(Self { axes, origin: self.origin })
    }
}

fn size(parts: &[Part]) -> usize {
    parts.iter().map(|p| p.size).product()
}

fn divided(a: usize, b: usize) -> Option<usize> {
    a.is_multiple_of(b).then(|| a / b)
}

/// Without parts of size 1, and neighbours joined where they run on.
fn normal(parts: &[Part]) -> Vec<Part> {
    let mut all: Vec<Part> = Vec::with_capacity(parts.len());
    for part in parts.iter().filter(|p| p.size != 1) {
        match all.last_mut() {
            Some(outer) if outer.side == part.side && outer.step == part.step * part.size as isize => {
                *outer = Part { size: outer.size * part.size, ..*part };
            }
            _ => all.push(*part),
        }
    }
    all
}

fn slice(
    parts: &[Part],
    start: usize,
    count: usize,
    step: isize,
    origin: &mut [isize; 3],
) -> Option<Vec<Part>> {
    let mut moved = |part: &Part, places: usize| origin[part.side as usize] += part.step * places as isize;
    match parts {
        [] => (start == 0 && count == 1).then(Vec::new),
        [one] => {
            moved(one, start);
            Some(normal(&[Part { size: count, step: one.step * step, ..*one }]))
        }
        [outer, inner @ ..] => {
            let each = size(inner);
            let last = start as isize + (count as isize - 1) * step;
            if step == 1 && start.is_multiple_of(each) && count.is_multiple_of(each) {
                moved(outer, start / each);
                let outer = Part { size: count / each, ..*outer };
                return Some(normal(&[&[outer], inner].concat()));
            }
            if usize::try_from(last).ok()? / each != start / each {
                return None;
            }
            moved(outer, start / each);
            slice(inner, start % each, count, step, origin)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn part(side: Side, size: usize, step: isize) -> Part {
        Part { side, size, step }
    }

    #[test]
    fn a_channel_shuffle_is_a_view() {
        let image = View::image(6, [5, 4]);
        let shuffled = image.reshaped(&[1, 2, 3, 5, 4]).unwrap().permuted(&[0, 2, 1, 3, 4]);
        let shuffled = shuffled.reshaped(&[1, 6, 5, 4]).unwrap();
        assert_eq!(shuffled.axis(1), [part(Side::Channels, 3, 1), part(Side::Channels, 2, 3)]);
        assert!(shuffled.covers(6, [5, 4]) && !shuffled.is(&[1], &[(Side::Channels, 6)]));
        // Its halves lie in the map three apart.
        let half = shuffled.sliced(1, 0, 2, 1).unwrap();
        assert_eq!(half.axis(1), [part(Side::Channels, 2, 3)]);
        assert_eq!(shuffled.sliced(1, 2, 2, 1).unwrap().origin, [1, 0, 0]);
        assert_eq!(shuffled.sliced(1, 1, 3, 1), None, "part of two pairs");
    }

    #[test]
    fn rows_of_an_image_become_one_axis_and_two_again() {
        let image = View::image(6, [5, 4]);
        let tokens = image.reshaped(&[1, 6, 20]).unwrap().permuted(&[0, 2, 1]);
        assert!(
            tokens.is(&[2], &[(Side::Channels, 6)])
                && tokens.is(&[1], &[(Side::Rows, 5), (Side::Columns, 4)])
        );
        assert_eq!(tokens.permuted(&[0, 2, 1]).reshaped(&[1, 6, 5, 4]).unwrap(), image);
        assert_eq!(image.reshaped(&[1, 4, 30]), None, "channels are not a multiple of 4");
        assert_eq!(image.reshaped(&[1, 6, 5, 3]), None, "too few elements");
    }

    #[test]
    fn slices_turn_around_and_single_values_repeat() {
        let image = View::image(3, [1, 2]);
        let bgr = image.sliced(1, 2, 3, -1).unwrap();
        assert_eq!((bgr.axis(1), bgr.origin), (&[part(Side::Channels, 3, -1)][..], [2, 0, 0]));
        let wide = image.broadcast(&[1, 3, 4, 2]).unwrap();
        assert_eq!((wide.shape(), wide.covers(3, [4, 2])), (vec![1, 3, 4, 2], false));
        assert_eq!(image.broadcast(&[1, 4, 1, 2]), None);
    }

    #[test]
    fn a_shape_has_a_map_of_its_own() {
        for shape in
            [vec![1, 4, 3, 2], vec![1, 7, 5], vec![1, 9], vec![1, 2, 3, 4, 5], vec![2, 3, 4, 5], vec![1]]
        {
            let (channels, size, view) = View::natural(&shape);
            assert_eq!(view.shape(), shape);
            assert!(view.covers(channels, size));
        }
    }
}
