//! Exact search of the nearest classes: blocked, on all cores.
//!
//! A fast scan (matrix products for L2 and cosine, vectorised sums for the L1 kinds) bounds every
//! distance from below; only rows that may enter a query's list are measured by
//! [`Distance::between`]. So the answers, ties included, are those of a plain loop over all rows.

mod cores;
mod kernel;

use crate::tower::Distance;
use cores::{count, shared};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, s};

/// Rows of a block: 512 of 128 numbers are 256 KiB, which a core's own cache holds.
const ROWS: usize = 512;
/// Queries of a block.
const QUERIES: usize = 256;
/// Half the distance from 1 to the next number in f32.
const UNIT: f32 = f32::EPSILON / 2.0;

/// A group (class) that is near to a query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// The group.
    pub group: u32,
    /// Its nearest row.
    pub row: usize,
    /// The distance to that row.
    pub distance: f32,
}

impl Hit {
    /// The order of answers: by distance, then by group, then by row.
    fn before(&self, other: &Self) -> bool {
        (self.distance, self.group, self.row) < (other.distance, other.group, other.row)
    }
}

/// Rows `[N, D]` in groups, ready to be searched.
pub struct Index {
    rows: Array2<f32>,
    groups: Vec<u32>,
    distance: Distance,
    /// ‖row‖² for L2, 1 / ‖row‖ for cosine (0 for a row of zeros); empty for the L1 kinds.
    terms: Vec<f32>,
    /// The greatest ‖row‖.
    reach: f32,
}

