//! How an image of the pixel contract looks on a screen: colours as they are, ink dark on white.

use ::image::{GrayImage, Luma, Rgb, RgbImage};
use ndarray::ArrayView3;

/// A pixel of an image `[C, S, S]`.
pub fn pixel(image: &ArrayView3<'_, u8>, y: usize, x: usize) -> Rgb<u8> {
    match image.shape()[0] {
        3 => Rgb([0, 1, 2].map(|channel| image[(channel, y, x)])),
        _ => Rgb([255 - image[(0, y, x)]; 3]),
    }
}

/// A picture whose channels are equal, as grey.
pub fn grey(picture: &RgbImage) -> GrayImage {
    let (width, height) = picture.dimensions();
    GrayImage::from_fn(width, height, |x, y| Luma([picture.get_pixel(x, y)[0]]))
}
