//! Towers that are one lowered program: tract has no part in running them, and several images run at once.
//!
//! A build with `lowered` and without `tract` has nothing else: it is small, and refuses towers of which a node would be
//! left to tract's own operators.

use super::batch::Workers;
use super::caught::{Cause, caught};
use super::{Embedder, Options, ReadTower, check_images};
use crate::Result;
use crate::edge::{self, Refusal, kernels::Kernels};
use crate::tower::TowerSpec;
use ndarray::{Array2, ArrayView4};
use std::sync::Arc;

/// A tower as a program.
pub(super) struct ProgramEmbedder {
    spec: TowerSpec,
    /// The most images that a worker takes at once.
    most: usize,
    workers: Workers<Worker>,
}

/// What runs images on one thread.
struct Worker {
    program: Arc<edge::Program>,
    scratch: Box<edge::Scratch>,
}

impl ProgramEmbedder {
    /// Makes a program ready.
    ///
    /// # Errors
    /// Threads that cannot be started.
    pub fn new(options: &Options, program: Arc<edge::Program>, spec: TowerSpec) -> Result<Self> {
        let worker = || Ok(Worker { program: program.clone(), scratch: Box::new(program.scratch()) });
        Ok(Self { spec, most: program.images, workers: Workers::new(options.threads(), worker)? })
    }
}

impl Embedder for ProgramEmbedder {
    fn spec(&self) -> &TowerSpec {
        &self.spec
    }

    fn embed(&mut self, images: ArrayView4<'_, u8>) -> Result<Array2<f32>> {
        check_images(&self.spec, &images)?;
        let dim = self.spec.dim;
        self.workers.rows(images, dim, self.most, |Worker { program, scratch }, images, rows| {
            let pixels = images.as_standard_layout();
            // In standard layout there is always a slice.
            program.run(scratch, pixels.as_slice().unwrap_or_default());
            rows.chunks_exact_mut(dim).enumerate().for_each(|(i, row)| program.output(scratch, 0, i, row));
            Ok(())
        })
    }
}

/// A tower that can be lowered whole; else the nodes that cannot, as far as they are known.
pub(super) fn program(
    tower: &ReadTower<'_>,
    kernels: &'static Kernels,
) -> std::result::Result<Arc<edge::Program>, Vec<Refusal>> {
    let how = &tower.spec.preprocessing;
    let size = [how.channels(), how.size(), how.size()];
    let made = caught(|| Ok::<_, Cause>(edge::program(tower.model, size, kernels)));
    let program = made.unwrap_or_else(|_| Err(Vec::new()))?;
    if program.output_size(0) == tower.spec.dim { Ok(Arc::new(program)) } else { Err(Vec::new()) }
}

#[cfg(not(feature = "tract"))]
pub(super) use alone::Lowered;

/// What stands for tract where it is not built in.
#[cfg(not(feature = "tract"))]
mod alone {
    use super::{ProgramEmbedder, program};
    use crate::edge;
    use crate::runtime::{Backend, Embedder, Engine, Options, ReadTower};
    use crate::walk::Types;
    use crate::{Error, Result};

    /// What is missing, and what to do.
    const FIX: &str = "use a build with `--features tract`, which runs it";

    /// Programs without tract.
    #[derive(Debug)]
    pub struct Lowered;

    impl Backend for Lowered {
        fn version(&self) -> &'static str {
            "not built in, lowered towers alone"
        }

        fn open(&self, options: &Options, tower: ReadTower<'_>) -> Result<Box<dyn Embedder>> {
            Types::with_batch(tower.model, 1).map_err(|e| e.at(tower.name))?;
            let Some(kernels) = edge::kernels()? else {
                let what = format!(
                    "{}={} leaves all to tract, which this build has not",
                    edge::VARIABLE,
                    edge::NONE
                );
                return Err(Error::missing(what, FIX));
            };
            let program = program(&tower, kernels).map_err(|left| {
                let left = match left.first() {
                    Some(first) => format!("{} of its nodes ({first})", left.len()),
                    None => "some of its nodes".into(),
                };
                Error::missing(
                    format!("{} would leave {left} to tract, which this build has not", tower.name),
                    FIX,
                )
            })?;
            Ok(Box::new(ProgramEmbedder::new(options, program, tower.spec)?))
        }

        fn engine(&self, _: &Options) -> Result<Box<dyn Engine>> {
            Err(Error::missing("this build runs whole towers alone, no single nodes", FIX))
        }
    }
}
