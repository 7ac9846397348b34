//! Ctrl-C, and a signal to terminate.

use crate::{Error, Result, files};

/// Calls `stop` when the user asks to stop; asked again, the process ends at once.
#[cfg(any(feature = "ort", feature = "serve"))]
pub fn on_interrupt(stop: impl Fn() + Send + 'static) -> Result<()> {
    use std::sync::atomic::{AtomicBool, Ordering};
    let stopping = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if stopping.swap(true, Ordering::Relaxed) {
            end();
        }
        stop();
    })
    .map_err(|e| Error::invalid_because("signal handler", "cannot be set", e))
}

/// Ends the process when the user asks to stop, and leaves no file in the making behind.
pub fn end_on_interrupt() -> Result<()> {
    ctrlc::set_handler(|| end()).map_err(|e| Error::invalid_because("signal handler", "cannot be set", e))
}

fn end() -> ! {
    files::abandon();
    std::process::exit(130)
}
