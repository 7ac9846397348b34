//! Ctrl-C, and a signal to terminate.

use crate::{Error, Result, files};
use std::sync::atomic::{AtomicBool, Ordering};

/// Calls `stop` when the user asks to stop; asked again, the process ends at once.
pub fn on_interrupt(stop: impl Fn() + Send + 'static) -> Result<()> {
    let stopping = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if stopping.swap(true, Ordering::Relaxed) {
            files::abandon();
            std::process::exit(130);
        }
        stop();
    })
    .map_err(|e| Error::invalid_because("signal handler", "cannot be set", e))
}
