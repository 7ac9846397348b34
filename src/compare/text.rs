//! A comparison as readable text.

use super::certificate::{Noise, Predictions};
use super::layers::{Layerwise, NodeGaps};
use super::run::{Comparison, SideFacts, Verdict};
use super::sweep::{Run, Sweep};
use super::values::Values;
use crate::runtime::OptLevel;
use crate::tower::TowerKind;
use std::fmt::Write as _;

/// What the cells of the portability matrix are called after.
pub const PORTABILITY: &str =
    "whether a gallery may travel; in XY, X embedded the known images and Y the query";
/// What the hunt is, and what of it counts.
pub const HUNT: &str = "the narrowest choices that these images can pose, searched for on purpose: two neighbours of different \
                        classes around a query. Turned: B has the two in the other order. Random episodes say how often \
                        a user meets one; these do not count";

/// The whole summary.
pub fn summary(c: &Comparison) -> String {
    let mut text = String::new();
    head(&mut text, c);
    numbers(&mut text, &c.values);
    decisions(&mut text, c);
    sweep(&mut text, &c.settings, c);
    if let Some(found) = &c.layers {
        layers(&mut text, found);
    }
    if let Some(cut) = &c.reduced {
        let folder = cut.folder.as_ref().map(|f| format!(", written to {}", f.display())).unwrap_or_default();
        line(
            &mut text,
            "reduced",
            format!(
                "{} of {} nodes show |a−b| = {}{folder}: {}",
                cut.nodes.len(),
                cut.of,
                number(cut.max_abs),
                cut.nodes.join(", ")
            ),
        );
    }
    text.push('\n');
    for remark in &c.remarks {
        line(&mut text, "note", remark);
    }
    let _ = writeln!(text, "{}  {}  ({:.1} s)", headline(c.verdict), verdict(c), c.seconds);
    text
}

/// The verdict in a word or two.
pub fn headline(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Agree => "AGREE",
        Verdict::Differ => "DIFFER",
        Verdict::NoAnswers => "NO ANSWERS",
    }
}

/// The reason of the verdict.
pub fn verdict(c: &Comparison) -> String {
    let p = &c.predictions;
    if c.agrees {
        let ties =
            if p.ties > 0 { format!(" ({} are ties within the noise)", p.ties) } else { String::new() };
        format!("0 of {} predictions flipped{ties}, {} proven", p.queries, share(p.certified, p.queries))
    } else {
        c.faults.join("; ")
    }
}

fn line(text: &mut String, what: &str, said: impl std::fmt::Display) {
    let _ = writeln!(text, "{what:>14}  {said}");
}

fn head(text: &mut String, c: &Comparison) {
    let spec = &c.tower.spec;
    let told = |s: &crate::tower::TowerSpec| {
        format!(
            "{} ({}, D = {}, {} distance, sha256 {})",
            s.name,
            s.kind.name(),
            s.dim,
            s.distance.name(),
            &s.sha256[..s.sha256.len().min(12)]
        )
    };
    line(text, "tower", told(spec));
    if let Some(other) = &c.against {
        line(text, "against", format!("{} {}", other.file.display(), told(&other.spec)));
    }
    line(text, "A", side(&c.a));
    line(text, "B", side(&c.b));
    line(text, "images", format!("{}: {}", c.images, c.data));
}

/// One side in a line.
pub fn side(side: &SideFacts) -> String {
    let level = side.setting.level.map(|l| format!(", optimisation {}", l.name())).unwrap_or_default();
    format!(
        "{}; {} threads, batches of {}{level}; {:.0} ms",
        side.about, side.setting.threads, side.setting.batch, side.embed_ms
    )
}

fn numbers(text: &mut String, v: &Values) {
    text.push('\n');
    line(
        text,
        "values",
        format!("{} numbers{}", v.elements, if v.bit_equal { ", all equal in every bit" } else { "" }),
    );
    line(text, "|a−b|", format!("max {}, mean {}", number(v.max_abs), number(v.mean_abs)));
    line(text, "|a−b| / |b|", format!("max {}, mean {}", number(v.max_rel), number(v.mean_rel)));
    line(text, "cosine", format!("least {:.9}", v.min_cosine));
    let bins: Vec<String> = v
        .ulp_histogram
        .iter()
        .filter(|b| b.count > 0)
        .map(|bin| format!("{}: {}", ulps(bin.up_to), bin.count))
        .collect();
    line(text, "ULP", format!("max {}  ({})", v.max_ulp, bins.join(", ")));
    line(text, "NaN, Inf", v.non_finite);
    line(text, "tolerance", tolerance(v));
    if let Some(o) = &v.first_offender {
        line(
            text,
            "first offender",
            format!("image {}, number {}: a = {:e}, b = {:e}", o.row, o.column, o.a, o.b),
        );
    }
}

