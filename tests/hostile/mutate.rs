//! Mutations of bytes: what damaged and malicious files have in common.

use rand::{Rng, RngExt};

/// Numbers at the edges of types.
const EDGES: [u64; 14] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];
/// The longest input, bytes.
const MOST: usize = 1 << 20;

/// One to eight changes of `bytes`, parts of `other` among them.
pub fn mutate(bytes: &[u8], other: &[u8], rng: &mut impl Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..1 << rng.random_range(0..4) {
        change(&mut bytes, other, rng);
    }
    bytes.truncate(MOST);
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], rng: &mut impl Rng) {
    if bytes.is_empty() {
        bytes.push(rng.random());
        return;
    }
    let at = rng.random_range(0..bytes.len());
    let span = at..(at + (1 << rng.random_range(0..7))).min(bytes.len());
    match rng.random_range(0..11) {
        0 => bytes[at] ^= 1 << rng.random_range(0..8),
        1 => bytes[at] = rng.random(),
        2 => bytes[at] = EDGES[rng.random_range(0..6)] as u8,
        3 => bytes[at] = bytes[at].wrapping_add(if rng.random() { 1 } else { 255 }),
        4 => edge(bytes, at, rng),
        5 => drop(bytes.drain(span)),
        6 => {
            let copy = bytes[span].to_vec();
            bytes.splice(at..at, copy);
        }
        7 => bytes.truncate(at),
        8 => {
            let from = rng.random_range(0..=other.len());
            let part = other[from..(from + span.len()).min(other.len())].to_vec();
            bytes.splice(at..at, part);
        }
        9 => bytes[span].fill(0),
        _ => {
            let to = rng.random_range(0..=bytes.len() - span.len());
            bytes.copy_within(span, to);
        }
    }
}

/// Puts a number of the edges at a place, in one of the ways in which formats write numbers.
fn edge(bytes: &mut Vec<u8>, at: usize, rng: &mut impl Rng) {
    let number = EDGES[rng.random_range(0..EDGES.len())];
    let wide = [2, 4, 8][rng.random_range(0..3)];
    let written = match rng.random_range(0..4) {
        0 => number.to_le_bytes()[..wide].to_vec(),
        1 => number.to_be_bytes()[8 - wide..].to_vec(),
        2 => varint(number),
        _ => number.to_string().into_bytes(),
    };
    let end = (at + written.len()).min(bytes.len());
    bytes.splice(at..end, written);
}

/// As protocol buffers have numbers.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
