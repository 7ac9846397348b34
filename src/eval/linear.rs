//! The classifier that a softmax recipe trains with its tower.

use super::Score;
use super::bootstrap::Unit;
use crate::export::trained;
use crate::model::Params;
use crate::tower::TowerSpec;
use crate::{Error, Result};
use ndarray::{Array1, Array2, ArrayView2};
use std::path::Path;

/// `logits = W·embedding + b`.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearClassifier {
    /// `[classes, D]`.
    weight: Array2<f32>,
    /// `[classes]`.
    bias: Array1<f32>,
    /// The recipe of the run that it was read from.
    recipe: Option<String>,
}

impl LinearClassifier {
    /// The parameters `head.weight` and `head.bias` of a run.
    ///
    /// # Errors
    /// Parameters of a recipe with another loss; shapes that do not go together.
    pub fn of(params: &Params) -> Result<Self> {
        let get = |name: &str| {
            params.get(name).ok_or_else(|| {
                Error::invalid(name, "is missing; only recipes with the loss softmax train a classifier")
            })
        };
        let shape = |e| Error::invalid_because("the classifier", "has an unexpected shape", e);
        let weight = get("head.weight")?.clone().into_dimensionality().map_err(shape)?;
        let bias = get("head.bias")?.clone().into_dimensionality().map_err(shape)?;
        let classifier = Self { weight, bias, recipe: None };
        if classifier.weight.nrows() != classifier.bias.len() {
            let why =
                format!("has {} biases for {} classes", classifier.bias.len(), classifier.weight.nrows());
            return Err(Error::invalid("the classifier", why));
        }
        Ok(classifier)
    }

    /// Of the folder of a training run.
    ///
    /// # Errors
    /// As [`trained`] and [`LinearClassifier::of`].
    pub fn of_run(run: &Path) -> Result<Self> {
        let run = trained(run)?;
        Ok(Self { recipe: Some(run.recipe.name), ..Self::of(&run.params)? })
    }

    /// That this is the tower of the run, where the run is known.
    ///
    /// # Errors
    /// Where it is another recipe's.
    pub fn check(&self, tower: &TowerSpec) -> Result<()> {
        let Some(run) = self.recipe.as_ref().filter(|run| **run != tower.name) else { return Ok(()) };
        let why = format!(
            "is a run of {run}, but the tower is {}; name the run that it was exported from",
            tower.name
        );
        Err(Error::invalid("--run", why))
    }

    /// The classes it tells apart.
    pub fn classes(&self) -> usize {
        self.bias.len()
    }

    /// Accuracy on embeddings `[N, D]`; as everywhere, a tie for the first place is an error.
    ///
    /// # Errors
    /// Embeddings of another tower; a label beyond the classes.
    pub fn score(&self, embeddings: ArrayView2<'_, f32>, labels: &[u32]) -> Result<Score> {
        if embeddings.ncols() != self.weight.ncols() {
            let (d, ours) = (embeddings.ncols(), self.weight.ncols());
            return Err(Error::invalid(
                "the classifier",
                format!("takes {ours} numbers; the tower gives {d}"),
            ));
        }
        if let Some(label) = labels.iter().find(|&&label| label as usize >= self.classes()) {
            let why = format!("knows {} classes, and class {label} is asked", self.classes());
            return Err(Error::invalid("the classifier", why));
        }
        let logits = embeddings.dot(&self.weight.t()) + &self.bias;
        let answers = logits.outer_iter().zip(labels).map(|(row, &label)| {
            let own = row[label as usize];
            let others = row.iter().enumerate().filter(|(class, _)| *class != label as usize);
            let best = others.fold(f32::NEG_INFINITY, |best, (_, &x)| best.max(x));
            (Unit::class(label), own > best, own == best)
        });
        Ok(Score::counted(answers, self.classes()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ndarray::array;

    fn classifier() -> LinearClassifier {
        let weight = array![[1.0_f32, 0.0], [0.0, 1.0], [-1.0, -1.0]].into_dyn();
        let bias = array![0.0_f32, 0.5, 0.0].into_dyn();
        LinearClassifier::of(&Params::from([("head.weight".into(), weight), ("head.bias".into(), bias)]))
            .unwrap()
    }

    #[test]
    fn the_greatest_logit_wins_and_a_tie_is_an_error() {
        let embeddings = array![[2.0, 1.0], [0.0, 0.0], [-1.0, -1.0], [1.0, 0.5], [f32::NAN, 0.0]];
        let score = classifier().score(embeddings.view(), &[0, 0, 2, 1, 0]).unwrap();
        assert_eq!((score.correct, score.ties, score.trials), (2, 1, 5));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |embeddings: Array2<f32>, label: u32| {
            classifier().score(embeddings.view(), &[label]).unwrap_err().to_string()
        };
        assert!(refused(array![[1.0, 2.0, 3.0]], 0).contains("takes 2 numbers; the tower gives 3"));
        assert!(refused(array![[1.0, 2.0]], 3).contains("knows 3 classes"));
        let none = LinearClassifier::of(&Params::new()).unwrap_err().to_string();
        assert!(none.contains("softmax"), "{none}");
    }
}
