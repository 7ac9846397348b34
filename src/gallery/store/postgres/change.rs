//! Changes: each one transaction, which is done once whatever becomes of the connection.

use super::super::PackedExample;
use super::pictures;
use super::pool::Pool;
use super::row::{Param, put_field};
use super::wire::{Connection, Done, Failure, unexpected};
use crate::Result;
use crate::gallery::Facts;
use bytes::{BufMut as _, BytesMut};

/// Changes that are remembered: more than there can be clients whose connections are lost at once.
const REMEMBERED: i64 = 1000;

/// What a change came to.
pub(super) struct Change<T> {
    pub done: T,
    /// The version that it made; none where nothing was changed.
    pub version: Option<i64>,
}

/// What there is to do in a transaction.
pub(super) enum Step<T> {
    /// It was done.
    Made(T),
    /// There was nothing to change.
    Nothing(T),
}

/// Changes the gallery in a transaction that no other writer can interleave with.
///
/// Where the connection is lost before the server has said that it committed, the work is done again; but where
/// it is lost in the middle of the commit, the gallery's list of changes is asked first whether it was done.
pub(super) fn change<T>(
    pool: &Pool,
    work: impl FnMut(&mut Connection) -> Done<Step<T>>,
) -> Result<Change<T>> {
    change_with(pool, work, |connection| connection.run("COMMIT"))
}

/// [`change`], committed in a way of one's own.
pub(super) fn change_with<T>(
    pool: &Pool,
    mut work: impl FnMut(&mut Connection) -> Done<Step<T>>,
    mut commit: impl FnMut(&mut Connection) -> Done<()>,
) -> Result<Change<T>> {
    let mut unsure: Option<(String, Change<T>)> = None;
    pool.run(|connection| {
        connection.run("BEGIN")?;
        let made = write(connection, &pool.address.schema, &mut unsure, &mut work);
        match made {
            Ok(Written::Committing(token, change)) => {
                unsure = Some((token, change));
                commit(connection).inspect_err(|failure| {
                    if !matches!(failure, Failure::Lost(_)) {
                        unsure = None;
                    }
                })?;
                unsure.take().map(|(_, change)| change).ok_or_else(unexpected)
            }
            Ok(Written::Nothing(change)) => connection.run("ROLLBACK").map(|()| change),
            Err(failure @ Failure::Lost(_)) => Err(failure),
            Err(failure) => connection.run("ROLLBACK").and(Err(failure)),
        }
    })
}

enum Written<T> {
    Committing(String, Change<T>),
    Nothing(Change<T>),
}

fn write<T>(
    connection: &mut Connection,
    schema: &str,
    unsure: &mut Option<(String, Change<T>)>,
    work: &mut impl FnMut(&mut Connection) -> Done<Step<T>>,
) -> Done<Written<T>> {
    // Waits for other writers, and for our own transaction of before, should it still run.
    let version = connection.number("UPDATE gallery SET version = version + 1 RETURNING version", &[])?;
    if let Some((token, change)) = unsure.take() {
        let known = "SELECT count(*) FROM changes WHERE token = $1::text::uuid";
        if connection.number(known, &[Param::Text(&token)])? > 0 {
            return Ok(Written::Nothing(change));
        }
    }
    let done = match work(connection)? {
        Step::Made(done) => done,
        Step::Nothing(done) => return Ok(Written::Nothing(Change { done, version: None })),
    };
    let remember = "INSERT INTO changes VALUES ($1::int8, gen_random_uuid()) RETURNING token::text";
    let token =
        connection.first(remember, &[Param::Int(version)], |row| row.text(0))?.ok_or_else(unexpected)?;
    connection
        .execute("DELETE FROM changes WHERE version <= $1::int8", &[Param::Int(version - REMEMBERED)])?;
    connection.execute("SELECT 1::int8 FROM pg_notify($1, '')", &[Param::Text(schema)])?;
    Ok(Written::Committing(token, Change { done, version: Some(version) }))
}

/// Adds examples, their classes and their pictures; tells how many were added, and how many got a picture.
pub(super) fn add(connection: &mut Connection, examples: &[PackedExample<'_>]) -> Done<[u64; 2]> {
    let added = insert(connection, examples)?;
    Ok([added, pictures::keep(connection)?])
}

/// Adds examples and their classes; tells how many were added.
fn insert(connection: &mut Connection, examples: &[PackedExample<'_>]) -> Done<u64> {
    connection.run(
        "CREATE TEMPORARY TABLE IF NOT EXISTS incoming (
             place int8, label text COLLATE \"C\", embedding vector, crc int8, source text, added_unix_s int8,
             picture bytea
         ) ON COMMIT DELETE ROWS",
    )?;
    let copy = "COPY incoming FROM STDIN BINARY";
    connection.copy(copy, examples, |example, place, out: &mut BytesMut| {
        out.put_i16(7);
        put_field(&Param::Int(place as i64), out);
        put_field(&Param::Text(example.label), out);
        put_field(&Param::Vector(example.embedding), out);
        put_field(&Param::Int(example.checksum.into()), out);
        put_field(&Param::Text(example.source), out);
        put_field(&Param::Int(example.added_unix_s), out);
        put_field(&Param::Bytes(example.picture), out);
    })?;
    connection.execute(
        "INSERT INTO classes (label) SELECT label FROM incoming i
         WHERE NOT EXISTS (SELECT FROM classes c WHERE c.label = i.label) GROUP BY label ORDER BY min(place)",
        &[],
    )?;
    let added = connection.execute(
        "INSERT INTO examples (class, embedding, crc, source, added_unix_s)
         SELECT classes.id, embedding, crc, source, added_unix_s FROM incoming JOIN classes USING (label)
         ORDER BY place ON CONFLICT DO NOTHING",
        &[],
    )?;
    let counted = "UPDATE gallery SET examples = examples + $1::int8, stamp = stamp + 1";
    if added > 0 {
        connection.execute(counted, &[Param::Int(added as i64)])?;
    }
    Ok(added)
}

/// Removes classes, or only their examples from one source; tells how many examples went.
pub(super) fn remove(connection: &mut Connection, labels: &[String], source: Option<&str>) -> Done<u64> {
    let mut removed = 0;
    for label in labels {
        removed += connection.execute(
            "DELETE FROM examples WHERE class = (SELECT id FROM classes WHERE label = $1)
             AND ($2::text IS NULL OR source = $2)",
            &[Param::Text(label), Param::Maybe(source)],
        )?;
    }
    connection
        .execute("DELETE FROM classes c WHERE NOT EXISTS (SELECT FROM examples WHERE class = c.id)", &[])?;
    pictures::sweep(connection)?;
    let counted = "UPDATE gallery SET examples = examples - $1::int8, stamp = stamp + 1";
    connection.execute(counted, &[Param::Int(removed as i64)])?;
    Ok(removed)
}

/// Puts these examples in the place of all others, of another dimension perhaps.
pub(super) fn replace(
    connection: &mut Connection,
    facts: &Facts,
    examples: &[PackedExample<'_>],
) -> Done<()> {
    let kept = pictures::set_aside(connection)?;
    let also = if kept { ", kept" } else { "" };
    connection.run(&format!(
        "DROP INDEX IF EXISTS {}; TRUNCATE examples, classes{also}; UPDATE gallery SET examples = 0;
         ALTER TABLE examples ALTER COLUMN embedding TYPE vector({})",
        super::search::INDEX,
        facts.dim
    ))?;
    insert(connection, examples)?;
    if kept { pictures::take_back(connection) } else { Ok(()) }
}
