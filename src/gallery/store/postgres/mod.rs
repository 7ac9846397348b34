//! A gallery in PostgreSQL, with pgvector: `postgres://user@host:port/database?gallery=NAME`.
//!
//! Each gallery of a database is a schema of its own, `siamese_NAME`, with the tables of a file. Changes are
//! transactions under the lock of the gallery's one row, so that writers wait for each other, and are done once
//! whatever becomes of the connection. Every embedding carries its checksum; whoever listens to the channel of the
//! schema's name is told of changes.

mod address;
mod change;
mod pictures;
mod pool;
mod row;
mod schema;
mod search;
mod socket;
#[cfg(test)]
mod tests;
mod wire;

use super::{
    Embeddings, Example, Facts, Indexed, KnownClass, Location, Nearest, PackedExample, Packing, Seen, State,
    Store, StoreKind, Watch, check_state, check_tower, damaged, damaged_picture,
};
use crate::{Error, Result};
use address::Address;
use change::{Step, change};
use pool::{PATIENCE, Pool};
use row::{Param, Row};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use wire::{Connection, Done, Failure, unexpected};

/// Galleries at addresses.
pub(super) const KIND: StoreKind = StoreKind {
    schemes: &["postgres", "postgresql"],
    exists: |at| {
        let pool = Pool::new(Address::of(at)?);
        pool.run(|connection| schema::exists(connection, &pool.address.schema))
    },
    open: |at| Ok(Box::new(Postgres::open(at)?)),
    create: |at, facts| {
        let pool = Pool::new(Address::of(at)?);
        schema::create(&pool, facts)?;
        Ok(Box::new(Postgres::of(pool)?))
    },
};

/// An open gallery.
struct Postgres {
    pool: Arc<Pool>,
    /// The version that was last seen, and how many were, but for one's own.
    seen: [AtomicI64; 2],
}

impl Postgres {
    fn open(at: &Location) -> Result<Self> {
        Self::of(Pool::new(Address::of(at)?))
    }

    fn of(pool: Pool) -> Result<Self> {
        schema::check(&pool)?;
        let seen = [AtomicI64::new(-1), AtomicI64::new(0)];
        Ok(Self { pool: Arc::new(pool), seen })
    }

    fn change<T>(&self, work: impl FnMut(&mut Connection) -> Done<Step<T>>) -> Result<T> {
        let change = change(&self.pool, work)?;
        // One's own change is none by somebody else, unless one came in between.
        if let Some(version) = change.version {
            let [last, _] = &self.seen;
            let _ = last.compare_exchange(version - 1, version, Ordering::Relaxed, Ordering::Relaxed);
        }
        Ok(change.done)
    }

    /// The facts, as they are in the transaction of this connection.
    fn facts_within(&self, connection: &mut Connection) -> Done<Facts> {
        let json = connection.first("SELECT facts FROM gallery", &[], |row| row.text(0))?;
        serde_json::from_str(&json.ok_or_else(unexpected)?).map_err(|e| {
            let why = "its facts cannot be read; it is damaged";
            Failure::Ours(Error::invalid_because(self.location(), why, e))
        })
    }

    fn facts_json(&self, facts: &Facts) -> Result<String> {
        serde_json::to_string(facts)
            .map_err(|e| Error::invalid_because(self.location(), "its facts cannot be written", e))
    }

    /// Reads several things of one and the same state.
    fn snapshot<T>(&self, read: impl Fn(&mut Connection) -> Done<T>) -> Result<T> {
        self.pool.run(|connection| {
            // The lock first: what replaces all examples is not to come in between.
            connection.run(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; LOCK TABLE examples IN ACCESS SHARE MODE",
            )?;
            let done = read(connection)?;
            connection.run("COMMIT")?;
            Ok(done)
        })
    }
}

impl Store for Postgres {
    fn version(&self) -> Result<i64> {
        let version = self.pool.run(|connection| connection.number("SELECT version FROM gallery", &[]))?;
        let [last, count] = &self.seen;
        let others = i64::from(last.swap(version, Ordering::Relaxed) != version);
        Ok(count.fetch_add(others, Ordering::Relaxed) + others)
    }

    fn facts(&self) -> Result<Facts> {
        self.pool.run(|connection| self.facts_within(connection))
    }

    fn change_facts(&mut self, change: &dyn Fn(&mut Facts)) -> Result<Facts> {
        self.change(|connection| {
            let mut facts = self.facts_within(connection)?;
            change(&mut facts);
            let json = self.facts_json(&facts).map_err(Failure::Ours)?;
            connection.execute("UPDATE gallery SET facts = $1", &[Param::Text(&json)])?;
            Ok(Step::Made(facts))
        })
    }

    /// The number of changes, rather than sums over all examples.
    fn state(&self) -> Result<State> {
        self.pool.run(state_within)
    }

