//! What the store does by itself from time to time, as long as it is open.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::compact::CompactOptions;
use crate::error::{Error, Kind};
use crate::expire::ExpireOptions;
use crate::shared::Shared;
use crate::store::upkeep;

/// How long after the start the first round comes, if its period is not shorter: a start has enough to do.
const FIRST: Duration = Duration::from_mins(5);
const HOUR: u64 = 3_600;

/// The running rounds.
#[derive(Debug)]
pub(crate) struct Schedule(Vec<JoinHandle<()>>);

impl Schedule {
    /// Starts the rounds that the settings ask for, in the runtime that this is called in.
    pub(crate) fn start(shared: &Arc<Shared>) -> Self {
        let compact = |shared| async move { upkeep::compact(&shared, CompactOptions::default()).await.map(drop) };
        let opened = Instant::now();
        let counted = Arc::new(AtomicI32::new(0));
        let expire = move |shared| {
            let (opened, counted) = (opened, Arc::clone(&counted));
            async move {
                // Whole days since the last pass, by a clock that nobody sets.
                let days = i32::try_from(opened.elapsed().as_secs() / (24 * HOUR)).unwrap_or(i32::MAX);
                let alive = days - counted.swap(days, Ordering::Relaxed);
                upkeep::expire(&shared, ExpireOptions::default(), alive).await.map(drop)
            }
        };
        let settings = &shared.settings;
        let all = [
            rounds(shared, "retention", settings.expire_hours, expire),
            rounds(shared, "compaction", settings.compact_hours, compact),
        ];
        Self(all.into_iter().flatten().collect())
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
                Err(error) if error.kind() == Kind::Stop => return error.end_process_if_of_disk(),
                Err(error) => tracing::error!(%error, "{what} failed; it is tried again in its time"),
                Ok(()) => {}
            }
            tokio::time::sleep(period).await;
        }
    }))
}
