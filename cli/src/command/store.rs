//! `candor store`: work on the files that a service keeps.

use candor_store::clock::SystemClock;
use candor_store::compact::{CompactOptions, CompactReport};
use candor_store::store::upkeep;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::args::{Compact, Store, StorePlace};
use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::render::{Report, counted};
use crate::service;
use crate::settings::{Flags, Settings};

pub(crate) async fn run(command: &Store, settings: &Settings) -> Result<Exit, Failure> {
    match command {
        Store::Compact(args) => compact(args, settings).await,
    }
}

impl Store {
    /// Its flags that are settings.
    pub(crate) fn flags(&self, flags: Flags) -> Flags {
        let place = match self {
            Self::Compact(args) => &args.place,
        };
        flags.path("data", place.data.as_deref()).service(&place.service)
    }
}

async fn compact(args: &Compact, settings: &Settings) -> Result<Exit, Failure> {
    let options = CompactOptions { table: args.table.clone(), dry_run: args.dry_run };
    let progress = Progress::start("compacting");
    let done: CompactReport = if is_alone(&args.place, settings) {
        upkeep::compact_folder(&settings.store, &SystemClock, options).await?
    } else {
        ask(settings, "/v1/compact", &options).await?
    };
    drop(progress);
    let mut report = Report::new("store.compact")
        .column("purpose", "purpose")
        .column("stream", "stream")
        .column("received_date", "received")
        .number("files", "files")
        .number("rows", "rows")
        .number("bytes", "bytes");
    for unit in &done.units {
        let names = [json!(unit.purpose), json!(unit.stream), json!(unit.received_date)];
        report.row(names.into_iter().chain([json!(unit.files), json!(unit.rows), json!(unit.bytes)]).collect());
    }
    report.fact("dry_run", done.dry_run);
    let files: u64 = done.units.iter().map(|unit| unit.files).sum();
    let (from, to) = (counted(files as usize, "file"), counted(done.units.len(), "file"));
    let verb = if done.dry_run { "would become" } else { "became" };
    if done.units.is_empty() {
        report.text("there is nothing to compact\n".to_owned());
    } else {
        report.note(format!("{from} {verb} {to}"));
    }
    report.print(&settings.answer)?;
    Ok(Exit::Done)
}

/// Whether a folder is meant and not a service: the command line says so, or no service is named at all.
fn is_alone(place: &StorePlace, settings: &Settings) -> bool {
    place.data.is_some() || settings.url.is_none()
}

/// Has a running service do it.
async fn ask<T: DeserializeOwned>(
    settings: &Settings,
    path: &str,
    options: &impl serde::Serialize,
) -> Result<T, Failure> {
    let mut client = service::client(settings)?;
    let answer = service::post(&mut client, path, json!(options).to_string()).await?;
    serde_json::from_value(answer).map_err(|_| candor_agent::error::Error::Answer("a report of work on files").into())
}