/// Bin names of the ULP histogram.
pub fn ulps(up_to: Option<u64>) -> String {
    match up_to {
        Some(end) => format!("≤ {end}"),
        None => "more".into(),
    }
}

/// The tolerance, what is outside it and which would pass.
pub fn tolerance(v: &Values) -> String {
    let t = v.tolerance;
    let rtol = match v.smallest_rtol {
        Some(rtol) => number(rtol),
        None => "none".into(),
    };
    format!(
        "|a−b| ≤ atol + rtol·s, s = {} (root mean square of b), atol {}, rtol {}: {} of {} outside; smallest that pass: atol {} with this rtol, rtol {rtol} with this atol",
        number(v.scale),
        number(t.atol),
        number(t.rtol),
        v.offenders,
        v.elements,
        number(v.smallest_atol)
    )
}

fn decisions(text: &mut String, c: &Comparison) {
    let p = &c.predictions;
    text.push('\n');
    line(
        text,
        "episodes",
        format!(
            "{} of {} classes, {} shot: {} predictions",
            p.episodes, c.way_shot[0], c.way_shot[1], p.queries
        ),
    );
    line(text, "agreed", format!("{}  ({})", p.agreed, share(p.agreed, p.queries)));
    line(text, "ties", format!("{}: answered otherwise, but by less than a runtime's own noise", p.ties));
    line(text, "flipped", format!("{}: answered otherwise, beyond any noise", p.flipped));
    line(
        text,
        "certified",
        format!(
            "{}  ({}): margin above the bound on all movement, so no flip is possible{}",
            p.certified,
            share(p.certified, p.queries),
            own_noise(c)
        ),
    );
    line(
        text,
        "margin",
        format!(
            "smallest {}, largest divergence seen {} (ratio {}), largest bound {}; least margin in bounds {}",
            number(p.smallest_margin),
            number(p.largest_divergence),
            ratio(p),
            number(p.largest_bound),
            number(p.safety)
        ),
    );
    if let Some([a, b]) = p.correct {
        line(text, "accuracy", format!("A {}, B {}", share(a, p.queries), share(b, p.queries)));
    }
    let cells: Vec<String> = c
        .portability
        .iter()
        .map(|cell| {
            let right =
                cell.correct.map(|n| format!(", {} right", share(n, cell.queries))).unwrap_or_default();
            format!("{} {} as AA{right}", cell.who, share(cell.as_aa, cell.queries))
        })
        .collect();
    line(text, "portability", format!("{PORTABILITY}: {}", cells.join("; ")));
    let h = &c.hunt;
    line(
        text,
        "hunt",
        format!(
            "{HUNT}. {} choices: {} certified, {} turned, narrowest gap {}",
            h.triplets,
            h.certified,
            h.turned,
            h.narrowest.first().map_or("none".into(), |f| number(f.margin))
        ),
    );
}

/// What of each runtime's own noise is part of the bounds.
pub fn own_noise(c: &Comparison) -> String {
    let Noise { a, b } = c.noise;
    if a == 0.0 && b == 0.0 {
        String::new()
    } else {
        format!("; with their own noise, A {}, B {}", number(a), number(b))
    }
}

fn sweep(text: &mut String, s: &Sweep, c: &Comparison) {
    text.push('\n');
    if c.tower.spec.kind == TowerKind::Exact {
        let said = s.sha256.as_ref().map_or("DIFFERENT BITS".to_string(), |sha| {
            format!("one SHA-256 under {} settings: {sha}", s.runs.len())
        });
        line(text, "bits", said);
    } else {
        let mut names: Vec<&str> = s.runs.iter().map(|r| r.setting.runtime.as_str()).collect();
        names.dedup();
        for name in names {
            let floor = s.floor(name);
            let times = if floor > 0.0 {
                format!("; A−B is {} times that", number(c.values.max_abs / floor))
            } else {
                String::new()
            };
            line(
                text,
                "noise floor",
                format!("{name} differs from itself by up to {}{times}", number(floor)),
            );
        }
    }
    for run in &s.runs {
        line(text, "", setting(run));
    }
}

/// One setting in a line.
fn setting(run: &Run) -> String {
    let [runtime, threads, batch, level, repeat, apart] = cells(run);
    format!(
        "{runtime:6} {threads} thread(s)  batch {batch:>2}  {level:9} repeat {repeat}  {}  |Δ| {apart}{}",
        &run.sha256[..16],
        if run.setting.reversed { "  last to first" } else { "" }
    )
}

/// One setting as table cells.
pub fn cells(run: &Run) -> [String; 6] {
    let s = &run.setting;
    let level = s.level.map_or("", OptLevel::name).to_string();
    [
        s.runtime.clone(),
        s.threads.to_string(),
        s.batch.to_string(),
        level,
        s.repeat.to_string(),
        number(run.max_abs),
    ]
}

