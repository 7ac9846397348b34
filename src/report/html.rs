//! One self-contained HTML page: no script, no font, no picture from elsewhere; narrow screens and
//! dark mode included.

use crate::{Error, Result};
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

    /// A table; numbers are set to the right.
    pub fn table<R, C>(&mut self, head: &[&str], rows: R) -> &mut Self
    where
        R: IntoIterator,
        R::Item: IntoIterator<Item = C>,
        C: Display,
    {
        self.body.push_str("<div class=\"wide\"><table>\n<tr>");
        for cell in head {
            self.push(format_args!("<th>{}</th>", escape(cell)));
        }
        self.body.push_str("</tr>\n");
        for row in rows {
            self.body.push_str("<tr>");
            for cell in row {
                let text = cell.to_string();
                let class = if is_number(&text) { " class=\"n\"" } else { "" };
                self.push(format_args!("<td{class}>{}</td>", escape(&text)));
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
        self.body.push_str("<div class=\"pictures\">\n");
        for (png, caption) in pictures {
            let caption = escape(&caption);
            let uri = super::picture::data_uri(png);
            self.push(format_args!(
                "<figure><img src=\"{uri}\" alt=\"{caption}\"><figcaption>{caption}</figcaption></figure>\n"
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
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(Error::io("write into", folder))?;
        std::io::Write::write_all(&mut file, self.render().as_bytes()).map_err(Error::io("write", path))?;
        crate::data::get::readable_by_all(file.path())?;
        file.persist(path).map_err(|e| Error::io("replace", path)(e.error))?;
        Ok(())
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) -> &mut Self {
        // Writing to a String cannot fail.
        let _ = self.body.write_fmt(text);
        self
    }
}

fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '−' || c == '+' || c == '<')
        && text.contains(|c: char| c.is_ascii_digit())
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
    fn a_page_needs_nothing_from_elsewhere() {
        let mut page = Page::new("t", "a");
        page.pictures([(&b"png"[..], "one".to_string())]);
        let html = page.render();
        assert!(!html.contains("http") && !html.contains("<link") && !html.contains("url("));
    }

    #[test]
    fn a_page_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.html");
        Page::new("one", "").write(&path).unwrap();
        Page::new("two", "").write(&path).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("<h1>two</h1>"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
