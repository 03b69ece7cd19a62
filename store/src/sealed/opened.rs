//! A sealed file that is open for an answer: what it says of itself and a subject's rows, with one reading of its footer.

use std::path::Path;

use arrow_array::RecordBatch;
use candor_wire::merkle::Hash;
use parquet::file::metadata::PageIndexPolicy;

use super::about::{About, footer, guarded, open, read, said};
use super::blind;
use crate::error::Error;
use crate::table::pages::{Pages, Source, Unpacker};
use crate::table::place::Place;

/// A sealed file that is open.
pub(crate) struct Opened<'a> {
    path: &'a Path,
    about: About,
    pages: Pages,
}

impl<'a> Opened<'a> {
    /// Opens it; nothing of what it says was checked.
    ///
    /// # Errors
    /// As [`super::about()`].
    pub(crate) fn new(path: &'a Path, unpacker: &Unpacker) -> Result<Self, Error> {
        let file = open(path)?;
        guarded(path, || {
            let source = Source::new(file).map_err(said)?;
            let footer = footer(&source, PageIndexPolicy::Optional)?;
            Ok(Self { path, about: read(&footer)?, pages: Pages::new(source, footer, unpacker) })
        })
    }

    /// What it says of itself.
    pub(crate) const fn about(&self) -> &About {
        &self.about
    }

    /// The key of a subject's leaf.
    pub(crate) fn blind(&self, subject: &str) -> Hash {
        blind(&self.about, subject)
    }

    /// A subject's rows; none if they cannot be read where they should be. Whoever looks for them then sees why.
    pub(crate) fn rows(&self, place: Place, subject: &str) -> Option<RecordBatch> {
        guarded(self.path, || place.rows(&self.pages, subject).map_err(said)).ok().flatten()
    }
}
