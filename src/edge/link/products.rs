//! Weights of products, packed, and what is done to their sums.

use super::Linker;
use crate::edge::draft::{Geometry, ProductDraft, Way};
use crate::edge::kernels::{ByteDepthwise, Depthwise, Epilogue, Finishing, Packed, Requantise, Runs};
use crate::edge::map::Map;
use crate::edge::program::{Action, Tiles, Weights};
use crate::edge::winograd::Winograd;
use std::borrow::Cow;

impl Linker {
    pub(super) fn product(
        &self,
        p: &ProductDraft,
        [from, to]: [usize; 2],
        strict: bool,
        residual: bool,
        mut epilogue: Epilogue,
    ) -> Option<Action> {
        let Map { channels, size, .. } = self.maps[to];
        let map = &self.maps[from];
        let Geometry { kernel: [kh, kw], dilations, .. } = p.windows;
        let inputs = p.inputs / p.groups;
        let outputs = channels / p.groups;
        let scale = if strict { None } else { folded(&mut epilogue) };
        let window = kh * kw * inputs;
        let weights = match &scale {
            Some(scale) => Cow::Owned(scaled(&p.weights, scale)),
            None => Cow::Borrowed(&p.weights[..]),
        };
        // Of an output, by the place among its own.
        let weight = |o: usize, at: usize| weights[o * window + at];
        let tap = |(y, x): (usize, usize)| map.at(y * dilations[0], x * dilations[1]);
        let taps = (0..kh).flat_map(|y| (0..kw).map(move |x| (y, x)));
        epilogue.before = self.taken_back(p, map, outputs);
        let magnitude = |o: usize| self.greatest_sum(p, map, [o, outputs]);
        let whole = p.integers_to.is_some() && self.maps[to].bytes && !residual;
        let shifts = self.kernels.shifts() || p.way == Way::Channels;
        let requantise = (whole && shifts).then(|| Requantise::of(&epilogue, magnitude)).flatten();
        if p.way == Way::Tiles {
            let (kernels, of) = (self.kernels, [p.inputs, channels]);
            let weights = match p.integers_to {
                Some(_) => Tiles::Int(Winograd::new(kernels, of, size, weight)),
                None => Tiles::Float(Winograd::new(kernels, of, size, weight)),
            };
            return Some(Action::Winograd { weights, epilogue, requantise });
        }
        if p.way == Way::Channels {
            let taps: Option<Vec<u32>> = taps.map(|place| u32::try_from(tap(place)).ok()).collect();
            if let Some(highest) = p.integers_to {
                let before = std::mem::take(&mut epilogue.before);
                let begin = match (&requantise, &before[..]) {
                    (Some(how), _) => how.begin.clone(),
                    (None, []) => vec![0; channels],
                    _ => before,
                };
                let integer = |c, tap| weight(c, tap) as i8;
                let finish = requantise.as_ref();
                let weights = ByteDepthwise::new(self.kernels, highest, &taps?, integer, &begin, finish)?;
                return Some(Action::ByteDepthwise { weights, epilogue });
            }
            let plain = !epilogue.floor && !residual && epilogue.scale.iter().all(|s| *s == 1.0);
            let packed = (plain && !self.maps[to].bytes).then_some(&epilogue);
            let (weights, taps) = (Depthwise::new(self.kernels, channels, kh * kw, weight, packed), taps?);
            let weights = weights.on_grid([kh, kw], p.windows.strides, &taps, size[1]);
            return Some(Action::Depthwise { weights, taps, epilogue });
        }
        // Neighbouring pixels of a window are one run of memory where no channel is left out between them.
        let joined = p.groups == 1 && dilations[1] == 1;
        let (runs, run) = match joined {
            true => (Runs::even(kh, map.at(dilations[0], 0)), kw * inputs),
            false => (Runs::new(&taps.map(tap).collect::<Vec<_>>()), inputs),
        };
        let count = if joined { kh } else { kh * kw };
        let pack = |group: usize| {
            let at = |o: usize, r: usize, i: usize| weight(group * outputs + o, r * run + i);
            match p.integers_to {
                Some(highest) => {
                    let integer = |o, r, i| at(o, r, i) as i8;
                    Weights::Int(Packed::new(self.kernels, highest, outputs, [count, run], integer))
                }
                None => Weights::Float(Packed::new(self.kernels, 0, outputs, [count, run], at)),
            }
        };
        let groups = (0..p.groups).map(pack).collect();
        // Each group would begin in the middle of a vector.
        let finishes = p.groups == 1 && p.integers_to.is_none() && !self.maps[to].bytes;
        let finishing = finishes.then(|| Finishing::new(self.kernels, &epilogue)).flatten();
        let bytes = requantise.as_ref().filter(|_| p.groups == 1);
        let finishing_bytes = bytes.and_then(|how| Finishing::of_integers(self.kernels, how));
        let channels = [inputs, outputs];
        Some(Action::Product { groups, channels, runs, epilogue, requantise, finishing, finishing_bytes })
    }

    /// What takes back from each sum of bytes what these are moved up by; the border is moved too.
    fn taken_back(&self, p: &ProductDraft, map: &Map, outputs: usize) -> Vec<i32> {
        if map.lift.is_empty() {
            return Vec::new();
        }
        let inputs = p.inputs / p.groups;
        let row = p.weights.len() / (outputs * p.groups);
        let of = |(o, row): (usize, &[f32])| {
            let lift = &map.lift[o / outputs * inputs..][..inputs];
            let terms = row.iter().zip(lift.iter().cycle()).map(|(w, up)| *w as i32 * i32::from(*up));
            terms.fold(0, i32::wrapping_sub)
        };
        p.weights.chunks_exact(row).enumerate().map(of).collect()
    }

    /// No sum of integers for this output, of so many in each group, is of greater magnitude.
    fn greatest_sum(&self, p: &ProductDraft, map: &Map, [o, outputs]: [usize; 2]) -> f64 {
        let (inputs, highest) = (p.inputs / p.groups, p.integers_to.unwrap_or(u8::MAX));
        let row = p.weights.len() / (outputs * p.groups);
        let input = |i: usize| o / outputs * inputs + i % inputs;
        let lift = |i: usize| map.lift.get(input(i)).copied().unwrap_or(0);
        let greatest = |i: usize| f64::from(lift(i).max(highest - lift(i)));
        let weights = p.weights[o * row..][..row].iter().enumerate();
        weights.map(|(i, w)| f64::from(w.abs()) * greatest(i)).sum()
    }
}

/// Weights times the factor of their output.
fn scaled(weights: &[f32], factors: &[f32]) -> Vec<f32> {
    let rows = weights.chunks_exact(weights.len() / factors.len());
    rows.zip(factors).flat_map(|(row, factor)| row.iter().map(move |w| w * factor)).collect()
}

/// Takes the factors out of an epilogue, to multiply the weights by them instead.
fn folded(epilogue: &mut Epilogue) -> Option<Vec<f32>> {
    let some = epilogue.scale.iter().any(|s| *s != 1.0);
    some.then(|| std::mem::replace(&mut epilogue.scale, vec![1.0; epilogue.shift.len()]))
}
