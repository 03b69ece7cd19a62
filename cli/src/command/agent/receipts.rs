//! `candor agent receipts`: what the service signed, and whether it is still so.

use candor_agent::error::Error;
use candor_agent::receipts::{Check, Kept};
use serde_json::{Map, Value, json};

use super::{asking, open, try_open};
use crate::command::audit::by_size;
use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::render::{Report, counted};
use crate::settings::Settings;

/// Every batch, as the device kept it.
pub(super) fn list(settings: &Settings) -> Result<Exit, Failure> {
    let mut device = open(settings)?;
    let mut report = Report::new("agent.receipts.list")
        .number("epoch", "epoch")
        .number("batch", "batch")
        .number("acknowledged", "acknowledged")
        .column("stored", "stored rows")
        .column("dropped", "dropped by the device")
        .column("received_at", "received")
        .column("seal_by", "sealed by")
        .detail("receipt")
        .detail("proof");
    let kept = device.receipts()?;
    for line in &kept {
        report.row(row(line));
    }
    let shown = device.show()?;
    report.fact("chain", shown.chain.as_str());
    report.fact("receipts", shown.receipts);
    report.note(match kept.len() {
        0 => "no batch yet".to_owned(),
        _ => format!("{}, chain {}", counted(shown.receipts, "receipt"), shown.chain),
    });
    report.print(&settings.answer)?;
    Ok(Exit::Done)
}

/// The device's story against the service's.
pub(super) async fn check(settings: &Settings) -> Result<Exit, Failure> {
    let mut client = asking(settings)?;
    let progress = Progress::start("checking receipts and rows");
    // Whoever asks and gets no answer must not take that for a good one.
    let unchecked = |error: Error| Failure { exit: Exit::CouldNotVerify, ..Failure::from(error) };
    let mut device = try_open(settings)?.map_err(unchecked)?;
    let check = device.check(&mut client).await.map_err(unchecked)?;
    drop(progress);
    let exit = if check.findings.is_empty() { Exit::Done } else { Exit::VerificationFailed };
    report(&check).print(&settings.answer)?;
    Ok(exit)
}

fn report(check: &Check) -> Report {
    let mut report = Report::new("agent.receipts.check")
        .number("epoch", "epoch")
        .number("batch", "batch")
        .column("purpose", "purpose")
        .number("purpose_batch", "its batch")
        .column("finding", "finding");
    for finding in &check.findings {
        report.row(vec![
            json!(finding.epoch),
            json!(finding.batch),
            json!(finding.purpose),
            json!(finding.purpose_batch),
            json!(finding.what.to_string()),
        ]);
    }
    report.fact("holds", check.findings.is_empty());
    report.fact("receipts", check.receipts);
    report.fact("inherited", check.inherited);
    report.fact("matched", check.matched);
    report.fact("stored", check.rows);
    report.fact("pending", check.pending);
    let log = &check.log;
    report.fact("log", json!({ "checkpoints": log.checkpoints, "newest": log.newest, "size": log.size }));
    let (receipts, rows) = (counted(check.receipts, "receipt"), counted(check.rows, "row"));
    let inherited = match check.inherited {
        0 => String::new(),
        n => format!(", {n} of the device before as the service has them"),
    };
    let pending = match check.pending {
        0 => String::new(),
        n => format!("; of them {} not sealed yet", counted(n, "purpose of a batch")),
    };
    let told = format!("{receipts}{inherited}, {rows} as they were signed{pending}");
    if check.findings.is_empty() {
        report.note(format!("it holds: {told}"));
        if let (Some(size), 1..) = (log.size, log.checkpoints) {
            let seen = counted(log.checkpoints, "checkpoint");
            report.note(format!("the log of {} extends what receipts saw: {seen}", counted(size, "entry")));
        }
    } else {
        let places = counted(check.findings.len(), "place");
        report.note(format!("DIFFERS in {places}: the service's story is not the device's"));
        report.note(format!("otherwise: {told}"));
    }
    report
}

fn row(kept: &Kept) -> Vec<Value> {
    let receipt = kept.receipt.as_ref().map(|signed| &signed.receipt);
    let stored: Option<Map<String, Value>> =
        receipt.map(|r| by_size(r.purposes.iter().map(|(name, purpose)| (name.as_str(), purpose.stored))));
    let time = |of: Option<i64>| {
        json!(of.and_then(|time| jiff::Timestamp::from_microsecond(time).ok()).map(|time| format!("{time:.0}")))
    };
    vec![
        json!(kept.epoch),
        json!(kept.batch),
        json!(kept.events),
        json!(stored),
        Value::Object(by_size(kept.dropped.iter().map(|(reason, n)| (reason.as_str(), *n)))),
        time(receipt.map(|receipt| receipt.received_at)),
        time(receipt.map(|receipt| receipt.seal_by)),
        json!(receipt),
        json!(kept.receipt.as_ref().map(|signed| &signed.proof)),
    ]
}
