//! Pages of galleries: calibrated thresholds, classified pictures.

use super::calibrate::{ErrorRates, Scores};
use super::{Answered, Facts, Rule};
use crate::Result;
use crate::eval::bootstrap::Share;
use crate::eval::identification::{Identification, Scores as Strange};
use crate::report::confusions::confusions;
use crate::report::distances::{self, Spread};
use crate::report::html::{Page, percent};
use crate::report::picture;

/// Answers that are shown with their pictures.
const SHOWN: usize = 60;
/// Answers in the table.
const LISTED: usize = 2000;

/// The page of a calibration on some data.
///
/// # Errors
/// Where a chart cannot be drawn.
pub fn calibration(
    data: &str,
    found: &Identification,
    scores: &Strange,
    pairs: Option<&(ErrorRates, Scores)>,
) -> Result<Page> {
    let about = format!("{data}: {} examples of {} classes", found.examples, found.classes);
    let mut page = Page::new("siamese calibrate", &about);
    let point = &found.point;
    let right = point.true_positives.map_or_else(|| "not measured".into(), |t| percent(t.share));
    page.figures([
        (percent(point.false_positives.share), "of unknown pictures taken for something known"),
        (right, "of known pictures accepted and right"),
        (format!("{:.4}", point.threshold), "threshold"),
    ]);
    page.section("What is unknown");
    page.text(&format!(
        "Each class is left out and asked of the rest (false positives), each example is left out and asked of \
         the rest (true positives). Score: {}. The conformal bound of the chosen point is {}.",
        found.strangeness,
        percent(point.bound)
    ));
    let mut points: Vec<_> = found.points.iter().chain([point]).collect();
    points.sort_by(|a, b| b.asked.total_cmp(&a.asked));
    page.table(
        &["asked", "false positives", "true positives", "threshold"],
        points.iter().map(|p| {
            let right = p.true_positives.as_ref().map_or_else(|| "not measured".into(), interval);
            [percent(p.asked), interval(&p.false_positives), right, format!("{:.4}", p.threshold)]
        }),
    );
    distances::spread(
        &mut page,
        Spread {
            measure: &format!("score ({})", found.strangeness),
            kinds: [("of known classes", &scores.known), ("of classes left out", &scores.strange)],
            threshold: Some((f64::from(point.threshold), format!("threshold {:.4}", point.threshold))),
            caption: "How strange pictures are to the gallery; what lies left of the threshold is accepted.",
        },
    )?;
    distances::trade_off(&mut page, &[("left out", found.curve.as_slice())])?;
    if let Some((told, scores)) = pairs {
        of_pairs(&mut page, told, scores)?;
    }
    Ok(page)
}

/// What pairs tell.
fn of_pairs(page: &mut Page, told: &ErrorRates, scores: &Scores) -> Result<()> {
    let threshold = &told.threshold;
    page.section("Pairs").text(&format!(
        "AUROC {:.5}, equal error rate {}; at distance {:.4} ({}) {} of same pairs are accepted, and {} of different \
         ones.",
        told.auroc,
        percent(told.equal_error_rate),
        threshold.distance,
        threshold.chosen_at,
        percent(threshold.true_accept_rate),
        percent(threshold.false_accept_rate)
    ));
    let rows = told.rates.iter().map(|r| {
        let [low, high] = r.interval_95.map(percent);
        let rate = format!("{}", r.false_accept_rate);
        [rate, percent(r.true_accept_rate), format!("{low} – {high}"), format!("{:.4}", r.threshold)]
    });
    page.table(&["false accepts", "true accepts", "95 % interval", "threshold"], rows);
    page.section("Distances");
    let same: Vec<f64> = scores.same.iter().map(|s| f64::from(s.0)).collect();
    let different: Vec<f64> = scores.different.iter().map(|&d| f64::from(d)).collect();
    distances::spread(
        page,
        Spread {
            measure: "distance",
            kinds: [("of the same class", &same), ("of different classes", &different)],
            threshold: Some((f64::from(threshold.distance), format!("threshold {:.4}", threshold.distance))),
            caption: "How far apart two pictures are.",
        },
    )?;
    distances::curve(page, same, different)
}

/// A share with its interval.
fn interval(share: &Share) -> String {
    let [low, high] = share.interval_95.map(percent);
    format!("{} ({low} – {high})", percent(share.share))
}

