//! Whether a data folder holds together: every segment, table, file and document, the ledger, and the account between them.
//! Nothing is changed, and a service may be running.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use candor_policy::digest::Digest;
use candor_wire::counted::{counted, counted_and};

use crate::doctor::{Finding, Outcome};
use crate::error::Error;
use crate::keys::KeyRing;
use crate::kinds::{self, Found, Kind, RESTORING};
use crate::ledger::Ledger;
use crate::lock;
use crate::segment;
use crate::segment::read::SegmentReader;
use crate::segment::recover::{count_set_aside, is_damaged};
use crate::settings::Settings;
use crate::view::{View, blocking};
use crate::work::Work;

mod log;
mod tables;

/// Most problems of one sort that are named one by one.
const MOST_NAMED: usize = 10;
const DOCUMENTS: &str = "documents";
const RESTORE: &str = "restore from a backup, or find out who changed it";

/// Looks everything over. `work` counts the Parquet files.
///
/// # Errors
/// `Data` if it is no data folder.
pub async fn check(settings: &Settings, work: &Arc<Work>) -> Result<Vec<Finding>, Error> {
    let data = settings.data.clone();
    // It says what is wrong with a folder that is none.
    let opened = View::open(&data).await;
    if let Err(error) = &opened
        && !data.join("ledger.db").exists()
    {
        return Err(error.clone());
    }
    let mut findings = vec![restored(&data)];
    findings.extend(look(settings, opened, lock::is_held(&data), work).await?);
    Ok(findings)
}

/// The same of a folder that is being restored, which nobody else has.
pub(crate) async fn inside(settings: &Settings, work: &Arc<Work>) -> Result<Vec<Finding>, Error> {
    look(settings, View::open(&settings.data).await, false, work).await
}

async fn look(
    settings: &Settings,
    opened: Result<View, Error>,
    busy: bool,
    work: &Arc<Work>,
) -> Result<Vec<Finding>, Error> {
    let data = settings.data.clone();
    let mut findings = vec![keys(settings)];
    let (folder, told) = (data.clone(), Arc::clone(work));
    let ring = KeyRing::open_for(&data, settings.key_ring.as_deref()).ok();
    let (of_files, tables) = blocking(move || {
        let files = kinds::list(&folder)?;
        // Before the tables: what is sealed later is in them by then.
        let (log, sealed) = log::check(&folder, ring.as_ref());
        let tables = tables::check(&folder, &sealed, busy, &told)?;
        let mut findings = vec![segments(&folder, busy), set_aside(&folder), tables.finding(), log];
        findings.push(documents(&folder, &files, &tables.documents));
        let sealed = sealed.keys().map(|(table, path)| format!("tables/{table}/{path}")).collect();
        findings.push(orphans(&files, (&tables.live, &sealed), busy));
        findings.push(unknown(&files));
        Ok((findings, tables))
    })
    .await?;
    findings.extend(of_files);
    findings.push(ledger(&data, tables.highest_lsn, busy).await);
    findings.push(match opened {
        Ok(view) => account(&view).await,
        Err(error) => Finding::error(ACCOUNT, &error),
    });
    Ok(findings)
}

/// Whether nothing is wrong: what somebody should look at is not.
#[must_use]
pub fn holds(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.outcome != Outcome::Fail)
}

fn restored(data: &Path) -> Finding {
    const CHECK: &str = "data folder";
    if data.join(RESTORING).exists() {
        return Finding::fail(CHECK, "a restore was broken off: it is not whole", "run the same restore again");
    }
    let running = if lock::is_held(data) { "a service has it open" } else { "no service has it open" };
    Finding::ok(CHECK, running)
}

fn keys(settings: &Settings) -> Finding {
    const CHECK: &str = "key ring";
    match KeyRing::open_for(&settings.data, settings.key_ring.as_deref()) {
        Ok(ring) => Finding::ok(CHECK, counted(ring.lines().len(), "key")),
        Err(error) => {
            let found = error.to_string();
            let found = found.split("\n  mend: ").next().unwrap_or_default().to_owned();
            Finding::warn(CHECK, found, "put it back before the service starts: nobody is found without it")
        }
    }
}

fn segments(data: &Path, busy: bool) -> Finding {
    const CHECK: &str = "segments";
    let paths = match segment::list(&data.join(segment::FOLDER)) {
        Ok(paths) => paths,
        Err(error) => return Finding::error(CHECK, &error),
    };
    let (mut frames, mut problems) = (0, Vec::new());
    for (at, path) in paths.iter().enumerate() {
        let newest = at + 1 == paths.len();
        match read_segment(path, newest, busy) {
            Ok(count) => frames += count,
            // It was released meanwhile.
            Err(_) if busy && !path.exists() => {}
            Err(why) => problems.push(format!("{}: {why}", name_of(path))),
        }
    }
    let found = format!("{} with {}", paths.len(), counted(frames, "frame"));
    verdict(CHECK, found, &problems, "the next start sets the damage aside; rows in it are in no table")
}

fn read_segment(path: &Path, newest: bool, busy: bool) -> Result<u64, String> {
    let mut reader = SegmentReader::open(path).map_err(|error| error.into_error(path).to_string())?;
    let mut frames = 0;
    loop {
        match reader.next_frame() {
            Ok(Some(_)) => frames += 1,
            Ok(None) => break,
            Err(error) => return Err(error.to_string()),
        }
    }
    // What is being written behind the last whole frame says nothing.
    if newest && busy {
        return Ok(frames);
    }
    match is_damaged(path, newest) {
        Ok(false) => Ok(frames),
        Ok(true) => Err(format!("damaged after {}", counted(frames, "frame"))),
        Err(error) => Err(error.to_string()),
    }
}

