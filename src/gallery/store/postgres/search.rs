//! Nearest examples by pgvector's HNSW index (Malkov and Yashunin 2018), and by a scan.
//!
//! Of both only the order is used: which distance an example has, and whether it is what was written, is found
//! here again.

use super::super::{Candidates, NearRow, Nearest, Packing, Width, rounding};
use super::change::{Step, change};
use super::pool::Pool;
use super::row::{Param, Row};
use super::wire::{Connection, Done, Failure};
use crate::gallery::{Facts, Indexed};
use crate::tower::Distance;
use crate::{Error, Result};
use std::sync::Arc;

/// The index that searches use.
pub(super) const INDEX: &str = "nearest";
/// One that is being made.
const NEXT: &str = "nearest_next";
/// The most numbers of an embedding whose index holds float32.
const MAX_SINGLE: usize = 2_000;
/// The most numbers of an embedding whose index holds float16.
const MAX_HALF: usize = 4_000;
/// The first pgvector whose index is read on until there is enough.
const NEEDED: [u32; 2] = [0, 8];
/// Neighbours of an example in the index, and how many are looked at to choose them: recall at a million costs
/// little more than with pgvector's 64.
const SHAPE: [u32; 2] = [16, 128];
/// The most memory that building an index asks the server for, bytes: above, it is built on disk, slowly.
const MAX_MEMORY: usize = 4 << 30;

/// The rounding of distances of float16: of both numbers of a difference.
const HALF: f64 = 1.0 / 512.0;

/// How a distance is written in SQL.
struct Words {
    operator: &'static str,
    class: &'static str,
}

/// None for a distance that pgvector does not know.
fn words(distance: &Distance) -> Option<Words> {
    let (operator, class) = match distance {
        Distance::L1 => ("<+>", "l1_ops"),
        Distance::L2 => ("<->", "l2_ops"),
        Distance::Cosine => ("<=>", "cosine_ops"),
        Distance::WeightedL1 { .. } => return None,
    };
    Some(Words { operator, class })
}

/// The expression that is indexed, and the name of its type; none where there are too many numbers.
fn indexed(dim: usize) -> Option<(String, &'static str)> {
    match dim {
        dim if dim <= MAX_SINGLE => Some(("embedding".into(), "vector")),
        dim if dim <= MAX_HALF => Some((format!("embedding::halfvec({dim})"), "halfvec")),
        _ => None,
    }
}

/// Makes the index while others read and write, then puts it in the place of the one of before, in one step.
pub(super) fn build(pool: &Pool, facts: &Facts) -> Result<()> {
    let at = &pool.address.shown;
    let Some(Words { class, .. }) = words(&facts.distance) else {
        let why = format!(
            "has the distance {}, of which pgvector has no index; it is scanned",
            facts.distance.name()
        );
        return Err(Error::invalid(at, why));
    };
    let Some((expression, kind)) = indexed(facts.dim) else {
        let why = format!("has embeddings of {} numbers; an index takes at most {MAX_HALF}", facts.dim);
        return Err(Error::invalid(at, why));
    };
    let [m, construction] = SHAPE;
    pool.run(|connection| {
        check_version(connection, at)?;
        make_room(connection, facts.dim)?;
        connection.run(&format!("DROP INDEX IF EXISTS {NEXT}"))?;
        connection.run(&format!(
            "CREATE INDEX CONCURRENTLY {NEXT} ON examples USING hnsw (({expression}) {kind}_{class})
             WITH (m = {m}, ef_construction = {construction})"
        ))?;
        connection.run("ANALYZE examples")
    })?;
    change(pool, |connection| {
        connection.run(&format!("DROP INDEX IF EXISTS {INDEX}; ALTER INDEX {NEXT} RENAME TO {INDEX}"))?;
        Ok(Step::Made(()))
    })?;
    Ok(())
}

/// Takes the index away, and what is left of one that was never finished.
pub(super) fn take_away(pool: &Pool) -> Result<()> {
    change(pool, |connection| {
        connection.run(&format!("DROP INDEX IF EXISTS {INDEX}; DROP INDEX IF EXISTS {NEXT}"))?;
        Ok(Step::Made(()))
    })?;
    Ok(())
}

fn check_version(connection: &mut Connection, at: &str) -> Done<()> {
    let version = "SELECT extversion FROM pg_extension WHERE extname = 'vector'";
    let version = connection.first(version, &[], |row| row.text(0))?.unwrap_or_default();
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    let has = [parts.next().unwrap_or(0), parts.next().unwrap_or(0)];
    if has >= NEEDED {
        return Ok(());
    }
    let what = format!("the PostgreSQL server of {at} has pgvector {version}, and an index needs 0.8");
    Err(Failure::Ours(Error::missing(what, "update it there, and run ALTER EXTENSION vector UPDATE")))
}

/// Lets the server keep the whole index in memory while it is built, where it is not too large for that.
fn make_room(connection: &mut Connection, dim: usize) -> Done<()> {
    let examples = connection.number("SELECT examples FROM gallery", &[])?;
    let [m, _] = SHAPE;
    let each = 4 * dim + 16 * 2 * m as usize + 256;
    let needed = (each * examples.unsigned_abs() as usize).min(MAX_MEMORY) as i64;
    let set = "SELECT length(set_config('maintenance_work_mem', greatest(
                   pg_size_bytes(current_setting('maintenance_work_mem')), $1::int8) / 1024 || 'kB', false))::int8";
    connection.number(set, &[Param::Int(needed)]).map(|_| ())
}

