//! Endless shuffling: every item once an epoch, each epoch in an order of its own.

use crate::random::{draw, stream};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Orders kept: the batches that threads prepare at one time seldom touch more epochs.
const KEPT: usize = 4;

/// The items 0 … n − 1, epoch after epoch; each order is a pure function of (seed, epoch).
pub(super) struct Epochs {
    items: usize,
    seed: u64,
    purpose: &'static str,
    orders: Mutex<VecDeque<(u64, Arc<Vec<u32>>)>>,
}

impl Epochs {
    /// `items` is above 0.
    pub(super) fn new(items: usize, seed: u64, purpose: &'static str) -> Self {
        Self { items, seed, purpose, orders: Mutex::new(VecDeque::with_capacity(KEPT + 1)) }
    }

    /// The items at places `k·count …` of the endless sequence.
    pub(super) fn take(&self, k: u64, count: usize) -> Vec<usize> {
        let mut taken = Vec::with_capacity(count);
        let start = u128::from(k) * count as u128;
        let mut epoch = (start / self.items as u128) as u64;
        let mut place = (start % self.items as u128) as usize;
        while taken.len() < count {
            let order = self.order(epoch);
            let end = self.items.min(place + count - taken.len());
            taken.extend(order[place..end].iter().map(|&i| i as usize));
            (epoch, place) = (epoch.wrapping_add(1), 0);
        }
        taken
    }

    /// The order of an epoch, from memory or made.
    fn order(&self, epoch: u64) -> Arc<Vec<u32>> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, order)) = orders.iter().find(|(e, _)| *e == epoch) {
            return order.clone();
        }
        let mut order: Vec<u32> = (0..self.items as u32).collect();
        draw(&mut stream(self.seed, self.purpose, epoch, 0), &mut order, self.items);
        let order = Arc::new(order);
        orders.push_back((epoch, order.clone()));
        if orders.len() > KEPT {
            orders.pop_front();
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_comes_once_an_epoch_whatever_the_batch() {
        for count in [1, 3, 7, 10, 25] {
            let epochs = Epochs::new(10, 5, "test");
            let sequence: Vec<usize> = (0..20).flat_map(|k| epochs.take(k, count)).collect();
            for epoch in sequence.chunks_exact(10) {
                let mut sorted = epoch.to_vec();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..10).collect::<Vec<_>>());
            }
            assert_eq!(sequence[..10], Epochs::new(10, 5, "test").take(0, 10), "batches part one sequence");
        }
    }

    #[test]
    fn a_batch_does_not_depend_on_those_before() {
        let epochs = Epochs::new(37, 1, "test");
        let forward: Vec<_> = (0..40).map(|k| epochs.take(k, 8)).collect();
        for k in (0..40).rev() {
            assert_eq!(epochs.take(k, 8), forward[k as usize]);
        }
        assert_ne!(Epochs::new(37, 2, "test").take(0, 37), Epochs::new(37, 1, "test").take(0, 37));
        assert_eq!(epochs.take(u64::MAX, 8).len(), 8);
    }
}