fn set_aside(data: &Path) -> Finding {
    const CHECK: &str = "set aside";
    match count_set_aside(data) {
        0 => Finding::ok(CHECK, "no damaged segment"),
        count => Finding::warn(
            CHECK,
            format!("{} set aside", counted_and(count, "damaged segment", "was", "were")),
            "keep them for whoever looks into it: rows in them may be in no table",
        ),
    }
}

/// Every document is what its name says, and those that files name are there.
fn documents(data: &Path, files: &[Found], named: &BTreeSet<String>) -> Finding {
    let mut problems = Vec::new();
    let mut there = BTreeSet::new();
    for file in files.iter().filter(|file| file.kind == Some(Kind::Document)) {
        let name = file.path.trim_start_matches("documents/").trim_end_matches(".json");
        match std::fs::read(kinds::below(data, &file.path)) {
            Ok(bytes) if Digest::of_bytes(&bytes).to_string() == name => drop(there.insert(name.to_owned())),
            Ok(_) => problems.push(format!("{} is not what its name says", file.path)),
            Err(error) => problems.push(format!("{}: {error}", file.path)),
        }
    }
    problems.extend(named.difference(&there).map(|digest| format!("{digest} is missing, and rows go by it")));
    verdict(DOCUMENTS, counted(there.len(), "document"), &problems, RESTORE)
}

fn orphans(files: &[Found], (live, sealed): (&HashSet<String>, &HashSet<String>), busy: bool) -> Finding {
    const CHECK: &str = "left over";
    let is_orphan = |file: &&Found| match file.kind {
        // What the log has as live stays, and is a problem of the tables.
        Some(Kind::Parquet) => !live.contains(&file.path) && !sealed.contains(&file.path),
        Some(Kind::Unfinished) => file.path != RESTORING,
        _ => false,
    };
    let orphans = files.iter().filter(is_orphan).count();
    match orphans {
        0 => Finding::ok(CHECK, "nothing"),
        _ if busy => Finding::ok(CHECK, format!("{} that the service is at", counted(orphans, "file"))),
        _ => Finding::warn(
            CHECK,
            counted(orphans, "file of a crash that nothing refers to"),
            "the next start of the service removes them",
        ),
    }
}

fn unknown(files: &[Found]) -> Finding {
    const CHECK: &str = "unknown";
    let unknown: Vec<String> = files.iter().filter(|file| file.kind.is_none()).map(|file| file.path.clone()).collect();
    if unknown.is_empty() {
        return Finding::ok(CHECK, "no file of anybody else");
    }
    let mend = "take them away: a backup does not have them, and nothing looks after them";
    Finding::warn(CHECK, named(&unknown), mend)
}

async fn ledger(data: &Path, highest: u64, busy: bool) -> Finding {
    const CHECK: &str = "ledger";
    let looked: Result<_, Error> = async {
        let ledger = Ledger::open_read_only(&data.join("ledger.db")).await?;
        let (problems, released) = (ledger.integrity().await?, ledger.released_lsn().await?);
        ledger.close().await?;
        Ok((problems, released))
    }
    .await;
    let (mut problems, released) = match looked {
        Ok(looked) => looked,
        Err(error) => return Finding::error(CHECK, &error),
    };
    let folder = data.to_path_buf();
    let frames = blocking(move || segment::read_all(&folder)).await;
    let newest = frames.map_or(0, |frames| frames.last().map_or(0, segment::frame::Frame::lsn)).max(released);
    if highest > newest && !busy {
        problems.push(format!("tables have everything up to frame {highest}, ledger and segments up to {newest}"));
    }
    verdict(CHECK, format!("has everything up to frame {released}"), &problems, "restore ledger.db from a backup")
}

const ACCOUNT: &str = "account";

async fn account(view: &View) -> Finding {
    match view.totals().await {
        Err(error) => Finding::error(ACCOUNT, &error),
        Ok(totals) => {
            let wrong = totals.iter().filter(|total| {
                let dropped: u64 = total.count.dropped.values().sum();
                let balanced = total.count.offered == total.count.stored + dropped;
                let there = total.found.map(|found| found + total.removed.unwrap_or(0));
                !balanced || there.is_some_and(|there| there != total.count.stored)
            });
            let wrong: Vec<String> = wrong.map(|total| format!("{} {}", total.source, total.count.purpose)).collect();
            let found = format!(
                "{}: offered = stored + dropped, and the rows are there, or gone as the log says",
                counted(totals.len(), "line")
            );
            verdict(ACCOUNT, found, &wrong, "`candor audit totals` shows the lines that do not balance")
        }
    }
}

/// One finding for many problems.
fn verdict(check: &'static str, found: String, problems: &[String], mend: &str) -> Finding {
    if problems.is_empty() { Finding::ok(check, found) } else { Finding::fail(check, named(problems), mend) }
}

fn named(problems: &[String]) -> String {
    let first = problems.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join("; ");
    match problems.len().saturating_sub(MOST_NAMED) {
        0 => first,
        more => format!("{first}; and {more} more"),
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
