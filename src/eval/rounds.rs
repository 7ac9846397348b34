//! Protocols of one round: all queries are asked of the same known images.

use super::bootstrap::Unit;
use super::nearest::trials;
use super::protocol::{Course, Findings, decision, figure};
use super::result::Evidence;
use super::score::Score;
use crate::data::{Dataset, mnist, omniglot};
use crate::{Error, Result};
use ndarray::Axis;
use std::path::Path;

impl Course<'_, '_> {
    /// The first images are meant in the order of the files at hand; some copies of MNIST are not in the
    /// published order (labels in rounds 0 … 9), so figures of two copies need not agree.
    pub(super) fn nearest_truth(&mut self, dir: &Path) -> Result<Findings> {
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

    pub(super) fn angelic(&mut self, dir: &Path) -> Result<Findings> {
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
