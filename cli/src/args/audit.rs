//! Flags of `candor audit export`, `verify` and `sign`.

use std::path::PathBuf;

use candor_wire::log::note::VerifierKey;
use clap::Args;

use super::{DataArg, ServiceArg};

/// Whom an answer is about.
#[derive(Debug, Args)]
pub(crate) struct AboutArg {
    /// Subject as its source names it, or - to read it from stdin; needs the token of an operator, or --data
    #[arg(long, value_name = "SUBJECT", conflicts_with = "identity")]
    pub(crate) subject: Option<String>,
    /// File of a device's identity
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Receipts that the device kept: its receipts.jsonl, or what `agent receipts list --format jsonl` printed
    #[arg(long, value_name = "FILE", requires = "identity")]
    pub(crate) receipts: Option<PathBuf>,
    /// Statements that the device made: its state.toml
    #[arg(long, value_name = "FILE", requires = "identity")]
    pub(crate) statements: Option<PathBuf>,
}

/// `candor audit export`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candor audit export my-data --identity candor-state/identity.toml --url http://127.0.0.1:4318
  candor audit export bundle --subject demo-phone-01 --data /tmp/candor

A bundle is a folder: what is held (rows.parquet, and the answers with their proofs), receipts, the log
with its checkpoint, policies and catalogues. `candor audit verify BUNDLE` and docs/verify.py check it
without a network.")]
pub(crate) struct AuditExport {
    /// Folder to make
    #[arg(value_name = "BUNDLE")]
    pub(crate) bundle: PathBuf,
    #[command(flatten)]
    pub(crate) about: AboutArg,
    #[command(flatten)]
    pub(crate) data: DataArg,
    #[command(flatten)]
    pub(crate) service: ServiceArg,
}

/// `candor audit verify`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candor audit verify my-data
  candor audit verify --identity candor-state/identity.toml --url http://127.0.0.1:4318 \\
    --receipts candor-state/receipts.jsonl --statements candor-state/state.toml
  candor audit verify my-data --vkey candor/acme-fleet+3b4c5d6e+AR... --witness witness.example+... --json
  candor audit verify --all --data /tmp/candor

Each line is proved, proved if an auditor recomputed the file, not provable (and why), FAILED or
UNCHECKED. The newest checkpoint of each log is kept in ~/.local/state/candor/logs; a log that does not
extend it fails. --all needs the data folder: every file is recomputed from its rows.
Exit code 4 if something failed, 5 if something could not be checked.")]
pub(crate) struct AuditVerify {
    /// Bundle that `audit export` made
    #[arg(value_name = "BUNDLE", conflicts_with_all = ["subject", "all", "data", "url"])]
    pub(crate) bundle: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) about: AboutArg,
    /// Recompute every live file of --data
    #[arg(long, conflicts_with_all = ["subject", "identity", "receipts", "statements", "url"])]
    pub(crate) all: bool,
    /// Key of the log, as others see it: name+id+key
    #[arg(long, value_name = "VKEY")]
    pub(crate) vkey: Vec<VerifierKey>,
    /// Key of a witness that has to have signed the checkpoint
    #[arg(long, value_name = "VKEY")]
    pub(crate) witness: Vec<VerifierKey>,
    /// Key of an auditor who is believed
    #[arg(long, value_name = "VKEY")]
    pub(crate) auditor: Vec<VerifierKey>,
    /// Statement that an auditor signed (`candor audit sign`)
    #[arg(long, value_name = "FILE")]
    pub(crate) audit: Vec<PathBuf>,
    /// Certificate of erasure that was handed out
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) data: DataArg,
    #[command(flatten)]
    pub(crate) service: ServiceArg,
}

/// `candor audit sign`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  openssl rand -hex 32 > auditor.key
  candor audit sign --key auditor.key --name auditor.example --data /tmp/candor --statement audit.json
  candor audit verify my-data --auditor auditor.example+... --audit audit.json

Recomputes every live file of --data as `audit verify --all` does, and signs which of them are as they
were sealed, under which root of the log. Nothing is signed if something failed. The auditor's key that
others give to --auditor is printed.")]
pub(crate) struct AuditSign {
    /// File that holds the auditor's seed: 64 hex digits
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// Name of the auditor
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// File to write the statement to
    #[arg(long, value_name = "FILE")]
    pub(crate) statement: PathBuf,
    /// Key of the log, as others see it
    #[arg(long, value_name = "VKEY")]
    pub(crate) vkey: Vec<VerifierKey>,
    #[command(flatten)]
    pub(crate) data: DataArg,
}
