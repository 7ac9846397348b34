//! Running the steps that multiply.

use super::Running;
use crate::edge::kernels::{
    ByteDepthwise, Depthwise, Epilogue, Finished, Finishing, Gate, Gating, Packed, Requantise, Residual,
    Runs, SumTile,
};
use crate::edge::map::{View, ViewMut};
use crate::edge::program::{Action, Weights};
use std::ops::Range;

impl<'a> Running<'a> {
    pub(super) fn product(&self, x: View<'_>, out: &mut ViewMut<'_>) {
        let Action::Product {
            groups,
            channels: [inputs, outputs],
            runs,
            epilogue,
            requantise,
            finishing,
            finishing_bytes,
        } = &self.step.action
        else {
            return;
        };
        if let (Some(finishing), Some(how), [Weights::Int(weights)], View::Bytes(x), ViewMut::Bytes(out)) =
            (finishing_bytes, requantise, &groups[..], x, &mut *out)
        {
            let (kernels, at) = (self.program.kernels, self.step.at.all());
            let product = (runs, x, self.of(&self.step.windows));
            let mut to = Finished { out, at, residual: None };
            return weights.finish(
                finishing,
                product,
                &mut to,
                |_, _, _| (),
                |out, tile| {
                    kernels.requantise(how, tile, out, at);
                },
            );
        }
        if let (Some(how), [Weights::Float(weights)], View::Floats(x), ViewMut::Floats(out)) =
            (finishing, &groups[..], x, &mut *out)
            && let Some(residual) = self.float_residual()
        {
            return self.finish(weights, how, (runs, x), epilogue, (out, residual));
        }
        let windows = self.of(&self.step.windows);
        for (group, weights) in groups.iter().enumerate() {
            let first = group * outputs;
            match (weights, x) {
                (Weights::Float(weights), View::Floats(x)) => {
                    weights.run(runs, &x[group * inputs..], windows, |tile| {
                        self.store(epilogue, &tile.shifted(first), out);
                    });
                }
                (Weights::Int(weights), View::Bytes(x)) => {
                    weights.run(runs, &x[group * inputs..], windows, |tile| {
                        self.store_integers(epilogue, requantise.as_ref(), &tile.shifted(first), out);
                    });
                }
                _ => unreachable!("the linker gives each product a map of its type"),
            }
        }
    }

