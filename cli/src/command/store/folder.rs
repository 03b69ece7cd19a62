//! `candor store check|backup|restore`: a data folder whole.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use candor_store::backup::{self, From, Made};
use candor_store::check;
use candor_store::clock::SystemClock;
use candor_store::work::Work;
use candor_wire::log::checkpoint::Checkpoint;
use candor_wire::log::note::{MOST_BYTES, Note};
use etcetera::BaseStrategy;
use serde_json::json;

use super::super::doctor;
use crate::args::{Backup, Restore};
use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::render::{Report, counted, printable};
use crate::service;
use crate::settings::Settings;

/// A ledger of a hundred million people takes that long on a slow disk.
const PATIENCE: Duration = Duration::from_hours(12);

pub(super) async fn check(settings: &Settings) -> Result<Exit, Failure> {
    let work = Arc::new(Work::default());
    let mut progress = Progress::start("reading");
    progress.watch(Arc::clone(&work), "files");
    let findings = check::check(&settings.store, &work).await?;
    drop(progress);
    doctor::report("store.check", &findings).print(&settings.answer)?;
    Ok(if check::holds(&findings) { Exit::Done } else { Exit::CheckFailed })
}

pub(super) async fn back_up(args: &Backup, settings: &Settings) -> Result<Exit, Failure> {
    let made = if args.data.is_some() {
        let work = Arc::new(Work::default());
        let mut progress = Progress::start("copying");
        progress.watch(Arc::clone(&work), "files");
        backup::make(&settings.store, &args.to, args.keys.as_deref(), &SystemClock, work).await?
    } else if settings.url.is_some() {
        ask(args, settings).await?
    } else {
        return Err(Failure::usage("neither a service nor a data folder is named")
            .mend("give --url and --token-file for a running service, or --data"));
    };
    let mut report = Report::new("store.backup").column("folder", "folder").number("files", "files");
    report = report.number("bytes", "bytes").number("up_to", "up to frame").column("sha256", "SHA-256 of its list");
    report.row(vec![
        json!(made.folder),
        json!(made.files),
        json!(made.bytes),
        json!(made.up_to_lsn),
        json!(made.sha256),
    ]);
    report.fact("left_out", json!(made.left_out));
    for path in &made.left_out {
        report.note(format!("left out, because nobody knows what it is: {}", printable(path)));
    }
    match &args.keys {
        Some(path) => report.note(format!("the key ring is in {}", printable(&path.display().to_string()))),
        None => report.note("the key ring is not in it: keep that apart, and keep it"),
    }
    report.print(&settings.answer)?;
    Ok(Exit::Done)
}

/// Has a running service copy its own folder.
async fn ask(args: &Backup, settings: &Settings) -> Result<Made, Failure> {
    let mut client = service::client(settings)?.patience(PATIENCE);
    let _progress = Progress::start("the service copies");
    let made = service::post(&mut client, "/v1/backup", json!({ "name": args.to }).to_string()).await?;
    serde_json::from_value(made).map_err(|_| candor_agent::error::Error::Answer("a backup").into())
}

pub(super) async fn restore(args: &Restore, settings: &Settings) -> Result<Exit, Failure> {
    if !args.accept_rollback {
        refuse_rollback(&args.from)?;
    }
    let work = Arc::new(Work::default());
    let mut progress = Progress::start("restoring");
    progress.watch(Arc::clone(&work), "files");
    let from = From { folder: args.from.clone(), keys: args.keys.clone(), tombstones: args.tombstones.clone() };
    let restored = backup::restore(&settings.store, from, work).await?;
    drop(progress);
    let mut report = doctor::report("store.restore", &restored.findings);
    report.fact("files", restored.list.files.len());
    report.fact("made_at", restored.list.made_at);
    report.fact("whole", restored.whole);
    let made = jiff::Timestamp::from_microsecond(restored.list.made_at)
        .map_or_else(|_| String::new(), |at| format!("{at:.0}"));
    report.note(format!("{} of {made}", counted(restored.list.files.len(), "file")));
    if !restored.whole {
        report.note("it does not hold together: no service starts on it");
    }
    if args.tombstones.is_none() {
        report.note("who was erased since then is there again: --tombstones FILE says who");
    }
    report.print(&settings.answer)?;
    Ok(if restored.whole { Exit::Done } else { Exit::CheckFailed })
}

/// Refuses a log that is behind a checkpoint of it that was kept here: whoever saw more would see it take something back.
fn refuse_rollback(backup: &Path) -> Result<(), Failure> {
    let Some(own) = checkpoint(&backup.join("log").join("checkpoint")) else { return Ok(()) };
    let state = etcetera::choose_base_strategy().ok().and_then(|base| base.state_dir());
    let Some(kept) = state.map(|state| state.join("candor").join("logs")) else { return Ok(()) };
    let files = std::fs::read_dir(kept).into_iter().flatten().flatten().map(|entry| entry.path());
    let newer = files.filter_map(|path| checkpoint(&path)).filter(|one| one.origin == own.origin).map(|one| one.size);
    match newer.max() {
        Some(size) if size > own.size => Err(Failure::new(
            Exit::CheckFailed,
            format!("the log in it has {}, and one of {size} was seen here", counted(own.size, "entry")),
        )
        .mend("restore a newer backup; if there is none, --accept-rollback: whoever kept that checkpoint will see it")),
        _ => Ok(()),
    }
}

/// What a checkpoint says; none where there is none that can be read.
fn checkpoint(path: &Path) -> Option<Checkpoint> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    #[expect(clippy::disallowed_methods, reason = "capped by `take`")]
    let read = file.take(MOST_BYTES as u64).read_to_end(&mut bytes);
    read.ok()?;
    Checkpoint::parse(Note::parse(&bytes).ok()?.text()).ok()
}
