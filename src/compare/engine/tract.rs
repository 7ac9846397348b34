//! Whole graphs on tract.

use super::{Blob, Engine};
use crate::graph::DType;
use crate::onnx::ModelProto;
use crate::runtime::tract::optimised;
use crate::{Error, Result};
use prost::Message;
use tract_onnx::prelude::*;

/// tract; one thread, which is all that one image at a time can use.
#[derive(Debug, Default)]
pub struct TractEngine;

impl Engine for TractEngine {
    fn name(&self) -> &str {
        "tract"
    }

    fn run(&mut self, model: &ModelProto, inputs: &[(String, Blob)]) -> Result<Vec<Blob>> {
        let results = execute(model, inputs).map_err(|source| Error::Runtime {
            runtime: "tract",
            action: "run a graph".into(),
            source: source.into(),
        })?;
        results.iter().map(blob).collect()
    }
}

/// Whole numbers in a row, as the shape that a `Reshape` reads: tract plans with their values.
fn is_list(value: &Blob) -> bool {
    matches!(value, Blob::I64(list) if list.ndim() <= 1)
}

/// The model with some of its inputs as weights.
fn holding(model: &ModelProto, fixed: &[&(String, Blob)]) -> ModelProto {
    let mut model = model.clone();
    if let Some(graph) = &mut model.graph {
        graph.input.retain(|input| fixed.iter().all(|(name, _)| name != input.name()));
        graph.initializer.extend(fixed.iter().map(|(name, value)| value.to_proto(name)));
    }
    model
}

fn execute(model: &ModelProto, inputs: &[(String, Blob)]) -> TractResult<Vec<Tensor>> {
    let all = inputs.iter().all(|(_, value)| is_list(value));
    let (fixed, given): (Vec<_>, Vec<_>) = inputs.iter().partition(|(_, value)| !all && is_list(value));
    let typed = onnx()
        // What inference finds is compared; what a file claims of inner tensors is not needed.
        .with_ignore_value_info(true)
        .model_for_read(&mut holding(model, &fixed).encode_to_vec().as_slice())?
        .into_typed()?;
    let plan = optimised(&typed)?.into_runnable()?;
    let values =
        given.iter().map(|(_, value)| Ok(tensor(value)?.into_tvalue())).collect::<TractResult<TVec<_>>>()?;
    plan.run(values)?.into_iter().map(|value| numeric(value.into_tensor())).collect()
}

/// Shapes inside tract may be symbolic expressions; here they are all numbers.
fn numeric(tensor: Tensor) -> TractResult<Tensor> {
    if tensor.datum_type() == TDim::datum_type() {
        return Ok(tensor.cast_to::<i64>()?.into_owned());
    }
    Ok(tensor)
}

fn tensor(value: &Blob) -> TractResult<Tensor> {
    Ok(match value {
        Blob::F32(a) => a.clone().into_tensor(),
        Blob::F64(a) => a.clone().into_tensor(),
        Blob::U8(a) => a.clone().into_tensor(),
        Blob::I8(a) => a.clone().into_tensor(),
        Blob::I32(a) => a.clone().into_tensor(),
        Blob::I64(a) => a.clone().into_tensor(),
        Blob::Bool(a) => a.clone().into_tensor(),
    })
}

fn blob(tensor: &Tensor) -> Result<Blob> {
    let kinds = [
        (f32::datum_type(), DType::F32),
        (f64::datum_type(), DType::F64),
        (u8::datum_type(), DType::U8),
        (i8::datum_type(), DType::I8),
        (i32::datum_type(), DType::I32),
        (i64::datum_type(), DType::I64),
        (bool::datum_type(), DType::Bool),
    ];
    let found = kinds.iter().find(|(kind, _)| *kind == tensor.datum_type());
    let Some((_, dtype)) = found else {
        let why = format!("gives a tensor of type {:?}, which is not compared", tensor.datum_type());
        return Err(Error::invalid("tract", why));
    };
    Blob::from_bytes(*dtype, tensor.shape(), tensor.as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::super::layers::tests::{images, tower};
    use super::super::super::layers::{Nearer, analyse};
    use super::super::mock::Mock;
    use super::*;
    use crate::compare::values::Tolerance;

    #[test]
    fn tract_runs_taps_and_single_nodes_like_the_reference() {
        let model = tower(1.0);
        let (mut a, mut b) = (TractEngine, Mock::sound("reference"));
        let said = analyse((&mut a, &mut b), [&model, &model], &images(), Tolerance::default()).unwrap();
        assert!(said.suspect.is_none() && said.layers.iter().all(|l| l.failed.is_none()), "{said:#?}");
        assert_eq!(said.layers[0].introduced.between, 0.0);
        assert!(
            said.nearer.is_some_and(|n| n != Nearer::A)
                || said.layers.last().unwrap().cumulative.a == Some(0.0)
        );
    }

    #[test]
    fn a_shape_that_another_node_gives_is_known_when_tract_plans() {
        let g = crate::graph::Graph::new("reshape");
        g.output("y", g.input("x", DType::F32, &[2, 3]).reshape(&[3, 2]));
        let mut model = g.to_model().unwrap();
        let graph = model.graph.as_mut().unwrap();
        let shape = graph.node[0].input[1].clone();
        let list = Blob::I64(ndarray::arr1(&[3i64, 2]).into_dyn());
        graph.initializer.clear();
        graph.input.push(list.value_info(&shape));
        let x = ndarray::arr2(&[[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]]).into_dyn();
        let found = TractEngine.run(&model, &[("x".into(), Blob::F32(x)), (shape, list)]).unwrap();
        assert_eq!((found[0].shape(), found[0].to_f64()[[2, 0]]), (&[3usize, 2][..], 5.0));
    }

    #[test]
    fn a_graph_that_tract_refuses_is_an_error_that_names_it() {
        let mut model = tower(1.0);
        model.graph.as_mut().unwrap().node[1].op_type = Some("NoSuchOperator".into());
        let error = TractEngine.run(&model, &images()).unwrap_err();
        assert!(error.to_string().contains("tract"));
    }
}
