//! Convolutions, pools, resizing.

use super::{Case, case};

pub fn cases() -> Vec<Case> {
    [convolutions(), transposed(), pools(), resizes()].into_iter().flatten().collect()
}

fn convolutions() -> Vec<Case> {
    let x = || case("Conv").on_count(&[1, 1, 3, 3]);
    vec![
        // 0 1 2 / 3 4 5 / 6 7 8 under a kernel that takes the upper left from the lower right.
        x().on(&[1, 1, 2, 2], &[-1.0, 0.0, 0.0, 1.0]).gives(&[1, 1, 2, 2], &[4.0; 4]),
        x().on(&[1, 1, 1, 1], &[2.0])
            .on(&[1], &[1.0])
            .ints("strides", &[2, 2])
            .gives(&[1, 1, 2, 2], &[1.0, 5.0, 13.0, 17.0]),
        x().on(&[1, 1, 2, 2], &[1.0; 4]).ints("dilations", &[2, 2]).gives(&[1, 1, 1, 1], &[16.0]),
        x().on(&[1, 1, 3, 1], &[1.0; 3])
            .ints("pads", &[1, 0, 0, 0])
            .gives(&[1, 1, 2, 3], &[3.0, 5.0, 7.0, 9.0, 12.0, 15.0]),
        x().on(&[1, 1, 2, 2], &[1.0; 4])
            .text("auto_pad", "SAME_UPPER")
            .gives(&[1, 1, 3, 3], &[8.0, 12.0, 7.0, 20.0, 24.0, 13.0, 13.0, 15.0, 8.0]),
        x().on(&[1, 1, 2, 2], &[1.0; 4])
            .text("auto_pad", "SAME_LOWER")
            .ints("strides", &[2, 2])
            .gives(&[1, 1, 2, 2], &[0.0, 3.0, 9.0, 24.0]),
        x().on(&[1, 1, 2, 2], &[1.0; 4])
            .text("auto_pad", "VALID")
            .gives(&[1, 1, 2, 2], &[8.0, 12.0, 20.0, 24.0]),
        // Two groups of one channel each.
        case("Conv")
            .on_count(&[1, 2, 1, 2])
            .on(&[4, 1, 1, 1], &[1.0, 10.0, 1.0, -1.0])
            .int("group", 2)
            .gives(&[1, 4, 1, 2], &[0.0, 1.0, 0.0, 10.0, 2.0, 3.0, -2.0, -3.0]),
        // Two images of two channels each.
        case("Conv")
            .on_count(&[2, 2, 1, 1])
            .on(&[1, 2, 1, 1], &[1.0, 10.0])
            .gives(&[2, 1, 1, 1], &[10.0, 32.0]),
    ]
}

fn transposed() -> Vec<Case> {
    let x = || case("ConvTranspose").on(&[1, 1, 1, 2], &[1.0, 10.0]);
    let kernel = [1.0, 2.0, 3.0];
    vec![
        x().on(&[1, 1, 1, 3], &kernel).gives(&[1, 1, 1, 4], &[1.0, 12.0, 23.0, 30.0]),
        x().on(&[1, 1, 1, 3], &kernel)
            .on(&[1], &[100.0])
            .ints("strides", &[1, 2])
            .gives(&[1, 1, 1, 5], &[101.0, 102.0, 113.0, 120.0, 130.0]),
        x().on(&[1, 1, 1, 3], &kernel)
            .ints("strides", &[1, 2])
            .ints("pads", &[0, 1, 0, 0])
            .ints("output_padding", &[0, 1])
            .gives(&[1, 1, 1, 5], &[2.0, 13.0, 20.0, 30.0, 0.0]),
        x().on(&[1, 1, 1, 2], &[1.0, 2.0])
            .ints("dilations", &[1, 2])
            .gives(&[1, 1, 1, 4], &[1.0, 10.0, 2.0, 20.0]),
        x().on(&[1, 1, 1, 3], &kernel)
            .ints("strides", &[1, 2])
            .text("auto_pad", "SAME_UPPER")
            .gives(&[1, 1, 1, 4], &[1.0, 2.0, 13.0, 20.0]),
        x().on(&[1, 1, 1, 3], &kernel)
            .ints("strides", &[1, 2])
            .ints("output_shape", &[1, 4])
            .gives(&[1, 1, 1, 4], &[2.0, 13.0, 20.0, 30.0]),
        case("ConvTranspose")
            .on(&[1, 2, 1, 1], &[1.0, 10.0])
            .on(&[2, 1, 1, 2], &[1.0, 2.0, 3.0, 4.0])
            .int("group", 2)
            .gives(&[1, 2, 1, 2], &[1.0, 2.0, 30.0, 40.0]),
        case("ConvTranspose")
            .on(&[1, 2, 1, 1], &[1.0, 10.0])
            .on(&[2, 2, 1, 1], &[1.0, 2.0, 3.0, 4.0])
            .gives(&[1, 2, 1, 1], &[31.0, 42.0]),
    ]
}

