//! The protocols: which images are known, which are asked, and what is told beside the accuracy.

use super::LinearClassifier;
use super::bootstrap::Unit;
use super::identification::{Galleries, GallerySpec, galleries};
use super::nearest::{episode_trials, trials};
use super::open_set::OpenSet;
use super::result::{Decision, EvalOptions, EvaluationResult, Evidence, Figure, Protocol, RunErrors};
use super::score::{Score, Trial};
use super::vinyals;
use crate::data::{self, Choice, Dataset, Set, class_folders, mnist, omniglot};
use crate::embed;
use crate::image::{Preprocessing, Triage};
use crate::runtime::Embedder;
use crate::sample::{EpisodeSpec, episodes};
use crate::tower::{Distance, collapsed};
use crate::{Error, Result};
use ndarray::{Array2, Array4, Axis, concatenate, s};
use std::path::Path;
use std::time::Instant;

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
    let Towers { asked, known } = towers;
    let mut course = Course { embedder: asked, known, progress, images: 0, seconds: 0.0 };
    let how = course.embedder.spec().preprocessing.clone();
    let &EvalOptions { ref spec, episodes, seed, ref classifier, ref rates, ref makers } = options;
    let mut found = match protocol {
        Protocol::NearestTruth => course.nearest_truth(dir)?,
        Protocol::Angelic => course.angelic(dir)?,
        Protocol::Lake => course.lake(dir, episodes, seed)?,
        Protocol::Episodes => {
            let read = |how: &Preprocessing| match makers {
                Some(_) => {
                    let choice = Choice { makers: makers.clone(), ..Choice::default() };
                    let data = class_folders(dir, how, &choice, triage)?;
                    let first = data.drawers.first();
                    if data.drawers.iter().all(|maker| Some(maker) == first) {
                        let why =
                            "is all by one maker: supports and queries by different ones cannot be drawn";
                        return Err(Error::invalid(&data.name, why));
                    }
                    let name = format!("{}, known and asked pictures by different makers", data.name);
                    Ok(Dataset { name, ..data })
                }
                None => Set::found(dir, &[Set::OmniglotEvaluation]).read(dir, how, triage),
            };
            course.episodes(&read, spec, episodes, seed)?
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
            course.episodes(&read, &spec, episodes, seed)?
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
        collapsed,
        images: course.images,
        embedding_s: course.seconds,
    };
    Ok((evaluation, found.evidence))
}

/// What a protocol found, but for what all tell alike.
struct Findings {
    data: String,
    figures: Vec<Figure>,
    run_errors: Vec<RunErrors>,
    identification: Option<Galleries>,
    evidence: Evidence,
}

/// The towers of an evaluation.
pub struct Towers<'a> {
    /// Embeds what is asked about, and what is known.
    pub asked: &'a mut dyn Embedder,
    /// Embeds what is known in its place: an older tower, which the other one is compatible with (episodes and digits).
    pub known: Option<&'a mut dyn Embedder>,
}

/// A protocol under way: the towers, and what embedding took.
struct Course<'a, 'p> {
    embedder: &'a mut dyn Embedder,
    known: Option<&'a mut dyn Embedder>,
    progress: &'p mut dyn FnMut(u64, u64),
    images: u64,
    seconds: f64,
}

impl Course<'_, '_> {
    fn embed(&mut self, images: &Array4<u8>) -> Result<Array2<f32>> {
        let (start, count) = (Instant::now(), images.shape()[0] as u64);
        let progress = &mut *self.progress;
        let embeddings = embed::images(images.view(), self.embedder, |done| progress(done as u64, count))?;
        self.images += count;
        self.seconds += start.elapsed().as_secs_f64();
        Ok(embeddings)
    }

    /// The tower's own distance, then L1 and L2 where they are others.
    fn distances(&self) -> Vec<Distance> {
        let own = self.embedder.spec().distance.clone();
        let others = [Distance::L1, Distance::L2].into_iter().filter(|d| *d != own);
        std::iter::once(own.clone()).chain(others).collect()
    }

