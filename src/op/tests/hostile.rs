//! What strangers' files may hold: no node panics, and what is told of a result is what it becomes.

use super::*;
use rand::seq::{IndexedMutRandom, IndexedRandom};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// Numbers that attributes and lists are not made for.
const ODD: &[i64] = &[i64::MIN, i64::MAX, -(1 << 33), 1 << 33, 1 << 20, -3, -2, -1, 0, 1, 2, 3, 4, 5, 7];
/// Larger results are told, but not computed.
const LARGEST: usize = 1 << 16;

fn odd(rng: &mut Pcg64Mcg) -> i64 {
    *ODD.choose(rng).unwrap()
}

/// Changes one thing of a case.
fn mutate(case: &mut Case, rng: &mut Pcg64Mcg) {
    match rng.random_range(0..6) {
        0 => {
            if let Some(attribute) = case.node.attribute.choose_mut(rng) {
                attribute.i = attribute.i.map(|_| odd(rng));
                attribute.ints.iter_mut().for_each(|i| *i = if rng.random_bool(0.5) { odd(rng) } else { *i });
                if rng.random_bool(0.2) {
                    attribute.ints.push(odd(rng));
                }
            }
        }
        1 => {
            const NAMES: &[&str] = &[
                "axis",
                "axes",
                "group",
                "pads",
                "strides",
                "dilations",
                "kernel_shape",
                "ceil_mode",
                "keepdims",
                "perm",
                "split",
                "starts",
                "ends",
                "blocksize",
                "output_padding",
                "output_shape",
                "to",
                "size",
                "start",
                "end",
                "transA",
                "transB",
                "allowzero",
                "count_include_pad",
            ];
            let name = NAMES.choose(rng).unwrap();
            case.node.attribute.push(match rng.random_bool(0.5) {
                true => AttributeProto::int(name, odd(rng)),
                false => AttributeProto::ints(name, (0..rng.random_range(0..5)).map(|_| odd(rng)).collect()),
            });
        }
        2 => case.opset = rng.random_range(1..24),
        3 => {
            if let Some(Some((_, value))) = case.inputs.choose_mut(rng) {
                let shape: Vec<usize> = (0..rng.random_range(0..6)).map(|_| rng.random_range(0..4)).collect();
                *value = count_up(&shape);
            }
        }
        4 => {
            if let Some(Some((_, value))) = case.inputs.choose_mut(rng) {
                value.mapv_inplace(|x| if rng.random_bool(0.5) { odd(rng) as f64 } else { x });
            }
        }
        _ => {
            if let Some(input) = case.inputs.choose_mut(rng) {
                *input = None;
            }
        }
    }
}

#[test]
fn no_node_panics_and_every_result_is_as_told() {
    let mut rng = Pcg64Mcg::seed_from_u64(11);
    let (mut fitted, mut refused) = (0, 0);
    for round in 0..120 {
        for mut case in cases() {
            (0..1 + round % 3).for_each(|_| mutate(&mut case, &mut rng));
            let about = format!("{} {:?} {:?}", case.node.op_type(), case.node.attribute, case.inputs);
            let Ok(told) = case.told(None) else {
                refused += 1;
                continue;
            };
            for axis in 0..case.inputs.first().map_or(0, |i| i.as_ref().map_or(0, |(_, x)| x.ndim())) {
                let _ = case.told(Some(axis));
            }
            let Some(shape) = told[0].sizes().filter(|s| types::count(s) <= LARGEST) else { continue };
            if let Ok(results) = case.evaluated::<f64>() {
                assert_eq!(results[0].shape(), shape, "{about}");
                fitted += 1;
            }
        }
    }
    assert!(fitted > 5_000 && refused > 5_000, "{fitted} fitted, {refused} refused");
}
