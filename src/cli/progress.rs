//! Bars on stderr; on a terminal only.

use indicatif::{ProgressBar, ProgressStyle};

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style.progress_chars("=> "))
}

/// Of so many things, one of which is called `unit`.
pub fn bar(length: u64, unit: &str) -> ProgressBar {
    let template = format!("{{elapsed}} [{{bar:30}}] {unit} {{pos}}/{{len}}, {{eta}} left  {{msg}}");
    styled(ProgressBar::new(length), &template)
}

/// Of things whose number is not known.
pub fn counter(unit: &str) -> ProgressBar {
    styled(ProgressBar::no_length(), &format!("{{spinner}} {unit} {{human_pos}}, {{per_sec}}"))
}

/// Of a file's bytes; the message is its name.
pub fn bytes() -> ProgressBar {
    let template = "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}";
    styled(ProgressBar::no_length(), template)
}

/// Of steps that are told one after the other.
pub fn steps() -> ProgressBar {
    let bar = styled(ProgressBar::no_length(), "{spinner} {elapsed} {msg}");
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar
}
