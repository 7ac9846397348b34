//! What a folder of pictures is, before anything is learned from it.

use crate::data::Dataset;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// What was seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Survey {
    /// Classes.
    pub classes: usize,
    /// Pictures.
    pub pictures: usize,
    /// The fewest pictures of a class.
    pub fewest: usize,
    /// The most pictures of a class.
    pub most: usize,
    /// Classes of one picture, by name: nothing can be learned from them, nor measured on them.
    pub single: Vec<String>,
    /// Pictures that the tower cannot tell from an earlier one, each with that one.
    pub duplicates: Vec<[String; 2]>,
}

impl Survey {
    /// Of class folders as a tower sees them.
    pub fn of(data: &Dataset) -> Self {
        let members = data.by_class();
        let sizes = || members.iter().map(Vec::len);
        let single = (0..members.len()).filter(|&class| members[class].len() == 1);
        Self {
            classes: members.len(),
            pictures: data.len(),
            fewest: sizes().min().unwrap_or(0),
            most: sizes().max().unwrap_or(0),
            single: single.map(|class| data.title(class as u32)).collect(),
            duplicates: duplicates(data),
        }
    }
}

fn duplicates(data: &Dataset) -> Vec<[String; 2]> {
    let mut first: HashMap<[u8; 32], usize> = HashMap::new();
    let mut found = Vec::new();
    for image in 0..data.len() {
        let pixels: Vec<u8> = data.image(image).iter().copied().collect();
        match first.entry(Sha256::digest(&pixels).into()) {
            std::collections::hash_map::Entry::Occupied(earlier) => {
                found.push([data.sources[image].clone(), data.sources[*earlier.get()].clone()]);
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(image);
            }
        }
    }
    found
}
