//! One connection: what it is doing, since when, and when it is cut off.
//!
//! hyper has a timer for the heads of HTTP/1.1 that is also the one for idle connections, and none for HTTP/2 or for a
//! client that cancels what it asks for. This one sees bytes come and requests begin, end and be cancelled, whatever the version.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper_util::server::graceful::GracefulConnection;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::settings::Limits;

/// How often a connection is looked at, as a part of the time in which a head must come.
const LOOKS: u32 = 4;
/// Longest time between two looks.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// What is known of a connection. Handlers find it in the extensions of their request.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Who is at the other end.
    pub(crate) peer: IpAddr,
    now: Mutex<Now>,
    most_resets: u32,
}

#[derive(Debug)]
struct Now {
    /// Requests that wait for their answer, and refused bodies that are drained.
    busy: u32,
    /// Since when nothing is asked.
    idle_since: Instant,
    /// Since when the head of a request is coming.
    head_since: Option<Instant>,
    /// Requests cancelled since the last look.
    resets: u32,
}

/// Held while something is done for a connection.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Connection>);

/// Which version of HTTP a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    /// Nothing is asked for too long.
    Idle,
    /// The head of a request takes too long.
    Slow,
}

impl Connection {
    /// A connection whose first request is on its way since `since`.
    pub(crate) fn new(limits: &Limits, peer: IpAddr, since: Instant) -> Arc<Self> {
        let now = Now { busy: 0, idle_since: since, head_since: Some(since), resets: 0 };
        Arc::new(Self { peer, now: Mutex::new(now), most_resets: limits.http2_resets })
    }

    /// Bytes came in: the head of a request, if nothing else is under way.
    pub(crate) fn received(&self) {
        let mut now = self.now();
        if now.busy == 0 && now.head_since.is_none() {
            now.head_since = Some(Instant::now());
        }
    }

    /// A request's head is there, or something else is done for this connection, until what is returned is dropped.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        let mut now = self.now();
        now.busy += 1;
        now.head_since = None;
        Busy(Arc::clone(self))
    }

    /// So many requests were cancelled; whether that is a flood.
    pub(crate) fn cancelled(&self, requests: u32) -> bool {
        let mut now = self.now();
        now.resets = now.resets.saturating_add(requests);
        now.resets > self.most_resets
    }

    fn end(&self) {
        let mut now = self.now();
        now.busy = now.busy.saturating_sub(1);
        now.idle_since = Instant::now();
    }

    fn look(&self, version: Version, limits: &Limits, at: Instant) -> Verdict {
        let mut now = self.now();
        now.resets = 0;
        if now.busy > 0 {
            return Verdict::Fine;
        }
        // Frames of HTTP/2 that ask nothing, such as PING, look like the beginning of a head.
        if version == Version::Http1 && now.head_since.is_some_and(|since| at - since > limits.header_time()) {
            return Verdict::Slow;
        }
        if at - now.idle_since > limits.idle_time() { Verdict::Idle } else { Verdict::Fine }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        // Nothing panics while it is held, and numbers have no invariant to break.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Drives a connection to its end: its own, the client's, the service's (`stop`), or because it is idle or slow.
pub(crate) async fn drive<C: GracefulConnection>(
    served: C,
    connection: &Connection,
    version: Version,
    limits: &Limits,
    mut stop: watch::Receiver<bool>,
) {
    let mut served = pin!(served);
    let look = (limits.header_time() / LOOKS).min(LONGEST_LOOK);
    let (mut stopping, mut asked) = (false, false);
    loop {
        tokio::select! {
            // In this order: a connection that always has something to read uses up what tokio lets a task do at a time,
            // and what comes after it would never be looked at.
            biased;
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                stopping = true;
                served.as_mut().graceful_shutdown();
            }
            () = tokio::time::sleep(look) => match connection.look(version, limits, Instant::now()) {
                Verdict::Fine => {}
                Verdict::Idle if !asked => {
                    asked = true;
                    served.as_mut().graceful_shutdown();
                }
                Verdict::Idle | Verdict::Slow => return,
            },
            // Who closes early, sends no HTTP or is cut off as a flood has had his answer from hyper; requests log for themselves.
            _ = served.as_mut() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { header_seconds: 10, idle_seconds: 60, http2_resets: 3, ..Limits::default() }
    }

    #[test]
    fn a_head_has_its_time_and_silence_has_more() {
        let (limits, start) = (limits(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        let connection = Connection::new(&limits, IpAddr::from([127, 0, 0, 1]), start);
        let look = |version, at| connection.look(version, &limits, at);
        assert_eq!(look(Version::Http1, after(9)), Verdict::Fine);
        assert_eq!(look(Version::Http1, after(11)), Verdict::Slow);
        assert_eq!(look(Version::Http2, after(11)), Verdict::Fine);
        assert_eq!(look(Version::Http2, after(61)), Verdict::Idle);
        drop(connection.busy());
        assert_eq!(look(Version::Http1, Instant::now() + Duration::from_secs(59)), Verdict::Fine);
        assert_eq!(look(Version::Http1, Instant::now() + Duration::from_secs(61)), Verdict::Idle);
        connection.received();
        assert_eq!(look(Version::Http1, Instant::now() + Duration::from_secs(11)), Verdict::Slow);
    }

    #[test]
    fn nothing_is_cut_while_a_request_or_a_drain_is_under_way() {
        let (limits, start) = (limits(), Instant::now());
        let connection = Connection::new(&limits, IpAddr::from([127, 0, 0, 1]), start);
        let request = connection.busy();
        let drain = connection.busy();
        connection.received();
        drop(request);
        assert_eq!(connection.look(Version::Http1, &limits, start + Duration::from_hours(1)), Verdict::Fine);
        drop(drain);
        assert_eq!(connection.look(Version::Http1, &limits, start + Duration::from_hours(1)), Verdict::Idle);
    }

    #[test]
    fn more_cancelled_requests_than_allowed_are_a_flood() {
        let limits = limits();
        let connection = Connection::new(&limits, IpAddr::from([127, 0, 0, 1]), Instant::now());
        assert!(!connection.cancelled(1) && !connection.cancelled(2), "three are allowed");
        assert!(connection.cancelled(1));
        connection.look(Version::Http2, &limits, Instant::now());
        assert!(!connection.cancelled(3), "and three more after a look");
    }
}
