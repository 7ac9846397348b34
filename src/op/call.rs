//! A node with what is known of its inputs: what every rule is asked about.

use super::dim::{Dim, broadcast, show};
use super::real::{Element, Real};
use super::types::{Input, Shape, Type};
use crate::Error;
use crate::onnx::NodeProto;
use ndarray::{ArrayD, ArrayViewD, CowArray, IxDyn};

/// Why a rule does not answer.
#[derive(Debug)]
pub enum Stop {
    /// Too little is known of the inputs.
    Unknown,
    /// The inputs do not fit the operator.
    Fault(Error),
}

/// What a rule answers.
pub type Outcome<T> = Result<T, Stop>;

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Fault(error)
    }
}

/// A node with its inputs: [`Type`]s, or arrays.
#[derive(Clone, Copy)]
pub struct Call<'a, I> {
    /// The node.
    pub node: &'a NodeProto,
    /// The operator set whose versions hold.
    pub opset: i64,
    /// Whether it computes in integers, whose division drops the rest.
    pub integers: bool,
    /// Its inputs; none for one that is left out.
    pub inputs: &'a [Option<&'a I>],
}

/// An error about a node, which is named by its first result where it has no name.
pub fn fail(node: &NodeProto, why: impl std::fmt::Display) -> Error {
    let name =
        if node.name().is_empty() { node.output.first().map_or("", String::as_str) } else { node.name() };
    Error::Graph { op: node.op_type().into(), node: name.into(), why: why.to_string() }
}

impl<'a, I> Call<'a, I> {
    /// An error about the node.
    pub fn fail(&self, why: impl std::fmt::Display) -> Stop {
        Stop::Fault(fail(self.node, why))
    }

    /// An input that may be left out.
    pub fn given(&self, i: usize) -> Option<&'a I> {
        self.inputs.get(i).copied().flatten()
    }

    /// An input that may not be left out.
    pub fn input(&self, i: usize) -> Outcome<&'a I> {
        self.given(i).ok_or_else(|| self.fail(format!("input {i} is missing")))
    }

    /// An axis counted from the front.
    pub fn axis(&self, axis: i64, rank: usize) -> Outcome<usize> {
        let from_front = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
        let found = usize::try_from(from_front).ok().filter(|&a| a < rank);
        found.ok_or_else(|| self.fail(format!("axis {axis} of a tensor with {rank} axes")))
    }

    /// The axis that the attribute `axis` tells, or the standard's.
    pub fn axis_or(&self, default: i64, rank: usize) -> Outcome<usize> {
        self.axis(self.node.int_or("axis", default), rank)
    }

    /// Numbers of an attribute that are at least `least`, and small enough to compute with.
    pub fn sizes(&self, name: &str, least: i64) -> Outcome<Option<Vec<usize>>> {
        let Some(list) = self.node.ints(name) else { return Ok(None) };
        match list.iter().find(|&&i| i < least || i > i64::from(i32::MAX)) {
            Some(i) => Err(self.fail(format!("its {name} holds {i}"))),
            None => Ok(Some(list.iter().map(|&i| i as usize).collect())),
        }
    }
}

impl<I: Input> Call<'_, I> {
    /// The integers of an input; none where it is left out.
    pub fn integers(&self, i: usize) -> Outcome<Option<Vec<i64>>> {
        self.given(i).map(|input| input.integers().ok_or(Stop::Unknown)).transpose()
    }

    /// Integers that were an attribute in old versions and are an input in later ones.
    pub fn setting(&self, name: &str, i: usize) -> Outcome<Option<Vec<i64>>> {
        match self.node.ints(name) {
            Some(list) => Ok(Some(list.to_vec())),
            None => self.integers(i),
        }
    }

    /// The number of axes of an input.
    pub fn rank(&self, i: usize) -> Outcome<usize> {
        self.input(i)?.rank().ok_or(Stop::Unknown)
    }
}

impl<'a> Call<'a, Type> {
    /// The shape of an input.
    pub fn shape(&self, i: usize) -> Outcome<&'a [Dim]> {
        self.input(i)?.shape.as_deref().ok_or(Stop::Unknown)
    }

    /// The elements of an input that is a list of numbers; none where it is left out.
    pub fn list(&self, i: usize) -> Outcome<Option<Vec<Dim>>> {
        let elements = |t: &Type| t.elements().map(|a| a.into_iter().collect()).ok_or(Stop::Unknown);
        self.given(i).map(elements).transpose()
    }

    /// The shape to which all inputs broadcast.
    pub fn broadcast(&self) -> Outcome<Shape> {
        let shapes = (0..self.inputs.len()).map(|i| self.shape(i)).collect::<Outcome<Vec<_>>>()?;
        broadcast(&shapes).ok_or_else(|| {
            let listed: Vec<String> = shapes.iter().map(|s| show(s)).collect();
            self.fail(format!("shapes {} do not broadcast", listed.join(" and ")))
        })
    }
}

impl<'a, T: Element> Call<'a, ArrayD<T>> {
    /// An input, spread to the shape of the result.
    pub fn wide(&self, i: usize, out: &[usize]) -> Outcome<ArrayViewD<'a, T>> {
        let x = self.input(i)?;
        x.broadcast(IxDyn(out)).ok_or_else(|| {
            self.fail(format!("input {i} of shape {:?} does not broadcast to {out:?}", x.shape()))
        })
    }

    /// An input, spread to the shape of the result, its elements in order.
    pub fn spread(&self, i: usize, out: &[usize]) -> Outcome<CowArray<'a, T, IxDyn>> {
        let view = self.wide(i, out)?;
        if view.is_standard_layout() {
            return Ok(view.into());
        }
        let mut full = ArrayD::from_elem(out, T::of(0.0));
        full.assign(&view);
        Ok(full.into())
    }

    /// Elements in a shape.
    pub fn shaped(&self, shape: &[usize], elements: Vec<T>) -> Outcome<ArrayD<T>> {
        ArrayD::from_shape_vec(IxDyn(shape), elements).map_err(|e| self.fail(e))
    }

    /// An array in another shape of as many elements.
    pub fn refill(&self, x: &ArrayD<T>, shape: &[usize]) -> Outcome<ArrayD<T>> {
        x.to_shape(IxDyn(shape))
            .map(|v| v.into_owned())
            .map_err(|_| self.fail(format!("{:?} does not fill {shape:?}", x.shape())))
    }
}

impl<T: Real> Call<'_, ArrayD<T>> {
    /// A number that was an attribute in old versions and is an input in later ones.
    pub fn number(&self, name: &str, i: usize) -> Option<T> {
        let told = self.node.attribute(name).and_then(|a| a.f).map(|x| T::of(f64::from(x)));
        told.or_else(|| self.given(i)?.first().copied())
    }

    /// A number of an attribute, or the standard's.
    pub fn float(&self, name: &str, default: f32) -> T {
        T::of(f64::from(self.node.float_or(name, default)))
    }
}
