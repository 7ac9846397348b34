//! Matrix products and normalisation.

use super::{Case, case};

pub fn cases() -> Vec<Case> {
    let a = |op: &str| case(op).on(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let half = std::f64::consts::FRAC_1_SQRT_2;
    let e = std::f64::consts::E;
    vec![
        a("MatMul").on_count(&[3, 2]).gives(&[2, 2], &[16.0, 22.0, 34.0, 49.0]),
        a("MatMul").on(&[3], &[1.0, 0.0, -1.0]).gives(&[2], &[-2.0, -2.0]),
        case("MatMul").on(&[2], &[1.0, 10.0]).on_count(&[2, 2, 1]).gives(&[2, 1], &[10.0, 32.0]),
        case("MatMul").on(&[2], &[1.0, 10.0]).on(&[2], &[3.0, 4.0]).gives(&[], &[43.0]),
        case("MatMul")
            .on_count(&[2, 1, 1, 2])
            .on(&[2, 2, 1], &[1.0, 0.0, 0.0, 1.0])
            .gives(&[2, 2, 1, 1], &[0.0, 1.0, 2.0, 3.0]),
        a("Gemm").on_count(&[3, 2]).on(&[2], &[100.0, 200.0]).gives(&[2, 2], &[116.0, 222.0, 134.0, 249.0]),
        a("Gemm").on_count(&[2, 2]).int("transA", 1).gives(&[3, 2], &[8.0, 13.0, 10.0, 17.0, 12.0, 21.0]),
        a("Gemm")
            .on_count(&[1, 3])
            .on(&[], &[1.0])
            .int("transB", 1)
            .float("alpha", 0.5)
            .float("beta", 2.0)
            .gives(&[2, 1], &[6.0, 10.5]),
        case("Gemm")
            .on(&[1, 2], &[1.0, 2.0])
            .on_count(&[3, 2])
            .on(&[3], &[1.0, 1.0, 1.0])
            .int("transB", 1)
            .gives(&[1, 3], &[3.0, 9.0, 15.0]),
        case("BatchNormalization")
            .on(&[1, 2, 2], &[1.0, 2.0, 3.0, 4.0])
            .on(&[2], &[1.0, 2.0])
            .on(&[2], &[0.0, 10.0])
            .on(&[2], &[1.0, 2.0])
            .on(&[2], &[3.0, 0.0])
            .float("epsilon", 1.0)
            .gives(&[1, 2, 2], &[0.0, 0.5, 12.0, 14.0]),
        case("InstanceNormalization")
            .on(&[1, 2, 2], &[0.0, 2.0, 5.0, 5.0])
            .on(&[2], &[2.0, 1.0])
            .on(&[2], &[1.0, 7.0])
            .float("epsilon", 3.0)
            .gives(&[1, 2, 2], &[0.0, 2.0, 7.0, 7.0]),
        case("LayerNormalization")
            .on(&[2, 2], &[0.0, 2.0, 4.0, 8.0])
            .on(&[2], &[1.0, 2.0])
            .on(&[2], &[0.0, 1.0])
            .float("epsilon", 0.0)
            .gives(&[2, 2], &[-1.0, 3.0, -1.0, 3.0]),
        case("LayerNormalization")
            .on(&[1, 2, 1], &[0.0, 2.0])
            .on(&[2, 1], &[1.0, 1.0])
            .int("axis", 1)
            .float("epsilon", 0.0)
            .gives(&[1, 2, 1], &[-1.0, 1.0]),
        case("LpNormalization").on(&[2, 2], &[3.0, 4.0, 0.0, 0.0]).gives(&[2, 2], &[0.6, 0.8, 0.0, 0.0]),
        case("LpNormalization")
            .on(&[2, 1], &[1.0, -3.0])
            .int("axis", 0)
            .int("p", 1)
            .gives(&[2, 1], &[0.25, -0.75]),
        case("LRN")
            .on(&[1, 3, 1], &[1.0, 2.0, 3.0])
            .int("size", 2)
            .float("alpha", 2.0)
            .float("beta", 0.5)
            .gives(&[1, 3, 1], &[1.0 / 6f64.sqrt(), 2.0 / 14f64.sqrt(), 3.0 / 10f64.sqrt()]),
        case("Softmax").on(&[1, 2], &[0.0, 1.0]).gives(&[1, 2], &[1.0 / (1.0 + e), e / (1.0 + e)]),
        case("Softmax").on(&[2, 1], &[1000.0, 1000.0]).int("axis", 0).gives(&[2, 1], &[0.5, 0.5]),
        case("Softmax").opset(11).on(&[1, 2, 2], &[0.0; 4]).int("axis", 1).gives(&[1, 2, 2], &[0.25; 4]),
        case("Softmax").on(&[1, 2, 2], &[0.0; 4]).int("axis", 1).gives(&[1, 2, 2], &[0.5; 4]),
        case("LogSoftmax").on(&[1, 2], &[0.0, 0.0]).gives(&[1, 2], &[2.0 * half.ln(), 2.0 * half.ln()]),
    ]
}
