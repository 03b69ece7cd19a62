//! Exit codes and how a failure is told: everything that ends a run badly comes through here.

use std::process::ExitCode;

use candor_store::error::Kind;
use serde_json::json;

use crate::render::{SCHEMA_VERSION, counted_and, printable};

/// How a run ended. Scripts rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// It failed; trying again may help.
    Failed = 1,
    /// The command line or the request is wrong.
    Usage = 2,
    /// A check found something.
    CheckFailed = 3,
    /// What was verified does not hold.
    VerificationFailed = 4,
    /// It could not be verified.
    CouldNotVerify = 5,
    /// Settings, a fleet folder or a data folder are not what they must be.
    BadConfiguration = 78,
}

/// What happened, and what to do next. Never holds a value of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) mend: Option<String>,
}

impl Exit {
    const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::CheckFailed => "check_failed",
            Self::VerificationFailed => "verification_failed",
            Self::CouldNotVerify => "could_not_verify",
            Self::BadConfiguration => "bad_configuration",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), mend: None }
    }

    pub(crate) fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn configuration(message: impl Into<String>) -> Self {
        Self::new(Exit::BadConfiguration, message)
    }

    /// For people, or one JSON object where the caller asked for JSON.
    pub(crate) fn text(&self, json: bool) -> String {
        if json {
            let error = json!({
                "kind": self.exit.name(), "exit_code": self.exit as u8, "message": self.message, "mend": self.mend,
            });
            return json!({ "schema_version": SCHEMA_VERSION, "error": error }).to_string();
        }
        let mend = self.mend.as_ref().map_or_else(String::new, |mend| format!("\n  mend: {}", printable(mend)));
        let message: Vec<_> = self.message.lines().map(printable).collect();
        format!("error: {}{mend}", message.join("\n"))
    }
}

impl From<candor_store::error::Error> for Failure {
    fn from(error: candor_store::error::Error) -> Self {
        let exit = match error.kind() {
            Kind::Retry | Kind::Stop => Exit::Failed,
            Kind::Request => Exit::Usage,
            Kind::Data => Exit::BadConfiguration,
        };
        with_mend(exit, &error.to_string())
    }
}

impl From<candor_agent::error::Error> for Failure {
    fn from(error: candor_agent::error::Error) -> Self {
        use candor_agent::error::Error;
        let failure = |exit| Self::new(exit, error.to_string());
        match &error {
            Error::Address(_) | Error::Token => failure(Exit::Usage),
            Error::Unreachable { .. } => failure(Exit::Failed).mend("start it with `candor serve`, or check --url"),
            Error::Untrusted { .. } => failure(Exit::Failed)
                .mend("check the name in --url; if an authority of your own signed its certificate, give --ca FILE"),
            Error::Roots { .. } => failure(Exit::BadConfiguration)
                .mend("give --ca FILE: the certificate, in PEM, of the authority that signed the service's"),
            Error::Status { status, .. } => match status.as_u16() {
                401 | 403 => failure(Exit::Failed)
                    .mend("check --token-file: sources.toml of the fleet says which source has which roles"),
                400..=499 if !error.is_temporary() => failure(Exit::Usage),
                _ => failure(Exit::Failed).mend("try again shortly; the service's own log says more"),
            },
            Error::Answer(_) => failure(Exit::Failed).mend("check that --url names a Candor service"),
            Error::Event { .. } | Error::Read { .. } => {
                failure(Exit::Usage).mend("an event is one JSON object a line: time, event, resource, attributes")
            }
            Error::Consent(_) => {
                failure(Exit::Usage).mend("`candor agent consent set --help` shows what a statement has")
            }
            Error::Identity(_) => failure(Exit::BadConfiguration),
            Error::Damaged { .. } => failure(Exit::BadConfiguration)
                .mend("restore the state folder from where it was last whole, or `candor agent identity recover`"),
            Error::Folder { .. } => failure(Exit::Failed).mend("check the state folder's disk, owner and mode"),
            Error::Closed(_) => failure(Exit::Failed).mend("`candor agent identity rotate`"),
            Error::Service(_) | Error::NoRandomness | Error::Crypto => failure(Exit::Failed),
        }
    }
}

impl From<candor_agent::send::SendError> for Failure {
    fn from(error: candor_agent::send::SendError) -> Self {
        let acknowledged = error.sent.events;
        let mut failure = Self::from(error.cause);
        failure.message =
            format!("{} ({} been acknowledged)", failure.message, counted_and(acknowledged, "event", "has", "have"));
        failure
    }
}

/// Errors of other crates write their mend on a line of its own.
pub(crate) fn with_mend(exit: Exit, text: &str) -> Failure {
    match text.split_once("\n  mend: ") {
        Some((message, mend)) => Failure::new(exit, message).mend(mend),
        None => Failure::new(exit, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_decides_the_code() {
        let code = |kind| Failure::from(candor_store::error::Error::new(kind, "it", "why", "do this")).exit as u8;
        assert_eq!([Kind::Retry, Kind::Request, Kind::Data, Kind::Stop].map(code), [1, 2, 78, 1]);
    }

    #[test]
    fn people_and_programs_get_the_mend() {
        let failure =
            Failure::from(candor_store::error::Error::new(Kind::Data, "no folder", "it is a file", "give one"));
        assert_eq!(failure.text(false), "error: no folder: it is a file\n  mend: give one");
        let error: serde_json::Value = serde_json::from_str(&failure.text(true)).unwrap();
        assert_eq!(error["error"]["kind"], "bad_configuration");
        assert_eq!(error["error"]["mend"], "give one");
        assert_eq!(error["schema_version"], SCHEMA_VERSION);
    }
}