impl Index {
    /// Rows with the group of each.
    ///
    /// # Panics
    /// Where there are not as many groups as rows.
    pub fn new(rows: Array2<f32>, groups: Vec<u32>, distance: Distance) -> Self {
        assert_eq!(rows.nrows(), groups.len(), "each row has one group");
        let rows = rows.as_standard_layout().into_owned();
        let squares = shared(rows.nrows(), |i| rows.row(i).dot(&rows.row(i)));
        let reach = squares.iter().fold(0.0_f32, |most, &s| most.max(s)).sqrt();
        let terms = match distance {
            Distance::L2 => squares,
            Distance::Cosine => squares.iter().map(|&s| if s > 0.0 { 1.0 / s.sqrt() } else { 0.0 }).collect(),
            Distance::L1 | Distance::WeightedL1 { .. } => Vec::new(),
        };
        Self { rows, groups, distance, terms, reach }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The `top` nearest groups of each query `[M, D]`, nearest first, each by its nearest row; of
    /// equal distances the lowest group first. Fewer where there are fewer groups.
    ///
    /// # Panics
    /// Where the queries' D is not the rows'.
    pub fn search(&self, queries: ArrayView2<'_, f32>, top: usize) -> Vec<Vec<Hit>> {
        assert_eq!(queries.ncols(), self.rows.ncols(), "queries and rows have one dimension");
        let queries = queries.as_standard_layout();
        let each = self.len().div_ceil(count() * 4).max(ROWS);
        let parts = shared(self.len().div_ceil(each), |part| {
            self.scan(queries.view(), top, part * each..((part + 1) * each).min(self.len()))
        });
        parts.into_iter().reduce(|a, b| merge(a, b, top)).unwrap_or_else(|| vec![Vec::new(); queries.nrows()])
    }

    /// The search over a range of rows, on one core.
    fn scan(&self, queries: ArrayView2<'_, f32>, top: usize, range: std::ops::Range<usize>) -> Vec<Vec<Hit>> {
        let mut lists: Vec<Best> =
            queries.outer_iter().map(|q| Best::new(self, q.dot(&q).sqrt(), top)).collect();
        let mut bounds = Array2::<f32>::zeros((QUERIES, ROWS));
        for first_query in (0..queries.nrows()).step_by(QUERIES) {
            let asked = first_query..(first_query + QUERIES).min(queries.nrows());
            let block = queries.slice(s![asked.clone(), ..]);
            for first in range.clone().step_by(ROWS) {
                let last = (first + ROWS).min(range.end);
                self.bound(block, first..last, &mut bounds);
                for (bounds, query) in bounds.outer_iter().zip(asked.clone()) {
                    let bounds = bounds.to_slice().unwrap_or_default();
                    let list = &mut lists[query];
                    for (part, bounds) in bounds[..last - first].chunks(kernel::LANES).enumerate() {
                        if !kernel::any_at_most(bounds, list.limit) {
                            continue;
                        }
                        let first = first + part * kernel::LANES;
                        for (offset, &bound) in bounds.iter().enumerate() {
                            if bound <= list.limit {
                                self.measure(&queries, query, first + offset, list);
                            }
                        }
                    }
                }
            }
        }
        lists.into_iter().map(|list| list.hits).collect()
    }

    /// Puts what grows with the distance of each query to each row into `bounds`: the squared
    /// distance less ‖query‖², the negated product of query and direction, or the distance itself.
    fn bound(&self, queries: ArrayView2<'_, f32>, rows: std::ops::Range<usize>, bounds: &mut Array2<f32>) {
        let block = self.rows.slice(s![rows.clone(), ..]);
        let mut bounds = bounds.slice_mut(s![..queries.nrows(), ..rows.len()]);
        match &self.distance {
            Distance::L2 => {
                general_mat_mul(-2.0, &queries, &block.t(), 0.0, &mut bounds);
                let terms = &self.terms[rows];
                bounds.outer_iter_mut().for_each(|mut b| b.iter_mut().zip(terms).for_each(|(b, t)| *b += t));
            }
            Distance::Cosine => {
                general_mat_mul(-1.0, &queries, &block.t(), 0.0, &mut bounds);
                let terms = &self.terms[rows];
                bounds.outer_iter_mut().for_each(|mut b| b.iter_mut().zip(terms).for_each(|(b, t)| *b *= t));
            }
            Distance::L1 => kernel::l1(queries, block, None, bounds),
            Distance::WeightedL1 { alpha } => kernel::l1(queries, block, Some(alpha), bounds),
        }
    }

    /// Measures one distance and keeps it where it belongs into the list.
    fn measure(&self, queries: &ArrayView2<'_, f32>, query: usize, row: usize, list: &mut Best) {
        let (Some(a), Some(b)) = (queries.row(query).to_slice(), self.rows.row(row).to_slice()) else {
            return;
        };
        let distance = self.distance.between(a, b);
        list.put(Hit { group: self.groups[row], row, distance }, self);
    }

    /// By how much a bound may differ from what it stands for, at a query of this length: the
    /// rounding of D products and sums in any order (Higham 2002, §3.1), twice for good measure.
    fn slack(&self, length: f32) -> f32 {
        let rounding = 2.0 * (self.rows.ncols() as f32 + 8.0) * UNIT;
        match &self.distance {
            Distance::L2 => rounding * (length + self.reach).powi(2),
            Distance::Cosine => rounding * 2.0 * length,
            Distance::L1 => rounding * (length + self.reach) * (self.rows.ncols() as f32).sqrt(),
            Distance::WeightedL1 { alpha } => {
                let weight = alpha.iter().fold(0.0_f32, |most, a| most.max(a.abs()));
                rounding * weight * (length + self.reach) * (self.rows.ncols() as f32).sqrt()
            }
        }
    }
}

/// The nearest groups of a query so far.
struct Best {
    hits: Vec<Hit>,
    top: usize,
    /// ‖query‖.
    length: f32,
    /// Rounding of bounds.
    slack: f32,
    /// Rows whose bound is above it cannot enter the list.
    limit: f32,
}

impl Best {
    fn new(index: &Index, length: f32, top: usize) -> Self {
        let limit = if top == 0 { f32::NEG_INFINITY } else { f32::INFINITY };
        Self { hits: Vec::with_capacity(top.min(64)), top, length, slack: index.slack(length), limit }
    }

