//! How far a distance can move when its two embeddings move: the inequalities behind the
//! certificate.
//!
//! For a norm ‖·‖ and d(q, s) = ‖q − s‖ the triangle inequality gives
//! |d(q, s) − d(q′, s′)| ≤ ‖q − q′‖ + ‖s − s′‖. It holds for L1 and L2 as they are, for weighted L1
//! with the norm Σ |αⱼ||xⱼ|, and for the cosine distance 1 − q̂·ŝ of the unit vectors q̂, ŝ with the
//! Euclidean norm, because |q̂·ŝ − q̂′·ŝ′| ≤ |q̂·(ŝ − ŝ′)| + |(q̂ − q̂′)·ŝ′| ≤ ‖ŝ − ŝ′‖ + ‖q̂ − q̂′‖.

use crate::tower::Distance;

/// Unit roundoff of float32.
const UNIT: f64 = 1.0 / (1u64 << 24) as f64;

/// ‖a − b‖ of two embeddings of the same image, in the norm that bounds `distance`; in float64.
pub fn divergence(distance: &Distance, a: &[f32], b: &[f32]) -> f64 {
    let pairs = a.iter().zip(b).map(|(&x, &y)| (f64::from(x), f64::from(y)));
    match distance {
        Distance::L1 => pairs.map(|(x, y)| (x - y).abs()).sum(),
        Distance::L2 => pairs.map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt(),
        Distance::WeightedL1 { alpha } => {
            pairs.zip(alpha).map(|((x, y), &w)| f64::from(w).abs() * (x - y).abs()).sum()
        }
        Distance::Cosine => {
            let (norm_a, norm_b) = (norm(a), norm(b));
            if norm_a == 0.0 || norm_b == 0.0 {
                return if norm_a == norm_b { 0.0 } else { 2.0 };
            }
            pairs.map(|(x, y)| (x / norm_a - y / norm_b).powi(2)).sum::<f64>().sqrt()
        }
    }
}

/// A bound on what float32 rounding adds when the distance of `q` and `s` is computed, in any
/// order of summation: (D + 8)·2⁻²⁴ times the sum of the magnitudes that are added (Higham 2002,
/// §3.1; the 8 covers the subtraction, product, root and division around the sum).
pub fn rounding(distance: &Distance, q: &[f32], s: &[f32]) -> f64 {
    let magnitude = match distance {
        // Each term of the dot product is at most 1 in sum for unit vectors; 1 − cos adds 1.
        Distance::Cosine => 2.0,
        _ => divergence(distance, q, s),
    };
    (q.len() + 8) as f64 * UNIT * magnitude
}

fn norm(v: &[f32]) -> f64 {
    v.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vector() -> impl Strategy<Value = Vec<f32>> {
        proptest::collection::vec(-10.0f32..10.0, 6)
    }

    fn exact(distance: &Distance, q: &[f32], s: &[f32]) -> f64 {
        match distance {
            Distance::Cosine => {
                let dot: f64 = q.iter().zip(s).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
                1.0 - dot / (norm(q) * norm(s))
            }
            _ => divergence(distance, q, s),
        }
    }

    proptest! {
        #[test]
        fn no_distance_moves_further_than_its_embeddings(
            q in vector(), s in vector(), dq in vector(), ds in vector(), size in 1e-6f32..1.0
        ) {
            let move_by = |v: &[f32], d: &[f32]| -> Vec<f32> { v.iter().zip(d).map(|(x, y)| x + size * y).collect() };
            let (q2, s2) = (move_by(&q, &dq), move_by(&s, &ds));
            let alpha = vec![0.5, 2.0, 0.1, 1.0, 3.0, 0.7];
            for distance in [Distance::L1, Distance::L2, Distance::Cosine, Distance::WeightedL1 { alpha }] {
                let moved = (exact(&distance, &q, &s) - exact(&distance, &q2, &s2)).abs();
                let bound = divergence(&distance, &q, &q2) + divergence(&distance, &s, &s2);
                prop_assert!(moved <= bound * (1.0 + 1e-9) + 1e-12, "{distance:?}: {moved} > {bound}");
            }
        }

        #[test]
        fn rounding_covers_the_computed_distance(q in vector(), s in vector()) {
            let alpha = vec![0.5, -2.0, 0.1, 1.0, -3.0, 0.7];
            for distance in [Distance::L1, Distance::L2, Distance::Cosine] {
                let error = (f64::from(distance.between(&q, &s)) - exact(&distance, &q, &s)).abs();
                prop_assert!(error <= rounding(&distance, &q, &s), "{distance:?}: {error}");
            }
            let signed = Distance::WeightedL1 { alpha: alpha.clone() };
            let truth: f64 = -q.iter().zip(&s).zip(&alpha)
                .map(|((&x, &y), &w)| f64::from(w) * (f64::from(x) - f64::from(y)).abs()).sum::<f64>();
            prop_assert!((f64::from(signed.between(&q, &s)) - truth).abs() <= rounding(&signed, &q, &s));
        }
    }
}
