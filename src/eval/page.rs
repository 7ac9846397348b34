//! The page of an evaluation: accuracies, distances, confusions, worst errors, a map, neighbours.

use super::bootstrap::Share;
use super::identification::Galleries;
use super::nearest::between;
use super::{Decision, EvaluationResult, Evidence};
use crate::Result;
use crate::report::confusions::confusions;
use crate::report::distances::{self, Spread};
use crate::report::html::{Page, percent};
use crate::report::{map, picture};
use crate::tower::Distance;
use ndarray::{ArrayView3, Axis};
use std::collections::{BTreeMap, HashSet};

/// Worst errors that are shown.
const WORST: usize = 12;
/// Rows and neighbours of the sheet of neighbours.
const NEIGHBOURS: (usize, usize) = (8, 6);

/// The page of an evaluation.
///
/// # Errors
/// Where a picture or chart cannot be drawn.
pub fn page(told: &EvaluationResult, evidence: &Evidence, distance: &Distance) -> Result<Page> {
    let about = format!("{} · {} · SHA-256 {}", told.tower, told.data, told.tower_sha256);
    let mut page = Page::new(&format!("siamese eval: {}", told.protocol), &about);
    if told.collapsed {
        page.text("COLLAPSED: this tower maps everything to nearly one point; the accuracies say nothing.");
    }
    let captions: Vec<String> = told.figures.iter().map(|f| format!("{} ({})", f.what, f.distance)).collect();
    let large = told.figures.iter().zip(&captions);
    page.figures(large.map(|(f, caption)| (percent(f.score.accuracy), caption.as_str())));
    page.section("Accuracy");
    let rows = told.figures.iter().map(|f| {
        let [low, high] = f.score.interval_95.map(percent);
        let counts = [f.score.correct, f.score.trials, f.score.ties].map(|n| n.to_string());
        let [correct, trials, ties] = counts;
        [
            percent(f.score.accuracy),
            format!("{low} – {high}"),
            correct,
            trials,
            ties,
            f.distance.clone(),
            f.what.clone(),
        ]
    });
    page.table(&["accuracy", "95 % interval", "right", "trials", "ties", "distance", "what"], rows);
    if !told.run_errors.is_empty() {
        let rows =
            told.run_errors.iter().map(|r| [r.run.clone(), r.errors.to_string(), r.trials.to_string()]);
        page.section("Errors of each run").table(&["run", "errors", "trials"], rows);
    }
    if let Some(told) = &told.identification {
        identification(&mut page, told)?;
    }
    of_decisions(&mut page, evidence)?;
    if let Some(open) = &told.open_set {
        page.section("Unknown classes");
        page.text(&format!(
            "Each query is asked once more with its own class left out. AUROC {:.4}: so often does an unknown \
             query lie farther from its nearest class than a known one.",
            open.auroc
        ));
        let rows = open.points.iter().map(|p| {
            let shares = [p.known_accepted, p.unknown_rejected, p.known_right].map(percent);
            let [accepted, rejected, right] = shares;
            [format!("{:.4}", p.threshold), accepted, rejected, right]
        });
        page.table(&["threshold", "known accepted", "unknown rejected", "known, and right"], rows);
    }
    confused(&mut page, evidence)?;
    worst(&mut page, evidence)?;
    page.section("Map").chart(
        &map::chart(evidence.embeddings.view(), &evidence.classes).svg()?,
        "Embeddings of a few classes along their two directions of greatest variance (PCA).",
    );
    neighbours(&mut page, evidence, distance)?;
    Ok(page)
}

/// How galleries tell the unknown.
fn identification(page: &mut Page, told: &Galleries) -> Result<()> {
    page.section("Identification").text(&format!(
        "{} random galleries of {} classes with {} examples each chose their thresholds by leaving classes out (score: \
         {}), and were asked for all other images. Means over galleries, 95 % intervals over classes and drawers.",
        told.galleries, told.known_classes, told.examples, told.strangeness
    ));
    let interval = |share: &Share| {
        let [low, high] = share.interval_95.map(percent);
        format!("{} ({low} – {high})", percent(share.share))
    };
    let rows = told.rates.iter().map(|r| {
        let [asked, carried, hindsight] = [r.asked, r.carried, r.in_hindsight].map(percent);
        let expected = r.expected_true_positives.map_or_else(|| "not measured".into(), percent);
        [asked, carried, interval(&r.false_positives), interval(&r.true_positives), expected, hindsight]
    });
    let header = ["asked", "taken", "false positives", "true positives", "expected", "in hindsight"];
    page.table(&header, rows);
    let chosen: Vec<[f64; 2]> =
        told.rates.iter().map(|r| [r.false_positives.share, 1.0 - r.true_positives.share]).collect();
    distances::trade_off(
        page,
        &[("best in hindsight", told.curve.as_slice()), ("as calibrated", chosen.as_slice())],
    )
}

