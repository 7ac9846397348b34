//! What the processes of a team do that do not lead: micro-batches, as long as rank 0 asks for them.

use super::Job;
use super::feed::Feed;
use super::identity::Identity;
use super::ranks::Team;
use super::run::own_graph;
use super::workers::{Heard, State, Workers};
use crate::runtime::ort;
use crate::{Error, Result};

/// What rank 0 tells the others before the first step.
#[derive(Debug, PartialEq)]
pub(super) struct Beginning {
    /// Steps done.
    pub step: u64,
    /// Threads of each worker's session.
    pub threads: usize,
    /// [`Identity::digest`].
    pub digest: [u8; 32],
}

impl Beginning {
    pub fn tell(&self, team: &Team) -> Result<()> {
        // Steps and threads are whole numbers that float32 holds.
        let mut words = vec![self.step as f32, self.threads as f32];
        words.extend(self.digest.map(f32::from));
        team.ranks.broadcast(&mut words)
    }

    fn hear(team: &Team) -> Result<Self> {
        let mut words = [0.0; 34];
        team.ranks.broadcast(&mut words)?;
        let digest = std::array::from_fn(|i| words[2 + i] as u8);
        Ok(Self { step: words[0] as u64, threads: words[1] as usize, digest })
    }
}

/// Computes this process's micro-batches of each step until rank 0 ends the run. Nothing is written. Whether the run
/// is finished, and not stopped.
///
/// # Errors
/// Another recipe, other data or another ONNX Runtime than rank 0 has; a failure of the runtime; a process that is
/// gone.
pub fn follow(job: &Job) -> Result<bool> {
    let team = job.team.fit(job.recipe, job.session.device)?;
    let graph = own_graph(job)?;
    let onnx_runtime = ort::library(&job.library)?.version.to_string();
    let digest = Identity::new(job.recipe, &job.material.facts)?.digest(&onnx_runtime)?;
    let begin = Beginning::hear(&team)?;
    if begin.digest != digest {
        let why = "has another recipe, other data or another version of ONNX Runtime than process 0; give all of them the \
                   same";
        return Err(Error::invalid(format!("process {}", team.ranks.rank()), why));
    }
    let Some(mut workers) = Workers::of(&graph, &team, &job.library, &job.options(begin.threads))? else {
        return Ok(true);
    };
    let mut feed = Feed::start(job.material, job.recipe, &graph, &team, begin.step..job.recipe.steps)?;
    loop {
        match workers.hear()? {
            Heard::Step(params) => {
                let state: State = params.iter().map(|(name, value)| (name.as_str(), value)).collect();
                workers.sums(feed.next()?, &state)?;
            }
            Heard::End { finished } => return Ok(finished),
        }
    }
}
