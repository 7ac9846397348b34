//! Which images stand together in a batch: pairs, images, classes, training episodes.
//!
//! A [`Plan`] says for batch `k` which drawings, in which variant, with which targets; making the
//! pixels is the business of the module above.

use super::Targets;
use super::epochs::Epochs;
use super::pool::Pool;
use super::variant::Variants;
use crate::data::Dataset;
use crate::random::{Stream, below, draw, happens, stream};
use crate::{Error, Result};

/// A drawing of a batch: its index in the data, and the variant of it that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pick {
    pub image: usize,
    pub variant: usize,
}

impl Pick {
    fn plain(image: usize) -> Self {
        Self { image, variant: 0 }
    }
}

/// The content of every batch; a pure function of (seed, k).
pub(super) trait Plan: Send + Sync {
    /// Batch `k`: its drawings in order, and their targets.
    fn plan(&self, k: u64) -> (Vec<Pick>, Targets);
}

/// Two independent epochs of images zipped into pairs: of ten equal classes a tenth is similar.
pub(super) struct ZippedPairs {
    pub labels: Vec<u32>,
    pub pairs: usize,
    pub left: Epochs,
    pub right: Epochs,
}

impl ZippedPairs {
    pub(super) fn new(data: &Dataset, pairs: usize, seed: u64) -> Result<Self> {
        need_images(data, pairs)?;
        let epochs = |purpose| Epochs::new(data.len(), seed, purpose);
        Ok(Self {
            labels: data.labels.clone(),
            pairs,
            left: epochs("zipped pairs, left"),
            right: epochs("zipped pairs, right"),
        })
    }
}

impl Plan for ZippedPairs {
    fn plan(&self, k: u64) -> (Vec<Pick>, Targets) {
        let (a, b) = (self.left.take(k, self.pairs), self.right.take(k, self.pairs));
        let same = a.iter().zip(&b).map(|(&a, &b)| f32::from(self.labels[a] == self.labels[b])).collect();
        (a.into_iter().chain(b).map(Pick::plain).collect(), Targets::Same(same))
    }
}

/// A fixed list of pairs, half similar, half dissimilar, gone through epoch by epoch.
///
/// Similar: all pairs of drawings of every class are listed (190 of 20 drawings), and `n_samples`
/// of the list are drawn. Dissimilar: as many; two classes, one drawing of each.
pub(super) struct ListedPairs {
    /// (a, b, same).
    pub list: Vec<(usize, usize, bool)>,
    pub pairs: usize,
    pub epochs: Epochs,
}

impl ListedPairs {
    pub(super) fn new(data: &Dataset, pairs: usize, n_samples: usize, seed: u64) -> Result<Self> {
        let pool = Pool::new(data);
        pool.need_classes(data, 2, "dissimilar pairs need 2 classes")?;
        let mut similar = similar_pairs(&pool);
        if n_samples > similar.len() || n_samples == 0 {
            let why =
                format!("n_samples is {n_samples}; it must be 1 to {}, all similar pairs", similar.len());
            return Err(Error::invalid(&data.name, why));
        }
        if pairs == 0 || pairs > 2 * n_samples {
            let why =
                format!("a batch of {pairs} pairs; it must be 1 to {}, all listed pairs", 2 * n_samples);
            return Err(Error::invalid(&data.name, why));
        }
        let mut rng = stream(seed, "listed pairs", 0, 0);
        let similar = draw(&mut rng, &mut similar, n_samples);
        let mut list: Vec<_> = similar.iter().map(|&(a, b)| (a as usize, b as usize, true)).collect();
        for _ in 0..n_samples {
            let (a, b) = pool.two_classes(&mut rng);
            list.push((pool.drawing(&mut rng, a), pool.drawing(&mut rng, b), false));
        }
        let epochs = Epochs::new(list.len(), seed, "listed pairs, order");
        Ok(Self { list, pairs, epochs })
    }
}

/// All pairs of different drawings of one class.
pub(super) fn similar_pairs(pool: &Pool) -> Vec<(u32, u32)> {
    let mut pairs = Vec::new();
    for members in &pool.members {
        for (i, &a) in members.iter().enumerate() {
            pairs.extend(members[i + 1..].iter().map(|&b| (a as u32, b as u32)));
        }
    }
    pairs
}

impl Plan for ListedPairs {
    fn plan(&self, k: u64) -> (Vec<Pick>, Targets) {
        let chosen: Vec<_> = self.epochs.take(k, self.pairs).into_iter().map(|i| self.list[i]).collect();
        let (left, right) = (chosen.iter().map(|p| p.0), chosen.iter().map(|p| p.1));
        let same = chosen.iter().map(|p| f32::from(p.2)).collect();
        (left.chain(right).map(Pick::plain).collect(), Targets::Same(same))
    }
}

/// Images without replacement, epoch by epoch; every variant of an image is an item of its own.
pub(super) struct Images {
    pub labels: Vec<u32>,
    pub batch: usize,
    pub variants: Variants,
    pub epochs: Epochs,
}

