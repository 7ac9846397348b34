//! N-way K-shot episodes for evaluation, as indices into a data set.

use super::pool::{Pool, class_name};
use crate::data::Dataset;
use crate::random::{Stream, below, draw, stream};
use crate::{Error, Result};
use std::collections::BTreeMap;

/// One recognition task: K known drawings of each of N classes, and queries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Episode {
    /// The known images of each class, `[N][K]`.
    pub supports: Vec<Vec<usize>>,
    /// (image, the place of its class in `supports`), class by class.
    pub queries: Vec<(usize, usize)>,
}

/// The kind of episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpisodeSpec {
    /// N, the classes.
    pub way: usize,
    /// K, the known drawings of each class.
    pub shot: usize,
    /// Queries of each class.
    pub queries: usize,
    /// Whether all classes come from one alphabet.
    pub within: bool,
    /// Whether nobody who drew a class's supports drew a query of it; where every class has all
    /// its drawers, none of an episode's supports and queries share one, as in Lake's runs. Of no
    /// effect where the data does not tell drawers.
    pub different_drawers: bool,
}

/// An endless source of episodes; episode `k` is a pure function of (seed, `k`).
pub struct EpisodeSampler {
    spec: EpisodeSpec,
    pool: Pool,
    /// Drawer of each image; empty where drawers do not matter.
    drawers: Vec<u16>,
    /// The number of drawers.
    people: usize,
    seed: u64,
}

/// Episodes of a data set.
///
/// # Errors
/// Where the data has too few classes, no alphabet with enough of them, or a class (which is
/// named) with too few drawings or drawers.
pub fn episodes(data: &Dataset, spec: &EpisodeSpec, seed: u64) -> Result<EpisodeSampler> {
    let spec = *spec;
    if spec.way == 0 || spec.shot == 0 || spec.queries == 0 {
        return Err(Error::invalid("episode", "way, shot and queries must each be at least 1"));
    }
    let mut pool = Pool::new(data);
    let way = spec.way;
    pool.need_classes(data, way, &format!("a {way}-way episode takes {way} classes"))?;
    if spec.within {
        let largest = pool.alphabets.iter().map(Vec::len).max().unwrap_or(0);
        pool.alphabets.retain(|a| a.len() >= way);
        if pool.alphabets.is_empty() {
            let why =
                format!("a {way}-way episode within an alphabet, but the largest has {largest} classes");
            return Err(Error::invalid(&data.name, why));
        }
    }
    let each = spec.shot + spec.queries;
    pool.need_drawings(data, each, &format!("an episode takes {each} drawings of a class"))?;
    let told = data.drawers.iter().any(|&d| d != data.drawers[0]);
    let drawers = if spec.different_drawers && told { data.drawers.clone() } else { Vec::new() };
    let people = drawers.iter().max().map_or(0, |&d| d as usize + 1);
    let sampler = EpisodeSampler { spec, pool, drawers, people, seed };
    sampler.need_drawers(data)?;
    Ok(sampler)
}

impl EpisodeSampler {
    /// Episode `k`.
    pub fn episode(&self, k: u64) -> Episode {
        let mut rng = stream(self.seed, "episode", k, 0);
        let classes = if self.spec.within {
            let alphabet = below(&mut rng, self.pool.alphabets.len());
            draw(&mut rng, &mut self.pool.alphabets[alphabet].clone(), self.spec.way).to_vec()
        } else {
            self.pool.any_classes(&mut rng, self.spec.way)
        };
        let mut ranks: Vec<usize> = (0..self.people).collect();
        draw(&mut rng, &mut ranks, self.people);
        let mut episode = Episode { supports: Vec::new(), queries: Vec::new() };
        for (place, &class) in classes.iter().enumerate() {
            let (supports, queries) = self.part(&mut rng, class, &ranks);
            episode.supports.push(supports);
            episode.queries.extend(queries.into_iter().map(|image| (image, place)));
        }
        episode
    }

    /// The kind of its episodes.
    pub fn spec(&self) -> &EpisodeSpec {
        &self.spec
    }

    /// Supports and queries of a class: supports by the drawers who stand first in this episode,
    /// queries by those who stand last.
    fn part(&self, rng: &mut Stream, class: usize, ranks: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let EpisodeSpec { shot, queries, .. } = self.spec;
        let count = self.pool.members[class].len();
        let mut drawings = self.pool.drawings(rng, class, count);
        if self.drawers.is_empty() {
            return (drawings[..shot].to_vec(), drawings[shot..shot + queries].to_vec());
        }
        drawings.sort_by_key(|&image| ranks[self.drawers[image] as usize]);
        let supports = drawings[..shot].to_vec();
        let known = |image: &usize| supports.iter().any(|&s| self.drawers[s] == self.drawers[*image]);
        let asked = drawings.iter().rev().copied().filter(|image| !known(image)).take(queries).collect();
        (supports, asked)
    }

    /// An error unless every class keeps enough drawings whoever draws its supports.
    fn need_drawers(&self, data: &Dataset) -> Result<()> {
        if self.drawers.is_empty() {
            return Ok(());
        }
        for &class in &self.pool.classes {
            let mut counts = BTreeMap::<u16, usize>::new();
            for &image in &self.pool.members[class] {
                *counts.entry(self.drawers[image]).or_default() += 1;
            }
            let mut most: Vec<usize> = counts.into_values().collect();
            most.sort_unstable_by(|a, b| b.cmp(a));
            let left: usize = most.iter().skip(self.spec.shot).sum();
            if left < self.spec.queries {
                let name = class_name(data, class);
                let why = format!(
                    "queries by other drawers than the supports: class {name} may be left with {left} of {}",
                    self.spec.queries
                );
                return Err(Error::invalid(&data.name, why));
            }
        }
        Ok(())
    }
}
