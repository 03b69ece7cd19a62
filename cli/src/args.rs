//! The command line as written; `settings` resolves it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::render::Format;

mod agent;
pub(crate) mod audit;
mod erasure;
mod key;
mod operations;
mod store;

pub(crate) use agent::{
    Agent, AgentConsent, AgentConsentSet, DeviceArg, Erase, ErasuresArgs, Identity, PatienceArg, Receipts, Recover,
    Send, Transfer,
};
pub(crate) use erasure::{Erasure, ErasureOf, ErasureRequest, ErasureStatus};
pub(crate) use key::{Key, KeyPlace};
pub(crate) use operations::{Completions, Config, Doctor, Man, Top};
pub(crate) use store::{Backup, Compact, Expire, Restore, Store, StorePlace};

const EXAMPLES: &str = "\
Examples:
  candor demo                              the first minute: what is left of a small fleet's data
  candor serve --fleet seeds/fleet --data /var/lib/candor
  candor policy check seeds/fleet          find mistakes before they are in force
  candor audit show demo-phone-01 --data /var/lib/candor

Settings come from flags, CANDOR_* variables, ./candor.toml, the user's and the system's
candor.toml, then defaults; --show-origin says which.
Exit codes: 0 done, 1 failed, 2 usage, 3 check failed, 4 verification failed, 5 could not verify,
78 bad configuration.";

/// Telemetry that its users can check: consent and anonymisation before anything is stored.
#[derive(Debug, Parser)]
#[command(
    name = "candor",
    version,
    long_about = "Telemetry that its users can check.\n\nDevices send events as OpenTelemetry logs. Consent and \
                  policy are applied in memory; what is left goes to Parquet tables, and whoever the data is about \
                  can see it.",
    after_help = EXAMPLES,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Common {
    /// How answers are written: table, json, jsonl, csv or parquet
    #[arg(long, global = true, value_name = "FORMAT", value_enum, hide_possible_values = true)]
    pub(crate) format: Option<Format>,
    /// Short for --format json; errors are JSON too
    #[arg(long, global = true, conflicts_with = "format")]
    pub(crate) json: bool,
    /// Write the answer to this file; its ending names the format
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Read this settings file instead of ./candor.toml
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
    /// Show each setting and where it comes from, and stop
    #[arg(long, global = true)]
    pub(crate) show_origin: bool,
}

