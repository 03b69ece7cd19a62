//! `candor store compact|expire`: work on the files that a service keeps.

use std::sync::Arc;

use candor_store::clock::SystemClock;
use candor_store::compact::{CompactOptions, CompactReport};
use candor_store::expire::{ExpireOptions, ExpireReport};
use candor_store::store::{Store, upkeep};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::args::{Compact, Expire, StorePlace};
use crate::command::serve::load;
use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::render::{Report, counted};
use crate::service;
use crate::settings::Settings;

pub(super) async fn compact(args: &Compact, settings: &Settings) -> Result<Exit, Failure> {
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
    let (from, to) = (counted(files, "file"), counted(done.units.len(), "file"));
    let verb = if done.dry_run { "would become" } else { "became" };
    if done.units.is_empty() {
        report.text("there is nothing to compact\n".to_owned());
    } else {
        report.note(format!("{from} {verb} {to}"));
    }
    report.print(&settings.answer)?;
    Ok(Exit::Done)
}

pub(super) async fn expire(args: &Expire, settings: &Settings) -> Result<Exit, Failure> {
    let options = ExpireOptions { dry_run: args.dry_run, trust_clock: args.trust_clock };
    let progress = Progress::start("expiring");
    let done: ExpireReport = if args.fleet.is_some() {
        expire_by(options, settings).await?
    } else if is_alone(&args.place, settings) {
        upkeep::expire_folder(&settings.store, &SystemClock, options).await?
    } else {
        ask(settings, "/v1/expire", &options).await?
    };
    drop(progress);
    let mut report = Report::new("store.expire")
        .column("purpose", "purpose")
        .column("stream", "stream")
        .column("received_date", "received")
        .column("field", "field")
        .number("files", "files")
        .number("rows", "rows");
    for expired in &done.expired {
        let names = [json!(expired.purpose), json!(expired.stream), json!(expired.received_date), json!(expired.field)];
        report.row(names.into_iter().chain([json!(expired.files), json!(expired.rows)]).collect());
    }
    report.fact("dry_run", done.dry_run);
    report.fact("day", done.day.clone());
    report.fact("doubt", done.doubt.clone());
    report.fact("unreadable", done.unreadable);
    let doubt = done.doubt.as_ref().map(|doubt| format!("it went by {}: {doubt} with --trust-clock", done.day));
    if done.expired.is_empty() && doubt.is_none() {
        report.text(format!("nothing was kept too long by {}\n", done.day));
    } else {
        report.note(if done.dry_run { "nothing was removed: this is what would go" } else { "this is gone" });
    }
    if done.unreadable > 0 {
        let files = counted(done.unreadable, "file");
        report.note(format!("{files} could not be read and stay as they are: the log names them"));
    }
    if let Some(doubt) = doubt {
        report.note(doubt);
    }
    report.print(&settings.answer)?;
    Ok(Exit::Done)
}

/// By the documents of a fleet folder: they are put in force, unless it is only asked what they would do.
async fn expire_by(options: ExpireOptions, settings: &Settings) -> Result<ExpireReport, Failure> {
    let fleet = load(settings)?;
    if options.dry_run {
        return Ok(upkeep::plan_expiry(&settings.store, &SystemClock, options, fleet.plan).await?);
    }
    let store = Store::open(settings.store.clone(), fleet.plan, Arc::new(SystemClock)).await?;
    let done = store.expire(options).await;
    // Whatever came of it, the lock is given back.
    store.close().await?;
    Ok(done?)
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
