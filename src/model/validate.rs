//! What a recipe's values must be, beyond their types.

use super::load::nearest;
use super::recipe::{
    Data, EvalProtocol, Init, Layer, LayerFactor, Loss, Optimiser, Recipe, Sampling, Schedule,
};
use super::specs::param_specs;
use crate::image::Frame;
use crate::{Error, Result};

/// Greatest side of the input, pixels.
const MAX_SIZE: usize = 1024;
/// Greatest number of images in a batch.
const MAX_BATCH: usize = 1 << 16;
/// Most numbers of a teacher's embedding.
const MAX_TEACHER: usize = 1 << 16;
/// Steps are counted in a float32 inside the training graph, exactly up to here.
const MAX_STEPS: u64 = 1 << 24;
/// Most numbers that a layer may learn: 4 GiB of float32, and a training keeps several of each.
const MAX_PARAMETER: u128 = 1 << 30;

impl Recipe {
    /// Checks that the values are in range and fit each other, and that the layers' shapes fit.
    ///
    /// # Errors
    /// The first fault found, with its place in the recipe, the value, and what it must be.
    pub fn validate(&self) -> Result<()> {
        self.check_name()?;
        let least = usize::from(self.is_known());
        within("size", self.size, least..=MAX_SIZE)?;
        within("steps", self.steps, 1..=MAX_STEPS)?;
        finite("bias_init", self.bias_init)?;
        self.check_init()?;
        self.check_data()?;
        self.check_colour()?;
        self.check_loss()?;
        self.check_sampling()?;
        self.check_micro_batch()?;
        self.check_pairing()?;
        self.check_optimiser()?;
        self.check_schedule()?;
        self.check_evaluation()?;
        self.check_wccn()?;
        // All else is about a tower that can be looked at.
        if !self.is_known() {
            return Ok(());
        }
        let coloured = self.preprocessing().channels() == 3;
        self.augment.as_ref().map_or(Ok(()), |augment| augment.validate(coloured))?;
        self.check_parameters()?;
        self.check_layer_factors("l2", &self.l2)?;
        self.check_layer_factors("lr_factors", &self.lr_factors)?;
        self.check_init_layers()
    }

