//! One self-contained HTML page: no script, no font, no picture from elsewhere; narrow screens and
//! dark mode included.

use crate::{Result, files};
use std::fmt::{Display, Write as _};
use std::path::Path;

const STYLE: &str = include_str!("page.css");

/// A page in the making.
#[derive(Clone, Debug)]
pub struct Page {
    title: String,
    body: String,
}

impl Page {
    /// An empty page with a title and one sentence below it.
    pub fn new(title: &str, about: &str) -> Self {
        let body = format!("<h1>{}</h1>\n<p class=\"about\">{}</p>\n", escape(title), escape(about));
        Self { title: title.into(), body }
    }

    /// A heading.
    pub fn section(&mut self, heading: &str) -> &mut Self {
        self.push(format_args!("<h2>{}</h2>\n", escape(heading)))
    }

    /// A paragraph.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.push(format_args!("<p>{}</p>\n", escape(text)))
    }

    /// Preformatted text.
    pub fn code(&mut self, text: &str) -> &mut Self {
        self.push(format_args!("<pre>{}</pre>\n", escape(text)))
    }

    /// Large figures side by side: value and what it is.
    pub fn figures<'a>(&mut self, figures: impl IntoIterator<Item = (String, &'a str)>) -> &mut Self {
        self.body.push_str("<div class=\"figures\">\n");
        for (value, what) in figures {
            self.push(format_args!("<div><b>{}</b><span>{}</span></div>\n", escape(&value), escape(what)));
        }
        self.body.push_str("</div>\n");
        self
    }

    /// A table; numbers are set to the right, and so are the heads of columns of numbers.
    pub fn table<R, C>(&mut self, head: &[&str], rows: R) -> &mut Self
    where
        R: IntoIterator,
        R::Item: IntoIterator<Item = C>,
        C: Display,
    {
        let rows: Vec<Vec<String>> =
            rows.into_iter().map(|row| row.into_iter().map(|cell| cell.to_string()).collect()).collect();
        let numeric = |column: usize| {
            let mut cells = rows.iter().filter_map(|row| row.get(column)).filter(|cell| !cell.is_empty());
            cells.clone().next().is_some() && cells.all(|cell| is_number(cell))
        };
        let class = |number: bool| if number { " class=\"n\"" } else { "" };
        self.body.push_str("<div class=\"wide\"><table>\n");
        if head.iter().any(|cell| !cell.is_empty()) {
            self.body.push_str("<tr>");
            for (column, cell) in head.iter().enumerate() {
                self.push(format_args!("<th{}>{}</th>", class(numeric(column)), escape(cell)));
            }
            self.body.push_str("</tr>\n");
        }
        for row in &rows {
            self.body.push_str("<tr>");
            for cell in row {
                let class = if is_long(cell) { " class=\"long\"" } else { class(is_number(cell)) };
                self.push(format_args!("<td{class}>{}</td>", escape(cell)));
            }
            self.body.push_str("</tr>\n");
        }
        self.body.push_str("</table></div>\n");
        self
    }

    /// A chart made by [`super::plot`], with a caption.
    pub fn chart(&mut self, svg: &str, caption: &str) -> &mut Self {
        self.push(format_args!("<figure>{svg}<figcaption>{}</figcaption></figure>\n", escape(caption)))
    }

    /// PNG pictures in a row, each with a caption; see [`super::picture`].
    pub fn pictures<'a>(&mut self, pictures: impl IntoIterator<Item = (&'a [u8], String)>) -> &mut Self {
        self.judged(pictures.into_iter().map(|(png, caption)| (png, caption, None)))
    }

    /// The same, marked right or wrong, where that is known.
    pub fn judged<'a>(
        &mut self,
        pictures: impl IntoIterator<Item = (&'a [u8], String, Option<bool>)>,
    ) -> &mut Self {
        self.body.push_str("<div class=\"pictures\">\n");
        for (png, caption, right) in pictures {
            let caption = escape(&caption);
            let uri = super::picture::data_uri(png);
            let (class, sign) = match right {
                Some(true) => (" class=\"right\"", "✓ "),
                Some(false) => (" class=\"wrong\"", "✗ "),
                None => ("", ""),
            };
            self.push(format_args!(
                "<figure{class}><img src=\"{uri}\" alt=\"{caption}\"><figcaption>{sign}{caption}</figcaption></figure>\n"
            ));
        }
        self.body.push_str("</div>\n");
        self
    }

    /// The whole file.
    pub fn render(&self) -> String {
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n\
             </head>\n<body>\n<main>\n{}<footer>siamese {}</footer>\n</main>\n</body>\n</html>\n",
            escape(&self.title),
            self.body,
            env!("CARGO_PKG_VERSION"),
        )
    }

    /// Writes the page, replacing an earlier file at once or not at all.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        files::replace(path, self.render().as_bytes())
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) -> &mut Self {
        // Writing to a String cannot fail.
        let _ = self.body.write_fmt(text);
        self
    }
}

/// Whether a cell is a number, with a unit or an interval perhaps, and no hash or sentence.
fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || "-−+<≤".contains(c))
        && text.contains(|c: char| c.is_ascii_digit())
        && text.chars().count() <= 24
        && text.split_whitespace().count() <= 5
}

/// Whether a cell needs room where the screen is narrow: a word that must be broken (a hash, a path), a sentence that
/// would else stand one word below the other.
fn is_long(text: &str) -> bool {
    text.chars().count() > 24
}

/// A share as a percentage.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// Text as HTML text or attribute value.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn labels_cannot_break_out_of_the_page() {
        let mut page = Page::new("<script>alert(1)</script>", "a & b");
        page.table(&["\"x\""], [["<img onerror=x>"]]).text("it's");
        let html = page.render();
        assert!(!html.contains("<script") && !html.contains("<img"));
        assert!(html.contains("a &amp; b") && html.contains("it&#39;s"));
    }

    #[test]
    fn numbers_stand_to_the_right_and_hashes_do_not() {
        let mut page = Page::new("t", "a");
        let hash = "93ef731d3091dd9af8292f3f8d1bd089fa149d601f182d6f6a7908cc1a9f9297";
        page.table(&["what", "value"], [["share", "71.79 % – 80.31 %"], ["bound", "1.0e-6"]]);
        page.table(&["", ""], [["SHA-256", hash], ["machine", "linux"]]);
        page.table(&["", ""], [["what", "200 galleries of 20 classes each"]]);
        let html = page.render();
        assert_eq!(html.matches("<td class=\"long\">").count(), 2, "{html}");
        assert!(html.contains("<th>what</th><th class=\"n\">value</th>"), "{html}");
        assert_eq!(html.matches("<td class=\"n\">").count(), 2, "{html}");
        assert_eq!(html.matches("<th").count(), 2, "no row of empty heads: {html}");
    }

    #[test]
    fn a_page_needs_nothing_from_elsewhere() {
        let mut page = Page::new("t", "a");
        page.pictures([(&b"png"[..], "one".to_string())]);
        let html = page.render();
        assert!(!html.contains("http") && !html.contains("<link") && !html.contains("url("));
    }
}
