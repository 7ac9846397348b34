//! A gallery as one file that needs no store: what a page is given to recognise by.
//!
//! It is a safetensors file. `embeddings` are `[N, D]`, int8 of an exact tower, else float32; `classes` are uint32
//! `[N]`, for each the place of its label. What else there is to know is JSON under the key `siamese.gallery` of
//! the metadata. Sources and times of examples are not in it.

use super::{Loaded, Rule, Shots};
use crate::tower::{TowerKind, TowerSpec};
use crate::{Error, Result};
use ndarray::Array2;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

/// Version of the facts; a file with another one is refused.
const FORMAT: u32 = 1;
const KEY: &str = "siamese.gallery";
const EMBEDDINGS: &str = "embeddings";
const CLASSES: &str = "classes";

/// A gallery, to be carried elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    /// What is known about it.
    pub facts: Facts,
    /// Labels and embeddings.
    pub known: Loaded,
}

/// What is known about an exported gallery, beside its examples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    format: u32,
    /// What it is called.
    pub gallery: String,
    /// The tower's name.
    pub tower: String,
    /// SHA-256 of the tower's file.
    pub tower_sha256: String,
    /// What stands for a class: `best`, `mean`, or a number of examples.
    #[serde(with = "shots")]
    pub shots: Shots,
    /// When a picture is unknown; none where nothing is.
    pub rule: Option<Rule>,
    /// Why the rule may not fit, in words.
    pub doubts: Option<String>,
    labels: Vec<String>,
}

impl Exported {
    /// Of a gallery of this tower.
    pub fn new(gallery: String, tower: &TowerSpec, shots: Shots, rule: Option<Rule>, known: Loaded) -> Self {
        let facts = Facts {
            format: FORMAT,
            gallery,
            tower: tower.name.clone(),
            tower_sha256: tower.sha256.clone(),
            shots,
            rule,
            doubts: None,
            labels: known.labels.clone(),
        };
        Self { facts, known }
    }

    /// The bytes of its file; `kind` is its tower's.
    ///
    /// # Errors
    /// An embedding that no exact tower gives.
    pub fn write(&self, kind: TowerKind) -> Result<Vec<u8>> {
        let Loaded { embeddings, classes, .. } = &self.known;
        let numbers = embeddings.iter().copied();
        let at = &self.facts.gallery;
        let (dtype, numbers): (_, Vec<u8>) = match kind {
            TowerKind::Exact => (Dtype::I8, numbers.map(|x| signed_byte(x, at)).collect::<Result<_>>()?),
            TowerKind::Float => (Dtype::F32, numbers.flat_map(f32::to_le_bytes).collect()),
        };
        let places: Vec<u8> = classes.iter().copied().flat_map(u32::to_le_bytes).collect();
        let failed = |e| Error::invalid_because("the exported gallery", "cannot be written", e);
        let view = |dtype, shape, data| TensorView::new(dtype, shape, data).map_err(failed);
        let tensors = [
            (EMBEDDINGS, view(dtype, embeddings.shape().to_vec(), &numbers)?),
            (CLASSES, view(Dtype::U32, vec![classes.len()], &places)?),
        ];
        let facts = serde_json::to_string(&self.facts)
            .map_err(|e| Error::invalid_because("the exported gallery", "cannot be written", e))?;
        let facts = [(KEY.to_string(), facts)].into_iter().collect();
        safetensors::serialize(tensors, Some(facts)).map_err(failed)
    }

    /// Reads a file's bytes; `at` is what messages call it.
    ///
    /// # Errors
    /// Bytes that are no exported gallery, or one of another version, and what contradicts itself.
    pub fn read(bytes: &[u8], at: &str) -> Result<Self> {
        let broken = |e| Error::invalid_because(at, "is no exported gallery, or one that is cut off", e);
        let file = SafeTensors::deserialize(bytes).map_err(broken)?;
        let (_, head) = SafeTensors::read_metadata(bytes).map_err(broken)?;
        let facts = head.metadata().as_ref().and_then(|all| all.get(KEY));
        let facts =
            facts.ok_or_else(|| Error::invalid(at, format!("is no exported gallery: it has no {KEY}")))?;
        let facts = Facts::read(facts, at)?;
        let damaged = |why: String| Error::invalid(at, format!("is damaged: {why}"));
        let (numbers, places) =
            (file.tensor(EMBEDDINGS).map_err(broken)?, file.tensor(CLASSES).map_err(broken)?);
        let embeddings = matrix(&numbers).map_err(damaged)?;
        let (Dtype::U32, [count]) = (places.dtype(), places.shape()) else {
            return Err(damaged(format!("{CLASSES} is {:?} {:?}", places.dtype(), places.shape())));
        };
        if *count != embeddings.nrows() {
            return Err(damaged(format!(
                "it has {} embeddings and {count} classes of them",
                embeddings.nrows()
            )));
        }
        let classes: Vec<u32> = places.data().as_chunks().0.iter().map(|&b| u32::from_le_bytes(b)).collect();
        if let Some(place) = classes.iter().find(|&&place| place as usize >= facts.labels.len()) {
            return Err(damaged(format!("an example is of class {place}, of {}", facts.labels.len())));
        }
        let known = Loaded { labels: facts.labels.clone(), embeddings, classes };
        Ok(Self { facts, known })
    }

