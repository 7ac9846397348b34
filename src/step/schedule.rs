//! The learning rate as a pure function of the step, computed on the host.

use crate::model::Recipe;
use crate::model::recipe::{Optimiser, Schedule};
use std::f64::consts::PI;

/// The learning rate of step `step` (1 is the first, `recipe.steps` the last).
pub fn learning_rate(recipe: &Recipe, step: u64) -> f32 {
    let lr = match recipe.optimiser {
        Optimiser::Sgd { lr, .. } | Optimiser::Adam { lr } | Optimiser::AdamW { lr, .. } => lr,
    };
    (f64::from(lr) * factor(&recipe.schedule, step.saturating_sub(1), recipe.steps)) as f32
}

/// The factor after `done` of `steps` steps.
fn factor(schedule: &Schedule, done: u64, steps: u64) -> f64 {
    let (at, steps) = (done as f64, steps as f64);
    match *schedule {
        Schedule::Constant => 1.0,
        Schedule::Exponential { decay, every } => f64::from(decay).powf(at / every as f64),
        Schedule::Cosine { warm_up } => {
            let warm_up = warm_up as f64;
            if at < warm_up {
                // The first step is not lost: it has 1/warm_up, not 0.
                return (at + 1.0) / warm_up;
            }
            half_cosine((at - warm_up) / (steps - warm_up))
        }
        Schedule::OneCycle { warm_up, start, end } => {
            let (rise, start, end) = (f64::from(warm_up) * steps, f64::from(start), f64::from(end));
            if at < rise {
                return start + (1.0 - start) * (1.0 - half_cosine(at / rise));
            }
            end + (1.0 - end) * half_cosine((at - rise) / (steps - rise).max(1.0))
        }
    }
}

/// From 1 at 0 to 0 at 1, and 0 after.
fn half_cosine(x: f64) -> f64 {
    0.5 * (1.0 + (PI * x.min(1.0)).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_pass_through_their_corners() {
        let one_cycle = Schedule::OneCycle { warm_up: 0.25, start: 0.1, end: 0.01 };
        let exponential = Schedule::Exponential { decay: 0.5, every: 10 };
        let cosine = Schedule::Cosine { warm_up: 20 };
        for (schedule, done, expected) in [
            (Schedule::Constant, 77, 1.0),
            (exponential.clone(), 0, 1.0),
            (exponential.clone(), 5, 0.5_f64.sqrt()),
            (exponential, 30, 0.125),
            (cosine.clone(), 0, 0.05),
            (cosine.clone(), 19, 1.0),
            (cosine.clone(), 20, 1.0),
            (cosine.clone(), 60, 0.5),
            (cosine, 100, 0.0),
            (one_cycle.clone(), 0, 0.1),
            (one_cycle.clone(), 25, 1.0),
            (one_cycle, 100, 0.01),
        ] {
            let got = factor(&schedule, done, 100);
            assert!((got - expected).abs() < 1e-6, "{schedule:?} after {done}: {got}, not {expected}");
        }
    }
}
