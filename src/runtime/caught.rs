//! What may panic on a damaged graph, guarded: a panic is the model's fault, and an error here, told once.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// A cause from a runtime.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

thread_local! {
    /// Whether this thread is inside guarded work.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Does the work; nothing is printed where it panics.
///
/// # Errors
/// Those of the work; the words of a panic.
pub fn caught<T, E: Into<Cause>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, Cause> {
    silence();
    let outer = GUARDED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    match done {
        Ok(done) => done.map_err(Into::into),
        Err(panic) => Err(words(panic.as_ref()).into()),
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().map(|words| (*words).to_string());
    said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".into())
}

/// Makes panics of guarded work quiet; of all others the earlier hook tells.
fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let earlier = take_hook();
        set_hook(Box::new(move |panic| {
            // A thread that ends has no guard any more.
            if !GUARDED.try_with(Cell::get).unwrap_or(false) {
                earlier(panic);
            }
        }));
    });
}
