//! The demo's page.

use super::{Demonstration, Recognition, TowersFrom};
use crate::Result;
use crate::data::Dataset;
use crate::report::html::Page;
use crate::report::picture;
use crate::report::plot::{Chart, Series, Style};

/// Characters whose drawings are shown.
const SHOWN: usize = 10;
/// Drawings shown of each.
const DRAWINGS: usize = 9;

pub(super) fn page(summary: &Demonstration, losses: &[(f64, f64)], unseen: &Dataset) -> Result<Page> {
    let mut page = Page::new("siamese demo", &about(summary));
    page.section("Recognition");
    page.text(
        "One drawing of each of 20 characters was enrolled; none of them, and none of their alphabet, was seen \
         in training. The drawings of 19 other people were then named by the nearest enrolled embedding. \
         Guessing would give 5 %.",
    );
    page.table(
        &["tower", "runtime", "right", "accuracy", "95 % interval", "images/s"],
        summary.rows.iter().map(cells),
    );
    let figures = [
        (summary.differing_answers.to_string(), "answers that differ between runtimes"),
        (format!("{:.0} s", summary.seconds), "for the whole way"),
    ];
    page.figures(figures);
    agreement(summary, &mut page);
    drawings(summary, unseen, &mut page)?;
    if !losses.is_empty() {
        page.section("Training");
        let series = vec![Series { name: "loss".into(), points: losses.to_vec() }];
        page.chart(&Chart::new("step", "loss", Style::Lines, series).svg()?, "Mean loss over the steps.");
    }
    Ok(page)
}

fn about(summary: &Demonstration) -> String {
    match &summary.origin {
        TowersFrom::Trained { steps } => format!(
            "A small tower, trained now on ONNX Runtime for {steps} steps on built-in alphabets, exported, and \
             compared on both runtimes."
        ),
        TowersFrom::Shipped { because } => format!("The shipped tower, without training: {because}."),
    }
}

fn cells(row: &Recognition) -> [String; 6] {
    let [low, high] = row.interval_95.map(|x| 100.0 * x);
    [
        row.tower.name().into(),
        row.runtime.name.into(),
        format!("{} of {}", row.right, row.asked),
        format!("{:.1} %", 100.0 * row.accuracy()),
        format!("{low:.1}–{high:.1} %"),
        format!("{:.0}", row.queries_per_second),
    ]
}

fn agreement(summary: &Demonstration, page: &mut Page) {
    if summary.comparisons.is_empty() {
        return;
    }
    let first = summary.rows.first().map(|row| row.tower);
    let of_first = summary.rows.iter().filter(|row| Some(row.tower) == first);
    let titles: Vec<&str> = of_first.map(|row| row.runtime.title).collect();
    page.section(&format!("Agreement of {}", titles.join(" and ")));
    page.text(
        "Predictions of random episodes on two runtimes. A certified one cannot flip: its margin is above a \
         proven bound on everything that rounding can move.",
    );
    let rows = summary.comparisons.iter().map(|c| {
        let p = &c.predictions;
        let bits = c.settings.sha256.clone();
        [
            c.tower.spec.kind.name().to_string(),
            format!("{} and {}", c.a.setting.runtime, c.b.setting.runtime),
            p.queries.to_string(),
            p.flipped.to_string(),
            format!("{:.3} %", 100.0 * p.certified as f64 / p.queries.max(1) as f64),
            crate::compare::text::number(c.values.max_abs),
            bits.map_or("differ in the last bits".into(), |hash| format!("one SHA-256: {}…", &hash[..12])),
        ]
    });
    page.table(
        &["tower", "on", "predictions", "flipped", "certified", "largest |a−b|", "bits under all settings"],
        rows,
    );
}

/// Rows of characters: the enrolled drawing, then others, wrong answers first.
fn drawings(summary: &Demonstration, unseen: &Dataset, page: &mut Page) -> Result<()> {
    let Some(row) = summary.rows.first() else { return Ok(()) };
    let wrong = |image: usize| {
        row.answers.iter().any(|&(q, class)| q == image && class != unseen.labels[image] as usize)
    };
    let rows: Vec<Vec<_>> = unseen
        .by_class()
        .into_iter()
        .take(SHOWN)
        .map(|members| {
            let (known, mut asked): (Vec<usize>, Vec<usize>) =
                members.into_iter().partition(|&i| unseen.drawers[i] == 0);
            asked.sort_by_key(|&image| !wrong(image));
            known.into_iter().chain(asked.into_iter().take(DRAWINGS)).map(|i| unseen.image(i)).collect()
        })
        .collect();
    let png = picture::sheet(&rows, 2)?;
    page.section("The characters");
    let missed = row.asked - row.right;
    let caption = format!(
        "{}: first the enrolled drawing, then others, those that were taken for another character ({missed} in all) first.",
        summary.alphabet
    );
    page.pictures([(png.as_slice(), caption)]);
    Ok(())
}
