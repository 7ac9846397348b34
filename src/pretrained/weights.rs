//! The weights of a network, taken one after the other by those who know their names and shapes.

use crate::onnx::Tensor;
use crate::{Error, Result};
use ndarray::{Array1, ArrayD};
use std::collections::BTreeMap;

/// The weights of a network by their names.
#[derive(Clone, Debug)]
pub struct Weights {
    tensors: BTreeMap<String, Tensor>,
}

impl From<BTreeMap<String, Tensor>> for Weights {
    fn from(tensors: BTreeMap<String, Tensor>) -> Self {
        Self { tensors }
    }
}

impl Weights {
    /// Takes a tensor of this shape.
    ///
    /// # Errors
    /// One that is missing, of another shape or type, or not finite.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<ArrayD<f32>> {
        let invalid = |why: String| Error::invalid(format!("weight {name:?}"), why);
        match self.tensors.remove(name) {
            None => Err(invalid("is missing: these are not the weights of this network".into())),
            Some(Tensor::F32(values)) if values.shape() == shape => {
                match values.iter().all(|x| x.is_finite()) {
                    true => Ok(values),
                    false => Err(invalid("holds numbers that are not finite".into())),
                }
            }
            Some(other) => {
                let (kind, found) = (other.dtype().name(), other.shape().to_vec());
                Err(invalid(format!("is {kind} {found:?}, not float32 {shape:?}")))
            }
        }
    }

    /// Takes `[N]`, in float64.
    fn vector(&mut self, name: &str, len: usize) -> Result<Array1<f64>> {
        Ok(self.take(name, &[len])?.iter().map(|&x| f64::from(x)).collect())
    }

    /// Takes a convolution of this shape without bias and the batch normalisation behind it, whose `num_batches_tracked`
    /// tells nothing, and folds them into a weight and a bias: `w·γ/√(var + ε)` and `β − mean·γ/√(var + ε)`.
    ///
    /// # Errors
    /// As [`Weights::take`]; a variance that is not positive.
    pub fn take_normalised(
        &mut self,
        conv: &str,
        norm: &str,
        shape: [usize; 4],
        epsilon: f64,
    ) -> Result<(ArrayD<f32>, ArrayD<f32>)> {
        let weight = self.take(&format!("{conv}.weight"), &shape)?;
        let [filters, ..] = shape;
        let mut part = |part: &str| self.vector(&format!("{norm}.{part}"), filters);
        let (scale, shift, mean, var) =
            (part("weight")?, part("bias")?, part("running_mean")?, part("running_var")?);
        self.tensors.remove(&format!("{norm}.num_batches_tracked"));
        if var.iter().any(|v| v + epsilon <= 0.0) {
            return Err(Error::invalid(format!("weight \"{norm}.running_var\""), "is negative"));
        }
        let factor = scale / var.mapv(|v| (v + epsilon).sqrt());
        let bias = (shift - mean * &factor).mapv(|x| x as f32);
        let mut weight = weight;
        for (mut row, f) in weight.outer_iter_mut().zip(&factor) {
            row.mapv_inplace(|w| (f64::from(w) * f) as f32);
        }
        Ok((weight, bias.into_dyn()))
    }

    /// Ends it: nothing may be left but what the network does without.
    ///
    /// # Errors
    /// A weight that nothing used, so that the network is another one.
    pub fn finish(self, unused: &[&str]) -> Result<()> {
        match self.tensors.keys().find(|name| !unused.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => Err(Error::invalid(
                format!("weight {name:?}"),
                "is used by nothing: these are the weights of another network",
            )),
        }
    }
}
