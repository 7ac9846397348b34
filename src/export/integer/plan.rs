//! Where numbers are rounded: which values of the float graph become integers, and from what.
//!
//! A product is rounded only after what can be done in its accumulator: the factors and shifts of each channel
//! (batch normalisation), sums with other values, limits. What several values take is rounded once for all.

use super::graph::{Id, Moved, Op, Product, Window};
use super::read::Read;
use crate::{Error, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// The place of a value in [`Plan::values`].
pub(super) type Place = usize;

/// The integers of an exact tower, in the order in which they are computed.
pub(super) struct Plan {
    pub values: Vec<Planned>,
    /// The embedding.
    pub output: Place,
}

/// Integers that stand for a value of the float graph.
pub(super) struct Planned {
    /// That value.
    pub of: Id,
    pub make: Make,
    /// Beyond these the float value does not go.
    pub limits: [f64; 2],
}

/// From what integers are made.
pub(super) enum Make {
    /// The pixels as they are.
    Image,
    /// Pixels less a level for each channel, so that 0 stands for about 0.
    Centred(View),
    /// A sum that is rounded once.
    Sum(Act),
    /// Means.
    Mean { x: View, window: Window },
    /// Products of two.
    Scaled { a: View, b: View },
    /// A function by its values for all integers.
    Table { x: Place, root: Id },
    /// `x·clip(x + 3, 0, 6)/6`.
    HardSwish { x: Place },
    /// `x`, or `slope·x` below 0.
    Leaky { x: Place, slopes: Vec<f64> },
    /// The same integers in other places.
    Moved { inputs: Vec<Place>, moved: Moved },
}

/// Integers, scaled and shifted: each one number, or one a channel.
#[derive(Clone)]
pub(super) struct View {
    pub place: Place,
    pub factor: Vec<f64>,
    pub shift: Vec<f64>,
}

/// A sum that is still to be rounded.
#[derive(Clone)]
pub(super) struct Act {
    pub products: Vec<Term>,
    pub views: Vec<View>,
    pub bias: Vec<f64>,
}

/// A product in a sum.
#[derive(Clone)]
pub(super) struct Term {
    pub product: Arc<Product>,
    pub input: View,
    /// Of each output.
    pub factor: Vec<f64>,
}

/// A number for each channel, or one for all.
pub(super) fn at(list: &[f64], channel: usize) -> f64 {
    if list.len() == 1 { list[0] } else { list[channel] }
}

/// Two such lists, joined.
pub(super) fn zip(a: &[f64], b: &[f64], f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    (0..a.len().max(b.len())).map(|c| f(at(a, c), at(b, c))).collect()
}

impl View {
    fn of(place: Place) -> Self {
        Self { place, factor: vec![1.0], shift: vec![0.0] }
    }

    fn is_plain(&self) -> bool {
        self.factor.iter().all(|f| *f == 1.0) && self.shift.iter().all(|s| *s == 0.0)
    }
}

impl Act {
    fn of(view: View) -> Self {
        Self {
            products: Vec::new(),
            bias: view.shift.clone(),
            views: vec![View { shift: vec![0.0], ..view }],
        }
    }

    fn affine(mut self, scale: &[f64], shift: &[f64]) -> Self {
        let times = |list: &mut Vec<f64>| *list = zip(list, scale, |x, s| x * s);
        self.products.iter_mut().for_each(|term| times(&mut term.factor));
        self.views.iter_mut().for_each(|view| times(&mut view.factor));
        times(&mut self.bias);
        self.bias = zip(&self.bias, shift, |b, s| b + s);
        self
    }

    fn plus(mut self, other: Self) -> Self {
        self.products.extend(other.products);
        self.views.extend(other.views);
        self.bias = zip(&self.bias, &other.bias, |a, b| a + b);
        self
    }

    /// The sum, where it is one value's integers.
    fn view(&self) -> Option<View> {
        match (self.products.as_slice(), self.views.as_slice()) {
            ([], [view]) => Some(View { shift: self.bias.clone(), ..view.clone() }),
            _ => None,
        }
    }
}

/// Plans an exact tower.
///
/// # Errors
/// A function that cannot be computed here; channels in another order before what is no convolution.
pub(super) fn plan(read: &Read<'_>) -> Result<Plan> {
    let mut planner = Planner { read, uses: read.graph.uses(), made: HashMap::new(), values: Vec::new() };
    let output = planner.integers(read.graph.output)?;
    Ok(Plan { values: planner.values, output })
}

struct Planner<'a> {
    read: &'a Read<'a>,
    uses: Vec<usize>,
    made: HashMap<Id, Place>,
    values: Vec<Planned>,
}

