//! How many operations a program executes, for the benchmark to judge it by what its processor can do.

use super::kernels::Product;
use super::program::{Action, Program, Step, Tiles, Weights};

/// Multiplications and additions of products for one image, counted separately; those of tiles as they are
/// executed, fewer than the convolution's. What is not a product (epilogues, transforms of tiles, pools) is not
/// counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work([f64; Product::ALL.len()]);

impl Work {
    fn of(product: Product, products: usize) -> Self {
        let mut work = Self::default();
        work.0[product as usize] = 2.0 * products as f64;
        work
    }

    /// All of them.
    pub fn operations(&self) -> f64 {
        self.0.iter().sum()
    }

    /// Seconds that these take at so many operations a second of each kind; none where a kind that is needed
    /// has no rate.
    pub fn seconds(&self, rate: impl Fn(Product) -> Option<f64>) -> Option<f64> {
        let needed = Product::ALL.into_iter().filter(|product| self.0[*product as usize] > 0.0);
        needed.map(|product| Some(self.0[product as usize] / rate(product)?)).sum()
    }
}

impl std::iter::Sum for Work {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, work| {
            sum.0.iter_mut().zip(work.0).for_each(|(sum, operations)| *sum += operations);
            sum
        })
    }
}

impl Program {
    /// The work of each step.
    pub fn work(&self) -> Vec<Work> {
        self.steps.iter().map(|step| self.work_of(step)).collect()
    }

    fn work_of(&self, step: &Step) -> Work {
        let windows = step.windows.all().len() / step.images;
        match &step.action {
            Action::Product { groups, .. } => groups
                .iter()
                .map(|group| match group {
                    Weights::Float(weights) => Work::of(weights.product(), windows * weights.products()),
                    Weights::Int(weights) => Work::of(weights.product(), windows * weights.products()),
                })
                .sum(),
            Action::Depthwise { taps, epilogue, .. } => {
                Work::of(Product::Float, windows * taps.len() * epilogue.shift.len())
            }
            Action::ByteDepthwise { weights, .. } => {
                Work::of(weights.product(), windows * weights.products())
            }
            Action::Winograd { weights: Tiles::Float(weights), .. } => {
                Work::of(Product::Float, windows * weights.products())
            }
            Action::Winograd { weights: Tiles::Int(weights), .. } => {
                Work::of(Product::Int16, windows * weights.products())
            }
            Action::Maps { right, .. } => Work::of(Product::Float, windows * right.size[0] * right.size[1]),
            _ => Work::default(),
        }
    }
}
