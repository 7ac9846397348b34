//! Enrolment of one drawing a character, and recognition of the others.

use crate::data::Dataset;
use crate::eval::bootstrap::{Unit, share};
use crate::gallery::{Classifier, Example, Gallery, Location, Shots};
use crate::runtime::{Runner, Runtime};
use crate::tower::TowerKind;
use crate::{Error, Result};
use ndarray::Axis;
use serde::Serialize;
use std::path::Path;

/// Accuracy of a tower on a runtime.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recognition {
    /// The kind of tower.
    pub tower: TowerKind,
    /// The runtime that embedded the queries.
    pub runtime: &'static Runtime,
    /// Queries that were given the right name.
    pub right: usize,
    /// Queries.
    pub asked: usize,
    /// 95 % interval of the accuracy, over characters and drawers.
    pub interval_95: [f64; 2],
    /// Queries a second, without reading the tower.
    pub queries_per_second: f64,
    /// For each query its image, and the class that was answered.
    #[serde(skip)]
    pub answers: Vec<(usize, usize)>,
}

impl Recognition {
    /// Share of right answers.
    pub fn accuracy(&self) -> f64 {
        self.right as f64 / self.asked.max(1) as f64
    }
}

/// One gallery, enrolled by the first runtime; every runtime asks it.
pub(super) fn rows(tower: &Path, out: &Path, runners: &[Runner], data: &Dataset) -> Result<Vec<Recognition>> {
    let mut embedders = runners.iter().map(|r| r.load(tower)).collect::<Result<Vec<_>>>()?;
    let spec = embedders[0].spec().clone();
    let path = out.join(format!("{}.gallery", spec.kind.name()));
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("replace", &path)(e)),
        _ => {}
    }
    let (known, asked): (Vec<usize>, Vec<usize>) = (0..data.len()).partition(|&i| data.drawers[i] == 0);
    let supports = embedders[0].embed(data.images.select(Axis(0), &known).view())?;
    let name = |class: usize| data.classes[class].name.clone();
    let examples = known.iter().zip(supports.outer_iter()).map(|(&image, embedding)| Example {
        label: name(data.labels[image] as usize),
        embedding: embedding.to_vec(),
        source: data.sources[image].clone(),
        added_unix_s: None,
    });
    let location = Location::from(path.as_path());
    let mut gallery = Gallery::create(&location, &spec, tower)?;
    gallery.enroll(&examples.collect::<Vec<_>>())?;
    let (distance, at) = (spec.distance.clone(), location.to_string());
    let classifier = Classifier::new(gallery.load()?, distance, Shots::Best, &at)?;
    let queries = data.images.select(Axis(0), &asked);
    let (units, mut rows) = (Unit::of(data), Vec::new());
    for (runner, embedder) in runners.iter().zip(&mut embedders) {
        let began = std::time::Instant::now();
        let answers = classifier.classify(embedder.embed(queries.view())?.view(), 1, None)?;
        let seconds = began.elapsed().as_secs_f64();
        let class_of = |label: &Option<String>| (0..data.classes.len()).find(|&c| Some(name(c)) == *label);
        let answers: Vec<(usize, usize)> =
            asked.iter().zip(&answers).map(|(&q, a)| (q, class_of(&a.label).unwrap_or(usize::MAX))).collect();
        let is_right = |(q, class): &(usize, usize)| data.labels[*q] as usize == *class;
        let right = answers.iter().filter(|a| is_right(a)).count();
        let told = answers.iter().map(|a| (units[a.0], is_right(a), 1.0));
        rows.push(Recognition {
            tower: spec.kind,
            runtime: runner.runtime(),
            right,
            asked: asked.len(),
            interval_95: share(told).interval_95,
            queries_per_second: asked.len() as f64 / seconds.max(1e-9),
            answers,
        });
    }
    Ok(rows)
}

/// Answers of one tower that differ from those on its first runtime.
pub(super) fn differing(rows: &[Recognition]) -> usize {
    let first = |row: &Recognition| {
        rows.iter().find(|r| r.tower == row.tower).map(|r| r.answers.clone()).unwrap_or_default()
    };
    rows.iter().map(|row| row.answers.iter().zip(first(row)).filter(|(a, b)| **a != *b).count()).sum()
}
