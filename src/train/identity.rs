//! What must not change when a run is continued, and what may but is told.

use crate::export::DataFacts;
use crate::model::Recipe;
use crate::model::recipe::Schedule;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::Path;

/// What a run computes: the same identity and the same surroundings give the same bits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Identity {
    /// The recipe.
    pub recipe: Value,
    /// [`DataFacts`] of the whole data, held-out classes included.
    pub data: Value,
    #[serde(skip)]
    steps: u64,
    /// Whether the schedule looks at the number of steps; if not, a run may be lengthened.
    #[serde(skip)]
    steps_matter: bool,
}

/// Where a run computes: others may round otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surroundings {
    /// `Cpu`, `Cuda` or `Cuda with TF32`.
    pub device: String,
    /// Threads of ONNX Runtime within a node.
    pub threads: usize,
    /// ONNX Runtime's version.
    pub onnx_runtime: String,
}

impl Identity {
    /// Of a recipe and its data.
    ///
    /// # Errors
    /// Values that JSON cannot hold.
    pub fn new(recipe: &Recipe, data: &DataFacts) -> Result<Self> {
        let unwritable = |e| Error::invalid_because("recipe", "cannot be written as JSON", e);
        Ok(Self {
            recipe: serde_json::to_value(recipe).map_err(unwritable)?,
            data: serde_json::to_value(data).map_err(unwritable)?,
            steps: recipe.steps,
            steps_matter: !matches!(recipe.schedule, Schedule::Constant | Schedule::Exponential { .. }),
        })
    }

    /// What must be the same at every process that trains the run, and each version of ONNX Runtime.
    pub(super) fn digest(&self, onnx_runtime: &str) -> Result<[u8; 32]> {
        let unwritable = |e| Error::invalid_because("recipe", "cannot be written as JSON", e);
        let text = serde_json::to_string(&(self, onnx_runtime)).map_err(unwritable)?;
        Ok(Sha256::digest(text.as_bytes()).into())
    }

    /// Steps in all.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Refuses a run of another recipe, or on other data, naming what differs.
    pub(super) fn must_be(&self, earlier: &Value, path: &Path) -> Result<()> {
        let differ = self.differences(&earlier["recipe"]);
        if !differ.is_empty() {
            let why = format!(
                "is of another recipe ({}); train into another folder with --out, or use that recipe",
                differ.join(", ")
            );
            return Err(Error::invalid(path.display(), why));
        }
        if earlier["data"] != self.data {
            let told = |data: &Value| format!("{} of {} images", data["name"], data["images"]);
            let why = format!(
                "was trained on other data: {} there, {} here (their SHA-256 differ); name the right folder with --data",
                told(&earlier["data"]),
                told(&self.data)
            );
            return Err(Error::invalid(path.display(), why));
        }
        Ok(())
    }

    /// The keys of an earlier recipe that differ from this one's, with both values. What people
    /// read, what looks on, and what only the first state was made of, may differ.
    pub fn differences(&self, earlier: &Value) -> Vec<String> {
        let objects = [earlier, &self.recipe].into_iter().filter_map(Value::as_object);
        let keys: BTreeSet<&String> = objects.flat_map(|o| o.keys()).collect();
        let free = |key: &str| {
            matches!(key, "about" | "evaluation" | "init_from" | "init_layers")
                || key == "steps" && !self.steps_matter
        };
        let differing = keys.into_iter().filter(|key| !free(key) && earlier.get(key) != self.recipe.get(key));
        differing
            .map(|key| {
                let (at, there, here) = first_difference(key.clone(), earlier.get(key), self.recipe.get(key));
                format!("`{at}` is {there} there, {here} here")
            })
            .collect()
    }
}

