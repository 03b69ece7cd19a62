//! The command line of what a service keeps.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{DataArg, ServiceArg};

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
    /// Make small files of tables into large ones
    Compact(Compact),
    /// Remove what was kept as long as its purpose says
    Expire(Expire),
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

/// `candor store compact`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candor store compact --dry-run --data /var/lib/candor
  candor store compact --url http://127.0.0.1:4318 --token-file seeds/fleet/tokens/backend.token
  candor store compact --table analytics/phone.app --data /var/lib/candor

A running service does this by itself every store.compact_hours. Rows stay as they are; files of
different days, policies or catalogues stay apart. With --data no service may be running on it.")]
pub(crate) struct Compact {
    /// This table alone
    #[arg(long, value_name = "PURPOSE/STREAM")]
    pub(crate) table: Option<String>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) place: StorePlace,
}

/// `candor store expire`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candor store expire --dry-run --data /var/lib/candor
  candor store expire --dry-run --data /var/lib/candor --fleet seeds/fleet
  candor store expire --url http://127.0.0.1:4318 --token-file seeds/fleet/tokens/backend.token

A running service does this by itself every store.expire_hours. It goes by the date of receipt: rows go
when `retain` of their purpose is over, by the policy that they were stored under or by the one in
force, whichever is sooner; values of a field go when the field expires. In force is what the folder's
last service ran with; with --fleet it is what that folder says now: --dry-run then shows what it would
do, and without it the documents are put in force first, as a start of the service does. A clock that is far from the
day that it went by last moves nothing, unless --trust-clock says that it is right.")]
pub(crate) struct Expire {
    /// Show what would go, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The clock is right, however far it moved
    #[arg(long)]
    pub(crate) trust_clock: bool,
    /// Fleet folder whose policy and catalogue are in force, instead of those of the last service
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub(crate) fleet: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: StorePlace,
}

/// The running service that does it, or a folder without one.
#[derive(Debug, Default, Args)]
pub(crate) struct StorePlace {
    #[command(flatten)]
    pub(crate) service: ServiceArg,
    /// Data folder that no service uses, instead of --url
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub(crate) data: Option<PathBuf>,
}