impl Common {
    /// Whether errors of settings that cannot be read are to be JSON.
    pub(crate) fn asks_for_json(&self) -> bool {
        self.json || self.format.is_some_and(Format::is_json)
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Receive events: consent and policy decide what is stored
    Serve(Serve),
    /// Show the whole way of an event in a minute; needs nothing
    Demo(Demo),
    /// Check and explain what a policy does
    #[command(subcommand, arg_required_else_help = true)]
    Policy(Policy),
    /// See what devices may send
    #[command(subcommand, arg_required_else_help = true)]
    Catalogue(Catalogue),
    /// See and record what people consented to
    #[command(subcommand, arg_required_else_help = true)]
    Consent(Consent),
    /// See what is held, and account for what is not
    #[command(subcommand, arg_required_else_help = true)]
    Audit(Audit),
    /// Have erased what is held about a subject, for good, and hold the certificate
    #[command(subcommand, arg_required_else_help = true)]
    Erasure(Erasure),
    /// Be a device: an identity of its own, consent, events, receipts
    #[command(subcommand, arg_required_else_help = true)]
    Agent(Agent),
    /// Check, back up, restore, compact and expire what a service keeps
    #[command(subcommand, arg_required_else_help = true)]
    Store(Store),
    /// List, make, rotate and destroy keys
    #[command(subcommand, arg_required_else_help = true)]
    Key(Key),
    /// Have a running service seal what it holds into tables
    Flush(Flush),
    /// Watch a running service: rates, drops by reason, what waits
    Top(Top),
    /// Check what a service needs: fleet, data folder, keys, disk, limits, port
    Doctor(Doctor),
    /// See the settings
    #[command(subcommand, arg_required_else_help = true)]
    Config(Config),
    /// Write the completions of a shell
    Completions(Completions),
    /// Write the manual pages
    Man(Man),
}

/// `--fleet`
#[derive(Debug, Default, Args)]
pub(crate) struct FleetArg {
    /// Fleet folder: catalogue.toml, policy.toml, sources.toml
    #[arg(long, value_name = "DIR")]
    pub(crate) fleet: Option<PathBuf>,
}

/// `--data`
#[derive(Debug, Default, Args)]
pub(crate) struct DataArg {
    /// Data folder of a service, running or not
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// `--url` and `--ca`
#[derive(Debug, Default, Args)]
pub(crate) struct UrlArg {
    /// Address of a running service, such as `http://127.0.0.1:4318`
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// For https, trust the certificates in this file (PEM) in place of the platform's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

/// `--url`, `--ca` and `--token-file`
#[derive(Debug, Default, Args)]
pub(crate) struct ServiceArg {
    #[command(flatten)]
    pub(crate) address: UrlArg,
    /// File that holds the token of a source with the right role
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

/// `candor serve`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candor serve --fleet seeds/fleet --data /tmp/candor
  candor serve --fleet fleet --data /var/lib/candor --http 0.0.0.0:4318

Then send OpenTelemetry logs, metrics and traces to http://127.0.0.1:4318 (/v1/logs, /v1/metrics,
/v1/traces), or by gRPC to the same port, with the header `Authorization: Bearer TOKEN`;
sources.toml of the fleet names the files of the tokens.
SIGINT or SIGTERM stops it: what is under way is finished and sealed. For TLS, candor.toml says
`tls = { certificate = FILE, key = FILE }`; SIGHUP, or a change of the files, has them read again.
CANDOR_LOG sets the log level, CANDOR_STORE_FLUSH_SECONDS and others what candor.toml can hold.")]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) fleet: FleetArg,
    /// Where everything is kept; made if absent [default: candor-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Address to listen on, port 0 for any free one [default: 127.0.0.1:4318]
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<String>,
    /// Second address to listen on, where gRPC wants its own, such as 127.0.0.1:4317
    #[arg(long, value_name = "ADDR")]
    pub(crate) grpc: Option<String>,
    /// Write log lines as JSON
    #[arg(long)]
    pub(crate) log_json: bool,
}

/// `candor demo`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candor demo
  candor demo --data /tmp/candor-demo

It needs no network, no settings and no files: it serves on loopback, sends the events of a small
sample fleet through OpenTelemetry's protocol, withdraws a consent on the way, and shows what is
left. The files stay, so that the other commands can be tried on them.")]
pub(crate) struct Demo {
    /// Keep everything in this folder, which must be new or empty [default: a new temporary one]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// `candor policy`
#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Check a fleet folder: every mistake with its place and its mend
    #[command(after_help = "\
Examples:
  candor policy check seeds/fleet
  candor policy check seeds/fleet --json

Exit code 3 if something is wrong.")]
    Check {
        /// Fleet folder [default: the setting `fleet`]
        #[arg(value_name = "FLEET")]
        fleet: Option<PathBuf>,
    },
    /// Show for one event what each purpose would store, and why
    Explain(Explain),
}

/// `candor policy explain`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  head -1 seeds/events/sample.jsonl |
      candor policy explain --fleet seeds/fleet --event - --consent '*=given' --age-from 30
  candor policy explain --fleet seeds/fleet --event seeds/events/span.json --consent '*=given'

The event is one JSON object: {\"time\", \"event\", \"resource\": {..}, \"attributes\": {..}}; or a
request of OTLP in JSON, as POST /v1/logs, /v1/metrics and /v1/traces take it, with one log record,
data point or span. It takes the way that a real one takes, and is not kept. Pseudonyms are made
with an example key, so they are not those of a service.")]
pub(crate) struct Explain {
    #[command(flatten)]
    pub(crate) fleet: FleetArg,
    /// File with one event as JSON or OTLP, or - for stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) event: PathBuf,
    /// Consent of its subject: PURPOSE=STATE, or '*=given' for all; unknown if not said
    #[arg(long, value_name = "PURPOSE=STATE")]
    pub(crate) consent: Vec<String>,
    /// Lower end of the subject's age band in years; unknown if not said
    #[arg(long, value_name = "YEARS")]
    pub(crate) age_from: Option<u8>,
    /// As if a guardian had given that consent for a minor
    #[arg(long)]
    pub(crate) guardian: bool,
    /// As if the request carried Sec-GPC: 1
    #[arg(long)]
    pub(crate) gpc: bool,
    /// Source that sends it [default: the first with the role `device`]
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
}

/// `candor catalogue`
#[derive(Debug, Subcommand)]
pub(crate) enum Catalogue {
    /// List streams and their events
    #[command(after_help = "Examples:\n  candor catalogue list --fleet seeds/fleet")]
    List(FleetArg),
    /// Show the fields of a stream or of an event
    #[command(after_help = "\
Examples:
  candor catalogue show phone.app --fleet seeds/fleet
  candor catalogue show phone.app.opened --fleet seeds/fleet --format csv")]
    Show {
        /// Stream or event
        name: String,
        #[command(flatten)]
        fleet: FleetArg,
    },
}

/// `candor consent`
#[derive(Debug, Subcommand)]
pub(crate) enum Consent {
    /// Show the state of each purpose for a subject
    #[command(after_help = "Examples:\n  candor consent show demo-phone-01 --data /tmp/candor")]
    Show {
        /// Subject as its source names it, or - to read it from stdin
        subject: String,
        #[command(flatten)]
        data: DataArg,
    },
    /// Record a statement of consent
    Set(ConsentSet),
    /// Show every statement of a subject, oldest first
    #[command(after_help = "Examples:\n  candor consent history demo-phone-01 --data /tmp/candor")]
    History {
        /// Subject as its source names it, or - to read it from stdin
        subject: String,
        #[command(flatten)]
        data: DataArg,
    },
}

/// `candor consent set`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candor consent set demo-phone-01 analytics=withdrawn --language de \\
      --url http://127.0.0.1:4318 --token-file seeds/fleet/tokens/backend.token
  candor consent set demo-phone-01 analytics=given --language de --data /tmp/candor --fleet seeds/fleet

States: given, refused, withdrawn, expired, invalidated, unknown. Purposes that are not named
stay as they are. With --url a running service records it; with --data and --fleet it is recorded
in a folder that no service uses.")]
pub(crate) struct ConsentSet {
    /// Subject as its source names it, or - to read it from stdin
    pub(crate) subject: String,
    /// PURPOSE=STATE, once for each purpose that changes
    #[arg(required = true, value_name = "PURPOSE=STATE")]
    pub(crate) purposes: Vec<String>,
    /// Version of the notice that was shown [default: the policy's, with --fleet]
    #[arg(long, value_name = "VERSION")]
    pub(crate) notice: Option<String>,
    /// Language in which it was shown, BCP 47
    #[arg(long, value_name = "LANGUAGE", default_value = "en")]
    pub(crate) language: String,
    /// Lower end of the subject's age band in years; stays as it was if not said
    #[arg(long, value_name = "YEARS")]
    pub(crate) age_from: Option<u8>,
    /// Day from which `given` counts as expired
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(crate) expires: Option<String>,
    #[command(flatten)]
    pub(crate) service: ServiceArg,
    #[command(flatten)]
    pub(crate) fleet: FleetArg,
    /// Data folder that no service uses, instead of --url
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub(crate) data: Option<PathBuf>,
}

/// `candor audit`
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Show everything that is held about a subject: value, rule, purpose, and when it goes
    #[command(after_help = "\
Examples:
  candor audit show demo-phone-01 --data /tmp/candor
  echo demo-phone-01 | candor audit show - --data /tmp/candor --format csv
  candor audit show --identity candor-state/identity.toml --url http://127.0.0.1:4318

Works beside a running service; rows that are not in a table yet are shown as pending.
The holder of an identity needs no token and no operator: with --identity a service is asked for one
epoch after the other, each over a connection of its own, and the consent history is shown too.
With a SUBJECT, --url needs the token of an operator.")]
    Show(AuditShow),
    /// Query the tables with SQL, read-only
    #[command(after_help = "\
Examples:
  candor audit query 'SELECT count(*) FROM analytics.\"phone.app\"' --data /tmp/candor
  candor audit query 'SELECT * FROM diagnostics.\"car.drive\" LIMIT 5' --data /tmp/candor --json

A table is named PURPOSE.\"STREAM\".")]
    Query {
        /// One SELECT statement, or - to read it from stdin
        sql: String,
        #[command(flatten)]
        data: DataArg,
    },
    /// Account for every event: offered = stored + dropped by reason
    #[command(after_help = "\
Examples:
  candor audit totals --data /tmp/candor
  candor audit totals --data /tmp/candor --format csv
  candor audit totals --check --data /tmp/candor

`found` counts the rows again, in the tables and in what is not sealed yet. Exit code 4 if the
account does not balance, 5 if the rows cannot be counted.")]
    Totals {
        /// Hold the tables against the totals of the log too, and open those with small cells
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        data: DataArg,
    },
    /// Write one offline bundle: everything that is held about a subject, with its proofs
    Export(audit::AuditExport),
    /// Check what a service says against its log, line by line
    Verify(audit::AuditVerify),
    /// Recompute every file of a data folder, and sign which are as they were sealed
    Sign(audit::AuditSign),
    /// Read the log of statements: what was sealed, what came into force, what is gone
    #[command(subcommand, arg_required_else_help = true)]
    Log(AuditLog),
}

