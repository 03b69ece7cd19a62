//! Telling the service manager how it goes, as `sd_notify` has it. Where none asks (`NOTIFY_SOCKET`), nothing is told.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinHandle;

/// Requests are taken now; `status` is what `systemctl status` shows.
pub(crate) fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// No new request is taken; what is under way is finished and sealed.
pub(crate) fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("finishing and sealing")]);
}

/// Says again and again that the runtime is alive, where the manager watches that.
///
/// It comes from a task like those that answer requests: if they hang, so does this, and the manager starts anew.
pub(crate) fn stay_alive() -> Option<JoinHandle<()>> {
    let most = sd_notify::watchdog_enabled().filter(|most| !most.is_zero())?;
    Some(tokio::spawn(async move {
        let mut ticks = tokio::time::interval(beat(most));
        loop {
            ticks.tick().await;
            notify(&[NotifyState::Watchdog]);
        }
    }))
}

/// Twice in the time that may pass, as systemd recommends.
fn beat(most: Duration) -> Duration {
    (most / 2).max(Duration::from_millis(1))
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_comes_twice_in_the_time_that_may_pass() {
        assert_eq!(beat(Duration::from_secs(30)), Duration::from_secs(15));
        assert_eq!(beat(Duration::from_nanos(1)), Duration::from_millis(1));
    }
}
