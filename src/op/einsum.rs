//! Sums of products by letters: `bhid,bhjd->bhij`.

use super::call::{Call, Outcome, Stop};
use super::dim::{Dim, show};
use super::meaning::{Meaning, Typing};
use super::real::Real;
use super::types::{Shape, Type, count};
use ndarray::{ArrayD, IxDyn};
use std::collections::BTreeMap;

/// The sum over the letters that the result lacks of the products of the inputs' elements.
pub(super) fn einsum<T: Real>() -> Meaning<T> {
    Meaning::of_pictures(shape, sum).typed(Typing::Alike).products(|call, out| {
        let equation = Equation::of(call)?;
        let sizes = sizes(call, &equation)?;
        let all = sizes.iter().filter(|(letter, _)| !equation.result.contains(letter));
        Ok(all.map(|(_, size)| size).chain(out).fold(Dim::Known(1.0), |product, size| &product * size))
    })
}

/// The letters of each input and of the result.
struct Equation {
    inputs: Vec<Vec<char>>,
    result: Vec<char>,
}

impl Equation {
    fn of<I>(call: &Call<I>) -> Outcome<Self> {
        let text: String = call.node.text("equation").unwrap_or_default().split_whitespace().collect();
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left.to_string(), Some(right.to_string())),
            None => (text.clone(), None),
        };
        if text.contains('.') {
            return Err(call.fail("its equation has an ellipsis, which is not known here"));
        }
        let inputs: Vec<Vec<char>> = left.split(',').map(|part| part.chars().collect()).collect();
        let known: Vec<char> = inputs.iter().flatten().copied().collect();
        let once = || {
            let mut letters: Vec<char> = known.clone();
            letters.sort_unstable();
            let single = |c: &char| letters.iter().filter(|other| *other == c).count() == 1;
            letters.iter().copied().filter(single).collect()
        };
        let result: Vec<char> = right.map_or_else(once, |right| right.chars().collect());
        let fits = inputs.len() == call.inputs.len()
            && known.iter().all(char::is_ascii_alphabetic)
            && result.iter().enumerate().all(|(i, c)| known.contains(c) && !result[..i].contains(c));
        if fits { Ok(Self { inputs, result }) } else { Err(call.fail(format!("its equation is {text:?}"))) }
    }
}

/// The size of each letter.
fn sizes(call: &Call<Type>, equation: &Equation) -> Outcome<BTreeMap<char, Dim>> {
    let mut sizes: BTreeMap<char, Dim> = BTreeMap::new();
    for (i, letters) in equation.inputs.iter().enumerate() {
        let shape = call.shape(i)?;
        let misfit = || call.fail(format!("input {i} of shape {} for its equation", show(shape)));
        if shape.len() != letters.len() {
            return Err(misfit());
        }
        for (letter, dim) in letters.iter().zip(shape) {
            let known = sizes.entry(*letter).or_insert_with(|| dim.clone());
            *known = match (&*known, dim) {
                (a, b) if !a.may_equal(b) => return Err(misfit()),
                (a @ Dim::Known(_), _) => a.clone(),
                (_, b @ Dim::Known(_)) => b.clone(),
                (a, b) if a.same(b) => a.clone(),
                _ => Dim::Unknown,
            };
        }
    }
    Ok(sizes)
}

fn shape(call: &Call<Type>) -> Outcome<Vec<Shape>> {
    let equation = Equation::of(call)?;
    let sizes = sizes(call, &equation)?;
    Ok(vec![equation.result.iter().map(|letter| sizes[letter].clone()).collect()])
}

fn sum<T: Real>(call: &Call<ArrayD<T>>, out: &[usize]) -> Outcome<ArrayD<T>> {
    let equation = Equation::of(call)?;
    let mut sizes: BTreeMap<char, usize> = BTreeMap::new();
    for (i, letters) in equation.inputs.iter().enumerate() {
        sizes.extend(letters.iter().copied().zip(call.input(i)?.shape().iter().copied()));
    }
    // The letters of the result first, then those that are summed.
    let summed = sizes.keys().filter(|letter| !equation.result.contains(letter));
    let letters: Vec<char> = equation.result.iter().chain(summed).copied().collect();
    let extent: Vec<usize> = letters.iter().map(|letter| sizes[letter]).collect();
    let inner = count(&extent[out.len()..]);
    if count(&extent) > super::LARGEST_RESULT {
        return Err(call.fail("is too large to be computed here"));
    }
    let places: Vec<Vec<usize>> = equation
        .inputs
        .iter()
        .map(|own| own.iter().filter_map(|letter| letters.iter().position(|l| l == letter)).collect())
        .collect();
    let mut results = vec![T::zero(); count(out)];
    for (number, at) in ndarray::indices(IxDyn(&extent)).into_iter().enumerate() {
        let mut product = T::one();
        for (i, own) in places.iter().enumerate() {
            let place: Vec<usize> = own.iter().map(|&axis| at[axis]).collect();
            product = product * *call.input(i)?.get(IxDyn(&place)).ok_or(Stop::Unknown)?;
        }
        results[number / inner.max(1)] += product;
    }
    call.shaped(out, results)
}
