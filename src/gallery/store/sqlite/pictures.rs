//! Pictures that a gallery in a file keeps: each once, whoever shows it.

use super::super::{PackedExample, Seen};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use sha2::{Digest as _, Sha256};

/// Made with the first picture; programs that do not know them leave them alone.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS pictures (
    id INTEGER PRIMARY KEY,
    sha256 BLOB NOT NULL UNIQUE,
    bytes BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS kept (
    example INTEGER PRIMARY KEY REFERENCES examples (id) ON DELETE CASCADE,
    picture INTEGER NOT NULL REFERENCES pictures (id)
) STRICT;
CREATE INDEX IF NOT EXISTS kept_by ON kept (picture);
";

/// Gives an example that is there the picture of this id, unless it has one.
const LINK: &str = "INSERT INTO kept (example, picture)
    SELECT examples.id, ?4 FROM examples JOIN classes ON classes.id = class
    WHERE label = ?1 AND source = ?2 AND crc = ?3 ON CONFLICT DO NOTHING";

/// Whether any picture was ever kept.
fn has(db: &Connection) -> rusqlite::Result<bool> {
    let tables = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'kept'";
    Ok(db.query_row(tables, [], |row| row.get::<_, i64>(0))? > 0)
}

/// Keeps the pictures that examples bring.
pub(super) fn keep(t: &Transaction<'_>, examples: &[PackedExample<'_>]) -> rusqlite::Result<()> {
    let bring: Vec<_> = examples.iter().filter_map(|e| Some((e, e.picture?))).collect();
    if bring.is_empty() {
        return Ok(());
    }
    t.execute_batch(TABLES)?;
    let mut add = t.prepare("INSERT INTO pictures (sha256, bytes) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
    let mut find = t.prepare("SELECT id FROM pictures WHERE sha256 = ?1")?;
    let mut link = t.prepare(LINK)?;
    for (example, bytes) in bring {
        let hash = Sha256::digest(bytes);
        add.execute(params![&hash[..], bytes])?;
        let id: i64 = find.query_row([&hash[..]], |row| row.get(0))?;
        link.execute(params![example.label, example.source, example.checksum, id])?;
    }
    // What an example has already stays.
    sweep(t)
}

/// Of each example the id of its picture, in the order of enrolment.
pub(super) fn links(t: &Transaction<'_>) -> rusqlite::Result<Vec<Option<i64>>> {
    if !has(t)? {
        return Ok(Vec::new());
    }
    let all = "SELECT picture FROM examples LEFT JOIN kept ON example = examples.id ORDER BY examples.id";
    t.prepare(all)?.query_map([], |row| row.get(0))?.collect()
}

/// Gives each of these examples the picture of its place.
pub(super) fn link(
    t: &Transaction<'_>,
    examples: &[PackedExample<'_>],
    pictures: &[Option<i64>],
) -> rusqlite::Result<()> {
    let mut link = t.prepare(LINK)?;
    for (example, picture) in examples.iter().zip(pictures) {
        if let Some(id) = picture {
            link.execute(params![example.label, example.source, example.checksum, id])?;
        }
    }
    drop(link);
    sweep(t)
}

/// Takes pictures away that no example has any more.
pub(super) fn sweep(t: &Transaction<'_>) -> rusqlite::Result<()> {
    if has(t)? {
        t.execute("DELETE FROM pictures WHERE id NOT IN (SELECT picture FROM kept)", [])?;
    }
    Ok(())
}

/// A picture, where it is there and is what was written.
pub(super) fn bytes(db: &Connection, id: i64) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut select = db.prepare_cached("SELECT bytes, sha256 FROM pictures WHERE id = ?1")?;
    let read = |row: &Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?));
    let found = select.query_row([id], read).optional()?;
    Ok(found.filter(|(bytes, hash)| Sha256::digest(bytes)[..] == hash[..]).map(|(bytes, _)| bytes))
}

/// Examples without their embeddings, in the order of enrolment.
pub(super) fn seen(db: &Connection, label: Option<&str>, most: usize) -> rusqlite::Result<Vec<Seen>> {
    let (picture, kept) = match has(db)? {
        true => ("picture", "LEFT JOIN kept ON example = examples.id"),
        false => ("NULL", ""),
    };
    let of_class =
        if label.is_some() { "class = (SELECT id FROM classes WHERE label = ?1)" } else { "?1 IS NULL" };
    let select = format!(
        "SELECT source, added_unix_s, {picture} FROM examples {kept} WHERE {of_class}
         ORDER BY examples.id LIMIT ?2"
    );
    let seen =
        |row: &Row<'_>| Ok(Seen { source: row.get(0)?, added_unix_s: row.get(1)?, picture: row.get(2)? });
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    db.prepare_cached(&select)?.query_map(params![label, most], seen)?.collect()
}
