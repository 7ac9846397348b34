//! `siamese compare NEW --gallery GALLERY`: which answers stay where a newer, compatible tower asks?

use super::compare::{Compare, images};
use super::output::show;
use super::shared::percent;
use super::{Context, Outcome};
use crate::compare::sample::Images;
use crate::compare::stays::{Stays, stays};
use crate::gallery::{Gallery, Location, Standing};
use crate::runtime::{Embedder, Options, Runtime};
use crate::{Error, Result, embed};
use ndarray::Array2;
use serde::Serialize;

/// What became of a gallery's answers.
#[derive(Debug, Serialize)]
struct Told {
    gallery: Location,
    /// The gallery's own tower.
    older: String,
    older_sha256: String,
    /// The one that asks in its place.
    newer: String,
    newer_sha256: String,
    /// The pictures.
    data: String,
    #[serde(flatten)]
    stays: Stays,
}

/// Asks a gallery by both towers.
pub fn run(context: &Context, arguments: &Compare, at: &Location) -> Result<Outcome> {
    let gallery = Gallery::open(at)?;
    let runner =
        Runtime::preferred().with(Options { library: context.library(false), ..Options::default() })?;
    let mut newer = runner.load(&arguments.tower)?;
    if gallery.standing(newer.spec())? == Standing::Own {
        let why = "is the gallery's own tower, by which nothing changes; name the newer one";
        return Err(Error::invalid(arguments.tower.display(), why));
    }
    let mut older = gallery.embedder(arguments.older.as_deref(), |tower| runner.load(tower))?;
    let (asked, old) = embedded(arguments, older.as_mut())?;
    let (_, new) = embedded(arguments, newer.as_mut())?;
    let known = gallery.load()?;
    let place = |i: usize| {
        let class = asked.class(i)?;
        known.labels.iter().position(|label| *label == class).map(|place| place as u32)
    };
    let truths: Vec<Option<u32>> = (0..asked.len()).map(place).collect();
    let found = stays(&known, &gallery.facts().distance, [old.view(), new.view()], &truths)?;
    let told = Told {
        gallery: at.clone(),
        older: older.spec().name.clone(),
        older_sha256: older.spec().sha256.clone(),
        newer: newer.spec().name.clone(),
        newer_sha256: newer.spec().sha256.clone(),
        data: asked.name().into(),
        stays: found,
    };
    show(context, &told, text)?;
    Ok(if told.stays.same == told.stays.queries { Outcome::Yes } else { Outcome::No })
}

/// The pictures as a tower sees them, and its embeddings of them `[M, D]`.
fn embedded(arguments: &Compare, tower: &mut dyn Embedder) -> Result<(Images, Array2<f32>)> {
    let images = images(arguments, &tower.spec().preprocessing.clone())?;
    let embeddings = embed::images(images.all().view(), tower, |_| ())?;
    Ok((images, embeddings))
}

fn text(told: &Told) -> String {
    let Stays { queries, certified, same, right, moved_p50, moved_max, reach_p50 } = &told.stays;
    let share = |count: &usize| percent(*count as f64 / *queries as f64);
    let mut text = format!(
        "{}: of {} (SHA-256 {}), asked by {} (SHA-256 {})\n{}: {queries} pictures\n",
        told.gallery, told.older, told.older_sha256, told.newer, told.newer_sha256, told.data
    );
    text += &format!("  certified to stay  {:>6} %  ({certified})\n", share(certified));
    text += &format!("  the same           {:>6} %  ({same})\n", share(same));
    if let Some(right) = right {
        let of = |count: usize| percent(count as f64 / right.of as f64);
        text += &format!(
            "  right              {:>6} % by the older tower, {} % by the newer, of {} pictures of known classes\n",
            of(right.older),
            of(right.newer),
            right.of
        );
    }
    text + &format!(
        "  embeddings moved by {moved_p50:.4} (median; at most {moved_max:.4}); an answer is certified where that is less \
         than what could change it, {reach_p50:.4} (median)\n"
    )
}
