//! Maps times a gate: one number a channel, or what the element itself makes.

use super::epilogue::{Epilogue, Number, Output, limited, piece, pieces};

/// What the elements of a map are multiplied by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gating {
    /// One number a channel, which another map of one pixel holds.
    Channels,
    /// What a ramp makes of the element itself.
    Itself(Ramp),
}

/// The same with its numbers.
#[derive(Clone, Copy)]
pub enum Gate<'a> {
    /// See [`Gating::Channels`].
    Channels(&'a [f32]),
    /// See [`Gating::Itself`].
    Itself(Ramp),
}

/// `clip(x + shift, low, high)`, as in hard swish.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ramp {
    /// Added first.
    pub shift: f32,
    /// Least value.
    pub low: f32,
    /// Greatest value.
    pub high: f32,
}

passes! {
    /// Multiplies each pixel, which begin at `from`, by its gate, and then does the same as [`super::Kernels::store`]; before
    /// that the products may be `narrowed`: scaled, shifted and cut off downwards.
    pub fn store_gated[A: Number, O: Output](
        how: &Epilogue,
        x: &[A],
        from: &[u32],
        gate: (Gate<'_>, Option<[f32; 2]>),
        out: &mut [O],
        at: &[u32],
    ) = gated;
}

#[inline(always)]
fn gated<A: Number, O: Output>(
    how: &Epilogue,
    x: &[A],
    from: &[u32],
    (gate, narrowed): (Gate<'_>, Option<[f32; 2]>),
    out: &mut [O],
    at: &[u32],
) {
    how.check::<O>();
    match gate {
        Gate::Channels(gate) => by::<false, _, _>(how, (x, from), (gate, NONE), narrowed, (out, at)),
        Gate::Itself(ramp) => by::<true, _, _>(how, (x, from), (&[], ramp), narrowed, (out, at)),
    }
}

/// Where channels have a number each.
const NONE: Ramp = Ramp { shift: 0.0, low: 0.0, high: 0.0 };

#[inline(always)]
fn by<const ITSELF: bool, A: Number, O: Output>(
    how: &Epilogue,
    from: (&[A], &[u32]),
    gate: (&[f32], Ramp),
    narrowed: Option<[f32; 2]>,
    to: (&mut [O], &[u32]),
) {
    match (how.lifts::<O>(), narrowed) {
        (false, None) => each::<ITSELF, false, false, _, _>(how, from, gate, [1.0, 0.0], to),
        (false, Some(narrowed)) => each::<ITSELF, false, true, _, _>(how, from, gate, narrowed, to),
        (true, None) => each::<ITSELF, true, false, _, _>(how, from, gate, [1.0, 0.0], to),
        (true, Some(narrowed)) => each::<ITSELF, true, true, _, _>(how, from, gate, narrowed, to),
    }
}

#[inline(always)]
fn each<const ITSELF: bool, const LIFTED: bool, const NARROWED: bool, A: Number, O: Output>(
    how: &Epilogue,
    (x, from): (&[A], &[u32]),
    (gate, ramp): (&[f32], Ramp),
    [factor, half]: [f32; 2],
    (out, at): (&mut [O], &[u32]),
) {
    /// Pixels whose lines stay in a core's first cache while the pieces of channels go over them.
    const TOGETHER: usize = 32;
    for (from, at) in from.chunks(TOGETHER).zip(at.chunks(TOGETHER)) {
        pieces!(how.scale.len(), |i, N| {
            let [a, b] = [piece::<N, f32>(&how.scale, i), piece(&how.shift, i)];
            let gate = if ITSELF { [0.0; N] } else { piece::<N, f32>(gate, i) };
            let before = if how.before.is_empty() { [0; N] } else { piece::<N, i32>(&how.before, i) };
            let lift = if LIFTED { piece::<N, f32>(&how.lift, i) } else { [0.0; N] };
            for (from, to) in from.iter().zip(at) {
                let numbers = piece::<N, A>(x, *from as usize + i);
                let mut done = [O::default(); N];
                for j in 0..N {
                    let number = numbers[j].float_after(before[j]);
                    let by = if ITSELF { limited(number + ramp.shift, ramp.low, ramp.high) } else { gate[j] };
                    let mut x = number * by;
                    if NARROWED {
                        x = (x * factor + half).floor();
                    }
                    let x = limited(x * a[j] + b[j], how.low, how.high);
                    done[j] = if LIFTED { O::lifted(x, lift[j]) } else { O::of(x, how.floor) };
                }
                out[*to as usize + i..][..N].copy_from_slice(&done);
            }
        });
    }
}
