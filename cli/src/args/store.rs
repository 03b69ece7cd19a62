//! The command line of what a service keeps.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ServiceArg;

/// `candor store`
#[derive(Debug, Subcommand)]
pub(crate) enum Store {
    /// Make small files of tables into large ones
    Compact(Compact),
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

/// The running service that does it, or a folder without one.
#[derive(Debug, Default, Args)]
pub(crate) struct StorePlace {
    #[command(flatten)]
    pub(crate) service: ServiceArg,
    /// Data folder that no service uses, instead of --url
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub(crate) data: Option<PathBuf>,
}
