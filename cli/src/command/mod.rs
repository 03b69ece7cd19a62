//! One file a group of verbs; adding a verb touches its file, `args.rs` and the list here.

mod agent;
mod audit;
mod catalogue;
mod completions;
mod config;
mod consent;
mod demo;
mod doctor;
mod erasure;
mod flush;
mod key;
mod man;
mod policy;
mod serve;
mod store;
mod top;

use crate::args::{Audit, Catalogue, Command, CommandLine, Config, Consent, Policy};
use crate::exit::{Exit, Failure};
use crate::settings::{Flags, Settings};

/// Runs a command that is about the command line itself: it needs no settings, and works where those are broken.
pub(crate) fn alone(line: &CommandLine) -> Option<Result<Exit, Failure>> {
    match &line.command {
        Command::Completions(args) if !line.common.show_origin => Some(completions::run(args)),
        Command::Man(args) if !line.common.show_origin => Some(man::run(args)),
        _ => None,
    }
}

/// Runs a command.
pub(crate) async fn run(command: &Command, settings: &Settings) -> Result<Exit, Failure> {
    match command {
        Command::Serve(args) => serve::run(args, settings).await,
        Command::Demo(args) => demo::run(args, settings).await,
        Command::Policy(Policy::Check { .. }) => policy::check(settings),
        Command::Policy(Policy::Explain(args)) => policy::explain(args, settings),
        Command::Catalogue(Catalogue::List(_)) => catalogue::list(settings),
        Command::Catalogue(Catalogue::Show { name, .. }) => catalogue::show(name, settings),
        Command::Consent(Consent::Show { subject, .. }) => consent::show(subject, settings).await,
        Command::Consent(Consent::Set(args)) => consent::set(args, settings).await,
        Command::Consent(Consent::History { subject, .. }) => consent::history(subject, settings).await,
        Command::Agent(command) => agent::run(command, settings).await,
        Command::Audit(Audit::Show(args)) => audit::show(args, settings).await,
        Command::Audit(Audit::Query { sql, .. }) => audit::query(sql, settings).await,
        Command::Audit(Audit::Totals { check: true, .. }) => audit::check_totals(settings).await,
        Command::Audit(Audit::Totals { .. }) => audit::totals(settings).await,
        Command::Audit(Audit::Export(args)) => audit::export(args, settings).await,
        Command::Audit(Audit::Verify(args)) => audit::verify(args, settings).await,
        Command::Audit(Audit::Sign(args)) => audit::sign(args, settings).await,
        Command::Erasure(command) => erasure::run(command, settings).await,
        Command::Store(command) => store::run(command, settings).await,
        Command::Audit(Audit::Log(command)) => audit::log::run(command, settings).await,
        Command::Key(command) => key::run(command, settings).await,
        Command::Flush(_) => flush::run(settings).await,
        Command::Top(args) => top::run(args, settings).await,
        Command::Doctor(_) => doctor::run(settings).await,
        Command::Config(Config::Show) => config::show(settings),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
    }
}

impl Command {
    /// Its flags that are settings.
    pub(crate) fn flags(&self) -> Flags {
        let flags = Flags::default();
        match self {
            Self::Serve(args) => flags
                .path("fleet", args.fleet.fleet.as_deref())
                .path("data", args.data.as_deref())
                .text("http", args.http.as_deref())
                .text("grpc", args.grpc.as_deref()),
            Self::Policy(Policy::Check { fleet }) => flags.path("fleet", fleet.as_deref()),
            Self::Policy(Policy::Explain(args)) => flags.path("fleet", args.fleet.fleet.as_deref()),
            Self::Catalogue(Catalogue::List(fleet) | Catalogue::Show { fleet, .. }) => {
                flags.path("fleet", fleet.fleet.as_deref())
            }
            Self::Consent(Consent::Set(args)) => flags
                .path("fleet", args.fleet.fleet.as_deref())
                .path("data", args.data.as_deref())
                .service(&args.service),
            Self::Consent(Consent::Show { data, .. } | Consent::History { data, .. })
            | Self::Audit(Audit::Query { data, .. } | Audit::Totals { data, .. }) => {
                flags.path("data", data.data.as_deref())
            }
            Self::Audit(Audit::Show(args)) => flags
                .path("data", args.data.data.as_deref())
                .path("identity", args.identity.as_deref())
                .service(&args.service),
            Self::Audit(Audit::Export(args)) => flags
                .path("data", args.data.data.as_deref())
                .path("identity", args.about.identity.as_deref())
                .service(&args.service),
            Self::Audit(Audit::Verify(args)) => flags
                .path("data", args.data.data.as_deref())
                .path("identity", args.about.identity.as_deref())
                .service(&args.service),
            Self::Audit(Audit::Sign(args)) => flags.path("data", args.data.data.as_deref()),
            Self::Audit(Audit::Log(command)) => {
                let Some(log) = command.log() else { return flags };
                flags.path("data", log.data.data.as_deref()).address(&log.address)
            }
            Self::Agent(command) => command.flags(flags),
            Self::Erasure(command) => command.flags(flags),
            Self::Store(command) => command.flags(flags),
            Self::Key(command) => command.flags(flags),
            Self::Flush(args) => flags.service(&args.service),
            Self::Top(args) => flags.address(&args.address),
            Self::Doctor(args) => flags
                .path("fleet", args.fleet.fleet.as_deref())
                .path("data", args.data.data.as_deref())
                .text("http", args.http.as_deref())
                .text("url", args.url.as_deref())
                .path("ca", args.ca.as_deref()),
            // What the demo makes is its own: settings for a service must not reach it.
            Self::Demo(_) | Self::Config(_) | Self::Completions(_) | Self::Man(_) => flags,
        }
    }
}
