//! Where the batch lies in a value.

use crate::op::Dim;

/// What stands for the size of the batch.
pub(super) const SYMBOL: &str = "N";

/// Where the batch lies in a value, whose elements are read in their order: the axis `[before · N · after]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    /// The axis.
    pub axis: usize,
    /// How many entries of this axis come before the batch; 1 where the pictures follow each other.
    pub before: usize,
    /// The fixed value has lost its batch axis (of one picture); the open one keeps it as its first.
    pub hidden: bool,
}

impl Place {
    /// The one axis whose size is a multiple of N.
    pub fn in_shape(shape: &[Dim], before: usize) -> Option<Self> {
        let mut open = (0..shape.len()).filter(|&axis| shape[axis].number().is_none());
        let (axis, None) = (open.next()?, open.next()) else { return None };
        shape[axis].times(SYMBOL).map(|_| Self { axis, before, hidden: false })
    }

    /// The sizes of a value for N pictures, of its sizes for `batch`: the other sizes, and N times how many.
    fn sizes(&self, fixed: &[usize], batch: usize) -> Vec<usize> {
        let mut sizes = fixed.to_vec();
        match self.hidden {
            true => sizes.insert(0, 1),
            false => sizes[self.axis] /= batch,
        }
        sizes
    }

    /// Whether `open` is `fixed` with N in place of the batch.
    pub fn is_seen(&self, fixed: &[usize], batch: usize, open: &[Dim]) -> bool {
        let divides = self.hidden && batch == 1
            || !self.hidden && fixed.get(self.axis).is_some_and(|size| size % batch == 0);
        let sizes = if divides { self.sizes(fixed, batch) } else { return false };
        let axis = if self.hidden { 0 } else { self.axis };
        let same = |(i, size): (usize, &usize)| match i == axis {
            true => open[i].times(SYMBOL) == Some(*size as f64),
            false => open[i].size() == Some(*size),
        };
        open.len() == sizes.len() && sizes.iter().enumerate().all(same)
    }

    /// What a `Reshape` is told to make this place of a value whose fixed sizes are these: −1 for N.
    pub fn target(&self, fixed: &[usize]) -> Vec<i64> {
        let mut target: Vec<i64> = fixed.iter().map(|&size| size as i64).collect();
        match self.hidden {
            true => target.insert(0, -1),
            false => target[self.axis] = -1,
        }
        target
    }

    /// Where N may stand after the elements of a value of the sizes `from` are read into the sizes `to`; the
    /// most natural place comes first. The elements keep their order, so that as many must come before it.
    pub fn after(&self, from: &[usize], to: &[usize], batch: usize) -> Vec<Self> {
        let ahead: usize = match self.hidden {
            true => 1,
            false => from.iter().take(self.axis).product::<usize>() * self.before,
        };
        let mut places: Vec<Self> = Vec::new();
        let mut front = 1;
        for (axis, &size) in to.iter().enumerate() {
            let before = if front > 0 && ahead.is_multiple_of(front) { ahead / front } else { 0 };
            if before > 0 && size % batch == 0 && (size / batch).is_multiple_of(before) {
                places.push(Self { axis, before, hidden: false });
            }
            front *= size;
        }
        // First an axis that is the batch alone, the same as before if it can be; then whole pictures.
        let rank = |place: &Self| {
            let alone = place.before == 1 && to[place.axis] == batch;
            (!alone, !(alone && place.axis == self.axis), place.before != 1)
        };
        places.sort_by_key(rank);
        let alone = places.first().is_some_and(|place| !rank(place).0);
        let hidden = Self { axis: 0, before: 1, hidden: true };
        if batch == 1 && ahead == 1 && to.len() <= 1 && !alone {
            places.insert(0, hidden);
        }
        places
    }
}
