//! A picture → colours `[3, S, S]` for foreign towers.

use super::Filter;
use super::picture::{Picture, Pixels};
use ::image::imageops::{self, FilterType};
use ::image::{ImageBuffer, Rgb, RgbImage};
use ndarray::Array3;

/// Colours `[3, S, S]`; what is transparent lies over white.
pub(super) fn from_picture(picture: &Picture, size: usize, filter: Filter, crop: f64) -> Array3<u8> {
    let whole = opaque(picture);
    let side = size as u32;
    let square = if crop >= 1.0 {
        imageops::resize(&whole, side, side, filter.into())
    } else {
        let (window, left, top) = centre(picture.width, picture.height, crop);
        let cut = imageops::crop_imm(&whole, left, top, window, window).to_image();
        imageops::resize(&cut, side, side, filter.into())
    };
    Array3::from_shape_fn((3, size, size), |(channel, y, x)| square.get_pixel(x as u32, y as u32)[channel])
}

/// The central square whose side is `crop` of the shorter side: its side, left and top. To resize
/// the shorter side to `size / crop` and to cut `size` out of it covers the same window.
fn centre(width: usize, height: usize, crop: f64) -> (u32, u32, u32) {
    let shorter = width.min(height);
    let window = ((shorter as f64 * crop).round() as usize).clamp(1, shorter);
    (window as u32, ((width - window) / 2) as u32, ((height - window) / 2) as u32)
}

fn opaque(picture: &Picture) -> RgbImage {
    let (width, height) = (picture.width as u32, picture.height as u32);
    let at = |x: u32, y: u32| y as usize * picture.width + x as usize;
    match &picture.pixels {
        Pixels::Gray(levels) => ImageBuffer::from_fn(width, height, |x, y| Rgb([levels[at(x, y)]; 3])),
        Pixels::Rgba(colours) => ImageBuffer::from_fn(width, height, |x, y| {
            let [red, green, blue, alpha] = colours[at(x, y)];
            Rgb([red, green, blue].map(|level| over_white(level, alpha)))
        }),
    }
}

/// `level` with opacity `alpha` over white, to the nearest.
fn over_white(level: u8, alpha: u8) -> u8 {
    let alpha = u32::from(alpha);
    ((u32::from(level) * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

impl From<Filter> for FilterType {
    fn from(filter: Filter) -> Self {
        match filter {
            Filter::Triangle => Self::Triangle,
            Filter::Cubic => Self::CatmullRom,
            Filter::Lanczos3 => Self::Lanczos3,
            Filter::Nearest => Self::Nearest,
        }
    }
}
