//! The protocols: which images are known, which are asked, and what is told beside the accuracy.

use super::LinearClassifier;
use super::bootstrap::Unit;
use super::identification::{Galleries, GallerySpec, galleries};
use super::nearest::{episode_trials, trials};
use super::open_set::OpenSet;
use super::result::{Decision, EvalOptions, EvaluationResult, Evidence, Figure, Protocol, RunErrors};
use super::score::{Score, Trial};
use super::second_look::{Looking, Question, Shown, same};
use crate::data::{self, Choice, Dataset, Makers, Set, class_folders, mnist, omniglot};
use crate::embed;
use crate::image::{Preprocessing, Triage};
use crate::runtime::Embedder;
use crate::sample::{EpisodeSpec, episodes};
use crate::second_look::SecondLook;
use crate::tower::{Distance, collapsed};
use crate::{Error, Result};
use ndarray::{Array2, Array4, s};
use std::path::Path;
use std::time::Instant;

/// Ways and shots of Vinyals' episodes, the usual one first.
const VINYALS: [(usize, usize); 4] = [(20, 1), (20, 5), (5, 1), (5, 5)];
/// Trials that are kept for pictures.
const KEPT: usize = 20_000;

/// Runs a protocol on the data in a folder, of class folders on the pictures that the triage keeps; `progress` is
/// told how many images of how many are embedded.
///
/// # Errors
/// Where the data is not there or too small for the protocol, or the runtime fails.
pub fn evaluate(
    protocol: Protocol,
    options: &EvalOptions,
    towers: Towers<'_>,
    dir: &Path,
    triage: &Triage<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(EvaluationResult, Evidence)> {
    let Towers { asked, known, second } = towers;
    let second = second.map(Looking::with);
    let mut course = Course { embedder: asked, known, second, progress, images: 0, seconds: 0.0 };
    let how = course.embedder.spec().preprocessing.clone();
    let &EvalOptions { ref spec, episodes, seed, ref classifier, ref rates, ref makers } = options;
    let mut found = match protocol {
        Protocol::NearestTruth => course.nearest_truth(dir)?,
        Protocol::Angelic => course.angelic(dir)?,
        Protocol::Lake => course.lake(dir, episodes, seed)?,
        Protocol::Episodes => {
            let read = |how: &Preprocessing, triage: &Triage<'_>| drawn(dir, how, makers.as_ref(), triage);
            // A picture that cannot be used is told of once, however many towers see the data.
            let again = |how: &Preprocessing| read(how, &Triage::lenient(|_| ()));
            course.episodes(read(&how, triage)?, &again, spec, episodes, seed)?
        }
        Protocol::Identification => {
            let set = Set::found(dir, &[Set::OmniglotEvaluation]);
            let (known, shot, rates) = (spec.way, spec.shot, rates.clone());
            let spec = GallerySpec { known, shot, galleries: episodes, seed, rates };
            course.identification(set.read(dir, &how, triage)?, &spec)?
        }
        Protocol::Vinyals => course.vinyals(dir, episodes, seed)?,
        Protocol::Digits => {
            let read = |how: &Preprocessing| mnist(dir, mnist::Part::Test, how);
            let (shot, queries) = (spec.shot, 1);
            let spec = EpisodeSpec { way: 10, shot, queries, within: false, different_drawers: false };
            course.episodes(read(&how)?, &read, &spec, episodes, seed)?
        }
        Protocol::Accuracy => {
            let none = || Error::invalid("--run", "must name the classifier's run");
            course.classified(dir, classifier.as_ref().ok_or_else(none)?)?
        }
    };
    let tower = course.embedder.spec();
    let collapsed = collapsed(found.evidence.embeddings.view());
    found.figures.iter_mut().for_each(|figure| figure.score.collapsed = collapsed);
    let evaluation = EvaluationResult {
        protocol,
        tower: tower.name.clone(),
        tower_sha256: tower.sha256.clone(),
        known_by: course.known.as_ref().map(|old| old.spec().sha256.clone()),
        kind: tower.kind,
        data: found.data,
        figures: found.figures,
        run_errors: found.run_errors,
        open_set: OpenSet::of(found.evidence.decisions.iter().map(|d| &d.trial)),
        identification: found.identification,
        second_look: course.second.map(Looking::result),
        collapsed,
        images: course.images,
        embedding_s: course.seconds,
    };
    Ok((evaluation, found.evidence))
}

/// The pictures of which episodes are drawn: Omniglot's evaluation part or class folders; with makers, class folders that
/// are by several.
fn drawn(dir: &Path, how: &Preprocessing, makers: Option<&Makers>, triage: &Triage<'_>) -> Result<Dataset> {
    if makers.is_none() {
        return Set::found(dir, &[Set::OmniglotEvaluation]).read(dir, how, triage);
    }
    let choice = Choice { makers: makers.cloned(), ..Choice::default() };
    let data = class_folders(dir, how, &choice, triage)?;
    let first = data.drawers.first();
    if data.drawers.iter().all(|maker| Some(maker) == first) {
        let why = "is all by one maker: supports and queries by different ones cannot be drawn";
        return Err(Error::invalid(&data.name, why));
    }
    let name = format!("{}, known and asked pictures by different makers", data.name);
    Ok(Dataset { name, ..data })
}

/// What a protocol found, but for what all tell alike.
pub(super) struct Findings {
    pub data: String,
    pub figures: Vec<Figure>,
    pub run_errors: Vec<RunErrors>,
    pub identification: Option<Galleries>,
    pub evidence: Evidence,
}

/// The towers of an evaluation.
pub struct Towers<'a> {
    /// Embeds what is asked about, and what is known.
    pub asked: &'a mut dyn Embedder,
    /// Embeds what is known in its place: an older tower, which the other one is compatible with (episodes and digits).
    pub known: Option<&'a mut dyn Embedder>,
    /// Looks again at the nearest classes (all but identification and accuracy).
    pub second: Option<&'a mut SecondLook>,
}

