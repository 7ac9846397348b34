//! Arithmetic, activations, comparisons.

use super::{Case, case};
use std::f64::consts::{E, LN_2};

/// An operator of one input at some numbers.
fn at(case: Case, pairs: &[(f64, f64)]) -> Case {
    let (x, y): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    case.on(&[pairs.len()], &x).gives(&[pairs.len()], &y)
}

pub fn cases() -> Vec<Case> {
    let third = 1.0 / 3.0;
    let mut cases = vec![
        at(case("Abs"), &[(-2.0, 2.0), (3.0, 3.0)]),
        at(case("Neg"), &[(-2.0, 2.0), (3.0, -3.0)]),
        at(case("Sqrt"), &[(9.0, 3.0), (2.25, 1.5)]),
        at(case("Exp"), &[(0.0, 1.0), (1.0, E)]),
        at(case("Log"), &[(1.0, 0.0), (2.0, LN_2)]),
        at(case("Reciprocal"), &[(4.0, 0.25), (-3.0, -third)]),
        at(case("Sign"), &[(-4.0, -1.0), (0.0, 0.0), (0.1, 1.0)]),
        at(case("Floor"), &[(-1.5, -2.0), (2.9, 2.0)]),
        at(case("Ceil"), &[(-1.5, -1.0), (2.1, 3.0)]),
        at(case("Round"), &[(0.5, 0.0), (1.5, 2.0), (-2.5, -2.0), (2.6, 3.0)]),
        at(case("Identity"), &[(0.5, 0.5), (-7.0, -7.0)]),
        at(case("Cast").int("to", 7), &[(1.9, 1.0), (-1.9, -1.0)]),
        at(case("Cast").int("to", 9), &[(0.5, 1.0), (0.0, 0.0)]),
        at(case("Cast").int("to", 1), &[(0.5, 0.5), (-2.0, -2.0)]),
        at(case("Relu"), &[(-1.0, 0.0), (2.0, 2.0)]),
        at(case("Sigmoid"), &[(0.0, 0.5), (2.0, 0.880_797_077_977_882_4)]),
        at(case("Tanh"), &[(0.0, 0.0), (1.0, 0.761_594_155_955_764_9)]),
        at(case("Softplus"), &[(0.0, LN_2), (1000.0, 1000.0), (-1000.0, 0.0)]),
        at(case("Softsign"), &[(1.0, 0.5), (-3.0, -0.75)]),
        at(case("Mish"), &[(0.0, 0.0), (1.0, 0.865_098_388_267_287_2)]),
        at(case("HardSwish"), &[(-3.0, 0.0), (1.0, 4.0 / 6.0), (5.0, 5.0)]),
        at(case("HardSigmoid"), &[(-3.0, 0.0), (1.0, f64::from(0.2f32) + 0.5), (5.0, 1.0)]),
        at(case("HardSigmoid").float("alpha", 0.25).float("beta", 0.0), &[(1.0, 0.25), (5.0, 1.0)]),
        at(case("Erf"), &[(0.5, 0.520_499_877_813_046_5), (-3.0, -0.999_977_909_503_001_4)]),
        at(case("Gelu").opset(20), &[(1.0, 0.841_344_746_068_542_9), (-1.0, -0.158_655_253_931_457_05)]),
        at(case("Gelu").opset(20).text("approximate", "tanh"), &[(1.0, 0.841_191_990_608_306_5), (0.0, 0.0)]),
        at(case("LeakyRelu"), &[(2.0, 2.0), (-2.0, f64::from(0.01f32) * -2.0)]),
        at(case("LeakyRelu").float("alpha", 0.25), &[(2.0, 2.0), (-2.0, -0.5)]),
        at(case("Elu").float("alpha", 2.0), &[(2.0, 2.0), (-1.0, -1.264_241_117_657_115_4)]),
        at(
            case("Selu").float("alpha", 2.0).float("gamma", 0.5),
            &[(2.0, 1.0), (-1.0, -0.632_120_558_828_557_7)],
        ),
        at(
            case("Clip").opset(6).float("min", -1.0).float("max", 2.0),
            &[(-5.0, -1.0), (0.5, 0.5), (7.0, 2.0)],
        ),
        case("Clip").on(&[3], &[-5.0, 0.5, 7.0]).on(&[], &[-1.0]).gives(&[3], &[-1.0, 0.5, 7.0]),
        case("Clip").on(&[2], &[-5.0, 7.0]).on_nothing().on(&[], &[2.0]).gives(&[2], &[-5.0, 2.0]),
        case("Clip").on(&[2], &[-5.0, 7.0]).on(&[], &[3.0]).on(&[], &[2.0]).gives(&[2], &[2.0, 2.0]),
        case("Dropout").on(&[2], &[3.0, 4.0]).gives(&[2], &[3.0, 4.0]).gives(&[2], &[1.0, 1.0]),
        case("PRelu")
            .on(&[1, 2, 2], &[-1.0, 2.0, -3.0, 4.0])
            .on(&[2, 1], &[0.5, 0.25])
            .gives(&[1, 2, 2], &[-0.5, 2.0, -0.75, 4.0]),
        case("Pow").on(&[3], &[2.0, 3.0, 4.0]).on(&[3], &[3.0, 2.0, 0.5]).gives(&[3], &[8.0, 9.0, 2.0]),
        case("Div").on(&[2], &[7.0, -7.0]).on(&[], &[2.0]).gives(&[2], &[3.5, -3.5]),
        case("Div").on_integers(&[2], &[7.0, -7.0]).on_integers(&[], &[2.0]).gives(&[2], &[3.0, -3.0]),
        case("Not").on_flags(&[2], &[1.0, 0.0]).gives(&[2], &[0.0, 1.0]),
        case("Where")
            .on_flags(&[2, 1], &[1.0, 0.0])
            .on(&[2], &[1.0, 2.0])
            .on(&[], &[9.0])
            .gives(&[2, 2], &[1.0, 2.0, 9.0, 9.0]),
    ];
    // Two columns against two rows.
    for (op, values) in [
        ("Add", [11.0, 12.0, 21.0, 22.0]),
        ("Sub", [9.0, 8.0, 19.0, 18.0]),
        ("Mul", [10.0, 20.0, 20.0, 40.0]),
        ("Div", [10.0, 5.0, 20.0, 10.0]),
        ("Max", [10.0, 10.0, 20.0, 20.0]),
        ("Min", [1.0, 2.0, 1.0, 2.0]),
        ("Sum", [11.0, 12.0, 21.0, 22.0]),
        ("Mean", [5.5, 6.0, 10.5, 11.0]),
    ] {
        cases.push(case(op).on(&[2, 1], &[10.0, 20.0]).on(&[2], &[1.0, 2.0]).gives(&[2, 2], &values));
    }
    for (op, values) in
        [("Sum", [6.0, 8.0]), ("Max", [3.0, 4.0]), ("Min", [1.0, 2.0]), ("Mean", [2.0, 8.0 / 3.0])]
    {
        cases
            .push(case(op).on(&[2], &[1.0, 2.0]).on(&[1], &[2.0]).on(&[2], &[3.0, 4.0]).gives(&[2], &values));
    }
    for (op, values) in [
        ("Equal", [0.0, 1.0, 0.0]),
        ("Less", [1.0, 0.0, 0.0]),
        ("LessOrEqual", [1.0, 1.0, 0.0]),
        ("Greater", [0.0, 0.0, 1.0]),
        ("GreaterOrEqual", [0.0, 1.0, 1.0]),
    ] {
        cases.push(case(op).on(&[3], &[1.0, 2.0, 3.0]).on(&[], &[2.0]).gives(&[3], &values));
    }
    for (op, values) in [("And", [1.0, 0.0, 0.0]), ("Or", [1.0, 1.0, 0.0])] {
        cases.push(
            case(op).on_flags(&[3], &[1.0, 0.0, 0.0]).on_flags(&[3], &[1.0, 1.0, 0.0]).gives(&[3], &values),
        );
    }
    cases
}
