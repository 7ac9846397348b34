//! Layout, selection, constants, reductions.

use super::{Case, case, count_up, integers};
use crate::onnx::Tensor;

const MAX: i64 = i64::MAX;

pub fn cases() -> Vec<Case> {
    [layout(), padding(), selection(), constants(), reductions()].into_iter().flatten().collect()
}

/// A case that gives `0, 1, 2, …` in another shape.
fn refilled(case: Case, shape: &[usize]) -> Case {
    let values: Vec<f64> = count_up(shape).iter().copied().collect();
    case.gives(shape, &values)
}

fn layout() -> Vec<Case> {
    let x = |op: &str| case(op).on_count(&[2, 3]);
    vec![
        refilled(x("Reshape").on_list(&[3, 2]), &[3, 2]),
        refilled(x("Reshape").on_list(&[0, -1, 1]), &[2, 3, 1]),
        refilled(case("Reshape").on_count(&[2, 0]).on_list(&[0, 4]).int("allowzero", 1), &[0, 4]),
        refilled(case("Reshape").opset(1).on_count(&[2, 3]).ints("shape", &[-1]), &[6]),
        refilled(case("Flatten").on_count(&[2, 3, 2]), &[2, 6]),
        refilled(case("Flatten").on_count(&[2, 3, 2]).int("axis", -1), &[6, 2]),
        refilled(case("Flatten").on_count(&[2, 3]).int("axis", 0), &[1, 6]),
        refilled(case("Flatten").on_count(&[2, 3]).int("axis", 2), &[6, 1]),
        refilled(case("Squeeze").on_count(&[1, 2, 1]), &[2]),
        refilled(case("Squeeze").on_count(&[1, 2, 1]).on_list(&[-1]), &[1, 2]),
        refilled(case("Squeeze").opset(11).on_count(&[1, 2, 1]).ints("axes", &[0]), &[2, 1]),
        refilled(x("Unsqueeze").on_list(&[0, -1]), &[1, 2, 3, 1]),
        refilled(x("Unsqueeze").opset(11).ints("axes", &[1]), &[2, 1, 3]),
        x("Transpose").gives(&[3, 2], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]),
        case("Transpose")
            .on_count(&[1, 2, 2])
            .ints("perm", &[2, 0, 1])
            .gives(&[2, 1, 2], &[0.0, 2.0, 1.0, 3.0]),
        case("Expand").on_count(&[2, 1]).on_list(&[2]).gives(&[2, 2], &[0.0, 0.0, 1.0, 1.0]),
        case("Concat")
            .on_count(&[2, 1])
            .on(&[2, 2], &[7.0, 8.0, 9.0, 10.0])
            .int("axis", -1)
            .gives(&[2, 3], &[0.0, 7.0, 8.0, 1.0, 9.0, 10.0]),
        case("Concat").on_list(&[1]).on_list(&[2, 3]).int("axis", 0).gives(&[3], &[1.0, 2.0, 3.0]),
        case("Split").on_count(&[1, 3]).int("axis", 1).gives(&[1, 2], &[0.0, 1.0]).gives(&[1, 1], &[2.0]),
        case("Split").on_count(&[3]).on_list(&[1, 2]).gives(&[1], &[0.0]).gives(&[2], &[1.0, 2.0]),
        case("Split")
            .opset(11)
            .on_count(&[3])
            .ints("split", &[2, 1])
            .gives(&[2], &[0.0, 1.0])
            .gives(&[1], &[2.0]),
        case("Tile")
            .on_count(&[1, 2])
            .on_list(&[2, 2])
            .gives(&[2, 4], &[0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]),
        case("DepthToSpace")
            .on_count(&[1, 4, 1, 2])
            .int("blocksize", 2)
            .gives(&[1, 1, 2, 4], &[0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]),
        case("DepthToSpace")
            .on_count(&[1, 8, 1, 1])
            .int("blocksize", 2)
            .gives(&[1, 2, 2, 2], &[0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]),
        case("DepthToSpace")
            .on_count(&[1, 8, 1, 1])
            .int("blocksize", 2)
            .text("mode", "CRD")
            .gives(&[1, 2, 2, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]),
        case("SpaceToDepth")
            .on_count(&[1, 1, 2, 4])
            .int("blocksize", 2)
            .gives(&[1, 4, 1, 2], &[0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]),
    ]
}

fn padding() -> Vec<Case> {
    let x = || case("Pad").on(&[3], &[1.0, 2.0, 3.0]);
    vec![
        x().on_list(&[1, 2]).gives(&[6], &[0.0, 1.0, 2.0, 3.0, 0.0, 0.0]),
        x().on_list(&[-1, 1]).on(&[], &[9.0]).gives(&[3], &[2.0, 3.0, 9.0]),
        x().on_list(&[2, 2]).text("mode", "edge").gives(&[7], &[1.0, 1.0, 1.0, 2.0, 3.0, 3.0, 3.0]),
        x().on_list(&[2, 1]).text("mode", "reflect").gives(&[6], &[3.0, 2.0, 1.0, 2.0, 3.0, 2.0]),
        x().on_list(&[1, 1]).text("mode", "wrap").gives(&[5], &[3.0, 1.0, 2.0, 3.0, 1.0]),
        case("Pad")
            .opset(10)
            .on(&[1, 1], &[5.0])
            .ints("pads", &[0, 1, 1, 0])
            .float("value", 2.0)
            .gives(&[2, 2], &[2.0, 5.0, 2.0, 2.0]),
        case("Pad")
            .opset(18)
            .on(&[1, 2], &[5.0, 6.0])
            .on_list(&[1, 0])
            .on_nothing()
            .on_list(&[-1])
            .gives(&[1, 3], &[0.0, 5.0, 6.0]),
    ]
}

