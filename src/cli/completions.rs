//! `siamese completions SHELL`: a completion script on stdout.

use super::output::print;
use super::{Outcome, command};
use crate::model::SHIPPED;
use crate::pretrained::PUBLISHED;
use crate::{Result, tower};
use clap::builder::PossibleValuesParser;
use clap::{Args, Command};
use clap_complete::Shell;

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The shell.
    shell: Shell,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut with_names(command()), "siamese", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Yes)
}

/// The command with the names inside the program for its recipes and towers, so that shells complete them;
/// where none fits they complete files.
fn with_names(command: Command) -> Command {
    let recipes = || PossibleValuesParser::new(SHIPPED.iter().map(|(name, _)| *name));
    let towers = || {
        let fetched = PUBLISHED.iter().map(|published| published.name);
        PossibleValuesParser::new(tower::SHIPPED.iter().map(|tower| tower.name).chain(fetched))
    };
    let networks = || PossibleValuesParser::new(PUBLISHED.iter().map(|published| published.name));
    command.mut_subcommands(|verb| {
        verb.mut_args(|argument| match argument.get_id().as_str() {
            "recipe" => argument.value_parser(recipes()),
            "tower" => argument.value_parser(towers()),
            "network" => argument.value_parser(networks()),
            _ => argument,
        })
    })
}
