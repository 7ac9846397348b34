//! What an address says: `postgres://user@host:port/database?gallery=NAME`, with what libpq's environment and
//! password file add.

use super::super::Location;
use crate::{Error, Result};
use std::path::PathBuf;
use std::time::Duration;

/// The gallery of an address that names none.
const USUAL: &str = "main";
/// The longest name of a gallery: PostgreSQL's names have at most 63 bytes.
const MAX_NAME: usize = 40;
/// What may stand behind the question mark.
const OPTIONS: &str = "gallery, application_name, host, port, user, password, connect_timeout, sslmode";

/// Where a gallery is, and who asks.
pub(super) struct Address {
    /// A name, an IP address, or the folder of a socket.
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Option<String>,
    pub database: String,
    /// What of the database is this gallery's.
    pub schema: String,
    /// What the server calls the client.
    pub application: String,
    pub connect_timeout: Duration,
    /// The location, as it is shown.
    pub shown: String,
}

impl Address {
    /// # Errors
    /// An address that cannot be understood; what it holds is not told, but for the names of options.
    pub fn of(at: &Location) -> Result<Self> {
        let shown = at.to_string();
        let wrong = |why: &str| Error::invalid(&shown, why);
        let (_, rest) = at.address().ok_or_else(|| wrong("is no address"))?;
        let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (place, database) = before.split_once('/').unwrap_or((before, ""));
        let (user, host) = place.rsplit_once('@').map_or((None, place), |(user, host)| (Some(user), host));
        let (user, password) = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
            Some((user, "")) => (Some(decoded(user)), None),
            Some((user, password)) => (Some(decoded(user)), Some(decoded(password))),
            None => (None, None),
        };
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, Some(port.to_string()))
            }
            _ => (host, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let mut given = Given {
            user: user.transpose().map_err(|()| wrong("its user is not escaped as it must be"))?,
            password: password
                .transpose()
                .map_err(|()| wrong("its password is not escaped as it must be"))?,
            host: decoded(host).map_err(|()| wrong("its host is not escaped as it must be"))?,
            port,
            gallery: USUAL.into(),
            application: "siamese".into(),
            connect_timeout: "5".into(),
        };
        query.split('&').filter(|pair| !pair.is_empty()).try_for_each(|pair| given.option(pair, &wrong))?;
        let database = decoded(database).map_err(|()| wrong("its database is not escaped as it must be"))?;
        given.address(database, shown.clone(), &wrong)
    }
}

/// What was read of an address so far.
struct Given {
    user: Option<String>,
    password: Option<String>,
    host: String,
    port: Option<String>,
    gallery: String,
    application: String,
    connect_timeout: String,
}

impl Given {
    /// Takes `name=value`.
    fn option(&mut self, pair: &str, wrong: &dyn Fn(&str) -> Error) -> Result<()> {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value).map_err(|()| wrong("an option is not escaped as it must be"))?;
        match name {
            "gallery" => self.gallery = value,
            "application_name" => self.application = value,
            "host" => self.host = value,
            "port" => self.port = Some(value),
            "user" => self.user = Some(value),
            "password" => self.password = Some(value),
            "connect_timeout" => self.connect_timeout = value,
            "sslmode" if matches!(value.as_str(), "disable" | "allow" | "prefer") => {}
            "sslmode" => {
                return Err(wrong(
                    "asks for TLS, which this program does not speak; lead the connection through a tunnel \
                     (`ssh -L`, stunnel, a VPN) and give sslmode=disable",
                ));
            }
            name => return Err(wrong(&format!("has the unknown option {name:?}; there are {OPTIONS}"))),
        }
        Ok(())
    }

    fn address(self, database: String, shown: String, wrong: &dyn Fn(&str) -> Error) -> Result<Address> {
        let may = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
        let named = (1..=MAX_NAME).contains(&self.gallery.len()) && self.gallery.bytes().all(may);
        if !named {
            let why = format!("a gallery's name has 1 to {MAX_NAME} of a–z, 0–9, _ and -");
            return Err(wrong(&why));
        }
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let user = self.user.filter(|user| !user.is_empty()).or_else(|| variable("PGUSER"));
        let user = user
            .or_else(|| variable("USER"))
            .ok_or_else(|| wrong("names no user: write postgres://USER@HOST/DATABASE"))?;
        let port = self.port.or_else(|| variable("PGPORT")).unwrap_or_else(|| "5432".into());
        let port = port.parse().map_err(|_| wrong("its port is no number"))?;
        let seconds = self.connect_timeout.parse().ok().filter(|&s| s > 0);
        let seconds = seconds.ok_or_else(|| wrong("connect_timeout is a number of seconds"))?;
        let database = if database.is_empty() { user.clone() } else { database };
        let host = if self.host.is_empty() { "localhost".into() } else { self.host };
        let mut address = Address {
            host,
            port,
            user,
            password: self.password.or_else(|| variable("PGPASSWORD")),
            database,
            schema: format!("siamese_{}", self.gallery),
            application: self.application,
            connect_timeout: Duration::from_secs(seconds),
            shown,
        };
        if address.password.is_none() {
            address.password = password_file().and_then(|text| address.password_in(&text));
        }
        Ok(address)
    }
}

