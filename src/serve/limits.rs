//! What all clients together may take: connections, and bytes of bodies.
//!
//! **Connections.** When there are as many as there may be, a new one takes the place of the one that has waited longest
//! for its client: for a request, or for the rest of a body. So slow and silent clients cannot keep others out, however
//! many they are; a request that has arrived is always worked on to its end.
//!
//! **Bodies.** A body is read whole before it is looked at. Each piece is counted while it arrives; where all bodies
//! together would take more than there is room for, the request is refused.

use super::refusal::Refusal;
use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::StatusCode;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// How much of a machine the server may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Bytes of all bodies together.
    pub body_bytes: usize,
    /// Requests that have arrived and wait for a core.
    pub waiting: usize,
    /// How long a request may take, its arrival included.
    pub request: Duration,
    /// How long a client may send nothing in the middle of a request, or take for a request's head.
    pub silence: Duration,
    /// How long requests under way are given once the server is told to stop.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            body_bytes: 256 << 20,
            waiting: 256,
            request: Duration::from_secs(60),
            silence: Duration::from_secs(10),
            farewell: Duration::from_secs(30),
        }
    }
}

/// The connections that are open.
#[derive(Clone)]
pub(super) struct Connections {
    most: usize,
    open: Arc<Mutex<BTreeMap<u64, Open>>>,
    next: Arc<AtomicU64>,
}

struct Open {
    /// Since when the client has been waited for; none while its request is worked on.
    waits_since: Option<Instant>,
    leave: Arc<Notify>,
}

/// A connection's place among the others.
pub(super) struct Place {
    id: u64,
    connections: Connections,
    leave: Arc<Notify>,
}

/// While it lives the connection's client is not waited for.
pub(super) struct Working(Arc<Place>);

impl Connections {
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), open: Arc::default(), next: Arc::default() }
    }

    /// A place for a new connection; none where all others are being worked on.
    pub fn enter(&self) -> Option<Arc<Place>> {
        let mut open = self.lock();
        if open.len() >= self.most {
            let waiting = open.iter().filter_map(|(&id, o)| o.waits_since.map(|since| (since, id)));
            let (_, longest) = waiting.min()?;
            if let Some(gone) = open.remove(&longest) {
                gone.leave.notify_one();
            }
        }
        let (id, leave) = (self.next.fetch_add(1, Ordering::Relaxed), Arc::new(Notify::new()));
        open.insert(id, Open { waits_since: Some(Instant::now()), leave: Arc::clone(&leave) });
        Some(Arc::new(Place { id, connections: self.clone(), leave }))
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    fn set(&self, id: u64, waits_since: Option<Instant>) {
        if let Some(open) = self.lock().get_mut(&id) {
            open.waits_since = waits_since;
        }
    }

    /// Nothing here panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Until another connection has taken this place.
    pub async fn taken(&self) {
        self.leave.notified().await;
    }

    /// A request has arrived whole.
    pub fn works(self: &Arc<Self>) -> Working {
        self.connections.set(self.id, None);
        Working(Arc::clone(self))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().remove(&self.id);
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.connections.set(self.0.id, Some(Instant::now()));
    }
}

/// Room for bodies.
#[derive(Clone)]
pub(super) struct Room(Arc<Semaphore>, usize);

/// A body in memory, counted for as long as this lives.
pub(super) struct Arrived {
    pub bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// What one permit stands for, bytes.
    const UNIT: usize = 1024;