impl<'a> Planner<'a> {
    fn op(&self, id: Id) -> &'a Op {
        &self.read.graph.values[id].op
    }

    /// Integers for a value.
    fn integers(&mut self, id: Id) -> Result<Place> {
        if let Some(&place) = self.made.get(&id) {
            return Ok(place);
        }
        let any = [f64::NEG_INFINITY, f64::INFINITY];
        let (make, limits) = match self.op(id) {
            Op::Image => (Make::Image, [0.0, 255.0]),
            Op::Affine { .. } | Op::Product { .. } | Op::Add { .. } => {
                let act = self.act(id)?;
                match act.view() {
                    Some(view) if view.is_plain() => {
                        self.made.insert(id, view.place);
                        return Ok(view.place);
                    }
                    Some(view) if self.is_image(view.place) => (Make::Centred(view), any),
                    _ => (Make::Sum(act), any),
                }
            }
            Op::Limit { x, low, high } => (Make::Sum(self.taken(*x)?), [*low, *high]),
            Op::Function { root } => {
                let hard_swish = self.read.is_hard_swish(id, *root)?;
                let x = self.integers(*root)?;
                (if hard_swish { Make::HardSwish { x } } else { Make::Table { x, root: *root } }, any)
            }
            Op::Leaky { x, slopes } => (Make::Leaky { x: self.integers(*x)?, slopes: slopes.clone() }, any),
            Op::Mean { x, window } => (Make::Mean { x: self.view(*x, false)?, window: window.clone() }, any),
            Op::Mul { a, b } => (Make::Scaled { a: self.view(*a, true)?, b: self.view(*b, true)? }, any),
            Op::Move { inputs, moved } => {
                let inputs = inputs.iter().map(|x| self.integers(*x)).collect::<Result<_>>()?;
                (Make::Moved { inputs, moved: moved.clone() }, any)
            }
            Op::Permuted { .. } | Op::Opaque { .. } => {
                let name = &self.read.graph.values[id].name;
                let why = "puts channels in another order before what is no convolution, which has no exact form here";
                return Err(Error::invalid(format!("value {name}"), why));
            }
        };
        self.values.push(Planned { of: id, make, limits });
        let place = self.values.len() - 1;
        self.made.insert(id, place);
        Ok(place)
    }

    fn is_image(&self, place: Place) -> bool {
        matches!(self.values[place].make, Make::Image)
    }

    /// A value as a sum; anew, even if several take it.
    fn act(&mut self, id: Id) -> Result<Act> {
        if let Some(&place) = self.made.get(&id) {
            return Ok(Act::of(View::of(place)));
        }
        Ok(match self.op(id) {
            Op::Affine { x, scale, shift } => self.taken(*x)?.affine(scale, shift),
            Op::Product { x, product } => {
                let input = self.view(*x, product.pads())?;
                let term = Term { product: product.clone(), input, factor: vec![1.0] };
                Act { products: vec![term], views: Vec::new(), bias: product.bias.clone() }
            }
            Op::Add { terms } => {
                let mut sum = Act { products: Vec::new(), views: Vec::new(), bias: vec![0.0] };
                for (x, sign) in terms {
                    sum = sum.plus(self.taken(*x)?.affine(&[*sign], &[0.0]));
                }
                sum
            }
            _ => Act::of(View::of(self.integers(id)?)),
        })
    }

    /// A value as a sum for one that takes it: what several take is rounded first.
    fn taken(&mut self, id: Id) -> Result<Act> {
        if self.made.contains_key(&id) || (self.uses[id] > 1 && self.pends(id)) {
            return Ok(Act::of(View::of(self.integers(id)?)));
        }
        self.act(id)
    }

    /// Whether a value holds a product, or a sum, that is not rounded yet.
    fn pends(&self, id: Id) -> bool {
        match self.op(id) {
            _ if self.made.contains_key(&id) => false,
            Op::Product { .. } | Op::Add { .. } => true,
            Op::Affine { x, .. } => self.pends(*x),
            _ => false,
        }
    }

    /// A value's integers, scaled; shifted too, unless 0 must stand for 0.
    fn view(&mut self, id: Id, at_zero: bool) -> Result<View> {
        if !self.pends(id)
            && let Some(view) = self.act(id)?.view()
            && (!at_zero || view.shift.iter().all(|s| *s == 0.0))
        {
            return Ok(view);
        }
        Ok(View::of(self.integers(id)?))
    }
}