    /// The first images are meant in the order of the files at hand; some copies of MNIST are not in the
    /// published order (labels in rounds 0 … 9), so figures of two copies need not agree.
    fn nearest_truth(&mut self, dir: &Path) -> Result<Findings> {
        let how = self.embedder.spec().preprocessing.clone();
        let train = mnist(dir, mnist::Part::Train, &how)?;
        let mut known = train.subset(&firsts(&train)?);
        let test = mnist(dir, mnist::Part::Test, &how)?;
        let queries: Vec<(usize, usize)> =
            test.labels.iter().enumerate().map(|(i, &label)| (10 + i, label as usize)).collect();
        known.images.append(Axis(0), test.images.view()).map_err(|e| {
            Error::invalid_because("MNIST", "its two parts have images of different shapes", e)
        })?;
        known.labels.extend(&test.labels);
        known.drawers.extend(&test.drawers);
        let mut found =
            self.one_round(known, &(0..10).collect::<Vec<_>>(), &queries, "MNIST test images:")?;
        found.data = format!("MNIST: first training image of each digit, {} test images", queries.len());
        Ok(found)
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

    fn angelic(&mut self, dir: &Path) -> Result<Findings> {
        let how = self.embedder.spec().preprocessing.clone();
        let all = omniglot(dir, omniglot::Part::Evaluation, &how)?;
        let (_, data) = all.split_alphabets(&["Angelic".into()])?;
        let known = firsts(&data)?;
        let (way, asked) = (known.len(), data.len() - known.len());
        let queries: Vec<(usize, usize)> =
            (0..data.len()).filter(|i| !known.contains(i)).map(|i| (i, data.labels[i] as usize)).collect();
        let units = Unit::of(&data);
        let mut found = self.one_round(data, &known, &queries, "strict: supports are not asked;")?;
        // The seed's README counts the supports themselves among the queries.
        let evidence = &found.evidence;
        let supports = evidence.embeddings.select(Axis(0), &known);
        let answers: Vec<usize> = (0..evidence.classes.len())
            .map(|i| queries.iter().find(|q| q.0 == i).map_or_else(|| place(&known, i), |q| q.1))
            .collect();
        for distance in self.distances() {
            let trials = trials(supports.view(), evidence.embeddings.view(), &answers, &distance);
            let what = format!("the README's way: supports among the {} queries", trials.len());
            found.figures.push(figure(
                what,
                &distance,
                Score::of(trials.iter().map(|t| (t, units[t.query])), way),
            ));
        }
        found.data = format!("Angelic: first drawing of {way} characters, {asked} others");
        Ok(found)
    }

    /// Every query against the same known images, by every distance.
    fn one_round(
        &mut self,
        data: Dataset,
        known: &[usize],
        queries: &[(usize, usize)],
        what: &str,
    ) -> Result<Findings> {
        let units = Unit::of(&data);
        let embeddings = self.embed(&data.images)?;
        let supports = embeddings.select(Axis(0), known);
        let asked: Vec<usize> = queries.iter().map(|q| q.0).collect();
        let truths: Vec<usize> = queries.iter().map(|q| q.1).collect();
        let rows = embeddings.select(Axis(0), &asked);
        let mut figures = Vec::new();
        let mut decisions = Vec::new();
        for distance in self.distances() {
            let trials = trials(supports.view(), rows.view(), &truths, &distance);
            let what = format!("{what} {} queries", trials.len());
            let score = Score::of(trials.iter().map(|t| (t, units[asked[t.query]])), known.len());
            figures.push(figure(what, &distance, score));
            if decisions.is_empty() {
                decisions = trials.iter().map(|t| decision(t, asked[t.query], known)).collect();
            }
        }
        let classes = data.labels.iter().map(|&label| data.classes[label as usize].name.clone()).collect();
        let evidence = Evidence { images: data.images, embeddings, classes, decisions };
        Ok(Findings { data: String::new(), figures, run_errors: Vec::new(), identification: None, evidence })
    }

    fn lake(&mut self, dir: &Path, count: u64, seed: u64) -> Result<Findings> {
        let how = self.embedder.spec().preprocessing.clone();
        let runs = data::lake(dir, &how)?.runs;
        let parts: Vec<_> = runs.iter().flat_map(|r| [r.training.view(), r.test.view()]).collect();
        let images = concatenate(Axis(0), &parts)
            .map_err(|e| Error::invalid_because("Lake's runs", "have images of different shapes", e))?;
        let embeddings = self.embed(&images)?;
        let (mut first, mut classes) = (0, Vec::new());
        let (mut decisions, mut run_errors, mut run_units) = (Vec::new(), Vec::new(), Vec::new());
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
            let errors = trials.iter().filter(|t| !t.correct()).count() as u64;
            run_errors.push(RunErrors { run: run.name.clone(), errors, trials: asked as u64 });
            first += way + asked;
        }
        let way = runs.iter().map(|r| r.training.shape()[0]).max().unwrap_or(0);
        let what = format!("{} runs of {way}-way one-shot within an alphabet", runs.len());
        // A run is one pair of drawers and one alphabet: its trials stand together.
        let score = Score::of(decisions.iter().map(|d| &d.trial).zip(run_units), way);
        let mut figures = vec![figure(what, &own, score)];
        if count > 0 && omniglot::has(dir, omniglot::Part::Evaluation) {
            let data = omniglot(dir, omniglot::Part::Evaluation, &how)?;
            let spec = EpisodeSpec { way: 20, shot: 1, queries: 1, within: true, different_drawers: true };
            let sampler = episodes(&data, &spec, seed)?;
            let embeddings = self.embed(&data.images)?;
            let score = super::one_shot(embeddings.view(), &Unit::of(&data), &own, &sampler, count);
            let what = format!("{} random trials of the same kind (two drawers, one alphabet)", score.trials);
            figures.push(figure(what, &own, score));
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

    fn episodes(
        &mut self,
        read: &dyn Fn(&Preprocessing) -> Result<Dataset>,
        spec: &EpisodeSpec,
        count: u64,
        seed: u64,
    ) -> Result<Findings> {
        if count == 0 {
            return Err(Error::invalid("--episodes", "at least one episode is needed"));
        }
        let data = read(&self.embedder.spec().preprocessing)?;
        let sampler = episodes(&data, spec, seed)?;
        let embeddings = self.embed(&data.images)?;
        let known = match &mut self.known {
            Some(old) => Some(embed::images(read(&old.spec().preprocessing)?.images.view(), *old, |_| ())?),
            None => None,
        };
        let known = known.as_ref().unwrap_or(&embeddings);
        let own = self.embedder.spec().distance.clone();
        let rounds = episode_trials([known.view(), embeddings.view()], &own, &sampler, count);
        let units = Unit::of(&data);
        let score = Score::of(rounds.iter().flatten().map(|t| (t, units[t.query])), spec.way);
        let place = if spec.within { "within an alphabet" } else { "across all classes" };
        let what = format!("{}-way {}-shot {place}, {count} episodes", spec.way, spec.shot);
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
        let read =
            |how: &Preprocessing| vinyals::test_characters(&omniglot(dir, omniglot::Part::Evaluation, how)?);
        let data = read(&how)?;
        let spec =
            |(way, shot)| EpisodeSpec { way, shot, queries: 1, within: false, different_drawers: false };
        let [usual, others @ ..] = vinyals::KINDS;
        let mut found = self.episodes(&read, &spec(usual), count, seed)?;
        let (own, units) = (self.embedder.spec().distance.clone(), Unit::of(&data));
        for kind in others {
            let sampler = episodes(&data, &spec(kind), seed)?;
            let score = super::one_shot(found.evidence.embeddings.view(), &units, &own, &sampler, count);
            let what = format!("{}-way {}-shot across all classes, {count} episodes", kind.0, kind.1);
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

/// The first image of each class.
fn firsts(data: &Dataset) -> Result<Vec<usize>> {
    let first = |(class, members): (usize, &Vec<usize>)| {
        members.first().copied().ok_or_else(|| {
            Error::invalid(&data.name, format!("class {} has no image", data.classes[class].name))
        })
    };
    data.by_class().iter().enumerate().map(first).collect()
}

fn place(known: &[usize], image: usize) -> usize {
    known.iter().position(|&k| k == image).unwrap_or(0)
}

fn decision(trial: &Trial, query: usize, known: &[usize]) -> Decision {
    Decision { query, truth: known[trial.truth], nearest: known[trial.nearest], trial: *trial }
}

fn figure(what: String, distance: &Distance, score: Score) -> Figure {
    Figure { what, distance: distance.name().into(), score }
}
