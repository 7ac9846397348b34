//! Protocols of one round: all queries are asked of the same known images.

use super::bootstrap::Unit;
use super::nearest::trials;
use super::protocol::{Course, Findings, decision, figure};
use super::result::Evidence;
use super::score::Score;
use super::second_look::{Question, Shown, same};
use crate::data::{Dataset, mnist, omniglot};
use crate::image::Preprocessing;
use crate::{Error, Result};
use ndarray::Axis;
use std::path::Path;

impl Course<'_, '_> {
    /// The first images are meant in the order of the files at hand; some copies of MNIST are not in the
    /// published order (labels in rounds 0 … 9), so figures of two copies need not agree.
    pub(super) fn nearest_truth(&mut self, dir: &Path) -> Result<Findings> {
        let read = |how: &Preprocessing| first_digits_and_tests(dir, how);
        let data = read(&self.embedder.spec().preprocessing.clone())?;
        let queries: Vec<(usize, usize)> =
            data.labels.iter().enumerate().skip(10).map(|(i, &label)| (i, label as usize)).collect();
        let known: Vec<usize> = (0..10).collect();
        let mut found = self.one_round((data, &read), &known, &queries, "MNIST test images:")?;
        found.data = format!("MNIST: first training image of each digit, {} test images", queries.len());
        Ok(found)
    }

    pub(super) fn angelic(&mut self, dir: &Path) -> Result<Findings> {
        let read = |how: &Preprocessing| {
            let all = omniglot(dir, omniglot::Part::Evaluation, how)?;
            Ok(all.split_alphabets(&["Angelic".into()])?.1)
        };
        let data = read(&self.embedder.spec().preprocessing.clone())?;
        let known = firsts(&data)?;
        let (way, asked) = (known.len(), data.len() - known.len());
        let queries: Vec<(usize, usize)> =
            (0..data.len()).filter(|i| !known.contains(i)).map(|i| (i, data.labels[i] as usize)).collect();
        let units = Unit::of(&data);
        let mut found = self.one_round((data, &read), &known, &queries, "strict: supports are not asked;")?;
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

    /// Every query against the same known images, by every distance; `read` gives the data as another tower sees them.
    fn one_round(
        &mut self,
        (data, read): (Dataset, &dyn Fn(&Preprocessing) -> Result<Dataset>),
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
        let (mut figures, mut decisions) = (Vec::new(), Vec::new());
        for distance in self.distances() {
            let trials = trials(supports.view(), rows.view(), &truths, &distance);
            let what = format!("{what} {} queries", trials.len());
            let of_units = trials.iter().map(|t| (t, units[asked[t.query]]));
            if decisions.is_empty() {
                let question = |(row, &query)| {
                    Question::of(supports.view(), row, query, &distance, |place| vec![known[place]])
                };
                let questions = || rows.outer_iter().zip(queries).map(question).collect();
                let other = |how: &Preprocessing| same(&data, read(how)?);
                let shown = Shown { own: data.images.view(), other: &other };
                self.look_again(
                    &what,
                    known.len(),
                    &shown,
                    questions,
                    &of_units.clone().collect::<Vec<_>>(),
                )?;
                decisions = trials.iter().map(|t| decision(t, asked[t.query], known)).collect();
            }
            figures.push(figure(what, &distance, Score::of(of_units, known.len())));
        }
        let classes = data.labels.iter().map(|&label| data.classes[label as usize].name.clone()).collect();
        let evidence = Evidence { images: data.images, embeddings, classes, decisions };
        Ok(Findings { data: String::new(), figures, run_errors: Vec::new(), identification: None, evidence })
    }
}

/// MNIST's first training image of each digit, then its test images.
fn first_digits_and_tests(dir: &Path, how: &Preprocessing) -> Result<Dataset> {
    let train = mnist(dir, mnist::Part::Train, how)?;
    let mut all = train.subset(&firsts(&train)?);
    let test = mnist(dir, mnist::Part::Test, how)?;
    all.images
        .append(Axis(0), test.images.view())
        .map_err(|e| Error::invalid_because("MNIST", "its two parts have images of different shapes", e))?;
    all.labels.extend(&test.labels);
    all.drawers.extend(&test.drawers);
    all.sources.extend(test.sources);
    Ok(all)
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
