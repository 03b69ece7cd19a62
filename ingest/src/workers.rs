//! A bounded pool for what costs CPU: decompressing, decoding, clearing.
//!
//! A body of 32 MiB takes a large part of a second. On the reactor it would hold up health checks, timers and every
//! other connection of its thread, so it runs on tokio's blocking threads, as many at a time as there are cores: more
//! would only share them and hold more columns in memory. `block_in_place` would do without the hand-over, but takes
//! the thread's other tasks through a move each time and cannot be bounded this way.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::error::Refusal;

#[derive(Debug)]
pub(crate) struct Workers {
    permits: Arc<Semaphore>,
    count: u32,
}

impl Workers {
    pub(crate) fn new() -> Self {
        let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u32;
        Self { permits: Arc::new(Semaphore::new(count as usize)), count }
    }

    /// Runs `job` when a worker is free. A caller that goes away does not stop it.
    pub(crate) async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
        let stopping = |_| Refusal::again("the service is stopping");
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(stopping)?;
        let done = tokio::task::spawn_blocking(move || {
            // The job and all it holds are gone before the permit is: see `idle`.
            let result = job();
            drop(permit);
            result
        });
        done.await.map_err(|_| crate::guard::bug())
    }

    /// Waits until no job runs, and lets no other start.
    pub(crate) async fn idle(&self) {
        if let Ok(all) = self.permits.acquire_many(self.count).await {
            all.forget();
        }
        self.permits.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn idle_waits_for_jobs_and_a_panic_gives_its_worker_back() {
        let workers = Workers::new();
        for _ in 0..=workers.count {
            assert!(workers.run(|| panic!("a bug")).await.is_err());
        }
        let held = Arc::new(());
        let kept = Arc::clone(&held);
        let job = workers.run(move || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            Arc::strong_count(&kept)
        });
        let abandoned = tokio::time::timeout(std::time::Duration::from_millis(5), job).await;
        assert!(abandoned.is_err(), "the caller went away first");
        workers.idle().await;
        assert_eq!(Arc::strong_count(&held), 1, "the job is over");
        assert!(workers.run(|| ()).await.is_err());
    }
}
