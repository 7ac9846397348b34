//! The processes that `mpirun` started beside this one.

#[cfg(feature = "mpi")]
use crate::train::Mpi;
use crate::train::{Alone, Ranks};
use crate::{Error, Result};
use std::rc::Rc;

/// The processes of one training.
pub struct Processes {
    #[cfg(feature = "mpi")]
    mpi: Option<Rc<Mpi>>,
}

impl Processes {
    /// Those that were started together with this one; without a launcher it is alone.
    #[cfg(feature = "mpi")]
    pub fn join() -> Result<Self> {
        let mpi = launched().then(Mpi::join).transpose()?;
        Ok(Self { mpi: mpi.map(Rc::new) })
    }

    /// None: several processes would each train the whole run.
    #[cfg(not(feature = "mpi"))]
    pub fn join() -> Result<Self> {
        let several = |name: &&str| std::env::var(name).is_ok_and(|n| n.parse().is_ok_and(|n: u32| n > 1));
        if LAUNCHED[..2].iter().any(several) {
            let fix =
                "build it with `cargo build --release --features mpi`, or start one process with --workers";
            return Err(Error::missing(
                "this siamese was built without MPI, and mpirun started several",
                fix,
            ));
        }
        Ok(Self {})
    }

    /// As the training takes them.
    pub fn ranks(&self) -> Rc<dyn Ranks> {
        #[cfg(feature = "mpi")]
        if let Some(mpi) = &self.mpi {
            return Rc::clone(mpi) as Rc<dyn Ranks>;
        }
        Rc::new(Alone)
    }

    /// A failure of one ends all, which would wait for it for ever; it is told before. That the user asked to stop is
    /// none: the others were told to end.
    pub fn end<T>(&self, result: Result<T>) -> Result<T> {
        #[cfg(feature = "mpi")]
        match (&self.mpi, result) {
            (Some(mpi), Err(error)) if mpi.count() > 1 && !matches!(error, Error::Interrupted(_)) => {
                let code = error.exit_code();
                super::output::note(format_args!("process {} of {} ends all:", mpi.rank(), mpi.count()));
                super::output::warn(error);
                mpi.abort(code)
            }
            (_, result) => result,
        }
        #[cfg(not(feature = "mpi"))]
        result
    }
}

/// What launchers tell the processes that they start: Open MPI, MPICH and its kin, and whoever speaks PMIx, which tells
/// no size.
const LAUNCHED: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"];

#[cfg(feature = "mpi")]
fn launched() -> bool {
    LAUNCHED.iter().any(|name| std::env::var_os(name).is_some())
}
