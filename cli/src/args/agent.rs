//! The command line of a device: who it is, what it may do, what it sends, and what it has receipts for.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};

use super::{ServiceArg, UrlArg};

/// `candor agent`
#[derive(Debug, Subcommand)]
pub(crate) enum Agent {
    /// Make, show and hand on the identity of a device
    #[command(subcommand, arg_required_else_help = true)]
    Identity(Identity),
    /// See and state what the person at the device consents to
    #[command(subcommand, arg_required_else_help = true)]
    Consent(AgentConsent),
    /// Send events: signed, numbered, kept until they are acknowledged
    Send(Send),
    /// Have everything erased, on the device and at the service
    Erase(Erase),
    /// See how far the erasures are, and fetch their certificates
    Erasures(ErasuresArgs),
    /// See the receipts, and hold them against what the service has
    #[command(subcommand, arg_required_else_help = true)]
    Receipts(Receipts),
}

/// `--state` and `--identity`
#[derive(Debug, Default, Args)]
pub(crate) struct DeviceArg {
    /// State folder of the device [default: candor-state]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// The identity, where it is kept outside the state folder; it is only read then
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
}

/// `--state` alone: for what writes an identity.
#[derive(Debug, Default, Args)]
pub(crate) struct StateArg {
    /// State folder of the device [default: candor-state]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

/// `--patience`
#[derive(Debug, Args)]
pub(crate) struct PatienceArg {
    /// Leave the rest for later when nothing gets through for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub(crate) patience: u64,
}

/// `candor agent identity`
#[derive(Debug, Subcommand)]
pub(crate) enum Identity {
    /// Make an identity for a device that has none
    #[command(after_help = "\
Examples:
  candor agent identity new acme-fleet --state /var/lib/candor-agent
  candor agent identity new acme-fleet --show-phrase

The seed is written to identity.toml in the state folder, readable by its owner alone, and never
leaves the device. With the 24 words another device can take over (`identity recover`). They are
shown once, by this command, if --show-phrase asks for them.")]
    New {
        /// Name of the fleet: what its catalogue.toml has after `catalogue =`
        fleet: String,
        #[command(flatten)]
        state: StateArg,
        #[command(flatten)]
        phrase: ShowPhraseArg,
    },
    /// Show who the device is, and what became of its events; never the seed
    #[command(after_help = "\
Examples:
  candor agent identity show --state /var/lib/candor-agent
  candor agent identity show --json

Names in tables are those of the current epoch: an analyst sees nothing else of the device.")]
    Show {
        #[command(flatten)]
        device: DeviceArg,
    },
    /// Begin the next epoch before its time: the service cannot tie it to the one before
    #[command(after_help = "Examples:\n  candor agent identity rotate --state /var/lib/candor-agent")]
    Rotate {
        #[command(flatten)]
        device: DeviceArg,
    },
    /// Hand the device to a new owner: a new identity, and nothing of the old one stays
    Transfer(Transfer),
    /// Take over from a device that is lost, with its 24 words
    Recover(Recover),
}

/// `--show-phrase`
#[derive(Debug, Default, Args)]
pub(crate) struct ShowPhraseArg {
    /// Print the 24 words that write the new identity: the only time that they are shown
    #[arg(long)]
    pub(crate) show_phrase: bool,
}

/// `candor agent identity transfer`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candor agent identity transfer --state /var/lib/candor-agent \\
      --url https://telemetry.acme.example:4318 --token-file agents.token

Everything that was given is withdrawn in a last statement for each epoch, and its key is closed.
Seed, spool and receipts are overwritten and removed: what was not sent yet is dropped, counted
as `transferred`. The last statements go out now if --url says where to, or before anything else
that `agent send` sends; until then the old seed is kept to sign them, and nothing else.")]
pub(crate) struct Transfer {
    #[command(flatten)]
    pub(crate) state: StateArg,
    #[command(flatten)]
    pub(crate) phrase: ShowPhraseArg,
    #[command(flatten)]
    pub(crate) service: ServiceArg,
    #[command(flatten)]
    pub(crate) patience: PatienceArg,
}

/// `candor agent identity recover`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candor agent identity recover acme-fleet --url https://telemetry.acme.example:4318
  candor agent identity recover acme-fleet --phrase-file words.txt --url http://127.0.0.1:4318

The 24 words are read from stdin or from a file, never from the command line, which others can
read. The service is asked what it knows of each epoch, an epoch a connection. This is a move:
what the device before still sends as a statement is behind this one's from now on.")]
pub(crate) struct Recover {
    /// Name of the fleet: what its catalogue.toml has after `catalogue =`
    pub(crate) fleet: String,
    /// File that holds the 24 words [default: stdin]
    #[arg(long, value_name = "FILE")]
    pub(crate) phrase_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) state: StateArg,
    #[command(flatten)]
    pub(crate) address: UrlArg,
}

/// `candor agent erase`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candor agent erase --url http://127.0.0.1:4318 --token-file agents.token
  candor agent erase --wait 3600 --url http://127.0.0.1:4318 --token-file agents.token

Everything, in every epoch of the device, for good. What was given is withdrawn, events in the spool
are dropped, counted as `erased`, the service is asked to erase each epoch over a connection of its
own, and the next epoch begins without consent: nothing is sent until `agent consent set` gives it
anew. Without a service, or where it does not answer, all of that holds on the device at once, and
this command or `agent send` asks later. To repeat it is harmless. The certificates are fetched into
certificates/ in the state folder: by --wait, or later by `agent erasures`.")]
pub(crate) struct Erase {
    /// Wait so long for the certificates
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=8_640_000))]
    pub(crate) wait: u64,
    #[command(flatten)]
    pub(crate) device: DeviceArg,
    #[command(flatten)]
    pub(crate) service: ServiceArg,
    #[command(flatten)]
    pub(crate) patience: PatienceArg,
}

