//! Charts by `plotters`: one description, drawn as SVG (for pages) or PNG (for files).

use crate::{Error, Result, files};
use image::{Rgb, RgbImage};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::FontStyle;
use std::ops::Range;
use std::path::Path;
use std::sync::Once;

/// Grid lines and frames.
const GREY: RGBColor = RGBColor(128, 128, 128);
/// How much room a chart has.
struct Format {
    /// Width and height, pixels.
    size: (u32, u32),
    /// Height of its letters, pixels.
    letters: u32,
    /// Numbers along the x axis, about.
    ticks: usize,
    /// What the page's style calls it.
    class: &'static str,
}

const WIDE: Format = Format { size: (760, 420), letters: 14, ticks: 10, class: "roomy" };
/// For the screens of telephones, where the wide one could not be read.
const NARROW: Format = Format { size: (350, 330), letters: 12, ticks: 5, class: "small" };
/// The longest entry of a legend, letters; of longer ones the beginning is shown.
const LONGEST: usize = 36;
/// Series colours that can be told apart in light and dark, and by the colour-blind (Okabe, Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// The most classes of a confusion matrix that can be read.
pub const CONFUSABLE: usize = 64;

/// Points of one name and colour.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What the legend says.
    pub name: String,
    /// `(x, y)`; those that are not finite (or not positive on a logarithmic axis) are left out.
    pub points: Vec<(f64, f64)>,
}

/// How points are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Joined by lines.
    Lines,
    /// Dots.
    Dots,
    /// Filled down to zero: histograms.
    Area,
}

/// A chart of series over two axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Label of the x axis, with its unit.
    pub x: String,
    /// Label of the y axis, with its unit.
    pub y: String,
    /// Whether the x axis is logarithmic.
    pub log_x: bool,
    /// How points are shown.
    pub style: Style,
    /// What is shown.
    pub series: Vec<Series>,
    /// Upright lines: where on the x axis, and what stands there.
    pub marks: Vec<(f64, String)>,
}

impl Chart {
    /// A chart with linear axes.
    pub fn new(x: &str, y: &str, style: Style, series: Vec<Series>) -> Self {
        Self { x: x.into(), y: y.into(), log_x: false, style, series, marks: Vec::new() }
    }

    /// As two `<svg>` elements that take the page's text colour: one for wide screens and one for narrow ones, of
    /// which the page's style shows the one that fits.
    ///
    /// # Errors
    /// Where no point can be shown.
    pub fn svg(&self) -> Result<String> {
        [WIDE, NARROW].iter().map(|format| self.svg_of(format)).collect()
    }

    fn svg_of(&self, format: &Format) -> Result<String> {
        let mut text = String::new();
        self.draw(SVGBackend::with_string(&mut text, format.size).into_drawing_area(), format)?;
        Ok(adapt(&text).replacen("<svg ", &format!("<svg class=\"{}\" ", format.class), 1))
    }

    /// As a PNG file on white.
    ///
    /// # Errors
    /// Where no point can be shown, or the file cannot be written.
    pub fn png(&self, path: &Path) -> Result<()> {
        let (width, height) = WIDE.size;
        let mut picture = RgbImage::from_pixel(width, height, Rgb([255; 3]));
        self.draw(BitMapBackend::with_buffer(&mut picture, WIDE.size).into_drawing_area(), &WIDE)?;
        files::replace(path, &super::picture::encode(picture)?)
    }

    fn draw<B: DrawingBackend>(&self, area: DrawingArea<B, Shift>, format: &Format) -> Result<()> {
        register_font();
        let shown = self.shown();
        let (mut xs, ys) = ranges(&shown)
            .ok_or_else(|| Error::invalid(format!("chart of {}", self.y), "there is no point to show"))?;
        for at in self.shown_marks() {
            xs = xs.start.min(at)..xs.end.max(at);
        }
        let ys = if self.style == Style::Area { 0.0..ys.end } else { ys };
        let plot = self.legend(&area, &shown, format).map_err(|e| failed(&e))?;
        self.draw_series(&plot, &shown, (xs, ys), format).map_err(|e| failed(&e))?;
        area.present().map_err(|e| failed(&e))
    }

