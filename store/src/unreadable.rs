//! Files that stay as they are because they cannot be read: each keeps what was to go of it, so somebody has to know.

use std::collections::BTreeSet;
use std::sync::Mutex;

use crate::shared::lock;

/// Files, by table and path.
pub(crate) type Files = BTreeSet<(String, String)>;

/// What retention and erasure could not read when they last went through the tables. A file that keeps both is one.
#[derive(Debug, Default)]
pub(crate) struct Unreadable(Mutex<Found>);

#[derive(Debug, Default)]
struct Found {
    by_retention: Files,
    by_erasure: Files,
}

impl Unreadable {
    /// Retention went through all tables.
    pub(crate) fn of_retention(&self, files: Files) {
        lock(&self.0).by_retention = files;
    }

    /// A pass of erasure looked for everything that is open; with nothing open nothing is kept.
    pub(crate) fn of_erasure(&self, files: Files) {
        lock(&self.0).by_erasure = files;
    }

    /// How many files there are.
    pub(crate) fn count(&self) -> u64 {
        let found = lock(&self.0);
        found.by_retention.union(&found.by_erasure).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_keeps_both_is_one_and_a_pass_that_read_it_forgets_it() {
        let files = |paths: &[&str]| paths.iter().map(|path| ("a/s".to_owned(), (*path).to_owned())).collect::<Files>();
        let unreadable = Unreadable::default();
        unreadable.of_retention(files(&["1", "2"]));
        unreadable.of_erasure(files(&["2", "3"]));
        assert_eq!(unreadable.count(), 3);
        unreadable.of_retention(files(&[]));
        assert_eq!(unreadable.count(), 2);
        unreadable.of_erasure(files(&[]));
        assert_eq!(unreadable.count(), 0);
    }
}
