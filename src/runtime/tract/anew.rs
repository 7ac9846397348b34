//! Recurrences that begin anew in each run, as ONNX has it.
//!
//! tract takes a model as a stream: the state of a recurrence (`Scan`, which GRU, LSTM and RNN become too, and
//! its fused form `GruSeq`) stays where one run left it, so that an embedding would depend on the pictures
//! before it. Both operators can be told to begin each run at their initial state, which costs nothing and lets
//! tract simplify more. Whatever else holds a state that is no mere scratch memory gets a new one for each run.

use crate::edge::LoweredOp;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::EvalContext;
use tract_onnx::tract_core::ops::gru_seq::GruSeq;
use tract_onnx::tract_core::ops::logic::IfThenElse;
use tract_onnx::tract_core::ops::scan::{OptScan, Scan};

/// Tells every recurrence of the model, those inside others too, to begin each run at its initial state; before
/// the model is optimised.
pub fn begin_anew(model: &mut TypedModel) {
    for node in &mut model.nodes {
        if let Some(scan) = node.op_as_mut::<Scan>() {
            scan.reset_every_turn = true;
            begin_anew(&mut scan.body);
        } else if let Some(gru) = node.op_as_mut::<GruSeq>() {
            gru.reset_every_turn = true;
        } else if let Some(choice) = node.op_as_mut::<IfThenElse>() {
            begin_anew(&mut choice.then_body);
            begin_anew(&mut choice.else_body);
        }
    }
}

/// Whether some operator of an optimised model may carry something from one run to the next.
pub fn carries_over(model: &TypedModel) -> bool {
    model.nodes.iter().any(|node| {
        if let Some(scan) = node.op_as::<OptScan>() {
            return !scan.reset_every_turn || carries_over(scan.plan.model());
        }
        if let Some(scan) = node.op_as::<Scan>() {
            return !scan.reset_every_turn || carries_over(&scan.body);
        }
        if let Some(gru) = node.op_as::<GruSeq>() {
            return !gru.reset_every_turn;
        }
        // Scratch memory, which each run fills before it reads it.
        if node.op_is::<LoweredOp>() {
            return false;
        }
        // Where it cannot be told, better to begin anew.
        !matches!(node.op.state(&EvalContext::out_of_plan()), Ok(None))
    })
}
