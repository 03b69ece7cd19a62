//! `candor audit log`: the log of statements, checked before it is shown.

use candor_wire::log::entry::Entry;
use candor_wire::log::live::LiveFiles;
use candor_wire::log::note::{Signature, VerifierKey};
use serde_json::{Value, json};

use crate::args::{AuditLog, LogArgs};
use crate::exit::{Exit, Failure};
use crate::log_source::OpenLog;
use crate::render::{Report, Width, counted, grid, printable};
use crate::settings::Settings;

mod says;
mod witness;

use says::says;

/// Runs a verb.
pub(crate) async fn run(command: &AuditLog, settings: &Settings) -> Result<Exit, Failure> {
    match command {
        AuditLog::Show(args) => show(args, settings).await,
        AuditLog::Entry { number, log } => entry(*number, log, settings).await,
        AuditLog::Witness(args) => witness::run(args).await,
        AuditLog::Follow { all, log } => follow(*all, log, settings).await,
    }
}

async fn open(args: &LogArgs, settings: &Settings) -> Result<OpenLog, Failure> {
    OpenLog::open(settings, (&args.key, &pinned(args, settings)?), args.data.data.is_some()).await
}

/// Witnesses that are known from elsewhere than the log.
fn pinned(args: &LogArgs, settings: &Settings) -> Result<Vec<VerifierKey>, Failure> {
    let asked = settings.store.log.witnesses().map_err(candor_store::error::Error::from)?;
    let mut pinned = args.witness.clone();
    pinned.extend(asked.into_iter().map(|witness| witness.key));
    pinned.sort();
    pinned.dedup();
    Ok(pinned)
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
    let cosignatures = cosignatures(&log);
    report.fact("cosignatures", cosignatures.iter().map(Cosignature::json).collect::<Vec<_>>());
    for cosignature in &cosignatures {
        report.note(cosignature.says());
    }
    for witness in pinned(args, settings)?.iter().filter(|key| !cosignatures.iter().any(|by| by.is_by(key))) {
        report.note(format!("NOT cosigned by the pinned witness {}", printable(witness.name())));
    }
    report.note(seen(&log));
    report.print(&settings.answer)?;
    Ok(Exit::Done)
}

/// A signature under the checkpoint that is not the log's.
struct Cosignature<'a> {
    signature: &'a Signature,
    is_pinned: bool,
}

fn cosignatures(log: &OpenLog) -> Vec<Cosignature<'_>> {
    let signed = &log.checkpoint;
    let others = signed.note.signatures().iter().filter(|signature| signature.name() != signed.checkpoint.origin);
    let cosignature = |signature| {
        let is_pinned = signed.by_witnesses.iter().any(|verified| Signature::is_by(signature, &verified.by));
        Cosignature { signature, is_pinned }
    };
    others.map(cosignature).collect()
}

impl Cosignature<'_> {
    fn is_by(&self, key: &VerifierKey) -> bool {
        self.is_pinned && self.signature.is_by(key)
    }

    fn id(&self) -> String {
        candor_policy::hex::encode(&self.signature.id())
    }

    fn time(&self) -> Option<String> {
        let seconds = self.signature.time().and_then(|time| i64::try_from(time).ok())?;
        jiff::Timestamp::from_second(seconds).ok().map(|time| time.to_string())
    }

    fn json(&self) -> Value {
        json!({ "name": self.signature.name(), "key_id": self.id(), "time": self.time(), "pinned": self.is_pinned })
    }

    fn says(&self) -> String {
        let (name, id) = (printable(self.signature.name()), self.id());
        let time = self.time().map(|time| format!(" at {time}")).unwrap_or_default();
        let whose = if self.is_pinned { "a pinned witness" } else { "not a pinned witness, so nothing was checked" };
        format!("cosigned by {name} ({id}){time}: {whose}")
    }
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
    counted(log.checkpoint.checkpoint.size, "entry")
}

fn seen(log: &OpenLog) -> String {
    let keys = log.checkpoint.by_log.first().map(|verified| VerifierKey::name(&verified.by).to_owned());
    let origin = keys.unwrap_or_default();
    match &log.before {
        None => format!("{origin}: {}, seen for the first time; nothing older is known to hold it against", size(log)),
        Some(before) => format!("{origin}: {}, which extend the {} that were seen last", size(log), before.size),
    }
}