    /// Draws the legend above everything else, in as many rows as it takes; what is left is for the plot.
    fn legend<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        shown: &[Series],
        format: &Format,
    ) -> Result<DrawingArea<B, Shift>, DrawingAreaErrorKind<B::ErrorType>> {
        if shown.len() < 2 && self.marks.is_empty() {
            return Ok(area.clone());
        }
        let (style, letters) = (font(format), format.letters as i32);
        let (row, gap) = (letters + 6, letters);
        let (left, right) = (12, format.size.0 as i32 - 6);
        let (mut x, mut y) = (left, 8);
        let coloured = shown.iter().zip(COLOURS.iter().cycle());
        let entries = coloured.map(|(series, colour)| (series.name.as_str(), Some(*colour)));
        for (name, colour) in entries.chain(self.marks.iter().map(|(_, what)| (what.as_str(), None))) {
            let name = shortened(name);
            let width = area.estimate_text_size(&name, &style)?.0 as i32 + letters + 6;
            if x > left && x + width > right {
                (x, y) = (left, y + row);
            }
            match colour {
                Some(colour) => {
                    area.draw(&Rectangle::new([(x, y + 1), (x + letters, y + letters)], colour.filled()))?
                }
                None => area.draw(&PathElement::new(
                    [(x + letters / 2, y), (x + letters / 2, y + row - 2)],
                    mark(),
                ))?,
            }
            area.draw(&Text::new(name, (x + letters + 6, y), style.clone()))?;
            x += width + gap;
        }
        Ok(area.split_vertically(y + row).1)
    }

    fn draw_series<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        shown: &[Series],
        (xs, ys): (Range<f64>, Range<f64>),
        format: &Format,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        let (letters, upright) = (format.letters, ys.clone());
        let mut chart = ChartBuilder::on(area)
            .margin(letters)
            .x_label_area_size(3 * letters)
            .y_label_area_size(4 * letters + 4)
            .build_cartesian_2d(xs, ys)?;
        let log_x = self.log_x;
        chart
            .configure_mesh()
            .x_desc(&self.x)
            .y_desc(&self.y)
            .x_labels(format.ticks)
            .label_style(("sans-serif", letters))
            .axis_desc_style(("sans-serif", letters))
            .light_line_style(TRANSPARENT)
            .bold_line_style(GREY.mix(0.25))
            .x_label_formatter(&|x| if log_x { log_tick(*x) } else { tick(*x) })
            .y_label_formatter(&|y| tick(*y))
            .draw()?;
        for (series, colour) in shown.iter().zip(COLOURS.iter().cycle()) {
            let points = series.points.iter().copied();
            match self.style {
                // A line of one point would not be seen.
                Style::Lines | Style::Dots if series.points.len() == 1 => {
                    chart.draw_series(points.map(|p| Circle::new(p, 4, colour.filled())))?
                }
                Style::Lines => chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?,
                Style::Dots => chart.draw_series(points.map(|p| Circle::new(p, 3, colour.filled())))?,
                Style::Area => chart.draw_series(
                    AreaSeries::new(points, 0.0, colour.mix(0.3)).border_style(colour.stroke_width(2)),
                )?,
            };
        }
        for at in self.shown_marks() {
            chart.draw_series([PathElement::new([(at, upright.start), (at, upright.end)], mark())])?;
        }
        Ok(())
    }

    /// Where the marks stand on the axis they are drawn on; those that are not finite are left out.
    fn shown_marks(&self) -> impl Iterator<Item = f64> + '_ {
        self.marks.iter().map(|m| if self.log_x { m.0.log10() } else { m.0 }).filter(|at| at.is_finite())
    }

    /// The points that can be shown, on the axis they are drawn on.
    fn shown(&self) -> Vec<Series> {
        let place = |&(x, y): &(f64, f64)| {
            let x = if self.log_x { x.log10() } else { x };
            (x.is_finite() && y.is_finite()).then_some((x, y))
        };
        let keep =
            |s: &Series| Series { name: s.name.clone(), points: s.points.iter().filter_map(place).collect() };
        self.series.iter().map(keep).collect()
    }
}

