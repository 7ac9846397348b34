//! Moving elements from one map to another, as two views of the same tensor tell.

use super::kernels::Number;
use super::map::Map;
use super::view::View;

/// Where the elements of a tensor lie in two maps.
pub struct Copying {
    /// Nested loops, the outermost first: how often, and how far apart in both maps.
    loops: Vec<Loop>,
    /// Where both begin.
    begin: [usize; 2],
    /// Neighbours in both maps that are moved together.
    run: usize,
}

#[derive(Clone, Copy)]
struct Loop {
    count: usize,
    apart: [isize; 2],
}

impl Copying {
    /// None where the views' axes cannot be walked together.
    pub fn new(from: (&Map, &View), to: (&Map, &View)) -> Option<Self> {
        let mut loops = Vec::new();
        for axis in 0..from.1.rank() {
            loops.extend(along(from, to, axis)?);
        }
        // What lies closest together where it is written comes last.
        loops.sort_by_key(|l| std::cmp::Reverse(l.apart[1].abs()));
        let mut joined: Vec<Loop> = Vec::new();
        for inner in loops {
            let whole = inner.apart.map(|apart| apart * inner.count as isize);
            match joined.last_mut() {
                Some(outer) if outer.apart == whole => {
                    *outer = Loop { count: outer.count * inner.count, ..inner };
                }
                _ => joined.push(inner),
            }
        }
        let run = joined.pop_if(|inner| inner.apart == [1, 1]).map_or(1, |inner| inner.count);
        Some(Self { loops: joined, begin: [begin(from), begin(to)], run })
    }

    /// Moves elements of one type.
    pub fn run<T: Copy>(&self, from: &[T], to: &mut [T]) {
        self.each(&self.loops, self.begin, &mut |[a, b]| {
            to[b..b + self.run].copy_from_slice(&from[a..a + self.run]);
        });
    }

    /// Moves elements and makes float32 of them.
    pub fn widen<T: Number>(&self, from: &[T], to: &mut [f32]) {
        self.each(&self.loops, self.begin, &mut |[a, b]| {
            let pairs = to[b..b + self.run].iter_mut().zip(&from[a..a + self.run]);
            pairs.for_each(|(to, from)| *to = from.float());
        });
    }

    fn each(&self, loops: &[Loop], at: [usize; 2], work: &mut impl FnMut([usize; 2])) {
        let Some((outer, inner)) = loops.split_first() else { return work(at) };
        for i in 0..outer.count as isize {
            let next = [0, 1].map(|side| at[side].wrapping_add_signed(i * outer.apart[side]));
            self.each(inner, next, work);
        }
    }
}

/// Elements between neighbours on each side of a map.
pub fn units(map: &Map) -> [usize; 3] {
    [1, map.row_stride(), map.channels]
}

/// Where the first element of a view is.
pub fn begin((map, view): (&Map, &View)) -> usize {
    let from_corner: isize = view.origin.iter().zip(units(map)).map(|(at, unit)| at * unit as isize).sum();
    map.at(map.border[0], map.border[1]).wrapping_add_signed(from_corner)
}

/// The loops over one axis of both views, the innermost first.
fn along(from: (&Map, &View), to: (&Map, &View), axis: usize) -> Option<Vec<Loop>> {
    let ends = [from, to];
    let mut left = ends.map(|(_, view)| view.axis(axis).to_vec());
    let mut loops = Vec::new();
    loop {
        let [a, b] = &mut left;
        let (one, two) = match (a.pop(), b.pop()) {
            (Some(one), Some(two)) => (one, two),
            (None, None) => return Some(loops),
            _ => return None,
        };
        let count = one.size.min(two.size);
        let apart =
            [(0, one), (1, two)].map(|(i, part)| part.step * units(ends[i].0)[part.side as usize] as isize);
        loops.push(Loop { count, apart });
        for (parts, mut part) in left.iter_mut().zip([one, two]) {
            if part.size > count {
                if !part.size.is_multiple_of(count) {
                    return None;
                }
                part.size /= count;
                part.step *= count as isize;
                parts.push(part);
            }
        }
    }
}
