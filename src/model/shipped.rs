//! The recipes in the repository's `onnx/`, inside the program, so that a name is enough anywhere.

use super::{Params, Recipe, parse_params};
use crate::{Error, Result};
use std::path::Path;

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../onnx/", $name, "/recipe.json")))),*]
    };
}

/// Name and text of each recipe.
pub const SHIPPED: &[(&str, &str)] = shipped![
    "emoji-edge",
    "emoji-edge-base",
    "emoji-edge-distil",
    "glyphs-demo",
    "mnist-conv3",
    "mnist-conv3-embed",
    "mnist-conv5",
    "mnist-fc2",
    "mnist-transfer",
    "mnist-transfer-classifier",
    "omniglot-edge",
    "omniglot-edge-base",
    "omniglot-fc1",
    "omniglot-fc1-40k",
    "omniglot-fc1-reg1",
    "omniglot-fc2",
    "omniglot-koch",
    "omniglot-koch-framed",
    "omniglot-look",
    "omniglot-vinyals",
];

/// The trained parameters of a recipe, where they are inside the program: what another training can start
/// from. The edge build, which trains nothing, has none.
///
/// # Errors
/// Those of [`parse_params`], which would be this program's fault.
pub fn shipped_params(name: &str) -> Option<Result<Params>> {
    #[cfg(feature = "ort")]
    const PARAMS: &[(&str, &[u8])] = &[
        ("emoji-edge", include_bytes!("../../onnx/emoji-edge/params.safetensors")),
        ("omniglot-edge", include_bytes!("../../onnx/omniglot-edge/params.safetensors")),
    ];
    #[cfg(not(feature = "ort"))]
    const PARAMS: &[(&str, &[u8])] = &[];
    let (_, bytes) = PARAMS.iter().find(|(shipped, _)| *shipped == name)?;
    Some(parse_params(bytes, &format!("shipped parameters {name}")).map(|(params, _)| params))
}

impl Recipe {
    /// The recipe in a file, in the folder of that file, or the shipped one of a name.
    ///
    /// # Errors
    /// A recipe that is wrong; a name that is neither a file nor shipped (the shipped ones are listed).
    pub fn find(which: &str) -> Result<Self> {
        let path = Path::new(which);
        if path.is_dir() {
            return Self::load(path.join("recipe.json"));
        }
        if path.is_file() {
            return Self::load(path);
        }
        if let Some((name, text)) = SHIPPED.iter().find(|(name, _)| *name == which) {
            return Self::parse(text, &format!("shipped recipe {name}"));
        }
        let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
        let near = names.iter().max_by(|a, b| strsim::jaro(a, which).total_cmp(&strsim::jaro(b, which)));
        let hint = near
            .filter(|n| strsim::jaro(n, which) > 0.7)
            .map_or(String::new(), |n| format!(" Did you mean {n}?"));
        let why = format!("is neither a file nor a shipped recipe.{hint} Shipped: {}", names.join(", "));
        Err(Error::invalid(which, why))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_shipped_recipe_is_valid_and_bears_its_name() {
        for (name, _) in SHIPPED {
            assert_eq!(Recipe::find(name).unwrap().name, *name);
        }
        let folders = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/onnx")).unwrap();
        let count = folders.filter(|f| f.as_ref().unwrap().path().join("recipe.json").exists()).count();
        assert_eq!(count, SHIPPED.len(), "a folder of onnx/ is not listed in SHIPPED");
    }

    #[test]
    fn a_recipe_over_fewer_steps_stays_valid() {
        for (name, _) in SHIPPED {
            let short = Recipe::find(name).unwrap().over(3);
            short.validate().unwrap();
            assert_eq!(short.steps, 3);
        }
    }

    #[test]
    fn an_unknown_name_is_told_with_what_there_is() {
        let text = Recipe::find("omniglot-egde").unwrap_err().to_string();
        assert!(text.contains("Did you mean omniglot-edge?") && text.contains("mnist-fc2"), "{text}");
    }
}
