//! What the store does by itself from time to time, as long as it is open.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::compact::CompactOptions;
use crate::error::{Error, Kind};
use crate::shared::Shared;
use crate::store::upkeep;

/// How long after the start the first round comes, if its period is not shorter: a start has enough to do.
const FIRST: Duration = Duration::from_secs(300);
const HOUR: u64 = 3_600;

/// The running rounds.
#[derive(Debug)]
pub(crate) struct Schedule(Vec<JoinHandle<()>>);

impl Schedule {
    /// Starts the rounds that the settings ask for, in the runtime that this is called in.
    pub(crate) fn start(shared: &Arc<Shared>) -> Self {
        let compact = |shared| async move { upkeep::compact(&shared, CompactOptions::default()).await.map(drop) };
        Self([rounds(shared, "compaction", shared.settings.compact_hours, compact)].into_iter().flatten().collect())
    }

    /// Ends them; what is under way on tables ends with the flusher.
    pub(crate) fn stop(&self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// Does something every few hours; none for 0.
fn rounds<F: Future<Output = Result<(), Error>> + Send + 'static>(
    shared: &Arc<Shared>,
    what: &'static str,
    hours: u64,
    round: impl Fn(Arc<Shared>) -> F + Send + Sync + 'static,
) -> Option<JoinHandle<()>> {
    let period = Duration::from_secs(hours.checked_mul(HOUR).filter(|seconds| *seconds > 0)?);
    let shared = Arc::clone(shared);
    Some(tokio::spawn(async move {
        tokio::time::sleep(FIRST.min(period)).await;
        loop {
            match round(Arc::clone(&shared)).await {
                Err(error) if error.kind() == Kind::Stop => return,
                Err(error) => tracing::error!(%error, "{what} failed; it is tried again in its time"),
                Ok(()) => {}
            }
            tokio::time::sleep(period).await;
        }
    }))
}
