//! What a model costs to run.

use super::types::Types;
use crate::onnx::ModelProto;
use crate::op::products;

/// Multiplications and additions of convolutions and products for a batch of one, counted separately (a
/// multiply-add is 2); none where the shapes of one are not known.
pub fn flop(model: &ModelProto) -> Option<u64> {
    let types = Types::with_batch(model, 1).ok()?;
    let unknown = Default::default();
    let mut total = 0;
    for node in &model.graph.as_ref()?.node {
        let Some(operator) = node.operator() else { continue };
        let result = node.output.first().and_then(|name| types.get(name)).unwrap_or(&unknown);
        let products = types.ask(node, |call| products(operator, call, result))?.size()?;
        total = (products as u64).checked_mul(2)?.checked_add(total)?;
    }
    Some(total)
}
