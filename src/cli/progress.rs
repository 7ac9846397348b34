//! Bars on stderr; on a terminal only.

use indicatif::{ProgressBar, ProgressStyle};

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    bar.with_style(style(template))
}

fn of_known(unit: &str) -> String {
    format!("{{elapsed}} [{{bar:30}}] {unit} {{pos}}/{{len}}, {{eta}} left  {{msg}}")
}

/// Of so many things, one of which is called `unit`.
pub fn bar(length: u64, unit: &str) -> ProgressBar {
    styled(ProgressBar::new(length), &of_known(unit))
}

/// Of things whose number is not known at first: `count` finds it meanwhile, where somebody looks on.
pub fn counter(unit: &'static str, count: Option<impl FnOnce() -> u64 + Send + 'static>) -> ProgressBar {
    let bar = styled(ProgressBar::no_length(), &format!("{{spinner}} {unit} {{human_pos}}, {{per_sec}}"));
    if let Some(count) = count.filter(|_| !bar.is_hidden()) {
        let bar = bar.clone();
        std::thread::spawn(move || known(&bar, unit, count()));
    }
    bar
}

/// Gives a counter its number.
pub fn known(bar: &ProgressBar, unit: &str, length: u64) {
    bar.set_length(length);
    bar.set_style(style(&of_known(unit)));
}

/// Of a file's bytes; the message is its name.
pub fn bytes() -> ProgressBar {
    let template = "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}";
    styled(ProgressBar::no_length(), template)
}

/// Of steps that are told one after the other.
#[cfg(feature = "prove")]
pub fn steps() -> ProgressBar {
    let bar = styled(ProgressBar::no_length(), "{spinner} {elapsed} {msg}");
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar
}