    fn check_name(&self) -> Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.name.is_empty() || self.name.starts_with('.') || !self.name.chars().all(plain) {
            let why = format!("{:?} must be a folder's name of letters, digits, '-', '_' and '.'", self.name);
            return Err(Error::invalid("name", why));
        }
        Ok(())
    }

    fn check_init(&self) -> Result<()> {
        match self.init {
            Init::TruncatedNormal { std } => positive("init.truncated-normal.std", std),
            Init::He | Init::Glorot => Ok(()),
        }
    }

    fn check_data(&self) -> Result<()> {
        if let Data::Glyphs { alphabets, characters, drawers, .. } = self.data {
            within("data.glyphs.alphabets", alphabets, 1..=10_000)?;
            within("data.glyphs.characters", characters, 1..=10_000)?;
            within("data.glyphs.drawers", drawers, 1..=10_000)?;
        }
        Ok(())
    }

    fn check_colour(&self) -> Result<()> {
        if self.colour.is_some() && self.frame == Frame::Ink {
            let why =
                "\"ink\" is laid around the ink of a drawing, and this recipe takes colours; leave one out";
            return Err(Error::invalid("frame", why));
        }
        if let (Some(_), Data::Omniglot { glyph_alphabets: 1.., .. }) = (self.colour, &self.data) {
            let why = "the built-in alphabets have colours here, which Omniglot has not; leave them out";
            return Err(Error::invalid("data.omniglot.glyph_alphabets", why));
        }
        Ok(())
    }

    fn check_loss(&self) -> Result<()> {
        check_loss(&self.loss)?;
        self.check_distil()?;
        self.check_compatible()
    }

    fn check_distil(&self) -> Result<()> {
        let Some(distil) = self.loss.distil() else { return Ok(()) };
        within("loss.distil.dim", distil.dim, 1..=MAX_TEACHER)?;
        positive("loss.distil.weight", distil.weight)
    }

    fn check_sampling(&self) -> Result<()> {
        match self.sampling {
            Sampling::ZippedPairs { batch } => within("sampling.zipped-pairs.batch", batch, 1..=MAX_BATCH),
            Sampling::ListedPairs { batch, n_samples } => {
                within("sampling.listed-pairs.batch", batch, 1..=MAX_BATCH)?;
                within("sampling.listed-pairs.n_samples", n_samples, 1..=100_000_000)
            }
            Sampling::Images { batch, turns, .. } => {
                within("sampling.images.batch", batch, 1..=MAX_BATCH)?;
                check_turns("sampling.images.turns", turns)
            }
            Sampling::Classes { classes, drawings, turns, within: share, .. } => {
                within("sampling.classes.classes", classes, 1..=MAX_BATCH)?;
                within("sampling.classes.drawings", drawings, 1..=MAX_BATCH)?;
                check_turns("sampling.classes.turns", turns)?;
                check_share("sampling.classes.within", share)
            }
            Sampling::Episodes { way, shot, queries, turns, within: share } => {
                within("sampling.episodes.way", way, 2..=MAX_BATCH)?;
                within("sampling.episodes.shot", shot, 1..=MAX_BATCH)?;
                within("sampling.episodes.queries", queries, 1..=MAX_BATCH)?;
                check_turns("sampling.episodes.turns", turns)?;
                check_share("sampling.episodes.within", share)
            }
        }
    }

    /// A loss needs batches of its kind.
    fn check_pairing(&self) -> Result<()> {
        let Some(on_labels) = self.loss.on_labels() else { return Ok(()) };
        let (loss, needs, fits) = match on_labels {
            Loss::Spring { .. } | Loss::SpringLinear { .. } => (
                "a loss on pairs",
                "zipped-pairs or listed-pairs",
                matches!(self.sampling, Sampling::ZippedPairs { .. } | Sampling::ListedPairs { .. }),
            ),
            Loss::Sigmoid => (
                "the sigmoid loss",
                "zipped-pairs, listed-pairs or classes of at least 2 drawings",
                matches!(
                    self.sampling,
                    Sampling::ZippedPairs { .. }
                        | Sampling::ListedPairs { .. }
                        | Sampling::Classes { drawings: 2.., .. }
                ),
            ),
            Loss::Softmax | Loss::Cosine { .. } => (
                "a loss on classes",
                "images or classes",
                matches!(self.sampling, Sampling::Images { .. } | Sampling::Classes { .. }),
            ),
            Loss::Contrast { .. } => (
                "a loss on drawings of the same class",
                "classes of at least 2 drawings",
                matches!(self.sampling, Sampling::Classes { drawings: 2.., .. }),
            ),
            Loss::Prototype => {
                ("the prototype loss", "episodes", matches!(self.sampling, Sampling::Episodes { .. }))
            }
            // Within another one it was refused before.
            Loss::Distil(_) => return Ok(()),
        };
        if fits { Ok(()) } else { Err(Error::invalid("sampling", format!("{loss} needs {needs}"))) }
    }

    fn check_optimiser(&self) -> Result<()> {
        match self.optimiser {
            Optimiser::Sgd { lr, momentum, nesterov } => {
                positive("optimiser.sgd.lr", lr)?;
                below_one("optimiser.sgd.momentum", momentum)?;
                if nesterov && momentum == 0.0 {
                    return Err(Error::invalid("optimiser.sgd.nesterov", "needs a momentum above 0"));
                }
            }
            Optimiser::Adam { lr } => positive("optimiser.adam.lr", lr)?,
            Optimiser::AdamW { lr, weight_decay } => {
                positive("optimiser.adam-w.lr", lr)?;
                not_negative("optimiser.adam-w.weight_decay", weight_decay)?;
            }
        }
        if let Some(norm) = self.clip_norm {
            positive("clip_norm", norm)?;
        }
        if let Some(decay) = self.ema {
            positive("ema", decay)?;
            below_one("ema", decay)?;
        }
        Ok(())
    }

    fn check_schedule(&self) -> Result<()> {
        match self.schedule {
            Schedule::Constant => Ok(()),
            Schedule::Exponential { decay, every } => {
                positive("schedule.exponential.decay", decay)?;
                within("schedule.exponential.every", every, 1..=u64::MAX)
            }
            Schedule::Cosine { warm_up } => within("schedule.cosine.warm_up", warm_up, 0..=self.steps - 1),
            Schedule::OneCycle { warm_up, start, end } => {
                check_share("schedule.one-cycle.warm_up", warm_up)?;
                positive("schedule.one-cycle.start", start)?;
                not_negative("schedule.one-cycle.end", end)
            }
        }
    }

    fn check_evaluation(&self) -> Result<()> {
        within("evaluation.every", self.evaluation.every, 1..=u64::MAX)?;
        match self.evaluation.protocol {
            EvalProtocol::NearestTruth if self.data != Data::Mnist => {
                Err(Error::invalid("evaluation.protocol", "nearest-truth is MNIST's; use one-shot"))
            }
            EvalProtocol::Accuracy if self.loss.on_labels() != Some(&Loss::Softmax) => {
                Err(Error::invalid("evaluation.protocol", "accuracy needs the softmax loss"))
            }
            EvalProtocol::OneShot { episodes } => {
                within("evaluation.protocol.one-shot.episodes", episodes, 1..=1_000_000)
            }
            EvalProtocol::NearestTruth | EvalProtocol::Accuracy => Ok(()),
        }
    }

    /// It is folded into a last product, and the embedding's metric must be one that a linear map changes.
    fn check_wccn(&self) -> Result<()> {
        let Some(smoothing) = self.wccn else { return Ok(()) };
        positive("wccn", smoothing)?;
        let folds = |layer: &&Layer| !matches!(layer, Layer::BatchNorm | Layer::Dropout(_) | Layer::L2Norm);
        if !matches!(self.tower.layers().iter().rev().find(folds), Some(Layer::Fc { .. })) {
            return Err(Error::invalid(
                "wccn",
                "needs a tower whose last layer is `fc`, or `fc` and `l2-norm`",
            ));
        }
        if matches!(self.loss.on_labels(), Some(Loss::Softmax | Loss::Sigmoid)) {
            return Err(Error::invalid(
                "wccn",
                "would change the embedding that the loss's own weights are for",
            ));
        }
        Ok(())
    }

    /// The layers fit, and none is larger than a memory.
    fn check_parameters(&self) -> Result<()> {
        for spec in param_specs(self)? {
            let count: u128 = spec.shape.iter().map(|n| *n as u128).product();
            if count > MAX_PARAMETER {
                let why = format!("its {:?} are {count} numbers; {MAX_PARAMETER} are the most", spec.shape);
                return Err(Error::invalid(format!("recipe {}, layer {}", self.name, spec.layer()), why));
            }
        }
        Ok(())
    }

    /// Every prefix must reach a layer that learns something, and factors must not be negative.
    fn check_layer_factors(&self, field: &str, factors: &[LayerFactor]) -> Result<()> {
        for (i, f) in factors.iter().enumerate() {
            let at = format!("{field}[{i}]");
            not_negative(&format!("{at}.value"), f.value)?;
            self.check_prefix(&format!("{at}.layers"), &f.layers)?;
        }
        Ok(())
    }

    fn check_init_layers(&self) -> Result<()> {
        if !self.init_layers.is_empty() && self.init_from.is_none() {
            return Err(Error::invalid("init_layers", "there is no `init_from` to take these layers from"));
        }
        let mut prefixes = self.init_layers.iter().enumerate();
        prefixes.try_for_each(|(i, prefix)| self.check_prefix(&format!("init_layers[{i}]"), prefix))
    }

    /// At least one layer's name must begin with the prefix.
    fn check_prefix(&self, at: &str, prefix: &str) -> Result<()> {
        let specs = param_specs(self)?;
        // The loss's own parameters are layers named `head`.
        let mut layers = specs.iter().map(super::ParamSpec::layer).chain(["head"]);
        if layers.clone().any(|layer| layer.starts_with(prefix)) {
            return Ok(());
        }
        let hint = nearest(prefix, &mut layers).map(|s| format!("; did you mean `{s}`?"));
        let why = format!("no layer's name begins with {prefix:?}{}", hint.unwrap_or_default());
        Err(Error::invalid(at, why))
    }
}