/// A protocol under way: the towers, and what embedding took.
pub(super) struct Course<'a, 'p> {
    pub embedder: &'a mut dyn Embedder,
    known: Option<&'a mut dyn Embedder>,
    pub second: Option<Looking<'a>>,
    pub progress: &'p mut dyn FnMut(u64, u64),
    images: u64,
    seconds: f64,
}

impl Course<'_, '_> {
    pub(super) fn embed(&mut self, images: &Array4<u8>) -> Result<Array2<f32>> {
        let (start, count) = (Instant::now(), images.shape()[0] as u64);
        let progress = &mut *self.progress;
        let embeddings = embed::images(images.view(), self.embedder, |done| progress(done as u64, count))?;
        self.images += count;
        self.seconds += start.elapsed().as_secs_f64();
        Ok(embeddings)
    }

    /// The tower's own distance, then L1 and L2 where they are others.
    pub(super) fn distances(&self) -> Vec<Distance> {
        let own = self.embedder.spec().distance.clone();
        let others = [Distance::L1, Distance::L2].into_iter().filter(|d| *d != own);
        std::iter::once(own.clone()).chain(others).collect()
    }

    fn classified(&mut self, dir: &Path, classifier: &LinearClassifier) -> Result<Findings> {
        classifier.check(self.embedder.spec())?;
        let data = mnist(dir, mnist::Part::Test, &self.embedder.spec().preprocessing)?;
        let embeddings = self.embed(&data.images)?;
        let score = classifier.score(embeddings.view(), &data.labels)?;
        let what = format!("{} classes, {} images", classifier.classes(), score.trials);
        let figures = vec![Figure { what, distance: "classifier".into(), score }];
        let classes = data.labels.iter().map(|&label| data.title(label)).collect();
        let evidence = Evidence { images: data.images, embeddings, classes, decisions: Vec::new() };
        Ok(Findings { data: data.name, figures, run_errors: Vec::new(), identification: None, evidence })
    }

