//! The page of what was learned.

use super::{Candidate, Learned};
use crate::Result;
use crate::data::Dataset;
use crate::report::html::{Page, percent};
use crate::report::picture;

/// Classes whose pictures are shown, and pictures of each.
const SHOWN: usize = 12;
const PICTURES: usize = 8;

pub(super) fn page(learned: &Learned, data: &Dataset) -> Result<Page> {
    let survey = &learned.survey;
    let about = format!(
        "What {} learned from {} pictures of {} classes.",
        learned.tower, survey.pictures, survey.classes
    );
    let mut page = Page::new("siamese learn", &about);
    page.section("What was tried");
    page.text(
        "Each projection was learned anew from some of the classes and examples and tried on the rest, until every \
         class and every example had been held out; tuned layers were tried on one part of the classes and one of the \
         examples. The gain is over the tower as it was on the same ones, by class, with its 95 % interval; what is \
         kept is better than chance explains, and at nothing worse beyond chance.",
    );
    page.table(
        &[
            "",
            "one-shot on new classes",
            "one-shot on new pictures",
            "new pictures, from all others",
            "gain",
            "95 % interval",
            "",
        ],
        learned.candidates.iter().enumerate().map(|(place, c)| cells(c, place == learned.kept)),
    );
    page.section("What the tower saw");
    let members = data.by_class();
    let rows: Vec<Vec<_>> = members
        .iter()
        .filter(|pictures| !pictures.is_empty())
        .take(SHOWN)
        .map(|pictures| pictures.iter().take(PICTURES).map(|&i| data.image(i)).collect())
        .collect();
    if let Some(first) = rows.first().and_then(|row| row.first()) {
        let sheet = picture::sheet(&rows, picture::zoom(first))?;
        page.pictures([(sheet.as_slice(), format!("The first {} classes, a row each.", rows.len()))]);
    }
    Ok(page)
}

fn cells(c: &Candidate, kept: bool) -> [String; 7] {
    let share = |x: Option<f64>| x.map_or("–".into(), percent);
    let [low, high] = c.gain_interval_95.map(|x| format!("{:+.1}", 100.0 * x));
    [
        c.name.clone(),
        share(c.new_classes),
        share(c.new_pictures),
        share(c.from_all),
        format!("{:+.1} points", 100.0 * c.gain),
        format!("{low} to {high}"),
        if kept { "kept".into() } else { String::new() },
    ]
}