/// A square matrix of counts, rows = truth, columns = answer, as an `<svg>` element: darker is more.
///
/// # Errors
/// Where the matrix is empty.
pub fn confusion(counts: &[Vec<u32>]) -> Result<String> {
    let n = counts.len() as i32;
    let most = counts.iter().flatten().copied().max().unwrap_or(0);
    if most == 0 {
        return Err(Error::invalid("confusion matrix", "it is empty"));
    }
    let mut text = String::new();
    let cell = (WIDE.size.1 as i32 / n).max(2);
    let area = SVGBackend::with_string(&mut text, ((cell * n) as u32, (cell * n) as u32)).into_drawing_area();
    for (y, row) in (0..n).zip(counts) {
        for (x, &count) in (0..n).zip(row).filter(|(_, count)| **count > 0) {
            let colour = COLOURS[usize::from(x != y)].mix(f64::from(count) / f64::from(most) * 0.85 + 0.15);
            let corners = [(x * cell, y * cell), ((x + 1) * cell - 1, (y + 1) * cell - 1)];
            area.draw(&Rectangle::new(corners, colour.filled())).map_err(|e| failed(&e))?;
        }
    }
    area.present().map_err(|e| failed(&e))?;
    drop(area);
    Ok(adapt(&text))
}

/// The counts of `values` in `bins` equal bins over their range, as a step line for [`Style::Area`],
/// in shares of all values.
pub fn histogram(name: &str, values: &[f64], range: Range<f64>, bins: usize) -> Series {
    let width = (range.end - range.start) / bins.max(1) as f64;
    let mut counts = vec![0usize; bins.max(1)];
    for value in values.iter().filter(|v| v.is_finite()) {
        let bin = ((value - range.start) / width) as usize;
        counts[bin.min(bins.saturating_sub(1))] += 1;
    }
    let share = |count: usize| count as f64 / values.len().max(1) as f64;
    let steps = counts.iter().enumerate().flat_map(|(i, &count)| {
        let left = range.start + i as f64 * width;
        [(left, share(count)), (left + width, share(count))]
    });
    Series { name: name.into(), points: steps.collect() }
}

/// Least and greatest of each axis, with a little air above.
fn ranges(series: &[Series]) -> Option<(Range<f64>, Range<f64>)> {
    let points = || series.iter().flat_map(|s| &s.points);
    points().next()?;
    let span = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let air = if high > low { (high - low) * 0.04 } else { 0.5 };
        low..high + air
    };
    Some((span(&mut points().map(|p| p.0)), span(&mut points().map(|p| p.1))))
}

/// The line of a mark, in the colour of text.
fn mark() -> ShapeStyle {
    BLACK.stroke_width(2)
}

fn font(format: &Format) -> TextStyle<'static> {
    ("sans-serif", format.letters).into_font().color(&BLACK)
}

/// The beginning of a name that is too long for a legend.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.into(),
    }
}

/// A number on an axis, in at most four figures.
fn tick(value: f64) -> String {
    match value.abs() {
        // What steps along an axis leave of zero.
        a if a < 1e-12 => "0".into(),
        a if !(1e-3..1e5).contains(&a) => format!("{value:.0e}"),
        a if a >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').into(),
    }
}

/// A power of ten on a logarithmic axis, in two figures where it lies between two of them.
fn log_tick(exponent: f64) -> String {
    let digits = -exponent.floor() as i32 + i32::from((exponent - exponent.round()).abs() > 1e-6);
    let value = 10f64.powf(exponent);
    if (0..6).contains(&digits) && value >= 1e-3 {
        format!("{value:.*}", digits as usize)
    } else {
        tick(value)
    }
}

