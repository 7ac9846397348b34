//! How far a distance can move when its two embeddings move: the inequalities behind the
//! certificate.
//!
//! For a norm ‖·‖ and d(q, s) = ‖q − s‖ the triangle inequality gives
//! |d(q, s) − d(q′, s′)| ≤ ‖q − q′‖ + ‖s − s′‖. It holds for L1 and L2 as they are, for weighted L1
//! with the norm Σ |αⱼ||xⱼ|, and for the cosine distance 1 − q̂·ŝ of the unit vectors q̂, ŝ with the
//! Euclidean norm, because |q̂·ŝ − q̂′·ŝ′| ≤ |q̂·(ŝ − ŝ′)| + |(q̂ − q̂′)·ŝ′| ≤ ‖ŝ − ŝ′‖ + ‖q̂ − q̂′‖.

use crate::tower::Distance;

/// Unit roundoff of float32, in which distances are compared.
const UNIT_32: f64 = 1.0 / (1u64 << 24) as f64;
/// Unit roundoff of float64, in which they are summed.
const UNIT_64: f64 = 1.0 / (1u64 << 53) as f64;
/// Room for the products of roundoffs that first-order bounds leave out.
const SLACK: f64 = 1.0 + 1e-6;

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
                // Without a direction the distance is a constant in [0, 2].
                return if norm_a == norm_b { 0.0 } else { 2.0 };
            }
            pairs.map(|(x, y)| (x / norm_a - y / norm_b).powi(2)).sum::<f64>().sqrt()
        }
    }
}

/// A bound on the rounding of `computed`, the distance of `q` and `s` as [`Distance::between`] gives
/// it: summed in float64 in some order, rounded to float32 once.
///
/// ρ = 2⁻²⁴·|d| + (2D + 16)·2⁻⁵³·m, where m is the sum of the magnitudes that are added (Higham
/// 2002, §3.1; the 16 covers the differences, products, roots and quotients around the sums), plus
/// the smallest float32 for results that underflow. For L1 and L2 m is the distance itself, for
/// weighted L1 Σ |αⱼ||qⱼ − sⱼ|, for cosine at most 2.
pub fn rounding(distance: &Distance, q: &[f32], s: &[f32], computed: f64) -> f64 {
    let magnitude = match distance {
        Distance::L1 | Distance::L2 => computed.abs() * (1.0 + 2.0 * UNIT_32),
        Distance::WeightedL1 { .. } => divergence(distance, q, s),
        Distance::Cosine => 2.0,
    };
    let sums = (2 * q.len() + 16) as f64 * UNIT_64 * magnitude;
    (UNIT_32 * (computed.abs() + sums) + sums) * SLACK + f64::from(f32::MIN_POSITIVE)
}

/// By how much an embedding moves where each of its numbers is rounded once more.
pub fn resolution(distance: &Distance, embedding: &[f32]) -> f64 {
    2.0 * UNIT_32 * length(distance, embedding)
}

/// The length of an embedding, in the norm that bounds `distance`; 1 for the cosine distance, which sees directions.
pub fn length(distance: &Distance, embedding: &[f32]) -> f64 {
    match distance {
        Distance::Cosine => 1.0,
        _ => divergence(distance, embedding, &vec![0.0; embedding.len()]),
    }
}

fn norm(v: &[f32]) -> f64 {
    v.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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
        fn rounding_covers_the_computed_distance(q in vector(), s in vector(), scale in -12i32..12) {
            let scaled = |v: Vec<f32>| -> Vec<f32> { v.iter().map(|x| x * 2f32.powi(scale)).collect() };
            let (q, s) = (scaled(q), scaled(s));
            let alpha = vec![0.5, -2.0, 0.1, 1.0, -3.0, 0.7];
            let signed: f64 = -q.iter().zip(&s).zip(&alpha)
                .map(|((&x, &y), &w)| f64::from(w) * (f64::from(x) - f64::from(y)).abs()).sum::<f64>();
            for distance in [Distance::L1, Distance::L2, Distance::Cosine, Distance::WeightedL1 { alpha }] {
                let truth = if let Distance::WeightedL1 { .. } = distance { signed } else { exact(&distance, &q, &s) };
                let computed = f64::from(distance.between(&q, &s));
                // The reference is itself summed in float64.
                let own = 1e-14 * (truth.abs() + 2.0 * divergence(&distance, &q, &s));
                let bound = rounding(&distance, &q, &s, computed) + own;
                prop_assert!((computed - truth).abs() <= bound, "{distance:?}: {computed} {truth} {bound}");
            }
        }
    }
}
