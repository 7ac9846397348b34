//! `siamese serve`: recognise pictures by a gallery, over HTTP, and on a page to draw on.

use super::interrupt::on_interrupt;
use super::output::{note, show};
use super::shared::{self, RuntimeArgs, SecondLookArgs};
use super::{Context, Outcome};
use crate::gallery::{Gallery, Limit, Location, Shots, Standing};
use crate::runtime::Embedder;
use crate::serve::{Access, Conduct, Limits, Log, Options, Recogniser, Server, Token};
use crate::{Result, tower};
use serde::Serialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The gallery; with --edit it is made where there is none.
    gallery: Location,
    /// The address and port to listen to; port 0 is any free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Let requests enrol and remove, not only ask.
    #[arg(long)]
    edit: bool,
    /// Keep the pictures that are enrolled, from now on; a gallery that keeps them already goes on.
    #[arg(long, requires = "edit")]
    keep_pictures: bool,
    /// The tower: a file, or a shipped one's name; the gallery's own, or one that was trained to be compatible with it
    /// [default: the gallery's, else omniglot-edge-exact].
    #[arg(long, value_name = "TOWER")]
    tower: Option<PathBuf>,
    /// When a picture is unknown: `auto` (as calibrated), `none`, or beyond this distance to the nearest class
    /// [default: as calibrated, where it was].
    #[arg(long, allow_hyphen_values = true)]
    threshold: Option<Limit>,
    /// What stands for a class: `best` (its nearest example), `mean`, or the mean of its first K.
    #[arg(long, default_value = "best", value_name = "best|mean|K")]
    shots: Shots,
    /// Look at every example of the gallery, where an index would find the nearest ones sooner, but not always.
    #[arg(long)]
    exact: bool,
    #[command(flatten)]
    second_look: SecondLookArgs,
    /// Ask clients for the token in this file's first line, as `Authorization: Bearer …`; without one only this machine
    /// may change the gallery.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A name by which clients may call this server, besides this machine's own; may be given several times.
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// Write a line of JSON for each request to the end of this file, or to stderr for `-`; pictures, labels and tokens
    /// are not in it.
    #[arg(long, value_name = "FILE|-")]
    log: Option<PathBuf>,
    /// Connections at a time; one more takes the place of the one that has been waited for longest.
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    max_connections: usize,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// A server that listens.
#[derive(Debug, Serialize)]
struct Listening {
    address: String,
    gallery: Location,
    editable: bool,
}

/// Runs the verb, until it is interrupted.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let conduct = conduct(arguments)?;
    let (gallery, embedder) = opened(context, arguments)?;
    // Refused where it is to be as calibrated, and was not.
    shared::rule(arguments.threshold, arguments.shots, &gallery)?;
    let limit = arguments.threshold.unwrap_or(Limit::Calibrated);
    let (shots, exact, editable) = (arguments.shots, arguments.exact, arguments.edit);
    let options = Options { shots, limit, exact, editable };
    let load = |path: &Path| arguments.runtime.load(context, path);
    let own = || gallery.asker(arguments.tower.as_deref(), load);
    let second = arguments.second_look.load(context, &arguments.runtime, own)?;
    let recogniser = Recogniser::new(gallery, embedder, arguments.runtime.runtime, options)?;
    let mut recogniser = recogniser.with_tower(arguments.tower.clone());
    if let Some(second) = second {
        recogniser = recogniser.with_second_look(second)?;
    }
    let server = Server::bind(arguments.listen, recogniser, conduct)?;
    let stop = server.stop();
    on_interrupt(move || stop.stop())?;
    let address = format!("http://{}", server.address());
    let (gallery, editable) = (arguments.gallery.clone(), arguments.edit);
    let listening = Listening { address, gallery, editable };
    show(context, &listening, |l| format!("{}: {} until Ctrl-C\n", l.gallery, l.address))?;
    if !arguments.listen.ip().is_loopback() {
        let who =
            if arguments.token_file.is_some() { "everyone who has the token and" } else { "everyone who" };
        let may = if editable && arguments.token_file.is_some() { "ask and change" } else { "ask" };
        note(format_args!("note: {who} can reach {} may {may} this gallery", listening.address));
    }
    server.run()?;
    Ok(Outcome::Yes)
}

/// Who may ask what, and where that is told.
fn conduct(arguments: &Arguments) -> Result<Conduct> {
    let token = arguments.token_file.as_deref().map(Token::read).transpose()?;
    let log = arguments.log.as_deref().map(Log::to).transpose()?.unwrap_or_default();
    Ok(Conduct {
        access: Access { token, hosts: arguments.allow_host.clone(), ..Access::default() },
        log,
        limits: Limits { connections: arguments.max_connections, ..Limits::default() },
    })
}

/// The gallery and its tower; with --edit a new gallery where there is none.
fn opened(context: &Context, arguments: &Arguments) -> Result<(Gallery, Box<dyn Embedder>)> {
    let (at, given) = (&arguments.gallery, arguments.tower.as_deref());
    if arguments.edit && Gallery::find(at)?.is_none() {
        let tower = given.unwrap_or(Path::new(tower::DEFAULT));
        let embedder = arguments.runtime.load(context, tower)?;
        let mut gallery = Gallery::create(at, embedder.spec(), tower)?;
        if arguments.keep_pictures {
            gallery.keep_pictures()?;
        }
        return Ok((gallery, embedder));
    }
    let gallery = Gallery::open(at)?;
    let mut gallery = gallery;
    if arguments.keep_pictures {
        gallery.keep_pictures()?;
    }
    let embedder = shared::asker(context, &arguments.runtime, &gallery, given)?;
    if arguments.edit && gallery.standing(embedder.spec())? == Standing::Compatible {
        note(
            "note: nothing can be enrolled by this tower, which is not the gallery's own; classes can be removed",
        );
    }
    Ok((gallery, embedder))
}
