//! Every set of kernels against plain loops in float64.
#![allow(clippy::unwrap_used)]

use super::*;

/// Numbers in −1…1 of 24 bits, the same for a seed.
fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn near(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*a) - b).abs() <= 1e-5 * b.abs().max(1.0), "{what}: [{i}] is {a}, not {b}");
    }
}

#[test]
fn weight_gradients_are_sums_over_all_places() {
    // Places, image, channels, window, strides and filters: every height of the tiles, filters of 1 to 6 vectors.
    let cases: [([usize; 2], [usize; 2], usize, [usize; 2], [usize; 2], usize); 5] = [
        ([3, 5], [5, 7], 1, [3, 3], [1, 1], 16),
        ([2, 2], [5, 4], 7, [3, 3], [2, 1], 32),
        ([1, 1], [6, 5], 5, [2, 3], [1, 1], 48),
        ([3, 2], [9, 6], 9, [1, 1], [4, 3], 64),
        ([4, 4], [4, 4], 3, [1, 1], [1, 1], 96),
    ];
    for kernels in Kernels::all() {
        for (number, (places, image, channels, window, stride, filters)) in cases.into_iter().enumerate() {
            let (images, filters) = (3, filters.next_multiple_of(kernels.gradient_lanes()));
            let line = image[1] * channels;
            let how = Correlation {
                places,
                strides: [image[0] * line, stride[0] * line, stride[1] * channels],
                runs: (0..window[0]).map(|row| row * line).collect(),
                run: window[1] * channels,
            };
            let x = numbers(number as u32, images * image[0] * line);
            let dy = numbers(100 + number as u32, images * places[0] * places[1] * filters);
            let before = numbers(200, how.runs.len() * how.run * filters);
            let mut expected: Vec<f64> = before.iter().map(|v| f64::from(*v)).collect();
            for (place, dy) in dy.chunks(filters).enumerate() {
                let (n, row, column) =
                    (place / (places[0] * places[1]), place / places[1] % places[0], place % places[1]);
                let corner = n * how.strides[0] + row * how.strides[1] + column * how.strides[2];
                for (tap, sums) in expected.chunks_mut(filters).enumerate() {
                    let value = x[corner + how.runs[tap / how.run] + tap % how.run];
                    sums.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += f64::from(value) * f64::from(*dy));
                }
            }
            let mut out = before;
            kernels.correlate(&how, &x, &dy, filters, &mut out);
            near(&out, &expected, &format!("{}, case {number}", kernels.name));
        }
    }
}

#[test]
fn normalisation_and_its_gradient_follow_their_formulas() {
    for kernels in Kernels::all() {
        for (pixels, channels) in [(1, 3), (7, 16), (10, 25), (6, 96)] {
            let what = format!("{}, {pixels} of {channels}", kernels.name);
            let [x, dy, y] = [1, 2, 3].map(|seed| numbers(seed, pixels * channels));
            let [scale, shift] = [4, 5].map(|seed| numbers(seed, channels));
            let column = |v: &[f32], c: usize| -> Vec<f64> {
                v.chunks(channels).map(|pixel| f64::from(pixel[c])).collect()
            };
            let mean_of = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
            let means: Vec<f64> = (0..channels).map(|c| mean_of(&column(&x, c))).collect();
            let apart = |c: usize| column(&x, c).iter().map(|v| (v - means[c]).powi(2)).sum::<f64>();
            let [mut mean, mut squares, mut sums, mut correlations] = [(); 4].map(|()| vec![0f32; channels]);
            kernels.moments(&x, &mut mean, &mut squares);
            near(&mean, &means, &what);
            near(&squares, &(0..channels).map(apart).collect::<Vec<_>>(), &what);

            let how = Normalising { mean: &mean, factor: &scale, shift: &shift, relu: true };
            let mut out = vec![f32::NAN; x.len()];
            kernels.normalise_batch(&how, &x, Some(&y), &mut out);
            let normal = |i: usize| {
                let c = i % channels;
                let v = (f64::from(x[i]) - means[c]) * f64::from(scale[c]) + f64::from(shift[c]);
                (v + f64::from(y[i])).max(0.0)
            };
            near(&out, &(0..x.len()).map(normal).collect::<Vec<_>>(), &what);

            let batch = Batch { dy: &dy, x: &x, y: Some(&y), mean: &mean };
            let through: Vec<f64> =
                (0..x.len()).map(|i| if y[i] > 0.0 { f64::from(dy[i]) } else { 0.0 }).collect();
            let total =
                |of: &dyn Fn(usize) -> f64, c: usize| (c..x.len()).step_by(channels).map(of).sum::<f64>();
            let correlated = |i: usize| through[i] * (f64::from(x[i]) - means[i % channels]);
            kernels.cotangent_sums(&batch, &mut sums, &mut correlations);
            near(&sums, &(0..channels).map(|c| total(&|i| through[i], c)).collect::<Vec<_>>(), &what);
            near(&correlations, &(0..channels).map(|c| total(&correlated, c)).collect::<Vec<_>>(), &what);

            let how = Cotangent { mean_dy: &sums, slope: &shift, factor: &scale };
            let [mut dx, mut passed] = [(); 2].map(|()| vec![f32::NAN; x.len()]);
            kernels.normalise_grad(&batch, &how, &mut dx, Some(&mut passed));
            near(&passed, &through, &what);
            let expected = |i: usize| {
                let c = i % channels;
                let [mean_dy, slope, factor] = [&sums, &shift, &scale].map(|v| f64::from(v[c]));
                (through[i] - ((f64::from(x[i]) - means[c]) * slope + mean_dy)) * factor
            };
            near(&dx, &(0..x.len()).map(expected).collect::<Vec<_>>(), &what);
            kernels.relu_grad(&dy, &y, &mut dx);
            near(&dx, &through, &what);
        }
    }
}

