//! A benchmark in words, for a terminal.

use super::breakeven::{COUNTS, lines, verdicts};
use super::results::{Benchmark, Change, Changes, Measurement};
use super::statistics::Spread;
use crate::runtime::Runtime;
use std::fmt::Write as _;

/// The summary.
pub fn summary(told: &Benchmark) -> String {
    let mut text = head(told);
    text += &latencies(told);
    text += &starts(told);
    text += &break_even(told);
    text += &noise(told);
    if let Some(against) = &told.against {
        text += &comparison(against);
    }
    text
}

fn head(told: &Benchmark) -> String {
    let m = &told.machine;
    let mut text = format!("{}, {} cores, {}; kernels {}\n", m.processor, m.cores, m.system, m.kernels);
    for tower in &told.towers {
        let mflop = tower.mflop.map_or(String::new(), |n| format!(", {n:.1} MFLOP an image"));
        let (size, kb) = (tower.size, tower.bytes as f64 / 1e3);
        let _ = writeln!(text, "{} {}: {size}×{size}{mflop}, {kb:.0} KB", tower.name, tower.kind.name());
    }
    text
}

fn latencies(told: &Benchmark) -> String {
    let mut text = format!(
        "\nlatency of a call, µs; ratio to {} with the same threads and images\n  {:<12} {:>7} {:>6} {:>7} {:>7} {:>9} {:>9} {:>9} {:>9} {:>10} {:>6} {:>6} {:>7}\n",
        told.reference,
        "",
        "threads",
        "images",
        "ratio",
        "at best",
        "p50",
        "p90",
        "p95",
        "p99",
        "images/s",
        "cores",
        "GOPS",
        "of peak"
    );
    for row in &told.rows {
        let [ratio, best, p50, p90, p95, p99, rate, cores, gops, share] = cells(row);
        let (threads, batch) = (row.what.threads, row.what.batch);
        let _ = writeln!(
            text,
            "  {:<12} {threads:>7} {batch:>6} {ratio:>7} {best:>7} {p50:>9} {p90:>9} {p95:>9} {p99:>9} {rate:>10} {cores:>6} {gops:>6} {share:>7}",
            row.what.who()
        );
    }
    for (row, why) in told.rows.iter().filter_map(|row| Some((row, row.withheld.as_ref()?))) {
        let _ = writeln!(text, "  withheld: {}: {why}", row.what.label());
    }
    if let Some(said) = peak_words(told) {
        let _ = writeln!(text, "  {said}");
    }
    text
}

/// What the shares of the peak are of.
pub(super) fn peak_words(told: &Benchmark) -> Option<String> {
    let each = told.peaks.iter().map(|peak| format!("{} {:.0}", peak.product, peak.gops));
    let each: Vec<String> = each.collect();
    (!each.is_empty()).then(|| {
        format!(
            "GOPS: multiplications and additions of products as they are executed, of the fastest call; a core's \
             measured peak: {}",
            each.join(", ")
        )
    })
}

/// Ratio, that of the fastest calls, p50, p90, p95, p99, images a second, cores, operations, share of the peak.
pub(super) fn cells(row: &Measurement) -> [String; 10] {
    let us =
        |f: fn(&super::Latency) -> f64| row.latency.as_ref().map_or("–".into(), |l| microseconds(f(l)));
    let spread =
        |s: Option<Spread>, digits: usize| s.map_or("–".into(), |s| format!("{:.*}", digits, s.median));
    [
        spread(row.ratio, 2),
        spread(row.fastest_ratio, 2),
        us(|l| l.p50_us),
        us(|l| l.p90_us),
        us(|l| l.p95_us),
        us(|l| l.p99_us),
        spread(row.images_per_second, 0),
        spread(row.cores_used, 2),
        row.executed.map_or("–".into(), |e| format!("{:.0}", e.gops)),
        row.executed.map_or("–".into(), |e| format!("{:.0} %", 100.0 * e.peak_share)),
    ]
}

fn microseconds(us: f64) -> String {
    if us < 1e4 { format!("{us:.1}") } else { format!("{us:.0}") }
}

fn starts(told: &Benchmark) -> String {
    let mut text = format!(
        "\nstart, one thread, one image\n  {:<12} {:>12} {:>9} {:>12} {:>14} {:>14}\n",
        "", "process, ms", "load, ms", "first run, ms", "peak memory, MB", "model + code, MB"
    );
    for row in told.single() {
        let [cold, load, first, rss, size] = start_cells(told, row);
        let _ =
            writeln!(text, "  {:<12} {cold:>12} {load:>9} {first:>13} {rss:>15} {size:>16}", row.what.who());
    }
    text + "  process: from its start to the first embedding, seen from outside\n"
}

