//! Makes towers fast on tract.

mod draft;
mod grid;
pub mod kernels;
mod link;
mod lower;
mod op;
mod products;
mod program;
mod read;
#[cfg(test)]
mod tests;

pub use op::Lowered;
pub use program::{Program, Scratch};

use crate::onnx::ModelProto;
use draft::Value;
use kernels::Kernels;
use lower::Lowering;
use read::Reader;
use std::sync::Arc;
use tract_onnx::prelude::*;

/// A lowered graph, or the beginning of one.
struct Compiled<'a> {
    program: Program,
    /// The values that it gives.
    outputs: Vec<(&'a str, Value)>,
}

/// Lowers what can be of a model for images `[C, H, W]`.
fn compile<'a>(model: &'a ModelProto, size: [usize; 3], kernels: &'static Kernels) -> Option<Compiled<'a>> {
    let graph = model.graph.as_ref()?;
    let weights: std::collections::HashSet<&str> = graph.initializer.iter().map(|t| t.name()).collect();
    let mut inputs = graph.input.iter().map(|i| i.name()).filter(|name| !weights.contains(name));
    let (image, None) = (inputs.next()?, inputs.next()) else { return None };
    let (lowering, outputs) = Lowering::of(Reader::new(graph), image, size)?;
    let values: Vec<Value> = outputs.iter().map(|(_, v)| v.clone()).collect();
    let program = link::link(lowering, &values, kernels)?;
    Some(Compiled { program, outputs })
}

/// A program for a whole model that gives one output, to run without tract.
pub fn program(model: &ModelProto, size: [usize; 3], kernels: &'static Kernels) -> Option<Program> {
    let compiled = compile(model, size, kernels)?;
    let whole = model.graph.as_ref()?.output.first()?.name();
    matches!(compiled.outputs.as_slice(), [(name, _)] if *name == whole).then_some(compiled.program)
}

/// Replaces what can be lowered of a typed tract model, whose input is `uint8 [1, C, H, W]`, by one
/// operator; a model of which nothing can be lowered is returned as it is. `model` is the file that
/// the tract model was made from.
///
/// # Errors
/// If tract refuses the replacement.
pub fn lower(mut typed: TypedModel, model: &ModelProto) -> TractResult<TypedModel> {
    let input = typed.input_outlets()?[0];
    let image = typed.outlet_fact(input)?.clone();
    let shape = image.shape.as_concrete().map(<[usize]>::to_vec);
    let Some([1, channels, height, width]) = shape.as_deref() else { return Ok(typed) };
    if typed.input_outlets()?.len() != 1 || image.datum_type != u8::datum_type() {
        return Ok(typed);
    }
    let Some(compiled) = compile(model, [*channels, *height, *width], Kernels::best()) else {
        return Ok(typed);
    };
    let Compiled { program, outputs } = compiled;
    let outlets: Option<Vec<OutletId>> =
        outputs.iter().map(|(name, _)| typed.find_outlet_label(name)).collect();
    let Some(outlets) = outlets else { return Ok(typed) };
    let shapes = outputs.iter().map(|(_, value)| {
        let map = &program.maps[value.map];
        let [h, w] = map.size;
        if value.flat { tvec![1, map.channels * h * w] } else { tvec![1, map.channels, h, w] }
    });
    let op = Lowered { shapes: shapes.collect(), program: Arc::new(program) };
    let mut patch = TypedModelPatch::default();
    let tapped = patch.tap_model(&typed, input)?;
    let made = patch.wire_node("lowered", op, &[tapped])?;
    for (outlet, made) in outlets.iter().zip(made) {
        patch.shunt_outside(&typed, *outlet, made)?;
    }
    patch.apply(&mut typed)?;
    Ok(typed)
}
