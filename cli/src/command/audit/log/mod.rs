//! `candor audit log`: the log of statements, checked before it is shown.

use candor_wire::log::entry::Entry;
use candor_wire::log::live::LiveFiles;
use candor_wire::log::note::VerifierKey;
use serde_json::{Value, json};

use crate::args::{AuditLog, LogArgs};
use crate::exit::{Exit, Failure};
use crate::log_source::OpenLog;
use crate::render::{Report, Width, counted, grid};
use crate::settings::Settings;

mod says;

use says::says;

/// Runs a verb.
pub(crate) async fn run(command: &AuditLog, settings: &Settings) -> Result<Exit, Failure> {
    match command {
        AuditLog::Show(args) => show(args, settings).await,
        AuditLog::Entry { number, log } => entry(*number, log, settings).await,
        AuditLog::Follow { all, log } => follow(*all, log, settings).await,
    }
}

async fn open(args: &LogArgs, settings: &Settings) -> Result<OpenLog, Failure> {
    OpenLog::open(settings, &args.key, args.data.data.is_some()).await
}

/// Size, root and signatures.
async fn show(args: &LogArgs, settings: &Settings) -> Result<Exit, Failure> {
    let log = open(args, settings).await?;
    let (now, signed) = (&log.checkpoint.checkpoint, &log.checkpoint);
    let keys: Vec<String> = signed.by_log.iter().map(|verified| verified.by.to_string()).collect();
    let root = candor_policy::hex::encode(&now.root);
    let mut report =
        Report::new("audit.log.show").column("origin", "log").number("size", "entries").column("root", "root");
    report.row(vec![json!(now.origin), json!(now.size), json!(root)]);
    report.fact("keys", keys.clone());
    report.fact("note", signed.note.to_string());
    report.fact("seen_before", log.before.as_ref().map(|before| before.size));
    for key in &keys {
        report.note(format!("signed by {key}"));
    }
    report.note(seen(&log));
    report.print(&settings.answer)?;
    Ok(Exit::Done)
}

/// One entry.
async fn entry(number: u64, args: &LogArgs, settings: &Settings) -> Result<Exit, Failure> {
    let mut log = open(args, settings).await?;
    let (first, entries) = log.bundle(number).await?;
    let entry = usize::try_from(number - first).ok().and_then(|at| entries.get(at));
    let entry = entry.ok_or_else(|| Failure::usage(format!("the log has no entry {number}")))?;
    let value = value_of(entry)?;
    let mut report = Report::new("audit.log.entry").number("number", "number").column("kind", "kind").detail("entry");
    report.row(vec![json!(number), json!(entry.kind()), value.clone()]);
    report.text(format!("{value:#}\n"));
    report.note(format!("entry {number} of {}, in the log with {}", log.checkpoint.checkpoint.origin, size(&log)));
    report.print(&settings.answer)?;
    Ok(Exit::Done)
}

/// What came since the log was seen last.
async fn follow(all: bool, args: &LogArgs, settings: &Settings) -> Result<Exit, Failure> {
    let mut log = open(args, settings).await?;
    let from = if all { 0 } else { log.before.as_ref().map_or(0, |before| before.size) };
    let (to, mut at) = (log.checkpoint.checkpoint.size, from);
    // Entries say something together only from the first one on.
    let mut together = (from == 0).then(LiveFiles::default);
    let mut report = Report::new("audit.log.follow").number("number", "number").column("kind", "kind").detail("entry");
    let mut rows = Vec::new();
    while at < to {
        let (first, entries) = log.bundle(at).await?;
        for (number, entry) in (first..).zip(&entries).skip((at - first) as usize) {
            if let Some(together) = &mut together {
                together.apply(entry).map_err(|broken| {
                    Failure::new(Exit::VerificationFailed, format!("the log contradicts itself: {broken}"))
                })?;
            }
            report.row(vec![json!(number), json!(entry.kind()), value_of(entry)?]);
            rows.push(vec![number.to_string(), entry.kind().to_owned(), says(entry)]);
        }
        at = first + entries.len() as u64;
    }
    if rows.is_empty() {
        report.text("nothing new\n".to_owned());
    } else {
        report.text(grid(&[("number", true), ("kind", false), ("says", false)], rows, Width::Terminal));
    }
    report.fact("from", from);
    report.fact("size", to);
    if let Some(together) = &together {
        report.fact("live_files", together.live().count());
    }
    report.note(seen(&log));
    report.print(&settings.answer)?;
    Ok(Exit::Done)
}

fn value_of(entry: &Entry) -> Result<Value, Failure> {
    serde_json::to_value(entry).map_err(|e| Failure::new(Exit::Failed, format!("an entry cannot be shown: {e}")))
}

fn size(log: &OpenLog) -> String {
    counted(log.checkpoint.checkpoint.size as usize, "entry")
}

fn seen(log: &OpenLog) -> String {
    let keys = log.checkpoint.by_log.first().map(|verified| VerifierKey::name(&verified.by).to_owned());
    let origin = keys.unwrap_or_default();
    match &log.before {
        None => format!("{origin}: {}, seen for the first time; nothing older is known to hold it against", size(log)),
        Some(before) => format!("{origin}: {}, which extend the {} that were seen last", size(log), before.size),
    }
}
