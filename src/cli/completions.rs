//! `siamese completions SHELL`: a completion script on stdout.

use super::{Cli, Outcome};
use crate::{Error, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::io::Write;

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
    // A reader that closes early (`| head`) is not an error worth a panic.
    std::io::stdout().write_all(&script).map_err(Error::io("write", "standard output"))?;
    Ok(Outcome::Yes)
}
