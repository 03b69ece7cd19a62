//! The OpenTelemetry SDKs for Python and JavaScript, as programs of their own: `tests/python` and `tests/js`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::clients::python;
use crate::skip::{runs, skipped};
use crate::world::workspace;

/// An SDK and the protocol of its exporters.
pub(crate) struct Sdk {
    language: Language,
    pub(crate) protocol: Protocol,
    /// Python's interpreter, or the folder of Node's modules.
    place: PathBuf,
    /// The certificate to trust, for TLS.
    pub(crate) certificate: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Python,
    JavaScript,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Json,
    Protobuf,
    Grpc,
}

/// What an SDK says when it is done.
#[derive(Debug)]
pub(crate) struct Sent {
    /// Of each export in their order, whether it was delivered.
    pub(crate) results: Vec<bool>,
    /// What it wrote to standard error.
    pub(crate) complaint: String,
}

impl Sdk {
    /// The SDK, if it is here.
    pub(crate) fn find(language: Language, protocol: Protocol) -> Option<Self> {
        let place = language.place()?;
        Some(Self { language, protocol, place, certificate: None })
    }

    /// Every exporter of the SDKs that are here, for tests that ask the same of each.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for language in [Language::Python, Language::JavaScript] {
            let Some(place) = language.place() else { continue };
            let protocols = [Protocol::Json, Protocol::Protobuf, Protocol::Grpc].into_iter();
            all.extend(protocols.map(|protocol| Self { language, protocol, place: place.clone(), certificate: None }));
        }
        all
    }

    /// JavaScript over gRPC tries once, whatever the answer.
    pub(crate) fn retries(&self) -> bool {
        self.language == Language::Python || self.protocol != Protocol::Grpc
    }

    pub(crate) fn is(&self, language: Language) -> bool {
        self.language == language
    }

    pub(crate) fn is_grpc(&self) -> bool {
        self.protocol == Protocol::Grpc
    }

    /// Sends `phone.app.opened` events of the device `sdk-01`, `batch` of them in one export, one export after the other.
    pub(crate) fn batches(&self, endpoint: &str, token: &str, events: u64, batch: u64) -> Sent {
        self.run("send_batches", &[endpoint, token, &events.to_string(), &batch.to_string()])
    }

    /// Sends the metrics and spans of `tests/signals.rs`, from the same device.
    pub(crate) fn signals(&self, endpoint: &str, token: &str, spans: u64) -> Sent {
        self.run("send_signals", &[endpoint, token, &spans.to_string()])
    }

    fn run(&self, script: &str, arguments: &[&str]) -> Sent {
        let mut command = match self.language {
            Language::Python => Command::new(&self.place),
            Language::JavaScript => Command::new("node"),
        };
        command.arg(match self.language {
            Language::Python => workspace().join("tests/python").join(script).with_extension("py"),
            Language::JavaScript => workspace().join("tests/js").join(script).with_extension("js"),
        });
        let protocol = match self.protocol {
            Protocol::Json => "http/json",
            Protocol::Protobuf => "http/protobuf",
            Protocol::Grpc => "grpc",
        };
        command.arg(protocol).args(arguments).args(&self.certificate).env("NODE_PATH", &self.place);
        // What a machine trusts or prefers besides would take the place of the test's.
        for variable in ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS"]
        {
            command.env_remove(variable);
        }
        let output = command.stdin(Stdio::null()).output().expect("the interpreter can be run");
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        let results = serde_json::from_slice(&output.stdout);
        let results: Vec<bool> = results.unwrap_or_else(|_| panic!("{self} said nothing of its exports: {complaint}"));
        assert_eq!(output.status.success(), !results.is_empty() && results.iter().all(|delivered| *delivered));
        Sent { results, complaint }
    }
}

impl Language {
    /// Where it is; says so if it is nowhere.
    fn place(self) -> Option<PathBuf> {
        match self {
            Self::Python => python(),
            Self::JavaScript => node_modules(),
        }
    }
}

impl Sent {
    /// All was delivered.
    #[track_caller]
    pub(crate) fn delivered(self) {
        assert!(!self.results.is_empty() && !self.results.contains(&false), "{:?}: {}", self.results, self.complaint);
    }

    /// Nothing was delivered, and the program says why.
    #[track_caller]
    pub(crate) fn refused(self, why: &str) {
        assert!(!self.results.is_empty() && !self.results.contains(&true), "{:?}", self.results);
        assert!(self.complaint.contains(why), "{}", self.complaint);
    }
}

impl fmt::Display for Sdk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} by {:?}", self.language, self.protocol)
    }
}

/// The modules of `tests/js/package.json`, as `.ci/run` installs them.
fn node_modules() -> Option<PathBuf> {
    let modules = std::env::var_os("CANDOR_TEST_NODE_MODULES").map(PathBuf::from);
    let modules = modules.filter(|modules| Path::new(modules).is_dir());
    if modules.is_none() || !runs("node", &["--version"]) {
        skipped("CANDOR_TEST_NODE_MODULES names no modules of tests/js/package.json, or there is no node");
        return None;
    }
    modules
}
