//! How a request is read, and what makes two of them the same request: their bytes, an id of their own, or their events' ids.

use candor_policy::catalogue::Signal;
use candor_policy::key_index::KeyIndex;
use candor_policy::subject::LedgerId;
use candor_store::store::{BatchDigest, Store};
use candor_wire::identified::Identified;
use candor_wire::otlp::{DecodeError, DecodeLimits};

use crate::protocol::otlp::{self, Format};

/// The form of a request.
pub(crate) enum Form {
    /// OTLP: the same bytes of the same signal are the same request.
    Otlp(Signal, Format),
    /// A protocol whose events have ids.
    Events(Events),
}

/// A request of a protocol whose events have ids.
pub(crate) struct Events {
    /// The protocol's name: the ids of two of them have nothing to do with each other.
    pub(crate) protocol: &'static str,
    pub(crate) known_by: KnownBy,
    pub(crate) decode: Decode,
}

/// What tells such a request from others.
pub(crate) enum KnownBy {
    /// An id of the request as a whole, which is remembered though there is no record in it.
    Id(String),
    /// The ids of its events, if every row has one; its bytes otherwise, with what belongs to them of its head.
    Events { head: Vec<u8> },
}

/// What reads the body.
pub(crate) type Decode = Box<dyn FnOnce(&[u8], &KeyIndex, &DecodeLimits) -> Result<Identified, DecodeError> + Send>;

impl Form {
    /// What can be said of the request's identity before it is read.
    pub(crate) fn digest(&self, store: &Store, source: &str, body: &[u8]) -> BatchDigest {
        match self {
            Self::Otlp(signal, _) => store.batch_digest(source, *signal, body),
            Self::Events(events) => match &events.known_by {
                KnownBy::Id(id) => {
                    store.request_digest(source, [events.protocol.as_bytes(), b"request", id.as_bytes()])
                }
                KnownBy::Events { head } => {
                    store.request_digest(source, [events.protocol.as_bytes(), b"body", head, body])
                }
            },
        }
    }

    /// What its records are.
    pub(crate) const fn signal(&self) -> Signal {
        match self {
            Self::Otlp(signal, _) => *signal,
            Self::Events(_) => Signal::Logs,
        }
    }

    /// The protocol, if the ids of its events make the request's identity.
    pub(crate) const fn known_by_events(&self) -> Option<&'static str> {
        match self {
            Self::Events(Events { protocol, known_by: KnownBy::Events { .. }, .. }) => Some(protocol),
            _ => None,
        }
    }

    /// Whether it has an id of its own.
    pub(crate) const fn has_id(&self) -> bool {
        matches!(self, Self::Events(Events { known_by: KnownBy::Id(_), .. }))
    }

    /// Reads the body.
    pub(crate) fn decode(self, body: &[u8], keys: &KeyIndex, limits: &DecodeLimits) -> Result<Identified, DecodeError> {
        match self {
            Self::Otlp(signal, format) => {
                let received = otlp::decoder(signal, format)(body, keys, limits)?;
                Ok(Identified { received, event_ids: Vec::new() })
            }
            Self::Events(events) => (events.decode)(body, keys, limits),
        }
    }
}

/// The identity that a request has by its events: as many records, these ids, about these subjects. The subjects are in it so
/// that nobody can get another's events taken for repeats by using their ids first.
pub(crate) fn digest_of_events(
    store: &Store,
    (source, protocol): (&str, &'static str),
    records: u64,
    ids: &[&str],
    subjects: &[LedgerId],
) -> BatchDigest {
    let (records, rows) = (records.to_be_bytes(), (ids.len() as u64).to_be_bytes());
    let mut subjects: Vec<&LedgerId> = subjects.iter().collect();
    subjects.sort_unstable();
    let head = [protocol.as_bytes(), b"events", &records, &rows];
    let ids = ids.iter().map(|id| id.as_bytes());
    let subjects = subjects.iter().map(|subject| subject.as_bytes().as_slice());
    store.request_digest(source, head.into_iter().chain(ids).chain(subjects))
}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Otlp(signal, format) => write!(f, "Otlp({signal:?}, {format:?})"),
            Self::Events(events) => write!(f, "Events({})", events.protocol),
        }
    }
}
