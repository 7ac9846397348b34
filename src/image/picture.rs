//! A decoded picture, within limits.

use crate::{Error, Result};

/// The most pixels that are decoded.
pub const MAX_PIXELS: u64 = 64 << 20;
/// The greatest width or height that is decoded, pixels.
pub const MAX_SIDE: u32 = 32_768;

/// A decoded picture, row by row.
pub(super) struct Picture {
    pub width: usize,
    pub height: usize,
    pub pixels: Pixels,
}

/// The samples of a [`Picture`], 8 bits each.
pub(super) enum Pixels {
    /// Opaque grey levels.
    Gray(Vec<u8>),
    /// Red, green, blue, opacity.
    Rgba(Vec<[u8; 4]>),
}

impl Picture {
    /// Opaque grey levels, row by row.
    pub fn gray(width: usize, height: usize, levels: Vec<u8>) -> Self {
        Self { width, height, pixels: Pixels::Gray(levels) }
    }
}

/// That a picture of this size is decoded; `name` is for messages.
pub(super) fn check_size(width: u32, height: u32, name: &str) -> Result<()> {
    if width == 0 || height == 0 {
        return Err(Error::invalid(name, format!("has {width}×{height} pixels, so none at all")));
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_PIXELS || width > MAX_SIDE || height > MAX_SIDE {
        let why = format!(
            "has {width}×{height} pixels; at most {} million and {MAX_SIDE} a side are decoded: make it smaller",
            MAX_PIXELS >> 20
        );
        return Err(Error::invalid(name, why));
    }
    Ok(())
}
