//! Changes of the gallery by others, read as they happen.
//!
//! Every request sees what was changed before it, told or not. But after a change somebody has to read the gallery
//! again, and that need not be a request.

use super::recogniser::Recogniser;
use crate::Result;
use crate::gallery::Watcher;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long to wait for a change before looking whether to go on.
const TURN: Duration = Duration::from_millis(250);

/// A thread that waits for changes, until it is dropped.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// None where nobody tells of changes.
    pub fn begin(recogniser: &Arc<Recogniser>) -> Result<Option<Self>> {
        let Some(watcher) = recogniser.watcher()? else { return Ok(None) };
        let stop = Arc::new(AtomicBool::new(false));
        let (recogniser, stops) = (Arc::clone(recogniser), Arc::clone(&stop));
        let thread = std::thread::spawn(move || watch(watcher, &recogniser, &stops));
        Ok(Some(Self { stop, thread: Some(thread) }))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // One that panicked has nothing left to do.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn watch(mut watcher: Watcher, recogniser: &Recogniser, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match watcher.wait(TURN) {
            Ok(true) => {
                let since = Instant::now();
                // What fails, a request will meet and tell.
                let _ = recogniser.prepare();
                // Where changes come without end, half of the time is left to requests.
                std::thread::sleep(since.elapsed().min(TURN));
            }
            Ok(false) => {}
            Err(e) => {
                // Requests go on without; where stderr is closed there is nobody to tell.
                let told = format!("siamese: changes are not listened to: {:#}", anyhow::Error::from(e));
                let _ = writeln!(std::io::stderr(), "{told}");
                return;
            }
        }
    }
}