fn check_loss(loss: &Loss) -> Result<()> {
    match loss {
        Loss::Spring { margin } => positive("loss.spring.margin", *margin),
        Loss::SpringLinear { margin } => positive("loss.spring-linear.margin", *margin),
        Loss::Cosine { scale, margin } => {
            positive("loss.cosine.scale", *scale)?;
            not_negative("loss.cosine.margin", *margin)
        }
        Loss::Contrast { scale } => positive("loss.contrast.scale", *scale),
        Loss::Sigmoid | Loss::Softmax | Loss::Prototype => Ok(()),
        Loss::Distil(distil) => match distil.beside.as_deref() {
            Some(Loss::Distil(_)) => Err(Error::invalid(
                "loss.distil.beside",
                "is distillation again; a loss on labels can stand there",
            )),
            Some(other) => check_loss(other),
            None => Ok(()),
        },
    }
}

fn check_turns(at: &str, turns: usize) -> Result<()> {
    if matches!(turns, 1 | 4) { Ok(()) } else { Err(Error::invalid(at, format!("{turns} must be 1 or 4"))) }
}

fn check_share(at: &str, x: f32) -> Result<()> {
    if (0.0..=1.0).contains(&x) {
        Ok(())
    } else {
        Err(Error::invalid(at, format!("{x} must be from 0 to 1")))
    }
}

fn within<T: PartialOrd + std::fmt::Display>(
    at: &str,
    n: T,
    range: std::ops::RangeInclusive<T>,
) -> Result<()> {
    if range.contains(&n) {
        return Ok(());
    }
    Err(Error::invalid(at, format!("{n} must be from {} to {}", range.start(), range.end())))
}

fn finite(at: &str, x: f32) -> Result<()> {
    if x.is_finite() { Ok(()) } else { Err(Error::invalid(at, format!("{x} must be finite"))) }
}

pub(super) fn positive(at: &str, x: f32) -> Result<()> {
    finite(at, x)?;
    if x > 0.0 { Ok(()) } else { Err(Error::invalid(at, format!("{x} must be above 0"))) }
}

fn not_negative(at: &str, x: f32) -> Result<()> {
    finite(at, x)?;
    if x >= 0.0 { Ok(()) } else { Err(Error::invalid(at, format!("{x} must not be negative"))) }
}

fn below_one(at: &str, x: f32) -> Result<()> {
    if (0.0..1.0).contains(&x) {
        Ok(())
    } else {
        Err(Error::invalid(at, format!("{x} must be from 0 to below 1")))
    }
}
