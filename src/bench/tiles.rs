//! How near each set's main tiles come to the peak of a core.

use super::judge::{Peaks, rate};
use super::results::PeakRate;
use crate::edge::kernels::{Kernels, Loop};
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;

/// The tiles of one set of kernels on one core, with inputs and weights in the first cache.
#[derive(Clone, Debug, Serialize)]
pub struct Tiles {
    /// The set.
    pub kernels: &'static str,
    /// What nothing but products come to.
    pub peaks: Vec<PeakRate>,
    /// The tallest tile of each width.
    pub tiles: Vec<Tile>,
}

/// A tile.
#[derive(Clone, Debug, Serialize)]
pub struct Tile {
    /// What is multiplied by what.
    pub product: &'static str,
    /// Pixels and channels: `6×16`.
    pub size: String,
    /// Multiplications and additions, counted separately, billions a second.
    pub gops: f64,
    /// Over the peak of its products.
    pub peak_share: f64,
}

/// Times the tiles of a set, each for `time` in all, in turns with the peaks.
pub fn tiles(kernels: &'static Kernels, time: Duration) -> Tiles {
    /// Turns: what other work takes from one, it does not take from all.
    const TURNS: u32 = 5;
    let mut peaks = Peaks::of(kernels);
    let mut loops: Vec<(Loop, f64)> = kernels.main_tiles().into_iter().map(|it| (it, 0.0)).collect();
    for _ in 0..TURNS {
        peaks.again();
        for (it, greatest) in &mut loops {
            *greatest = greatest.max(rate(it, time / TURNS));
        }
    }
    let tile = |(it, rate): (Loop, f64)| Tile {
        product: it.product.name(),
        size: it.what,
        gops: rate / 1e9,
        peak_share: peaks.rate(it.product).map_or(f64::NAN, |peak| rate / peak),
    };
    Tiles { kernels: kernels.name, peaks: peaks.told(), tiles: loops.into_iter().map(tile).collect() }
}

/// In words, for a terminal.
pub fn summary(sets: &[Tiles]) -> String {
    let mut text = String::new();
    for set in sets {
        let _ = writeln!(text, "{}: one core, inputs and weights in its first cache", set.kernels);
        for PeakRate { product, gops } in &set.peaks {
            let _ = writeln!(text, "  {product:<16} {:<8} {gops:>8.1} GOPS", "peak");
            for tile in set.tiles.iter().filter(|tile| tile.product == product) {
                let share = 100.0 * tile.peak_share;
                let _ =
                    writeln!(text, "  {:<16} {:<8} {:>8.1} GOPS {share:>4.0} %", "", tile.size, tile.gops);
            }
        }
    }
    text
}
