//! Statements that are durable in a segment and not in the ledger yet: whoever asks for a subject's finds them here, and an import waits
//! until there are fewer.

use std::sync::Mutex;
use std::time::Duration;

use candor_policy::subject::LedgerId;
use candor_wire::statement::Statement;
use hashbrown::HashMap;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::error::{Error, Kind};
use crate::shared::lock;

/// Statements beyond which an import waits: some 50 MiB, and what the ledger takes in a few seconds.
const MOST: usize = 65_536;
/// How long it waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// Durable statements that wait for the ledger.
#[derive(Debug)]
pub(crate) struct RecentStatements {
    by_subject: Mutex<BySubject>,
    /// How many there are.
    count: watch::Sender<usize>,
    /// From how many on an import waits, and how long.
    most: usize,
    patience: Duration,
}

/// Subject → its statements with their lsn, oldest first.
type BySubject = HashMap<LedgerId, Vec<(u64, Statement)>, foldhash::fast::FixedState>;

impl Default for RecentStatements {
    fn default() -> Self {
        Self::new(MOST, PATIENCE)
    }
}

impl RecentStatements {
    fn new(most: usize, patience: Duration) -> Self {
        Self { by_subject: Mutex::default(), count: watch::Sender::new(0), most, patience }
    }

    pub(crate) fn push(&self, subject: LedgerId, lsn: u64, statement: Statement) {
        // Nearly all have one: the room for four that a list begins with would be most of what an import takes.
        let mut by_subject = lock(&self.by_subject);
        by_subject.entry(subject).or_insert_with(|| Vec::with_capacity(1)).push((lsn, statement));
        self.count.send_modify(|count| *count += 1);
    }

    /// The subject's statements, oldest first. Read them before the ledger: they leave here after they are there.
    pub(crate) fn of(&self, subject: &LedgerId) -> Vec<Statement> {
        let by_subject = lock(&self.by_subject);
        let statements = by_subject.get(subject).map(Vec::as_slice).unwrap_or_default();
        statements.iter().map(|(_, statement)| statement.clone()).collect()
    }

    /// Forgets what the ledger has.
    pub(crate) fn forget_up_to(&self, lsn: u64) {
        let mut by_subject = lock(&self.by_subject);
        let mut left = 0;
        by_subject.retain(|_, statements| {
            statements.retain(|(at, _)| *at > lsn);
            left += statements.len();
            !statements.is_empty()
        });
        self.count.send_replace(left);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Whether an import need not wait.
    pub(crate) fn has_room(&self) -> bool {
        self.count() < self.most
    }

    /// Waits until an import may go on. Nobody else does: a withdrawal waits for nothing.
    ///
    /// # Errors
    /// `Retry` if the ledger does not get on.
    pub(crate) async fn room(&self) -> Result<(), Error> {
        let mut count = self.count.subscribe();
        match timeout(self.patience, count.wait_for(|count| *count < self.most)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::new(
                Kind::Retry,
                "the ledger is behind with statements",
                format!("{} wait for it", self.count()),
                "send this again later; candor_store_flush_failures says whether it cannot be written",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::testing::statement;

    #[tokio::test]
    async fn an_import_waits_until_the_ledger_has_caught_up() {
        let recent = RecentStatements::new(2, Duration::from_millis(50));
        let subject = |n| LedgerId::from_bytes([n; 32]);
        recent.room().await.unwrap();
        recent.push(subject(1), 1, statement(1, 1, true));
        recent.room().await.unwrap();
        recent.push(subject(1), 2, statement(1, 2, false));
        assert_eq!((recent.count(), recent.of(&subject(1)).len()), (2, 2));

        let error = recent.room().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Retry, "the ledger never got on");

        let forget = async {
            tokio::task::yield_now().await;
            recent.forget_up_to(1);
        };
        let (room, ()) = tokio::join!(recent.room(), forget);
        room.unwrap();
        assert_eq!((recent.count(), recent.of(&subject(1)).len()), (1, 1));
    }
}
