//! `siamese serve`: recognise pictures by a gallery, over HTTP, and on a page to draw on.

use super::classify::{ShotsArg, ThresholdArg};
use super::shared::{self, RuntimeArgs};
use super::{Context, Outcome};
use crate::gallery::Gallery;
use crate::serve::{Limit, Options, Recogniser, Server, Stop};
use crate::{Error, Result};
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub struct Command {
    /// The gallery; with --edit and --tower it is made where there is none.
    gallery: PathBuf,
    /// The address and port to listen to; port 0 is any free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Let requests enrol and remove, not only ask.
    #[arg(long)]
    edit: bool,
    /// The tower [default: the one that the gallery was made with].
    #[arg(long, value_name = "FILE")]
    tower: Option<PathBuf>,
    /// Beyond this distance a picture is unknown: `auto` (as calibrated), `none`, or a number
    /// [default: as calibrated, where it was].
    #[arg(long, allow_hyphen_values = true)]
    threshold: Option<ThresholdArg>,
    /// What stands for a class: `best` (its nearest example), `mean`, or the mean of its first K.
    #[arg(long, default_value = "best", value_name = "best|mean|K")]
    shots: ShotsArg,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Runs the verb, until it is interrupted.
pub fn run(context: &Context, command: &Command) -> Result<Outcome> {
    let (gallery, embedder) = match (&command.tower, command.edit && !shared::is_there(&command.gallery)) {
        (Some(tower), true) => {
            let embedder = command.runtime.load(context, tower)?;
            (Gallery::create(&command.gallery, embedder.spec(), tower)?, embedder)
        }
        (tower, _) => {
            let gallery = Gallery::open(&command.gallery)?;
            let embedder = command.runtime.load_for(context, &gallery, tower.as_deref())?;
            (gallery, embedder)
        }
    };
    let limit = match (command.threshold, ThresholdArg::of(command.threshold, &gallery)?) {
        (None | Some(ThresholdArg::Auto), _) => Limit::AsCalibrated,
        (_, fixed) => Limit::Fixed(fixed),
    };
    let options = Options { shots: command.shots.shots(), limit, editable: command.edit };
    let recogniser = Recogniser::new(gallery, embedder, command.runtime.runtime, options)?;
    let server = Server::bind(command.listen, recogniser)?;
    let address = format!("http://{}", server.address());
    stop_on_signal(server.stop())?;
    if context.json {
        shared::print_json(
            &json!({ "address": address, "gallery": command.gallery, "editable": command.edit }),
        )?;
    } else {
        println!("{}: {address} until Ctrl-C", command.gallery.display());
    }
    if !command.listen.ip().is_loopback() {
        let may = if command.edit { "ask and change" } else { "ask" };
        eprintln!("note: everyone who can reach {address} may {may} this gallery");
    }
    server.run()?;
    Ok(Outcome::Yes)
}

fn stop_on_signal(server: Stop) -> Result<()> {
    let stopping = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if stopping.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        server.stop();
    })
    .map_err(|e| Error::invalid_because("signal handler", "cannot be set", e))
}