fn layers(text: &mut String, found: &Layerwise) {
    text.push('\n');
    line(
        text,
        "layers",
        "largest |difference| at each node; introduced: alone, inputs reset; inherited: from its inputs' errors; cumulative: in place",
    );
    let [head, rest] = table_head();
    let _ = writeln!(text, "{head}\n{rest}");
    for (place, layer) in found.layers.iter().enumerate() {
        let mark = if Some(place) == found.suspect { "→" } else { " " };
        let cells = layer_cells(layer);
        let _ = write!(text, "{mark} {:28} {:12}", shorten(&layer.node, 28), shorten(&layer.op, 12));
        cells[2..].iter().for_each(|cell| {
            let _ = write!(text, " {cell:>9}");
        });
        text.push('\n');
        if let Some(why) = &layer.failed {
            let _ = writeln!(text, "    could not run alone: {why}");
        }
    }
    if let Some(why) = &found.no_reference {
        line(text, "reference", format!("none in float64: {why}"));
    }
    line(text, "suspect", suspicion(found));
    for t in &found.tapping {
        let said = if t.bit_equal {
            "are equal in every bit".into()
        } else {
            format!("differ by {}", number(t.max_abs))
        };
        line(
            text,
            "taps",
            format!("{}: final outputs with and without inner tensors shown {said}", t.runtime),
        );
    }
    if let Some(nearer) = found.nearer {
        line(text, "nearer", format!("{nearer:?} is nearer to the float64 reference at the final output"));
    }
}

fn table_head() -> [String; 2] {
    let upper = format!("{:45}{:^30}{:^20}{:^30}", "", "introduced", "inherited", "cumulative");
    let lower = format!(
        "  {:28} {:12} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}  nearer",
        "node", "operator", "scale", "A", "B", "A−B", "A", "B", "A", "B", "A−B"
    );
    [upper, lower]
}

/// Which node is to blame, in words.
pub fn suspicion(found: &Layerwise) -> String {
    let named = |place: usize| {
        let layer = &found.layers[place];
        format!(
            "{} ({}) introduces {} at a scale of {}",
            layer.node,
            layer.op,
            number(layer.introduced.between),
            number(layer.scale)
        )
    };
    let nan = found
        .first_non_finite
        .map(|p| format!("; NaN or Inf first at {}", found.layers[p].node))
        .unwrap_or_default();
    match (found.suspect, found.largest) {
        (Some(place), _) => format!("{}, beyond the tolerance{nan}", named(place)),
        (None, Some(place)) => format!("none; most: {}{nan}", named(place)),
        (None, None) => format!("none; no node introduces any difference{nan}"),
    }
}

/// A node as table cells: node, operator, scale, introduced A, B, A−B, inherited A, B, cumulative A,
/// B, A−B, nearer.
pub fn layer_cells(layer: &NodeGaps) -> Vec<String> {
    let some = |x: Option<f64>| x.map_or("·".into(), number);
    let inherited = layer.inherited.unwrap_or_default();
    let mut cells = vec![layer.node.clone(), layer.op.clone(), number(layer.scale)];
    if layer.failed.is_some() {
        cells.extend(["·", "·", "·"].map(String::from));
    } else {
        cells.extend([some(layer.introduced.a), some(layer.introduced.b), number(layer.introduced.between)]);
    }
    cells.extend([some(inherited.a), some(inherited.b)]);
    cells.extend([some(layer.cumulative.a), some(layer.cumulative.b), number(layer.cumulative.between)]);
    cells.push(layer.nearer.map_or("·".into(), |n| format!("{n:?}").replace("Neither", "=")));
    cells
}

fn shorten(name: &str, most: usize) -> String {
    let count = name.chars().count();
    if count <= most {
        return name.into();
    }
    format!("…{}", name.chars().skip(count - most + 1).collect::<String>())
}

/// A share in per cent.
pub fn share(part: usize, whole: usize) -> String {
    format!("{:.3} %", 100.0 * part as f64 / whole.max(1) as f64)
}

/// A number with three digits.
pub fn number(x: f64) -> String {
    if x == 0.0 || (0.01..1e4).contains(&x.abs()) { trim(&format!("{x:.3}")) } else { format!("{x:.1e}") }
}

/// Smallest margin ÷ largest divergence, where there is a divergence.
pub fn ratio(p: &Predictions) -> String {
    let ratio = p.margin_over_divergence();
    if ratio.is_finite() { number(ratio) } else { "–".into() }
}

fn trim(text: &str) -> String {
    text.trim_end_matches('0').trim_end_matches('.').into()
}