/// `candor audit log`
#[derive(Debug, Subcommand)]
pub(crate) enum AuditLog {
    /// Show how many entries the log has, its root, and who signed it
    #[command(after_help = "\
Examples:
  candor audit log show --url http://127.0.0.1:4318
  candor audit log show --data /tmp/candor --json")]
    Show(LogArgs),
    /// Show an entry
    #[command(after_help = "\
Examples:
  candor audit log entry 0 --url http://127.0.0.1:4318
  candor audit log entry 17 --data /tmp/candor --json")]
    Entry {
        /// Number of the entry, from 0
        number: u64,
        #[command(flatten)]
        log: LogArgs,
    },
    /// Show what came since the log was seen last
    #[command(after_help = "\
Examples:
  candor audit log follow --url http://127.0.0.1:4318
  candor audit log follow --url https://telemetry.acme.example --key 'NAME+ID+KEY'
  candor audit log follow --data /tmp/candor --all

The checkpoint that was seen last is kept for each key of a log. Exit code 4 if the log does not
extend it, is not signed, or contradicts itself; 5 if it cannot be held against what was seen.")]
    Follow {
        /// Every entry from the first one on
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        log: LogArgs,
    },
    /// Be a witness: cosign what extends the checkpoints that were cosigned before
    #[command(after_help = "\
Examples:
  openssl rand -hex 32 > witness.key && chmod 600 witness.key
  candor audit log witness --state seen --name witness.example/w1 --key witness.key \\
    --listen 127.0.0.1:4400 --log 'NAME+ID+KEY'

It takes POST /add-checkpoint as c2sp.org/tlog-witness says, over HTTP: put TLS in front of it.")]
    Witness(Witness),
}

