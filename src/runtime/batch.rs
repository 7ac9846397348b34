//! Splits a batch over cores, a few images a task: for runtimes whose plans use one core, and for
//! which a big batch is slower an image than a small one.
#![cfg_attr(not(feature = "lowered"), allow(dead_code))]

use crate::{Error, Result};
use ndarray::{Array2, ArrayView4, Axis};
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::{Mutex, PoisonError};

/// Threads, and a state `S` for each of them.
pub struct Workers<S> {
    /// `None`: the caller's own thread.
    pool: Option<ThreadPool>,
    /// The states that no task holds now.
    states: Mutex<Vec<S>>,
}

impl<S: Send> Workers<S> {
    /// `threads` of them; `state` makes what each needs for itself.
    pub fn new(threads: usize, state: impl Fn() -> Result<S>) -> Result<Self> {
        let states = (0..threads).map(|_| state()).collect::<Result<_>>()?;
        let start =
            || ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("embed-{i}")).build();
        let pool = (threads > 1).then(start).transpose().map_err(|e| {
            let why = format!("{threads} threads cannot be started; ask for fewer");
            Error::invalid_because("threads", why, e)
        })?;
        Ok(Self { pool, states: Mutex::new(states) })
    }

    /// Maps every image of `[N, C, S, S]` to one row `[D]`; gives `[N, D]`. `run` fills the rows of up to
    /// `most` images at once.
    pub fn rows(
        &self,
        images: ArrayView4<'_, u8>,
        dim: usize,
        most: usize,
        run: impl Fn(&mut S, ArrayView4<'_, u8>, &mut [f32]) -> Result<()> + Sync + Send,
    ) -> Result<Array2<f32>> {
        let count = images.len_of(Axis(0));
        let mut rows = vec![0f32; count * dim];
        let threads = self.pool.as_ref().map_or(1, ThreadPool::current_num_threads);
        let each = share(count, threads, most);
        match &self.pool {
            Some(pool) if count > 1 => pool.install(|| {
                let tasks = images.axis_chunks_iter(Axis(0), each).into_par_iter();
                let tasks = tasks.zip(rows.par_chunks_mut(each * dim));
                // One task at a time, also where rayon would rather take several together.
                tasks.with_max_len(1).try_for_each(|(images, rows)| self.one(images, rows, &run))
            })?,
            _ => {
                let mut tasks = images.axis_chunks_iter(Axis(0), each).zip(rows.chunks_mut(each * dim));
                tasks.try_for_each(|(images, rows)| self.one(images, rows, &run))?;
            }
        }
        Array2::from_shape_vec((count, dim), rows)
            .map_err(|e| Error::invalid_because("embeddings", "do not fill their shape", e))
    }

    /// Runs one task with a state of its own.
    fn one(
        &self,
        images: ArrayView4<'_, u8>,
        rows: &mut [f32],
        run: &(impl Fn(&mut S, ArrayView4<'_, u8>, &mut [f32]) -> Result<()> + Sync),
    ) -> Result<()> {
        let states = || self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = states().pop();
        // There are as many states as threads, and a thread has one task at a time.
        let mut state =
            taken.ok_or_else(|| Error::invalid("threads", "one is left over from an earlier failure"))?;
        let done = run(&mut state, images, rows);
        states().push(state);
        done
    }
}

/// Images of a task: at most `most`, and as many tasks for each of the threads.
fn share(count: usize, threads: usize, most: usize) -> usize {
    let rounds = count.div_ceil(threads * most).max(1);
    count.div_ceil(threads * rounds).max(1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use ndarray::Array4;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn sums(threads: usize, images: &Array4<u8>) -> Array2<f32> {
        let workers = Workers::new(threads, || Ok(())).unwrap();
        let sum = |(): &mut (), images: ArrayView4<'_, u8>, rows: &mut [f32]| {
            assert_eq!(images.len_of(Axis(0)) * 3, rows.len());
            for (image, row) in images.outer_iter().zip(rows.chunks_mut(3)) {
                row.fill(image.iter().map(|&x| f32::from(x)).sum());
            }
            Ok(())
        };
        let rows = workers.rows(images.view(), 3, 1, sum).unwrap();
        assert_eq!(workers.rows(images.view(), 3, 5, sum).unwrap(), rows);
        rows
    }

    #[test]
    fn every_image_has_its_row_whatever_the_threads() {
        let images = Array4::from_shape_fn((37, 1, 2, 2), |(n, _, y, x)| (n * 4 + y + x) as u8);
        let one = sums(1, &images);
        assert_eq!(one[(36, 2)], 36.0 * 16.0 + 4.0);
        for threads in [2, 5] {
            assert_eq!(sums(threads, &images), one);
        }
        assert_eq!(sums(2, &Array4::zeros((0, 1, 2, 2))).dim(), (0, 3));
    }

    #[test]
    fn a_failure_is_told_and_leaves_the_workers_whole() {
        let images = Array4::<u8>::zeros((9, 1, 1, 1));
        let workers = Workers::new(2, || Ok(())).unwrap();
        let calls = AtomicUsize::new(0);
        for _ in 0..3 {
            let fail = |(): &mut (), _: ArrayView4<'_, u8>, _: &mut [f32]| {
                calls.fetch_add(1, Ordering::Relaxed);
                Err(Error::invalid("x", "y"))
            };
            assert_eq!(workers.rows(images.view(), 1, 1, fail).unwrap_err().to_string(), "x: y");
        }
        assert!(calls.load(Ordering::Relaxed) >= 3);
        assert!(workers.rows(images.view(), 1, 1, |(), _, _| Ok(())).is_ok());
    }

    #[test]
    fn tasks_are_as_large_as_may_be_and_alike_for_all_threads() {
        let shares = [(64, 2, 24), (64, 1, 24), (1, 2, 24), (5, 2, 24), (64, 2, 1), (0, 2, 4)];
        assert_eq!(shares.map(|(count, threads, most)| share(count, threads, most)), [16, 22, 1, 3, 1, 1]);
    }
}