    /// What is added, if it is of float32; none where it is of bytes.
    fn float_residual(&self) -> Option<Option<Residual<'a, f32>>> {
        let Some((number, at)) = &self.step.residual else { return Some(None) };
        match self.view(*number) {
            View::Floats(data) => Some(Some(Residual { data, at: at.all() })),
            View::Bytes(_) => None,
        }
    }

    fn finish(
        &self,
        weights: &Packed<f32>,
        how: &Finishing<f32>,
        (runs, x): (&Runs, &[f32]),
        epilogue: &Epilogue,
        (out, residual): (&mut [f32], Option<Residual<'_, f32>>),
    ) {
        let (kernels, at) = (self.program.kernels, self.step.at.all());
        let function = self.step.function.as_ref();
        let apply = |out: &mut [f32], pixels: Range<usize>, channels: Range<usize>| {
            if let Some(function) = function {
                kernels.apply(function, channels, &at[pixels], out);
            }
        };
        let product = (runs, x, self.of(&self.step.windows));
        weights.finish(how, product, &mut Finished { out, at, residual }, apply, |out, tile| {
            kernels.store(epilogue, tile, residual, out, at);
            apply(out, tile.pixels.clone(), tile.channels.clone());
        });
    }

    pub(super) fn depthwise(
        &self,
        weights: &Depthwise,
        taps: &[u32],
        epilogue: &Epilogue,
        x: &[f32],
        sums: &mut [f32],
        out: &mut ViewMut<'_>,
    ) {
        let (windows, channels) = (self.of(&self.step.windows), epilogue.shift.len());
        match out {
            ViewMut::Floats(out) if weights.is_finished() => {
                let places = (&mut **out, self.of(&self.step.at));
                weights.finish(taps, (x, windows), sums, places, |out, at| {
                    if let Some(function) = &self.step.function {
                        self.program.kernels.apply(function, 0..channels, at, out);
                    }
                });
            }
            out => weights.run(taps, x, windows, sums, |tile| self.store(epilogue, &tile, out)),
        }
    }

    pub(super) fn byte_depthwise(
        &self,
        weights: &ByteDepthwise,
        epilogue: &Epilogue,
        x: View<'_>,
        out: &mut ViewMut<'_>,
    ) {
        let View::Bytes(x) = x else { unreachable!("the linker gives products of bytes a map of them") };
        let windows = self.of(&self.step.windows);
        match out {
            ViewMut::Bytes(out) if weights.is_finished() => {
                weights.finish((x, windows), (out, self.of(&self.step.at)));
            }
            out => weights.run((x, windows), |tile| self.store(epilogue, &tile, out)),
        }
    }

    pub(super) fn gated(&self, by: Gating, x: View<'_>, out: &mut ViewMut<'_>) {
        let (windows, all) = (self.of(&self.step.windows), self.of(&self.step.at));
        match (by, &self.step.other) {
            (Gating::Itself(ramp), _) => self.gated_by(Gate::Itself(ramp), (x, windows), (out, all)),
            (Gating::Channels, Some((number, places))) => {
                let (places, gates) = (self.of(places), self.view(*number).floats());
                // The gates of several images lie one map apart.
                let each = windows.len() / self.images.len();
                let images = windows.chunks(each).zip(all.chunks(each)).zip(places.chunks(each));
                for ((from, at), place) in images {
                    self.gated_by(Gate::Channels(&gates[place[0] as usize..]), (x, from), (out, at));
                }
            }
            (Gating::Channels, None) => unreachable!("the linker gives a gate its map"),
        }
        if let (Some(function), ViewMut::Floats(out)) = (&self.step.function, out) {
            let channels = self.program.maps[self.step.to].channels;
            self.program.kernels.apply(function, 0..channels, all, out);
        }
    }

    /// One gate for all of these pixels.
    fn gated_by(&self, gate: Gate<'_>, (x, from): (View<'_>, &[u32]), (out, at): (&mut ViewMut<'_>, &[u32])) {
        let Action::Gate { narrowed, epilogue: how, integers, .. } = &self.step.action else { return };
        let (kernels, by) = (self.program.kernels, (gate, *narrowed));
        match (x, out) {
            (View::Bytes(x), ViewMut::Bytes(out)) => match integers {
                Some(how) => kernels.store_gated_bytes(how, x, from, gate, out, at),
                None => kernels.store_gated(how, x, from, by, out, at),
            },
            (View::Bytes(x), ViewMut::Floats(out)) => kernels.store_gated(how, x, from, by, out, at),
            (View::Floats(x), ViewMut::Bytes(out)) => kernels.store_gated(how, x, from, by, out, at),
            (View::Floats(x), ViewMut::Floats(out)) => kernels.store_gated(how, x, from, by, out, at),
        }
    }

    pub(super) fn product_of_maps(&self, x: &[f32], panel: &mut Vec<f32>, out: &mut ViewMut<'_>) {
        let (Action::Maps { right, rows, epilogue }, Some((number, places))) =
            (&self.step.action, &self.step.other)
        else {
            return;
        };
        let (windows, y) = (self.of(&self.step.windows), self.view(*number).floats());
        for (matrix, (windows, at)) in windows.chunks(*rows).zip(places.all()).enumerate() {
            let kernels = self.program.kernels;
            kernels.product_of_maps((x, windows), (y, *at as usize, *right), panel, |mut tile| {
                tile.pixels = tile.pixels.start + matrix * rows..tile.pixels.end + matrix * rows;
                self.store(epilogue, &tile, out);
            });
        }
    }

    pub(super) fn store_integers(
        &self,
        epilogue: &Epilogue,
        requantise: Option<&Requantise>,
        tile: &SumTile<'_, i32>,
        out: &mut ViewMut<'_>,
    ) {
        match (requantise, out) {
            (Some(how), ViewMut::Bytes(out)) => {
                self.program.kernels.requantise(how, tile, out, self.step.at.all());
            }
            (_, out) => self.store(epilogue, tile, out),
        }
    }
}