    fn lake(&mut self, dir: &Path, count: u64, seed: u64) -> Result<Findings> {
        let how = self.embedder.spec().preprocessing.clone();
        let runs = data::lake(dir, &how)?;
        let images = runs.images()?;
        let runs = runs.runs;
        let embeddings = self.embed(&images)?;
        let (mut first, mut classes) = (0, Vec::new());
        let (mut decisions, mut run_errors, mut run_units) = (Vec::new(), Vec::new(), Vec::new());
        let mut questions = Vec::new();
        let own = self.embedder.spec().distance.clone();
        for run in &runs {
            let (way, asked) = (run.training.shape()[0], run.test.shape()[0]);
            let known: Vec<usize> = (first..first + way).collect();
            let supports = embeddings.slice(s![first..first + way, ..]);
            let queries = embeddings.slice(s![first + way..first + way + asked, ..]);
            let trials = trials(supports, queries, &run.answers, &own);
            classes.extend(
                (0..way).chain(run.answers.iter().copied()).map(|c| format!("{} class {}", run.name, c + 1)),
            );
            decisions.extend(trials.iter().map(|t| decision(t, first + way + t.query, &known)));
            run_units.extend(vec![Unit::class(run_errors.len() as u32); trials.len()]);
            questions.extend(queries.outer_iter().zip(&run.answers).enumerate().map(
                |(i, (row, &answer))| {
                    Question::of(supports, row, (first + way + i, answer), &own, |place| vec![first + place])
                },
            ));
            let errors = trials.iter().filter(|t| !t.correct()).count() as u64;
            run_errors.push(RunErrors { run: run.name.clone(), errors, trials: asked as u64 });
            first += way + asked;
        }
        let way = runs.iter().map(|r| r.training.shape()[0]).max().unwrap_or(0);
        let what = format!("{} runs of {way}-way one-shot within an alphabet", runs.len());
        // A run is one pair of drawers and one alphabet: its trials stand together.
        let trials: Vec<(&Trial, Unit)> =
            decisions.iter().map(|d: &Decision| &d.trial).zip(run_units).collect();
        let other = |how: &Preprocessing| data::lake(dir, how)?.images();
        self.look_again(&what, way, &Shown { own: images.view(), other: &other }, || questions, &trials)?;
        let mut figures = vec![figure(what, &own, Score::of(trials, way))];
        if count > 0 && omniglot::has(dir, omniglot::Part::Evaluation) {
            let read = |how: &Preprocessing| omniglot(dir, omniglot::Part::Evaluation, how);
            let data = read(&how)?;
            let spec = EpisodeSpec { way: 20, shot: 1, queries: 1, within: true, different_drawers: true };
            let sampler = episodes(&data, &spec, seed)?;
            let embeddings = self.embed(&data.images)?;
            let what = "random trials of the same kind (two drawers, one alphabet)";
            let score = self.sampled(what, (&data, &read), embeddings.view(), &sampler, count)?;
            figures.push(figure(format!("{} {what}", score.trials), &own, score));
        }
        let evidence = Evidence { images, embeddings, classes, decisions };
        Ok(Findings {
            data: format!("{} one-shot runs of Lake et al. 2015", runs.len()),
            figures,
            run_errors,
            identification: None,
            evidence,
        })
    }

