//! `siamese learn`: class folders → a recogniser of one's own.

use super::output::{note, show};
use super::shared::{self, PictureArgs, RuntimeArgs, percent};
use super::{Context, Outcome};
use crate::Result;
use crate::gallery::Gallery;
use crate::learn::{Candidate, Learned, Task, Watch, learn};
use std::path::PathBuf;

/// Arguments of `learn`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Class folders: DIR/<class>/<picture>, or DIR/<group>/<class>/<picture>.
    pictures: PathBuf,
    /// The tower to begin with: a file, or the name of one that is shipped or was fetched [default: of those
    /// that see colours, or ink, as the pictures have them, the one that knows the pictures best].
    #[arg(long, value_name = "TOWER")]
    tower: Option<PathBuf>,
    /// The folder for the towers, the gallery and the report.
    #[arg(long, short, value_name = "DIR", default_value = "learned")]
    out: PathBuf,
    #[command(flatten)]
    images: PictureArgs,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

struct Notes;

impl Watch for Notes {
    fn say(&mut self, text: &str) {
        note(text);
    }
}

/// Runs the verb.
pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let runner = arguments.runtime.runner(context)?;
    let (triage, out) = (arguments.images.triage(), &arguments.out);
    let tower = arguments.tower.as_deref();
    let task = Task { pictures: &arguments.pictures, tower, runner: &runner, out, triage: &triage };
    let learned = learn(&task, &mut Notes)?;
    shared::recalibrate(&mut Gallery::open(&learned.gallery.gallery)?, true);
    show(context, &learned, text)?;
    triage.end()?;
    Ok(Outcome::Yes)
}

fn text(learned: &Learned) -> String {
    let gallery = &learned.gallery;
    let head = |cells: [&str; 4]| {
        format!("{:72} {:>9} {:>9} {:>9}   gain (95 % interval)\n", cells[0], cells[1], cells[2], cells[3])
    };
    let mut text = format!("{:72} one-shot on new…     new pictures\n", "");
    text += &head(["tried", "classes", "pictures", "from all"]);
    for (place, c) in learned.candidates.iter().enumerate() {
        text += &line(c, place == learned.kept);
    }
    for tower in &learned.towers {
        text += &format!("tower    {}\n", tower.display());
    }
    text += &format!(
        "gallery  {}: {} examples of {} classes\n",
        gallery.gallery, gallery.examples, gallery.classes
    );
    text + &format!("report   {}\n", learned.report.display())
}

fn line(c: &Candidate, kept: bool) -> String {
    let share = |x: Option<f64>| x.map_or("–".into(), |x| format!("{} %", percent(x)));
    let [low, high] = c.gain_interval_95.map(|x| 100.0 * x);
    let mark = if kept { "  ← kept" } else { "" };
    format!(
        "{:72} {:>9} {:>9} {:>9}  {:+5.1} ({low:+.1} to {high:+.1}){mark}\n",
        c.name,
        share(c.new_classes),
        share(c.new_pictures),
        share(c.from_all),
        100.0 * c.gain
    )
}
