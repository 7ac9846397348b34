//! A comparison as a page.

use super::certificate::Fragile;
use super::run::{Comparison, Verdict};
use super::sample::Images;
use super::text::{
    self, HUNT, PORTABILITY, cells, layer_cells, number, ratio, share, side, suspicion, tolerance, ulps,
};
use crate::Result;
use crate::report::html::Page;
use crate::report::picture;
use crate::tower::TowerKind;

/// The page of a comparison on `images`.
///
/// # Errors
/// Where a picture cannot be drawn.
pub fn page(c: &Comparison, images: &Images) -> Result<Page> {
    let spec = &c.tower.spec;
    let about = format!(
        "{} ({}) on {} and {}, {} images of {}",
        spec.name,
        spec.kind.name(),
        c.a.setting.runtime,
        c.b.setting.runtime,
        c.images,
        c.data
    );
    let title = match c.verdict {
        Verdict::Agree => "The runtimes agree",
        Verdict::Differ => "The runtimes differ",
        Verdict::NoAnswers => "There are no answers to agree on",
    };
    let mut page = Page::new(title, &about);
    page.text(&text::verdict(c));
    c.remarks.iter().for_each(|remark| {
        page.text(&format!("Note: {remark}"));
    });
    let p = &c.predictions;
    page.figures([
        (p.flipped.to_string(), "predictions flipped"),
        (p.ties.to_string(), "ties within the noise"),
        (share(p.agreed, p.queries), "agreed"),
        (share(p.certified, p.queries), "certified: a flip is impossible"),
        (number(c.values.max_abs), "largest |a−b|"),
        (ratio(p), "smallest margin ÷ largest divergence"),
    ]);
    page.section("What was run");
    page.table(
        &["", ""],
        [
            ["tower".to_string(), c.tower.file.display().to_string()],
            ["SHA-256".into(), spec.sha256.clone()],
            ["distance".into(), spec.distance.name().into()],
            ["A".into(), side(&c.a)],
            ["B".into(), side(&c.b)],
            [
                "machine".into(),
                format!("{} {}, {} cores", std::env::consts::OS, std::env::consts::ARCH, cores()),
            ],
        ],
    );
    if let Some(other) = &c.against {
        page.text(&format!("B ran another file: {}, SHA-256 {}", other.file.display(), other.spec.sha256));
    }
    values(&mut page, c);
    decisions(&mut page, c);
    fragile(&mut page, "The most fragile episodes drawn", &p.fragile, images, "FLIPPED")?;
    fragile(
        &mut page,
        "The most fragile decisions searched for",
        &c.hunt.narrowest,
        images,
        "turned, not counted",
    )?;
    settings(&mut page, c);
    layers(&mut page, c);
    Ok(page)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn values(page: &mut Page, c: &Comparison) {
    let v = &c.values;
    page.section("Numbers");
    page.table(
        &["", "largest", "mean"],
        [
            ["|a−b|".to_string(), number(v.max_abs), number(v.mean_abs)],
            ["|a−b| / |b|".into(), number(v.max_rel), number(v.mean_rel)],
            ["ULP".into(), v.max_ulp.to_string(), String::new()],
        ],
    );
    page.text(&tolerance(v));
    if let Some(o) = &v.first_offender {
        page.text(&format!(
            "First offender: image {}, number {}: a = {:e}, b = {:e}.",
            o.row, o.column, o.a, o.b
        ));
    }
    let bins = v.ulp_histogram.iter().map(|bin| [ulps(bin.up_to), bin.count.to_string()]);
    page.table(&["ULP apart", "numbers"], bins);
}

fn decisions(page: &mut Page, c: &Comparison) {
    let p = &c.predictions;
    page.section("Predictions");
    page.text(&format!("{} episodes of {} classes, {} shot, {} predictions. A prediction is certified where its margin exceeds the bound |d_A − d_B| ≤ ‖Δq‖ + ‖Δs‖ + rounding of the best class and of every rival: then the other runtime must give the same answer{}. A tie is a query that they answer differently, but by less than a runtime's own noise; a flip is beyond that.", p.episodes, c.way_shot[0], c.way_shot[1], p.queries, text::own_noise(c)));
    page.table(
        &["", ""],
        [
            ["smallest margin".to_string(), number(p.smallest_margin)],
            ["largest divergence of a distance".into(), number(p.largest_divergence)],
            ["largest bound".into(), number(p.largest_bound)],
            ["least margin in bounds".into(), number(p.safety)],
        ],
    );
    let right = |n: Option<usize>, of: usize| n.map_or(String::new(), |n| share(n, of));
    page.section("Galleries that travel");
    page.text(&format!("Here one looks {PORTABILITY}."));
    page.table(
        &["supports, queries by", "as AA", "right"],
        c.portability
            .iter()
            .map(|x| [x.who.to_string(), share(x.as_aa, x.queries), right(x.correct, x.queries)]),
    );
    let h = &c.hunt;
    page.text(&format!(
        "Then {HUNT}. {} choices around {} images; {} certified, {} turned.",
        h.triplets, h.images, h.certified, h.turned
    ));
}

/// Query, best and rival side by side.
fn fragile(page: &mut Page, heading: &str, found: &[Fragile], images: &Images, turned: &str) -> Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    page.section(heading);
    page.text("Query, the support found nearest, its nearest rival.");
    let mut drawn = Vec::new();
    for f in found {
        let row = [f.query, f.best, f.rival].map(|i| images.image(i)).to_vec();
        let zoom = (84 / row[0].shape()[1].max(1)).max(1);
        let names = [f.query, f.best, f.rival].map(|i| images.class(i).unwrap_or_default());
        let named = if names[0].is_empty() { String::new() } else { format!("{} · ", names.join(" | ")) };
        let flipped = match (f.flipped, f.tie) {
            (true, true) => " · a tie within the noise".into(),
            (true, false) => format!(" · {turned}"),
            (false, _) => String::new(),
        };
        let caption = format!("{named}margin {}, bound {}{flipped}", number(f.margin), number(f.bound));
        drawn.push((picture::sheet(&[row], zoom)?, caption));
    }
    page.pictures(drawn.iter().map(|(png, caption)| (png.as_slice(), caption.clone())));
    Ok(())
}

