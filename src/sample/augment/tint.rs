//! Changes of colour, as one linear map of a pixel's red, green and blue.

use crate::model::recipe::Augment;
use crate::random::{Stream, either, happens, turn};

/// Rec. 601 luma: what a colour is worth as grey.
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// One change of colour, drawn: brightness, then contrast, saturation and hue.
#[derive(Clone, Debug)]
pub(super) struct Tint {
    /// From red, green and blue to red, green and blue.
    matrix: [[f32; 3]; 3],
    /// The share of the picture's mean grey that is added.
    mean: f32,
}

impl Tint {
    /// Draws one, where the recipe changes colours at all.
    pub fn draw(how: &Augment, rng: &mut Stream) -> Option<Self> {
        let Augment { brightness, contrast, saturation, hue, grey, .. } = *how;
        if [brightness, contrast, saturation, hue, grey] == [0.0; 5] {
            return None;
        }
        let [brightness, contrast, mut saturation] =
            [brightness, contrast, saturation].map(|strength| 1.0 + strength * either(rng));
        let degrees = hue * either(rng);
        if happens(rng, grey) {
            saturation = 0.0;
        }
        Some(Self::new(brightness, contrast, saturation, degrees))
    }

    /// Factors, 1 for none, and degrees.
    pub fn new(brightness: f32, contrast: f32, saturation: f32, degrees: f32) -> Self {
        let turned = turned(degrees);
        let factor = brightness * contrast;
        // Greys stay greys under a turn, so that the grey which desaturation adds need not be turned.
        let matrix = [0, 1, 2].map(|to| {
            [0, 1, 2].map(|from| factor * (saturation * turned[to][from] + (1.0 - saturation) * LUMA[from]))
        });
        Self { matrix, mean: brightness * (1.0 - contrast) }
    }

    /// Changes `[3, S, S]`.
    pub fn apply(&self, picture: &mut [u8]) {
        let area = picture.len() / 3;
        let added = if self.mean == 0.0 { 0.0 } else { self.mean * mean_grey(picture) };
        let (red, rest) = picture.split_at_mut(area);
        let (green, blue) = rest.split_at_mut(area);
        let [to_red, to_green, to_blue] = self.matrix;
        for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
            let [r, g, b] = [*red, *green, *blue].map(f32::from);
            let level = |[x, y, z]: [f32; 3]| (x * r + y * g + z * b + added).clamp(0.0, 255.0) + 0.5;
            (*red, *green, *blue) = (level(to_red) as u8, level(to_green) as u8, level(to_blue) as u8);
        }
    }
}

/// The turn of colours about the axis of greys: by 120 degrees red becomes green, green blue, blue red.
fn turned(degrees: f32) -> [[f32; 3]; 3] {
    let (sine, cosine) = turn(f64::from(degrees));
    let (same, skew) = ((1.0 - cosine) / 3.0, sine / 3f64.sqrt());
    let (stay, next, last) = (same + cosine, same + skew, same - skew);
    [[stay, last, next], [next, stay, last], [last, next, stay]].map(|row| row.map(|x| x as f32))
}

fn mean_grey(picture: &[u8]) -> f32 {
    let area = picture.len() / 3;
    let planes = picture.chunks_exact(area.max(1)).zip(LUMA);
    let sum = |plane: &[u8]| plane.iter().map(|&level| u64::from(level)).sum::<u64>();
    planes.map(|(plane, weight)| weight * (sum(plane) as f64 / area as f64) as f32).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Black, white, red, green, blue, a mixture, `[3, 1, 6]`.
    const PICTURE: [u8; 18] = [0, 255, 255, 0, 0, 10, 0, 255, 0, 255, 0, 100, 0, 255, 0, 0, 255, 200];

    fn changed(tint: &Tint) -> [u8; 18] {
        let mut picture = PICTURE;
        tint.apply(&mut picture);
        picture
    }

    #[test]
    fn no_change_is_none() {
        assert_eq!(changed(&Tint::new(1.0, 1.0, 1.0, 0.0)), PICTURE);
        assert_eq!(changed(&Tint::new(1.0, 1.0, 1.0, 360.0)), PICTURE);
    }

    #[test]
    fn a_third_of_a_turn_permutes_the_primary_colours() {
        let [red, green, blue] = [0, 1, 2].map(|channel| &PICTURE[channel * 6..][..6]);
        assert_eq!(changed(&Tint::new(1.0, 1.0, 1.0, 120.0)), *[blue, red, green].concat());
        assert_eq!(changed(&Tint::new(1.0, 1.0, 1.0, -120.0)), *[green, blue, red].concat());
    }

    #[test]
    fn without_saturation_all_channels_are_the_luma() {
        let grey = changed(&Tint::new(1.0, 1.0, 0.0, 77.0));
        let [red, green, blue] = [0, 1, 2].map(|channel| &grey[channel * 6..][..6]);
        assert_eq!((red, green), (green, blue));
        // 0.299, 0.587 and 0.114 of 255; 0.299·10 + 0.587·100 + 0.114·200.
        assert_eq!(red, [0, 255, 76, 150, 29, 84]);
    }

    #[test]
    fn brightness_scales_and_contrast_leads_to_the_mean() {
        let halved = changed(&Tint::new(0.5, 1.0, 1.0, 0.0));
        assert!(halved.iter().zip(PICTURE).all(|(&now, then)| now == then / 2 + then % 2));
        let flat = changed(&Tint::new(1.0, 0.0, 1.0, 0.0));
        // (0 + 255 + 76.245 + 149.685 + 29.07 + 84.49) / 6.
        assert_eq!(flat, [99; 18]);
    }
}
