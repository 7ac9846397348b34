//! Which kernels towers run on.

use super::kernels::Kernels;
use crate::{Error, Result};
use std::ffi::OsStr;

/// The environment variable that names kernels.
pub const VARIABLE: &str = "SIAMESE_KERNELS";

/// Its value by which nothing is lowered.
pub const NONE: &str = "none";

/// The kernels that `SIAMESE_KERNELS` names, else the fastest of this CPU: so that each set can be tried and
/// measured on a CPU that has better ones. None where nothing is to be lowered, so that tract's own operators can be.
///
/// # Errors
/// A name of kernels that this CPU does not have.
pub fn kernels() -> Result<Option<&'static Kernels>> {
    match std::env::var_os(VARIABLE) {
        Some(name) if !name.is_empty() => named(&name, VARIABLE),
        _ => Ok(Some(Kernels::best())),
    }
}

/// The kernels of this name, as [`kernels`] takes it; `whose` says in messages where the name stands.
///
/// # Errors
/// A name of kernels that this CPU does not have.
pub fn named(name: &OsStr, whose: &str) -> Result<Option<&'static Kernels>> {
    if name == NONE {
        return Ok(None);
    }
    let all = Kernels::all();
    all.iter().copied().find(|kernels| name == kernels.name).map(Some).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|kernels| kernels.name).collect();
        let why = format!(
            "this processor has no kernels {}; it has {}, and {NONE} leaves all to tract's own operators",
            name.display(),
            names.join(", ")
        );
        Error::invalid(whose, why)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_set_can_be_named_and_what_is_not_there_is_refused_with_what_is() {
        for kernels in Kernels::all() {
            assert_eq!(named(OsStr::new(kernels.name), VARIABLE).unwrap().unwrap().name, kernels.name);
        }
        assert!(named(OsStr::new(NONE), VARIABLE).unwrap().is_none());
        let error = named(OsStr::new("abacus"), "--kernels").unwrap_err().to_string();
        assert!(error.contains("--kernels") && error.contains("abacus"), "{error}");
        assert!(Kernels::all().iter().all(|kernels| error.contains(kernels.name)), "{error}");
    }
}
