//! Class folders of the built-in alphabets: pictures to try things with, where there are none yet.

use super::Dataset;
use super::glyphs::{self, GlyphSpec};
use crate::image::{Colour, Preprocessing, shown};
use crate::{Error, Result, files};
use ::image::{DynamicImage, ImageFormat, RgbImage};
use serde::Serialize;
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// What was drawn.
#[derive(Clone, Debug, Serialize)]
pub struct Drawn {
    /// The folder.
    pub folder: PathBuf,
    /// Class folders in it (of several alphabets in a folder each).
    pub classes: usize,
    /// Pictures in all.
    pub pictures: usize,
    /// Their side, pixels.
    pub side_px: usize,
}

/// Writes `FOLDER/<character>/<drawer>.png`, or of several alphabets `FOLDER/<alphabet>/<character>/<drawer>.png`,
/// of `side` pixels: black ink on white, or coloured ink on coloured paper. The same call gives the same files.
///
/// # Errors
/// As [`glyphs::generate`]; a folder that holds anything already, or cannot be written.
pub fn draw(spec: &GlyphSpec, side: usize, coloured: bool, folder: &Path) -> Result<Drawn> {
    if std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        let why = "is there already and not empty; name a new folder, so that nothing is mixed";
        return Err(Error::invalid(folder.display(), why));
    }
    let data = match coloured {
        true => glyphs::framed(spec, &Preprocessing::ink(side).in_colour(Colour::default()))?,
        false => glyphs::generate(spec, side)?,
    };
    for image in 0..data.len() {
        let class = &data.classes[data.labels[image] as usize];
        let group = if spec.alphabets > 1 { data.alphabets[class.alphabet as usize].as_str() } else { "" };
        let place = folder.join(group).join(&class.name);
        std::fs::create_dir_all(&place).map_err(Error::io("create", &place))?;
        files::replace(&place.join(format!("{:02}.png", data.drawers[image] + 1)), &png(&data, image)?)?;
    }
    Ok(Drawn { folder: folder.into(), classes: data.classes.len(), pictures: data.len(), side_px: side })
}

fn png(data: &Dataset, image: usize) -> Result<Vec<u8>> {
    let (tile, side) = (data.image(image), data.size() as u32);
    let pixels = RgbImage::from_fn(side, side, |x, y| shown::pixel(&tile, y as usize, x as usize));
    let picture: DynamicImage =
        if tile.shape()[0] == 3 { pixels.into() } else { shown::grey(&pixels).into() };
    let mut png = Cursor::new(Vec::new());
    picture
        .write_to(&mut png, ImageFormat::Png)
        .map_err(|e| Error::invalid_because(&data.sources[image], "cannot be written as PNG", e))?;
    Ok(png.into_inner())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::data::{Choice, class_folders};
    use crate::image::Triage;

    #[test]
    fn what_is_drawn_comes_back_as_class_folders() {
        let dir = tempfile::tempdir().unwrap();
        for (alphabets, coloured) in [(1, false), (2, true)] {
            let spec = GlyphSpec { alphabets, characters: 3, drawers: 2, seed: 5 };
            let folder = dir.path().join(format!("{alphabets}"));
            let drawn = draw(&spec, 32, coloured, &folder).unwrap();
            assert_eq!((drawn.classes, drawn.pictures), (3 * alphabets, 6 * alphabets));
            let how = Preprocessing::ink(32);
            let how = if coloured { how.in_colour(Colour::default()) } else { how };
            let choice = Choice::all_by(None).unwrap();
            let read = class_folders(&folder, &how, &choice, &Triage::strict()).unwrap();
            assert_eq!((read.classes.len(), read.len()), (drawn.classes, drawn.pictures));
            let same = if coloured {
                glyphs::framed(&spec, &how).unwrap().images
            } else {
                glyphs::generate(&spec, 32).unwrap().images
            };
            assert_eq!(read.images, same);
            let why = draw(&spec, 32, coloured, &folder).unwrap_err().to_string();
            assert!(why.contains("not empty"), "{why}");
        }
    }
}