impl Address {
    /// The password that a password file has for this address: the first line `host:port:database:user:password`
    /// that fits, `*` fits all.
    fn password_in(&self, file: &str) -> Option<String> {
        let port = self.port.to_string();
        let host = if self.host.starts_with('/') { "localhost" } else { &self.host };
        let asked = [host, &port, &self.database, &self.user];
        file.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
            let mut fields = fields(line);
            let password = fields.pop()?;
            let fits = fields.len() == 4 && fields.iter().zip(asked).all(|(f, a)| f == "*" || f == a);
            fits.then_some(password)
        })
    }
}

/// The five fields of a line of a password file; a backslash keeps the character after it from having a meaning.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut characters) = (vec![String::new()], line.chars());
    while let Some(c) = characters.next() {
        match c {
            ':' if fields.len() < 5 => fields.push(String::new()),
            '\\' => fields.iter_mut().last().into_iter().for_each(|field| field.extend(characters.next())),
            c => fields.iter_mut().last().into_iter().for_each(|field| field.push(c)),
        }
    }
    fields
}

/// The user's password file, where nobody else can read it: as libpq, which passes over others.
fn password_file() -> Option<String> {
    let named = std::env::var_os("PGPASSFILE").map(PathBuf::from);
    let path = named.or_else(|| Some(dirs::home_dir()?.join(".pgpass")))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if std::fs::metadata(&path).ok()?.permissions().mode() & 0o077 != 0 {
            return None;
        }
    }
    std::fs::read_to_string(path).ok()
}

/// Without its percent signs.
fn decoded(text: &str) -> Result<String, ()> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).ok_or(());
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                (16 * high + low) as u8
            }
            byte => byte,
        });
    }
    // The protocol ends strings by zeros.
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')).ok_or(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::path::Path;

    fn of(text: &str) -> Result<Address> {
        Address::of(&Location::from(Path::new(text)))
    }

    #[test]
    fn addresses_are_read_as_libpq_reads_them() {
        let read =
            of("postgres://me:p%40ss:%2f@db.example:6543/known?gallery=signs-2&connect_timeout=2").unwrap();
        assert_eq!((read.host.as_str(), read.port, read.user.as_str()), ("db.example", 6543, "me"));
        assert_eq!((read.password.as_deref(), read.database.as_str()), (Some("p@ss:/"), "known"));
        assert_eq!((read.schema.as_str(), read.connect_timeout.as_secs()), ("siamese_signs-2", 2));
        let read = of("postgres://me:x@[::1]/known").unwrap();
        assert_eq!((read.host.as_str(), read.port, read.schema.as_str()), ("::1", 5432, "siamese_main"));
        let read = of("postgresql:///known?host=/run/postgresql&user=me&port=1&password=y").unwrap();
        assert_eq!(
            (read.host.as_str(), read.port, read.password.as_deref()),
            ("/run/postgresql", 1, Some("y"))
        );
        assert_eq!(of("postgres://me:x@host").unwrap().database, "me");
    }

    #[test]
    fn what_an_address_cannot_say_is_refused_without_its_password() {
        for (address, words) in [
            ("postgres://me:secret@host/known?gallery=Signs", "a gallery's name has"),
            ("postgres://me:secret@host/known?gallery=", "a gallery's name has"),
            ("postgres://me:secret@host/known?galery=x", "unknown option \"galery\""),
            ("postgres://me:secret@host:port/known", "its port is no number"),
            ("postgres://me:secret%zz@host/known", "its password is not escaped"),
            ("postgres://me:secret@host/known%00", "its database is not escaped"),
            ("postgres://me:secret@host/known?sslmode=verify-full", "asks for TLS"),
            ("postgres://me:secret@host/known?connect_timeout=0", "a number of seconds"),
        ] {
            let said = of(address).err().unwrap().to_string();
            assert!(said.contains(words) && !said.contains("secret"), "{address}: {said}");
        }
    }

    #[test]
    fn a_password_file_is_read_as_libpq_reads_it() {
        let read = of("postgres://me:x@host/known").unwrap();
        for (file, password) in [
            ("host:5432:known:me:one", Some("one")),
            ("# host:5432:known:me:no\nother:*:*:*:no\n*:*:*:me:t\\:w\\\\o:", Some("t:w\\o:")),
            ("host:5433:*:*:no", None),
            ("short:line", None),
        ] {
            assert_eq!(read.password_in(file).as_deref(), password, "{file}");
        }
    }
}
