//! Errors: what is wrong with a request, and why the service cannot run. Every code follows from the kind, here.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::PathBuf;

use candor_policy::problem::Problems;
use candor_store::error::Kind as StoreKind;
use candor_wire::otlp::DecodeError;
use candor_wire::reason::Reason;
use candor_wire::signature::{self, SignatureError};
use http::{HeaderName, StatusCode};

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
    /// The certificate or its key cannot be used.
    #[error("the TLS file {} {why}\n  mend: {mend}", file.display())]
    Tls {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What to do.
        mend: &'static str,
    },
    /// A source is signed, and nothing could sign its receipts.
    #[error(
        "a source is signed, and the key ring has no key for receipts\n  mend: it is kept outside the data folder, so it is not changed: add [receipts] with generation = 1 and a secret of 64 hex digits (`openssl rand -hex 32`)"
    )]
    NoReceiptKey,
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
            Self::Fleet(_) | Self::Setting { .. } | Self::Tls { .. } | Self::NoReceiptKey => StoreKind::Data,
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
    /// What is asked about is not there.
    NotFound,
    WrongMethod,
    /// The request does not follow what came before it.
    Conflict,
    TooLarge,
    UnsupportedMedia,
    /// gRPC only: a method, an encoding or an HTTP version that is not served.
    Unimplemented,
    /// The sender is over its rate.
    TooFast,
    /// gRPC only: the time that the client gave has run out.
    Deadline,
    /// Temporary trouble of any sort: the client is to send the same again.
    Unavailable,
}

/// One line of the table: what every door answers to a kind of error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) http: StatusCode,
    /// The google.rpc code, for gRPC and for the `Status` in bodies.
    pub(crate) rpc: i32,
    /// Seconds after which the same request is to come again (`Retry-After`, `RetryInfo`); none if it never may.
    /// Both OpenTelemetry SDKs give up at once when they are told to wait long.
    pub(crate) retry: Option<u32>,
    /// When it happens, for the documentation.
    pub(crate) when: &'static str,
}

impl Kind {
    /// All kinds.
    pub(crate) const ALL: [Self; 13] = [
        Self::Malformed,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::UnknownPath,
        Self::NotFound,
        Self::WrongMethod,
        Self::Conflict,
        Self::TooLarge,
        Self::UnsupportedMedia,
        Self::Unimplemented,
        Self::TooFast,
        Self::Deadline,
        Self::Unavailable,
    ];

    /// The table. OTLP clients drop a batch on every status but 429, 502, 503 and 504, so there is no 408 and no 500:
    /// whatever is not the request's fault is one of those, with a short wait.
    pub(crate) const fn line(self) -> Line {
        match self {
            Self::Malformed => {
                line(400, 3, None, "bytes that are not what their headers say, or JSON that does not fit")
            }
            Self::Unauthenticated => line(401, 16, None, "no token, or one that nobody has"),
            Self::Forbidden => line(403, 7, None, "a token whose roles do not reach the path"),
            Self::UnknownPath => line(404, 12, None, "a path, or a gRPC method, that is not there"),
            Self::NotFound => line(404, 5, None, "a subject of whom nothing is known"),
            Self::WrongMethod => line(405, 12, None, "a path that takes another method"),
            Self::Conflict => line(409, 9, None, "signed: a statement or a batch that does not follow those before"),
            Self::TooLarge => line(413, 8, None, "more bytes, records, attributes or levels than a limit allows"),
            Self::UnsupportedMedia => line(415, 3, None, "a media type or content coding that is not taken"),
            Self::Unimplemented => line(501, 12, None, "gRPC: an encoding that is not taken"),
            Self::TooFast => line(429, 8, Some(1), "a source over its rate"),
            Self::Deadline => line(504, 4, Some(1), "gRPC: the client's own grpc-timeout ran out"),
            Self::Unavailable => line(503, 14, Some(1), "overload, a full disk, a slow body, a stop, a bug of ours"),
        }
    }

    /// The same where clients take every 4xx for final: what may come again is 503 then.
    pub(crate) const fn without_temporary_4xx(self) -> Self {
        let Line { http, retry, .. } = self.line();
        if retry.is_some() && http.as_u16() < 500 { Self::Unavailable } else { self }
    }

