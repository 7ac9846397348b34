//! How fast is a gallery in PostgreSQL? Omniglot's drawings, distorted again and again, become so many examples:
//! how many a second are copied before there is an index, and enrolled once there is one; how long a question takes,
//! and how often its nearest example is found.
//!
//! ```sh
//! fixtures/postgres_speed.sh 50000 DATA     # starts a server for it
//! ```

use ndarray::{Array4, Axis, s};
use siamese::data::{Dataset, Set};
use siamese::gallery::{Classifier, Example, Gallery, Location, Shots};
use siamese::image::Triage;
use siamese::model::recipe::Augment;
use siamese::random::stream;
use siamese::runtime::{Embedder, Options, Runtime};
use siamese::sample::Distortion;
use siamese::{embed, tower};
use std::path::Path;
use std::time::{Duration, Instant};

/// Examples of one enrolment.
const BATCH: usize = 10_000;
/// Questions, of distortions that were not enrolled; no more than there are examples.
const QUESTIONS: usize = 2000;

/// Distorted drawings, and what the tower makes of them.
struct Source {
    data: Dataset,
    distortion: Distortion,
    embedder: Box<dyn Embedder>,
}

impl Source {
    fn new(dir: &Path) -> anyhow::Result<Self> {
        let embedder = Runtime::preferred().with(Options::default())?.load(Path::new(tower::DEFAULT))?;
        let how = embedder.spec().preprocessing.clone();
        let data = Set::Omniglot.read(dir, &how, &Triage::strict())?;
        // As the shipped tower was trained, but less far.
        let augment = Augment { rotate: 10.0, scale: 0.1, shear: 0.1, shift: 0.05, ..Augment::default() };
        let augment = Augment { elastic: 0.03, thickness: 0.5, probability: 1.0, ..augment };
        let distortion = Distortion::new(&augment, data.images.dim().1, data.images.dim().2)?;
        Ok(Self { data, distortion, embedder })
    }

    /// The examples of these numbers: each drawing in turn, distorted in a way of its own.
    fn examples(&mut self, numbers: std::ops::Range<usize>) -> anyhow::Result<Vec<Example>> {
        let count = self.data.labels.len();
        let (_, channels, side, _) = self.data.images.dim();
        let mut images = Array4::<u8>::zeros((numbers.len(), channels, side, side));
        for (mut image, number) in images.axis_iter_mut(Axis(0)).zip(numbers.clone()) {
            let from = self.data.images.index_axis(Axis(0), number % count);
            let drawn = self.distortion.draw(&mut stream(5, "shared gallery", number as u64, 0));
            if let (Some(drawn), Some(from), Some(to)) = (drawn, from.as_slice(), image.as_slice_mut()) {
                self.distortion.apply(&drawn, from, to);
            }
        }
        let embeddings = embed::images(images.view(), self.embedder.as_mut(), |_| ())?;
        let example = |(row, number): (ndarray::ArrayView1<'_, f32>, usize)| Example {
            label: self.data.title(self.data.labels[number % count]),
            embedding: row.to_vec(),
            source: format!("drawing {number}"),
            added_unix_s: None,
        };
        Ok(embeddings.outer_iter().zip(numbers).map(example).collect())
    }
}

#[allow(clippy::print_stdout)]
fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [at, size, data] = arguments.as_slice() else {
        anyhow::bail!("shared_gallery ADDRESS EXAMPLES DATA")
    };
    let (size, mut source) = (size.parse::<usize>()?, Source::new(Path::new(data))?);
    let at = Location::from(Path::new(at));
    let mut gallery = Gallery::create(&at, source.embedder.spec(), Path::new(tower::DEFAULT))?;
    let mut copying = Duration::ZERO;
    for first in (0..size).step_by(BATCH) {
        let examples = source.examples(first..(first + BATCH).min(size))?;
        let since = Instant::now();
        gallery.enroll(&examples)?;
        copying += since.elapsed();
    }
    println!("copied\t{size} examples\t{:.0} a second", size as f64 / copying.as_secs_f64());
    let since = Instant::now();
    let index = gallery.build_index(siamese::gallery::USUAL_RECALL)?;
    let [low, high] = index.recall_at_1.interval_95;
    println!("indexed, and measured\t{:.0} s\tef_search {}", since.elapsed().as_secs_f64(), index.ef_search);
    println!("recall@1, made-up questions\t{:.4} ({low:.4}–{high:.4})", index.recall_at_1.share);
    for narrower in &index.narrower {
        println!("too narrow: ef_search {}\t{:.4}", narrower.ef_search, narrower.recall_at_1);
    }
    for (batch, count) in [(100, 3000.min(size)), (1, 300.min(size))] {
        let examples = source.examples(size + 10_000 * batch..size + 10_000 * batch + count)?;
        let since = Instant::now();
        for some in examples.chunks(batch) {
            gallery.enroll(some)?;
        }
        let rate = count as f64 / since.elapsed().as_secs_f64();
        println!("enrolled with the index, {batch} at a time\t{rate:.0} a second");
    }
    questions(&gallery, &mut source, size)
}

/// Asks questions one by one, by the index and by all examples.
#[allow(clippy::print_stdout)]
fn questions(gallery: &Gallery, source: &mut Source, size: usize) -> anyhow::Result<()> {
    let first = 10 * size + 5_000_000;
    // Drawings from all over the set, as distortions that were not enrolled.
    let count = QUESTIONS.min(size);
    let numbers = (0..count).map(|i| first + i * 16);
    let asked: Vec<Example> =
        numbers.map(|n| Ok(source.examples(n..n + 1)?.remove(0))).collect::<anyhow::Result<_>>()?;
    let dim = gallery.facts().dim;
    let rows: Vec<f32> = asked.iter().flat_map(|example| example.embedding.iter().copied()).collect();
    let queries = ndarray::Array2::from_shape_vec((count, dim), rows)?;
    let of = |exact: bool| {
        let known = gallery.known(Shots::Best, exact)?;
        Classifier::new(known, gallery.facts().distance.clone(), Shots::Best, "the gallery")
    };
    let exact = of(true)?.classify(queries.view(), 1, None)?;
    let rule = siamese::gallery::Limit::At(f32::MAX).rule(gallery.facts());
    for (top, rule, words) in
        [(1, None, "the nearest class, and the margin"), (5, rule, "the five nearest classes")]
    {
        let classifier = of(false)?;
        let (mut times, mut found, mut same) = (Vec::with_capacity(count), 0, 0);
        for (i, exact) in exact.iter().enumerate() {
            let since = Instant::now();
            let answer = classifier.classify(queries.slice(s![i..=i, ..]), top, rule.as_ref())?.remove(0);
            times.push(since.elapsed().as_secs_f64() * 1e3);
            found += usize::from(answer.distance == exact.distance);
            same += usize::from(answer.nearest[0].label == exact.nearest[0].label);
        }
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[(share * (count - 1) as f64) as usize];
        println!("{words}\tp50 {:.2} ms\tp99 {:.2} ms", at(0.5), at(0.99));
        let share = |of: usize| of as f64 / count as f64;
        println!("recall@1\t{:.4}\tthe same class\t{:.4}", share(found), share(same));
    }
    Ok(())
}
