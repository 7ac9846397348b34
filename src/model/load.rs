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
        let recipe: Self = serde_json::from_str(text).map_err(|e| explain(name, &e))?;
        recipe.validate().map_err(|e| e.at(name))?;
        Ok(recipe)
    }
}

/// serde's words, once and with the place before them; its error would only say them again.
fn explain(name: &str, error: &serde_json::Error) -> Error {
    let said = error.to_string();
    let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(why, _)| why);
    let hint = hint(said);
    let (line, column) = (error.line(), error.column());
    Error::invalid(format!("{name}, line {line}, column {column}"), format!("{}{hint}", in_words(said)))
}

/// The same without the names of Rust's types.
pub(super) fn in_words(said: &str) -> String {
    let mut words = said.to_string();
    for (rust, plain) in [
        ("unit variant, expected struct variant", "a name alone, expected its settings, {\"NAME\": {…}}"),
        ("map, expected unit", "settings, expected the name alone, \"NAME\""),
        ("unknown variant", "unknown name"),
        ("unknown field", "unknown key"),
        ("missing field", "missing key"),
        ("expected usize", "expected a whole number, 0 or more"),
        ("expected u64", "expected a whole number, 0 or more"),
        ("expected f32", "expected a number"),
        ("expected a sequence", "expected a list, [ … ]"),
        ("invalid type: map", "invalid type: settings in braces"),
        ("expected ident", "this is not JSON: a text must stand in quotation marks"),
        ("expected value", "this is not JSON: a value must stand here"),
        ("EOF while parsing", "the file ends within"),
    ] {
        words = words.replace(rust, plain);
    }
    words
}

/// The likely spelling of an unknown key or name, or nothing.
pub(super) fn hint(said: &str) -> String {
    did_you_mean(said).map(|s| format!("; did you mean `{s}`?")).unwrap_or_default()
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
