//! The page that people draw on: its files, the WebAssembly module by which a browser recognises, and folders with all
//! of it that any web server can hold.
//!
//! The module is made of this library by `fixtures/wasm.sh`, and kept here compressed, so that building the program
//! needs no toolchain for WebAssembly.

mod folder;

pub use folder::{Written, write};

use crate::gallery::{Gallery, Limit, Shots};
use crate::recognise::Exported;
use crate::tower::{TowerKind, TowerSpec};
use crate::{Error, Result};

/// The most bytes that the examples of a gallery may have for a page, which loads all of them.
const MAX_BYTES: u64 = 64 << 20;

/// A file that the page loads.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// Its name, beside the page.
    pub name: &'static str,
    /// What it is, as browsers are told.
    pub kind: &'static str,
    /// Its bytes, compressed where `gzipped`.
    pub bytes: &'static [u8],
    /// Whether the bytes are compressed.
    pub gzipped: bool,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The page itself, which asks a server.
pub const PAGE: &str = include_str!("page.html");

/// What the page loads.
pub const FILES: &[File] = &[
    text(
        "page.css",
        "text/css; charset=utf-8",
        concat!(include_str!("../report/page.css"), include_str!("page.css")),
    ),
    text("page.js", SCRIPT, include_str!("page.js")),
    text("server.js", SCRIPT, include_str!("server.js")),
    text("browser.js", SCRIPT, include_str!("browser.js")),
    text("siamese.js", SCRIPT, include_str!("siamese.js")),
    File {
        name: "siamese.wasm",
        kind: "application/wasm",
        bytes: include_bytes!("siamese.wasm.gz"),
        gzipped: true,
    },
];

const fn text(name: &'static str, kind: &'static str, text: &'static str) -> File {
    File { name, kind, bytes: text.as_bytes(), gzipped: false }
}

/// How a page decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// What stands for a class.
    pub shots: Shots,
    /// When a picture is unknown.
    pub limit: Limit,
}

/// That a page can load the gallery.
///
/// # Errors
/// Where it holds too much.
pub fn check_size(gallery: &Gallery, tower: &TowerSpec) -> Result<()> {
    let examples: u64 = gallery.classes()?.iter().map(|class| class.examples).sum();
    let number = match tower.kind {
        TowerKind::Exact => 1,
        TowerKind::Float => size_of::<f32>(),
    };
    let bytes = examples.saturating_mul((number * tower.dim + size_of::<u32>()) as u64);
    if bytes > MAX_BYTES {
        let why = format!(
            "holds {examples} examples, {} MiB for a page, which loads at most {}; have a server recognise \
             (`siamese serve`)",
            bytes >> 20,
            MAX_BYTES >> 20
        );
        return Err(Error::invalid(gallery.location(), why));
    }
    Ok(())
}

/// A gallery of this tower as one file for a page.
///
/// # Errors
/// Where the gallery cannot be read.
pub fn exported(gallery: &Gallery, tower: &TowerSpec, options: Options) -> Result<Vec<u8>> {
    let Options { shots, limit } = options;
    let rule = limit.rule(gallery.facts());
    let mut exported = Exported::new(gallery.location().name(), tower, shots, rule, gallery.load()?);
    if limit == Limit::Calibrated {
        exported.facts.doubts = gallery.doubts()?.map(String::from);
    }
    exported.write(tower.kind)
}
