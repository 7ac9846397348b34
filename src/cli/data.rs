//! `siamese data get|info|sheet|draw`: fetch data sets, describe them, draw contact sheets and class folders.

use super::output::show;
use super::shared::PictureArgs;
use super::{Context, Outcome, progress};
use crate::data::draw::{self, Drawn};
use crate::data::get::{Delivery, Got, Obtained, Wanted};
use crate::data::glyphs::{self, GlyphSpec};
use crate::data::sheet::{self, Layout, SheetFile};
use crate::data::{self, Choice, Dataset, Held, Info, Makers, Published, Set, Survey};
use crate::error::{one_line, shown};
use crate::image::{Colour, Frame, Preprocessing, Triage};
use crate::{Error, Result};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What to do with data.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fetch Omniglot or MNIST into the cache, verified.
    Get(Get),
    /// Tell what a data folder holds.
    Info(InfoArgs),
    /// Draw a contact sheet: a row for each character, a column for each drawer.
    Sheet(SheetArgs),
    /// Draw class folders of built-in alphabets, to try things with.
    Draw(DrawArgs),
}

/// Arguments of `data get`.
#[derive(Debug, Args)]
pub struct Get {
    /// The data set.
    set: Published,
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
    /// A folder with Omniglot, MNIST or class folders, or a zip file of class folders [default: SIAMESE_DATA, else the cache].
    dir: Option<PathBuf>,
    /// The same.
    #[arg(long, value_name = "DIR", conflicts_with = "dir")]
    data: Option<PathBuf>,
    /// Who made the pictures of class folders: a JSON from the stem of a file's name to its maker.
    #[arg(long, value_name = "FILE")]
    makers: Option<PathBuf>,
    #[command(flatten)]
    pictures: PictureArgs,
}

/// Arguments of `data sheet`.
#[derive(Debug, Args)]
pub struct SheetArgs {
    /// The picture to write.
    out: PathBuf,
    /// A folder with Omniglot, MNIST or class folders, or a zip file of class folders [default: SIAMESE_DATA, else the cache].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The data set to draw [default: what the folder holds, Omniglot first].
    #[arg(long)]
    set: Option<Set>,
    /// Only this alphabet.
    #[arg(long, value_name = "NAME")]
    alphabet: Option<String>,
    /// Side of each drawing, pixels.
    #[arg(long, default_value_t = 64, value_name = "PIXELS")]
    size: usize,
    /// Lay the square around each drawing's ink, as towers whose recipe says `"frame": "ink"` see it.
    #[arg(long)]
    framed: bool,
    /// Draw colours, as towers whose recipe has `"colour"` see them [default: where most pictures of class
    /// folders have some].
    #[arg(long, conflicts_with = "framed")]
    colour: bool,
    /// Who made the pictures of class folders, for the order of the columns: a JSON from the stem of a file's
    /// name to its maker.
    #[arg(long, value_name = "FILE")]
    makers: Option<PathBuf>,
    /// The most rows; of more characters, evenly spread ones are drawn.
    #[arg(long, default_value_t = 30)]
    rows: usize,
    /// The most columns.
    #[arg(long, default_value_t = 20)]
    columns: usize,
    /// The built-in alphabets' seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    pictures: PictureArgs,
}

/// Arguments of `data draw`.
#[derive(Debug, Args)]
pub struct DrawArgs {
    /// The folder to make: DIR/<character>/<drawer>.png, with several alphabets DIR/<alphabet>/<character>/….
    folder: PathBuf,
    /// Alphabets.
    #[arg(long, default_value_t = 1, value_name = "N")]
    alphabets: usize,
    /// Characters of each: the classes.
    #[arg(long, default_value_t = 20, value_name = "N")]
    characters: usize,
    /// Drawings of each character, each by another drawer.
    #[arg(long, default_value_t = 6, value_name = "N")]
    drawers: usize,
    /// Another seed draws other alphabets.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Side of each picture, pixels.
    #[arg(long, default_value_t = 96, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(8..=2048))]
    size: u16,
    /// Coloured ink on coloured paper.
    #[arg(long)]
    colour: bool,
}

/// Runs the verb.
pub fn run(context: &Context, command: &Command) -> Result<Outcome> {
    match command {
        Command::Get(arguments) => get(context, arguments)?,
        Command::Info(arguments) => {
            let given = arguments.dir.as_deref().or(arguments.data.as_deref());
            let makers = arguments.makers.as_deref().map(Makers::read).transpose()?;
            let triage = arguments.pictures.triage();
            show(context, &data::info(&data::data_dir(given)?, makers, &triage)?, info_text)?;
            triage.end()?;
        }
        Command::Sheet(arguments) => {
            let triage = arguments.pictures.triage();
            let drawn = sheet::draw(&drawings(arguments, &triage)?, &layout(arguments))?;
            show(context, &sheet::write(drawn, &arguments.out)?, sheet_text)?;
            triage.end()?;
        }
        Command::Draw(arguments) => {
            let &DrawArgs { alphabets, characters, drawers, seed, size, colour, .. } = arguments;
            let spec = GlyphSpec { alphabets, characters, drawers, seed };
            show(context, &draw::draw(&spec, size.into(), colour, &arguments.folder)?, draw_text)?;
        }
    }
    Ok(Outcome::Yes)
}

