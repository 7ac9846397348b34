//! What embeddings give away of a tower that recognises nothing, or that is asked for the wrong output.
//!
//! Runtimes may agree perfectly on such numbers, so whoever compares, imports or judges asks here first.

use ndarray::{ArrayView2, Axis};
use serde::Serialize;

/// Something that is wrong with embeddings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What it is.
    pub what: Trouble,
    /// Whether no answer that rests on these embeddings means anything.
    pub fatal: bool,
    /// What was seen, what it usually comes from, and what to do.
    pub words: String,
}

/// What may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// NaN or infinite numbers.
    NotFinite,
    /// All images have one embedding, or are no further apart than the noise.
    Collapsed,
    /// All images have nearly one embedding.
    NearlyCollapsed,
    /// Two numbers or one.
    FewNumbers,
    /// Each row is a distribution over classes.
    Probabilities,
}

/// A collapsed tower's spread is below this share of its embeddings' length.
const COLLAPSED_SPREAD: f64 = 1e-3;
/// A row of probabilities sums to 1 within this.
const WHOLE: f64 = 1e-3;
/// What float32 cannot tell from its neighbour: the roundings that two sums of the same products may be apart.
const ROUNDING: f64 = 8.0 / (1u64 << 24) as f64;

/// Looks through the embeddings `[N, D]` of different images. `noise` is by how much a number of them may differ
/// from one run to the next; 0 where that is not known.
pub fn diagnose(embeddings: ArrayView2<'_, f32>, noise: f64) -> Vec<Finding> {
    let mut found = Vec::new();
    let (n, d) = embeddings.dim();
    let mut tell = |what, fatal, words: String| found.push(Finding { what, fatal, words });
    let broken = embeddings.iter().filter(|x| !x.is_finite()).count();
    if broken > 0 {
        let rows = embeddings.rows().into_iter().filter(|row| row.iter().any(|x| !x.is_finite())).count();
        let words = format!(
            "{broken} numbers in {rows} of {n} embeddings are NaN or infinite, which is nearer to nothing: look for \
             the first node with `siamese compare TOWER --layers`"
        );
        tell(Trouble::NotFinite, true, words);
    } else if n > 1 {
        let apart = widest(embeddings);
        let size = embeddings.iter().map(|x| f64::from(x.abs())).fold(0.0, f64::max);
        if apart <= noise.max(ROUNDING * size) {
            let how = if apart == 0.0 {
                "are all equal".into()
            } else {
                format!("are {apart:.1e} apart at most, no more than the noise")
            };
            let words = format!(
                "the embeddings of {n} images {how}: there is no answer to agree on. Mostly the pixels arrive wrong \
                 (a model of bytes that gets them divided by 255: import it with --scale 1), or the output is no \
                 embedding"
            );
            tell(Trouble::Collapsed, true, words);
        } else if collapsed(embeddings) {
            let words = "the tower maps all these images to nearly one point, so that answers rest on little: check \
                         the scale and normalisation of the pixels, or take images that it tells apart";
            tell(Trouble::NearlyCollapsed, false, words.into());
        }
    }
    if d <= 2 {
        let words = format!(
            "the output has {d} number(s): rather a score or a place than an embedding; name an inner value as the output"
        );
        tell(Trouble::FewNumbers, false, words);
    } else if n > 0 && broken == 0 && probabilities(embeddings) {
        let words = "each output sums to 1, as a softmax does: probabilities of classes, which say little about new \
                     ones; name the value before the classifier as the output";
        tell(Trouble::Probabilities, false, words.into());
    }
    found
}

/// The greatest spread of a column.
fn widest(embeddings: ArrayView2<'_, f32>) -> f64 {
    let spread = |column: ndarray::ArrayView1<'_, f32>| {
        let ends = column
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)));
        f64::from(ends.1) - f64::from(ends.0)
    };
    embeddings.columns().into_iter().map(spread).fold(0.0, f64::max)
}

fn probabilities(embeddings: ArrayView2<'_, f32>) -> bool {
    embeddings.rows().into_iter().all(|row| {
        let sum: f64 = row.iter().map(|&x| f64::from(x)).sum();
        (sum - 1.0).abs() <= WHOLE && row.iter().all(|&x| (0.0..=1.0 + 1e-6).contains(&x))
    })
}

/// Whether all embeddings `[N, D]` are nearly one point: their standard deviation (over all
/// coordinates together) is below a thousandth of their root-mean-square length.
pub fn collapsed(embeddings: ArrayView2<'_, f32>) -> bool {
    let n = embeddings.nrows() as f64;
    if n < 2.0 {
        return false;
    }
    let (mut variance, mut length) = (0.0, 0.0);
    for column in embeddings.axis_iter(Axis(1)) {
        let mean = column.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        variance += column.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
        length += column.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n;
    }
    variance.sqrt() <= COLLAPSED_SPREAD * length.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    fn found(embeddings: &Array2<f32>, noise: f64) -> Vec<(Trouble, bool)> {
        diagnose(embeddings.view(), noise).into_iter().map(|f| (f.what, f.fatal)).collect()
    }

    fn sound() -> Array2<f32> {
        Array2::from_shape_fn((6, 4), |(n, d)| ((n * 5 + d * 3) % 7) as f32 - 3.0)
    }

    #[test]
    fn sound_embeddings_give_nothing_away() {
        assert_eq!(found(&sound(), 1e-3), []);
        assert_eq!(found(&Array2::zeros((1, 4)), 0.0), []);
        assert_eq!(found(&Array2::zeros((0, 4)), 0.0), []);
    }

    #[test]
    fn equal_embeddings_and_those_within_the_noise_are_collapsed() {
        let mut one = Array2::from_elem((5, 4), 2.5f32);
        assert_eq!(found(&one, 0.0), [(Trouble::Collapsed, true)]);
        one[(3, 1)] += 0.01;
        assert_eq!(found(&one, 0.0), [(Trouble::NearlyCollapsed, false)]);
        assert_eq!(found(&one, 0.02), [(Trouble::Collapsed, true)]);
        one[(3, 1)] = f32::from_bits(2.5f32.to_bits() + 1);
        assert_eq!(found(&one, 0.0), [(Trouble::Collapsed, true)]);
    }

    #[test]
    fn numbers_that_are_none_a_score_and_probabilities_are_told() {
        let mut broken = sound();
        broken[(2, 2)] = f32::NAN;
        assert_eq!(found(&broken, 0.0), [(Trouble::NotFinite, true)]);
        assert_eq!(
            found(&sound().slice(ndarray::s![.., ..2]).to_owned(), 0.0),
            [(Trouble::FewNumbers, false)]
        );
        let positive = sound().mapv(|x| x.exp());
        let softmax = &positive / &positive.sum_axis(Axis(1)).insert_axis(Axis(1));
        assert_eq!(found(&softmax, 0.0), [(Trouble::Probabilities, false)]);
    }
}
