//! Reading `recipe.json`, with errors that name the line and the likely spelling.

use super::Recipe;
use crate::{Error, Result};
use std::path::Path;

impl Recipe {
    /// Reads and checks a recipe: the file itself, or its folder.
    ///
    /// # Errors
    /// A file that cannot be read; JSON that is not a recipe, with its line and, for an unknown
    /// key, the likely spelling; values that do not fit together ([`Recipe::validate`]).
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = if path.is_dir() { path.join("recipe.json") } else { path.to_path_buf() };
        let text = std::fs::read_to_string(&file).map_err(Error::io("read", &file))?;
        Self::parse(&text, &file.display().to_string())
    }

    /// As [`Recipe::load`], of a text; `name` stands in messages.
    ///
    /// # Errors
    /// As [`Recipe::load`].
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let recipe: Self = serde_json::from_str(text).map_err(|e| explain(name, e))?;
        recipe.validate().map_err(|e| match e {
            Error::Invalid { at, why, source } => Error::Invalid { at: format!("{name}: {at}"), why, source },
            other => other,
        })?;
        Ok(recipe)
    }
}

fn explain(name: &str, error: serde_json::Error) -> Error {
    let at = format!("{name}, line {}", error.line());
    let said = error.to_string();
    let why = match said.rsplit_once(" at line ") {
        Some((why, _)) => why.to_string(),
        None => said,
    };
    let hint = did_you_mean(&why).map(|s| format!("; did you mean `{s}`?")).unwrap_or_default();
    Error::invalid_because(at, format!("{why}{hint}"), error)
}

/// serde says ``unknown field `a`, expected one of `b`, `c` ``: the candidate nearest to the first.
fn did_you_mean(message: &str) -> Option<&str> {
    if !message.starts_with("unknown ") {
        return None;
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let wrong = quoted.next()?;
    nearest(wrong, quoted)
}

/// The candidate most like `wrong`, if any is alike.
pub(super) fn nearest<'a>(wrong: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|c| (strsim::jaro_winkler(wrong, c), c))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, c)| c)
}