    pub(crate) const fn status(self) -> StatusCode {
        self.line().http
    }

    pub(crate) const fn rpc_code(self) -> i32 {
        self.line().rpc
    }
}

const fn line(http: u16, rpc: i32, retry: Option<u32>, when: &'static str) -> Line {
    let http = match StatusCode::from_u16(http) {
        Ok(status) => status,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    Line { http, rpc, retry, when }
}

/// One line of the second table: what every signed request is answered that is refused for a reason of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReasonLine {
    pub(crate) kind: Kind,
    /// What the client is to do, for the documentation.
    pub(crate) then: &'static str,
    /// A header beside `Candor-Reason` and `Candor-Time`.
    pub(crate) header: Option<&'static HeaderName>,
}

/// The second table: status, RPC code and wait follow from the kind.
pub(crate) fn line_of(reason: Reason) -> ReasonLine {
    let (kind, then) = match reason {
        Reason::SignatureMissing => (Kind::Unauthenticated, "sign the request"),
        Reason::SignatureInvalid => {
            (Kind::Unauthenticated, "sign what is sent, as it is sent; the message says what is missing")
        }
        Reason::SignatureTime => (Kind::Unauthenticated, "correct the clock by `Candor-Time`, sign again"),
        Reason::NonceUsed => (Kind::Unauthenticated, "sign again, with another nonce"),
        Reason::DigestMismatch => (Kind::Malformed, "sign the body that is sent"),
        Reason::FleetUnknown => (Kind::Forbidden, "send it to the service of its own fleet"),
        Reason::KeyClosed => (Kind::Forbidden, "use the key of the next epoch, or of the new owner"),
        Reason::ConsentMissing => (Kind::Unavailable, "send the statements, then the same batch again, signed anew"),
        Reason::ConsentConflict => (Kind::Conflict, "follow the statement that `Candor-Consent-Head` names"),
        Reason::ConsentInvalid => (Kind::Malformed, "correct the statement as the message says"),
        Reason::ConsentNumber => (Kind::Malformed, "name the statement's whole number in `Candor-Consent`, like 7"),
        Reason::BatchNumber => (Kind::Malformed, "number the batch in `Candor-Batch`, from 1"),
        Reason::BatchTooFar => (Kind::Conflict, "send the batches of lower numbers first"),
        Reason::SubjectUnknown => (Kind::NotFound, "nothing: nothing was recorded of this subject"),
    };
    let header = match reason {
        Reason::ConsentConflict => Some(&signature::CONSENT_HEAD),
        _ => None,
    };
    ReasonLine { kind, then, header }
}

/// A request that is refused: its kind, and what to do, without a value of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    /// Why a signed request is refused, by the name that its device knows.
    pub(crate) reason: Option<Reason>,
    pub(crate) message: Cow<'static, str>,
    /// The value of the header that [`ReasonLine`] names.
    pub(crate) detail: Option<String>,
}

impl Refusal {
    pub(crate) fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, reason: None, message: message.into(), detail: None }
    }

    /// For a reason, from which the kind follows.
    pub(crate) fn because(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: Some(reason), ..Self::new(line_of(reason).kind, message) }
    }

    pub(crate) fn malformed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Malformed, message)
    }

    pub(crate) fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// What may work the next time. A signature counts once, whatever became of its request.
    pub(crate) fn again(why: &'static str) -> Self {
        Self::unavailable(format!("{why}: send the same request again, signed anew if it was signed"))
    }
}

impl Refusal {
    /// An error of the store where something was only to be read: nothing was brought that could be sent again.
    pub(crate) fn unread(error: candor_store::error::Error) -> Self {
        error.end_process_if_of_disk();
        match error.kind() {
            StoreKind::Request => error.into(),
            StoreKind::Retry => {
                tracing::warn!(%error, "what is held cannot be read at the moment");
                Self::unavailable("what is held was changed while it was read: ask again")
            }
            StoreKind::Data | StoreKind::Stop => {
                tracing::error!(%error, "what is held cannot be read");
                Self::unavailable("what is held cannot be read: whoever runs the service finds in its log why")
            }
        }
    }
}

