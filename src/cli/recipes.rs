//! `siamese recipes`: what is inside the program, recipes to train and towers to use.

use super::output::show;
use super::{Context, Outcome};
use crate::Result;
use crate::model::{Cost, Recipe, SHIPPED, cost};
use crate::tower::{self, Shipped};
use serde::Serialize;

/// Arguments of `recipes`.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// What the program holds.
#[derive(Debug, Serialize)]
struct Shelf {
    recipes: Vec<Entry>,
    towers: &'static [Shipped],
}

/// A recipe in few words.
#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    about: String,
    /// Side of the square input, pixels.
    size: usize,
    steps: u64,
    #[serde(flatten)]
    cost: Cost,
}

/// Runs the verb.
pub(super) fn run(context: &Context, _: &Arguments) -> Result<Outcome> {
    let recipes = SHIPPED.iter().map(|(name, _)| entry(name)).collect::<Result<_>>()?;
    show(context, &Shelf { recipes, towers: tower::SHIPPED }, text)?;
    Ok(Outcome::Yes)
}

fn entry(name: &str) -> Result<Entry> {
    let recipe = Recipe::find(name)?;
    let cost = cost(&recipe)?;
    Ok(Entry { name: recipe.name, about: recipe.about, size: recipe.size, steps: recipe.steps, cost })
}

fn text(shelf: &Shelf) -> String {
    let names = shelf.recipes.iter().map(|r| r.name.len()).chain(shelf.towers.iter().map(|t| t.name.len()));
    let width = names.max().unwrap_or(0);
    let mut text = String::from("Recipes, for `siamese train RECIPE`:\n");
    for Entry { name, about, size, steps, cost } in &shelf.recipes {
        let (thousands, mflop) = (cost.parameters / 1000, cost.flop as f64 / 1e6);
        text += &format!(
            "  {name:width$}  {size:>3} px {thousands:>6} k parameters {mflop:>7.1} MFLOP {steps:>6} steps  {about}\n"
        );
    }
    text += "\nTowers, wherever a tower's file is asked for:\n";
    for Shipped { name, about, .. } in shelf.towers {
        text += &format!("  {name:width$}  {about}\n");
    }
    text
}
