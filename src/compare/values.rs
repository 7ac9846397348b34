//! How far apart two arrays of numbers are.

use ndarray::{ArrayView2, Zip};
use serde::Serialize;

/// `|a − b| ≤ atol + rtol·s`, where s, the scale, is the root mean square of all of b: a number near 0 among
/// large ones need not be right to its last digit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tolerance {
    /// Absolute part, in the numbers' own unit.
    pub atol: f64,
    /// Share of the scale.
    pub rtol: f64,
}

impl Default for Tolerance {
    /// A hundred times the spread seen between the runtimes on float towers of this project.
    fn default() -> Self {
        Self { atol: 0.0, rtol: 1e-4 }
    }
}

impl Tolerance {
    /// Whether two finite numbers agree among numbers of this scale.
    fn allows(self, a: f32, b: f32, scale: f64) -> bool {
        a == b || (f64::from(a) - f64::from(b)).abs() <= self.atol + self.rtol * scale
    }
}

/// Upper ends of the bins of the ULP histogram; a last bin takes the rest.
const ULP_BINS: [u64; 8] = [0, 1, 2, 4, 16, 64, 256, 4096];

/// The differences of `a` and `b`, both `[N, D]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Values {
    /// Numbers compared, N·D.
    pub elements: usize,
    /// Whether all are equal in every bit.
    pub bit_equal: bool,
    /// Greatest |a − b|.
    pub max_abs: f64,
    /// Mean |a − b|.
    pub mean_abs: f64,
    /// Greatest |a − b| / |b|, over b ≠ 0.
    pub max_rel: f64,
    /// Mean |a − b| / |b|, over b ≠ 0.
    pub mean_rel: f64,
    /// Smallest cosine of a row of `a` and the same row of `b`.
    pub min_cosine: f64,
    /// Greatest distance in units in the last place.
    pub max_ulp: u64,
    /// Counts by distance in units in the last place.
    pub ulp_histogram: Vec<UlpBin>,
    /// Root mean square of the finite numbers of `b`.
    pub scale: f64,
    /// The tolerance in force.
    pub tolerance: Tolerance,
    /// Numbers outside the tolerance.
    pub offenders: usize,
    /// The first of them.
    pub first_offender: Option<Offender>,
    /// The smallest `atol` that passes with this `rtol`.
    pub smallest_atol: f64,
    /// The smallest `rtol` that passes with this `atol`; none where all of b is 0 and needs more `atol`.
    pub smallest_rtol: Option<f64>,
    /// NaNs and infinities on either side; each is an offender, unless both are the same infinity.
    pub non_finite: usize,
}

/// A bin of the ULP histogram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UlpBin {
    /// Greatest distance in this bin; none in the last, which takes the rest.
    pub up_to: Option<u64>,
    /// Numbers in it.
    pub count: usize,
}

/// A number outside the tolerance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Offender {
    /// Row: the image.
    pub row: usize,
    /// Column: the place in the embedding.
    pub column: usize,
    /// The value of the first runtime.
    pub a: f32,
    /// The value of the second.
    pub b: f32,
}

impl Values {
    /// Whether no number is outside the tolerance.
    pub fn passes(&self) -> bool {
        self.offenders == 0
    }
}

/// Compares two arrays of the same shape `[N, D]`.
///
/// # Panics
/// Where the shapes differ; the callers make both from the same images and tower.
pub fn compare(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, tolerance: Tolerance) -> Values {
    assert_eq!(a.dim(), b.dim(), "compared arrays have one shape");
    let scale = root_mean_square(b);
    let mut tally = Tally { scale, ..Tally::default() };
    let mut first_offender = None;
    for ((row, column), &x) in a.indexed_iter() {
        let y = b[(row, column)];
        if !tally.add(x, y, tolerance) && first_offender.is_none() {
            first_offender = Some(Offender { row, column, a: x, b: y });
        }
    }
    tally.finish(a.len(), tolerance, first_offender, min_cosine(a, b))
}

#[derive(Default)]
struct Tally {
    max_abs: f64,
    sum_abs: f64,
    max_rel: f64,
    sum_rel: f64,
    relatives: usize,
    max_ulp: u64,
    bins: [usize; ULP_BINS.len() + 1],
    offenders: usize,
    scale: f64,
    non_finite: usize,
    unequal_bits: usize,
}

impl Tally {
    /// Counts one pair; whether it is inside the tolerance.
    fn add(&mut self, x: f32, y: f32, tolerance: Tolerance) -> bool {
        self.unequal_bits += usize::from(x.to_bits() != y.to_bits());
        if !x.is_finite() || !y.is_finite() {
            self.non_finite += 1;
            let same = x == y;
            self.offenders += usize::from(!same);
            return same;
        }
        self.add_finite(f64::from(x), f64::from(y));
        let ulps = ulp_distance(x, y);
        self.max_ulp = self.max_ulp.max(ulps);
        self.bins[ULP_BINS.iter().position(|&end| ulps <= end).unwrap_or(ULP_BINS.len())] += 1;
        let inside = tolerance.allows(x, y, self.scale);
        self.offenders += usize::from(!inside);
        inside
    }

    fn add_finite(&mut self, x: f64, y: f64) {
        let abs = (x - y).abs();
        self.max_abs = self.max_abs.max(abs);
        self.sum_abs += abs;
        if y != 0.0 {
            let rel = abs / y.abs();
            self.max_rel = self.max_rel.max(rel);
            self.sum_rel += rel;
            self.relatives += 1;
        }
    }

