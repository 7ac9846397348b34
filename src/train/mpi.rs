//! Processes that `mpirun` starts, on one machine or many.

use super::ranks::Ranks;
use crate::{Error, Result};
use mpi::Threading;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Destination, Root, Source};

/// Numbers in one message; MPI counts in 32 bits.
const MOST: usize = 1 << 28;

/// The processes of an MPI job. MPI itself ends all of them when one is lost.
pub struct Mpi {
    world: SimpleCommunicator,
    on_machine: usize,
    /// Goes last: it ends MPI.
    _universe: Universe,
}

impl Mpi {
    /// Joins the job that this process was started in. Its calls all come from this thread.
    ///
    /// # Errors
    /// Where this process has joined already, or the library cannot be used beside threads.
    pub fn join() -> Result<Self> {
        let joined = mpi::initialize_with_threading(Threading::Funneled);
        let (universe, threading) =
            joined.ok_or_else(|| Error::invalid("MPI", "was begun before in this process"))?;
        if threading < Threading::Funneled {
            let fix = "use an MPI that was built with support for threads";
            return Err(Error::missing("this MPI cannot be used by programs that have threads", fix));
        }
        let world = universe.world();
        let on_machine = world.split_shared(world.rank()).rank() as usize;
        Ok(Self { world, on_machine, _universe: universe })
    }

    /// Ends all processes with this exit code.
    pub fn abort(&self, code: u8) -> ! {
        self.world.abort(code.into())
    }
}

impl Ranks for Mpi {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn count(&self) -> usize {
        self.world.size() as usize
    }

    fn on_machine(&self) -> usize {
        self.on_machine
    }

    fn send(&self, to: usize, values: &[f32]) -> Result<()> {
        let process = self.world.process_at_rank(to as i32);
        values.chunks(MOST).for_each(|part| process.send(part));
        Ok(())
    }

    fn receive(&self, from: usize, values: &mut [f32]) -> Result<()> {
        let process = self.world.process_at_rank(from as i32);
        values.chunks_mut(MOST).for_each(|part| {
            process.receive_into(part);
        });
        Ok(())
    }

    fn broadcast(&self, values: &mut [f32]) -> Result<()> {
        let process = self.world.process_at_rank(0);
        values.chunks_mut(MOST).for_each(|part| process.broadcast_into(part));
        Ok(())
    }
}
