//! Connections of one gallery: opened when they are needed, kept for the next who asks, opened again where they were
//! lost.

use super::address::Address;
use super::row::Param;
use super::wire::{Connection, Done, Failure, Refused};
use crate::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a server that was there before is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// The first pause before it is tried again; each further one is twice as long, up to the last.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];

/// What every connection is told first. A writer waits for another as long as with files; one that does not go on is
/// cut off, so that it holds nobody up.
const MANNERS: &str = "SET client_min_messages = warning; SET lock_timeout = '60s'; \
                       SET idle_in_transaction_session_timeout = '60s'; SET jit = off";
/// Names without a schema are the gallery's, or those of pgvector, wherever it was installed.
const NAMES: &str = "SELECT length(set_config('search_path', quote_ident($1) || ', ' || coalesce((
    SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'vector'
), 'public'), false))::int8";

pub(super) struct Pool {
    pub address: Address,
    idle: Mutex<Vec<Connection>>,
    /// Whether there ever was a connection.
    met: AtomicBool,
    /// Since when there is none to be had.
    outage: Mutex<Option<Instant>>,
}

impl Pool {
    pub fn new(address: Address) -> Self {
        let (idle, outage) = (Mutex::new(Vec::new()), Mutex::new(None));
        Self { address, idle, met: AtomicBool::new(false), outage }
    }

    /// Does some work over a connection. Where the connection is lost, or the server is not there for a moment, all
    /// is done again over another one, until [`PATIENCE`] is over: the work must be such that this does no harm.
    pub fn run<T>(&self, mut work: impl FnMut(&mut Connection) -> Done<T>) -> Result<T> {
        let mut pause = PAUSES[0];
        loop {
            let done = self.once(&mut work);
            let lost = match done {
                Ok(done) => {
                    *lock(&self.outage) = None;
                    return Ok(done);
                }
                Err(Failure::Lost(e)) => {
                    // The others were most likely lost with it.
                    lock(&self.idle).clear();
                    Failure::Lost(e)
                }
                Err(Failure::Refused(told)) if passes(&told) => Failure::Refused(told),
                Err(failure) => {
                    *lock(&self.outage) = None;
                    return Err(self.tell(failure));
                }
            };
            let since = *lock(&self.outage).get_or_insert_with(Instant::now);
            if !self.met.load(Ordering::Relaxed) || since.elapsed() > PATIENCE {
                return Err(self.tell(lost));
            }
            std::thread::sleep(pause);
            pause = (2 * pause).min(PAUSES[1]);
        }
    }

    fn once<T>(&self, work: &mut impl FnMut(&mut Connection) -> Done<T>) -> Done<T> {
        let idle = lock(&self.idle).pop();
        let mut connection = idle.map_or_else(|| self.open(), Ok)?;
        let done = work(&mut connection);
        if connection.is_at_rest() {
            lock(&self.idle).push(connection);
        }
        done
    }

    /// A new connection, for whoever asks.
    pub fn open(&self) -> Done<Connection> {
        let mut connection = Connection::open(&self.address)?;
        connection.run(MANNERS)?;
        self.name(&mut connection)?;
        self.met.store(true, Ordering::Relaxed);
        Ok(connection)
    }

    /// Has names mean the gallery's own.
    pub fn name(&self, connection: &mut Connection) -> Done<()> {
        connection.number(NAMES, &[Param::Text(&self.address.schema)]).map(|_| ())
    }

    /// A failure in words.
    pub fn tell(&self, failure: Failure) -> Error {
        let at = &self.address.shown;
        match failure {
            Failure::Ours(error) => error,
            Failure::Lost(e) => Error::Missing {
                what: format!("the PostgreSQL server of {at} cannot be reached"),
                fix: "is it running there, and does it listen to this machine?".into(),
                source: Some(e.into()),
            },
            Failure::Refused(told) if is_without_pgvector(&told) => Error::Missing {
                what: format!("the PostgreSQL server of {at} has no pgvector"),
                fix: "install it there (Debian: the package postgresql-VERSION-pgvector)".into(),
                source: Some(told.into()),
            },
            Failure::Refused(told) => Error::invalid_because(at, why(&told), told),
        }
    }
}

/// Whether it is worth trying again: transactions that met, or a statement that was prepared for what a table was
/// before it was changed.
fn passes(told: &Refused) -> bool {
    let changed = told.code == "0A000" && told.message.contains("cached plan");
    changed || ["40001", "40P01"].contains(&told.code.as_str())
}

fn is_without_pgvector(told: &Refused) -> bool {
    matches!(told.code.as_str(), "0A000" | "58P01") && told.message.contains("extension \"vector\"")
}

/// The server's complaint, with what to do.
fn why(told: &Refused) -> &'static str {
    match told.code.as_str() {
        "28P01" | "28000" => {
            "its server does not let this user in; is the password right (PGPASSWORD, ~/.pgpass)?"
        }
        "3D000" => "its server has no such database; `createdb` makes one",
        "42501" => {
            "this user may not do that there; its owner can GRANT it (to make a gallery: CREATE on the database)"
        }
        "55P03" => "has been locked by another client for a minute; try again when that is done",
        "53100" => "cannot grow: the server's disk is full; nothing was changed",
        "25006" => "cannot be changed there: that server only reads (is it a replica?)",
        "XX001" | "XX002" => "is damaged, says its server; restore it from a copy",
        "42P01" | "42703" | "3F000" => "is not a gallery, or only a part of one: something is missing there",
        _ => "cannot be used as a gallery",
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
