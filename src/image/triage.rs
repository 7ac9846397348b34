//! The one rule for pictures that cannot be used, whatever is done with them: each is told and counted, the rest
//! is done, and at the end the work counts as failed; or, strictly, the first ends it.

use crate::{Error, Result};
use std::sync::atomic::{AtomicU64, Ordering};

/// Parts pictures that can be used from those that cannot. Threads may share it.
pub struct Triage<'a> {
    /// Who is told of a picture that cannot be used; none where the first ends the work.
    tell: Option<Box<dyn Fn(Error) + Send + Sync + 'a>>,
    pictures: AtomicU64,
    broken: AtomicU64,
}

/// How many pictures there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them.
    pub pictures: u64,
    /// Those that could not be used.
    pub broken: u64,
}

impl<'a> Triage<'a> {
    /// The first picture that cannot be used ends the work.
    pub fn strict() -> Self {
        Self { tell: None, pictures: AtomicU64::new(0), broken: AtomicU64::new(0) }
    }

    /// `tell` is given the error of each picture that cannot be used.
    pub fn lenient(tell: impl Fn(Error) + Send + Sync + 'a) -> Self {
        Self { tell: Some(Box::new(tell)), ..Self::strict() }
    }

    /// Whether the first picture that cannot be used ends the work.
    pub fn is_strict(&self) -> bool {
        self.tell.is_none()
    }

    /// Counts a picture: what was made of it, or none where it is passed over.
    ///
    /// # Errors
    /// The picture's, where that ends the work.
    pub fn keep<T>(&self, picture: Result<T>) -> Result<Option<T>> {
        self.pictures.fetch_add(1, Ordering::Relaxed);
        let error = match picture {
            Ok(made) => return Ok(Some(made)),
            Err(error) => error,
        };
        self.broken.fetch_add(1, Ordering::Relaxed);
        match &self.tell {
            None => Err(error),
            Some(tell) => {
                tell(error);
                Ok(None)
            }
        }
    }

    /// Counts pictures, in order.
    ///
    /// # Errors
    /// As [`Triage::keep`].
    pub fn keep_all<T>(&self, pictures: impl IntoIterator<Item = Result<T>>) -> Result<Vec<T>> {
        pictures.into_iter().filter_map(|picture| self.keep(picture).transpose()).collect()
    }

    /// How many there were so far.
    pub fn tally(&self) -> Tally {
        Tally { pictures: self.pictures.load(Ordering::Relaxed), broken: self.broken.load(Ordering::Relaxed) }
    }

    /// Ends the work.
    ///
    /// # Errors
    /// Where a picture could not be used: all else is done then, and told.
    pub fn end(&self) -> Result<()> {
        let Tally { pictures, broken } = self.tally();
        if broken == 0 {
            return Ok(());
        }
        Err(Error::invalid(format!("{broken} of {pictures} pictures"), "could not be used (see above)"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Mutex;

    fn pictures() -> Vec<Result<u8>> {
        vec![Ok(1), Err(Error::invalid("a.png", "is broken")), Ok(3), Err(Error::invalid("b.png", "too"))]
    }

    #[test]
    fn leniently_each_is_told_and_the_work_counts_as_failed_at_its_end() {
        let told = Mutex::new(Vec::new());
        let triage = Triage::lenient(|error| told.lock().unwrap().push(error.to_string()));
        assert_eq!(triage.keep_all(pictures()).unwrap(), [1, 3]);
        assert_eq!(*told.lock().unwrap(), ["a.png: is broken", "b.png: too"]);
        assert_eq!(triage.tally(), Tally { pictures: 4, broken: 2 });
        assert!(triage.end().unwrap_err().to_string().starts_with("2 of 4 pictures"));
    }

    #[test]
    fn strictly_the_first_ends_the_work() {
        let triage = Triage::strict();
        assert!(triage.keep_all(pictures()).unwrap_err().to_string().contains("a.png"));
        assert_eq!(triage.tally().pictures, 2);
        let triage = Triage::strict();
        assert_eq!((triage.keep(Ok(5)).unwrap(), triage.end().is_ok()), (Some(5), true));
    }
}
