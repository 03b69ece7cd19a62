//! Events as they come, on a pipe for example: taken in batches, and delivered while more are awaited.

use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::deliver::{Next, Stop};
use crate::device::Device;
use crate::error::Error;
use crate::event::Event;
use crate::rim::Transport;

/// How long an event waits for others to go out with.
const LINGER: Duration = Duration::from_millis(200);
/// How long a device that was stopped waits before it tries again, while events still come.
const AFTER_STOP: Duration = Duration::from_mins(1);
/// As good as for ever.
const LONG: Duration = Duration::from_hours(24 * 365);

/// What became of a feed.
#[derive(Debug)]
pub struct Fed {
    /// Events that were taken.
    pub taken: u64,
    /// Lines that are no events: passed over, and counted as dropped.
    pub bad: u64,
    /// What is wrong with the first of them.
    pub first_bad: Option<Error>,
    /// Why the events ended, if that was no proper end: those before it were taken.
    pub broken: Option<Error>,
    /// How delivering ended.
    pub end: End,
}

/// How delivering ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing waits any more.
    Delivered,
    /// Something waits: nothing got through for as long as patience lasted.
    Late,
    /// It does not go on by itself; or it does, and what waited under a closed key is dropped.
    Stopped(Stop),
}

/// Takes events until they end, and delivers what the device holds. When they ended it goes on for as long as something gets
/// through within `patience`. `seen` is told after each step.
///
/// # Errors
/// What the folder says; [`Error::Closed`] if the epoch's key was closed meanwhile.
pub async fn feed<T: Transport>(
    device: &mut Device,
    transport: &mut T,
    events: &mut Receiver<Result<Event, Error>>,
    patience: Duration,
    mut seen: impl FnMut(&Device),
) -> Result<Fed, Error> {
    let mut closed = None;
    let mut fed = Fed { taken: 0, bad: 0, first_bad: None, broken: None, end: End::Delivered };
    // What the last step came to, and the moment before which nothing is to be sent.
    let (mut last, mut until) = (Next::Again, Instant::now());
    while fed.broken.is_none() {
        if until <= Instant::now() {
            last = but_closed(device.step(transport).await?, &mut closed);
            seen(device);
            until = Instant::now() + rest(&last);
            continue;
        }
        let first = tokio::select! {
            first = events.recv() => first,
            () = sleep_until(until) => continue,
        };
        let Some(first) = first else { break };
        let (batch, bad) = gathered(first, events, device.batch_events(), &mut fed).await;
        device.take(&batch)?;
        device.take_bad(bad)?;
        fed.taken += batch.len() as u64;
        fed.bad += bad;
        seen(device);
        if is_idle(&last) {
            (last, until) = (Next::Again, Instant::now());
        }
    }
    let end = finish(device, transport, (last, until, patience), &mut closed, seen).await?;
    fed.end = match closed {
        Some(stop) if end == End::Delivered => End::Stopped(stop),
        _ => end,
    };
    Ok(fed)
}

/// How long there is nothing to do after a step.
const fn rest(next: &Next) -> Duration {
    match next {
        Next::Again => Duration::ZERO,
        Next::Wait(time) => *time,
        Next::Idle => LONG,
        Next::Stopped(_) => AFTER_STOP,
    }
}

/// Whether all went that could: what comes new need not wait.
const fn is_idle(next: &Next) -> bool {
    matches!(next, Next::Idle | Next::Stopped(Stop::StatementRefused { .. } | Stop::ClosingRefused { .. }))
}

/// The same step, but that a key is closed holds nothing up: what waited under it is gone, and other epochs go on. What it cost is
/// told at the end.
fn but_closed(next: Next, closed: &mut Option<Stop>) -> Next {
    let Next::Stopped(Stop::KeyClosed { epoch, dropped }) = next else { return next };
    let before = match closed {
        Some(Stop::KeyClosed { dropped, .. }) => *dropped,
        _ => 0,
    };
    *closed = Some(Stop::KeyClosed { epoch, dropped: before + dropped });
    Next::Again
}

/// The event that came first, and those that come soon after it; and how many lines among them are none.
async fn gathered(
    first: Result<Event, Error>,
    events: &mut Receiver<Result<Event, Error>>,
    most: usize,
    fed: &mut Fed,
) -> (Vec<Event>, u64) {
    let (mut batch, mut bad, mut next) = (Vec::new(), 0, Some(first));
    let deadline = Instant::now() + LINGER;
    while let Some(event) = next {
        match event {
            Ok(event) => batch.push(event),
            Err(error @ Error::Event { .. }) => {
                bad += 1;
                fed.first_bad.get_or_insert(error);
            }
            Err(error) => {
                fed.broken = Some(error);
                break;
            }
        }
        if batch.len() >= most {
            break;
        }
        next = timeout_at(deadline, events.recv()).await.unwrap_or_default();
    }
    (batch, bad)
}

/// Goes on from the last step. What does not go on by itself is not waited for, and nothing is sent before its time for all that
/// patience ends first.
async fn finish<T: Transport>(
    device: &mut Device,
    transport: &mut T,
    (mut last, until, patience): (Next, Instant, Duration),
    closed: &mut Option<Stop>,
    mut seen: impl FnMut(&Device),
) -> Result<End, Error> {
    let mut deadline = Instant::now() + patience;
    if let Next::Wait(_) = last {
        last = Next::Wait(until.saturating_duration_since(Instant::now()));
    }
    loop {
        match last {
            Next::Again => {}
            Next::Wait(time) if Instant::now() + time >= deadline => {
                sleep_until(deadline).await;
                return Ok(End::Late);
            }
            Next::Wait(time) => sleep_until(Instant::now() + time).await,
            Next::Idle => return Ok(End::Delivered),
            Next::Stopped(stop) => return Ok(End::Stopped(stop)),
        }
        let Ok(next) = timeout_at(deadline, device.step(transport)).await else { return Ok(End::Late) };
        seen(device);
        last = but_closed(next?, closed);
        if last == Next::Again {
            deadline = Instant::now() + patience;
        }
    }
}
