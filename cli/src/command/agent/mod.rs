//! `candor agent`: a device at the command line. What it does is in the crate `agent`; here it is opened, driven and shown.

mod consent;
mod erase;
mod identity;
mod receipts;
mod send;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use candor_agent::client::Client;
use candor_agent::deliver::Stop;
use candor_agent::device::{Device, World};
use candor_agent::error::Error;
use candor_agent::feed::{End, feed};
use candor_agent::folder::DiskFolder;
use candor_agent::identity::IdentityAt;
use candor_agent::rim::{SystemClock, SystemEntropy};

use crate::args::{Agent, AgentConsent, Identity, PatienceArg, Receipts};
use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::render::{Report, printable};
use crate::service;
use crate::settings::{Flags, Settings};

/// Most bytes of an answer about a subject.
const ANSWER_BYTES: usize = 256 << 20;

/// Runs a command of a device.
pub(crate) async fn run(command: &Agent, settings: &Settings) -> Result<Exit, Failure> {
    match command {
        Agent::Identity(Identity::New { fleet, phrase, .. }) => identity::new(fleet, phrase.show_phrase, settings),
        Agent::Identity(Identity::Show { .. }) => identity::show(settings),
        Agent::Identity(Identity::Rotate { .. }) => identity::rotate(settings),
        Agent::Identity(Identity::Transfer(args)) => identity::transfer(args, settings).await,
        Agent::Identity(Identity::Recover(args)) => identity::recover(args, settings).await,
        Agent::Consent(AgentConsent::Show { .. }) => consent::show(settings),
        Agent::Consent(AgentConsent::Set(args)) => consent::set(args, settings).await,
        Agent::Send(args) => send::run(args, settings).await,
        Agent::Erase(args) => erase::run(args, settings).await,
        Agent::Erasures(args) => erase::status(args, settings).await,
        Agent::Receipts(Receipts::List { .. }) => receipts::list(settings),
        Agent::Receipts(Receipts::Check { .. }) => receipts::check(settings).await,
    }
}

impl Agent {
    /// Its flags that are settings.
    pub(crate) fn flags(&self, flags: Flags) -> Flags {
        match self {
            Self::Identity(Identity::New { state, .. }) => flags.path("state", state.state.as_deref()),
            Self::Identity(Identity::Transfer(args)) => {
                flags.path("state", args.state.state.as_deref()).service(&args.service)
            }
            Self::Identity(Identity::Recover(args)) => {
                flags.path("state", args.state.state.as_deref()).address(&args.address)
            }
            Self::Consent(AgentConsent::Set(args)) => flags.device(&args.device).service(&args.service),
            Self::Send(args) => flags.device(&args.device).service(&args.service),
            Self::Erase(args) => flags.device(&args.device).service(&args.service),
            Self::Erasures(args) => flags.device(&args.device).address(&args.address),
            Self::Receipts(Receipts::Check { device, address }) => flags.device(device).address(address),
            Self::Identity(Identity::Show { device } | Identity::Rotate { device })
            | Self::Consent(AgentConsent::Show { device })
            | Self::Receipts(Receipts::List { device }) => flags.device(device),
        }
    }
}

/// The device of the settings.
fn open(settings: &Settings) -> Result<Device, Failure> {
    Ok(try_open(settings)??)
}

/// The same, with what the device itself says against it apart.
fn try_open(settings: &Settings) -> Result<Result<Device, Error>, Failure> {
    // With an identity from elsewhere the folder is made at the first use.
    if settings.identity.is_none() && !is_device(&settings.state) {
        let state = settings.state.display();
        return Err(Failure::configuration(format!("there is no device in {state}"))
            .mend("`candor agent identity new FLEET` makes one; --state says where"));
    }
    Ok(Device::open(world(settings)?, device_settings(), at(settings)))
}

/// Whether a folder has an identity, or had one when a change of owner was interrupted.
fn is_device(folder: &Path) -> bool {
    std::fs::read_dir(folder)
        .is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != "lock")))
}

/// Its folder, which is made if absent, with the machine's clock and randomness.
fn world(settings: &Settings) -> Result<World, Failure> {
    let path = &settings.state;
    let folder = DiskFolder::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::ResourceBusy => {
            Failure::new(Exit::Failed, format!("{} is in use by another process", path.display()))
                .mend("one device, one process at a time: wait for the other, or end it")
        }
        _ => Failure::new(Exit::Failed, format!("the state folder {} cannot be opened: {error}", path.display())),
    })?;
    Ok(World { folder: Arc::new(folder), clock: Arc::new(SystemClock), random: Arc::new(SystemEntropy) })
}

fn device_settings() -> candor_agent::device::Settings {
    candor_agent::device::Settings::default()
}

fn at(settings: &Settings) -> IdentityAt {
    settings.identity.clone().map_or(IdentityAt::Folder, IdentityAt::File)
}

/// A client for what a subject's signature alone opens.
pub(super) fn asking(settings: &Settings) -> Result<Client, Failure> {
    Ok(service::public(settings)?.answer_bytes(ANSWER_BYTES))
}

/// Delivers what waits, if the settings name a service; how that ended.
async fn deliver(device: &mut Device, patience: &PatienceArg, settings: &Settings) -> Result<Option<End>, Failure> {
    if settings.url.is_none() {
        return Ok(None);
    }
    let mut client = service::client(settings)?;
    let _progress = Progress::start("delivering");
    let (_, mut nothing) = tokio::sync::mpsc::channel(1);
    let fed = feed(device, &mut client, &mut nothing, Duration::from_secs(patience.patience), |_| {}).await?;
    Ok(Some(fed.end))
}

/// Says how delivering ended; the exit code that follows.
fn tell_end(report: &mut Report, end: Option<&End>) -> Exit {
    let is_delivered = end == Some(&End::Delivered);
    report.fact("delivered", is_delivered);
    let stopped = match end {
        Some(End::Stopped(stop)) => Some(stop.to_string()),
        _ => None,
    };
    report.fact("stopped", stopped.clone());
    match end {
        None => report.note("not delivered yet: name the service with --url, or `candor agent send` does it later"),
        Some(End::Delivered) => report.note("delivered"),
        Some(End::Late) => report.note("NOT DELIVERED: nothing got through in time; it is kept, try again later"),
        Some(End::Stopped(stop)) => {
            report.note(format!("NOT DELIVERED: {}", printable(&stopped.unwrap_or_default())));
            if matches!(stop, Stop::StatementRefused { .. }) {
                report.note("say it anew with `candor agent consent set`; PURPOSE=unknown takes a name back");
            }
        }
    }
    if is_delivered || end.is_none() { Exit::Done } else { Exit::Failed }
}