/// Lets the SVG scale and take the colour of the page's text.
fn adapt(svg: &str) -> String {
    svg.replace("fill=\"#000000\"", "fill=\"currentColor\"")
        .replace("stroke=\"#000000\"", "stroke=\"currentColor\"")
}

/// Text needs a font on every machine alike, so one travels in the binary.
fn register_font() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // A font that cannot be read shows as an error of the first text that is drawn.
        let _ = plotters::style::register_font("sans-serif", FontStyle::Normal, dejavu::sans::regular());
    });
}

fn failed(error: &dyn std::fmt::Display) -> Error {
    Error::invalid("chart", format!("cannot be drawn: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        let series = |name: &str| Series { name: name.into(), points: points.clone() };
        Chart::new("step", "loss", Style::Lines, vec![series("a"), series("b")])
    }

    #[test]
    fn a_chart_is_drawn_as_svg_and_png() {
        let chart = chart(vec![(0.0, 3.0), (1.0, 2.0), (2.0, f64::NAN)]);
        let svg = chart.svg().unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("loss") && svg.contains("currentColor"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("loss.png");
        chart.png(&path).unwrap();
        assert_eq!(image::open(&path).unwrap().to_rgb8().dimensions(), WIDE.size);
    }

    #[test]
    fn ticks_are_short_and_zero_is_zero() {
        let said = [0.0, -1.1e-16, 1e-4, -0.25, 123.4, 2e6].map(tick);
        assert_eq!(said, ["0", "0", "1e-4", "-0.25", "123", "2e6"]);
        let said = [0.0, -1.0, -1.5, -2.5, -4.0, 2.0].map(log_tick);
        assert_eq!(said, ["1", "0.1", "0.032", "0.0032", "1e-4", "100"]);
    }

    #[test]
    fn a_legend_stands_above_the_plot_and_names_marks() {
        let mut chart = chart(vec![(0.0, 3.0), (1.0, 2.0)]);
        chart.marks = vec![(0.5, "threshold".into())];
        chart.series[1].name = "a name that is much longer than any legend has room for, and cut".into();
        let svg = chart.svg().unwrap();
        assert!(svg.contains("threshold") && svg.contains("a name that is much longer than any …"), "{svg}");
        // Each entry's letters lie higher than the frame of the plot begins.
        for class in ["roomy", "small"] {
            assert_eq!(svg.matches(&format!("<svg class=\"{class}\" ")).count(), 1);
        }
    }

    #[test]
    fn a_mark_beside_all_points_is_within_the_axis() {
        let mut chart = chart(vec![(0.0, 3.0), (1.0, 2.0)]);
        chart.marks = vec![(5.0, "far".into()), (f64::NEG_INFINITY, "nowhere".into())];
        assert!(chart.svg().unwrap().contains("far"));
    }

    #[test]
    fn nothing_to_show_is_an_error() {
        assert!(chart(vec![(f64::NAN, 1.0)]).svg().is_err());
        assert!(confusion(&[]).is_err());
    }

    #[test]
    fn a_single_point_and_a_log_axis_are_shown() {
        let mut chart = chart(vec![(0.01, 1.0)]);
        chart.log_x = true;
        assert!(chart.svg().unwrap().contains("<circle"));
    }

    #[test]
    fn a_histogram_holds_every_value_once() {
        let h = histogram("h", &[0.0, 0.1, 0.9, 1.0], 0.0..1.0, 2);
        assert_eq!(h.points, [(0.0, 0.5), (0.5, 0.5), (0.5, 0.5), (1.0, 0.5)]);
    }

    #[test]
    fn confusion_marks_errors_in_another_colour() {
        let svg = confusion(&[vec![3, 1], vec![0, 4]]).unwrap();
        assert!(svg.contains("#0072B2") && svg.contains("#D55E00"));
    }
}
