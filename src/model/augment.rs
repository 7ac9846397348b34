//! Random distortion of training images: how strong, in a recipe.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Random distortion, drawn anew for every use of an image; all default to none.
///
/// What moves pixels is done in one resampling, in this order seen from the picture: flip, crop, rotation with
/// scale and shear, shift, elastic. Then blur, then all changes of colour as one linear map, then erasing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Greatest rotation either way, degrees.
    pub rotate: f32,
    /// Greatest |ln| of the scale of each axis.
    pub scale: f32,
    /// Greatest shear either way.
    pub shear: f32,
    /// Greatest shift either way, as a share of the side.
    pub shift: f32,
    /// Greatest elastic displacement, as a share of the side.
    pub elastic: f32,
    /// Greatest change of stroke thickness either way, pixels; of ink only.
    pub thickness: f32,
    /// Probability that an image is distorted at all.
    pub probability: f32,
    /// Greatest share of the picture's area that is cut away: what is left is a rectangle of any place, its
    /// sides in a ratio of 3:4 to 4:3, enlarged to the whole square.
    #[serde(skip_serializing_if = "is_none")]
    pub crop: f32,
    /// Probability that a picture is mirrored left to right; its class stays. (`flips` of the sampling makes
    /// classes of mirror images.)
    #[serde(skip_serializing_if = "is_none")]
    pub flip: f32,
    /// Greatest standard deviation of a Gaussian blur, pixels.
    #[serde(skip_serializing_if = "is_none")]
    pub blur: f32,
    /// Greatest change of the factor on all levels; of colours only, as those that follow.
    #[serde(skip_serializing_if = "is_none")]
    pub brightness: f32,
    /// Greatest change of the factor on differences from the picture's mean grey.
    #[serde(skip_serializing_if = "is_none")]
    pub contrast: f32,
    /// Greatest change of the factor on differences from each pixel's own grey.
    #[serde(skip_serializing_if = "is_none")]
    pub saturation: f32,
    /// Greatest turn of all hues either way, degrees.
    #[serde(skip_serializing_if = "is_none")]
    pub hue: f32,
    /// Probability that all colour is lost.
    #[serde(skip_serializing_if = "is_none")]
    pub grey: f32,
    /// Greatest share of the picture's area that is covered by a rectangle of one colour.
    #[serde(skip_serializing_if = "is_none")]
    pub erase: f32,
}

fn is_none(strength: &f32) -> bool {
    *strength == 0.0
}

impl Augment {
    /// Checks that every strength is one, and one for images of this kind.
    ///
    /// # Errors
    /// The first that is negative, not finite, beyond what leaves a picture readable, or not for these images.
    pub fn validate(&self, coloured: bool) -> Result<()> {
        let of_colours = [
            ("brightness", self.brightness, 1.0),
            ("contrast", self.contrast, 1.0),
            ("saturation", self.saturation, 1.0),
            ("hue", self.hue, 180.0),
            ("grey", self.grey, 1.0),
        ];
        let others = [
            ("rotate", self.rotate, 180.0),
            ("scale", self.scale, 2.0),
            ("shear", self.shear, 2.0),
            ("shift", self.shift, 1.0),
            ("elastic", self.elastic, 0.5),
            ("thickness", self.thickness, 16.0),
            ("probability", self.probability, 1.0),
            ("crop", self.crop, 0.99),
            ("flip", self.flip, 1.0),
            ("blur", self.blur, 2.0),
            ("erase", self.erase, 0.9),
        ];
        let wrong = |name: &str, why: String| Err(Error::invalid(format!("augment.{name}"), why));
        for (name, value, most) in others.into_iter().chain(of_colours) {
            if !(0.0..=most).contains(&value) {
                return wrong(name, format!("{value} must be from 0 to {most}"));
            }
        }
        if let Some((name, ..)) = of_colours.into_iter().find(|(_, value, _)| *value > 0.0 && !coloured) {
            return wrong(name, "changes colours, and this recipe takes ink; add \"colour\": {}".into());
        }
        if coloured && self.thickness > 0.0 {
            return wrong("thickness", "is of strokes of ink, and this recipe takes colours".into());
        }
        Ok(())
    }
}
