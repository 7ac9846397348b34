//! The walks over the graphs that this crate writes and ships.
#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::onnx::{ValueInfoProto, type_proto};
use crate::op::Type;
use prost::Message;
use std::path::PathBuf;

/// Every ONNX file of the shipped recipes.
fn shipped() -> Vec<PathBuf> {
    let recipes = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/onnx")).unwrap();
    let files = recipes.flat_map(|recipe| std::fs::read_dir(recipe.unwrap().path()).unwrap());
    let models = files.map(|f| f.unwrap().path()).filter(|f| f.extension().is_some_and(|e| e == "onnx"));
    models.collect()
}

fn read(path: &PathBuf) -> ModelProto {
    ModelProto::decode(std::fs::read(path).unwrap().as_slice()).unwrap()
}

/// What a file says of a value.
fn said(value: &ValueInfoProto) -> Type {
    let open = |_: usize, symbol: Option<&str>| crate::op::Dim::symbol(symbol.unwrap());
    assert!(matches!(value.r#type.as_ref().unwrap().value, Some(type_proto::Value::Tensor(_))));
    Type::of_proto(value.r#type.as_ref().unwrap(), open)
}

/// The graph builder and the rules of operators were written apart: they tell the same of every value.
#[test]
fn the_types_of_all_shipped_graphs_are_told_from_their_inputs() {
    let mut told = 0;
    for path in shipped() {
        let model = read(&path);
        let mut bare = model.clone();
        let graph = bare.graph.as_mut().unwrap();
        graph.value_info.clear();
        graph.output.clear();
        let types = Types::of(&bare).unwrap();
        let graph = model.graph.as_ref().unwrap();
        for value in graph.value_info.iter().chain(&graph.output) {
            let found = types.get(value.name()).unwrap();
            let found = Type { value: None, ..found.clone() };
            assert_eq!(found, said(value), "{} {}", path.display(), value.name());
            told += 1;
        }
    }
    assert!(told > 2000, "{told}");
}

#[test]
fn values_that_the_walk_does_not_know_are_taken_from_the_file() {
    let path = shipped().into_iter().find(|p| p.ends_with("omniglot-edge/tower.onnx")).unwrap();
    let mut model = read(&path);
    let graph = model.graph.as_mut().unwrap();
    graph.node.last_mut().unwrap().domain = Some("elsewhere".into());
    let types = Types::with_batch(&model, 3).unwrap();
    assert_eq!(types.get("embedding").unwrap().to_string(), "float32 [3, 128]");
    assert_eq!(types.get("image").unwrap().to_string(), "uint8 [3, 1, 32, 32]");
    assert!(types.get("no such value").is_none());
}

#[test]
fn towers_cost_the_same_whoever_counts() {
    let path = shipped().into_iter().find(|p| p.ends_with("omniglot-edge/tower.onnx")).unwrap();
    let model = read(&path);
    let counted = flop(&model).unwrap();
    let recipe = crate::model::tests::shipped_named("omniglot-edge");
    assert_eq!(counted, crate::model::cost(&recipe).unwrap().flop);
    // Where a product's shapes are not known, nothing is.
    let mut open = model;
    open.graph.as_mut().unwrap().input[0].r#type = None;
    assert_eq!(flop(&open), None);
}
