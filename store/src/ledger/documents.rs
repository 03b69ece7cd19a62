//! The ledger of documents: every policy and catalogue that was in force.

use super::sqlite::{Ledger, unreadable, unwritable};
use crate::error::Error;

impl Ledger {
    /// Keeps a document (policy or catalogue) under its digest, with the time from which it is in force.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn keep_document(&self, kind: &str, digest: &str, canonical: &str, since: i64) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO documents (digest, kind, canonical, since) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(digest)
        .bind(kind)
        .bind(canonical)
        .bind(since)
        .execute(self.pool())
        .await
        .map_err(unwritable)?;
        Ok(())
    }

    /// A document by its digest.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn document(&self, digest: &str) -> Result<Option<String>, Error> {
        sqlx::query_scalar("SELECT canonical FROM documents WHERE digest = ?")
            .bind(digest)
            .fetch_optional(self.pool())
            .await
            .map_err(unreadable)
    }

    /// The document of a kind that came into force last.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn newest_document(&self, kind: &str) -> Result<Option<String>, Error> {
        sqlx::query_scalar("SELECT canonical FROM documents WHERE kind = ? ORDER BY since DESC, digest LIMIT 1")
            .bind(kind)
            .fetch_optional(self.pool())
            .await
            .map_err(unreadable)
    }
}
