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
    named(std::env::var_os(VARIABLE).as_deref())
}

fn named(name: Option<&OsStr>) -> Result<Option<&'static Kernels>> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(Some(Kernels::best())) };
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
        Error::invalid(VARIABLE, why)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_set_can_be_named_and_what_is_not_there_is_refused_with_what_is() {
        for kernels in Kernels::all() {
            assert_eq!(named(Some(OsStr::new(kernels.name))).unwrap().unwrap().name, kernels.name);
        }
        for none in [None, Some(OsStr::new(""))] {
            assert_eq!(named(none).unwrap().unwrap().name, Kernels::best().name);
        }
        assert!(named(Some(OsStr::new(NONE))).unwrap().is_none());
        let error = named(Some(OsStr::new("abacus"))).unwrap_err().to_string();
        assert!(error.contains("SIAMESE_KERNELS") && error.contains("abacus"), "{error}");
        assert!(Kernels::all().iter().all(|kernels| error.contains(kernels.name)), "{error}");
    }
}
