//! The gallery's file: an SQLite database, every change one transaction.
//!
//! With SQLite's rollback journal a process that is killed, or a machine that stops, leaves the
//! last committed state; writers wait for each other. Every embedding carries a checksum.

use super::{Entry, Example, Facts};
use crate::{Error, Result};
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior, params};
use std::path::Path;
use std::time::Duration;

/// `SIAM`, in the file's header.
const APPLICATION_ID: i64 = 0x5349_414D;
/// The version of the tables below.
const FORMAT: i64 = 1;
/// How long a writer waits for another.
const PATIENCE: Duration = Duration::from_secs(60);

const TABLES: &str = "
CREATE TABLE facts (one INTEGER PRIMARY KEY CHECK (one = 1), json TEXT NOT NULL) STRICT;
CREATE TABLE classes (id INTEGER PRIMARY KEY, label TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE examples (
    id INTEGER PRIMARY KEY,
    class INTEGER NOT NULL REFERENCES classes (id),
    embedding BLOB NOT NULL,
    crc INTEGER NOT NULL,
    source TEXT NOT NULL,
    added_unix_s INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX same ON examples (class, source, crc);
";

/// How embeddings lie in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// Little-endian f32.
    Float,
    /// One signed byte a number: embeddings of exact towers.
    Byte,
}

impl Packing {
    /// An embedding as bytes; `at` names it in errors.
    pub fn pack(self, embedding: &[f32], at: &str) -> Result<Vec<u8>> {
        if let Some((j, x)) = embedding.iter().enumerate().find(|(_, x)| !x.is_finite()) {
            let why =
                format!("the tower gives {x} at place {j} of its embedding; nothing can be near to that");
            return Err(Error::invalid(at, why));
        }
        match self {
            Self::Float => Ok(embedding.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Self::Byte => embedding.iter().map(|&x| byte(x, at)).collect(),
        }
    }

    /// Appends the numbers of a blob of `dim` numbers; false where it has another length.
    fn unpack(self, blob: &[u8], dim: usize, into: &mut Vec<f32>) -> bool {
        match self {
            Self::Float if blob.len() == 4 * dim => {
                let (numbers, _) = blob.as_chunks::<4>();
                into.extend(numbers.iter().map(|&b| f32::from_le_bytes(b)));
                true
            }
            Self::Byte if blob.len() == dim => {
                into.extend(blob.iter().map(|&b| f32::from(b.cast_signed())));
                true
            }
            _ => false,
        }
    }
}

fn byte(x: f32, at: &str) -> Result<u8> {
    if x.fract() != 0.0 || !(-127.0..=127.0).contains(&x) {
        let why = format!("the tower calls itself exact but gives {x}, which is no whole number in ±127");
        return Err(Error::invalid(at, why));
    }
    Ok((x as i8).cast_unsigned())
}

/// All embeddings, in the order of enrolment.
pub(super) struct Rows {
    /// `[N, D]`, row by row.
    pub numbers: Vec<f32>,
    /// Class id of each.
    pub classes: Vec<i64>,
}

/// The open file.
pub(super) struct Store {
    db: Connection,
    at: String,
}

impl Store {
    /// Opens an existing gallery.
    pub fn open(path: &Path) -> Result<Self> {
        let length = std::fs::metadata(path).map_err(Error::io("open the gallery", path))?.len();
        if length == 0 {
            let why = "is empty (0 bytes): no enrolment was ever completed; enroll something";
            return Err(Error::invalid(path.display(), why));
        }
        let store = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        store.check()?;
        Ok(store)
    }

    /// Opens a gallery, or makes one with these facts where there is none (or an empty file).
    pub fn create(path: &Path, facts: &Facts) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut store = Self::connect(path, flags)?;
        store.change(|t| {
            let tables: i64 = t.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
            if tables > 0 {
                return Ok(());
            }
            t.pragma_update(None, "application_id", APPLICATION_ID)?;
            t.pragma_update(None, "user_version", FORMAT)?;
            t.execute_batch(TABLES)?;
            write_facts(t, facts)
        })?;
        store.check()?;
        Ok(store)
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Self> {
        let at = path.display().to_string();
        let db = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(|e| failure(&at, e))?;
        let store = Self { db, at };
        store.tell(store.db.busy_timeout(PATIENCE))?;
        store.tell(store.db.pragma_update(None, "foreign_keys", true))?;
        store.tell(store.db.pragma_update(None, "synchronous", "FULL"))?;
        // Reading maps the file instead of copying page by page.
        store.tell(store.db.pragma_update(None, "mmap_size", 1_i64 << 32))?;
        Ok(store)
    }

    /// That it is a gallery, of a version that this program reads.
    fn check(&self) -> Result<()> {
        let number =
            |name: &str| self.tell(self.db.pragma_query_value(None, name, |row| row.get::<_, i64>(0)));
        if number("application_id")? != APPLICATION_ID {
            return Err(Error::invalid(&self.at, "is an SQLite database, but not a gallery"));
        }
        match number("user_version")? {
            FORMAT => Ok(()),
            other => {
                let why = format!("is a gallery of format {other}; this program reads format {FORMAT}");
                Err(Error::invalid(&self.at, why))
            }
        }
    }

    /// A number that changes whenever another connection changes the file.
    pub fn version(&self) -> Result<i64> {
        self.tell(self.db.pragma_query_value(None, "data_version", |row| row.get(0)))
    }

    /// The facts.
    pub fn facts(&self) -> Result<Facts> {
        let json: String = self.tell(self.db.query_row("SELECT json FROM facts", [], |row| row.get(0)))?;
        serde_json::from_str(&json)
            .map_err(|e| Error::invalid_because(&self.at, "its facts cannot be read; it is damaged", e))
    }

    /// Changes the facts; `change` sees those in the file now.
    pub fn change_facts(&mut self, change: impl FnOnce(&mut Facts) -> Result<()>) -> Result<Facts> {
        let transaction = self.tell(Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate))?;
        let mut facts = self.facts()?;
        change(&mut facts)?;
        self.tell(write_facts(&transaction, &facts))?;
        self.tell(transaction.commit())?;
        Ok(facts)
    }

    /// Adds examples, all or none; tells how many were not there yet.
    pub fn add(&mut self, examples: &[Example], packing: Packing, now: i64) -> Result<u64> {
        let mut blobs = Vec::with_capacity(examples.len());
        for example in examples {
            blobs.push(packing.pack(&example.embedding, &example.source)?);
        }
        self.change(|t| {
            let mut class = t.prepare("INSERT INTO classes (label) VALUES (?1) ON CONFLICT DO NOTHING")?;
            let mut add = t.prepare(
                "INSERT INTO examples (class, embedding, crc, source, added_unix_s)
                 SELECT id, ?2, ?3, ?4, ?5 FROM classes WHERE label = ?1 ON CONFLICT DO NOTHING",
            )?;
            let mut added = 0;
            for (example, blob) in examples.iter().zip(&blobs) {
                class.execute([&example.label])?;
                let time = example.added_unix_s.unwrap_or(now);
                let crc = crc32c::crc32c(blob);
                added += add.execute(params![example.label, blob, crc, example.source, time])? as u64;
            }
            Ok(added)
        })
    }

    /// Removes the classes of these labels, or only their examples from one source; tells how many
    /// examples went.
    pub fn remove(&mut self, labels: &[String], source: Option<&str>) -> Result<u64> {
        self.change(|t| {
            let mut removed = 0;
            for label in labels {
                removed += t.execute(
                    "DELETE FROM examples WHERE class = (SELECT id FROM classes WHERE label = ?1)
                     AND (?2 IS NULL OR source = ?2)",
                    params![label, source],
                )? as u64;
            }
            t.execute("DELETE FROM classes WHERE id NOT IN (SELECT class FROM examples)", [])?;
            Ok(removed)
        })
    }

    /// Labels by class id, in the order of enrolment.
    pub fn classes(&self) -> Result<Vec<(i64, String)>> {
        self.tell((|| {
            let mut select = self.db.prepare("SELECT id, label FROM classes ORDER BY id")?;
            select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })())
    }

    /// What `list` shows.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        self.tell((|| {
            let mut select = self.db.prepare(
                "SELECT label, count(*), min(added_unix_s), max(added_unix_s)
                 FROM examples JOIN classes ON classes.id = class GROUP BY class ORDER BY class",
            )?;
            let entry = |row: &rusqlite::Row<'_>| {
                Ok(Entry {
                    label: row.get(0)?,
                    examples: row.get::<_, i64>(1)?.unsigned_abs(),
                    first_added_unix_s: row.get(2)?,
                    last_added_unix_s: row.get(3)?,
                })
            };
            select.query_map([], entry)?.collect()
        })())
    }

    /// Reads more than one thing of one and the same state.
    pub fn snapshot<T>(&self, read: impl FnOnce() -> Result<T>) -> Result<T> {
        let transaction = self.tell(self.db.unchecked_transaction())?;
        let read = read()?;
        self.tell(transaction.finish())?;
        Ok(read)
    }

    /// All embeddings.
    pub fn rows(&self, packing: Packing, dim: usize) -> Result<Rows> {
        let mut rows = Rows { numbers: Vec::new(), classes: Vec::new() };
        self.each("SELECT class, embedding, crc FROM examples ORDER BY id", |row| {
            if !checked(row, 1, 2, packing, dim, &mut rows.numbers)? {
                return Ok(false);
            }
            rows.classes.push(row.get(0)?);
            Ok(true)
        })?;
        Ok(rows)
    }

    /// All examples, whole.
    pub fn examples(&self, packing: Packing, dim: usize) -> Result<Vec<Example>> {
        let mut examples = Vec::new();
        let all = "SELECT label, embedding, crc, source, added_unix_s
                   FROM examples JOIN classes ON classes.id = class ORDER BY examples.id";
        self.each(all, |row| {
            let mut embedding = Vec::with_capacity(dim);
            let whole = checked(row, 1, 2, packing, dim, &mut embedding)?;
            let added_unix_s = Some(row.get(4)?);
            examples.push(Example { label: row.get(0)?, embedding, source: row.get(3)?, added_unix_s });
            Ok(whole)
        })?;
        Ok(examples)
    }

    /// Goes over rows until one is not whole, which is an error.
    fn each(
        &self,
        select: &str,
        mut take: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<bool>,
    ) -> Result<()> {
        let damaged = self.tell((|| {
            let mut select = self.db.prepare(select)?;
            let mut rows = select.query([])?;
            let mut place = 0;
            while let Some(row) = rows.next()? {
                place += 1;
                if !take(row)? {
                    return Ok(Some(place));
                }
            }
            Ok(None)
        })())?;
        match damaged {
            None => Ok(()),
            Some(place) => {
                let why = format!(
                    "example {place} is damaged (its checksum differs); restore the file from a copy"
                );
                Err(Error::invalid(&self.at, why))
            }
        }
    }

    /// One transaction that no other writer can interleave with.
    fn change<T>(&mut self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        let done = (|| {
            let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        })();
        done.map_err(|e| failure(&self.at, e))
    }

    fn tell<T>(&self, result: rusqlite::Result<T>) -> Result<T> {
        result.map_err(|e| failure(&self.at, e))
    }
}

