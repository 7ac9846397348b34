//! What share of its core's peak a tower reaches: the operations that its program executes, over what loops
//! of nothing but products do in the same time.

use super::results::{Configuration, Executed, PeakRate, TowerFile};
use crate::edge::kernels::{Kernels, Loop, Product};
use crate::edge::{self, Work};
use crate::runtime::TRACT;
use crate::tower::{TowerKind, TowerSpec};
use crate::{Error, Result};
use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long each loop is timed.
const TIME: Duration = Duration::from_millis(20);

/// The kernels of this name, else those that towers run on unless told otherwise.
///
/// # Errors
/// A name of kernels that this processor does not have, or of none, by which nothing is lowered.
pub fn kernels(name: Option<&str>) -> Result<&'static Kernels> {
    chosen(name)?.ok_or_else(|| {
        let whose = if name.is_some() { "--kernels" } else { edge::VARIABLE };
        Error::invalid(
            whose,
            format!("is {}: nothing is lowered, and there are no steps to time", edge::NONE),
        )
    })
}

fn chosen(name: Option<&str>) -> Result<Option<&'static Kernels>> {
    name.map_or_else(edge::kernels, |name| edge::named(OsStr::new(name), "--kernels"))
}

/// Operations a second of a loop's fastest calls, within so much time.
pub fn rate(it: &mut Loop, time: Duration) -> f64 {
    let (mut least, began) = (f64::INFINITY, Instant::now());
    while began.elapsed() < time {
        let call = Instant::now();
        (it.run)();
        least = least.min(call.elapsed().as_secs_f64());
    }
    it.operations / least
}

/// The greatest rates that were seen of a set's products on one core.
#[derive(Clone, Debug)]
pub struct Peaks {
    kernels: &'static Kernels,
    rates: Vec<(Product, f64)>,
}

impl Peaks {
    /// Measures for the first time.
    pub fn of(kernels: &'static Kernels) -> Self {
        let mut peaks = Self { kernels, rates: kernels.peaks().iter().map(|it| (it.product, 0.0)).collect() };
        peaks.again();
        peaks
    }

    /// Measures again: other work may have had the core.
    pub fn again(&mut self) {
        for (it, (_, greatest)) in self.kernels.peaks().iter_mut().zip(&mut self.rates) {
            *greatest = greatest.max(rate(it, TIME));
        }
    }

    /// Operations a second of a product.
    pub fn rate(&self, product: Product) -> Option<f64> {
        self.rates.iter().find(|(of, _)| *of == product).map(|(_, rate)| *rate)
    }

    /// For reports.
    pub fn told(&self) -> Vec<PeakRate> {
        let told =
            |(product, rate): &(Product, f64)| PeakRate { product: product.name().into(), gops: rate / 1e9 };
        self.rates.iter().map(told).collect()
    }

    /// What `work` for so many images in so many seconds comes to; none without products.
    pub fn judge(&self, work: &Work, images: f64, seconds: f64, threads: usize) -> Option<Executed> {
        if work.operations() == 0.0 {
            return None;
        }
        let ideal = work.seconds(|product| self.rate(product))? * images / threads as f64;
        Some(Executed { gops: work.operations() * images / seconds / 1e9, peak_share: ideal / seconds })
    }
}

/// Judges the rows of a benchmark.
pub struct Judge {
    /// None where nothing is lowered.
    peaks: Option<Peaks>,
    works: Vec<(TowerKind, Option<Work>)>,
}

impl Judge {
    /// Of these towers on the kernels of this name.
    ///
    /// # Errors
    /// A tower that cannot be read, kernels that are not there.
    pub fn of(name: Option<&str>, towers: &[TowerFile]) -> Result<Self> {
        let Some(kernels) = chosen(name)? else { return Ok(Self { peaks: None, works: Vec::new() }) };
        let works = towers.iter().map(|tower| Ok((tower.kind, work(&tower.file, kernels)?)));
        Ok(Self { works: works.collect::<Result<_>>()?, peaks: Some(Peaks::of(kernels)) })
    }

    /// The name of the kernels.
    pub fn kernels(&self) -> &'static str {
        self.peaks.as_ref().map_or(edge::NONE, |peaks| peaks.kernels.name)
    }

    /// Measures the peaks again.
    pub fn again(&mut self) {
        self.peaks.iter_mut().for_each(Peaks::again);
    }

    /// For reports.
    pub fn peaks(&self) -> Vec<PeakRate> {
        self.peaks.as_ref().map(Peaks::told).unwrap_or_default()
    }

    /// Of a row whose fastest call took so long; none where other operators ran than a program's.
    pub fn executed(&self, what: &Configuration, fastest_us: f64) -> Option<Executed> {
        let (_, work) =
            self.works.iter().find(|(kind, _)| *kind == what.tower && what.runtime == TRACT.name)?;
        self.peaks.as_ref()?.judge(work.as_ref()?, what.batch as f64, fastest_us / 1e6, what.threads)
    }
}

/// The work of a tower that is lowered whole.
fn work(tower: &Path, kernels: &'static Kernels) -> Result<Option<Work>> {
    let (spec, model) = TowerSpec::read(tower)?;
    let how = &spec.preprocessing;
    let size = [how.channels(), how.size(), how.size()];
    Ok(edge::program(&model, size, kernels).ok().map(|program| program.work().into_iter().sum()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_a_share_of_one_and_half_the_time_is_twice_the_share() {
        let peaks = Peaks { kernels: Kernels::best(), rates: vec![(Product::Float, 2e9)] };
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/omniglot-edge/tower.onnx");
        let work = work(&file, Kernels::best()).unwrap().unwrap();
        let seconds = work.operations() / 2e9;
        let judged =
            |images, seconds, threads| peaks.judge(&work, images, seconds, threads).unwrap().peak_share;
        assert!((judged(1.0, seconds, 1) - 1.0).abs() < 1e-9);
        assert!((judged(4.0, 2.0 * seconds, 1) - 2.0).abs() < 1e-9);
        assert!((judged(1.0, seconds, 2) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn every_set_of_kernels_has_a_peak_for_each_of_its_products_and_tiles_to_judge_by_it() {
        for kernels in Kernels::all() {
            let peaks = Peaks::of(kernels);
            for mut tile in kernels.main_tiles() {
                assert!(rate(&mut tile, Duration::from_micros(1)) > 0.0, "{}", tile.what);
                assert!(peaks.rate(tile.product).unwrap() > 0.0, "{} {}", kernels.name, tile.what);
            }
        }
    }
}
