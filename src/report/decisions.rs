//! Pages about decisions: evaluations, classified pictures, calibrated thresholds.

use super::html::Page;
use super::plot::{self, Chart, Series, Style};
use super::{map, picture};
use crate::Result;
use crate::eval::{Decision, Evaluation, Evidence};
use crate::gallery::calibrate::{Calibration, Scores};
use crate::gallery::search::Index;
use crate::gallery::{Answer, Facts};
use crate::tower::Distance;
use ndarray::{Array3, ArrayView3, Axis};
use std::collections::BTreeMap;

/// Side of a drawing on a page, pixels.
const SIDE: usize = 96;
/// Worst errors that are shown.
const WORST: usize = 12;
/// Rows and neighbours of the sheet of neighbours.
const NEIGHBOURS: (usize, usize) = (8, 6);
/// The most classes of a confusion matrix.
const CONFUSABLE: usize = 64;
/// Answers that are shown with their pictures.
const SHOWN: usize = 60;

/// A picture with its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// Where it came from.
    pub source: String,
    /// Its class, as its place tells.
    pub place: String,
    /// Its ink `[C, S, S]`, where a page shows it.
    pub image: Option<Array3<u8>>,
    /// The answer.
    pub answer: Answer,
}

/// A share as a percentage.
fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// The page of an evaluation.
///
/// # Errors
/// Where a picture or chart cannot be drawn.
pub fn evaluation(told: &Evaluation, evidence: &Evidence, distance: &Distance) -> Result<Page> {
    let about = format!("{} · {} · SHA-256 {}", told.tower, told.data, told.tower_sha256);
    let mut page = Page::new(&format!("siamese eval: {}", told.protocol), &about);
    if told.collapsed {
        page.text("COLLAPSED: this tower maps everything to nearly one point; the accuracies say nothing.");
    }
    page.figures(told.figures.iter().map(|f| (percent(f.score.accuracy), f.what.as_str())));
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
    distances(&mut page, evidence)?;
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
    confusions(&mut page, evidence)?;
    worst(&mut page, evidence)?;
    page.section("Map").chart(
        &map::chart(evidence.embeddings.view(), &evidence.classes).svg()?,
        "Embeddings of a few classes along their two directions of greatest variance (PCA).",
    );
    neighbours(&mut page, evidence, distance)?;
    Ok(page)
}

/// Histogram of distances to the own and to the nearest other class, and the curve of both errors.
fn distances(page: &mut Page, evidence: &Evidence) -> Result<()> {
    let of = |distance: fn(&Decision) -> f32| -> Vec<f64> {
        let all = evidence.decisions.iter().map(distance).filter(|d| d.is_finite());
        all.map(f64::from).collect()
    };
    let (own, other) = (of(|d| d.trial.own), of(|d| d.trial.other));
    page.section("Distances");
    spread(page, ("own class", &own), ("nearest other class", &other))?;
    curve(page, own, other)
}

/// Two histograms over one range.
fn spread(page: &mut Page, a: (&str, &[f64]), b: (&str, &[f64])) -> Result<()> {
    let all = || a.1.iter().chain(b.1).copied();
    let (low, high) = all().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(x), h.max(x)));
    if low.is_finite() {
        let range = low..if high > low { high } else { low + 1.0 };
        let series = [a, b].map(|(name, values)| plot::histogram(name, values, range.clone(), 50));
        let chart = Chart::new("distance", "share", Style::Area, series.into());
        page.chart(&chart.svg()?, "How far apart queries are from known drawings.");
    }
    Ok(())
}

