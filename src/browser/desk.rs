//! Towers and galleries by number, since JavaScript holds no Rust.

use super::{Gallery, Tower};
use crate::edge::kernels::Kernels;
use crate::{Error, Result};
use serde::Serialize;

/// What a page has opened.
#[derive(Default)]
pub struct Desk {
    towers: Shelf<Tower>,
    galleries: Shelf<Gallery>,
}

/// What a request gives: a number, and bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// The number of what was opened.
    pub number: u32,
    /// JSON, or numbers as little-endian bytes.
    pub bytes: Vec<u8>,
}

/// Numbered things; the number of one that was closed is given again.
struct Shelf<T>(Vec<Option<T>>);

impl Desk {
    /// The version, and the sets of kernels, the fastest first; as JSON.
    ///
    /// # Errors
    /// None in practice: what JSON cannot hold.
    pub fn about(&self) -> Result<Given> {
        #[derive(Serialize)]
        struct About {
            version: &'static str,
            kernels: Vec<&'static str>,
        }
        let kernels = Kernels::all().iter().map(|kernels| kernels.name).collect();
        json(&About { version: env!("CARGO_PKG_VERSION"), kernels })
    }

    /// Opens a tower of an ONNX file's bytes on the kernels of this place in the list; its facts as JSON.
    ///
    /// # Errors
    /// As [`Tower::open`].
    pub fn open_tower(&mut self, file: &[u8], kernels: u32) -> Result<Given> {
        let all = Kernels::all();
        let kernels = all.get(kernels as usize).copied().ok_or_else(|| {
            Error::invalid("the kernels", format!("have the numbers below {}, not {kernels}", all.len()))
        })?;
        let tower = Tower::open(file, kernels)?;
        let facts = json(tower.spec())?;
        Ok(Given { number: self.towers.put(tower), ..facts })
    }

    /// Opens a gallery of a tower, of an exported gallery's bytes; what it tells of itself as JSON.
    ///
    /// # Errors
    /// As [`Gallery::open`].
    pub fn open_gallery(&mut self, tower: u32, file: &[u8]) -> Result<Given> {
        let gallery = Gallery::open(file, self.towers.at(tower)?.spec())?;
        let about = json(gallery.about())?;
        Ok(Given { number: self.galleries.put(gallery), ..about })
    }

    /// What a tower sees of pixels, `uint8 [C, S, S]`.
    ///
    /// # Errors
    /// As [`Tower::see`].
    pub fn see(&mut self, tower: u32, width: u32, height: u32, rgba: &[u8]) -> Result<Given> {
        Ok(Given { number: 0, bytes: self.towers.at(tower)?.see(width, height, rgba)? })
    }

    /// The embedding `float32 [D]` of what a tower sees.
    ///
    /// # Errors
    /// As [`Tower::embed`].
    pub fn embed(&mut self, tower: u32, seen: &[u8]) -> Result<Given> {
        let embedding = self.towers.at(tower)?.embed(seen)?;
        Ok(Given { number: 0, bytes: embedding.into_iter().flat_map(f32::to_le_bytes).collect() })
    }

    /// The answer of a gallery to an embedding `float32 [D]`, with the `top` nearest classes; as JSON.
    ///
    /// # Errors
    /// As [`Gallery::answer`].
    pub fn answer(&mut self, gallery: u32, top: u32, embedding: &[u8]) -> Result<Given> {
        let (numbers, _) = embedding.as_chunks();
        let numbers: Vec<f32> = numbers.iter().map(|&b| f32::from_le_bytes(b)).collect();
        json(&self.galleries.at(gallery)?.answer(&numbers, top as usize)?)
    }

    /// Frees a tower.
    pub fn close_tower(&mut self, tower: u32) {
        self.towers.take(tower);
    }

    /// Frees a gallery.
    pub fn close_gallery(&mut self, gallery: u32) {
        self.galleries.take(gallery);
    }
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Shelf<T> {
    fn put(&mut self, thing: T) -> u32 {
        let free = self.0.iter().position(Option::is_none).unwrap_or(self.0.len());
        if free == self.0.len() {
            self.0.push(None);
        }
        self.0[free] = Some(thing);
        free as u32
    }

    fn at(&mut self, number: u32) -> Result<&mut T> {
        let thing = self.0.get_mut(number as usize).and_then(Option::as_mut);
        thing.ok_or_else(|| Error::invalid(format!("number {number}"), "is of nothing that is open"))
    }

    fn take(&mut self, number: u32) {
        if let Some(place) = self.0.get_mut(number as usize) {
            *place = None;
        }
    }
}

fn json(value: &impl Serialize) -> Result<Given> {
    let bytes = serde_json::to_vec(value);
    let bytes = bytes.map_err(|e| Error::invalid_because("the answer", "cannot be written as JSON", e))?;
    Ok(Given { number: 0, bytes })
}