fn pools() -> Vec<Case> {
    let x = |op: &str| case(op).on_count(&[1, 1, 3, 3]).ints("kernel_shape", &[2, 2]);
    vec![
        x("MaxPool").gives(&[1, 1, 2, 2], &[4.0, 5.0, 7.0, 8.0]),
        x("MaxPool").ints("strides", &[2, 2]).gives(&[1, 1, 1, 1], &[4.0]),
        x("MaxPool").ints("strides", &[2, 2]).int("ceil_mode", 1).gives(&[1, 1, 2, 2], &[4.0, 5.0, 7.0, 8.0]),
        x("MaxPool").ints("dilations", &[2, 2]).gives(&[1, 1, 1, 1], &[8.0]),
        x("MaxPool")
            .ints("pads", &[1, 1, 0, 0])
            .ints("strides", &[2, 2])
            .gives(&[1, 1, 2, 2], &[0.0, 2.0, 6.0, 8.0]),
        x("MaxPool").text("auto_pad", "SAME_UPPER").ints("strides", &[3, 3]).gives(&[1, 1, 1, 1], &[4.0]),
        x("AveragePool").gives(&[1, 1, 2, 2], &[2.0, 3.0, 5.0, 6.0]),
        x("AveragePool")
            .ints("strides", &[2, 2])
            .int("ceil_mode", 1)
            .gives(&[1, 1, 2, 2], &[2.0, 3.5, 6.5, 8.0]),
        x("AveragePool")
            .ints("pads", &[1, 1, 0, 0])
            .ints("strides", &[2, 2])
            .gives(&[1, 1, 2, 2], &[0.0, 1.5, 4.5, 6.0]),
        x("AveragePool")
            .ints("pads", &[1, 1, 0, 0])
            .ints("strides", &[2, 2])
            .int("count_include_pad", 1)
            .gives(&[1, 1, 2, 2], &[0.0, 0.75, 2.25, 6.0]),
        // The last window reaches beyond the padding, and is divided by what lies before its end.
        x("AveragePool")
            .ints("strides", &[2, 2])
            .int("ceil_mode", 1)
            .int("count_include_pad", 1)
            .gives(&[1, 1, 2, 2], &[2.0, 3.5, 6.5, 8.0]),
        case("GlobalAveragePool").on_count(&[1, 2, 2, 1]).gives(&[1, 2, 1, 1], &[0.5, 2.5]),
        case("GlobalMaxPool").on_count(&[1, 2, 2, 1]).gives(&[1, 2, 1, 1], &[1.0, 3.0]),
    ]
}

fn resizes() -> Vec<Case> {
    let x = || case("Resize").on(&[1, 1, 1, 2], &[0.0, 4.0]);
    let twice = |case: Case| case.on_nothing().on(&[4], &[1.0, 1.0, 1.0, 2.0]);
    let sizes = |case: Case, to: i64| case.on_nothing().on_nothing().on_list(&[1, 1, 1, to]);
    let floor =
        |case: Case| case.text("coordinate_transformation_mode", "asymmetric").text("nearest_mode", "floor");
    vec![
        floor(twice(x())).gives(&[1, 1, 1, 4], &[0.0, 0.0, 4.0, 4.0]),
        twice(x()).gives(&[1, 1, 1, 4], &[0.0, 0.0, 4.0, 4.0]),
        sizes(x(), 3).text("nearest_mode", "ceil").gives(&[1, 1, 1, 3], &[0.0, 4.0, 4.0]),
        twice(x()).text("mode", "linear").gives(&[1, 1, 1, 4], &[0.0, 1.0, 3.0, 4.0]),
        sizes(x(), 3)
            .text("mode", "linear")
            .text("coordinate_transformation_mode", "align_corners")
            .gives(&[1, 1, 1, 3], &[0.0, 2.0, 4.0]),
        sizes(x(), 4)
            .text("mode", "linear")
            .text("coordinate_transformation_mode", "asymmetric")
            .gives(&[1, 1, 1, 4], &[0.0, 2.0, 4.0, 4.0]),
        sizes(x(), 1)
            .text("mode", "linear")
            .text("coordinate_transformation_mode", "pytorch_half_pixel")
            .gives(&[1, 1, 1, 1], &[0.0]),
        // Keys with a = -1/2 at 1/2: -1/16, 9/16, 9/16, -1/16, over 0, 0, 4, 4.
        sizes(x(), 1).text("mode", "cubic").float("cubic_coeff_a", -0.5).gives(&[1, 1, 1, 1], &[2.0]),
        case("Resize")
            .opset(10)
            .on(&[1, 1, 1, 2], &[0.0, 4.0])
            .on(&[4], &[1.0, 1.0, 1.0, 2.0])
            .gives(&[1, 1, 1, 4], &[0.0, 0.0, 4.0, 4.0]),
        case("Resize")
            .opset(18)
            .on(&[1, 1, 1, 2], &[0.0, 4.0])
            .on_nothing()
            .on_nothing()
            .on_list(&[1])
            .ints("axes", &[-1])
            .text("mode", "linear")
            .gives(&[1, 1, 1, 1], &[2.0]),
    ]
}