/// Where in two values their first difference is, and what stands there in each.
fn first_difference(at: String, there: Option<&Value>, here: Option<&Value>) -> (String, String, String) {
    let deeper = match (there, here) {
        (Some(Value::Array(a)), Some(Value::Array(b))) => (0..a.len().max(b.len()))
            .map(|i| (format!("{at}[{i}]"), a.get(i), b.get(i)))
            .find(|(_, a, b)| a != b),
        // Choices are objects of one key; others keep theirs.
        (Some(Value::Object(a)), Some(Value::Object(b))) if a.keys().eq(b.keys()) => {
            a.keys().map(|k| (format!("{at}.{k}"), a.get(k), b.get(k))).find(|(_, a, b)| a != b)
        }
        _ => None,
    };
    if let Some((at, there, here)) = deeper {
        return first_difference(at, there, here);
    }
    let text = |value: Option<&Value>| value.map_or("nothing".into(), shortened);
    (at, text(there), text(here))
}

/// A value as text, cut where it is long.
fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl Surroundings {
    /// What differs from an earlier part of the run, if anything.
    pub(super) fn difference(&self, earlier: &Self) -> Option<String> {
        (self != earlier).then(|| {
            let told = |s: &Self| {
                let plural = if s.threads == 1 { "" } else { "s" };
                format!("{} with {} thread{plural}, ONNX Runtime {}", s.device, s.threads, s.onnx_runtime)
            };
            format!(
                "the run was begun on {}, and goes on on {}: its last bits may differ from an undisturbed run's",
                told(earlier),
                told(self)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn identity(name: &str, change: impl Fn(&mut Recipe)) -> Identity {
        let mut recipe = Recipe::find(name).unwrap();
        change(&mut recipe);
        let data = DataFacts { name: "d".into(), images: 3, sha256: "0".into() };
        Identity::new(&recipe, &data).unwrap()
    }

    #[test]
    fn only_a_run_whose_schedule_does_not_look_at_its_end_may_be_lengthened() {
        for (name, differences) in [("mnist-conv3-embed", 0), ("omniglot-edge-base", 1)] {
            let short = identity(name, |r| r.steps = 100);
            assert_eq!(identity(name, |_| {}).differences(&short.recipe).len(), differences, "{name}");
        }
    }

    #[test]
    fn a_recipe_does_not_differ_from_itself_once_written_and_read() {
        for recipe in crate::model::tests::shipped() {
            let identity = identity(&recipe.name, |_| {});
            let there: Value = serde_json::from_str(&identity.recipe.to_string()).unwrap();
            assert_eq!(identity.differences(&there), [""; 0]);
        }
    }

    #[test]
    fn what_differs_is_named_with_both_values() {
        let here = identity("mnist-conv3-embed", |r| {
            r.seed = 7;
            r.about = "other words".into();
        });
        let there = serde_json::to_value(identity("mnist-conv3-embed", |_| {})).unwrap();
        let text = here.must_be(&there, Path::new("c")).unwrap_err().to_string();
        assert!(text.contains("`seed` is 0 there, 7 here") && !text.contains("about"), "{text}");
    }

    #[test]
    fn the_first_difference_within_a_long_value_is_found() {
        let a = serde_json::json!([{"conv": {"filters": 4, "kernel": 3}}, "relu", {"fc": {"units": 8}}]);
        let b =
            serde_json::json!([{"conv": {"filters": 4, "kernel": 3}}, "relu", {"fc": {"units": 9}}, "relu"]);
        let found = first_difference("tower".into(), Some(&a), Some(&b));
        assert_eq!(found, ("tower[2].fc.units".into(), "8".into(), "9".into()));
        let shorter = serde_json::json!([a[0], "relu"]);
        let found = first_difference("tower".into(), Some(&a), Some(&shorter));
        assert_eq!(found, ("tower[2]".into(), "{\"fc\":{\"units\":8}}".into(), "nothing".into()));
    }

    #[test]
    fn other_data_are_refused() {
        let here = identity("mnist-conv3-embed", |_| {});
        let mut there = serde_json::to_value(&here).unwrap();
        there["data"]["sha256"] = "1".into();
        assert!(here.must_be(&there, Path::new("c")).unwrap_err().to_string().contains("other data"));
    }
}
