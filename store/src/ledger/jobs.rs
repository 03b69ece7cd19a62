//! The ledger of jobs: what was begun on tables and is not over.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::sqlite::{Ledger, unreadable, unwritable};
use crate::error::Error;

/// A job that is not over.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Job {
    /// Number, ascending in the order of their beginnings.
    pub(crate) id: i64,
    /// What kind.
    pub(crate) kind: String,
    /// JSON: what it is to do. It may name subjects as tables call them, and goes with the job.
    pub(crate) what: String,
    /// How far it is, for kinds that say so.
    pub(crate) state: String,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Job({} {}, {})", self.kind, self.id, self.state)
    }
}

impl Ledger {
    /// Keeps a job, durably; its number.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) async fn begin_job(&self, kind: &str, what: &str, state: &str) -> Result<i64, Error> {
        let outcome = sqlx::query("INSERT INTO jobs (kind, what, state) VALUES (?, ?, ?)")
            .bind(kind)
            .bind(what)
            .bind(state)
            .execute(self.pool())
            .await
            .map_err(unwritable)?;
        Ok(outcome.last_insert_rowid())
    }

    /// The jobs that are not over, in the order of their beginnings.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) async fn jobs(&self) -> Result<Vec<Job>, Error> {
        let rows = sqlx::query("SELECT id, kind, what, state FROM jobs ORDER BY id")
            .fetch_all(self.pool())
            .await
            .map_err(unreadable)?;
        rows.iter().map(job).collect()
    }

    /// Says how far a job is, and what is left of it to do.
    ///
    /// # Errors
    /// If it cannot be written.
    #[expect(dead_code, reason = "for erasure")]
    pub(crate) async fn change_job(&self, id: i64, what: &str, state: &str) -> Result<(), Error> {
        let change = sqlx::query("UPDATE jobs SET what = ?, state = ? WHERE id = ?").bind(what).bind(state).bind(id);
        change.execute(self.pool()).await.map(drop).map_err(unwritable)
    }

    /// Forgets a job that is over.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) async fn end_job(&self, id: i64) -> Result<(), Error> {
        let end = sqlx::query("DELETE FROM jobs WHERE id = ?").bind(id);
        end.execute(self.pool()).await.map(drop).map_err(unwritable)
    }
}

fn job(row: &SqliteRow) -> Result<Job, Error> {
    let text = |column: usize| row.try_get::<String, _>(column).map_err(unreadable);
    Ok(Job { id: row.try_get(0).map_err(unreadable)?, kind: text(1)?, what: text(2)?, state: text(3)? })
}
