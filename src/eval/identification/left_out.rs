//! Examples of a gallery, asked of what remains when they, or their class, are left out.

use super::Strangeness;
use crate::eval::nearest::between;
use crate::random::{draw, stream};
use crate::search::Index;
use crate::tower::Distance;
use ndarray::{ArrayView2, Axis};
use rayon::prelude::*;

/// Distances that are measured at most, about a second on two cores: beyond 6,300 examples a sample of them is asked,
/// of all.
const MOST: usize = 40_000_000;

/// An example that was left out.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftOut {
    /// Its class.
    pub class: u32,
    /// The nearest other classes with their distances, nearest first: one more than two leavings-out take.
    pub others: Vec<(u32, f32)>,
    /// The distance to the nearest other example of its class, where there is one.
    pub own: Option<f32>,
}

/// What was asked of which gallery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Classes of the gallery.
    pub classes: usize,
    /// Its examples.
    pub examples: usize,
    /// How strange a query is to it.
    pub strangeness: Strangeness,
}

/// Leaves out the examples of a gallery `[N, D]`, each of a class: all of them, or of more than
/// 10,000 a sample in which classes have their turn, one example each, before any has another.
pub fn left_out(
    embeddings: ArrayView2<'_, f32>,
    classes: &[u32],
    distance: &Distance,
) -> (Vec<LeftOut>, Sample) {
    let mut members = vec![Vec::new(); classes.iter().max().map_or(0, |&c| c as usize + 1)];
    classes.iter().enumerate().for_each(|(i, &class)| members[class as usize].push(i));
    let count = members.iter().filter(|m| !m.is_empty()).count();
    let strangeness = Strangeness::among(count);
    let asked = sample(&members, classes.len());
    let index = Index::new(embeddings.to_owned(), classes.to_vec(), distance.clone());
    // The own class, and those that two leavings-out take.
    let top = strangeness.reach() + 2;
    let found = index.search(embeddings.select(Axis(0), &asked).view(), top);
    let one = |(&i, hits): (&usize, &Vec<crate::search::Hit>)| {
        let class = classes[i];
        let others = hits.iter().filter(|h| h.group != class).map(|h| (h.group, h.distance));
        let own = members[class as usize]
            .iter()
            .filter(|&&other| other != i)
            .map(|&other| between(distance, embeddings.row(i), embeddings.row(other)));
        LeftOut { class, others: others.take(top - 1).collect(), own: own.min_by(f32::total_cmp) }
    };
    let left = asked.par_iter().zip(&found).map(one).collect();
    (left, Sample { classes: count, examples: classes.len(), strangeness })
}

/// The examples that are asked.
fn sample(members: &[Vec<usize>], examples: usize) -> Vec<usize> {
    let most = MOST / examples.max(1);
    if examples <= most {
        return (0..examples).collect();
    }
    let mut rng = stream(0, "left out", examples as u64, members.len() as u64);
    let mut turns: Vec<(usize, usize)> = Vec::new();
    let mut order: Vec<usize> = (0..members.len()).collect();
    let count = order.len();
    for (place, &class) in draw(&mut rng, &mut order, count).iter().enumerate() {
        let mut own = members[class].clone();
        let wanted = own.len().min(most);
        let drawn = draw(&mut rng, &mut own, wanted);
        turns.extend(drawn.iter().enumerate().map(|(turn, &example)| (turn * count + place, example)));
    }
    turns.sort_unstable();
    turns.into_iter().map(|(_, example)| example).take(most.max(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn neighbours_are_those_of_what_remains() {
        let rows = array![[0.0], [1.0], [4.0], [4.5], [10.0], [20.0]];
        let (left, sample) = left_out(rows.view(), &[0, 0, 1, 1, 2, 3], &Distance::L1);
        assert_eq!((sample.classes, sample.examples, left.len()), (4, 6, 6));
        assert_eq!((left[1].own, &left[1].others[..2]), (Some(1.0), &[(1, 3.0), (2, 9.0)][..]));
        assert_eq!((left[5].own, left[5].others[0]), (None, (2, 10.0)));
    }

    #[test]
    fn of_large_galleries_every_class_is_asked_before_any_is_twice() {
        let members: Vec<Vec<usize>> = (0..1000).map(|c| (c * 20..(c + 1) * 20).collect()).collect();
        let asked = sample(&members, 20_000);
        assert_eq!(asked.len(), MOST / 20_000);
        let mut counts = vec![0; 1000];
        asked.iter().for_each(|&i| counts[i / 20] += 1);
        assert_eq!(counts, vec![MOST / 20_000 / 1000; 1000]);
    }
}
