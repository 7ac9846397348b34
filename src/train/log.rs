//! Means of what the steps measured, and the pace.

use super::folder::Line;
use super::stepper::Measured;
use std::time::{Duration, Instant};

/// The stretch over which the shown pace is measured.
const STRETCH: Duration = Duration::from_secs(2);

/// How long a step took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Took {
    /// Waiting for its batch.
    pub waiting: Duration,
    /// Computing.
    pub computing: Duration,
}

impl Took {
    fn seconds(&self) -> f64 {
        (self.waiting + self.computing).as_secs_f64()
    }

    fn add(&mut self, other: Self) {
        self.waiting += other.waiting;
        self.computing += other.computing;
    }
}

/// Sums since the last line of the log.
pub(super) struct Log {
    began: Instant,
    batch_images: usize,
    steps: u64,
    loss: f64,
    metrics: Vec<(String, f64)>,
    took: Took,
    /// Steps and time of the stretch at hand, and the pace of the last one.
    stretch: (u64, Duration),
    pace: f64,
}

impl Log {
    pub fn new(batch_images: usize) -> Self {
        Self {
            began: Instant::now(),
            batch_images,
            steps: 0,
            loss: 0.0,
            metrics: Vec::new(),
            took: Took::default(),
            stretch: (0, Duration::ZERO),
            pace: 0.0,
        }
    }

    /// Adds a step.
    pub fn add(&mut self, measured: &Measured, took: Took) {
        if self.metrics.is_empty() {
            self.metrics = measured.metrics.iter().map(|(name, _)| (name.clone(), 0.0)).collect();
        }
        for (sum, (_, value)) in self.metrics.iter_mut().zip(&measured.metrics) {
            sum.1 += f64::from(*value);
        }
        self.steps += 1;
        self.loss += f64::from(measured.loss);
        self.took.add(took);
        let (steps, time) = (self.stretch.0 + 1, self.stretch.1 + took.waiting + took.computing);
        if time >= STRETCH || self.pace == 0.0 {
            self.pace = self.images(steps) / time.as_secs_f64().max(1e-9);
        }
        self.stretch = if time >= STRETCH { (0, Duration::ZERO) } else { (steps, time) };
    }

    fn images(&self, steps: u64) -> f64 {
        steps as f64 * self.batch_images as f64
    }

    /// Mean loss since the last line.
    pub fn loss(&self) -> f64 {
        self.loss / self.steps.max(1) as f64
    }

    /// Images a second, lately.
    pub fn pace(&self) -> f64 {
        self.pace
    }

    /// The means, which begin anew.
    pub fn line(&mut self, step: u64, lr: f32, evaluation: Option<f64>) -> Line {
        let count = self.steps.max(1) as f64;
        let seconds = self.took.seconds().max(1e-9);
        let line = Line {
            step,
            loss: self.loss(),
            lr,
            metrics: self.metrics.drain(..).map(|(name, sum)| (name, sum / count)).collect(),
            evaluation,
            images_per_second: self.images(self.steps) / seconds,
            waiting_share: self.took.waiting.as_secs_f64() / seconds,
            seconds: self.began.elapsed().as_secs_f64(),
            steps_in_mean: self.steps,
        };
        (self.steps, self.loss, self.took) = (0, 0.0, Took::default());
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_means_and_begins_anew() {
        let mut log = Log::new(10);
        let took = Took { waiting: Duration::from_millis(100), computing: Duration::from_millis(400) };
        for loss in [1.0, 3.0] {
            log.add(&Measured { loss, metrics: vec![("same".into(), 2.0 * loss)] }, took);
        }
        let line = log.line(2, 0.1, None);
        assert_eq!((line.loss, line.metrics["same"], line.steps_in_mean), (2.0, 4.0, 2));
        assert!((line.images_per_second - 20.0).abs() < 1e-9 && (line.waiting_share - 0.2).abs() < 1e-9);
        log.add(&Measured { loss: 5.0, metrics: vec![("same".into(), 1.0)] }, took);
        assert_eq!((log.line(3, 0.1, None).loss, log.pace()), (5.0, 20.0));
    }
}