/// True accepts against false accepts, the latter on a logarithmic axis.
fn curve(page: &mut Page, mut same: Vec<f64>, mut different: Vec<f64>) -> Result<()> {
    if same.is_empty() || different.is_empty() {
        return Ok(());
    }
    same.sort_unstable_by(f64::total_cmp);
    different.sort_unstable_by(f64::total_cmp);
    let share = |of: &[f64], t: f64| of.partition_point(|&d| d <= t) as f64 / of.len() as f64;
    // A point for each of some 300 ranks, dense where false accepts are rare.
    let n = different.len();
    let ranks = (0..300).map(|i| ((n as f64).powf(f64::from(i) / 299.0) as usize).clamp(1, n) - 1);
    let points = |y: fn(f64) -> f64| {
        ranks.clone().map(|r| (share(&different, different[r]), y(share(&same, different[r])))).collect()
    };
    let one = |name: &str, y: fn(f64) -> f64| Series { name: name.into(), points: points(y) };
    let series =
        vec![one("accepted of the same (ROC)", |t| t), one("rejected of the same (DET)", |t| 1.0 - t)];
    let mut chart = Chart::new("accepted of different ones", "share", Style::Lines, series);
    chart.log_x = true;
    page.chart(&chart.svg()?, "What a threshold accepts and rejects, from strict (left) to lax (right).");
    Ok(())
}

/// The matrix, where every query was asked against the same few classes.
fn confusions(page: &mut Page, evidence: &Evidence) -> Result<()> {
    let mut places = BTreeMap::<usize, usize>::new();
    for decision in &evidence.decisions {
        for known in [decision.truth, decision.nearest] {
            places.entry(known).or_default();
        }
    }
    let way = places.len();
    let one_round = evidence.decisions.iter().all(|d| d.trial.truth < way && d.trial.nearest < way);
    if way > CONFUSABLE || !one_round {
        return Ok(());
    }
    places.values_mut().enumerate().for_each(|(i, place)| *place = i);
    let mut counts = vec![vec![0_u32; way]; way];
    evidence.decisions.iter().for_each(|d| counts[places[&d.truth]][places[&d.nearest]] += 1);
    let names: Vec<&str> = places.keys().map(|&known| evidence.classes[known].as_str()).collect();
    page.section("Confusions").chart(
        &plot::confusion(&counts)?,
        &format!("Rows: the truth; columns: the answer; in this order: {}.", names.join(", ")),
    );
    Ok(())
}

fn zoom(image: &ArrayView3<'_, u8>) -> usize {
    (SIDE / image.shape()[1].max(1)).max(1)
}

/// The errors in which the wrong class was nearer by most.
fn worst(page: &mut Page, evidence: &Evidence) -> Result<()> {
    let mut wrong: Vec<&Decision> = evidence.decisions.iter().filter(|d| !d.trial.correct()).collect();
    wrong.sort_by(|a, b| (b.trial.own - b.trial.other).total_cmp(&(a.trial.own - a.trial.other)));
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
        let scale = zoom(&tiles[0]);
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
    let n = evidence.images.shape()[0];
    let (rows, columns) = NEIGHBOURS;
    let asked: Vec<usize> = (0..rows.min(n)).map(|i| i * n / rows.min(n)).collect();
    let places = (0..n as u32).collect();
    let index = Index::new(evidence.embeddings.clone(), places, distance.clone());
    let found = index.search(evidence.embeddings.select(Axis(0), &asked).view(), columns + 1);
    let image = |i: usize| evidence.images.index_axis(Axis(0), i);
    let sheet: Vec<Vec<ArrayView3<'_, u8>>> = asked
        .iter()
        .zip(&found)
        .map(|(&query, hits)| {
            let others = hits.iter().map(|h| h.row).filter(|&row| row != query).take(columns);
            std::iter::once(query).chain(others).map(image).collect()
        })
        .collect();
    if let Some(first) = sheet.first().and_then(|row| row.first()) {
        let png = picture::sheet(&sheet, zoom(first).div_ceil(2))?;
        let caption = "On the left some images, beside each the nearest others of all classes.".to_string();
        page.section("Neighbours").pictures([(png.as_slice(), caption)]);
    }
    Ok(())
}

