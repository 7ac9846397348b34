//! Running the steps that multiply.

use super::Running;
use crate::edge::kernels::{
    ByteDepthwise, Depthwise, Epilogue, Finished, Finishing, Packed, Requantise, Residual, Runs, SumTile,
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

    /// The gates of several images lie one map apart.
    pub(super) fn gated(
        &self,
        narrowed: Option<[f32; 2]>,
        epilogue: &Epilogue,
        x: View<'_>,
        out: &mut ViewMut<'_>,
    ) {
        let Some((number, places)) = &self.step.other else { return };
        let (windows, places, gates) =
            (self.of(&self.step.windows), self.of(places), self.view(*number).floats());
        let (kernels, all, each) =
            (self.program.kernels, self.of(&self.step.at), windows.len() / self.images.len());
        for ((from, at), place) in windows.chunks(each).zip(all.chunks(each)).zip(places.chunks(each)) {
            let gate = (&gates[place[0] as usize..], narrowed);
            match (x, &mut *out) {
                (View::Bytes(x), ViewMut::Bytes(out)) => {
                    kernels.store_gated(epilogue, x, from, gate, out, at)
                }
                (View::Bytes(x), ViewMut::Floats(out)) => {
                    kernels.store_gated(epilogue, x, from, gate, out, at)
                }
                (View::Floats(x), ViewMut::Bytes(out)) => {
                    kernels.store_gated(epilogue, x, from, gate, out, at)
                }
                (View::Floats(x), ViewMut::Floats(out)) => {
                    kernels.store_gated(epilogue, x, from, gate, out, at)
                }
            }
        }
        if let (Some(function), ViewMut::Floats(out)) = (&self.step.function, out) {
            kernels.apply(function, 0..epilogue.scale.len(), all, out);
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