/// Searches a gallery; many may at once, each over a connection of its own.
pub(super) struct Searcher {
    pool: Arc<Pool>,
    packing: Packing,
    distance: Distance,
    dim: usize,
    ef_search: u32,
    classes: usize,
    examples: usize,
    operator: &'static str,
    /// What is indexed, in float16 or not.
    expression: String,
    half: bool,
}

impl Searcher {
    pub fn new(pool: &Arc<Pool>, facts: &Facts, index: &Indexed) -> Result<Self> {
        let (Some(words), Some((expression, kind))) = (words(&facts.distance), indexed(facts.dim)) else {
            return Err(Error::invalid(&pool.address.shown, "has no index"));
        };
        let (classes, examples) = pool.run(|connection| {
            let read = |row: &Row| Ok((row.int(0)?, row.int(1)?));
            let sizes = "SELECT (SELECT count(*) FROM classes), examples FROM gallery";
            connection.first(sizes, &[], read).map(Option::unwrap_or_default)
        })?;
        Ok(Self {
            pool: Arc::clone(pool),
            packing: Packing::of(facts),
            distance: facts.distance.clone(),
            dim: facts.dim,
            ef_search: index.ef_search,
            classes: classes.unsigned_abs() as usize,
            examples: examples.unsigned_abs() as usize,
            operator: words.operator,
            half: kind == "halfvec",
            expression,
        })
    }

    /// The nearest `k` examples by the index; of each class those that are nearest but for rounding.
    fn by_index(&self, k: usize) -> String {
        let Self { operator, expression, .. } = self;
        let cast = if self.half { format!("::halfvec({})", self.dim) } else { String::new() };
        format!(
            "WITH near AS MATERIALIZED (
                 SELECT id, class, embedding, crc, embedding {operator} $1::vector AS d FROM examples
                 ORDER BY {expression} {operator} $1::vector{cast} LIMIT {k}
             ), told AS (
                 SELECT *, min(d) OVER (PARTITION BY class) AS least, max(d) OVER () AS far, count(*) OVER () AS n
                 FROM near
             )
             SELECT told.id, class, label, embedding, crc, far, n FROM told JOIN classes ON classes.id = class
             WHERE d <= least + {slack:e} * (1 + abs(least))",
            slack = rounding(self.dim)
        )
    }

    /// The nearest `k` classes by all examples. pgvector has no cosine distance of what has no direction; it is 1.
    fn by_scan(&self, k: usize) -> String {
        let d = format!("coalesce(nullif(embedding {} $1::vector, 'NaN'), 1)", self.operator);
        format!(
            "WITH near AS MATERIALIZED (
                 SELECT class, min({d}) AS least FROM examples GROUP BY class ORDER BY least LIMIT {k}
             )
             SELECT e.id, class, label, embedding, crc, (SELECT max(least) FROM near), (SELECT count(*) FROM near)
             FROM near JOIN examples e USING (class) JOIN classes ON classes.id = class
             WHERE {d} <= least + {slack:e} * (1 + abs(least))",
            slack = rounding(self.dim)
        )
    }

    fn ask(&self, connection: &mut Connection, query: &[f32], width: Width) -> Done<Candidates> {
        let sql = match width {
            Width::Examples(k) => {
                self.settle(connection)?;
                self.by_index(k)
            }
            Width::Classes(k) => self.by_scan(k),
        };
        let (mut rows, mut far, mut met) = (Vec::new(), f64::INFINITY, 0);
        connection.each(&sql, &[Param::Vector(query)], |row| {
            let mut embedding = Vec::with_capacity(self.dim);
            row.vector(3, &mut embedding)?;
            let (id, label) = (row.int(0)?, row.text(2)?);
            if !self.packing.is_whole(&embedding, row.int(4)?) {
                let why = format!(
                    "the example {id}, of {label:?}, is damaged (its checksum differs); restore the gallery from a copy"
                );
                return Err(Failure::Ours(Error::invalid(&self.pool.address.shown, why)));
            }
            rows.push(NearRow { id, class: row.int(1)?, label, embedding });
            (far, met) = (row.real(5)?, row.int(6)?.unsigned_abs() as usize);
            Ok(())
        })?;
        let reach = match width {
            // All were met, so that there is nothing beyond.
            Width::Examples(_) if met >= self.examples => f64::INFINITY,
            Width::Classes(k) if met < k => f64::INFINITY,
            Width::Examples(_) => self.seen(far),
            Width::Classes(_) => far,
        };
        Ok(Candidates { rows, reach })
    }

    /// What an index that led as far as this has shown: less where it is in float16, and by the cosine not what has
    /// no direction, whose distance is 1.
    fn seen(&self, far: f64) -> f64 {
        let far = if self.half { far - HALF * far.abs() } else { far };
        if self.distance == Distance::Cosine { far.min(1.0) } else { far }
    }

    /// Has this connection search as wide as the gallery asks, in the order of distances, to the end.
    fn settle(&self, connection: &mut Connection) -> Done<()> {
        if connection.ef_search == Some(self.ef_search) {
            return Ok(());
        }
        connection.run(&format!(
            "SET hnsw.ef_search = {}; SET hnsw.iterative_scan = strict_order",
            self.ef_search
        ))?;
        connection.ef_search = Some(self.ef_search);
        Ok(())
    }
}

impl Nearest for Searcher {
    fn classes(&self) -> usize {
        self.classes
    }

    fn candidates(&self, query: &[f32], width: Width) -> Result<Candidates> {
        self.pool.run(|connection| self.ask(connection, query, width))
    }
}
