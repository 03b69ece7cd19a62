//! The command line of what a service keeps: its folder, and the keys.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{DataArg, ServiceArg};

/// `candor key`
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// List the keys: what each is for, its generations, and since when; never a secret
    #[command(after_help = "\
Examples:
  candor key list --data /var/lib/candor
  candor key list --data /var/lib/candor --json

Works beside a running service.")]
    List(DataArg),
    /// Make a key that operators of a policy can name
    #[command(after_help = "\
Examples:
  candor key new research --data /var/lib/candor
  candor key new research --url http://127.0.0.1:4318 --token-file seeds/fleet/tokens/backend.token

Keys that a policy names are made by the start of its service: this makes one before that.")]
    New {
        /// Name of the key, as in `hmac(key = NAME)`
        name: String,
        #[command(flatten)]
        place: KeyPlace,
    },
    /// Go on with another generation of a key
    #[command(after_help = "\
Examples:
  candor key rotate subject --data /var/lib/candor
  candor key rotate named/analytics --url http://127.0.0.1:4318 --token-file seeds/fleet/tokens/backend.token
  candor key rotate receipts --data /var/lib/candor

subject       Rows from now on have other pseudonyms; access and erasure look under the old ones too.
named/NAME    What `hmac` and `fpe_ff1` write from now on does not match what they wrote before.
receipts      The old key signs the new one and is destroyed; devices follow by that signature.
log           Both keys sign checkpoints until the old one is destroyed; its entry names the new one.
The keys ledger, repeats and tombstone do not rotate: what they made has to be found again.")]
    Rotate {
        /// subject, receipts, log or named/NAME
        key: String,
        #[command(flatten)]
        place: KeyPlace,
    },
    /// Destroy generations of a key for good
    #[command(after_help = "\
Examples:
  candor key destroy named/analytics --generation 1 --yes --data /var/lib/candor
  candor key destroy named/analytics --yes --data /var/lib/candor
  candor key destroy subject --generation 1 --yes --data /var/lib/candor

named/NAME    Nobody can match its pseudonyms with identifiers any more, or undo fpe_ff1; rows stay.
              Where the policy names the key, the service goes on with a new one.
subject       Rows under that generation stay, and nobody can find whose they are: neither access nor
              erasure reaches them. Wait until they expired.
log           Checkpoints are signed by the newer keys alone: whoever pinned the old one needs them.
Backups of the key ring still have it: destroy those too.")]
    Destroy {
        /// named/NAME, subject or log
        key: String,
        /// The generation; without it all of them
        #[arg(long, value_name = "N")]
        generation: Option<u64>,
        /// It cannot be undone: say that it is meant
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        place: KeyPlace,
    },
}

/// Where a key is changed.
#[derive(Debug, Default, Args)]
pub(crate) struct KeyPlace {
    #[command(flatten)]
    pub(crate) service: ServiceArg,
    /// Data folder that no service uses, instead of --url
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub(crate) data: Option<PathBuf>,
}

/// `candor store`
#[derive(Debug, Subcommand)]
pub(crate) enum Store {
    /// Read all that a data folder holds, and say whether it holds together
    #[command(after_help = "\
Examples:
  candor store check --data /var/lib/candor
  candor store check --data /var/lib/candor --json

Segments, tables with every page of every file, documents, the log, the ledger, the account between
them, and what nobody knows. Changes nothing and may run beside a service. Exit code 3 if something
is wrong.")]
    Check(DataArg),
    /// Copy a data folder as it is at one moment
    Backup(Backup),
    /// Make a data folder of a backup
    Restore(Restore),
}

/// `candor store backup`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candor store backup /mnt/backup/monday --data /var/lib/candor
  candor store backup /mnt/backup/monday --keys /mnt/safe/ring.toml --data /var/lib/candor
  candor store backup monday --url http://127.0.0.1:4318 --token-file seeds/fleet/tokens/backend.token

With --data a folder that no service uses; with --url a running service copies its own, under that
name in the folder `store.backups` of its settings, and takes requests meanwhile. The key ring is not
in it: with --keys it is copied to a file of its own, which belongs somewhere else. One that was broken
off is begun anew by the same command.")]
pub(crate) struct Backup {
    /// New folder for it; with --url its name
    #[arg(value_name = "DIR")]
    pub(crate) to: PathBuf,
    /// Copy the key ring to this new file
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub(crate) keys: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) service: ServiceArg,
    /// Data folder that no service uses, instead of --url
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub(crate) data: Option<PathBuf>,
}

/// `candor store restore`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candor store restore /mnt/backup/monday --keys /mnt/safe/ring.toml --data /var/lib/candor-new
  candor store restore /mnt/backup/monday --keys ring.toml --tombstones /var/lib/candor-old/tombstones.jsonl \\
      --data /var/lib/candor-new

Every file is held against the backup's list, and the folder is checked before a service can start on
it. Subjects that were erased since the backup come back, unless --tombstones says who they are: the
first start erases them again. Exit code 3 if the check fails. One that was broken off is begun anew
by the same command.")]
pub(crate) struct Restore {
    /// The backup
    #[arg(value_name = "DIR")]
    pub(crate) from: PathBuf,
    /// New data folder
    #[arg(long, value_name = "DIR", required = true)]
    pub(crate) data: Option<PathBuf>,
    /// The key ring, as it was kept apart
    #[arg(long, value_name = "FILE")]
    pub(crate) keys: Option<PathBuf>,
    /// Restore a log that is behind a checkpoint of it that was kept on this machine
    #[arg(long)]
    pub(crate) accept_rollback: bool,
    /// The newest tombstones.jsonl that there is
    #[arg(long, value_name = "FILE")]
    pub(crate) tombstones: Option<PathBuf>,
}