#[test]
fn what_is_no_number_stays_so() {
    for kernels in Kernels::all() {
        let how = Normalising { mean: &[0.0], factor: &[1.0], shift: &[0.0], relu: true };
        let mut out = [0.0];
        kernels.normalise_batch(&how, &[f32::NAN], None, &mut out);
        assert!(out[0].is_nan(), "{}", kernels.name);
        let how = Pooled { image: [1, 2, 1], window: [1, 2] };
        for x in [[f32::NAN, 1.0], [1.0, f32::NAN]] {
            kernels.pool_maxima(&how, &x, &mut out);
            assert!(out[0].is_nan(), "{}", kernels.name);
        }
    }
}

#[test]
fn equal_maxima_share_and_what_no_window_covers_has_nothing() {
    for kernels in Kernels::all() {
        for channels in [1, 16, 27] {
            let how = Pooled { image: [3, 5, channels], window: [2, 2] };
            // Of each channel the same picture: ties, a maximum of 0, and a row and a column too much.
            let picture = [2, 2, 0, -1, 9, 1, 2, 0, -3, 9, 9, 9, 9, 9, 9].map(|v: i32| v as f32);
            let spread = |v: &[f32]| v.iter().flat_map(|v| vec![*v; channels]).collect::<Vec<f32>>();
            let (x, dy) = (spread(&picture), spread(&[6.0, 4.0]));
            let mut y = vec![f32::NAN; 2 * channels];
            kernels.pool_maxima(&how, &x, &mut y);
            assert_eq!(y, spread(&[2.0, 0.0]), "{}", kernels.name);
            for (relu, second) in [(false, 2.0), (true, 0.0)] {
                let mut dx = vec![f32::NAN; x.len()];
                kernels.pool_maxima_grad(&how, relu, &x, &y, &dy, &mut dx);
                let shares = [2., 2., second, 0., 0., 0., 2., second, 0., 0., 0., 0., 0., 0., 0.];
                assert_eq!(dx, spread(&shares), "{}", kernels.name);
            }
        }
    }
}

#[test]
fn adam_steps_by_its_formula() {
    for kernels in Kernels::all() {
        let count = 37;
        let [param, grad, m, average] = [1, 2, 3, 4].map(|seed| numbers(seed, count));
        let v: Vec<f32> = numbers(5, count).iter().map(|v| v.abs()).collect();
        let how = AdamStep { beta1: 0.9, beta2: 0.99, rate: 0.1, epsilon: 1e-3, kept: 0.98, share: 0.25 };
        let [mut next, mut next_m, mut next_v, mut moved] = [(); 4].map(|()| vec![f32::NAN; count]);
        let mut tensors = AdamTensors {
            old: [&param, &grad, &m, &v],
            new: [&mut next, &mut next_m, &mut next_v],
            average: Some((&average, &mut moved)),
        };
        kernels.adam_step(how, &mut tensors);
        for i in 0..count {
            let [p, g, m, v, a] = [&param, &grad, &m, &v, &average].map(|t| f64::from(t[i]));
            let (m, v) = (0.9 * m + g, 0.99 * v + g * g);
            let stepped = 0.98 * p - 0.1 * m / (v.sqrt() + 1e-3);
            let expected = [stepped, m, v, a + (stepped - a) * 0.25];
            near(&[next[i], next_m[i], next_v[i], moved[i]], &expected, kernels.name);
        }
    }
}