    fn finish(
        self,
        elements: usize,
        tolerance: Tolerance,
        first_offender: Option<Offender>,
        min_cosine: f64,
    ) -> Values {
        let beyond = (self.max_abs - tolerance.atol).max(0.0);
        let ends = ULP_BINS.iter().map(|&end| Some(end)).chain([None]);
        Values {
            elements,
            bit_equal: self.unequal_bits == 0,
            max_abs: self.max_abs,
            mean_abs: self.sum_abs / elements.max(1) as f64,
            max_rel: self.max_rel,
            mean_rel: self.sum_rel / self.relatives.max(1) as f64,
            min_cosine,
            max_ulp: self.max_ulp,
            ulp_histogram: ends.zip(self.bins).map(|(up_to, count)| UlpBin { up_to, count }).collect(),
            scale: self.scale,
            tolerance,
            offenders: self.offenders,
            first_offender,
            smallest_atol: (self.max_abs - tolerance.rtol * self.scale).max(0.0),
            smallest_rtol: (self.scale > 0.0 || beyond == 0.0)
                .then(|| beyond / self.scale.max(f64::MIN_POSITIVE)),
            non_finite: self.non_finite,
        }
    }
}

fn root_mean_square(numbers: ArrayView2<'_, f32>) -> f64 {
    let finite = numbers.iter().filter(|x| x.is_finite());
    let (sum, count) = finite.fold((0.0, 0usize), |(sum, n), &x| (sum + f64::from(x).powi(2), n + 1));
    (sum / count.max(1) as f64).sqrt()
}

/// The number of float32 values between `x` and `y`; +0 and −0 are one.
pub fn ulp_distance(x: f32, y: f32) -> u64 {
    // Floats of one sign are ordered as their bits; negative ones the other way round.
    let place = |v: f32| {
        let bits = i64::from(v.to_bits() & 0x7fff_ffff);
        if v.is_sign_negative() { -bits } else { bits }
    };
    place(x).abs_diff(place(y))
}

fn min_cosine(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> f64 {
    let mut least = 1.0f64;
    Zip::from(a.rows()).and(b.rows()).for_each(|x, y| {
        let dot = |p: &ndarray::ArrayView1<'_, f32>, q: &ndarray::ArrayView1<'_, f32>| -> f64 {
            p.iter().zip(q).map(|(&u, &v)| f64::from(u) * f64::from(v)).sum()
        };
        let norms = (dot(&x, &x) * dot(&y, &y)).sqrt();
        if norms > 0.0 {
            least = least.min(dot(&x, &y) / norms);
        }
    });
    least
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn equal_arrays_are_bit_equal() {
        let a = array![[1.0, -2.0], [0.0, 3.5]];
        let v = compare(a.view(), a.view(), Tolerance { atol: 0.0, rtol: 0.0 });
        assert!(v.bit_equal && v.passes());
        assert_eq!((v.max_abs, v.max_ulp, v.smallest_atol), (0.0, 0, 0.0));
    }

    #[test]
    fn the_first_offender_and_the_smallest_tolerance_are_found() {
        let a = array![[1.0f32, 2.0], [3.0, 4.5]];
        let b = array![[1.0f32, 2.25], [3.0, 4.0]];
        let v = compare(a.view(), b.view(), Tolerance { atol: 0.1, rtol: 0.0 });
        assert_eq!(v.offenders, 2);
        assert_eq!(v.first_offender, Some(Offender { row: 0, column: 1, a: 2.0, b: 2.25 }));
        assert_eq!(v.smallest_atol, 0.5);
        let wider = compare(a.view(), b.view(), Tolerance { atol: v.smallest_atol, rtol: 0.0 });
        assert!(wider.passes());
        let tighter = compare(a.view(), b.view(), Tolerance { atol: v.smallest_atol * 0.999, rtol: 0.0 });
        assert!(!tighter.passes());
    }

    #[test]
    fn a_small_number_among_large_ones_is_measured_by_their_scale() {
        let b = array![[0.0f32, 30.0], [1e-6, 40.0]];
        let a = &b + &array![[1e-4f32, 0.0], [0.0, 0.0]];
        let said = compare(a.view(), b.view(), Tolerance { atol: 0.0, rtol: 1e-5 });
        assert!(said.passes() && (said.scale - 25.0).abs() < 1e-9, "{said:?}");
        assert!((said.smallest_rtol.unwrap_or_default() - 4e-6).abs() < 1e-9);
        // The same in another unit.
        let said = compare((&a * 1e-8).view(), (&b * 1e-8).view(), Tolerance { atol: 0.0, rtol: 3e-6 });
        assert_eq!(said.offenders, 1);
    }

    #[test]
    fn non_finite_numbers_are_offenders_whatever_the_tolerance() {
        let a = array![[f32::NAN, f32::INFINITY, f32::INFINITY]];
        let b = array![[f32::NAN, f32::INFINITY, 1.0]];
        let v = compare(a.view(), b.view(), Tolerance { atol: f64::INFINITY, rtol: 0.0 });
        assert_eq!((v.non_finite, v.offenders), (3, 2));
    }

    #[test]
    fn ulps_are_counted_across_zero() {
        assert_eq!(ulp_distance(1.0, f32::from_bits(1.0f32.to_bits() + 3)), 3);
        assert_eq!(ulp_distance(0.0, -0.0), 0);
        assert_eq!(ulp_distance(f32::from_bits(1), -f32::from_bits(2)), 3);
    }
}
