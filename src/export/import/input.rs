//! The picture that a foreign model takes, and how its pixels are scaled.

use super::ImportOptions;
use crate::image::{Filter, Preprocessing};
use crate::onnx::{GraphProto, Tensor, ValueInfoProto, data_type};
use crate::tower::contract;
use crate::{Error, Result};
use ndarray::{ArrayView4, Axis};
use serde::Serialize;

/// The usual ways in which pixels are scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// torchvision, timm, DINO: 0–1, less 0.485, 0.456, 0.406, over 0.229, 0.224, 0.225.
    Imagenet,
    /// CLIP and its kin: 0–1, less 0.481, 0.458, 0.408, over 0.269, 0.261, 0.276; cubic resize.
    Clip,
    /// Inception, MobileNet, ViT of TensorFlow: −1 to 1, (x / 255 − 0.5) / 0.5.
    Inception,
    /// InsightFace's ArcFace: −1 to 1, (x − 127.5) / 127.5.
    Arcface,
    /// The levels 0–255 as they are.
    Raw,
}

/// Factor, mean and standard deviation.
type Numbers = (f32, &'static [f32], &'static [f32]);

impl Preset {
    /// Of torchvision's documentation (`transforms` of its weights), OpenAI's `clip.py` (`_transform`), timm's
    /// `IMAGENET_INCEPTION_MEAN` and `_STD`, and InsightFace's `arcface_onnx.py`.
    fn numbers(self) -> Numbers {
        const BYTE: f32 = 1.0 / 255.0;
        match self {
            Self::Imagenet => (BYTE, &[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225]),
            Self::Clip => {
                (BYTE, &[0.481_454_66, 0.457_827_5, 0.408_210_73], &[0.268_629_54, 0.261_302_6, 0.275_777_1])
            }
            Self::Inception => (BYTE, &[0.5], &[0.5]),
            Self::Arcface => (1.0, &[127.5], &[127.5]),
            Self::Raw => (1.0, &[0.0], &[1.0]),
        }
    }
}

/// What is done to the levels 0–255 of each channel: `(level · scale − mean) / std`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Levels {
    pub scale: f32,
    pub mean: Vec<f32>,
    pub std: Vec<f32>,
}

impl Levels {
    /// From what was told; a model of bytes that scales them itself gets them as they are.
    pub fn of(options: &ImportOptions, input: &Input) -> Result<Self> {
        let bytes = input.kind == data_type::UINT8;
        let plain: Numbers = (if bytes { 1.0 } else { 1.0 / 255.0 }, &[0.0], &[1.0]);
        let preset = options.preset.map_or(plain, Preset::numbers);
        let scale = options.scale.unwrap_or(preset.0);
        let mean = per_channel("--mean", options.mean.as_deref().unwrap_or(preset.1), input)?;
        let std = per_channel("--std", options.std.as_deref().unwrap_or(preset.2), input)?;
        if std.contains(&0.0) {
            let why = "is 0, and every pixel is divided by it; give a number above 0";
            return Err(Error::invalid("--std", why));
        }
        if !scale.is_finite() || scale == 0.0 {
            let why = format!("is {scale}; every pixel is multiplied by it: give a number above 0");
            return Err(Error::invalid("--scale", why));
        }
        let levels = Self { scale, mean, std };
        if bytes {
            levels.check_bytes(input)?;
        }
        Ok(levels)
    }

    /// Whether what comes out are bytes, and not fractions that a cast makes 0.
    fn check_bytes(&self, input: &Input) -> Result<()> {
        for channel in 0..self.mean.len() {
            let [low, high] = [self.one(0, channel), self.one(255, channel)];
            let (low, high) = (low.min(high), low.max(high));
            if low < 0.0 || high > 255.0 || high - low < 64.0 {
                let why = format!(
                    "takes uint8, but the levels 0–255 would become {low}–{high} and then whole numbers from 0 to \
                     255: leave out --preset, --scale, --mean and --std, or give --scale 1 (the bytes as they are)"
                );
                return Err(Error::invalid(format!("input {:?}", input.name), why));
            }
        }
        Ok(())
    }

    /// A level as the model sees it.
    fn one(&self, level: u8, channel: usize) -> f32 {
        (f32::from(level) * self.scale - self.mean[channel]) / self.std[channel]
    }

    /// Whether the levels stay as they are.
    pub fn plain(&self) -> bool {
        self.scale == 1.0 && self.mean.iter().all(|m| *m == 0.0) && self.std.iter().all(|s| *s == 1.0)
    }
}

/// The picture that a model takes.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub name: String,
    pub kind: i32,
    pub channels: usize,
    pub side: usize,
    pub channels_last: bool,
    /// N, where it is fixed.
    pub batch: Option<usize>,
}

impl Input {
    pub fn preprocessing(&self, options: &ImportOptions) -> Preprocessing {
        let usual = if options.preset == Some(Preset::Clip) { Filter::Cubic } else { Filter::default() };
        match self.channels {
            1 => Preprocessing::ink(self.side),
            _ => Preprocessing::Rgb {
                size: self.side,
                filter: options.pixels.filter.unwrap_or(usual),
                crop: options.pixels.crop.unwrap_or(1.0),
            },
        }
    }

