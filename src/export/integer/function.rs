//! Functions of single elements, however many nodes they take: `x·σ(x)`, `x·clip(x + 3, 0, 6)/6`, `½x(1 + erf)`.

use super::graph::{Id, Op};
use super::read::Read;
use crate::{Error, Result};
use ndarray::ArrayD;
use std::collections::HashMap;

impl Read<'_> {
    /// What the function that makes a value gives for numbers of its root.
    ///
    /// # Errors
    /// A form of an operator that is not evaluated here.
    pub fn computed(&self, id: Id, root: Id, numbers: &[f64]) -> Result<Vec<f64>> {
        let start = ArrayD::from_shape_vec(vec![numbers.len()], numbers.to_vec());
        let start = start.map_err(|e| Error::invalid_because("a table", "has no numbers", e))?;
        let mut known = HashMap::from([(root, start)]);
        Ok(self.followed(id, &mut known)?.into_iter().collect())
    }

    fn followed(&self, id: Id, known: &mut HashMap<Id, ArrayD<f64>>) -> Result<ArrayD<f64>> {
        if let Some(numbers) = known.get(&id) {
            return Ok(numbers.clone());
        }
        let value = &self.graph.values[id];
        let numbers = match &value.op {
            Op::Affine { x, scale, shift } => self.followed(*x, known)?.mapv(|x| x * scale[0] + shift[0]),
            Op::Limit { x, low, high } => self.followed(*x, known)?.mapv(|x| x.max(*low).min(*high)),
            Op::Leaky { x, slopes } => {
                self.followed(*x, known)?.mapv(|x| if x < 0.0 { x * slopes[0] } else { x })
            }
            _ => {
                let node = value.node.as_ref();
                let node = node.ok_or_else(|| Error::invalid(&value.name, "is made by no node"))?;
                let mut given = HashMap::new();
                for name in node.input.iter().filter(|name| !self.known.is_constant(name)) {
                    if let Some(&input) = self.ids.get(name) {
                        given.insert(name.as_str(), self.followed(input, known)?);
                    }
                }
                self.known.compute(node, &|name| given.get(name).cloned())?
            }
        };
        known.insert(id, numbers.clone());
        Ok(numbers)
    }

    /// Whether a function is `x·clip(x + 3, 0, 6)/6`, whichever nodes compute it.
    ///
    /// # Errors
    /// As [`Read::computed`].
    pub fn is_hard_swish(&self, id: Id, root: Id) -> Result<bool> {
        let numbers: Vec<f64> = (-64..=64).map(|i| f64::from(i) / 8.0 + 0.01).collect();
        let made = self.computed(id, root, &numbers)?;
        let near = |(x, y): (&f64, &f64)| (x * (x + 3.0).clamp(0.0, 6.0) / 6.0 - y).abs() < 1e-5;
        Ok(numbers.iter().zip(&made).all(near))
    }
}
