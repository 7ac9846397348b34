//! The split of Omniglot by which few-shot papers since Vinyals et al. 2016 ("Matching Networks for One Shot Learning",
//! section 4.1.1) are compared. Its published lists follow a rule: of all 1,623 characters, background before
//! evaluation, each in the order of alphabets and numbers, 1,200 are for training and the last 423 for tests. Each of four
//! turns of a character counts as a class.
//!
//! It is an easier question than Lake's: classes are of all alphabets, and a drawer may ask what he drew himself.

use super::omniglot::{Part, omniglot};
use super::{Class, Dataset};
use crate::image::Preprocessing;
use crate::{Error, Result};
use ndarray::{Axis, concatenate};
use std::path::Path;

/// Characters for tests, the last ones of the evaluation part.
const TESTS: usize = 423;
/// Characters of the background part, all for training.
const BACKGROUND: usize = 964;
/// Characters of the evaluation part.
const EVALUATION: usize = 659;
const TURNS: usize = 4;

/// The 1,200 characters for training, upright: all of Omniglot's background part, and the first of its evaluation part.
///
/// # Errors
/// Data that are not there, or not whole.
pub fn training(dir: &Path, how: &Preprocessing) -> Result<Dataset> {
    training_characters(omniglot(dir, Part::Background, how)?, &omniglot(dir, Part::Evaluation, how)?)
}

fn training_characters(mut background: Dataset, evaluation: &Dataset) -> Result<Dataset> {
    if background.classes.len() != BACKGROUND {
        let count = background.classes.len();
        let why = format!("has {count} characters, and the split counts the {BACKGROUND} of the whole part");
        return Err(Error::invalid(&background.name, why));
    }
    let order = order(evaluation)?;
    let first = &order[..EVALUATION - TESTS];
    background.extend(&evaluation.keep_classes(|class| first.contains(&class)))?;
    background.name = "omniglot, the characters for training of Vinyals et al.".into();
    Ok(background)
}

/// The 423 characters for tests, in four turns: 1,692 classes.
///
/// # Errors
/// Data that are not there, or not whole.
pub fn tests(dir: &Path, how: &Preprocessing) -> Result<Dataset> {
    test_characters(&omniglot(dir, Part::Evaluation, how)?)
}

fn test_characters(evaluation: &Dataset) -> Result<Dataset> {
    let order = order(evaluation)?;
    let members = evaluation.by_class();
    let last = order[EVALUATION - TESTS..].iter();
    let chosen: Vec<usize> = last.flat_map(|&class| &members[class]).copied().collect();
    turned(&evaluation.subset(&chosen))
}

/// The classes of the evaluation part in the order of alphabets and numbers.
fn order(evaluation: &Dataset) -> Result<Vec<usize>> {
    if evaluation.classes.len() != EVALUATION {
        let count = evaluation.classes.len();
        let why = format!("has {count} characters, and the split counts the {EVALUATION} of the whole part");
        return Err(Error::invalid(&evaluation.name, why));
    }
    let mut order: Vec<usize> = (0..EVALUATION).collect();
    order.sort_by_key(|&class| {
        let Class { name, alphabet } = &evaluation.classes[class];
        (&evaluation.alphabets[*alphabet as usize], name)
    });
    Ok(order)
}

/// Each picture in four turns, those of a class by the same angle in a class of their own.
fn turned(upright: &Dataset) -> Result<Dataset> {
    let classes = upright.classes.len() as u32;
    let mut turned = upright.clone();
    turned.name = format!("{}, the {TESTS} characters of Vinyals et al. in four turns", upright.name);
    let mut images = upright.images.clone();
    for turn in 1..TURNS {
        // A quarter turn: rows become columns, and one of them is read backwards.
        let mut quarter = images.view().permuted_axes([0, 1, 3, 2]);
        quarter.invert_axis(Axis(2));
        images = quarter.as_standard_layout().into_owned();
        turned.images = concatenate(Axis(0), &[turned.images.view(), images.view()]).map_err(|e| {
            Error::invalid_because(&upright.name, "cannot be turned: its images are no squares", e)
        })?;
        turned.labels.extend(upright.labels.iter().map(|label| label + turn as u32 * classes));
        turned.drawers.extend(&upright.drawers);
        turned.sources.extend(upright.sources.iter().cloned());
        let name = |class: &Class| Class { name: format!("{} {}°", class.name, 90 * turn), ..class.clone() };
        turned.classes.extend(upright.classes.iter().map(name));
    }
    Ok(turned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ndarray::Array4;

    #[test]
    fn the_last_characters_are_asked_in_four_turns() {
        let mut data = Dataset::blank(EVALUATION, 2);
        data.images = Array4::from_shape_fn((2 * EVALUATION, 1, 2, 2), |(i, _, y, x)| {
            (i % 50 + 64 * y + 128 * x) as u8
        });
        data.classes.iter_mut().enumerate().for_each(|(i, class)| class.name = format!("character{i:03}"));
        let tests = test_characters(&data).unwrap();
        let first = EVALUATION - TESTS;
        let classes = tests.by_class();
        assert_eq!(classes.iter().filter(|members| members.len() == 2).count(), TURNS * TESTS);
        assert!(classes[..first].iter().all(Vec::is_empty));
        let title = |class: usize| tests.title(class as u32);
        assert!(
            title(first).contains("character236")
                && title(first + 2 * EVALUATION).ends_with("character236 180°")
        );
        let upright = tests.image(classes[first][0]);
        let turned = tests.image(classes[first + 2 * EVALUATION][0]);
        assert_eq!(upright[[0, 0, 1]], turned[[0, 1, 0]]);
        let quarter = tests.image(classes[first + EVALUATION][0]);
        assert_eq!(upright[[0, 0, 1]], quarter[[0, 0, 0]], "against the clock");
        assert!(test_characters(&Dataset::blank(5, 2)).unwrap_err().to_string().contains("659"));
    }

    #[test]
    fn no_character_is_both_for_training_and_for_tests() {
        let named = |count: usize, part: &str| {
            let mut data = Dataset::blank(count, 1);
            data.classes.iter_mut().enumerate().for_each(|(i, class)| class.name = format!("{i:03}"));
            data.sources = (0..count).map(|i| format!("{part}/{i:03}")).collect();
            data
        };
        let evaluation = named(EVALUATION, "evaluation");
        let training = training_characters(named(BACKGROUND, "background"), &evaluation).unwrap();
        assert_eq!((training.classes.len(), training.len()), (1200, 1200));
        assert!(training.by_class().iter().all(|members| members.len() == 1));
        let tests = test_characters(&evaluation).unwrap();
        assert!(training.sources.iter().all(|source| !tests.sources.contains(source)));
        let all = training.sources.len() + tests.sources.len() / TURNS;
        assert_eq!(all, BACKGROUND + EVALUATION);
        assert!(training.sources[BACKGROUND..].iter().all(|source| source.starts_with("evaluation")));
        let part = named(100, "background");
        assert!(training_characters(part, &evaluation).unwrap_err().to_string().contains("964"));
    }
}