    /// That it is one of this tower.
    ///
    /// # Errors
    /// Where it is another's: both hashes are named.
    pub fn check(&self, tower: &TowerSpec, at: &str) -> Result<()> {
        let Facts { tower: name, tower_sha256, .. } = &self.facts;
        if *tower_sha256 != tower.sha256 {
            let why = format!(
                "belongs to the tower {name} (SHA-256 {tower_sha256}), not to {} (SHA-256 {})",
                tower.name, tower.sha256
            );
            return Err(Error::invalid(at, why));
        }
        let dim = self.known.embeddings.ncols();
        if dim != tower.dim {
            let why =
                format!("is damaged: it has {dim} numbers an embedding, and its tower gives {}", tower.dim);
            return Err(Error::invalid(at, why));
        }
        Ok(())
    }
}

impl Facts {
    fn read(text: &str, at: &str) -> Result<Self> {
        /// What every version has.
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let broken = |e| Error::invalid_because(at, format!("its {KEY} cannot be read"), e);
        let Version { format } = serde_json::from_str(text).map_err(broken)?;
        if format != FORMAT {
            let why =
                format!("has the format {format}, and this program reads {FORMAT}; export the gallery again");
            return Err(Error::invalid(at, why));
        }
        serde_json::from_str(text).map_err(broken)
    }
}

/// Embeddings `[N, D]`, which must be finite.
fn matrix(numbers: &TensorView<'_>) -> Result<Array2<f32>, String> {
    let data = numbers.data();
    let values: Vec<f32> = match numbers.dtype() {
        Dtype::I8 => data.iter().map(|&b| f32::from(b.cast_signed())).collect(),
        Dtype::F32 => data.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        other => return Err(format!("{EMBEDDINGS} is {other:?}, not int8 or float32")),
    };
    if let Some(place) = values.iter().position(|x| !x.is_finite()) {
        return Err(format!("{EMBEDDINGS} holds {} at place {place}", values[place]));
    }
    let [rows, columns] = *numbers.shape() else {
        return Err(format!("{EMBEDDINGS} has the shape {:?}, not [N, D]", numbers.shape()));
    };
    Array2::from_shape_vec((rows, columns), values).map_err(|e| format!("{EMBEDDINGS}: {e}"))
}

/// A number of an exact tower's embedding as a signed byte; `at` is what messages call it.
///
/// # Errors
/// One that no exact tower gives.
pub fn signed_byte(x: f32, at: &str) -> Result<u8> {
    if x.fract() != 0.0 || !(-127.0..=127.0).contains(&x) {
        let why = format!("the tower calls itself exact but gives {x}, which is no whole number in ±127");
        return Err(Error::invalid(at, why));
    }
    Ok((x as i8).cast_unsigned())
}

/// Shots as they are typed.
mod shots {
    use super::Shots;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(shots: &Shots, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(shots)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Shots, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tower::tests::spec;
    use ndarray::array;

    fn exported(kind: TowerKind) -> Exported {
        let tower = TowerSpec { sha256: "ab".into(), dim: 2, ..spec(kind) };
        let known = Loaded {
            labels: vec!["a \"quoted\" ü".into(), "b".into()],
            embeddings: array![[1.0, -127.0], [0.0, 3.0], [127.0, 5.0]],
            classes: vec![0, 1, 0],
        };
        Exported::new("g".into(), &tower, Shots::First(1), Some(Rule::distance(2.5)), known)
    }

    #[test]
    fn it_comes_back_as_it_was_and_the_same_bytes_each_time() {
        for kind in [TowerKind::Exact, TowerKind::Float] {
            let mut one = exported(kind);
            if kind == TowerKind::Float {
                one.known.embeddings[(0, 0)] = 0.1;
            }
            let bytes = one.write(kind).unwrap();
            assert_eq!(
                (Exported::read(&bytes, "g").unwrap(), &bytes),
                (one.clone(), &one.write(kind).unwrap())
            );
        }
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let bytes = exported(TowerKind::Exact).write(TowerKind::Exact).unwrap();
        for cut in [0, 7, 20, bytes.len() - 1] {
            assert!(Exported::read(&bytes[..cut], "g").is_err(), "{cut}");
        }
        // Of the same length, so that all else stays where it is.
        let swapped = |from: &str, to: &str| {
            let mut changed = bytes.clone();
            let place = bytes.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
            changed[place..place + to.len()].copy_from_slice(to.as_bytes());
            changed
        };
        let said = |bytes: &[u8]| Exported::read(bytes, "the file").unwrap_err().to_string();
        assert!(said(&swapped("\\\"format\\\":1", "\\\"format\\\":9")).contains("has the format 9"));
        assert!(said(&swapped("siamese.gallery", "siamese.galleri")).contains("no siamese.gallery"));
        let mut strange = exported(TowerKind::Float);
        strange.known.classes[2] = 7;
        assert!(said(&strange.write(TowerKind::Float).unwrap()).contains("class 7, of 2"));
        strange = exported(TowerKind::Float);
        strange.known.embeddings[(1, 1)] = f32::NAN;
        assert!(said(&strange.write(TowerKind::Float).unwrap()).contains("NaN at place 3"));
        assert!(strange.write(TowerKind::Exact).is_err());
    }

    #[test]
    fn it_belongs_to_one_tower() {
        let one = exported(TowerKind::Exact);
        let tower = TowerSpec { sha256: "ab".into(), dim: 2, ..spec(TowerKind::Exact) };
        one.check(&tower, "g").unwrap();
        let said =
            one.check(&TowerSpec { sha256: "cd".into(), ..tower.clone() }, "g").unwrap_err().to_string();
        assert!(said.contains("SHA-256 ab") && said.contains("SHA-256 cd"), "{said}");
        assert!(one.check(&TowerSpec { dim: 3, ..tower }, "g").is_err());
    }
}