fn get(context: &Context, arguments: &Get) -> Result<()> {
    let wanted = Wanted {
        set: arguments.set,
        into: arguments.data.clone().map_or_else(data::cache_dir, Ok)?,
        from: arguments.from.clone(),
        mirror: arguments.mirror.clone(),
        offline: context.offline,
    };
    let bar = progress::bytes();
    let delivery = data::get::get(&wanted, &|file, done, total| {
        bar.set_message(file.to_string());
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    show(context, &delivery, get_text)
}

fn get_text(delivery: &Delivery) -> String {
    let files: String = delivery.files.iter().map(file_line).collect();
    files + &format!("{} is in {}\n", delivery.set.name(), shown(&delivery.folder))
}

fn file_line(file: &Got) -> String {
    let how = match file.origin {
        Obtained::Present => "present",
        Obtained::Copied => "copied",
        Obtained::Downloaded => "downloaded",
    };
    format!("{how:>10}  {}  {} bytes, verified\n", shown(&file.path), file.bytes)
}

/// A table of the parts, and their sum.
fn info_text(info: &Info) -> String {
    let named = |part: &Held| one_line(&part.name).into_owned();
    let width = info.parts.iter().map(|p| named(p).len()).max().unwrap_or(0).max("all".len());
    let mut text = format!("{}\n", one_line(&info.folder));
    let header = ["alphabets", "classes", "images", "drawers", "a class", "side", "mean", "std"];
    text += &format!("{:width$}", "");
    header.iter().for_each(|h| text += &format!("  {h:>9}"));
    text.push('\n');
    for part in &info.parts {
        let (fewest, most) = (part.images_per_class_min, part.images_per_class_max);
        let each = if fewest == most { fewest.to_string() } else { format!("{fewest}–{most}") };
        text += &format!(
            "{:width$}  {:>9}  {:>9}  {:>9}  {:>9}  {each:>9}  {:>9}  {:>9.4}  {:>9.4}\n",
            named(part),
            part.alphabets,
            part.classes,
            part.images,
            part.drawers,
            part.side_px,
            part.mean,
            part.std
        );
    }
    info.parts.iter().for_each(|part| text += &pictures_text(part));
    for total in &info.totals {
        let (alphabets, classes, images) = (total.alphabets, total.classes, total.images);
        text += &format!("{} in all: {alphabets} alphabets, {classes} classes, {images} images\n", total.set);
    }
    if let Some(lake) = &info.lake {
        text += &format!("one-shot runs of Lake et al. 2015: {} runs, {} trials\n", lake.runs, lake.trials);
    }
    text
}

/// What pictures are like, and who made them.
fn pictures_text(part: &Held) -> String {
    let mut text = String::new();
    if let Some(Survey { pictures, coloured, width_px, height_px }) = part.survey {
        let range = |[least, most]: [usize; 2]| {
            if least == most { least.to_string() } else { format!("{least}–{most}") }
        };
        let (width, height) = (range(width_px), range(height_px));
        text += &format!("{coloured} of {pictures} pictures are in colour; {width}×{height} pixels\n");
    }
    if !part.makers.is_empty() {
        let made: Vec<String> =
            part.makers.iter().map(|made| format!("{} {}", made.maker, made.images)).collect();
        text += &format!("by {}\n", made.join(", "));
    }
    text
}

/// What the sheet is of.
fn drawings(arguments: &SheetArgs, triage: &Triage<'_>) -> Result<Dataset> {
    let dir = data::data_dir(arguments.data.as_deref())?;
    let frame = if arguments.framed { Frame::Ink } else { Frame::Picture };
    let how = Preprocessing::framed(arguments.size, frame);
    let set = arguments.set.unwrap_or_else(|| Set::found(&dir, &[Set::Omniglot, Set::MnistTrain]));
    if arguments.makers.is_some() && set != Set::Folder {
        return Err(Error::invalid(
            "--makers",
            "is of class folders; name them with --data, or --set folder",
        ));
    }
    let how = match set {
        _ if arguments.colour => how.in_colour(Colour::default()),
        Set::Folder if !arguments.framed => Survey::preprocessing(&dir, how)?,
        _ => how,
    };
    match set {
        Set::Folder => data::class_folders(&dir, &how, &Choice::all_by(arguments.makers.as_deref())?, triage),
        Set::Glyphs => glyphs::framed(&GlyphSpec { seed: arguments.seed, ..glyphs::SAMPLE }, &how),
        set => set.read(&dir, &how, triage),
    }
}

fn layout(arguments: &SheetArgs) -> Layout {
    let &SheetArgs { rows, columns, .. } = arguments;
    Layout { alphabet: arguments.alphabet.clone(), rows, columns }
}

fn sheet_text(sheet: &SheetFile) -> String {
    let SheetFile { file, data, rows, columns, width_px, height_px } = sheet;
    format!(
        "{}: {data}, {} characters × {columns} drawings, {width_px}×{height_px} pixels\n",
        shown(file),
        rows.len()
    )
}

fn draw_text(drawn: &Drawn) -> String {
    let Drawn { folder, classes, pictures, side_px } = drawn;
    format!("{}: {pictures} pictures of {classes} classes, {side_px}×{side_px} pixels\n", shown(folder))
}