/// The page of a calibration.
///
/// # Errors
/// Where a chart cannot be drawn.
pub fn calibration(told: &Calibration, scores: &Scores) -> Result<Page> {
    let threshold = &told.threshold;
    let about = format!("{}: {} embeddings of {} classes", threshold.data, told.embeddings, told.classes);
    let mut page = Page::new("siamese calibrate", &about);
    page.figures([
        (percent(told.equal_error_rate), "equal error rate"),
        (format!("{:.5}", told.auroc), "AUROC"),
        (format!("{:.4}", threshold.distance), threshold.chosen_at.as_str()),
        (percent(threshold.true_accept_rate), "same pairs accepted by the threshold"),
        (percent(threshold.false_accept_rate), "different pairs accepted by the threshold"),
    ]);
    let rows = told.rates.iter().map(|r| {
        let [low, high] = r.interval_95.map(percent);
        let rate = format!("{}", r.false_accept_rate);
        [rate, percent(r.true_accept_rate), format!("{low} – {high}"), format!("{:.4}", r.threshold)]
    });
    page.section("Rates").table(&["false accepts", "true accepts", "95 % interval", "threshold"], rows);
    page.section("Distances");
    let same: Vec<f64> = scores.same.iter().map(|s| f64::from(s.0)).collect();
    let different: Vec<f64> = scores.different.iter().map(|&d| f64::from(d)).collect();
    spread(&mut page, ("same", &same), ("different", &different))?;
    curve(&mut page, same, different)?;
    Ok(page)
}

/// The page of classified pictures; where their folders are named after classes of the gallery,
/// with an accuracy and the confusions.
///
/// # Errors
/// Where a picture or chart cannot be drawn.
pub fn classification(
    facts: &Facts,
    labels: &[String],
    threshold: Option<f32>,
    all: &[Answered],
) -> Result<Page> {
    let about = format!("tower {} · SHA-256 {}", facts.tower, facts.tower_sha256);
    let mut page = Page::new("siamese classify", &about);
    let unknown = all.iter().filter(|a| a.answer.label.is_none()).count();
    let mut figures = vec![(all.len().to_string(), "pictures"), (unknown.to_string(), "unknown")];
    if let Some(threshold) = threshold {
        figures.push((format!("{threshold:.4}"), "threshold"));
    }
    let place = |label: &str| labels.iter().position(|l| l == label);
    let told: Vec<(usize, Option<usize>)> = all
        .iter()
        .filter_map(|a| Some((place(&a.place)?, a.answer.label.as_deref().and_then(place))))
        .collect();
    if !told.is_empty() {
        let right = told.iter().filter(|(truth, answer)| Some(*truth) == *answer).count();
        figures.push((percent(right as f64 / told.len() as f64), "right, of those whose folder tells"));
    }
    page.figures(figures);
    if !told.is_empty() && labels.len() <= CONFUSABLE {
        let mut counts = vec![vec![0_u32; labels.len()]; labels.len()];
        told.iter().filter_map(|&(t, a)| Some((t, a?))).for_each(|(t, a)| counts[t][a] += 1);
        if counts.iter().flatten().any(|&n| n > 0) {
            let caption =
                format!("Rows: the folder; columns: the answer; in this order: {}.", labels.join(", "));
            page.section("Confusions").chart(&plot::confusion(&counts)?, &caption);
        }
    }
    least_certain(&mut page, all)?;
    let rows = all.iter().take(2000).map(|a| {
        let label = a.answer.label.clone().unwrap_or_else(|| "unknown".into());
        let margin = a.answer.margin.map_or_else(String::new, |m| format!("{m:.4}"));
        [a.source.clone(), label, format!("{:.4}", a.answer.distance), margin]
    });
    page.section("Answers").table(&["picture", "label", "distance", "margin"], rows);
    Ok(page)
}

/// Pictures with the smallest margins first.
fn least_certain(page: &mut Page, all: &[Answered]) -> Result<()> {
    let mut order: Vec<&Answered> = all.iter().filter(|a| a.image.is_some()).collect();
    let margin = |a: &Answered| a.answer.margin.unwrap_or(f32::INFINITY);
    order.sort_by(|a, b| margin(a).total_cmp(&margin(b)));
    let mut tiles = Vec::new();
    for a in order.into_iter().take(SHOWN) {
        if let Some(image) = &a.image {
            let label = a.answer.label.as_deref().unwrap_or("unknown");
            let png = picture::sheet(&[vec![image.view()]], zoom(&image.view()))?;
            tiles.push((png, format!("{label} ({:.3})", a.answer.distance)));
        }
    }
    if !tiles.is_empty() {
        page.section("Least certain").pictures(tiles.iter().map(|(png, c)| (png.as_slice(), c.clone())));
    }
    Ok(())
}
