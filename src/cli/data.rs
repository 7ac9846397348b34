//! `siamese data get|info|sheet`: fetch data sets, describe them, draw contact sheets.

use super::{Context, Outcome, print_json};
use crate::Result;
use crate::data::get::{Got, Origin, Request};
use crate::data::glyphs::GlyphSpec;
use crate::data::sheet::{self, Layout};
use crate::data::{self, Dataset, Info, Set, mnist, omniglot};
use crate::image::{Frame, Preprocessing};
use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::path::{Path, PathBuf};

/// What to do with data.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fetch Omniglot or MNIST into the cache, verified.
    Get(Get),
    /// Tell what a data folder holds.
    Info(InfoArgs),
    /// Draw a contact sheet: a row for each character, a column for each drawer.
    Sheet(SheetArgs),
}

/// Arguments of `data get`.
#[derive(Debug, Args)]
pub struct Get {
    /// The data set.
    set: SetName,
    /// Copy from this folder instead of downloading.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Download from here instead of from the data set's public home.
    #[arg(long, value_name = "URL", conflicts_with = "from")]
    mirror: Option<String>,
    /// Put it into this data folder instead of the cache.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Arguments of `data info`.
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// A folder with Omniglot, MNIST or class folders [default: SIAMESE_DATA, else the cache].
    dir: Option<PathBuf>,
    /// The same.
    #[arg(long, value_name = "DIR", conflicts_with = "dir")]
    data: Option<PathBuf>,
}

/// Arguments of `data sheet`.
#[derive(Debug, Args)]
pub struct SheetArgs {
    /// The picture to write.
    out: PathBuf,
    /// A folder with Omniglot, MNIST or class folders [default: SIAMESE_DATA, else the cache].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The data set to draw [default: what the folder holds, Omniglot first].
    #[arg(long)]
    set: Option<SheetSet>,
    /// Only this alphabet.
    #[arg(long, value_name = "NAME")]
    alphabet: Option<String>,
    /// Side of each drawing, pixels.
    #[arg(long, default_value_t = 64, value_name = "PIXELS")]
    size: usize,
    /// Lay the square around each drawing's ink, as towers whose recipe says `"frame": "ink"` see it.
    #[arg(long)]
    framed: bool,
    /// The most rows; of more characters, evenly spread ones are drawn.
    #[arg(long, default_value_t = 30)]
    rows: usize,
    /// The most columns.
    #[arg(long, default_value_t = 20)]
    columns: usize,
    /// The built-in alphabets' seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Data sets that can be fetched.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SetName {
    Omniglot,
    Mnist,
}

/// Data sets that can be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SheetSet {
    /// Omniglot, both parts.
    Omniglot,
    /// MNIST's training images.
    Mnist,
    /// Class folders.
    Folder,
    /// Built-in alphabets.
    Glyphs,
}

/// Runs the verb.
pub fn run(context: &Context, command: &Command) -> Result<Outcome> {
    match command {
        Command::Get(arguments) => get(context, arguments),
        Command::Info(arguments) => info(context, arguments),
        Command::Sheet(arguments) => sheet(context, arguments),
    }
}

