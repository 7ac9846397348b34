//! The processes that train one run together, and how results come together at the first of them.

use super::tree::Tree;
use crate::model::Recipe;
use crate::runtime::Device;
use crate::{Error, Result};
use std::ops::Range;
use std::rc::Rc;

/// Processes that train one run together. Rank 0 leads: it keeps the state, updates it and writes the run's folder;
/// the others compute their micro-batches.
pub trait Ranks {
    /// The number of this process, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn count(&self) -> usize;

    /// Which of this machine's processes this one is, from 0: its device, where training is on devices.
    fn on_machine(&self) -> usize;

    /// Sends numbers to another process, which receives as many.
    ///
    /// # Errors
    /// Where the other one is gone.
    fn send(&self, to: usize, values: &[f32]) -> Result<()>;

    /// Receives numbers from another process.
    ///
    /// # Errors
    /// Where the other one is gone.
    fn receive(&self, from: usize, values: &mut [f32]) -> Result<()>;

    /// Gives each process what rank 0 has.
    ///
    /// # Errors
    /// Where one is gone.
    fn broadcast(&self, values: &mut [f32]) -> Result<()>;
}

/// One process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Ranks for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn count(&self) -> usize {
        1
    }

    fn on_machine(&self) -> usize {
        0
    }

    fn send(&self, to: usize, _: &[f32]) -> Result<()> {
        Err(Error::invalid(format!("rank {to}"), "is not there: this process trains alone"))
    }

    fn receive(&self, from: usize, _: &mut [f32]) -> Result<()> {
        self.send(from, &[])
    }

    fn broadcast(&self, _: &mut [f32]) -> Result<()> {
        Ok(())
    }
}

/// Who computes a run: processes, and in each of them workers, threads with a session of their own.
#[derive(Clone)]
pub struct Team {
    /// The processes.
    pub ranks: Rc<dyn Ranks>,
    /// Workers of this process; 0 for one a core, or for one where there are other processes or it has a device.
    pub workers: usize,
}

impl Default for Team {
    fn default() -> Self {
        Self { ranks: Rc::new(Alone), workers: 0 }
    }
}

impl Team {
    /// Whether this process keeps the state and writes the run's folder.
    pub fn leads(&self) -> bool {
        self.ranks.rank() == 0
    }

    /// The team with as many workers as a recipe has use for on this device.
    ///
    /// # Errors
    /// More than one worker or process where the recipe has no micro-batches to share, or more than these; several
    /// workers on one device.
    pub(super) fn fit(&self, recipe: &Recipe, device: Device) -> Result<Self> {
        let refused = |at: &str, why: String| Err(Error::invalid(at, why));
        let ranks = self.ranks.count();
        let Some(plan) = recipe.micro_batches() else {
            let why = format!(
                "share a step's micro-batches, and the recipe {} has none; give it some with --set micro_batch=N, where N \
                 divides its batch of {} images",
                recipe.name,
                recipe.sampling.images()
            );
            return match (ranks, self.workers) {
                (1, 0 | 1) => Ok(Self { workers: 1, ..self.clone() }),
                (1, _) => refused("--workers", why),
                _ => refused("mpirun's processes", why),
            };
        };
        if ranks > plan.count {
            let why = format!("are {ranks}, and a step has {} micro-batches", plan.count);
            return refused("mpirun's processes", why);
        }
        let most = plan.count.div_ceil(ranks);
        let cores = || std::thread::available_parallelism().map_or(1, usize::from).min(most);
        let workers = match (self.workers, device) {
            (0 | 1, Device::Cuda) => 1,
            (_, Device::Cuda) => {
                let why = "on CUDA a process has one device and one worker; start one a device with mpirun";
                return refused("--workers", why.into());
            }
            (0, Device::Cpu) if ranks > 1 => 1,
            (0, Device::Cpu) => cores(),
            (asked, Device::Cpu) if asked <= most => asked,
            (asked, Device::Cpu) => {
                let why =
                    format!("{asked} are more than the {most} micro-batches that a process has of a step");
                return refused("--workers", why);
            }
        };
        Ok(Self { workers, ..self.clone() })
    }

    /// Who computes where, in words.
    pub(super) fn told(&self, place: &str) -> String {
        let workers = format!("{} worker{}", self.workers, if self.workers == 1 { "" } else { "s" });
        match (self.ranks.count(), self.workers) {
            (1, 1) => place.into(),
            (1, _) => format!("{place}, {workers}"),
            (ranks, _) => format!("{place}, {ranks} processes of {workers}"),
        }
    }

    /// The micro-batches of this process.
    pub(super) fn own(&self, micro_batches: usize) -> Range<usize> {
        let rank = self.ranks.rank();
        of_ranks(&(rank..rank + 1), self.ranks.count(), micro_batches)
    }