impl From<SignatureError> for Refusal {
    fn from(error: SignatureError) -> Self {
        Self::because(error.reason, error.message)
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        let kind = match error {
            DecodeError::Malformed { .. } | DecodeError::Expected { .. } => Kind::Malformed,
            DecodeError::TooMany { .. } => Kind::TooLarge,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<candor_store::error::Error> for Refusal {
    /// Clients read what to do; the store's own words, which may name paths, go to the operator's log. Every error of the store
    /// in a request comes by here: where a disk failed there is no answer.
    fn from(error: candor_store::error::Error) -> Self {
        error.end_process_if_of_disk();
        match error.kind() {
            StoreKind::Request => Self::malformed(error.to_string()),
            StoreKind::Retry => {
                tracing::warn!(%error, "the store asks to try again");
                Self::again("the service is busy or its disk is full")
            }
            StoreKind::Data | StoreKind::Stop => {
                tracing::error!(%error, "the store cannot go on");
                Self::again("the service cannot store at the moment")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes of gRPC, by number.
    const RPC: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];

    /// "Retryable Response Codes" of OTLP/HTTP (opentelemetry.io/docs/specs/otlp): all others must not be retried.
    const RETRYABLE_HTTP: [u16; 4] = [429, 502, 503, 504];

    /// The table of "Failures" of OTLP/gRPC; `RESOURCE_EXHAUSTED` is retryable only if the server says so by `RetryInfo`.
    const RETRYABLE_RPC: [&str; 6] =
        ["CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"];

    #[test]
    fn the_table_says_what_the_specification_says_and_so_does_the_documentation() {
        let documentation = include_str!("../../docs/ARCHITECTURE.md");
        for kind in Kind::ALL {
            let Line { http, rpc, retry, when } = kind.line();
            let name = RPC[rpc as usize];
            let wait = retry.map_or("no".to_owned(), |seconds| format!("after {seconds} s"));
            let row = format!("| {when} | {} | {name} | {wait} |", http.as_u16());
            println!("{row}");
            assert!(documentation.contains(&row), "docs/ARCHITECTURE.md lacks the row\n{row}");
            assert_eq!(RETRYABLE_HTTP.contains(&http.as_u16()), retry.is_some(), "{kind:?} over HTTP");
            let by_rpc = RETRYABLE_RPC.contains(&name) || name == "RESOURCE_EXHAUSTED" && retry.is_some();
            assert_eq!(by_rpc, retry.is_some(), "{kind:?} over gRPC");
            assert!(retry.is_none_or(|seconds| seconds == 1), "clients give up on long waits");
        }
    }

    #[test]
    fn every_reason_is_documented_with_what_a_device_is_to_do() {
        let documentation = include_str!("../../docs/ARCHITECTURE.md");
        for reason in Reason::ALL {
            let ReasonLine { kind, then, header } = line_of(reason);
            let Line { http, rpc, retry, .. } = kind.line();
            let wait = retry.map_or("no".to_owned(), |seconds| format!("after {seconds} s"));
            let name = reason.name();
            let row = format!("| `{name}` | {} | {} | {wait} | {then} |", http.as_u16(), RPC[rpc as usize]);
            println!("{row}");
            assert!(documentation.contains(&row), "docs/ARCHITECTURE.md lacks the row\n{row}");
            // What a device is told to read must be a header that is there.
            assert!(header.is_none_or(|_| then.contains("Candor-")), "{name}");
            assert_eq!(Refusal::because(reason, "why").kind, kind);
        }
        let retried: Vec<_> =
            Reason::ALL.into_iter().filter(|reason| line_of(*reason).kind.line().retry.is_some()).collect();
        assert_eq!(retried, [Reason::ConsentMissing], "anything else must be signed or sent otherwise");
    }

    #[test]
    fn clients_that_give_up_on_4xx_meet_none_for_what_may_come_again() {
        for kind in Kind::ALL {
            let there = kind.without_temporary_4xx();
            let again = kind.line().retry;
            assert_eq!(there.line().retry, again, "{kind:?}");
            assert_eq!(
                there.status().is_server_error(),
                again.is_some() || kind.status().is_server_error(),
                "{kind:?}"
            );
        }
        assert_eq!(Kind::TooFast.without_temporary_4xx().status(), StatusCode::SERVICE_UNAVAILABLE);
    }

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
