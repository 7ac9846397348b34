//! A gallery in a file: an SQLite database.
//!
//! With SQLite's rollback journal a process that is killed, or a machine that stops, leaves the
//! last committed state; writers wait for each other. Every embedding carries a checksum.

mod pictures;

use super::{
    Embeddings, Example, Facts, KnownClass, PackedExample, Packing, Seen, State, Store, StoreKind,
    check_state, check_tower, damaged, damaged_picture,
};
use crate::{Error, Result};
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, Transaction, TransactionBehavior, params};
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

/// Galleries in files.
pub(super) const KIND: StoreKind = StoreKind {
    schemes: &[],
    exists: |at| Ok(std::fs::metadata(at.path()).is_ok_and(|file| file.len() > 0)),
    open: |at| Ok(Box::new(Sqlite::open(at.path())?)),
    create: |at, facts| Ok(Box::new(Sqlite::create(at.path(), facts)?)),
};

/// The open file.
struct Sqlite {
    db: Connection,
    at: String,
}

impl Sqlite {
    /// Opens an existing gallery.
    fn open(path: &Path) -> Result<Self> {
        if !path.try_exists().unwrap_or(true) {
            let at = format!("cannot open the gallery {}", path.display());
            return Err(Error::invalid(at, "there is none; `siamese enroll GALLERY PICTURES` makes one"));
        }
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
    fn create(path: &Path, facts: &Facts) -> Result<Self> {
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

    /// Ids and labels of the classes.
    fn labels(&self) -> Result<Vec<(i64, String)>> {
        self.tell((|| {
            let mut select = self.db.prepare("SELECT id, label FROM classes ORDER BY id")?;
            select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })())
    }

    /// Goes over rows until one is not whole, which is an error.
    fn each(&self, select: &str, mut take: impl FnMut(&Row<'_>) -> rusqlite::Result<bool>) -> Result<()> {
        let broken = self.tell((|| {
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
        match broken {
            None => Ok(()),
            Some(place) => Err(damaged(&self.at, place)),
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

impl Store for Sqlite {
    /// SQLite's own counter of changes by other connections.
    fn version(&self) -> Result<i64> {
        self.tell(self.db.pragma_query_value(None, "data_version", |row| row.get(0)))
    }

    fn facts(&self) -> Result<Facts> {
        let json: String = self.tell(self.db.query_row("SELECT json FROM facts", [], |row| row.get(0)))?;
        serde_json::from_str(&json)
            .map_err(|e| Error::invalid_because(&self.at, "its facts cannot be read; it is damaged", e))
    }

    fn change_facts(&mut self, change: &dyn Fn(&mut Facts)) -> Result<Facts> {
        let transaction = self.tell(Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate))?;
        let mut facts = self.facts()?;
        change(&mut facts);
        self.tell(write_facts(&transaction, &facts))?;
        self.tell(transaction.commit())?;
        Ok(facts)
    }

    /// Sums that the index `same` holds, so that no embedding is read.
    fn state(&self) -> Result<State> {
        let sums = "SELECT count(*), sum(id), sum(class), sum(crc), sum(crc % 65521 * (class % 65521))
                    FROM examples";
        self.tell(self.db.query_row(sums, [], |row| {
            let sum = |i| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(i)?.unwrap_or(0).unsigned_abs());
            Ok(State { examples: sum(0)?, sums: [sum(1)?, sum(2)?, sum(3)?, sum(4)?] })
        }))
    }

    fn add(&mut self, tower_sha256: &str, examples: &[PackedExample<'_>]) -> Result<u64> {
        let transaction = self.tell(Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate))?;
        check_tower(&self.at, &self.facts()?, tower_sha256)?;
        let added = self.tell(insert(&transaction, examples))?;
        self.tell(pictures::keep(&transaction, examples))?;
        self.tell(transaction.commit())?;
        Ok(added)
    }

    fn replace(&mut self, facts: &Facts, examples: &[PackedExample<'_>], before: State) -> Result<()> {
        let t = self.tell(Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate))?;
        check_state(&self.at, self.state()?, before)?;
        self.tell((|| {
            let kept = pictures::links(&t)?;
            t.execute("DELETE FROM examples", [])?;
            t.execute("DELETE FROM classes", [])?;
            insert(&t, examples)?;
            if !kept.is_empty() {
                pictures::link(&t, examples, &kept)?;
            }
            write_facts(&t, facts)
        })())?;
        self.tell(t.commit())
    }

    fn location(&self) -> &str {
        &self.at
    }

    fn remove(&mut self, labels: &[String], source: Option<&str>) -> Result<u64> {
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
            pictures::sweep(t)?;
            Ok(removed)
        })
    }

    fn seen(&self, label: Option<&str>, most: usize) -> Result<Vec<Seen>> {
        self.tell(pictures::seen(&self.db, label, most))
    }

    fn picture(&self, id: i64) -> Result<Vec<u8>> {
        self.tell(pictures::bytes(&self.db, id))?.ok_or_else(|| damaged_picture(&self.at, id))
    }

    fn classes(&self) -> Result<Vec<KnownClass>> {
        self.tell((|| {
            let mut select = self.db.prepare(
                "SELECT label, count(*), min(added_unix_s), max(added_unix_s)
                 FROM examples JOIN classes ON classes.id = class GROUP BY class ORDER BY class",
            )?;
            let entry = |row: &Row<'_>| {
                Ok(KnownClass {
                    label: row.get(0)?,
                    examples: row.get::<_, i64>(1)?.unsigned_abs(),
                    first_added_unix_s: row.get(2)?,
                    last_added_unix_s: row.get(3)?,
                })
            };
            select.query_map([], entry)?.collect()
        })())
    }

    fn embeddings(&self, packing: Packing) -> Result<Embeddings> {
        let snapshot = self.tell(self.db.unchecked_transaction())?;
        let mut all = Embeddings { numbers: Vec::new(), classes: Vec::new(), labels: self.labels()? };
        self.each("SELECT embedding, crc, class FROM examples ORDER BY id", |row| {
            all.classes.push(row.get(2)?);
            unpack(row, packing, &mut all.numbers)
        })?;
        self.tell(snapshot.finish())?;
        Ok(all)
    }

    fn examples(&self, packing: Packing) -> Result<Vec<Example>> {
        let mut examples = Vec::new();
        let all = "SELECT embedding, crc, label, source, added_unix_s
                   FROM examples JOIN classes ON classes.id = class ORDER BY examples.id";
        self.each(all, |row| {
            let mut embedding = Vec::with_capacity(packing.dim());
            let whole = unpack(row, packing, &mut embedding)?;
            let added_unix_s = Some(row.get(4)?);
            examples.push(Example { label: row.get(2)?, embedding, source: row.get(3)?, added_unix_s });
            Ok(whole)
        })?;
        Ok(examples)
    }
}

/// Adds examples and their classes; tells how many were added.
fn insert(t: &Transaction<'_>, examples: &[PackedExample<'_>]) -> rusqlite::Result<u64> {
    let mut class = t.prepare("INSERT INTO classes (label) VALUES (?1) ON CONFLICT DO NOTHING")?;
    let mut add = t.prepare(
        "INSERT INTO examples (class, embedding, crc, source, added_unix_s)
         SELECT id, ?2, ?3, ?4, ?5 FROM classes WHERE label = ?1 ON CONFLICT DO NOTHING",
    )?;
    let mut added = 0;
    for PackedExample { label, bytes, checksum, source, added_unix_s, .. } in examples {
        class.execute([label])?;
        added += add.execute(params![label, bytes, checksum, source, added_unix_s])? as u64;
    }
    Ok(added)
}

fn write_facts(t: &Transaction<'_>, facts: &Facts) -> rusqlite::Result<()> {
    let json = serde_json::to_string(facts).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    t.execute("INSERT OR REPLACE INTO facts (one, json) VALUES (1, ?1)", [json])?;
    Ok(())
}

/// Appends the embedding of a row that begins with it and its checksum; false where it is not what was
/// written.
fn unpack(row: &Row<'_>, packing: Packing, into: &mut Vec<f32>) -> rusqlite::Result<bool> {
    let bytes = row.get_ref(0)?.as_blob().unwrap_or_default();
    Ok(packing.unpack(bytes, row.get(1)?, into))
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