    /// What rank 0 says.
    pub(super) fn agree(&self, says: bool) -> Result<bool> {
        let mut word = [f32::from(says)];
        self.ranks.broadcast(&mut word)?;
        Ok(word[0] != 0.0)
    }
}

/// The micro-batches of consecutive ranks: as even as can be.
fn of_ranks(ranks: &Range<usize>, count: usize, micro_batches: usize) -> Range<usize> {
    let before = |rank: usize| rank * micro_batches / count;
    before(ranks.start)..before(ranks.end)
}

/// Completes rank 0's tree by what the others' hold: a binomial tree over the ranks, in which each sends what it and
/// those above it have once. What two ranks hold is joined where the tree over the micro-batches says, so that no bit
/// depends on how many there are.
pub(super) fn gather(ranks: &dyn Ranks, tree: &Tree, micro_batches: usize) -> Result<()> {
    let (rank, count) = (ranks.rank(), ranks.count());
    let held = |first: usize, width: usize| {
        tree.cover(&of_ranks(&(first..(first + width).min(count)), count, micro_batches))
    };
    let mut width = 1;
    while width < count {
        if rank & width != 0 {
            for node in held(rank, width) {
                ranks.send(rank - width, &tree.take(node).unwrap_or_default())?;
            }
            return Ok(());
        }
        let other = rank + width;
        if other < count {
            for node in held(other, width) {
                let mut values = vec![0.0; tree.length(node)];
                ranks.receive(other, &mut values)?;
                tree.insert(node, values);
            }
        }
        width *= 2;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod testing {
    //! Ranks that are threads.
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// A rank with a channel to and from each other one.
    pub struct Wired {
        rank: usize,
        to: Vec<Sender<Vec<f32>>>,
        from: Vec<Receiver<Vec<f32>>>,
    }

    /// So many ranks.
    pub fn wired(count: usize) -> Vec<Wired> {
        let mut ends: Vec<_> = (0..count).map(|_| (Vec::new(), Vec::new())).collect();
        for from in 0..count {
            for to in 0..count {
                let (send, receive) = channel();
                ends[from].0.push(send);
                ends[to].1.push(receive);
            }
        }
        let wired = |(rank, (to, from))| Wired { rank, to, from };
        ends.into_iter().enumerate().map(wired).collect()
    }

    impl Ranks for Wired {
        fn rank(&self) -> usize {
            self.rank
        }

        fn count(&self) -> usize {
            self.to.len()
        }

        fn on_machine(&self) -> usize {
            self.rank
        }

        fn send(&self, to: usize, values: &[f32]) -> Result<()> {
            self.to[to].send(values.to_vec()).map_err(|e| Error::invalid_because("a rank", "is gone", e))
        }

        fn receive(&self, from: usize, values: &mut [f32]) -> Result<()> {
            let sent = self.from[from].recv().map_err(|e| Error::invalid_because("a rank", "is gone", e))?;
            assert_eq!(sent.len(), values.len());
            values.copy_from_slice(&sent);
            Ok(())
        }

        fn broadcast(&self, values: &mut [f32]) -> Result<()> {
            match self.rank {
                0 => (1..self.count()).try_for_each(|to| self.send(to, values)),
                _ => self.receive(0, values),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tree::Join;
    use super::*;

    #[test]
    fn rank_0_gets_the_sum_of_one_process() {
        let leaf = |i: usize| vec![1.0 / (i as f32 + 3.0), 1e7 / (i as f32 + 1.0)];
        for micro_batches in [1, 4, 6, 7, 13] {
            let alone = Tree::new(micro_batches, 2, Join::Sum);
            (0..micro_batches).for_each(|i| alone.add(i, leaf(i)));
            let expected = alone.take(alone.root()).unwrap();
            for count in 1..=micro_batches.min(6) {
                let roots: Vec<_> = std::thread::scope(|scope| {
                    let ranks = testing::wired(count).into_iter().map(|ranks| {
                        scope.spawn(move || {
                            let tree = Tree::new(micro_batches, 2, Join::Sum);
                            let team = Team { ranks: Rc::new(ranks), workers: 1 };
                            team.own(micro_batches).for_each(|i| tree.add(i, leaf(i)));
                            gather(team.ranks.as_ref(), &tree, micro_batches).unwrap();
                            tree.take(tree.root())
                        })
                    });
                    ranks.collect::<Vec<_>>().into_iter().map(|rank| rank.join().unwrap()).collect()
                });
                assert_eq!(roots[0].as_ref(), Some(&expected), "{micro_batches} by {count}");
                assert!(roots[1..].iter().all(Option::is_none));
            }
        }
    }
}
