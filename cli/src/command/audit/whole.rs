//! `candor audit verify --all` and `candor audit sign`: every live file of a data folder, recomputed from its rows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candor_policy::hex;
use candor_store::access::{self, Lasting, Under};
use candor_store::clock::Clock as _;
use candor_store::recount::{self, Found};
use candor_store::work::Work;
use candor_wire::identity::SubjectKey;
use candor_wire::log::checkpoint::SignedCheckpoint;
use candor_wire::log::entry::{Entry, Sealed, Sha256Hex};
use candor_wire::log::live::LiveFiles;
use candor_wire::verify::{self, AuditKind, AuditStatement, Check, Line, Outcome, Verdict};
use serde_json::json;

use super::ask;
use super::gathered::Known;
use super::verify::{held, keep_sound, named};
use crate::args::audit::AuditSign;
use crate::exit::{Exit, Failure};
use crate::kept::Kept;
use crate::progress::Progress;
use crate::render::{Report, counted};
use crate::service;
use crate::settings::Settings;

/// What an auditor can sign.
#[derive(Debug)]
pub(super) struct Recomputed {
    checkpoint: SignedCheckpoint,
    files: BTreeSet<Sha256Hex>,
}

/// Checks the log of a data folder and every file that it says is live.
pub(super) async fn audit(
    known: &Known,
    with_files: bool,
    settings: &Settings,
) -> Result<(Vec<Line>, Option<Recomputed>), Failure> {
    let mut progress = Progress::start("reading the log");
    let mut gathered = match ask::folder(ask::Whom::Nobody, settings, &mut progress).await {
        Ok(gathered) => gathered,
        Err(failure) => {
            return ask::broken_rule(settings, true).map(failed_rule).ok_or(failure);
        }
    };
    let (view, under) = access::open(&settings.data, &Lasting::default(), || Under::of_folder(&settings.data)).await?;
    let view = view.with_key_ring(settings.store.key_ring.as_deref());
    gathered.opened = view.opened_epochs(under.as_ref().map_or(0, Under::totals_epoch)).await?;
    let (note, bytes) = (gathered.checkpoint.clone(), gathered.entries.clone().unwrap_or_default());
    let shown = gathered.shown_keys();
    let keys = if known.log.is_empty() { shown } else { known.log.clone() };
    let kept = Kept::open()?;
    let mut trust = Known { log: known.log.clone(), witnesses: known.witnesses.clone(), ..Known::default() };
    (trust.kept, trust.also_kept) = held(&kept, note.as_deref(), &keys, true)?;
    let evidence = gathered.into_evidence(trust).map_err(|why| Failure::new(Exit::CouldNotVerify, why))?;
    let mut lines = verify::check(&evidence);
    keep_sound(&kept, note.as_deref(), &keys, &lines)?;
    if verify::outcome(&lines) == Outcome::Failed {
        return Ok((lines, None));
    }
    let mut live = LiveFiles::default();
    let entries: Vec<Entry> = bytes.iter().filter_map(|bytes| Entry::decode(bytes).ok()).collect();
    if entries.iter().any(|entry| live.apply(entry).is_err()) {
        return Ok((lines, None));
    }
    let (seen, wrong) = recount::tiles(&settings.data, &bytes)?;
    for name in &wrong {
        let why = Some("it is another than its entries make it".to_owned());
        lines.push(line(Check::Tiles, Some(name.clone()), Verdict::Failed, why));
    }
    if wrong.is_empty() {
        lines.push(line(Check::Tiles, None, Verdict::Proved, Some(format!("{seen} of them"))));
    }
    for (table, fault) in recount::recount(&view, &entries).await? {
        let verdict = if fault.is_none() { Verdict::Proved } else { Verdict::Failed };
        lines.push(line(Check::Recount, Some(table), verdict, fault));
    }
    let checkpoint = note.and_then(|note| SignedCheckpoint::open(&note, &keys, &[]).ok());
    if !with_files {
        return Ok((lines, None));
    }
    let files: Vec<(u64, Sealed)> = live.live().map(|(entry, sealed)| (entry, sealed.clone())).collect();
    let work = Arc::new(Work::default());
    progress.next("recomputing files");
    progress.watch(Arc::clone(&work), "files");
    let found = recompute(settings, files.clone(), Arc::new(entries.clone()), work).await?;
    drop(progress);
    let mut recomputed = BTreeSet::new();
    for ((entry, sealed), found) in files.iter().zip(found) {
        let about = Some(format!("{} {} (entry {entry})", sealed.table, sealed.path));
        match found {
            Ok(()) => {
                recomputed.insert(sealed.file);
                lines.push(line(Check::Recomputed, about, Verdict::Proved, None));
            }
            Err(Found::Differs(why)) => lines.push(line(Check::Recomputed, about, Verdict::Failed, Some(why))),
            Err(Found::Unread(why)) => lines.push(line(Check::Recomputed, about, Verdict::Unchecked, Some(why))),
        }
    }
    lines.extend(strays(&view, &files));
    Ok((lines, checkpoint.map(|checkpoint| Recomputed { checkpoint, files: recomputed })))
}

fn failed_rule(why: String) -> (Vec<Line>, Option<Recomputed>) {
    (vec![super::verify::line(Check::Rules, why)], None)
}

