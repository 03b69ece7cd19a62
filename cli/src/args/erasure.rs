//! `candor erasure` as written.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

use super::{FleetArg, Flush, ServiceArg};

/// `candor erasure`
#[derive(Debug, Subcommand)]
pub(crate) enum Erasure {
    /// Have erased what is held about a subject
    Request(ErasureRequest),
    /// Show how far the erasures of a subject are, and hand out their certificates
    Status(ErasureStatus),
    /// Have a running service do every erasure that is open, now
    #[command(after_help = "\
Examples:
  candor erasure run --url http://127.0.0.1:4318 --token-file seeds/fleet/tokens/backend.token

Without it a service does what is open every `store.erasure.every_minutes`.")]
    Run(Flush),
}

/// Who is meant, and where.
#[derive(Debug, Args)]
pub(crate) struct ErasureOf {
    /// Subject as its source names it, or - to read it from stdin
    #[arg(required_unless_present = "identity")]
    pub(crate) subject: Option<String>,
    /// File of a device's identity, instead of a subject
    #[arg(long, value_name = "FILE", conflicts_with = "subject")]
    pub(crate) identity: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) service: ServiceArg,
    /// Data folder that no service uses, instead of --url
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) fleet: FleetArg,
}

/// `candor erasure request`
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("scope").args(["all", "purpose", "from", "to"]).required(true).multiple(true)))]
#[command(after_help = "\
Examples:
  candor erasure request --all --identity candor-state/identity.toml --url http://127.0.0.1:4318
  candor erasure request demo-phone-01 --purpose analytics \\
      --url http://127.0.0.1:4318 --token-file seeds/fleet/tokens/backend.token
  candor erasure request demo-phone-01 --from 2026-01-01 --to 2026-01-31 --data /tmp/candor --fleet seeds/fleet

With --purpose it is withdrawn too, and nothing is stored for it from then on, but where a law or a
contract and no consent permits it: that is said. With days of receipt what comes later is stored as before.
With --all nothing is stored of the subject ever again: that cannot be undone. The holder of an
identity needs no token: with --identity a service is asked for one epoch after the other, each over
a connection of its own. On the device itself use `candor agent erase`, which stops it from sending too;
one that is elsewhere meets a closed key, and needs `agent identity rotate` and consent anew. With a SUBJECT,
--url needs the token of an operator. With --data it is done at once, in a folder that no service uses.")]
pub(crate) struct ErasureRequest {
    #[command(flatten)]
    pub(crate) of: ErasureOf,
    /// Everything, for good
    #[arg(long, conflicts_with_all = ["purpose", "from", "to"])]
    pub(crate) all: bool,
    /// What was stored for this purpose, which is withdrawn; once for each
    #[arg(long, value_name = "PURPOSE", conflicts_with_all = ["from", "to"])]
    pub(crate) purpose: Vec<String>,
    /// What was received from this day on
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(crate) from: Option<String>,
    /// What was received up to this day
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(crate) to: Option<String>,
}

/// `candor erasure status`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candor erasure status --identity candor-state/identity.toml --url http://127.0.0.1:4318
  candor erasure status demo-phone-01 --certificates certificates \\
      --url http://127.0.0.1:4318 --token-file seeds/fleet/tokens/backend.token

A certificate is checked against the key that it names before it is written. Exit code 4 if one does
not hold. The subject's id in the ledger is printed with it: `candor audit verify` and docs/verify.py
hold a certificate against the log and that id.")]
pub(crate) struct ErasureStatus {
    #[command(flatten)]
    pub(crate) of: ErasureOf,
    /// Write each certificate into this folder, as ID.json
    #[arg(long, value_name = "DIR")]
    pub(crate) certificates: Option<PathBuf>,
}
