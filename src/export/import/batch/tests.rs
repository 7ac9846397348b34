//! Graphs with a fixed batch, in the ways exporters write it down, run by the interpreter: the tower's rows
//! for any batch are what the model gave for each picture at its own.
#![allow(clippy::unwrap_used)]

use crate::export::import::tests::forms::{Form, as_given, rows};
use crate::export::{Batch, Foreign, ImportOptions};
use crate::onnx::AttributeProto;
use ndarray::Array4;

fn pictures() -> Array4<u8> {
    Array4::from_shape_fn((5, 3, 4, 4), |(n, c, y, x)| {
        ((n * 97 + c * 61 + y * 43 + x * 19 + n * x * 7) % 251) as u8
    })
}

/// The tower of a form; its rows are those of the model for batches of 5 and of 1.
fn freed(form: &Form) -> Vec<String> {
    let foreign = form.read(&ImportOptions::default());
    assert_eq!(foreign.batches()[0], Batch::Free, "{:?}", foreign.freed.as_ref().err());
    let imported = foreign.tower(Batch::Free, foreign.dim().unwrap(), &[]).unwrap();
    same(form, &foreign, &imported.model);
    imported.notes
}

fn same(form: &Form, foreign: &Foreign, tower: &crate::onnx::ModelProto) {
    let pictures = pictures();
    let wanted = as_given(&form.model(), foreign, &pictures);
    let batch = if tower.metadata("siamese.batch").is_some() { 1 } else { 5 };
    for size in [batch, 1] {
        let found = rows(tower, &pictures, size);
        assert_eq!(found.dim(), wanted.dim());
        let apart = (&found - &wanted).mapv(f64::abs).fold(0.0, |a: f64, b| a.max(*b));
        assert!(apart < 1e-6, "batches of {size}: {apart}\n{found}\n{wanted}");
    }
    assert!(wanted.row(0) != wanted.row(1), "the pictures' embeddings differ");
}

/// Patches of 2×2 pixels as rows `[B, 4, 6]`.
fn patches(batch: usize) -> Form {
    Form::new(&[batch, 3, 4, 4])
        .weight("w", &[6, 3, 2, 2])
        .node("x w", "Conv", "maps", vec![AttributeProto::ints("strides", vec![2, 2])])
        .list("flat", &[batch as i64, 6, 4])
        .node("maps flat", "Reshape", "channels", vec![AttributeProto::flag("allowzero", true)])
        .node("channels", "Transpose", "rows", vec![AttributeProto::ints("perm", vec![0, 2, 1])])
}

#[test]
fn class_tokens_and_positions_are_given_to_every_picture() {
    for batch in [1, 3] {
        // The same token for each picture of the batch.
        let form = patches(batch)
            .repeated("token", &[batch, 1, 6])
            .node("token rows", "Concat", "tokens", vec![AttributeProto::int("axis", 1)])
            .weight("positions", &[1, 5, 6])
            .node("tokens positions", "Add", "placed", vec![])
            .node("placed", "Softmax", "shares", vec![AttributeProto::int("axis", -1)])
            .node(
                "shares",
                "ReduceMean",
                "y",
                vec![AttributeProto::ints("axes", vec![1]), AttributeProto::int("keepdims", 0)],
            );
        let notes = freed(&form.output(&[batch, 6]));
        assert!(notes.iter().any(|n| n.contains("Concat") && n.contains("Reshape")), "{notes:?}");
    }
}

#[test]
fn windows_and_their_masks_are_repeated_for_every_picture() {
    for batch in [1, 2] {
        let b = batch as i64;
        let form = patches(batch)
            .list("in", &[b, 2, 2, 6])
            .node("rows in", "Reshape", "square", vec![])
            .node("square", "Transpose", "columns", vec![AttributeProto::ints("perm", vec![0, 2, 1, 3])])
            .list("windows", &[b * 2, 2, 6])
            .node("columns windows", "Reshape", "win", vec![])
            .repeated("mask", &[batch * 2, 2, 6])
            .node("win mask", "Add", "masked", vec![])
            .node("masked", "Softmax", "attended", vec![AttributeProto::int("axis", 1)])
            .list("back", &[b, 2, 2, 6])
            .node("attended back", "Reshape", "whole", vec![])
            .node(
                "whole",
                "ReduceMean",
                "y",
                vec![AttributeProto::ints("axes", vec![1, 2]), AttributeProto::int("keepdims", 0)],
            );
        freed(&form.output(&[batch, 6]));
    }
}

