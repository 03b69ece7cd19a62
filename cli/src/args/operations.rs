//! The command line of what operators use: watching, checking, settings, pages.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{DataArg, FleetArg, UrlArg};

/// `candor top`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candor top --url http://127.0.0.1:4318
  candor top --url http://127.0.0.1:4318 --once --json

Reads /metrics, which needs no token. On a terminal it draws anew until Ctrl-C; off a terminal,
with --once or another format it measures one interval, prints that and stops.")]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) address: UrlArg,
    /// Seconds that rates are measured over
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) interval: u32,
    /// Measure once and stop
    #[arg(long)]
    pub(crate) once: bool,
}

/// `candor doctor`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candor doctor --fleet seeds/fleet --data /var/lib/candor
  candor doctor --data /var/lib/candor --url http://127.0.0.1:4318 --json

Changes nothing, and may run beside a service. Run it as the service's user, with its settings.
Exit code 3 if a check fails; warnings do not count.")]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) fleet: FleetArg,
    #[command(flatten)]
    pub(crate) data: DataArg,
    /// Address that the service listens on [default: 127.0.0.1:4318]
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<String>,
    /// Address to ask a running service at [default: the one that it listens on]
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// For https, trust the certificates in this file (PEM) in place of the platform's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

/// `candor config`
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Show each setting, its value and where it comes from
    #[command(after_help = "\
Examples:
  candor config show
  candor config show --settings /etc/candor/candor.toml --format csv

The strongest wins: a flag, a variable CANDOR_*, ./candor.toml (or --settings), the user's
candor.toml, the system's /etc/candor/candor.toml, the default. To see what the flags of another
command make of them, add --show-origin to that command.")]
    Show,
}

/// `candor completions`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candor completions bash > /etc/bash_completion.d/candor
  candor completions zsh > ~/.zfunc/_candor
  candor completions fish > ~/.config/fish/completions/candor.fish")]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// `candor man`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candor man | man -l -
  candor man --out /usr/local/share/man/man1")]
pub(crate) struct Man {
    /// Write a page for each command into this folder, made if absent
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}
