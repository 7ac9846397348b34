//! Operands and results of our operators, and the threads of the session.

use crate::edge::winograd::Workspace;
use ort::operator::ComputeContext;
use ort::value::{DynValueTypeMarker, ValueRef, ValueRefMut};
use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

/// An operand.
pub struct Operand<'a>(ValueRef<'a, DynValueTypeMarker>);

/// A result.
pub struct Outcome<'a>(ValueRefMut<'a, DynValueTypeMarker>);

/// Input `place`.
pub fn operand(context: &ComputeContext, place: usize) -> ort::Result<Operand<'_>> {
    let value = context.input(place)?;
    value.map(Operand).ok_or_else(|| ort::Error::new(format!("input {place} is missing")))
}

/// Output `place`, of this shape.
pub fn outcome<'a>(context: &'a ComputeContext, place: usize, shape: &[usize]) -> ort::Result<Outcome<'a>> {
    let shape: Vec<i64> = shape.iter().map(|&side| side as i64).collect();
    let value = context.output(place, shape)?;
    value.map(Outcome).ok_or_else(|| ort::Error::new(format!("output {place} is not wanted")))
}

impl Operand<'_> {
    pub fn shape(&self) -> Vec<usize> {
        self.0.shape().iter().map(|&side| side as usize).collect()
    }

    /// The sides of a tensor with `N` axes.
    pub fn dims<const N: usize>(&self) -> ort::Result<[usize; N]> {
        let shape = self.shape();
        shape.try_into().map_err(|shape| ort::Error::new(format!("{N} axes are needed, not {shape:?}")))
    }

    pub fn floats(&self) -> ort::Result<&[f32]> {
        Ok(self.0.try_extract_tensor::<f32>()?.1)
    }

    /// The only element.
    pub fn scalar(&self) -> ort::Result<f32> {
        self.floats()?.first().copied().ok_or_else(|| ort::Error::new("a scalar is empty"))
    }
}

impl Outcome<'_> {
    pub fn floats(&mut self) -> ort::Result<&mut [f32]> {
        Ok(self.0.try_extract_tensor_mut::<f32>()?.1)
    }
}

/// Parts of a batch that threads take one after the other, for cores are not equally fast.
const BATCHES: usize = 64;

/// Calls `each(place, part)` for the parts, on the session's threads.
pub fn in_parallel<P: Send>(
    context: &ComputeContext,
    parts: impl IntoIterator<Item = P>,
    each: impl Fn(usize, &mut P) + Send + Sync,
) -> ort::Result<()> {
    let parts: Vec<Mutex<P>> = parts.into_iter().map(Mutex::new).collect();
    context.par_for(parts.len(), BATCHES, |place| {
        each(place, &mut parts[place].lock().unwrap_or_else(PoisonError::into_inner));
    })
}

/// What a thread keeps from operator to operator: memory that is new must first be cleared by the system.
#[derive(Default)]
pub struct Scratch {
    /// Images with their frames.
    pub framed: Vec<f32>,
    /// For Winograd's tiles.
    pub tiles: Workspace<f32>,
}

/// Lends a thread's scratch to a part of an operator.
pub fn with_scratch<T>(borrow: impl FnOnce(&mut Scratch) -> T) -> T {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::default();
    }
    SCRATCH.with_borrow_mut(borrow)
}

/// Lends so many zeros to an operator, for what its parts give.
pub fn with_sums<T>(count: usize, borrow: impl FnOnce(&mut [f32]) -> T) -> T {
    thread_local! {
        static SUMS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    SUMS.with_borrow_mut(|sums| {
        sums.clear();
        sums.resize(count, 0.0);
        borrow(sums)
    })
}
