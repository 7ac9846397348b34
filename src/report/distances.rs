//! Charts of two kinds of distances: between what is the same, and between what is different.

use super::html::Page;
use super::plot::{self, Chart, Series, Style};
use crate::Result;

/// Two histograms over one range, what they are of, and where a threshold lies between them.
pub struct Spread<'a> {
    /// What is measured, for the axis.
    pub measure: &'a str,
    /// The names of the two, and their values.
    pub kinds: [(&'a str, &'a [f64]); 2],
    /// A threshold, and what it is called.
    pub threshold: Option<(f64, String)>,
    /// What stands below.
    pub caption: &'a str,
}

/// Draws two histograms; nothing where there is no value.
///
/// # Errors
/// Where the chart cannot be drawn.
pub fn spread(page: &mut Page, told: Spread<'_>) -> Result<()> {
    let [a, b] = told.kinds;
    let all = || a.1.iter().chain(b.1).copied();
    let (low, high) = all().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(x), h.max(x)));
    if low.is_finite() {
        let range = low..if high > low { high } else { low + 1.0 };
        let series = [a, b].map(|(name, values)| plot::histogram(name, values, range.clone(), 50));
        let mut chart = Chart::new(told.measure, "share", Style::Area, series.into());
        chart.marks.extend(told.threshold);
        page.chart(&chart.svg()?, told.caption);
    }
    Ok(())
}

/// True accepts against false accepts, the latter on a logarithmic axis.
///
/// # Errors
/// Where the chart cannot be drawn.
pub fn curve(page: &mut Page, mut same: Vec<f64>, mut different: Vec<f64>) -> Result<()> {
    if same.is_empty() || different.is_empty() {
        return Ok(());
    }
    same.sort_unstable_by(f64::total_cmp);
    different.sort_unstable_by(f64::total_cmp);
    let share = |of: &[f64], t: f64| of.partition_point(|&d| d <= t) as f64 / of.len() as f64;
    // A point for each of some 300 ranks, dense where false accepts are rare.
    let n = different.len();
    let ranks = (0..300).map(|i| ((n as f64).powf(f64::from(i) / 299.0) as usize).clamp(1, n) - 1);
    let points = |y: fn(f64) -> f64| {
        ranks.clone().map(|r| (share(&different, different[r]), y(share(&same, different[r])))).collect()
    };
    let one = |name: &str, y: fn(f64) -> f64| Series { name: name.into(), points: points(y) };
    let series =
        vec![one("accepted of the same (ROC)", |t| t), one("rejected of the same (DET)", |t| 1.0 - t)];
    let mut chart = Chart::new("accepted of different ones", "share", Style::Lines, series);
    chart.log_x = true;
    page.chart(&chart.svg()?, "What a threshold accepts and rejects, from strict (left) to lax (right).");
    Ok(())
}

/// Detection error trade-off of identification: FNIR against FPIR, the latter on a logarithmic axis; nothing
/// where there is no point.
///
/// # Errors
/// Where the chart cannot be drawn.
pub fn trade_off(page: &mut Page, curves: &[(&str, &[[f64; 2]])]) -> Result<()> {
    let one = |(name, points): &(&str, &[[f64; 2]])| Series {
        name: (*name).into(),
        points: points.iter().map(|&[x, y]| (x, y)).collect(),
    };
    let series: Vec<Series> = curves.iter().map(one).filter(|s| s.points.iter().any(|p| p.0 > 0.0)).collect();
    if series.is_empty() {
        return Ok(());
    }
    let mut chart = Chart::new(
        "unknown pictures accepted (FPIR)",
        "known pictures not accepted, or wrong (FNIR)",
        Style::Lines,
        series,
    );
    chart.log_x = true;
    page.chart(&chart.svg()?, "What a threshold costs (DET), from strict (left) to lax (right).");
    Ok(())
}
