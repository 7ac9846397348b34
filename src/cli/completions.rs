//! `siamese completions SHELL`: a completion script on stdout.

use super::output::print;
use super::{Cli, Outcome};
use crate::Result;
use clap::{Args, CommandFactory};
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
    clap_complete::generate(arguments.shell, &mut Cli::command(), "siamese", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Yes)
}
