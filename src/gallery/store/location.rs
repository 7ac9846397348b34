//! Where galleries are, as users name them.

use serde::{Serialize, Serializer};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a gallery is: the path of a file, or the address of a database.
///
/// An address may hold a password, which is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Location(PathBuf);

impl Location {
    /// What it is called, without the way to it.
    pub fn name(&self) -> String {
        let Some((_, rest)) = self.address() else {
            return self.0.file_name().unwrap_or_default().to_string_lossy().into_owned();
        };
        let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
        let database = before.rsplit_once('/').map(|(_, name)| name);
        gallery_of(query).or(database).unwrap_or_default().to_string()
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// What stands before `://`; none in the path of a file.
    pub(super) fn scheme(&self) -> Option<&str> {
        self.address().map(|(scheme, _)| scheme)
    }

    /// What stands before and after `://`; none in the path of a file.
    pub(super) fn address(&self) -> Option<(&str, &str)> {
        let (scheme, rest) = self.0.to_str()?.split_once("://")?;
        let is_scheme = !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric());
        is_scheme.then_some((scheme, rest))
    }
}

/// The gallery that an address asks for.
fn gallery_of(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("gallery="))
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.address() else { return self.0.display().fmt(f) };
        write!(f, "{scheme}://")?;
        let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
        // Where an @ follows, the question mark may be of a password that was not escaped.
        if query.contains('@') {
            return f.write_str("…");
        }
        // So may whatever stands before the last @.
        let (user, place) = before.rsplit_once('@').map_or((None, before), |(user, at)| (Some(user), at));
        if let Some(user) = user {
            let name = user.split(':').next().filter(|name| !name.contains(['/', '@']));
            write!(f, "{}@", name.unwrap_or("…"))?;
        }
        f.write_str(place)?;
        gallery_of(query).map_or(Ok(()), |gallery| write!(f, "?gallery={gallery}"))
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

impl Serialize for Location {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<OsString> for Location {
    fn from(typed: OsString) -> Self {
        Self(typed.into())
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        Self(path.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Location {
        Location::from(Path::new(text))
    }

    #[test]
    fn a_location_is_a_file_unless_it_is_an_address() {
        for path in ["g", "a/b.gallery", "C:\\g", "./a://b", "://g"] {
            assert_eq!((at(path).scheme(), at(path).to_string().as_str()), (None, path));
        }
        for (address, name) in [
            ("postgres://me:secret@host/known", "known"),
            ("postgres://host/known?gallery=signs", "signs"),
            ("postgres://host/known?user=me&gallery=signs", "signs"),
        ] {
            assert_eq!((at(address).scheme(), at(address).name().as_str()), (Some("postgres"), name));
        }
    }

    #[test]
    fn passwords_are_never_shown() {
        for (address, shown) in [
            ("postgres://me:secret@host/known", "postgres://me@host/known"),
            ("postgres://me:secret@host:99/known?gallery=g", "postgres://me@host:99/known?gallery=g"),
            ("postgres://host/known?password=secret&gallery=g", "postgres://host/known?gallery=g"),
            ("postgres://me:sec/ret@host/known", "postgres://me@host/known"),
            ("postgres://me:se?c@r/et@host/known", "postgres://…"),
            ("postgres://host/known?user=me@home&password=secret", "postgres://…"),
            ("postgres://host/known?password=sec@ret", "postgres://…"),
            ("postgres://sec/ret@host/known", "postgres://…@host/known"),
        ] {
            assert_eq!(at(address).to_string(), shown);
            assert_eq!(format!("{:?}", at(address)), format!("Location({shown})"));
            assert_eq!(serde_json::to_string(&at(address)).ok(), Some(format!("{shown:?}")));
        }
    }
}