/// The page of classified pictures; where their folders are named after classes of the gallery,
/// with what is right and wrong, an accuracy and the confusions.
///
/// # Errors
/// Where a picture or chart cannot be drawn.
pub fn classification(
    facts: &Facts,
    labels: &[String],
    rule: Option<&Rule>,
    all: &[Answered],
) -> Result<Page> {
    let about = format!("tower {} · SHA-256 {}", facts.tower, facts.tower_sha256);
    let mut page = Page::new("siamese classify", &about);
    let unknown = all.iter().filter(|a| a.answer.label.is_none()).count();
    let mut figures = vec![(all.len().to_string(), "pictures"), (unknown.to_string(), "unknown")];
    let threshold = rule.map(|rule| format!("threshold ({})", rule.strangeness));
    if let (Some(rule), Some(threshold)) = (rule, &threshold) {
        figures.push((format!("{:.4}", rule.threshold), threshold));
    }
    let told: Vec<(&Answered, bool)> = all.iter().filter_map(|a| Some((a, judged(labels, a)?))).collect();
    if !told.is_empty() {
        let right = told.iter().filter(|(_, right)| *right).count();
        figures.push((percent(right as f64 / told.len() as f64), "right, of those whose folder tells"));
    }
    page.figures(figures);
    let of_unknown = labels.len();
    let place = |label: &str| labels.iter().position(|l| l == label).unwrap_or(of_unknown);
    let answers: Vec<(usize, usize)> = told
        .iter()
        .map(|(a, _)| (place(&a.place), a.answer.label.as_deref().map_or(of_unknown, place)))
        .collect();
    let mut names: Vec<&str> = labels.iter().map(String::as_str).collect();
    if answers.iter().any(|&(_, answer)| answer == of_unknown) {
        names.push("unknown");
    }
    confusions(&mut page, &names, &answers)?;
    shown(&mut page, labels, all)?;
    let rows = all.iter().take(LISTED).map(|a| {
        let label = a.answer.label.clone().unwrap_or_else(|| "unknown".into());
        let margin = a.answer.margin.map_or_else(String::new, |m| format!("{m:.4}"));
        let mark = match judged(labels, a) {
            Some(true) => "✓ right".to_string(),
            Some(false) => format!("✗ it is {}", a.place),
            None => String::new(),
        };
        [a.source.clone(), label, mark, format!("{:.4}", a.answer.distance), margin]
    });
    page.section("Answers");
    if all.len() > LISTED {
        page.text(&format!("The first {LISTED} of {}.", all.len()));
    }
    page.table(&["picture", "label", "", "distance", "margin"], rows);
    Ok(page)
}

/// Whether the answer is right; none where the picture's folder is not named after a class.
fn judged(labels: &[String], answered: &Answered) -> Option<bool> {
    labels.contains(&answered.place).then(|| answered.answer.label.as_ref() == Some(&answered.place))
}

/// Pictures that were wrong, then those with the smallest margins.
fn shown(page: &mut Page, labels: &[String], all: &[Answered]) -> Result<()> {
    let mut order: Vec<&Answered> = all.iter().filter(|a| a.ink.is_some()).collect();
    let margin = |a: &Answered| a.answer.margin.unwrap_or(f32::INFINITY);
    order.sort_by(|a, b| margin(a).total_cmp(&margin(b)));
    let (wrong, others): (Vec<&Answered>, Vec<&Answered>) =
        order.into_iter().partition(|a| judged(labels, a) == Some(false));
    for (heading, group) in [("Wrong", wrong), ("Least certain", others)] {
        let mut tiles = Vec::new();
        for a in group.into_iter().take(SHOWN) {
            if let Some(ink) = &a.ink {
                let (label, right) = (a.answer.label.as_deref().unwrap_or("unknown"), judged(labels, a));
                let is = if right == Some(false) { format!(", is {}", a.place) } else { String::new() };
                let png = picture::sheet(&[vec![ink.view()]], picture::zoom(&ink.view()))?;
                tiles.push((png, format!("{label}{is} ({:.3})", a.answer.distance), right));
            }
        }
        if !tiles.is_empty() {
            page.section(heading)
                .judged(tiles.iter().map(|(png, c, right)| (png.as_slice(), c.clone(), *right)));
        }
    }
    Ok(())
}
