//! `siamese index`: large galleries in a database are searched by an index.

use super::output::{note, show};
use super::shared::{self, interval, percent};
use super::{Context, Outcome};
use crate::Result;
use crate::gallery::{Gallery, Indexed, Location, USUAL_RECALL};
use serde::Serialize;

/// Arguments of `index`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The gallery: postgres://…
    gallery: Location,
    /// How often a search must find the nearest example: 99.5% or 0.995.
    #[arg(long, value_name = "RATE", value_parser = shared::rate, default_value_t = USUAL_RECALL)]
    recall: f64,
    /// Take the index away; every answer looks at all examples again.
    #[arg(long, conflicts_with = "recall")]
    drop: bool,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Told {
    gallery: Location,
    index: Option<Indexed>,
}

/// Runs the verb.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let mut gallery = Gallery::open(&arguments.gallery)?;
    let index = if arguments.drop {
        gallery.drop_index()?;
        None
    } else {
        let index = gallery.build_index(arguments.recall)?;
        if index.recall_at_1.share < arguments.recall {
            note(format_args!(
                "note: less than the {} % asked for; --exact looks at all",
                percent(arguments.recall)
            ));
        }
        Some(index)
    };
    show(context, &Told { gallery: arguments.gallery.clone(), index }, text)?;
    Ok(Outcome::Yes)
}

fn text(told: &Told) -> String {
    let Told { gallery, index } = told;
    match index {
        None => format!("{gallery}: no index\n"),
        Some(index) => format!("{gallery}: {}\n", in_words(index)),
    }
}

/// An index in words.
pub(super) fn in_words(index: &Indexed) -> String {
    let Indexed { ef_search, recall_at_1, questions, examples, .. } = index;
    format!(
        "HNSW of {examples} examples; of {questions} questions it finds the nearest example for {} % (ef_search \
         {ef_search})",
        interval(recall_at_1)
    )
}
