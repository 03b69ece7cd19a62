//! Errors of sending; whether trying again can help is part of each.

use http::StatusCode;

/// Why something could not be read or sent. Never holds a value of an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The address of the service cannot be used.
    #[error("the address of the service cannot be used: {0}")]
    Address(&'static str),
    /// The token cannot go into a header.
    #[error("the token is not usable: it must be one line of visible ASCII characters")]
    Token,
    /// Nobody answers there, or the connection broke.
    #[error("no answer from {authority}: {why}")]
    Unreachable {
        /// Host and port.
        authority: String,
        /// What the system said.
        why: String,
    },
    /// The service shows a certificate that is not trusted.
    #[error("{authority} is not who it should be: {why}")]
    Untrusted {
        /// Host and port.
        authority: String,
        /// What is wrong with its certificate.
        why: String,
    },
    /// The roots that certificates must lead to cannot be used.
    #[error("the root certificates of {of} cannot be used: {why}")]
    Roots {
        /// The file or platform that they are of.
        of: String,
        /// What is wrong with them.
        why: String,
    },
    /// The service answered with an error status.
    #[error("the service answered {status}{}", reason(message))]
    Status {
        /// HTTP status.
        status: StatusCode,
        /// What it said, shortened; empty if nothing.
        message: String,
    },
    /// The service answered with something that is not what the protocol says.
    #[error("the service's answer is not {0}")]
    Answer(&'static str),
    /// A line of an event file is no event.
    #[error("line {line} is no event: {why}")]
    Event {
        /// Line, from 1.
        line: u64,
        /// What is wrong, without the value.
        why: String,
    },
    /// An event file cannot be read.
    #[error("the events cannot be read at line {line}: {why}")]
    Read {
        /// Line, from 1.
        line: u64,
        /// What the system said.
        why: String,
    },
    /// A file of the state folder cannot be read or written. What was asked for may have happened: the next call finds out.
    #[error("{name} of the device's folder cannot be read or written: {why}")]
    Folder {
        /// The file.
        name: String,
        /// What the system said.
        why: String,
    },
    /// A file of the state folder is not what the device wrote.
    #[error("{name} of the device's folder is damaged: {what}")]
    Damaged {
        /// The file.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The identity cannot be used.
    #[error("the identity cannot be used: {0}")]
    Identity(String),
    /// A change of consent is no statement.
    #[error("the consent cannot be stated: {0}")]
    Consent(String),
    /// The key of the epoch was closed: nothing is stored for it any more.
    #[error("the key of epoch {0} is closed: begin another epoch (`rotate`), and ask for consent anew")]
    Closed(u64),
    /// The service cannot be asked, or does not answer as it should.
    #[error("the service cannot be asked: {0}")]
    Service(String),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness,
    /// Something that cannot fail did: encoding or sealing of what the device itself made.
    #[error("the device's own data cannot be encoded or sealed")]
    Crypto,
}

impl Error {
    /// What the system said about a file of the state folder.
    pub(crate) fn folder(name: &str, error: &std::io::Error) -> Self {
        Self::Folder { name: name.to_owned(), why: error.to_string() }
    }

    /// Whether the same request may succeed a little later: OTLP's list of statuses, and connections.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { status, .. } => matches!(status.as_u16(), 429 | 502 | 503 | 504),
            Self::Address(_)
            | Self::Token
            | Self::Untrusted { .. }
            | Self::Roots { .. }
            | Self::Answer(_)
            | Self::Event { .. }
            | Self::Read { .. }
            | Self::Folder { .. }
            | Self::Damaged { .. }
            | Self::Identity(_)
            | Self::Consent(_)
            | Self::Closed(_)
            | Self::Service(_)
            | Self::NoRandomness
            | Self::Crypto => false,
        }
    }
}

fn reason(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}