    pub fn new(bytes: usize) -> Self {
        let units = (bytes / Self::UNIT).clamp(1, Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(units)), units)
    }

    /// Bytes that bodies take now.
    pub fn taken(&self) -> usize {
        (self.1 - self.0.available_permits()) * Self::UNIT
    }

    /// Reads a body of at most `most` bytes, whose client may be silent for so long.
    pub async fn read(&self, body: Body, most: usize, silence: Duration) -> Result<Arrived, Refusal> {
        let (mut body, mut bytes, mut room) = (body, Vec::new(), None::<OwnedSemaphorePermit>);
        if body.size_hint().lower() > most as u64 {
            return Err(too_large(body, most, silence).await);
        }
        while let Some(piece) = next(&mut body, silence).await? {
            if bytes.len() + piece.len() > most {
                return Err(too_large(body, most, silence).await);
            }
            let before = bytes.len().div_ceil(Self::UNIT);
            bytes.extend_from_slice(&piece);
            let more = (bytes.len().div_ceil(Self::UNIT) - before) as u32;
            let permit = Arc::clone(&self.0).try_acquire_many_owned(more);
            let permit = permit.map_err(|_| Refusal::busy("pictures under way fill its memory"))?;
            match &mut room {
                Some(room) => room.merge(permit),
                None => room = Some(permit),
            }
        }
        Ok(Arrived { bytes: bytes.into(), _room: room })
    }
}

/// Lets as much again go by, kept nowhere: most clients read no answer before they have sent all.
async fn too_large(mut body: Body, most: usize, silence: Duration) -> Refusal {
    let mut passed = 0;
    while passed <= most {
        match next(&mut body, silence).await {
            Ok(Some(piece)) => passed += piece.len(),
            Ok(None) | Err(_) => break,
        }
    }
    let why = format!("the body is larger than {} MiB, the most that is taken", most >> 20);
    Refusal(StatusCode::PAYLOAD_TOO_LARGE, why)
}

/// The next piece of a body; none at its end.
async fn next(body: &mut Body, silence: Duration) -> Result<Option<Bytes>, Refusal> {
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
        let late = |_| {
            let why = format!("nothing more of the body came for {} s", silence.as_secs());
            Refusal(StatusCode::REQUEST_TIMEOUT, why)
        };
        match tokio::time::timeout(silence, frame).await.map_err(late)? {
            None => return Ok(None),
            // The client went away, or sent something other than it promised.
            Some(Err(e)) => return Err(Refusal(StatusCode::BAD_REQUEST, format!("the body broke off: {e}"))),
            // Trailers are passed over.
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_new_connection_takes_the_place_of_the_one_that_was_waited_for_longest() {
        let connections = Connections::new(3);
        let places: Vec<_> = (0..3).map(|_| connections.enter().unwrap()).collect();
        let working = places[0].works();
        let fourth = connections.enter().unwrap();
        assert_eq!(connections.len(), 3);
        // The second had to go; its leaving once more changes nothing.
        let ids = || connections.lock().keys().copied().collect::<Vec<_>>();
        assert_eq!(ids(), [0, 2, 3]);
        drop(working);
        // Now the first is the one that was waited for least.
        let (fifth, sixth) = (connections.enter().unwrap(), connections.enter().unwrap());
        assert_eq!(ids(), [0, 4, 5]);
        drop(places);
        assert_eq!(ids(), [4, 5]);
        drop((fourth, fifth, sixth));
        assert_eq!(connections.len(), 0);
    }

    #[test]
    fn where_all_are_worked_on_there_is_no_place() {
        let connections = Connections::new(2);
        let places: Vec<_> = (0..2).map(|_| connections.enter().unwrap()).collect();
        let working: Vec<_> = places.iter().map(Place::works).collect();
        assert!(connections.enter().is_none());
        drop(working);
        assert!(connections.enter().is_some());
    }

    #[test]
    fn bodies_are_counted_for_as_long_as_they_live() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let room = Room::new(64 << 10);
        let read = |bytes: usize, most: usize| {
            runtime.block_on(room.read(Body::from(vec![1; bytes]), most, Duration::from_secs(1)))
        };
        let first = read(40 << 10, 1 << 20).ok().unwrap();
        assert_eq!((room.taken(), first.bytes.len()), (40 << 10, 40 << 10));
        assert_eq!(read(30 << 10, 1 << 20).err().unwrap().0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(read(2 << 20, 1 << 20).err().unwrap().0, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(room.taken(), 40 << 10);
        drop(first);
        assert_eq!(room.taken(), 0);
        assert_eq!(read(60 << 10, 1 << 20).ok().unwrap().bytes.len(), 60 << 10);
        assert_eq!(read(0, 1).ok().unwrap().bytes.len(), 0);
    }
}
