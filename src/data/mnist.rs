//! MNIST (LeCun, Cortes, Burges 1998): 70,000 handwritten digits, 28×28 pixels, white on black.

use super::idx::{self, Idx};
use super::{Class, Dataset, gather};
use crate::image::{self, Frame, Polarity, Preprocessing};
use crate::{Error, Result};
use ndarray::ArrayView2;
use std::path::{Path, PathBuf};

/// The side of the images, pixels.
pub const SIDE: usize = 28;

/// The two parts of MNIST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// 60,000 images.
    Train,
    /// 10,000 images.
    Test,
}

impl Part {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Train, Self::Test];

    /// `train` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "t10k",
        }
    }

    /// The two files, images first, without `.gz`.
    fn files(self) -> [String; 2] {
        let prefix = self.prefix();
        [format!("{prefix}-images-idx3-ubyte"), format!("{prefix}-labels-idx1-ubyte")]
    }
}

/// Reads a part from `dir/mnist` or `dir`, with gzip or without: images `[N, C, S, S]` in the
/// files' order, classes `0` … `9`, all by drawer 0 (MNIST does not tell).
pub fn mnist(dir: impl AsRef<Path>, part: Part, how: &Preprocessing) -> Result<Dataset> {
    let [images, labels] = source(dir.as_ref(), part)?;
    let pixels = idx::load(&images, 3)?;
    let digits = idx::load(&labels, 1)?;
    let names = [images.display().to_string(), labels.display().to_string()];
    from_idx(pixels, digits, [&names[0], &names[1]], part, how)
}

/// Whether `dir/mnist` or `dir` has a file of a part; a lone one is an error of [`mnist`].
pub fn has(dir: &Path, part: Part) -> bool {
    part.files().iter().any(|file| find(dir, file).is_ok())
}

/// The files of a part, images first.
fn source(dir: &Path, part: Part) -> Result<[PathBuf; 2]> {
    let [images, labels] = part.files();
    Ok([find(dir, &images)?, find(dir, &labels)?])
}

fn find(dir: &Path, file: &str) -> Result<PathBuf> {
    // Some mirrors write `train-images.idx3-ubyte`.
    let dotted = file.replacen("-idx", ".idx", 1);
    let names = [format!("{file}.gz"), file.to_string(), format!("{dotted}.gz"), dotted];
    [dir.join("mnist"), dir.to_path_buf()]
        .iter()
        .flat_map(|base| names.iter().map(|name| base.join(name)))
        .find(|path| path.is_file())
        .ok_or_else(|| super::absent(dir, &format!("mnist/{file}.gz"), "mnist"))
}

/// From arrays in memory; `names` (images, labels) are for messages.
pub fn from_idx(
    pixels: Idx,
    digits: Idx,
    names: [&str; 2],
    part: Part,
    how: &Preprocessing,
) -> Result<Dataset> {
    let how = how.with_tone(Polarity::Light);
    how.validate(names[0])?;
    let (count, height, width) = (pixels.shape[0], pixels.shape[1], pixels.shape[2]);
    if digits.values.len() != count {
        let labels = digits.values.len();
        let more = if labels > count { "more labels than images" } else { "fewer labels than images" };
        return Err(Error::invalid(names[1], format!("{more}: {labels} here, {count} in {}", names[0])));
    }
    if pixels.values.is_empty() {
        return Err(Error::invalid(names[0], "holds no images"));
    }
    if let Some((i, digit)) = digits.values.iter().enumerate().find(|(_, d)| **d > 9) {
        return Err(Error::invalid(names[1], format!("label {i} is {digit}; digits are 0 to 9")));
    }
    let images = if ink_as_it_is(&how, width, height) {
        ndarray::Array4::from_shape_vec((count, 1, height, width), pixels.values)
            .map_err(|e| Error::invalid_because(names[0], "cannot be shaped into images", e))?
    } else {
        let area = width * height;
        gather(
            count,
            &how,
            || (),
            |(), i| {
                let one = ArrayView2::from_shape((height, width), &pixels.values[i * area..(i + 1) * area])
                    .map_err(|e| Error::invalid_because(names[0], "cannot be shaped into images", e))?;
                image::from_gray(one, &how)
            },
        )?
    };
    let mut set = Dataset::empty(&format!("mnist {}", part.name()), images);
    set.alphabets = vec!["digits".into()];
    set.classes = (0..10).map(|d| Class { name: d.to_string(), alphabet: 0 }).collect();
    for (i, digit) in digits.values.into_iter().enumerate() {
        set.push(u32::from(digit), 0, format!("{} {i}", part.name()));
    }
    Ok(set)
}

/// MNIST's levels are ink already where no resizing is asked for: its paper is 0.
fn ink_as_it_is(how: &Preprocessing, width: usize, height: usize) -> bool {
    let frame = Frame::Picture;
    width == height && *how == Preprocessing::Ink { size: width, polarity: Polarity::Light, frame }
}