fn get(context: &Context, arguments: &Get) -> Result<Outcome> {
    let set = match arguments.set {
        SetName::Omniglot => Set::Omniglot,
        SetName::Mnist => Set::Mnist,
    };
    let request = Request {
        set,
        into: arguments.data.clone().map_or_else(data::cache_dir, Ok)?,
        from: arguments.from.clone(),
        mirror: arguments.mirror.clone(),
        offline: context.offline,
    };
    let bar = ProgressBar::no_length().with_style(style());
    let got = data::get::get(&request, &|file, done, total| {
        bar.set_message(file.to_string());
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let got = got?;
    if context.json {
        print_json(&json!({ "set": set.name(), "folder": request.into, "files": got }))?;
    } else {
        got.iter().for_each(|file| println!("{}", file_line(file)));
        println!("{} is in {}", set.name(), request.into.display());
    }
    Ok(Outcome::Yes)
}

/// A bar with the file's name, its bytes and the speed; on a terminal only.
fn style() -> ProgressStyle {
    ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn file_line(file: &Got) -> String {
    let how = match file.origin {
        Origin::Present => "present",
        Origin::Copied => "copied",
        Origin::Downloaded => "downloaded",
    };
    format!("{how:>10}  {}  {} bytes, verified", file.path.display(), file.bytes)
}

fn info(context: &Context, arguments: &InfoArgs) -> Result<Outcome> {
    let given = arguments.dir.as_deref().or(arguments.data.as_deref());
    let info = data::info(&data::data_dir(given)?)?;
    if context.json {
        print_json(&info)?;
    } else {
        print!("{}", info_text(&info));
    }
    Ok(Outcome::Yes)
}

/// A table of the parts, and their sum.
fn info_text(info: &Info) -> String {
    let width = info.parts.iter().map(|p| p.name.len()).max().unwrap_or(0).max("all".len());
    let mut text = format!("{}\n", info.folder);
    let header = ["alphabets", "classes", "images", "drawers", "a class", "side", "mean", "std"];
    text += &format!("{:width$}", "");
    header.iter().for_each(|h| text += &format!("  {h:>9}"));
    text.push('\n');
    for part in &info.parts {
        let (fewest, most) = (part.images_per_class_min, part.images_per_class_max);
        let each = if fewest == most { fewest.to_string() } else { format!("{fewest}–{most}") };
        text += &format!(
            "{:width$}  {:>9}  {:>9}  {:>9}  {:>9}  {each:>9}  {:>9}  {:>9.4}  {:>9.4}\n",
            part.name,
            part.alphabets,
            part.classes,
            part.images,
            part.drawers,
            part.side_px,
            part.mean,
            part.std
        );
    }
    for total in &info.totals {
        let (alphabets, classes, images) = (total.alphabets, total.classes, total.images);
        text += &format!("{} in all: {alphabets} alphabets, {classes} classes, {images} images\n", total.set);
    }
    if let Some(lake) = &info.lake {
        text += &format!("one-shot runs of Lake et al. 2015: {} runs, {} trials\n", lake.runs, lake.trials);
    }
    text
}

fn sheet(context: &Context, arguments: &SheetArgs) -> Result<Outcome> {
    let data = sheet_data(arguments)?;
    let layout =
        Layout { alphabet: arguments.alphabet.clone(), rows: arguments.rows, columns: arguments.columns };
    let drawn = sheet::draw(&data, &layout)?;
    sheet::write(&drawn, &arguments.out)?;
    let (width, height) = drawn.picture.dimensions();
    if context.json {
        let rows = &drawn.rows;
        print_json(&json!({
            "file": arguments.out, "data": data.name, "rows": rows, "columns": drawn.columns,
            "width_px": width, "height_px": height,
        }))?;
    } else {
        let (file, rows) = (arguments.out.display(), drawn.rows.len());
        println!(
            "{file}: {}, {rows} characters × {} drawings, {width}×{height} pixels",
            data.name, drawn.columns
        );
    }
    Ok(Outcome::Yes)
}

/// What the sheet is of.
fn sheet_data(arguments: &SheetArgs) -> Result<Dataset> {
    let dir = data::data_dir(arguments.data.as_deref())?;
    let frame = if arguments.framed { Frame::Ink } else { Frame::Picture };
    let how = Preprocessing::framed(arguments.size, frame);
    match arguments.set.unwrap_or_else(|| found(&dir)) {
        SheetSet::Mnist => mnist(&dir, mnist::Part::Train, &how),
        SheetSet::Folder => data::folder(&dir, &how),
        SheetSet::Glyphs => {
            let spec = GlyphSpec { alphabets: 6, characters: 20, drawers: 6, seed: arguments.seed };
            data::glyphs::framed(&spec, &how)
        }
        SheetSet::Omniglot => {
            let parts = omniglot::Part::ALL.into_iter().filter(|&part| omniglot::has(&dir, part));
            let parts = parts.map(|part| omniglot(&dir, part, &how));
            let mut parts = parts.collect::<Result<Vec<_>>>()?.into_iter();
            let Some(mut whole) = parts.next() else {
                // None is there: let the reader say so.
                return omniglot(&dir, omniglot::Part::Background, &how);
            };
            parts.try_for_each(|part| whole.extend(&part))?;
            whole.name = "omniglot".into();
            Ok(whole)
        }
    }
}

fn found(dir: &Path) -> SheetSet {
    if omniglot::Part::ALL.iter().any(|&part| omniglot::has(dir, part)) {
        SheetSet::Omniglot
    } else if mnist::has(dir, mnist::Part::Train) {
        SheetSet::Mnist
    } else {
        SheetSet::Folder
    }
}