/// As PyTorch's attention has it: `[L, N, E]` → `[L, N·heads, E / heads]` → `[N·heads, L, E / heads]`.
#[test]
fn heads_fold_into_a_batch_that_is_not_the_first_axis() {
    let form = patches(1)
        .node("rows", "Transpose", "long", vec![AttributeProto::ints("perm", vec![1, 0, 2])])
        .list("heads", &[4, 2, 3])
        .node("long heads", "Reshape", "split", vec![])
        .node("split", "Transpose", "q", vec![AttributeProto::ints("perm", vec![1, 0, 2])])
        .node("q", "Transpose", "k", vec![AttributeProto::ints("perm", vec![0, 2, 1])])
        .node("q k", "MatMul", "scores", vec![])
        .node("scores", "Softmax", "shares", vec![AttributeProto::int("axis", -1)])
        .node("shares q", "MatMul", "heard", vec![])
        .node("heard", "Transpose", "turned", vec![AttributeProto::ints("perm", vec![1, 0, 2])])
        .list("joined", &[4, 1, 6])
        .node("turned joined", "Reshape", "all", vec![])
        .node(
            "all",
            "ReduceMean",
            "y",
            vec![AttributeProto::ints("axes", vec![0]), AttributeProto::int("keepdims", 0)],
        );
    freed(&form.output(&[1, 6]));
}

#[test]
fn a_picture_that_lost_its_batch_axis_gets_it_back() {
    let pooled = || patches(1).node("rows", "ReduceMax", "top", vec![AttributeProto::ints("axes", vec![1])]);
    let keep = || vec![AttributeProto::int("keepdims", 0)];
    // All axes of size 1 squeezed away, with weights and lengths after it.
    let squeezed = pooled()
        .node("top", "Squeeze", "lost", vec![])
        .weight("head", &[6, 5])
        .node("lost head", "MatMul", "scores", vec![])
        .node("scores", "ReduceL2", "length", vec![AttributeProto::ints("axes", vec![0])])
        .node("scores length", "Div", "y", vec![]);
    freed(&squeezed.output(&[5]));
    // One by one, and back.
    let (both, zero) = ([0, 1], AttributeProto::ints("axes", vec![0]));
    let back = pooled()
        .list("both", &both)
        .node("top both", "Squeeze", "lost", vec![])
        .node("lost", "Relu", "r", vec![])
        .list("front", &[0])
        .node("r front", "Unsqueeze", "y", vec![]);
    freed(&back.output(&[1, 6]));
    // The first picture, the mean of one picture, a list of all numbers.
    let first =
        pooled().scalar("first", 0).node("top first", "Gather", "one", vec![AttributeProto::int("axis", 0)]);
    freed(&first.node("one", "ReduceMean", "y", [vec![zero], keep()].concat()).output(&[6]));
    let list = pooled().list("all", &[-1]).node("top all", "Reshape", "y", vec![]);
    freed(&list.output(&[6]));
}

#[test]
fn an_open_batch_that_is_squeezed_away_for_one_picture_stays() {
    let form = patches(1)
        .open_batch()
        .node("rows", "ReduceMax", "top", vec![AttributeProto::ints("axes", vec![1])])
        .node("top", "Squeeze", "y", vec![]);
    freed(&form.output(&[1, 6]));
}

#[test]
fn what_mixes_pictures_takes_one_at_a_time_and_says_why() {
    // Shares of a batch, and sums over it.
    let across = |op: &str, axis: i64| {
        let attributes = match op {
            "Softmax" => vec![AttributeProto::int("axis", axis)],
            _ => vec![AttributeProto::ints("axes", vec![axis])],
        };
        patches(2).node("rows", op, "mixed", attributes).node(
            "mixed",
            "ReduceMax",
            "y",
            vec![AttributeProto::ints("axes", vec![1]), AttributeProto::int("keepdims", 0)],
        )
    };
    for form in [across("Softmax", 0), across("CumSum", 0)] {
        let form = match form.nodes.iter().any(|n| n.op_type() == "CumSum") {
            true => form.scalar("along", 0).more_input("CumSum", "along"),
            false => form,
        };
        let form = form.output(&[2, 6]);
        let foreign = form.read(&ImportOptions::default());
        assert_eq!(foreign.batches(), [Batch::One]);
        let imported = foreign.tower(Batch::One, 6, &[]).unwrap();
        let told = imported.notes.join("\n");
        assert!(told.contains("one picture at a time") && told.contains("across the pictures"), "{told}");
        assert_eq!(imported.model.metadata("siamese.batch"), Some("1"));
        // Rows of a batch of equal pictures: what the model gives for each.
        let wanted = as_given(&form.model(), &foreign, &pictures());
        let found = rows(&imported.model, &pictures(), 1);
        assert!((&found - &wanted).iter().all(|gap| gap.abs() < 1e-6), "{found} for {wanted}");
    }
}
