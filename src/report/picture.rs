//! Ink and colours → PNG: single images, and sheets of many.

use crate::image::shown;
use crate::{Error, Result};
use base64::Engine as _;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use ndarray::ArrayView3;
use std::io::Cursor;

/// How wide a drawing on a page is, about, pixels.
const WIDTH: usize = 96;
/// The tone of the lines between tiles; neither ink nor paper.
const GRID: u8 = 208;

/// Drawings `[1, S, S]` or pictures `[3, S, S]` in rows, each pixel `zoom` wide, with a thin line between them.
/// Rows may differ in length.
///
/// # Errors
/// Where there is no drawing, or the sheet is too large for PNG.
pub fn sheet(rows: &[Vec<ArrayView3<'_, u8>>], zoom: usize) -> Result<Vec<u8>> {
    let side = rows.iter().flatten().map(|tile| tile.shape()[1]).max().unwrap_or(0) * zoom.max(1);
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    if side == 0 || columns == 0 {
        return Err(Error::invalid("sheet", "there is no drawing to show"));
    }
    let pixels = |tiles: usize| -> Result<u32> {
        let length = tiles * (side + 1) + 1;
        u32::try_from(length).ok().filter(|&n| n <= 30_000).ok_or_else(|| {
            Error::invalid("sheet", format!("{length} pixels are too many for a side; show fewer drawings"))
        })
    };
    let mut canvas = RgbImage::from_pixel(pixels(columns)?, pixels(rows.len())?, Rgb([GRID; 3]));
    for (y, row) in rows.iter().enumerate() {
        for (x, tile) in row.iter().enumerate() {
            stamp(&mut canvas, tile, (x * (side + 1) + 1, y * (side + 1) + 1), side);
        }
    }
    let coloured = rows.iter().flatten().any(|tile| tile.shape()[0] == 3);
    if coloured { encode(canvas) } else { encode(shown::grey(&canvas)) }
}

/// Draws a tile at `(x, y)`, scaled to `side`, ink dark on white.
fn stamp(canvas: &mut RgbImage, tile: &ArrayView3<'_, u8>, (x, y): (usize, usize), side: usize) {
    let (_, height, width) = tile.dim();
    for row in 0..side {
        for column in 0..side {
            let colour = shown::pixel(tile, row * height / side, column * width / side);
            canvas.put_pixel((x + column) as u32, (y + row) as u32, colour);
        }
    }
}

/// A picture as PNG.
pub(super) fn encode(picture: impl Into<DynamicImage>) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    picture
        .into()
        .write_to(&mut bytes, ImageFormat::Png)
        .map_err(|e| Error::invalid_because("the picture", "cannot be encoded as PNG", e))?;
    Ok(bytes.into_inner())
}

/// The zoom at which a drawing `[C, S, S]` has the width of those on pages.
pub fn zoom(drawing: &ArrayView3<'_, u8>) -> usize {
    (WIDTH / drawing.shape()[1].max(1)).max(1)
}

/// A PNG as the address of an `<img>`.
pub fn data_uri(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(png))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ndarray::Array3;

    #[test]
    fn a_sheet_shows_ink_dark_on_white() {
        let mut tile = Array3::<u8>::zeros((1, 2, 2));
        tile[(0, 0, 1)] = 255;
        let png = sheet(&[vec![tile.view(), tile.view()], vec![tile.view()]], 2).unwrap();
        let back = image::load_from_memory(&png).unwrap().to_luma8();
        assert_eq!(back.dimensions(), (11, 11));
        assert_eq!(back.get_pixel(1, 1).0, [255]);
        assert_eq!(back.get_pixel(3, 1).0, [0]);
        assert_eq!(back.get_pixel(6, 6).0, [GRID]);
    }

    #[test]
    fn a_sheet_shows_colours_as_they_are() {
        let tile = Array3::from_shape_fn((3, 1, 1), |(channel, ..)| [250, 20, 100][channel]);
        let ink = Array3::<u8>::zeros((1, 1, 1));
        let png = sheet(&[vec![tile.view(), ink.view()]], 1).unwrap();
        let back = image::load_from_memory(&png).unwrap().to_rgb8();
        assert_eq!((back.get_pixel(1, 1).0, back.get_pixel(3, 1).0), ([250, 20, 100], [255; 3]));
    }

    #[test]
    fn an_empty_or_giant_sheet_is_an_error() {
        assert!(sheet(&[], 1).is_err());
        let tile = Array3::<u8>::zeros((1, 100, 100));
        assert!(sheet(&[vec![tile.view(); 400]], 1).is_err());
    }
}