/// Cold start, load, first run, peak memory, sizes.
pub(super) fn start_cells(told: &Benchmark, row: &Measurement) -> [String; 5] {
    let spread =
        |s: Option<Spread>, digits: usize| s.map_or("–".into(), |s| format!("{:.*}", digits, s.median));
    [
        spread(row.cold_start_ms, 1),
        spread(row.load_ms, 1),
        spread(row.first_run_ms, 2),
        spread(row.peak_rss_bytes.map(|s| s.times(1e-6)), 1),
        sizes(told, row),
    ]
}

/// The model's file, and the files of the code that runs it.
fn sizes(told: &Benchmark, row: &Measurement) -> String {
    let model = told.towers.iter().find(|t| t.kind == row.what.tower).map_or(0, |t| t.bytes);
    let outside = Runtime::named(&row.what.runtime).is_some_and(|runtime| runtime.library);
    let library = told.onnx_runtime.as_ref().filter(|_| outside).map_or(0, |l| l.bytes);
    let code = told.program_bytes + library;
    format!("{:.2} + {:.1}", model as f64 / 1e6, code as f64 / 1e6)
}

fn break_even(told: &Benchmark) -> String {
    let lines = lines(told);
    if lines.is_empty() {
        return String::new();
    }
    let mut text = format!("\nload + first run + N × median, ms\n  {:<12}", "N");
    for n in COUNTS {
        let _ = write!(text, " {n:>9}");
    }
    for line in &lines {
        let _ = write!(text, "\n  {:<12}", line.who);
        for n in COUNTS {
            let _ = write!(text, " {:>9.1}", line.at(f64::from(n)));
        }
    }
    text.push('\n');
    for said in verdicts(&lines) {
        let _ = writeln!(text, "  {said}");
    }
    text
}

/// How far the figures can be trusted.
pub(super) fn noise_words(told: &Benchmark) -> Vec<String> {
    let m = &told.method;
    let mut said = vec![format!(
        "noise: {} processes for each line, {} s each after {} s of warm-up; their medians lie apart by up to {:.0} %, \
         their fastest calls by up to {:.0} % (each line's own: --json)",
        m.rounds,
        m.seconds,
        m.warm_up_seconds,
        100.0 * told.noise,
        100.0 * told.fastest_noise
    )];
    let starved = |row: &&Measurement| row.what.threads == 1 && row.cores_used.is_some_and(|s| s.least < 0.9);
    if let Some(row) = told.rows.iter().find(starved) {
        let least = row.cores_used.map_or(0.0, |s| s.least);
        said.push(format!(
            "other work took the cores: {} got {:.0} % of one; trust the ratios at best",
            row.what.label(),
            100.0 * least
        ));
    }
    said
}

fn noise(told: &Benchmark) -> String {
    format!("\n{}\n", noise_words(told).join("\n"))
}

fn comparison(against: &Changes) -> String {
    let worse: Vec<&Change> = against.changes.iter().filter(|c| c.worse).collect();
    let mut text = format!("\nagainst {}: {} figures, ", against.file.display(), against.changes.len());
    text += &match worse.len() {
        0 => "none is worse beyond the noise\n".to_string(),
        n => format!("{n} worse beyond the noise\n"),
    };
    for remark in &against.remarks {
        let _ = writeln!(text, "  note: {remark}");
    }
    for c in worse {
        let _ = writeln!(
            text,
            "  {}: {:.2} → {:.2}, ×{:.2}; up to ×{:.2} is noise",
            c.what, c.then, c.now, c.ratio, c.allowed
        );
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{against, testing};
    use super::*;

    #[test]
    fn the_summary_holds_ratios_withheld_figures_and_the_crossing() {
        let mut told = testing::benchmark();
        told.against = Some(against::compare(&told, &told, std::path::Path::new("then.json")).unwrap());
        let text = summary(&told);
        for part in [
            "ratio to ort float",
            "withheld: tract exact, 2 threads, 64 images: told to use 2 threads, it used 2.90 cores",
            "tract float is ahead up to 4500 images, then ort float",
            "tract exact is ahead of ort float for any number of images",
            "0.60 + 45.0",
            "70    62 %",
            "float32 112",
            "none is worse beyond the noise",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
    }
}
