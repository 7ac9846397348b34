//! Recipes with single values changed, as ablations want them.

use super::Recipe;
use super::load::{hint, in_words};
use crate::{Error, Result};
use serde_json::Value;

impl Recipe {
    /// The recipe with one value changed: `augment.elastic=0`, `tower.7.residual.filters=64`,
    /// `data.omniglot.hold_out=["Greek"]`.
    ///
    /// Before the `=` stands the way through `recipe.json`, with places of lists counted from 0; behind it
    /// JSON (`null` takes the key away), or a text as it is. The result is not validated yet.
    ///
    /// # Errors
    /// A way that leads nowhere; a value that does not belong there.
    pub fn changed(&self, change: &str) -> Result<Self> {
        let wrong = |why: String| Error::invalid(change, why);
        let Some((way, text)) = change.split_once('=') else {
            return Err(wrong("is not KEY=VALUE".into()));
        };
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.into()));
        let mut recipe = serde_json::to_value(self).map_err(|e| wrong(e.to_string()))?;
        put(&mut recipe, way, value).map_err(wrong)?;
        serde_json::from_value(recipe).map_err(|e| {
            let said = e.to_string();
            wrong(format!("{}{}", in_words(&said), hint(&said)))
        })
    }
}

/// Puts a value at the end of a way; settings that are not there yet are made.
fn put(mut place: &mut Value, way: &str, value: Value) -> std::result::Result<(), String> {
    let (parents, last) = way.rsplit_once('.').map_or((None, way), |(parents, last)| (Some(parents), last));
    for key in parents.iter().flat_map(|parents| parents.split('.')) {
        if place.is_null() {
            *place = Value::Object(serde_json::Map::new());
        }
        place = match place {
            Value::Object(settings) => settings.entry(key).or_insert(Value::Null),
            Value::Array(list) => element(list, key)?,
            _ => return Err(format!("there is nothing below {key:?}'s parent to change")),
        };
    }
    if place.is_null() {
        *place = Value::Object(serde_json::Map::new());
    }
    match place {
        Value::Object(settings) if value.is_null() => {
            settings.remove(last).map(drop).ok_or_else(|| format!("there is no {last:?} to take away"))
        }
        Value::Object(settings) => {
            settings.insert(last.into(), value);
            Ok(())
        }
        Value::Array(list) => {
            *element(list, last)? = value;
            Ok(())
        }
        _ => Err(format!("there is nothing below {last:?}'s parent to change")),
    }
}

fn element<'a>(list: &'a mut [Value], key: &str) -> std::result::Result<&'a mut Value, String> {
    let count = list.len();
    let place = key.parse::<usize>().ok().and_then(|i| list.get_mut(i));
    place.ok_or_else(|| format!("{key:?} is no place of a list of {count}; they count from 0"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::recipe::{Data, Layer, Sampling};

    fn edge() -> Recipe {
        Recipe::find("omniglot-edge-base").unwrap()
    }

    #[test]
    fn values_of_every_kind_can_be_changed_and_taken_away() {
        let of = |change: &str| edge().changed(change).unwrap();
        assert_eq!(of("augment.elastic=0").augment.unwrap().elastic, 0.0);
        assert_eq!(
            of("tower.6.residual.filters=48").tower.layers()[6],
            Layer::Residual { filters: 48, stride: 1 }
        );
        assert!(matches!(of("sampling.images.flips=true").sampling, Sampling::Images { flips: true, .. }));
        let Data::Omniglot { hold_out, .. } = of(r#"data.omniglot.hold_out=["Greek"]"#).data else {
            panic!("still Omniglot")
        };
        assert_eq!(hold_out, ["Greek"]);
        assert_eq!(of("ema=null").ema, None);
        assert_eq!(of("augment=null").augment, None);
        assert_eq!(of("name=other").name, "other");
        let none = edge().changed("augment=null").unwrap();
        assert_eq!(none.changed("augment.shift=0.1").unwrap().augment.unwrap().shift, 0.1);
        assert_eq!(edge().changed("steps=5").unwrap(), Recipe { steps: 5, ..edge() });
    }

    #[test]
    fn what_cannot_be_changed_says_why() {
        let why = |change: &str| edge().changed(change).unwrap_err().to_string();
        assert!(why("steps").contains("is not KEY=VALUE"));
        assert!(why("augment.elastc=0").contains("did you mean `elastic`?"));
        assert!(why("tower.99=relu").contains("no place of a list of 13"));
        assert!(why("steps=many").contains("expected a whole number"));
        assert!(why("steps.more=1").contains("nothing below"));
        assert!(why("clip=null").contains("no \"clip\" to take away"));
    }
}
