//! The ledger as a file: whether it is whole, and a copy of it.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::sqlite::{Ledger, unreadable, unwritable};
use crate::error::Error;

impl Ledger {
    /// What `SQLite` finds wrong with it; nothing if it is whole.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn integrity(&self) -> Result<Vec<String>, Error> {
        let lines: Vec<String> =
            sqlx::query_scalar("PRAGMA integrity_check(10)").fetch_all(self.pool()).await.map_err(unreadable)?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }

    /// Writes all that it holds at one moment into a new file, for its owner alone and durable; nothing of what was deleted
    /// is in it.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub async fn copy_to(&self, path: &Path) -> Result<(), Error> {
        let failed = |error: &std::io::Error| Error::io(format!("cannot write {}", path.display()), error);
        // SQLite takes an empty file for a new one, and keeps its mode.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|error| failed(&error))?;
        let name = path.to_string_lossy().into_owned();
        sqlx::query("VACUUM INTO ?").bind(name).execute(self.pool()).await.map_err(unwritable)?;
        file.sync_all().map_err(|error| failed(&error))
    }
}
