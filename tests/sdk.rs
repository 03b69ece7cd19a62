//! The OpenTelemetry SDK for Python, as a program of its own.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::world::workspace;

/// What it is to send, and how.
pub(crate) struct Sdk<'a> {
    /// "http" or "grpc".
    pub(crate) protocol: &'a str,
    pub(crate) events: u64,
    /// Events of one export.
    pub(crate) batch: u64,
    /// The certificate that it trusts, for TLS.
    pub(crate) certificate: Option<&'a Path>,
}

/// Sends `phone.app.opened` events of the device `sdk-01`. It fails if the exporter does not say that all were delivered.
pub(crate) fn send(python: &Path, sdk: &Sdk<'_>, endpoint: &str, token: &str) -> Output {
    let mut command = Command::new(python);
    command.arg(workspace().join("tests/python/send_batches.py"));
    command.args([sdk.protocol, endpoint, token, &sdk.events.to_string(), &sdk.batch.to_string()]);
    command.args(sdk.certificate);
    // What a machine trusts besides would take the place of the test's certificate.
    for variable in ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null()).output().expect("Python can be run")
}