    /// Episodes over data, which `read` gives as another tower sees them.
    fn episodes(
        &mut self,
        data: Dataset,
        read: &dyn Fn(&Preprocessing) -> Result<Dataset>,
        spec: &EpisodeSpec,
        count: u64,
        seed: u64,
    ) -> Result<Findings> {
        if count == 0 {
            return Err(Error::invalid("--episodes", "at least one episode is needed"));
        }
        let sampler = episodes(&data, spec, seed)?;
        let embeddings = self.embed(&data.images)?;
        let other = |how: &Preprocessing| same(&data, read(how)?);
        let known = match &mut self.known {
            Some(old) => Some(embed::images(other(&old.spec().preprocessing)?.view(), *old, |_| ())?),
            None => None,
        };
        let known = known.as_ref().unwrap_or(&embeddings);
        let own = self.embedder.spec().distance.clone();
        let rounds = episode_trials([known.view(), embeddings.view()], &own, &sampler, count);
        let units = Unit::of(&data);
        let trials: Vec<(&Trial, Unit)> = rounds.iter().flatten().map(|t| (t, units[t.query])).collect();
        let place = if spec.within { "within an alphabet" } else { "across all classes" };
        let what = format!("{}-way {}-shot {place}, {count} episodes", spec.way, spec.shot);
        let questions = || Question::of_episodes(embeddings.view(), &own, &sampler, count);
        let shown = Shown { own: data.images.view(), other: &other };
        self.look_again(&what, spec.way, &shown, questions, &trials)?;
        let score = Score::of(trials, spec.way);
        let mut decisions = Vec::new();
        for (k, round) in (0..count).zip(&rounds) {
            if decisions.len() + round.len() > KEPT.max(round.len()) {
                break;
            }
            let known: Vec<usize> = sampler.episode(k).supports.iter().map(|s| s[0]).collect();
            decisions.extend(round.iter().map(|t| decision(t, t.query, &known)));
        }
        let classes = data.labels.iter().map(|&label| data.title(label)).collect();
        let evidence = Evidence { images: data.images, embeddings, classes, decisions };
        Ok(Findings {
            data: data.name,
            figures: vec![figure(what, &own, score)],
            run_errors: Vec::new(),
            identification: None,
            evidence,
        })
    }

    /// All four kinds of episodes that papers tell.
    fn vinyals(&mut self, dir: &Path, count: u64, seed: u64) -> Result<Findings> {
        let how = self.embedder.spec().preprocessing.clone();
        let read = |how: &Preprocessing| data::vinyals::tests(dir, how);
        let data = read(&how)?;
        let spec =
            |(way, shot)| EpisodeSpec { way, shot, queries: 1, within: false, different_drawers: false };
        let [usual, others @ ..] = VINYALS;
        let mut found = self.episodes(data.clone(), &read, &spec(usual), count, seed)?;
        let own = self.embedder.spec().distance.clone();
        for kind in others {
            let sampler = episodes(&data, &spec(kind), seed)?;
            let what = format!("{}-way {}-shot across all classes, {count} episodes", kind.0, kind.1);
            let embeddings = found.evidence.embeddings.view();
            let score = self.sampled(&what, (&data, &read), embeddings, &sampler, count)?;
            found.figures.push(figure(what, &own, score));
        }
        Ok(found)
    }

    fn identification(&mut self, data: Dataset, spec: &GallerySpec) -> Result<Findings> {
        if spec.galleries == 0 {
            return Err(Error::invalid("--episodes", "at least one gallery is needed"));
        }
        let embeddings = self.embed(&data.images)?;
        let own = self.embedder.spec().distance.clone();
        let (told, score, trials, known) = galleries(&data, embeddings.view(), &own, spec)?;
        let what = format!(
            "{} galleries of {} classes, {} examples each: nearest class, without a threshold",
            spec.galleries, spec.known, spec.shot
        );
        let decisions = trials.iter().take(KEPT).map(|t| decision(t, t.query, &known)).collect();
        let classes = data.labels.iter().map(|&label| data.title(label)).collect();
        let evidence = Evidence { images: data.images, embeddings, classes, decisions };
        Ok(Findings {
            data: data.name,
            figures: vec![figure(what, &own, score)],
            run_errors: Vec::new(),
            identification: Some(told),
            evidence,
        })
    }
}

pub(super) fn decision(trial: &Trial, query: usize, known: &[usize]) -> Decision {
    Decision { query, truth: known[trial.truth], nearest: known[trial.nearest], trial: *trial }
}

pub(super) fn figure(what: String, distance: &Distance, score: Score) -> Figure {
    Figure { what, distance: distance.name().into(), score }
}