    /// Keeps a hit where it is among the `top` nearest groups.
    fn put(&mut self, hit: Hit, index: &Index) {
        if hit.distance.is_nan() {
            return;
        }
        keep(&mut self.hits, hit, self.top);
        if let Some(last) = self.hits.get(self.top - 1) {
            self.limit = self.slack
                + match index.distance {
                    Distance::L2 => {
                        last.distance * last.distance * (1.0 + 4.0 * UNIT) - self.length * self.length
                    }
                    Distance::Cosine => (last.distance - 1.0) * self.length,
                    Distance::L1 | Distance::WeightedL1 { .. } => last.distance,
                };
        }
    }
}

/// Puts a hit into a sorted list of at most `top`, one a group.
fn keep(hits: &mut Vec<Hit>, hit: Hit, top: usize) {
    if let Some(same) = hits.iter().position(|h| h.group == hit.group) {
        if !hit.before(&hits[same]) {
            return;
        }
        hits.remove(same);
    }
    let place = hits.partition_point(|h| h.before(&hit));
    if place < top {
        hits.truncate(top - 1);
        hits.insert(place, hit);
    }
}

/// The best of two parts' lists.
fn merge(mut a: Vec<Vec<Hit>>, b: Vec<Vec<Hit>>, top: usize) -> Vec<Vec<Hit>> {
    for (into, from) in a.iter_mut().zip(b) {
        from.into_iter().for_each(|hit| keep(into, hit, top));
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{bell, below, stream};

    /// Every row measured, sorted.
    fn plain(rows: &Array2<f32>, groups: &[u32], query: &[f32], how: &Distance, top: usize) -> Vec<Hit> {
        let mut hits: Vec<Hit> = rows
            .outer_iter()
            .enumerate()
            .map(|(row, r)| Hit { group: groups[row], row, distance: how.between(query, &r.to_vec()) })
            .collect();
        hits.sort_by(|a, b| {
            a.distance.total_cmp(&b.distance).then(a.group.cmp(&b.group)).then(a.row.cmp(&b.row))
        });
        let mut seen = std::collections::HashSet::new();
        hits.retain(|h| seen.insert(h.group));
        hits.truncate(top);
        hits
    }

    fn distances(dim: usize) -> Vec<Distance> {
        let alpha = (0..dim).map(|j| -0.1 - (j % 7) as f32).collect();
        vec![Distance::L1, Distance::L2, Distance::Cosine, Distance::WeightedL1 { alpha }]
    }

    #[test]
    fn search_answers_as_a_plain_loop_does() {
        for (n, m, dim, groups) in [(1, 1, 1, 1), (700, 9, 5, 40), (1500, 150, 37, 1500), (300, 3, 128, 7)] {
            let mut rng = stream(7, "search", n as u64, dim as u64);
            // Whole numbers, so that there are many exact ties.
            let mut draw = |n| Array2::from_shape_fn((n, dim), |_| (2.0 * bell(&mut rng)).round());
            let (rows, queries) = (draw(n), draw(m));
            let mut rng = stream(7, "groups", n as u64, 0);
            let group: Vec<u32> = (0..n).map(|_| below(&mut rng, groups) as u32).collect();
            for how in distances(dim) {
                let index = Index::new(rows.clone(), group.clone(), how.clone());
                let found = index.search(queries.view(), 4);
                for (q, found) in queries.outer_iter().zip(found) {
                    assert_eq!(found, plain(&rows, &group, &q.to_vec(), &how, 4), "{how:?} {n}×{dim}");
                }
            }
        }
    }

    #[test]
    fn near_duplicates_are_told_apart_whatever_cancels() {
        let mut rng = stream(3, "near", 0, 0);
        let base: Vec<f32> = (0..64).map(|_| 100.0 + bell(&mut rng)).collect();
        let rows = Array2::from_shape_fn((900, 64), |(i, j)| {
            base[j] + if i == j { 1e-4 * (1.0 + i as f32) } else { 0.0 }
        });
        let groups: Vec<u32> = (0..900).collect();
        for how in [Distance::L1, Distance::L2, Distance::Cosine] {
            let index = Index::new(rows.clone(), groups.clone(), how.clone());
            let query = rows.slice(s![5..6, ..]);
            let found = index.search(query, 9);
            assert_eq!(found[0], plain(&rows, &groups, &query.row(0).to_vec(), &how, 9), "{how:?}");
        }
    }

    #[test]
    fn an_empty_index_finds_nothing() {
        let index = Index::new(Array2::zeros((0, 4)), Vec::new(), Distance::L2);
        assert_eq!(index.search(Array2::zeros((2, 4)).view(), 3), vec![Vec::new(), Vec::new()]);
        assert!(index.is_empty());
    }
}