    fn add(&mut self, tower_sha256: &str, examples: &[PackedExample<'_>]) -> Result<u64> {
        self.change(|connection| {
            let facts = self.facts_within(connection)?;
            check_tower(self.location(), &facts, tower_sha256).map_err(Failure::Ours)?;
            let [added, shown] = change::add(connection, examples)?;
            Ok(if added + shown > 0 { Step::Made(added) } else { Step::Nothing(added) })
        })
    }

    fn remove(&mut self, labels: &[String], source: Option<&str>) -> Result<u64> {
        self.change(|connection| {
            let removed = change::remove(connection, labels, source)?;
            Ok(if removed > 0 { Step::Made(removed) } else { Step::Nothing(removed) })
        })
    }

    fn replace(&mut self, facts: &Facts, examples: &[PackedExample<'_>], before: State) -> Result<()> {
        schema::fits(self.location(), facts.dim)?;
        let json = self.facts_json(facts)?;
        self.change(|connection| {
            let now = state_within(connection)?;
            check_state(self.location(), now, before).map_err(Failure::Ours)?;
            change::replace(connection, facts, examples)?;
            connection.execute("UPDATE gallery SET facts = $1", &[Param::Text(&json)])?;
            Ok(Step::Made(()))
        })
    }

    fn seen(&self, label: Option<&str>, most: usize) -> Result<Vec<Seen>> {
        self.pool.run(|connection| pictures::seen(connection, label, most))
    }

    fn picture(&self, id: i64) -> Result<Vec<u8>> {
        let found = self.pool.run(|connection| pictures::bytes(connection, id))?;
        found.ok_or_else(|| damaged_picture(self.location(), id))
    }

    fn classes(&self) -> Result<Vec<KnownClass>> {
        self.pool.run(|connection| {
            let mut known = Vec::new();
            let all = "SELECT label, count(*), min(added_unix_s), max(added_unix_s)
                       FROM examples JOIN classes ON classes.id = class GROUP BY classes.id ORDER BY classes.id";
            connection.each(all, &[], |row| {
                known.push(KnownClass {
                    label: row.text(0)?,
                    examples: row.int(1)?.unsigned_abs(),
                    first_added_unix_s: row.int(2)?,
                    last_added_unix_s: row.int(3)?,
                });
                Ok(())
            })?;
            Ok(known)
        })
    }

    fn embeddings(&self, packing: Packing) -> Result<Embeddings> {
        self.snapshot(|connection| {
            let mut all = Embeddings { numbers: Vec::new(), classes: Vec::new(), labels: Vec::new() };
            connection.each("SELECT id, label FROM classes ORDER BY id", &[], |row| {
                all.labels.push((row.int(0)?, row.text(1)?));
                Ok(())
            })?;
            let examples = "SELECT embedding, crc, class FROM examples ORDER BY id";
            connection.each(examples, &[], |row| {
                let begin = all.numbers.len();
                row.vector(0, &mut all.numbers)?;
                all.classes.push(row.int(2)?);
                self.whole(packing, &all.numbers[begin..], row.int(1)?, all.classes.len())
            })?;
            Ok(all)
        })
    }

    fn examples(&self, packing: Packing) -> Result<Vec<Example>> {
        self.pool.run(|connection| {
            let mut examples = Vec::new();
            let all = "SELECT embedding, crc, label, source, added_unix_s
                       FROM examples JOIN classes ON classes.id = class ORDER BY examples.id";
            connection.each(all, &[], |row| {
                let mut embedding = Vec::with_capacity(packing.dim());
                row.vector(0, &mut embedding)?;
                self.whole(packing, &embedding, row.int(1)?, examples.len() + 1)?;
                let (label, source, added_unix_s) = (row.text(2)?, row.text(3)?, Some(row.int(4)?));
                examples.push(Example { label, embedding, source, added_unix_s });
                Ok(())
            })?;
            Ok(examples)
        })
    }

    fn set_index(&mut self, facts: &Facts, wanted: bool) -> Result<()> {
        if wanted { search::build(&self.pool, facts) } else { search::take_away(&self.pool) }
    }

    fn nearest(&self, facts: &Facts, index: &Indexed) -> Result<Arc<dyn Nearest>> {
        Ok(Arc::new(search::Searcher::new(&self.pool, facts, index)?))
    }

    fn watch(&self) -> Result<Option<Box<dyn Watch>>> {
        Ok(Some(Box::new(Listener { pool: Arc::clone(&self.pool), connection: None })))
    }

    fn location(&self) -> &str {
        &self.pool.address.shown
    }
}

impl Postgres {
    /// That an embedding is what was written.
    fn whole(&self, packing: Packing, embedding: &[f32], checksum: i64, place: usize) -> Done<()> {
        if packing.is_whole(embedding, checksum) {
            return Ok(());
        }
        Err(Failure::Ours(damaged(self.location(), place)))
    }
}

fn state_within(connection: &mut Connection) -> Done<State> {
    let state = |row: &Row| {
        let [examples, stamp] = [row.int(0)?.unsigned_abs(), row.int(1)?.unsigned_abs()];
        Ok(State { examples, sums: [stamp, 0, 0, 0] })
    };
    connection.first("SELECT examples, stamp FROM gallery", &[], state)?.ok_or_else(unexpected)
}

/// Listens to what the server tells of changes, on a connection of its own.
struct Listener {
    pool: Arc<Pool>,
    connection: Option<Connection>,
}

impl Watch for Listener {
    fn wait(&mut self, most: Duration) -> Result<bool> {
        let Some(connection) = &mut self.connection else {
            let since = Instant::now();
            match self.listening() {
                // Whatever was told before nobody heard.
                Ok(connection) => {
                    self.connection = Some(connection);
                    return Ok(true);
                }
                Err(Failure::Lost(_)) => {
                    std::thread::sleep(most.min(PATIENCE).saturating_sub(since.elapsed()));
                    return Ok(false);
                }
                Err(failure) => return Err(self.pool.tell(failure)),
            }
        };
        match connection.wait(most) {
            Ok(told) => Ok(told),
            Err(Failure::Lost(_)) => {
                self.connection = None;
                Ok(false)
            }
            Err(failure) => Err(self.pool.tell(failure)),
        }
    }
}

impl Listener {
    fn listening(&self) -> Done<Connection> {
        let mut connection = self.pool.open()?;
        // The channel has the schema's name, which holds nothing that would have to be escaped.
        connection.run(&format!("LISTEN \"{}\"", self.pool.address.schema))?;
        Ok(connection)
    }
}
