//! The tables of a gallery: a schema of the database, made when it is first used.

use super::pool::Pool;
use super::row::Param;
use super::wire::{Connection, Done, Failure};
use crate::gallery::Facts;
use crate::{Error, Result};

/// The version of the tables below.
const FORMAT: i64 = 1;
/// The most numbers of pgvector's `vector`.
const MAX_DIM: usize = 16_000;
/// A lock for those who make galleries, of all databases' numbers: `SIAM`.
const MAKING: i64 = 0x5349_414D;

/// `version` counts changes, `stamp` those of the examples; `changes` are the last ones, so that a client whose
/// connection was lost while it committed can tell whether it did.
fn tables(dim: usize) -> String {
    format!(
        "CREATE TABLE gallery (
             one int8 PRIMARY KEY DEFAULT 1 CHECK (one = 1),
             format int8 NOT NULL,
             version int8 NOT NULL DEFAULT 0,
             examples int8 NOT NULL DEFAULT 0,
             stamp int8 NOT NULL DEFAULT 0,
             facts text NOT NULL
         );
         CREATE TABLE classes (
             id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
             label text COLLATE \"C\" NOT NULL UNIQUE
         );
         CREATE TABLE examples (
             id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
             class int8 NOT NULL REFERENCES classes (id),
             embedding vector({dim}) NOT NULL,
             crc int8 NOT NULL,
             source text NOT NULL,
             added_unix_s int8 NOT NULL
         );
         CREATE UNIQUE INDEX same ON examples (class, crc, md5(source));
         CREATE TABLE changes (version int8 PRIMARY KEY, token uuid NOT NULL UNIQUE)"
    )
}

/// Whether there is a gallery.
pub(super) fn exists(connection: &mut Connection, schema: &str) -> Done<bool> {
    let table = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                 WHERE nspname = $1 AND relname = 'gallery'";
    Ok(connection.number(table, &[Param::Text(schema)])? > 0)
}

/// That there is a gallery, of a version that this program reads.
pub(super) fn check(pool: &Pool) -> Result<()> {
    let at = &pool.address.shown;
    let format = pool.run(|connection| {
        if !exists(connection, &pool.address.schema)? {
            let what = format!("cannot open the gallery {at}");
            let why = "there is none; `siamese enroll GALLERY PICTURES` makes one";
            return Err(Failure::Ours(Error::invalid(what, why)));
        }
        connection.number("SELECT format FROM gallery", &[])
    })?;
    if format == FORMAT {
        return Ok(());
    }
    let why = format!("is a gallery of format {format}; this program reads format {FORMAT}");
    Err(Error::invalid(at, why))
}

/// Makes a gallery with these facts where there is none, in one step.
pub(super) fn create(pool: &Pool, facts: &Facts) -> Result<()> {
    let (at, schema) = (&pool.address.shown, &pool.address.schema);
    fits(at, facts.dim)?;
    let json = serde_json::to_string(facts)
        .map_err(|e| Error::invalid_because(at, "its facts cannot be written", e))?;
    pool.run(|connection| {
        if exists(connection, schema)? {
            return Ok(());
        }
        connection.run("BEGIN")?;
        connection.number("SELECT count(*) FROM pg_advisory_xact_lock($1::int8)", &[Param::Int(MAKING)])?;
        if exists(connection, schema)? {
            return connection.run("ROLLBACK");
        }
        // A schema's name holds nothing that would have to be escaped.
        let made = format!(
            "CREATE EXTENSION IF NOT EXISTS vector SCHEMA public; CREATE SCHEMA IF NOT EXISTS \"{schema}\""
        );
        let done = connection.run(&made).and_then(|()| {
            pool.name(connection)?;
            connection.run(&tables(facts.dim))?;
            let first = "INSERT INTO gallery (format, facts) VALUES ($1::int8, $2)";
            connection.execute(first, &[Param::Int(FORMAT), Param::Text(&json)])
        });
        match done {
            Ok(_) => connection.run("COMMIT"),
            Err(failure @ Failure::Lost(_)) => Err(failure),
            Err(failure) => connection.run("ROLLBACK").and(Err(failure)),
        }
    })
}

/// That embeddings of so many numbers can be kept.
pub(super) fn fits(at: &str, dim: usize) -> Result<()> {
    if dim <= MAX_DIM {
        return Ok(());
    }
    let why = format!(
        "cannot hold embeddings of {dim} numbers: pgvector's have at most {MAX_DIM}; keep it in a file"
    );
    Err(Error::invalid(at, why))
}