/// `candor agent erasures`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candor agent erasures
  candor agent erasures --url http://127.0.0.1:4318

States: wanted (the service was not asked yet), requested (it accepted: nothing more is stored), done
(the certificate is in certificates/ of the state folder), unknown (it has nothing of this epoch).
With --url it is asked for the certificates that are not here yet.")]
pub(crate) struct ErasuresArgs {
    #[command(flatten)]
    pub(crate) device: DeviceArg,
    #[command(flatten)]
    pub(crate) address: UrlArg,
}

/// `candor agent consent`
#[derive(Debug, Subcommand)]
pub(crate) enum AgentConsent {
    /// Show the statement in force, and whether the service has it
    #[command(after_help = "Examples:\n  candor agent consent show --state /var/lib/candor-agent")]
    Show {
        #[command(flatten)]
        device: DeviceArg,
    },
    /// Give, refuse or withdraw consent; the statement is signed by the device
    Set(Box<AgentConsentSet>),
}

/// `candor agent consent set`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candor agent consent set analytics=given marketing=refused --notice 2026-01 --language de \\
      --age-from 18 --url http://127.0.0.1:4318 --token-file agents.token
  candor agent consent set analytics=withdrawn
  candor agent consent set --withdraw-all

States: given, refused, withdrawn. Purposes that are not named stay as they are. A withdrawal
reaches every epoch that has data at the service or in the spool; events in the spool that no
purpose is left for are dropped, counted as `withdrawn`. The statement goes out now if --url says
where to, or before the next events that `agent send` sends.")]
pub(crate) struct AgentConsentSet {
    /// PURPOSE=STATE, once for each purpose that changes: given, refused, withdrawn; `unknown` takes back a name that the service has
    /// not taken
    #[arg(value_name = "PURPOSE=STATE", required_unless_present_any = ["withdraw_all", "gpc", "age_from", "notice"])]
    pub(crate) purposes: Vec<String>,
    /// Version of the notice that was shown; the first statement needs it
    #[arg(long, value_name = "VERSION")]
    pub(crate) notice: Option<String>,
    /// Language in which it was shown, BCP 47
    #[arg(long, value_name = "LANGUAGE", default_value = "en", requires = "notice")]
    pub(crate) language: String,
    /// Lower end of the age band in years; stays as it was if not said
    #[arg(long, value_name = "YEARS")]
    pub(crate) age_from: Option<u8>,
    /// Day from which `given` counts as expired
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(crate) expires: Option<String>,
    /// When it was first given, if that was not now (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub(crate) granted_at: Option<String>,
    /// A guardian says so for a minor
    #[arg(long)]
    pub(crate) guardian: bool,
    /// Global Privacy Control, on or off: what the policy lists under it is opted out of
    #[arg(long, value_name = "ON|OFF", action = ArgAction::Set, value_parser = switch)]
    pub(crate) gpc: Option<bool>,
    /// Withdraw what was given, and refuse everything else
    #[arg(long, conflicts_with = "purposes")]
    pub(crate) withdraw_all: bool,
    #[command(flatten)]
    pub(crate) device: DeviceArg,
    #[command(flatten)]
    pub(crate) service: ServiceArg,
    #[command(flatten)]
    pub(crate) patience: PatienceArg,
}

/// `candor agent send`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candor agent send seeds/events/sample.jsonl --url http://127.0.0.1:4318 --token-file agents.token
  tail -F events.jsonl | candor agent send --url https://telemetry.acme.example:4318 \\
      --token-file agents.token
  candor agent send /dev/null --url http://127.0.0.1:4318 --token-file agents.token

An event is one JSON object a line: {\"time\", \"event\", \"resource\": {..}, \"attributes\": {..}}. It goes
out as OTLP, compressed with zstd and signed. What waits is kept encrypted in the state folder, over
restarts too: sent = acknowledged + dropped + spooled, at every moment. Statements of consent go out
before events. /dev/null sends what is left there.
A line that is no event is passed over, and counted as dropped.
Exit code 1 if something still waits at the end, which the same command sends later, if the service
refused a batch for good, or if a line was no event.")]
pub(crate) struct Send {
    /// File with one event a line, or - for stdin
    #[arg(value_name = "FILE", default_value = "-")]
    pub(crate) events: PathBuf,
    #[command(flatten)]
    pub(crate) device: DeviceArg,
    #[command(flatten)]
    pub(crate) service: ServiceArg,
    #[command(flatten)]
    pub(crate) patience: PatienceArg,
}

/// `candor agent receipts`
#[derive(Debug, Subcommand)]
pub(crate) enum Receipts {
    /// List what became of every batch, as the device kept it
    #[command(after_help = "\
Examples:
  candor agent receipts list --state /var/lib/candor-agent
  candor agent receipts list --format csv")]
    List {
        #[command(flatten)]
        device: DeviceArg,
    },
    /// Check every receipt, and hold the rows and receipts that the service has against them
    #[command(after_help = "\
Examples:
  candor agent receipts check --url http://127.0.0.1:4318
  candor agent receipts check --url https://telemetry.acme.example:4318 --json

Each signature, path and link of the journal is checked, then every row that the service shows is
hashed again. Exit code 4 if its story differs from the device's, with the batch by name; 5 if it
cannot be checked, or if rows are missing that need not be there before `seal_by`.")]
    Check {
        #[command(flatten)]
        device: DeviceArg,
        #[command(flatten)]
        address: UrlArg,
    },
}

fn switch(text: &str) -> Result<bool, &'static str> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("it is on or off"),
    }
}
