//! Pictures that a gallery in a database keeps: each once, whoever shows it.

use super::super::Seen;
use super::row::{Param, Row};
use super::wire::{Connection, Done};
use sha2::{Digest as _, Sha256};

/// Made with the first picture.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS pictures (
        id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        sha256 bytea NOT NULL UNIQUE,
        bytes bytea NOT NULL
    );
    CREATE TABLE IF NOT EXISTS kept (
        example int8 PRIMARY KEY REFERENCES examples (id) ON DELETE CASCADE,
        picture int8 NOT NULL REFERENCES pictures (id)
    );
    CREATE INDEX IF NOT EXISTS kept_by ON kept (picture)";

/// Whether any picture was ever kept.
fn has(connection: &mut Connection) -> Done<bool> {
    let table = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                 WHERE nspname = current_schema() AND relname = 'kept'";
    Ok(connection.number(table, &[])? > 0)
}

/// Keeps the pictures of `incoming`, whose examples are there by now; tells how many examples got one.
pub(super) fn keep(connection: &mut Connection) -> Done<u64> {
    if connection.number("SELECT count(picture) FROM incoming", &[])? == 0 {
        return Ok(0);
    }
    if !has(connection)? {
        connection.run(TABLES)?;
    }
    connection.execute(
        "INSERT INTO pictures (sha256, bytes)
         SELECT DISTINCT ON (sha256(picture)) sha256(picture), picture FROM incoming WHERE picture IS NOT NULL
         ON CONFLICT DO NOTHING",
        &[],
    )?;
    let got = connection.execute(
        "INSERT INTO kept (example, picture)
         SELECT DISTINCT ON (e.id) e.id, p.id FROM incoming i
         JOIN classes c USING (label) JOIN examples e ON (e.class, e.crc, e.source) = (c.id, i.crc, i.source)
         JOIN pictures p ON p.sha256 = sha256(i.picture)
         ORDER BY e.id, place ON CONFLICT DO NOTHING",
        &[],
    )?;
    // What an example has already stays.
    sweep(connection)?;
    Ok(got)
}

/// Sets aside which picture belongs to which example, by their places in the order of enrolment; then all examples may
/// go. Tells whether there is any.
pub(super) fn set_aside(connection: &mut Connection) -> Done<bool> {
    if !has(connection)? {
        return Ok(false);
    }
    connection.run(
        "CREATE TEMPORARY TABLE aside ON COMMIT DROP AS
         SELECT row_number() OVER (ORDER BY e.id) - 1 AS place, picture
         FROM examples e LEFT JOIN kept ON example = e.id",
    )?;
    Ok(true)
}

/// Gives the examples of `incoming` the pictures that were set aside for their places.
pub(super) fn take_back(connection: &mut Connection) -> Done<()> {
    connection.execute(
        "INSERT INTO kept (example, picture)
         SELECT DISTINCT ON (e.id) e.id, a.picture FROM incoming i JOIN aside a USING (place)
         JOIN classes c USING (label) JOIN examples e ON (e.class, e.crc, e.source) = (c.id, i.crc, i.source)
         WHERE a.picture IS NOT NULL ORDER BY e.id, place ON CONFLICT DO NOTHING",
        &[],
    )?;
    sweep(connection)
}

/// Takes pictures away that no example has any more.
pub(super) fn sweep(connection: &mut Connection) -> Done<()> {
    if has(connection)? {
        let gone = "DELETE FROM pictures p WHERE NOT EXISTS (SELECT FROM kept WHERE picture = p.id)";
        connection.execute(gone, &[])?;
    }
    Ok(())
}

/// A picture, where it is there and is what was written.
pub(super) fn bytes(connection: &mut Connection, id: i64) -> Done<Option<Vec<u8>>> {
    let select = "SELECT bytes, sha256 FROM pictures WHERE id = $1::int8";
    let read = |row: &Row| Ok((row.bytes(0)?.to_vec(), row.bytes(1)?.to_vec()));
    let found = connection.first(select, &[Param::Int(id)], read)?;
    Ok(found.filter(|(bytes, hash)| Sha256::digest(bytes)[..] == hash[..]).map(|(bytes, _)| bytes))
}

/// Examples without their embeddings, in the order of enrolment.
pub(super) fn seen(connection: &mut Connection, label: Option<&str>, most: usize) -> Done<Vec<Seen>> {
    let (picture, kept) = match has(connection)? {
        true => ("coalesce(picture, 0)", "LEFT JOIN kept ON example = e.id"),
        false => ("0::int8", ""),
    };
    let of_class = match label {
        Some(_) => "class = (SELECT id FROM classes WHERE label = $1)",
        None => "$1::text IS NULL",
    };
    let select = format!(
        "SELECT source, added_unix_s, {picture} FROM examples e {kept} WHERE {of_class} ORDER BY e.id LIMIT $2::int8"
    );
    let most = Param::Int(i64::try_from(most).unwrap_or(i64::MAX));
    let mut all = Vec::new();
    connection.each(&select, &[Param::Maybe(label), most], |row| {
        // Ids begin at 1.
        let picture = Some(row.int(2)?).filter(|&id| id > 0);
        all.push(Seen { source: row.text(0)?, added_unix_s: row.int(1)?, picture });
        Ok(())
    })?;
    Ok(all)
}