fn selection() -> Vec<Case> {
    let x = || case("Slice").on_count(&[6]);
    vec![
        x().on_list(&[1]).on_list(&[-1]).gives(&[4], &[1.0, 2.0, 3.0, 4.0]),
        x().on_list(&[-3]).on_list(&[MAX]).gives(&[3], &[3.0, 4.0, 5.0]),
        x().on_list(&[0]).on_list(&[MAX]).on_list(&[0]).on_list(&[4]).gives(&[2], &[0.0, 4.0]),
        x().on_list(&[-1]).on_list(&[i64::MIN]).on_list(&[0]).on_list(&[-2]).gives(&[3], &[5.0, 3.0, 1.0]),
        x().on_list(&[4]).on_list(&[0]).on_list(&[0]).on_list(&[-3]).gives(&[2], &[4.0, 1.0]),
        x().on_list(&[4]).on_list(&[2]).gives(&[0], &[]),
        case("Slice")
            .opset(9)
            .on_count(&[2, 2])
            .ints("starts", &[1])
            .ints("ends", &[9])
            .ints("axes", &[1])
            .gives(&[2, 1], &[1.0, 3.0]),
        case("Gather").on_count(&[3, 2]).on_list(&[2, -3]).gives(&[2, 2], &[4.0, 5.0, 0.0, 1.0]),
        case("Gather").on_count(&[2, 2]).on_integers(&[], &[1.0]).int("axis", 1).gives(&[2], &[1.0, 3.0]),
        case("Gather").on_list(&[5, 6, 7]).on_integers(&[], &[1.0]).gives(&[], &[6.0]),
        case("OneHot")
            .on_list(&[1, -1])
            .on_list(&[3])
            .on(&[2], &[2.0, 9.0])
            .gives(&[2, 3], &[2.0, 9.0, 2.0, 2.0, 2.0, 9.0]),
        case("OneHot")
            .on_list(&[1, 0])
            .on_list(&[2])
            .on(&[2], &[0.0, 1.0])
            .int("axis", 0)
            .gives(&[2, 2], &[0.0, 1.0, 1.0, 0.0]),
        case("ArgMax")
            .on(&[2, 3], &[1.0, 5.0, 5.0, 7.0, 2.0, 3.0])
            .int("axis", 1)
            .gives(&[2, 1], &[1.0, 0.0]),
        case("ArgMax")
            .on(&[3], &[1.0, 5.0, 5.0])
            .int("keepdims", 0)
            .int("select_last_index", 1)
            .gives(&[], &[2.0]),
    ]
}

fn constants() -> Vec<Case> {
    let seven = Tensor::F32(ndarray::arr1(&[7.0f32]).into_dyn()).to_proto("t");
    vec![
        case("Constant").tensor("value", integers(&[2], &[3, -4])).gives(&[2], &[3.0, -4.0]),
        case("Constant").int("value_int", 5).gives(&[], &[5.0]),
        case("Constant").float("value_float", 0.5).gives(&[], &[0.5]),
        case("Constant").ints("value_ints", &[1, 2]).gives(&[2], &[1.0, 2.0]),
        case("Constant").floats("value_floats", &[0.25]).gives(&[1], &[0.25]),
        case("ConstantOfShape").on_list(&[2, 1]).gives(&[2, 1], &[0.0, 0.0]),
        case("ConstantOfShape").on_list(&[2]).tensor("value", seven).gives(&[2], &[7.0, 7.0]),
        case("Shape").on_count(&[2, 3, 1]).gives(&[3], &[2.0, 3.0, 1.0]),
        case("Shape").on_count(&[2, 3, 1]).int("start", -2).int("end", 2).gives(&[1], &[3.0]),
        case("Range")
            .on_integers(&[], &[1.0])
            .on_integers(&[], &[8.0])
            .on_integers(&[], &[3.0])
            .gives(&[3], &[1.0, 4.0, 7.0]),
        case("Range")
            .on_integers(&[], &[2.0])
            .on_integers(&[], &[0.0])
            .on_integers(&[], &[-1.0])
            .gives(&[2], &[2.0, 1.0]),
    ]
}

fn reductions() -> Vec<Case> {
    let x = |op: &str| case(op).on(&[2, 2], &[1.0, -2.0, 3.0, 4.0]);
    let mut cases = vec![
        x("ReduceSum").on_list(&[0]).int("keepdims", 0).gives(&[2], &[4.0, 2.0]),
        x("ReduceSum").on_list(&[-1]).gives(&[2, 1], &[-1.0, 7.0]),
        x("ReduceSum").on_list(&[]).int("noop_with_empty_axes", 1).gives(&[2, 2], &[1.0, -2.0, 3.0, 4.0]),
        case("ReduceMean")
            .on_count(&[1, 2, 2, 3])
            .ints("axes", &[2, 3])
            .int("keepdims", 0)
            .gives(&[1, 2], &[2.5, 8.5]),
        case("ReduceMax").on_count(&[2, 2, 2]).ints("axes", &[0, 2]).gives(&[1, 2, 1], &[5.0, 7.0]),
    ];
    for (op, value) in [
        ("ReduceSum", 6.0),
        ("ReduceMean", 1.5),
        ("ReduceMax", 4.0),
        ("ReduceMin", -2.0),
        ("ReduceProd", -24.0),
        ("ReduceL1", 10.0),
        ("ReduceL2", 5.477_225_575_051_661),
        ("ReduceSumSquare", 30.0),
    ] {
        cases.push(x(op).gives(&[1, 1], &[value]));
    }
    cases
}