fn settings(page: &mut Page, c: &Comparison) {
    let sweep = &c.settings;
    if c.tower.spec.kind == TowerKind::Exact {
        page.section("Bits");
        page.text(&sweep.sha256.as_ref().map_or("The settings differ.".into(), |sha| {
            format!("One SHA-256 under {} settings, {} images: {sha}", sweep.runs.len(), sweep.images)
        }));
    } else {
        page.section("Noise floor");
        page.text("How far each runtime is from its own first run when one thing is changed.");
    }
    let rows = sweep.runs.iter().map(|run| {
        let mut row = cells(run).to_vec();
        row.push(if run.setting.reversed { "last to first" } else { "" }.into());
        row.push(run.sha256[..16].to_string());
        row
    });
    page.table(&["runtime", "threads", "batch", "level", "repeat", "|Δ|", "order", "SHA-256"], rows);
}

fn layers(page: &mut Page, c: &Comparison) {
    let Some(found) = &c.layers else { return };
    page.section("Layers");
    page.text("Introduced: the node alone, its inputs reset to the reference. Inherited: what the errors of its inputs become in an exact node. Cumulative: in place. A and B against the float64 reference.");
    let head = [
        "node",
        "operator",
        "scale",
        "introduced A",
        "B",
        "A−B",
        "inherited A",
        "B",
        "cumulative A",
        "B",
        "A−B",
        "nearer",
    ];
    page.table(&head, found.layers.iter().map(layer_cells));
    page.text(&format!("Suspect: {}.", suspicion(found)));
    if let Some(why) = &found.no_reference {
        page.text(&format!("No float64 reference: {why}"));
    }
    for t in &found.tapping {
        let said =
            if t.bit_equal { "equal in every bit".into() } else { format!("{} apart", number(t.max_abs)) };
        page.text(&format!("{}: final outputs with and without taps are {said}.", t.runtime));
    }
    if let Some(cut) = &c.reduced {
        page.text(&format!(
            "The smallest diverging sub-model has {} of {} nodes: {}.",
            cut.nodes.len(),
            cut.of,
            cut.nodes.join(", ")
        ));
    }
}
