//! `siamese runtime status|install`: ONNX Runtime on this machine.

use super::output::{note, show};
use super::{Context, Outcome};
use crate::Result;
use crate::runtime::doctor::OnnxRuntime;
use crate::runtime::provision::{self, Installed, Nowhere, Source, Wheel};
use clap::{Args, Subcommand};

/// What to do about ONNX Runtime.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tell what was found, where, its version and its execution providers.
    Status,
    /// Fetch it into the cache through your own pip or uv, verified.
    #[command(disable_version_flag = true)]
    Install(Install),
}

/// Arguments of `runtime install`.
#[derive(Debug, Args)]
pub struct Install {
    /// The build for CUDA 13 (also needs the CUDA 13 and cuDNN 9 libraries on the library path).
    #[arg(long)]
    cuda: bool,
    /// The version [default: 1.32.0, and 1.31.1 with --cuda].
    #[arg(long, value_name = "X")]
    version: Option<String>,
}

/// Runs the verb.
pub fn run(context: &Context, command: &Command) -> Result<Outcome> {
    match command {
        Command::Status => status(context),
        Command::Install(arguments) => install(context, arguments),
    }
}

fn status(context: &Context) -> Result<Outcome> {
    let request = context.library(false);
    let found = OnnxRuntime::find(&request);
    if context.json || found.library.is_some() {
        show(context, &found, status_text)?;
    }
    match found.library {
        Some(_) => Ok(Outcome::Yes),
        // Tells where it looked, and what to do.
        None => provision::locate(&request).map(|_| Outcome::Yes),
    }
}

/// The library, a line a fact; `doctor` shows the same.
pub fn status_text(found: &OnnxRuntime) -> String {
    let mut text = String::new();
    match &found.library {
        Some(library) => {
            text += &format!("ONNX Runtime {}\n", library.version);
            text += &format!("  library     {} (from {})\n", library.path.display(), library.origin);
            text += &format!("  providers   {}\n", library.providers.join(", "));
        }
        None => text += "ONNX Runtime not found\n",
    }
    if let Some(cuda) = &found.cuda {
        let path = cuda.library.display();
        text += &match (&cuda.fault, cuda.tried) {
            (Some(fault), _) => format!("  GPU         {fault}\n"),
            (None, true) => "  GPU         CUDA can be used\n".into(),
            (None, false) => format!("  GPU         {path} is here for CUDA (not tried)\n"),
        };
    }
    text += &format!("  bindings    ort {}, for ONNX Runtime {} or newer\n", found.ort_crate, found.oldest);
    for one in &found.passed_over {
        text += &format!("  passed over {} (from {}): {}\n", one.path.display(), one.origin, one.why);
    }
    text
}

fn install(context: &Context, arguments: &Install) -> Result<Outcome> {
    let wheel = Wheel::here(arguments.version.as_deref(), arguments.cuda)?;
    let cache = provision::install_dir()?;
    let installed = if context.offline || provision::is_installed(&wheel, &cache) {
        provision::install(&wheel, &Nowhere, &cache)?
    } else {
        let tool = wheel.tool()?;
        note(format_args!("siamese: fetching {} with {}", wheel.requirement(), tool.name()));
        provision::install(&wheel, &tool, &cache)?
    };
    show(context, &installed, installed_text)?;
    Ok(Outcome::Yes)
}

fn installed_text(installed: &Installed) -> String {
    let library = &installed.library;
    let how = match (installed.present, installed.verified) {
        (true, _) => "was there already",
        (false, true) => "installed, its SHA-256 is the recorded one",
        (false, false) => "installed; NOT verified: no SHA-256 is recorded for this version",
    };
    let (version, providers) = (library.version, library.providers.join(", "));
    format!("ONNX Runtime {version} {how}\n  library   {}\n  providers {providers}\n", library.path.display())
}