impl Images {
    pub(super) fn new(data: &Dataset, batch: usize, variants: Variants, seed: u64) -> Result<Self> {
        need_images(data, batch)?;
        let epochs = Epochs::new(data.len() * variants.count(), seed, "images");
        Ok(Self { labels: data.labels.clone(), batch, variants, epochs })
    }
}

impl Plan for Images {
    fn plan(&self, k: u64) -> (Vec<Pick>, Targets) {
        let of = self.variants.count();
        let picks: Vec<Pick> = self
            .epochs
            .take(k, self.batch)
            .into_iter()
            .map(|item| Pick { image: item / of, variant: item % of })
            .collect();
        let label = |p: &Pick| self.variants.class(self.labels[p.image] as usize, p.variant) as i64;
        let labels = picks.iter().map(label).collect();
        (picks, Targets::Labels(labels))
    }
}

/// P classes × K drawings, class by class. Never two variants of one class in a batch.
pub(super) struct Classes {
    pub pool: Pool,
    pub classes: usize,
    pub drawings: usize,
    pub variants: Variants,
    /// Share of batches of whole alphabets.
    pub within: f32,
    pub seed: u64,
    /// Who drew each image, where the drawings of a class must be by different people.
    drawers: Option<Vec<u16>>,
}

impl Classes {
    pub(super) fn new(
        data: &Dataset,
        (classes, drawings): (usize, usize),
        variants: Variants,
        within: f32,
        seed: u64,
    ) -> Result<Self> {
        if classes == 0 || drawings == 0 {
            return Err(Error::invalid("sampling", "a batch needs at least 1 class and 1 drawing of it"));
        }
        if !(0.0..=1.0).contains(&within) {
            let why = format!("within is {within}; it is a share, 0 to 1");
            return Err(Error::invalid("sampling", why));
        }
        let pool = Pool::new(data);
        pool.need_classes(data, classes, &format!("a batch takes {classes} classes"))?;
        pool.need_drawings(data, drawings, &format!("a batch takes {drawings} drawings of a class"))?;
        Ok(Self { pool, classes, drawings, variants, within, seed, drawers: None })
    }

    /// The same with the drawings of a class by different people.
    ///
    /// # Errors
    /// Data that do not tell who drew, or a class (which is named) that too few people drew.
    pub(super) fn apart(self, data: &Dataset) -> Result<Self> {
        let wanted = self.drawings;
        self.pool.need_drawers(
            data,
            wanted,
            &format!("a batch takes {wanted} drawings of a class by different drawers"),
        )?;
        Ok(Self { drawers: Some(data.drawers.clone()), ..self })
    }

    /// The drawings of a class in a batch.
    fn of_class(&self, rng: &mut Stream, class: usize) -> Vec<usize> {
        match &self.drawers {
            None => self.pool.drawings(rng, class, self.drawings),
            Some(drawers) => self.pool.drawings_apart(rng, class, self.drawings, drawers),
        }
    }

    /// (class, variant, its drawings) of batch `k`. The classes of one alphabet are turned alike.
    fn draw(&self, k: u64) -> Vec<(usize, usize, Vec<usize>)> {
        let mut rng = stream(self.seed, "classes", k, 0);
        let classes = if happens(&mut rng, self.within) {
            self.pool.neighbours(&mut rng, self.classes)
        } else {
            self.pool
                .any_classes(&mut rng, self.classes)
                .into_iter()
                .enumerate()
                .map(|(i, c)| (c, i))
                .collect()
        };
        let variants: Vec<usize> =
            (0..self.classes).map(|_| below(&mut rng, self.variants.count())).collect();
        let of = |(class, turned)| (class, variants[turned], self.of_class(&mut rng, class));
        classes.into_iter().map(of).collect()
    }
}

impl Plan for Classes {
    fn plan(&self, k: u64) -> (Vec<Pick>, Targets) {
        let (mut picks, mut labels) = (Vec::new(), Vec::new());
        for (class, variant, drawings) in self.draw(k) {
            labels.extend(drawings.iter().map(|_| self.variants.class(class, variant) as i64));
            picks.extend(drawings.into_iter().map(|image| Pick { image, variant }));
        }
        (picks, Targets::Labels(labels))
    }
}

/// Training episodes: supports class by class, then queries class by class.
pub(super) struct Episodes {
    pub classes: Classes,
    pub shot: usize,
}

impl Plan for Episodes {
    fn plan(&self, k: u64) -> (Vec<Pick>, Targets) {
        let drawn = self.classes.draw(k);
        let part = |from: usize, to: usize| {
            drawn.iter().flat_map(move |(_, variant, drawings)| {
                drawings[from..to].iter().map(|&image| Pick { image, variant: *variant })
            })
        };
        (part(0, self.shot).chain(part(self.shot, self.classes.drawings)).collect(), Targets::Episode)
    }
}

/// An error unless the data can fill a batch of this many different images.
fn need_images(data: &Dataset, batch: usize) -> Result<()> {
    if batch > 0 && batch <= data.len() {
        return Ok(());
    }
    let why = format!("a batch of {batch} images; it must be 1 to {}, all images", data.len());
    Err(Error::invalid(&data.name, why))
}
