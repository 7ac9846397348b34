//! `siamese man`: manual pages, one a verb.

use super::output::show;
use super::{Context, Outcome, command};
use crate::{Error, Result, files};
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The folder to write them into, such as ~/.local/share/man/man1.
    folder: PathBuf,
}

/// The pages that were written.
#[derive(Debug, Serialize)]
struct Pages {
    pages: Vec<PathBuf>,
}

/// Runs the verb.
pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let folder = &arguments.folder;
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let mut whole = command();
    whole.build();
    let mut pages = Vec::new();
    page(&whole, folder, &mut pages)?;
    show(context, &Pages { pages }, |p| format!("{}: {} pages\n", folder.display(), p.pages.len()))?;
    Ok(Outcome::Yes)
}

/// The page of a command, then those of the commands below it.
fn page(command: &clap::Command, folder: &std::path::Path, pages: &mut Vec<PathBuf>) -> Result<()> {
    let man = clap_mangen::Man::new(command.clone());
    let path = folder.join(man.get_filename());
    let mut text = Vec::new();
    man.render(&mut text).map_err(Error::io("write", &path))?;
    files::replace(&path, &text)?;
    pages.push(path);
    let visible =
        command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help");
    visible.into_iter().try_for_each(|below| page(below, folder, pages))
}
