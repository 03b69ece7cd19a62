//! The ledger of days: which one retention believes, and which dates of receipt came from a clock that was behind it.

use std::collections::HashMap;

use sqlx::Row;

use super::sqlite::{Ledger, unreadable, unwritable};
use crate::error::Error;

impl Ledger {
    /// The day that retention went by last, in days since 1970-01-01; none before the first time.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) async fn believed_day(&self) -> Result<Option<i32>, Error> {
        sqlx::query_scalar("SELECT day FROM believed").fetch_optional(self.pool()).await.map_err(unreadable)
    }

    /// Keeps the day that retention goes by.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) async fn believe_day(&self, day: i32) -> Result<(), Error> {
        let keep = "INSERT INTO believed (one, day) VALUES (1, ?) ON CONFLICT DO UPDATE SET day = excluded.day";
        sqlx::query(keep).bind(day).execute(self.pool()).await.map(drop).map_err(unwritable)
    }

    /// Dates of receipt from a clock that was behind, with the day on which such rows came last.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) async fn late_days(&self) -> Result<HashMap<i32, i32>, Error> {
        let rows = sqlx::query("SELECT received_date, day FROM late_days").fetch_all(self.pool()).await;
        let rows = rows.map_err(unreadable)?;
        let day = |row: &sqlx::sqlite::SqliteRow| Ok((row.try_get(0)?, row.try_get(1)?));
        rows.iter().map(day).collect::<Result<_, sqlx::Error>>().map_err(unreadable)
    }

    /// Keeps that rows of a date of receipt came on a later day.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) async fn keep_late_day(&self, received_date: i32, day: i32) -> Result<(), Error> {
        let keep = "INSERT INTO late_days (received_date, day) VALUES (?, ?) \
                    ON CONFLICT DO UPDATE SET day = max(day, excluded.day)";
        let keep = sqlx::query(keep).bind(received_date).bind(day);
        keep.execute(self.pool()).await.map(drop).map_err(unwritable)
    }
}