fn write_facts(t: &Transaction<'_>, facts: &Facts) -> rusqlite::Result<()> {
    let json = serde_json::to_string(facts).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    t.execute("INSERT OR REPLACE INTO facts (one, json) VALUES (1, ?1)", [json])?;
    Ok(())
}

/// Appends a row's embedding; false where the blob is not what was written.
fn checked(
    row: &rusqlite::Row<'_>,
    blob: usize,
    crc: usize,
    packing: Packing,
    dim: usize,
    into: &mut Vec<f32>,
) -> rusqlite::Result<bool> {
    let bytes = row.get_ref(blob)?.as_blob().unwrap_or_default();
    let crc: i64 = row.get(crc)?;
    Ok(i64::from(crc32c::crc32c(bytes)) == crc && packing.unpack(bytes, dim, into))
}

/// SQLite's complaint, with what to do.
fn failure(at: &str, error: rusqlite::Error) -> Error {
    let why = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            "is not a gallery (not an SQLite database), or its beginning is damaged"
        }
        Some(ErrorCode::DatabaseCorrupt) => "is damaged or was copied only in part; restore it from a copy",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "has been locked by another process for a minute; try again when that is done"
        }
        Some(ErrorCode::CannotOpen) => {
            "cannot be opened as a gallery; does its folder exist, and is it a file?"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            "cannot be written; look at its permissions"
        }
        Some(ErrorCode::DiskFull) => "cannot grow: the disk is full; nothing was changed",
        _ => "cannot be used as a gallery",
    };
    Error::invalid_because(at, why, error)
}
