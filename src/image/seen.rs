//! What a picture is like before it becomes a tower's input.

use super::decode;
use super::picture::{Picture, Pixels};
use crate::Result;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};

/// Levels by which the channels of a pixel must differ to be a colour: what JPEG makes of grey differs less.
const COLOURED: u8 = 32;
/// A picture is one of colours where at least one in so many of its visible pixels is coloured.
const ONE_IN: usize = 50;

/// Whether this process turned a picture of colours into ink.
static LOST: AtomicBool = AtomicBool::new(false);

/// What a picture file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Pixels from left to right.
    pub width_px: usize,
    /// Pixels from top to bottom.
    pub height_px: usize,
    /// Whether it has colours, not grey alone.
    pub coloured: bool,
}

/// Looks at a picture in memory; `name` is for messages.
///
/// # Errors
/// As [`super::decode`].
pub fn look(bytes: &[u8], name: &str) -> Result<Seen> {
    let picture = decode::picture(bytes, name)?;
    Ok(Seen { width_px: picture.width, height_px: picture.height, coloured: coloured(&picture) })
}

/// Whether a picture of colours was turned into ink by this process. A verb tells it once, at its end: the tower
/// saw no colour.
pub fn colours_lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// Remembers that the colours of a picture are about to be lost.
pub(super) fn tell_of_colours(picture: &Picture) {
    if !colours_lost() && coloured(picture) {
        LOST.store(true, Ordering::Relaxed);
    }
}

fn coloured(picture: &Picture) -> bool {
    let Pixels::Rgba(pixels) = &picture.pixels else { return false };
    let spread = |&[r, g, b, _]: &[u8; 4]| r.max(g).max(b) - r.min(g).min(b);
    let visible = pixels.iter().filter(|pixel| pixel[3] > 127);
    let (mut all, mut many) = (0_usize, 0_usize);
    for pixel in visible {
        all += 1;
        many += usize::from(spread(pixel) >= COLOURED);
    }
    all > 0 && many * ONE_IN >= all
}