impl AuditLog {
    /// Where its log is; none for a witness, to whom logs come.
    pub(crate) const fn log(&self) -> Option<&LogArgs> {
        match self {
            Self::Show(log) | Self::Follow { log, .. } | Self::Entry { log, .. } => Some(log),
            Self::Witness(_) => None,
        }
    }
}

/// `candor audit log witness`
#[derive(Debug, Args)]
pub(crate) struct Witness {
    /// Folder for the checkpoints that it cosigned; a witness that lost it must get a new key
    #[arg(long, value_name = "DIR")]
    pub(crate) state: PathBuf,
    /// Its name, such as `witness.example/w1`
    #[arg(long)]
    pub(crate) name: String,
    /// File with the seed of its key: 64 hex digits, for its owner alone
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: std::net::SocketAddr,
    /// Key of a log that it watches; as often as there are
    #[arg(long, value_name = "VKEY", required = true)]
    pub(crate) log: Vec<String>,
}

/// Where a log is, and who signs it.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// Key of the log, as it was heard of elsewhere; without one, that of the key ring or of the service
    #[arg(long, value_name = "VKEY")]
    pub(crate) key: Vec<String>,
    /// Key of a witness, beside those of `store.log.witness`: what bears its name has to be its signature
    #[arg(long, value_name = "VKEY")]
    pub(crate) witness: Vec<candor_wire::log::note::VerifierKey>,
    #[command(flatten)]
    pub(crate) data: DataArg,
    #[command(flatten)]
    pub(crate) address: UrlArg,
}

/// `candor audit show`
#[derive(Debug, Args)]
pub(crate) struct AuditShow {
    /// Subject as its source names it, or - to read it from stdin
    #[arg(required_unless_present = "identity")]
    pub(crate) subject: Option<String>,
    /// File of a device's identity, instead of a subject
    #[arg(long, value_name = "FILE", conflicts_with = "subject")]
    pub(crate) identity: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) data: DataArg,
    #[command(flatten)]
    pub(crate) service: ServiceArg,
}

/// `candor flush`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candor flush --url http://127.0.0.1:4318 --token-file seeds/fleet/tokens/backend.token")]
pub(crate) struct Flush {
    #[command(flatten)]
    pub(crate) service: ServiceArg,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Every command with its words, groups of verbs included.
    fn commands(of: &clap::Command, words: &str) -> Vec<String> {
        let mut all = vec![words.to_owned()];
        for inner in of.get_subcommands() {
            all.extend(commands(inner, &format!("{words} {}", inner.get_name())));
        }
        all
    }

    #[test]
    fn every_command_has_a_transcript_of_its_help_with_examples() {
        CommandLine::command().debug_assert();
        let transcript = include_str!("../tests/help/help.trycmd");
        for words in commands(&CommandLine::command(), "candor") {
            let (_, help) = transcript
                .split_once(&format!("\n$ {words} --help\n"))
                .unwrap_or_else(|| panic!("cli/tests/help/help.trycmd lacks `{words} --help`"));
            let help = help.split("\n$ ").next().unwrap_or_default();
            assert!(help.contains("Examples:") || help.contains("Commands:"), "{words} shows no example");
        }
    }
}
