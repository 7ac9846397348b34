//! A benchmark as a page.

use super::breakeven::{COUNTS, horizon, lines, verdicts};
use super::results::Benchmark;
use super::text::{cells, noise_words, peak_words, start_cells};
use crate::Result;
use crate::report::html::Page;
use crate::report::plot::{Chart, Series, Style};

/// Points of a line in the plot.
const POINTS: u32 = 50;

/// The page.
///
/// # Errors
/// Where the chart cannot be drawn.
pub fn page(told: &Benchmark) -> Result<Page> {
    let m = &told.machine;
    let name = told.towers.first().map_or("", |t| &t.name);
    let about = format!("{}, {} cores, {}; kernels {}", m.processor, m.cores, m.system, m.kernels);
    let mut page = Page::new(&format!("siamese bench: {name}"), &about);
    let ratios: Vec<(String, String)> = told
        .single()
        .skip(1)
        .filter_map(|row| Some((format!("{:.2} ×", row.ratio?.median), row.what.who())))
        .collect();
    page.figures(ratios.iter().map(|(value, who)| (value.clone(), who.as_str())));
    page.text(&format!("Time of one image on one thread; {} is 1.", told.reference));
    page.section("Latency and throughput");
    let head = [
        "", "threads", "images", "ratio", "at best", "p50, µs", "p90", "p95", "p99", "images/s", "cores",
        "GOPS", "of peak",
    ];
    page.table(
        &head,
        told.rows.iter().map(|row| {
            let mut line = vec![row.what.who(), row.what.threads.to_string(), row.what.batch.to_string()];
            line.extend(cells(row));
            line
        }),
    );
    for (row, why) in told.rows.iter().filter_map(|row| Some((row, row.withheld.as_ref()?))) {
        page.text(&format!("Withheld: {}: {why}.", row.what.label()));
    }
    if let Some(said) = peak_words(told) {
        page.text(&format!("{said}."));
    }
    starts(told, &mut page);
    break_even(told, &mut page)?;
    page.section("Noise");
    for said in noise_words(told) {
        page.text(&said);
    }
    against(told, &mut page);
    Ok(page)
}

fn starts(told: &Benchmark, page: &mut Page) {
    page.section("Start and footprint");
    let head = [
        "",
        "process to first embedding, ms",
        "load, ms",
        "first run, ms",
        "peak memory, MB",
        "model + code, MB",
    ];
    page.table(
        &head,
        told.single().map(|row| {
            let mut line = vec![row.what.who()];
            line.extend(start_cells(told, row));
            line
        }),
    );
}

fn break_even(told: &Benchmark, page: &mut Page) -> Result<()> {
    let lines = lines(told);
    if lines.is_empty() {
        return Ok(());
    }
    page.section("Break-even");
    let step = horizon(&lines) / f64::from(POINTS);
    let series = lines.iter().map(|line| Series {
        name: line.who.clone(),
        points: (0..=POINTS).map(|i| f64::from(i) * step).map(|n| (n, line.at(n))).collect(),
    });
    let chart = Chart::new("images", "milliseconds", Style::Lines, series.collect());
    page.chart(&chart.svg()?, "Load, first run, and N times the median call, on one thread.");
    for said in verdicts(&lines) {
        page.text(&said);
    }
    let mut head = vec!["N".to_string()];
    head.extend(COUNTS.map(|n| n.to_string()));
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    page.table(
        &head,
        lines.iter().map(|line| {
            let times = COUNTS.iter().map(|n| format!("{:.1}", line.at(f64::from(*n))));
            std::iter::once(line.who.clone()).chain(times).collect::<Vec<_>>()
        }),
    );
    Ok(())
}

fn against(told: &Benchmark, page: &mut Page) {
    let Some(found) = &told.against else { return };
    page.section(&format!("Against {}", found.file.display()));
    for remark in &found.remarks {
        page.text(remark);
    }
    page.table(
        &["figure", "then", "now", "ratio", "noise up to", ""],
        found.changes.iter().map(|c| {
            let [then, now, ratio, allowed] = [c.then, c.now, c.ratio, c.allowed].map(|x| format!("{x:.2}"));
            [c.what.clone(), then, now, ratio, allowed, if c.worse { "worse".into() } else { String::new() }]
        }),
    );
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn the_page_shows_figures_curve_and_noise() {
        let html = page(&testing::benchmark()).unwrap().render();
        for part in ["<svg", "Break-even", "ort float is 1.", "Withheld: tract exact", "1.10 ×"] {
            assert!(html.contains(part), "{part:?} is missing");
        }
    }
}
