//! Results of micro-batches joined in one order, whoever computes them and whenever they come.
//!
//! Sums of floats depend on their order. Here it is fixed: a binary tree over the numbers of the micro-batches, whose
//! node joins what its two halves give. Of two halves the later one finds the earlier one waiting and joins both, so
//! that workers share the joining as they share the rest.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// The micro-batches from `index · 2^level` up to the next of that level, as far as there are so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Node {
    level: u32,
    index: usize,
}

impl Node {
    fn parent(self) -> Self {
        Self { level: self.level + 1, index: self.index / 2 }
    }

    fn sibling(self) -> Self {
        Self { index: self.index ^ 1, ..self }
    }

    fn halves(self) -> [Self; 2] {
        [0, 1].map(|half| Self { level: self.level - 1, index: 2 * self.index + half })
    }
}

/// How two halves become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    /// They are added.
    Sum,
    /// The second follows the first.
    Append,
}

/// What is known so far of the results of a step.
pub(super) struct Tree {
    /// Micro-batches.
    count: usize,
    /// Numbers that each gives.
    length: usize,
    join: Join,
    /// Nodes that wait for their siblings; at the end the root.
    waiting: Mutex<BTreeMap<Node, Vec<f32>>>,
}

impl Tree {
    /// Of `count` micro-batches, each of which gives `length` numbers.
    pub fn new(count: usize, length: usize, join: Join) -> Self {
        Self { count, length, join, waiting: Mutex::default() }
    }

    /// Adds the result of a micro-batch.
    pub fn add(&self, micro_batch: usize, values: Vec<f32>) {
        self.insert(Node { level: 0, index: micro_batch }, values);
    }

    /// Adds the result of a node.
    pub fn insert(&self, mut node: Node, mut values: Vec<f32>) {
        while node != self.root() {
            let sibling = node.sibling();
            if !self.span(sibling).is_empty() {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(other) = waiting.remove(&sibling) else {
                    waiting.insert(node, values);
                    return;
                };
                drop(waiting);
                values =
                    if node < sibling { self.joined(values, &other) } else { self.joined(other, &values) };
            }
            node = node.parent();
        }
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(node, values);
    }

    fn joined(&self, mut left: Vec<f32>, right: &[f32]) -> Vec<f32> {
        match self.join {
            Join::Sum => left.iter_mut().zip(right).for_each(|(left, right)| *left += right),
            Join::Append => left.extend_from_slice(right),
        }
        left
    }

    /// Takes out a node whose micro-batches are all there.
    pub fn take(&self, node: Node) -> Option<Vec<f32>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&node)
    }

    /// The node of all micro-batches.
    pub fn root(&self) -> Node {
        Node { level: self.count.next_power_of_two().trailing_zeros(), index: 0 }
    }

    /// Numbers of a node's result.
    pub fn length(&self, node: Node) -> usize {
        match self.join {
            Join::Sum => self.length,
            Join::Append => self.length * self.span(node).len(),
        }
    }

    /// The nodes that wait once all micro-batches of a range are there, and no others.
    pub fn cover(&self, range: &Range<usize>) -> Vec<Node> {
        let mut found = Vec::new();
        self.search(self.root(), range, &mut found);
        found
    }

    fn search(&self, node: Node, range: &Range<usize>, found: &mut Vec<Node>) {
        let span = self.span(node);
        if span.start >= range.end || span.end <= range.start || span.is_empty() {
            return;
        }
        if range.start <= span.start && span.end <= range.end {
            found.push(node);
            return;
        }
        node.halves().into_iter().for_each(|half| self.search(half, range, found));
    }

    /// The micro-batches of a node.
    fn span(&self, node: Node) -> Range<usize> {
        let at = |index: usize| (index << node.level).min(self.count);
        at(node.index)..at(node.index + 1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rand::RngExt;

    /// Numbers whose sum depends on its order.
    fn leaf(i: usize) -> Vec<f32> {
        vec![1.0 / (i as f32 + 3.0), 1e7 / (i as f32 + 1.0), -1e3 * i as f32]
    }

    fn tree(count: usize, join: Join) -> Tree {
        Tree::new(count, 3, join)
    }

    /// The definition.
    fn sum(values: &[Vec<f32>]) -> Vec<f32> {
        if values.len() == 1 {
            return values[0].clone();
        }
        let half = values.len().next_power_of_two() / 2;
        let (a, b) = (sum(&values[..half]), sum(&values[half..]));
        a.iter().zip(&b).map(|(a, b)| a + b).collect()
    }

    #[test]
    fn the_sum_is_the_same_in_whatever_order_micro_batches_come() {
        let mut rng = crate::model::seeded(1, "orders");
        for count in 1..20 {
            let leaves: Vec<Vec<f32>> = (0..count).map(leaf).collect();
            let expected = sum(&leaves);
            for _ in 0..5 {
                let (sums, rows) = (tree(count, Join::Sum), tree(count, Join::Append));
                let mut order: Vec<usize> = (0..count).collect();
                (1..count).for_each(|i| order.swap(i, rng.random_range(0..=i)));
                for i in order {
                    sums.add(i, leaf(i));
                    rows.add(i, leaf(i));
                }
                assert_eq!(sums.take(sums.root()).unwrap(), expected, "{count}");
                assert_eq!(rows.take(rows.root()).unwrap(), leaves.concat(), "{count}");
            }
        }
    }

    #[test]
    fn what_waits_of_a_range_is_its_cover_and_completes_another_tree() {
        for count in 1..12 {
            for parts in 1..=count {
                let (all, own) = (tree(count, Join::Append), |i: usize| i * count / parts);
                for part in 0..parts {
                    let some = tree(count, Join::Append);
                    let range = own(part)..own(part + 1);
                    range.clone().for_each(|i| some.add(i, leaf(i)));
                    let cover = some.cover(&range);
                    assert_eq!(*some.waiting.lock().unwrap().keys().collect::<Vec<_>>(), {
                        let mut sorted: Vec<_> = cover.iter().collect();
                        sorted.sort();
                        sorted
                    });
                    for node in cover {
                        let values = some.take(node).unwrap();
                        assert_eq!(values.len(), all.length(node));
                        all.insert(node, values);
                    }
                }
                let expected: Vec<f32> = (0..count).flat_map(leaf).collect();
                assert_eq!(all.take(all.root()).unwrap(), expected, "{count} in {parts}");
            }
        }
    }
}