    /// The shape of so many pictures, as the model takes them.
    pub fn shape(&self, batch: usize) -> [usize; 4] {
        match self.channels_last {
            true => [batch, self.side, self.side, self.channels],
            false => [batch, self.channels, self.side, self.side],
        }
    }

    /// Pictures `[N, C, S, S]` as a program of the model's own would feed them; float16 as float32.
    pub fn feed(&self, images: ArrayView4<'_, u8>, levels: &Levels, bgr: bool) -> Tensor {
        let mut pixels = images.mapv(f32::from);
        if bgr {
            pixels.invert_axis(Axis(1));
        }
        for (channel, mut plane) in pixels.axis_iter_mut(Axis(1)).enumerate() {
            plane.mapv_inplace(|x| (x * levels.scale - levels.mean[channel]) / levels.std[channel]);
        }
        let turned = if self.channels_last { pixels.permuted_axes([0, 2, 3, 1]) } else { pixels };
        let pixels = turned.as_standard_layout().into_owned().into_dyn();
        match self.kind {
            data_type::UINT8 => Tensor::U8(pixels.mapv(|x| x as u8)),
            data_type::DOUBLE => Tensor::F64(pixels.mapv(f64::from)),
            _ => Tensor::F32(pixels),
        }
    }
}

/// The picture that a graph takes.
pub(super) fn picture_input(graph: &GraphProto, options: &ImportOptions) -> Result<Input> {
    let pixels = &options.pixels;
    let inputs = contract::inputs(graph);
    let [input] = inputs.as_slice() else { return Err(several(&inputs)) };
    let at = format!("input {:?}", input.name());
    let (kind, shape) = contract::tensor(input)?;
    if !matches!(kind, data_type::FLOAT | data_type::FLOAT16 | data_type::DOUBLE | data_type::UINT8) {
        let why =
            format!("is {}; a picture is float32, float16, float64 or uint8", contract::type_name(kind));
        return Err(Error::invalid(at, why));
    }
    // A file that tells no shape, or 0 for a size, leaves it open.
    let open = |d: &Option<i64>| d.filter(|d| *d > 0);
    let told = contract::has_shape(input);
    let shape: Vec<Option<i64>> = if told { shape.iter().map(open).collect() } else { vec![None; 4] };
    let &[batch, a, b, c] = shape.as_slice() else {
        let why =
            format!("has the shape {}; a picture is [N, C, H, W] or [N, H, W, C]", contract::show(&shape));
        return Err(Error::invalid(at, why));
    };
    let picture = |c: Option<i64>| matches!(c, Some(1 | 3));
    let channels_last = picture(c) && !picture(a);
    let (channels, h, w) = if channels_last { (c, a, b) } else { (a, b, c) };
    let channels = match (channels, pixels.rgb) {
        (Some(1), None | Some(false)) | (None, Some(false)) => 1,
        (Some(3), None | Some(true)) | (None, Some(true)) => 3,
        (None, None) => {
            let lacks = if told { "does not tell its channels" } else { "has no shape in the file" };
            return Err(Error::invalid(at, format!("{lacks}; say --rgb or --ink, and --size")));
        }
        (Some(n), _) => {
            let why = format!("takes {n} channels, shape {}; --rgb is 3, --ink is 1", contract::show(&shape));
            return Err(Error::invalid(at, why));
        }
    };
    let side = side(h, w, pixels.size).map_err(|why| Error::invalid(at, why))?;
    let batch = batch.map(|n| n as usize);
    Ok(Input { name: input.name().into(), kind, channels, side, channels_last, batch })
}

fn several(inputs: &[&ValueInfoProto]) -> Error {
    let listed: Vec<ValueInfoProto> = inputs.iter().map(|input| (*input).clone()).collect();
    let why = format!(
        "are {}; an embedding model has one, a picture: set a number or a flag once and for all with \
         --set-input NAME=VALUE",
        contract::names(&listed)
    );
    Error::invalid("the model's inputs", why)
}

fn side(h: Option<i64>, w: Option<i64>, given: Option<usize>) -> Result<usize, String> {
    let known: Vec<usize> = [h, w].into_iter().flatten().map(|n| n as usize).chain(given).collect();
    match known.as_slice() {
        [] => Err("takes pictures of any size; say which with --size".into()),
        [first, rest @ ..] if rest.iter().all(|n| n == first) => Ok(*first),
        _ if h.zip(w).is_some_and(|(h, w)| h != w) => {
            Err(format!("takes {h}×{w} pixels", h = known[0], w = known[1])
                + "; the pictures of a tower are square: a model that takes other shapes cannot become one")
        }
        _ => Err(format!("takes pictures of {} pixels, not of --size {}", known[0], given.unwrap_or(0))),
    }
}

fn per_channel(option: &str, values: &[f32], input: &Input) -> Result<Vec<f32>> {
    if values.iter().any(|x| !x.is_finite()) || !(values.len() == 1 || values.len() == input.channels) {
        let why =
            format!("is {values:?}; give one finite number, or one for each of {} channels", input.channels);
        return Err(Error::invalid(option, why));
    }
    Ok(values.iter().copied().cycle().take(input.channels).collect())
}
