//! The `siamese` program: parses arguments, runs a verb, prints an error chain once.

use siamese::cli::{Cli, Outcome};
use std::process::ExitCode;

fn main() -> ExitCode {
    match Cli::from_args().run() {
        Ok(Outcome::Yes) => ExitCode::SUCCESS,
        Ok(Outcome::No) => ExitCode::from(1),
        Err(error) => {
            let code = error.exit_code();
            eprintln!("siamese: {:#}", anyhow::Error::from(error));
            ExitCode::from(code)
        }
    }
}
