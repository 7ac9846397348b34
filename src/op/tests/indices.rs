//! Places, running sums, sums by letters, and what came with newer exporters.

use super::{Case, case};

pub fn cases() -> Vec<Case> {
    [picking(), placing(), greatest(), running(), letters(), others()].into_iter().flatten().collect()
}

fn picking() -> Vec<Case> {
    vec![
        case("GatherElements")
            .on_count(&[2, 3])
            .on_integers(&[2, 2], &[1.0, 0.0, 0.0, -1.0])
            .gives(&[2, 2], &[3.0, 1.0, 0.0, 4.0]),
        case("GatherElements")
            .on_count(&[2, 3])
            .on_integers(&[2, 1], &[2.0, -3.0])
            .int("axis", 1)
            .gives(&[2, 1], &[2.0, 3.0]),
        case("GatherND")
            .on_count(&[2, 2, 2])
            .on_integers(&[2, 2], &[0.0, 1.0, 1.0, 0.0])
            .gives(&[2, 2], &[2.0, 3.0, 4.0, 5.0]),
        case("GatherND").on_count(&[2, 3]).on_integers(&[2], &[-1.0, 1.0]).gives(&[], &[4.0]),
        case("GatherND")
            .on_count(&[2, 2, 2])
            .on_integers(&[2, 1], &[1.0, 0.0])
            .int("batch_dims", 1)
            .gives(&[2, 2], &[2.0, 3.0, 4.0, 5.0]),
    ]
}

fn placing() -> Vec<Case> {
    let zeros = || case("ScatterND").on(&[3, 2], &[0.0; 6]);
    vec![
        zeros()
            .on_integers(&[2, 1], &[2.0, 0.0])
            .on_count(&[2, 2])
            .gives(&[3, 2], &[2.0, 3.0, 0.0, 0.0, 0.0, 1.0]),
        zeros()
            .on_integers(&[2, 2], &[1.0, 1.0, 1.0, -1.0])
            .on(&[2], &[5.0, 7.0])
            .text("reduction", "add")
            .gives(&[3, 2], &[0.0, 0.0, 0.0, 12.0, 0.0, 0.0]),
        zeros()
            .on_integers(&[1, 2], &[0.0, 0.0])
            .on(&[1], &[-4.0])
            .text("reduction", "max")
            .gives(&[3, 2], &[0.0; 6]),
    ]
}

fn greatest() -> Vec<Case> {
    let row = |op: &str| case(op).on(&[2, 3], &[1.0, 5.0, 5.0, 9.0, -2.0, 0.0]);
    vec![
        row("TopK").on_list(&[2]).gives(&[2, 2], &[5.0, 5.0, 9.0, 0.0]).gives(&[2, 2], &[1.0, 2.0, 0.0, 2.0]),
        row("TopK")
            .on_list(&[1])
            .int("largest", 0)
            .int("axis", 0)
            .gives(&[1, 3], &[1.0, -2.0, 0.0])
            .gives(&[1, 3], &[0.0, 1.0, 1.0]),
        row("TopK").int("k", 1).opset(9).gives(&[2, 1], &[5.0, 9.0]).gives(&[2, 1], &[1.0, 0.0]),
        row("ArgMin").gives(&[1, 3], &[0.0, 1.0, 1.0]),
        row("ArgMin").int("axis", 1).int("keepdims", 0).gives(&[2], &[0.0, 1.0]),
        case("ArgMin").on(&[3], &[2.0, 1.0, 1.0]).int("select_last_index", 1).gives(&[1], &[2.0]),
    ]
}

fn running() -> Vec<Case> {
    let sums = || case("CumSum").on(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    vec![
        sums().on_list(&[1]).gives(&[2, 3], &[1.0, 3.0, 6.0, 4.0, 9.0, 15.0]),
        sums().on_integers(&[], &[-1.0]).int("reverse", 1).gives(&[2, 3], &[6.0, 5.0, 3.0, 15.0, 11.0, 6.0]),
        sums().on_list(&[0]).int("exclusive", 1).gives(&[2, 3], &[0.0, 0.0, 0.0, 1.0, 2.0, 3.0]),
        case("Trilu").on_count(&[2, 3]).gives(&[2, 3], &[0.0, 1.0, 2.0, 0.0, 4.0, 5.0]),
        case("Trilu")
            .on_count(&[2, 3])
            .on_integers(&[], &[-1.0])
            .int("upper", 0)
            .gives(&[2, 3], &[0.0, 0.0, 0.0, 3.0, 0.0, 0.0]),
    ]
}

fn letters() -> Vec<Case> {
    let pair = || case("Einsum").on(&[2, 2], &[1.0, 2.0, 3.0, 4.0]).on(&[2, 2], &[0.0, 1.0, 1.0, 1.0]);
    vec![
        pair().text("equation", "ij, jk -> ik").gives(&[2, 2], &[2.0, 3.0, 4.0, 7.0]),
        pair().text("equation", "ij,kj").gives(&[2, 2], &[2.0, 3.0, 4.0, 7.0]),
        pair().text("equation", "ij,ij->").gives(&[], &[9.0]),
        case("Einsum").on_count(&[2, 2]).text("equation", "ii->i").gives(&[2], &[0.0, 3.0]),
        case("Einsum")
            .on_count(&[2, 3])
            .text("equation", "ij->ji")
            .gives(&[3, 2], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]),
    ]
}

fn others() -> Vec<Case> {
    let groups = || case("GroupNormalization").on(&[1, 4, 1], &[1.0, 3.0, 10.0, 10.0]).int("num_groups", 2);
    let uneven = |case: Case| case.float("epsilon", 3.0);
    vec![
        // Variance 1 and 0; with ε = 3 the deviations are 2 and √3.
        uneven(groups().opset(18).on(&[2], &[2.0, 1.0]).on(&[2], &[0.0, 7.0]))
            .gives(&[1, 4, 1], &[-1.0, 1.0, 7.0, 7.0]),
        uneven(groups().opset(21).on(&[4], &[2.0, 4.0, 1.0, 1.0]).on(&[4], &[0.0, 1.0, 0.0, 5.0]))
            .gives(&[1, 4, 1], &[-1.0, 3.0, 0.0, 5.0]),
        case("Size").on_count(&[2, 3, 4]).gives(&[], &[24.0]),
        case("Mod")
            .on_integers(&[4], &[5.0, -5.0, 5.0, -5.0])
            .on_integers(&[4], &[3.0, 3.0, -3.0, -3.0])
            .gives(&[4], &[2.0, 1.0, -1.0, -2.0]),
        case("Mod").on(&[2], &[-5.5, 5.5]).on(&[1], &[2.0]).int("fmod", 1).gives(&[2], &[-1.5, 1.5]),
        case("Sin").on(&[2], &[0.0, std::f64::consts::FRAC_PI_2]).gives(&[2], &[0.0, 1.0]),
        case("Cos").on(&[2], &[0.0, std::f64::consts::PI]).gives(&[2], &[1.0, -1.0]),
        case("ReduceLogSumExp")
            .on(&[2, 2], &[0.0, 0.0, 1000.0, 1000.0])
            .on_list(&[1])
            .gives(&[2, 1], &[std::f64::consts::LN_2, 1000.0 + std::f64::consts::LN_2]),
    ]
}
