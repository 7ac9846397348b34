//! Labelled drawings: what a data set is, and the readers that make one.

use ndarray::{Array4, ArrayView3, Axis};

/// Labelled images, already in the pixel contract.
///
/// Classes are grouped by alphabet; a data set without alphabets (MNIST) has one.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// What it is and which part: `omniglot background`.
    pub name: String,
    /// Ink levels `[N, C, S, S]`, 0 = paper.
    pub images: Array4<u8>,
    /// Class of each image, an index into `classes`.
    pub labels: Vec<u32>,
    /// The classes (characters, digits).
    pub classes: Vec<Class>,
    /// The names of the alphabets.
    pub alphabets: Vec<String>,
    /// Drawer of each image, numbered from 0; all 0 where the source does not tell.
    pub drawers: Vec<u16>,
    /// Where each image came from: a path inside the source, for messages and reports.
    pub sources: Vec<String>,
}

/// A class of a [`Dataset`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Its name: `character01`, `7`.
    pub name: String,
    /// Its alphabet, an index into [`Dataset::alphabets`].
    pub alphabet: u32,
}

impl Dataset {
    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Side of the square images, pixels.
    pub fn size(&self) -> usize {
        self.images.shape()[3]
    }

    /// Image `i`, `[C, S, S]`.
    pub fn image(&self, i: usize) -> ArrayView3<'_, u8> {
        self.images.index_axis(Axis(0), i)
    }

    /// The images of each class, in the order of the data set.
    pub fn by_class(&self) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.classes.len()];
        for (i, &label) in self.labels.iter().enumerate() {
            members[label as usize].push(i);
        }
        members
    }

    /// The classes of each alphabet.
    pub fn by_alphabet(&self) -> Vec<Vec<u32>> {
        let mut members = vec![Vec::new(); self.alphabets.len()];
        for (class, c) in self.classes.iter().enumerate() {
            members[c.alphabet as usize].push(class as u32);
        }
        members
    }
}
