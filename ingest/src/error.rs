//! Errors: what is wrong with a request, and why the service cannot run. Every code follows from the kind, here.

use std::borrow::Cow;
use std::net::SocketAddr;

use candor_policy::problem::Problems;
use candor_store::error::Kind as StoreKind;
use candor_wire::otlp::DecodeError;
use http::StatusCode;

/// Why the service cannot start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The fleet folder has problems.
    #[error(transparent)]
    Fleet(#[from] Problems),
    /// The store has an error.
    #[error(transparent)]
    Store(#[from] candor_store::error::Error),
    /// A setting does not make sense.
    #[error("the setting {name} must {must}")]
    Setting {
        /// Its name in the settings file.
        name: &'static str,
        /// What it must be.
        must: String,
    },
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}\n  mend: stop what listens there, or choose another address (`--http`)"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The system refused what keeps raw values out of core dumps.
    #[error(
        "cannot switch off core dumps: {0}\n  mend: raw values could reach the disk in one, so nothing was started; allow setrlimit and prctl"
    )]
    CoreDumps(std::io::Error),
    /// A request did not end, although its deadline is long past.
    #[error(
        "a request did not end when the service stopped\n  mend: nothing acknowledged is lost; start again, and report this"
    )]
    Unfinished,
}

impl Error {
    /// What the caller can do; the exit code follows from it.
    #[must_use]
    pub const fn kind(&self) -> StoreKind {
        match self {
            Self::Fleet(_) | Self::Setting { .. } => StoreKind::Data,
            Self::Store(error) => error.kind(),
            Self::Listen { .. } => StoreKind::Retry,
            Self::CoreDumps(_) | Self::Unfinished => StoreKind::Stop,
        }
    }
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Malformed,
    Unauthenticated,
    Forbidden,
    UnknownPath,
    WrongMethod,
    TooLarge,
    UnsupportedMedia,
    /// Temporary trouble of any sort: the client is to send the same again.
    Unavailable,
}

impl Kind {
    /// HTTP status and google.rpc code.
    ///
    /// There is no 408, 429 or 500: OTLP clients drop the batch on 408 and 500, some on 429, and other protocols that
    /// come later delete on any 4xx. Whatever is not the request's fault is 503, which all of them retry.
    const fn codes(self) -> (StatusCode, i32) {
        match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, 3),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, 16),
            Self::Forbidden => (StatusCode::FORBIDDEN, 7),
            Self::UnknownPath => (StatusCode::NOT_FOUND, 5),
            Self::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, 12),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, 8),
            Self::UnsupportedMedia => (StatusCode::UNSUPPORTED_MEDIA_TYPE, 3),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, 14),
        }
    }

    pub(crate) const fn status(self) -> StatusCode {
        self.codes().0
    }

    pub(crate) const fn rpc_code(self) -> i32 {
        self.codes().1
    }
}

/// A request that is refused: its kind, and what to do, without a value of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    pub(crate) message: Cow<'static, str>,
}

impl Refusal {
    pub(crate) fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn malformed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Malformed, message)
    }

    pub(crate) fn unavailable(message: &'static str) -> Self {
        Self::new(Kind::Unavailable, message)
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        let kind = match error {
            DecodeError::Malformed { .. } => Kind::Malformed,
            DecodeError::TooMany { .. } => Kind::TooLarge,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<candor_store::error::Error> for Refusal {
    /// Clients read what to do; the store's own words, which may name paths, go to the operator's log.
    fn from(error: candor_store::error::Error) -> Self {
        match error.kind() {
            StoreKind::Request => Self::malformed(error.to_string()),
            StoreKind::Retry => {
                tracing::warn!(%error, "the store asks to try again");
                Self::unavailable("the service is busy or its disk is full: send the same request again")
            }
            StoreKind::Data | StoreKind::Stop => {
                tracing::error!(%error, "the store cannot go on");
                Self::unavailable("the service cannot store at the moment: send the same request again")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_the_services_fault_is_retried_by_clients() {
        for kind in [StoreKind::Retry, StoreKind::Data, StoreKind::Stop] {
            let error = candor_store::error::Error::new(kind, "appending to /some/where", "no space", "free some");
            let refusal = Refusal::from(error);
            assert_eq!(refusal.kind.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(!refusal.message.contains("/some/where"), "paths stay in the log");
        }
    }

    #[test]
    fn limits_and_broken_bytes_have_their_own_status() {
        let too_many = DecodeError::TooMany { what: "records", limit: 3 };
        assert_eq!(Refusal::from(too_many).kind.status(), StatusCode::PAYLOAD_TOO_LARGE);
        let broken = DecodeError::Malformed { what: "protobuf", offset: 7 };
        assert_eq!(Refusal::from(broken).kind.status(), StatusCode::BAD_REQUEST);
    }
}
