//! Running any ONNX graph, not only towers: what layer-by-layer comparison and reduction need. Models are
//! given as messages with static inputs; values cross as [`Tensor`]s.

use crate::Result;
use crate::onnx::{ModelProto, Tensor};

/// Named values, in a fixed order.
pub type Named = Vec<(String, Tensor)>;

/// A runtime that executes whole graphs.
pub trait Engine {
    /// The runtime's name, as users type it.
    fn name(&self) -> &str;

    /// The outputs of `model` for `inputs`, in the order in which the graph lists them.
    ///
    /// # Errors
    /// Where the runtime refuses the graph or fails to run it; the message names the runtime.
    fn run(&mut self, model: &ModelProto, inputs: &[(String, Tensor)]) -> Result<Vec<Tensor>>;

    /// The outputs for several inputs of the same types and shapes; a runtime that prepares a model for long
    /// does so once.
    ///
    /// # Errors
    /// As [`Engine::run`].
    fn run_each(&mut self, model: &ModelProto, inputs: &[Named]) -> Result<Vec<Vec<Tensor>>> {
        inputs.iter().map(|inputs| self.run(model, inputs)).collect()
    }

    /// Gives `take` the outputs for each of any number of inputs of the same types and shapes, one after the
    /// other: no more than one is held.
    ///
    /// # Errors
    /// As [`Engine::run`]; those of `take`.
    fn stream(
        &mut self,
        model: &ModelProto,
        inputs: &mut dyn Iterator<Item = Named>,
        take: &mut dyn FnMut(Vec<Tensor>) -> Result<()>,
    ) -> Result<()> {
        for inputs in inputs {
            take(self.run(model, &inputs)?)?;
        }
        Ok(())
    }
}