/// `candor audit totals --check`: the tables against the totals of the log.
pub(crate) async fn totals(settings: &Settings) -> Result<Exit, Failure> {
    let unread = |failure| Failure { exit: Exit::CouldNotVerify, ..failure };
    let (lines, _) = audit(&Known::default(), false, settings).await.map_err(unread)?;
    super::verify::tell("audit.totals.check", &lines, settings)
}

/// Recomputes, and signs which files are as they were sealed.
pub(crate) async fn sign(args: &AuditSign, settings: &Settings) -> Result<Exit, Failure> {
    let key = read_key(&args.key)?;
    let known = Known { log: args.vkey.clone(), ..Known::default() };
    let (lines, recomputed) = audit(&known, true, settings).await?;
    let recomputed = recomputed.filter(|_| verify::outcome(&lines) == Outcome::Holds);
    let Some(Recomputed { checkpoint, files }) = recomputed else {
        crate::render::tell("nothing was signed");
        return super::verify::tell("audit.sign", &lines, settings);
    };
    let unusable = |why: verify::AuditError| Failure::usage(format!("nothing was signed: {why}"));
    let vkey = AuditStatement::verifier(&args.name, &key).map_err(unusable)?;
    let checkpoint = checkpoint.checkpoint;
    let count = files.len();
    let statement = AuditStatement {
        kind: AuditKind::Audit,
        auditor: args.name.clone(),
        log: checkpoint.origin,
        size: checkpoint.size,
        root: Sha256Hex(checkpoint.root),
        files: files.into_iter().collect(),
        at: candor_store::clock::SystemClock.now(),
    };
    let json = statement.sign(&key).and_then(|signed| signed.to_json()).map_err(unusable)?;
    std::fs::write(&args.statement, json)
        .map_err(|why| Failure::new(Exit::Failed, format!("{} cannot be written: {why}", named(&args.statement))))?;
    let mut report = Report::new("audit.sign").column("auditor", "auditor's key").number("files", "files");
    report.row(vec![json!(vkey.to_string()), json!(count)]);
    report.fact("size", checkpoint.size);
    report.fact("statement", named(&args.statement));
    report.note(format!("{} recomputed, the log has {}", counted(count, "file"), counted(checkpoint.size, "entry")));
    report.print(&settings.answer)?;
    Ok(Exit::Done)
}

/// Files by as many threads as there are processors, each with its own rows in memory.
async fn recompute(
    settings: &Settings,
    files: Vec<(u64, Sealed)>,
    entries: Arc<Vec<Entry>>,
    work: Arc<Work>,
) -> Result<Vec<Result<(), Found>>, Failure> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(files.len().max(1));
    work.begin(files.len() as u64);
    let (data, files, next) = (settings.data.clone(), Arc::new(files), Arc::new(AtomicUsize::new(0)));
    let run = |_| {
        let (data, files, entries) = (data.clone(), Arc::clone(&files), Arc::clone(&entries));
        let (next, work) = (Arc::clone(&next), Arc::clone(&work));
        tokio::task::spawn_blocking(move || {
            let mut found = Vec::new();
            while let Some((at, (_, sealed))) =
                Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, files.get(at)?)))
            {
                found.push((at, recount::recompute(&data, sealed, &entries)));
                work.advance(1);
            }
            found
        })
    };
    let mut all = Vec::with_capacity(files.len());
    for thread in (0..threads).map(run).collect::<Vec<_>>() {
        all.extend(
            thread.await.map_err(|why| Failure::new(Exit::Failed, format!("recomputing was broken off: {why}")))?,
        );
    }
    all.sort_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, found)| found).collect())
}

/// Files of tables that the log does not have, and the other way round.
fn strays(view: &candor_store::view::View, files: &[(u64, Sealed)]) -> Vec<Line> {
    let logged: BTreeSet<(&str, &str)> =
        files.iter().map(|(_, sealed)| (sealed.table.as_str(), sealed.path.as_str())).collect();
    let there = view.files();
    let mut lines = Vec::new();
    let mut say = |(table, path): &(&str, &str), why: &str| {
        let about = Some(format!("{table} {path}"));
        lines.push(line(Check::Recomputed, about, Verdict::Failed, Some(why.to_owned())));
    };
    there.difference(&logged).for_each(|file| say(file, "it is in its table, and the log does not say so"));
    logged.difference(&there).for_each(|file| say(file, "it is live in the log, and not in its table"));
    lines
}

fn line(check: Check, about: Option<String>, verdict: Verdict, why: Option<String>) -> Line {
    Line { check, about, verdict, assumption: None, why }
}

/// The seed of an auditor's key.
fn read_key(path: &std::path::Path) -> Result<SubjectKey, Failure> {
    let failed = |why: &str| {
        Failure::configuration(format!("the key {} {why}", named(path)))
            .mend("`openssl rand -hex 32 > FILE` makes one; keep it to yourself")
    };
    let text = service::read_secret(path).map_err(|why| failed(&format!("cannot be read: {why}")))?;
    let seed = hex::decode(text.trim()).and_then(|seed| seed.try_into().ok());
    let seed: [u8; 32] = seed.ok_or_else(|| failed("is not 64 lower-case hex digits"))?;
    Ok(SubjectKey::of_seed(&seed))
}
