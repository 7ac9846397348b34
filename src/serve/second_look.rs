//! A second look at the nearest classes of a request's pictures.

use super::answers::Answered;
use super::recogniser::RequestError;
use crate::Result;
use crate::gallery::{Again, Answer, Asked, Picture};
use crate::image;
use crate::second_look::SecondLook;
use crate::tower::TowerSpec;
use ndarray::{ArrayView2, ArrayView3};
use std::sync::{Mutex, PoisonError};

/// What looks again, one request at a time.
pub(super) struct Second {
    look: Mutex<SecondLook>,
    other: Option<TowerSpec>,
}

impl Second {
    pub fn by(look: SecondLook) -> Self {
        Self { other: look.other().cloned(), look: Mutex::new(look) }
    }

    /// The other tower, where there is one.
    pub fn other(&self) -> Option<&TowerSpec> {
        self.other.as_ref()
    }

    /// Puts the nearest classes of pictures in order anew, each given as its file and as the tower sees it; the `top`
    /// nearest are told. `kept` reads the gallery's picture of a number.
    ///
    /// # Errors
    /// A class of which no picture was kept, which is the gallery's fault as it is now.
    pub fn look(
        &self,
        again: &Mutex<Again>,
        pictures: &[(&[u8], ArrayView3<'_, u8>)],
        embeddings: ArrayView2<'_, f32>,
        (answers, top): (Vec<Answer>, usize),
        kept: impl Fn(i64) -> Result<Picture>,
    ) -> Result<Vec<Answered>, RequestError> {
        let mut look = self.look.lock().unwrap_or_else(PoisonError::into_inner);
        let mut again = again.lock().unwrap_or_else(PoisonError::into_inner);
        let inks: Vec<_> = pictures.iter().map(|(_, ink)| ink.view()).collect();
        let decode =
            |i: usize, how: &image::Preprocessing| image::decode(pictures[i].0, "the request's body", how);
        let views = look.views(&inks, decode).map_err(RequestError::Request)?;
        let asked = Asked { views: &views, embeddings, answers };
        let looked = again.look(&mut look, asked, kept).map_err(RequestError::NotYet)?;
        let told = |(mut answer, looked): (Answer, _)| {
            answer.nearest.truncate(top);
            Answered { answer, second_look: Some(looked) }
        };
        Ok(looked.into_iter().map(told).collect())
    }
}