/// Histogram of distances to the own and to the nearest other class, and the curve of both errors.
fn of_decisions(page: &mut Page, evidence: &Evidence) -> Result<()> {
    let of = |distance: fn(&Decision) -> f32| -> Vec<f64> {
        let all = evidence.decisions.iter().map(distance).filter(|d| d.is_finite());
        all.map(f64::from).collect()
    };
    let (own, other) = (of(|d| d.trial.own), of(|d| d.trial.other));
    page.section("Distances");
    distances::spread(
        page,
        Spread {
            measure: "distance",
            kinds: [("to the own class", &own), ("to the nearest other class", &other)],
            threshold: None,
            caption: "How far apart queries are from known pictures.",
        },
    )?;
    distances::curve(page, own, other)
}

/// What was taken for what, over all episodes.
fn confused(page: &mut Page, evidence: &Evidence) -> Result<()> {
    let mut places = BTreeMap::<&str, usize>::new();
    for known in evidence.decisions.iter().flat_map(|d| [d.truth, d.nearest]) {
        places.entry(&evidence.classes[known]).or_default();
    }
    places.values_mut().enumerate().for_each(|(i, place)| *place = i);
    let names: Vec<&str> = places.keys().copied().collect();
    let place = |known: usize| places[evidence.classes[known].as_str()];
    let answers: Vec<(usize, usize)> =
        evidence.decisions.iter().map(|d| (place(d.truth), place(d.nearest))).collect();
    confusions(page, &names, &answers)
}

/// The errors in which the wrong class was nearer by most.
fn worst(page: &mut Page, evidence: &Evidence) -> Result<()> {
    let mut wrong: Vec<&Decision> = evidence.decisions.iter().filter(|d| !d.trial.correct()).collect();
    wrong.sort_by(|a, b| (b.trial.own - b.trial.other).total_cmp(&(a.trial.own - a.trial.other)));
    // One picture may have been asked in many episodes.
    let mut seen = HashSet::new();
    wrong.retain(|d| seen.insert((d.query, d.nearest)));
    page.section("Worst errors");
    if wrong.is_empty() {
        page.text("None: every answer was right.");
        return Ok(());
    }
    page.text("From left to right: what was asked, what it was taken for, what it is.");
    let image = |i: usize| evidence.images.index_axis(Axis(0), i);
    let mut sheets = Vec::new();
    for d in wrong.iter().take(WORST) {
        let tiles = [d.query, d.nearest, d.truth].map(image);
        let scale = picture::zoom(&tiles[0]);
        let caption = format!(
            "{} taken for {} ({:.4} against {:.4})",
            evidence.classes[d.query], evidence.classes[d.nearest], d.trial.other, d.trial.own
        );
        sheets.push((picture::sheet(&[tiles.into()], scale)?, caption));
    }
    page.pictures(sheets.iter().map(|(png, caption)| (png.as_slice(), caption.clone())));
    Ok(())
}

/// Some images, each with the images nearest to it.
fn neighbours(page: &mut Page, evidence: &Evidence, distance: &Distance) -> Result<()> {
    let (rows, columns) = NEIGHBOURS;
    let (embeddings, n) = (&evidence.embeddings, evidence.embeddings.nrows());
    let image = |i: usize| evidence.images.index_axis(Axis(0), i);
    let row = |query: usize| -> Vec<ArrayView3<'_, u8>> {
        let apart = |i: usize| between(distance, embeddings.row(query), embeddings.row(i));
        let mut others: Vec<(f32, usize)> = (0..n).filter(|&i| i != query).map(|i| (apart(i), i)).collect();
        others.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let nearest = others.into_iter().take(columns).map(|(_, i)| i);
        std::iter::once(query).chain(nearest).map(image).collect()
    };
    let sheet: Vec<_> = (0..rows.min(n)).map(|i| row(i * n / rows.min(n))).collect();
    if let Some(first) = sheet.first().and_then(|row| row.first()) {
        let png = picture::sheet(&sheet, picture::zoom(first).div_ceil(2))?;
        let caption = "On the left some images, beside each the nearest others of all classes.".to_string();
        page.section("Neighbours").pictures([(png.as_slice(), caption)]);
    }
    Ok(())
}
