//! Contact sheets: a row for each class, a column for each drawer; colours, or black ink on white.

use super::Dataset;
use crate::image::shown;
use crate::{Error, Result, files};
use ::image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use serde::Serialize;
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// The greatest side of a sheet, pixels.
const MAX_SIDE: usize = 16_384;
/// Pixels between drawings.
const GAP: usize = 3;
/// The grey between drawings.
const GAP_TONE: u8 = 216;

/// What a sheet shows.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Only this alphabet.
    pub alphabet: Option<String>,
    /// The most rows; of more characters, evenly spread ones are shown.
    pub rows: usize,
    /// The most columns.
    pub columns: usize,
}

/// A drawn sheet.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// The data set that it is of.
    pub data: String,
    /// The picture.
    pub picture: DynamicImage,
    /// `alphabet/character` of each row.
    pub rows: Vec<String>,
    /// Columns.
    pub columns: usize,
}

/// A sheet in a file.
#[derive(Clone, Debug, Serialize)]
pub struct SheetFile {
    /// The file.
    pub file: PathBuf,
    /// The data set that it is of.
    pub data: String,
    /// `alphabet/character` of each row.
    pub rows: Vec<String>,
    /// Columns.
    pub columns: usize,
    /// Width of the picture, pixels.
    pub width_px: u32,
    /// Height of the picture, pixels.
    pub height_px: u32,
}

/// Draws a sheet of a data set. Columns are the drawers where a class has one drawing of each,
/// else its drawings in order.
pub fn draw(data: &Dataset, layout: &Layout) -> Result<Sheet> {
    let classes = chosen(data, layout)?;
    let members = data.by_class();
    let columns = classes.iter().map(|&c| members[c].len()).max().unwrap_or(0).min(layout.columns);
    let pitch = data.size() + GAP;
    let (width, height) = (GAP + columns * pitch, GAP + classes.len() * pitch);
    if width > MAX_SIDE || height > MAX_SIDE {
        let why = format!("would have {width}×{height} pixels; give a smaller --size, --rows or --columns");
        return Err(Error::invalid("the contact sheet", why));
    }
    let mut picture = RgbImage::from_pixel(width as u32, height as u32, Rgb([GAP_TONE; 3]));
    for (row, &class) in classes.iter().enumerate() {
        let mut drawings = members[class].clone();
        drawings.sort_by_key(|&i| data.drawers[i]);
        for (column, &i) in drawings.iter().take(columns).enumerate() {
            place(&mut picture, data, i, GAP + column * pitch, GAP + row * pitch);
        }
    }
    let coloured = data.images.shape()[1] == 3;
    let picture = if coloured { picture.into() } else { shown::grey(&picture).into() };
    let name = |&class: &usize| {
        let class = &data.classes[class];
        format!("{}/{}", data.alphabets[class.alphabet as usize], class.name)
    };
    Ok(Sheet { data: data.name.clone(), picture, rows: classes.iter().map(name).collect(), columns })
}

/// The classes of the rows.
fn chosen(data: &Dataset, layout: &Layout) -> Result<Vec<usize>> {
    let all: Vec<usize> = match &layout.alphabet {
        None => (0..data.classes.len()).collect(),
        Some(name) => {
            let Some(alphabet) = data.alphabets.iter().position(|a| a == name) else {
                let why = format!("there is no alphabet {name:?}; there are: {}", data.alphabets.join(", "));
                return Err(Error::invalid(&data.name, why));
            };
            let inside = |&c: &usize| data.classes[c].alphabet as usize == alphabet;
            (0..data.classes.len()).filter(inside).collect()
        }
    };
    let rows = layout.rows.min(all.len());
    Ok((0..rows).map(|row| all[row * all.len() / rows]).collect())
}

/// Puts an image on the sheet.
fn place(picture: &mut RgbImage, data: &Dataset, image: usize, left: usize, top: usize) {
    let (image, side) = (data.image(image), data.size());
    for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
        picture.put_pixel((left + x) as u32, (top + y) as u32, shown::pixel(&image, y, x));
    }
}

/// Writes the sheet as PNG, whole or not at all.
pub fn write(sheet: Sheet, path: &Path) -> Result<SheetFile> {
    if path.extension().is_none_or(|e| !e.eq_ignore_ascii_case("png")) {
        return Err(Error::invalid(path.display(), "a contact sheet is a PNG file; name it OUT.png"));
    }
    let mut png = Cursor::new(Vec::new());
    sheet
        .picture
        .write_to(&mut png, ImageFormat::Png)
        .map_err(|e| Error::invalid_because(path.display(), "cannot be made", e))?;
    files::replace(path, png.get_ref())?;
    let Sheet { data, picture, rows, columns } = sheet;
    let (width_px, height_px) = (picture.width(), picture.height());
    Ok(SheetFile { file: path.into(), data, rows, columns, width_px, height_px })
}
