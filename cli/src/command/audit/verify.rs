//! `candor audit verify` and `candor audit export`: evidence from a bundle, a service or a data folder, checked and told line by line.

use std::path::Path;

use candor_agent::held::MOST_EPOCHS;
use candor_agent::identity::Identity;
use candor_policy::subject::LedgerId;
use candor_wire::log::checkpoint::{Checkpoint, SignedCheckpoint};
use candor_wire::log::note::{Note, VerifierKey};
use candor_wire::verify::{self, AlsoKept, Check, KeptOf, Line, Outcome, Verdict, digest_of};
use serde_json::json;

use super::gathered::{Gathered, Known};
use super::{ask, bundle, device, rows, whole};
use crate::args::audit::{AboutArg, AuditExport, AuditVerify};
use crate::exit::{Exit, Failure};
use crate::kept::Kept;
use crate::progress::Progress;
use crate::render::{Report, Text, Tone, Width, counted, grid, printable, shorten};
use crate::service;
use crate::settings::Settings;

/// Epochs beyond those that a service knows whose certificates are looked for.
const EPOCHS_AROUND: u64 = 64;

/// Most characters of a line for people.
const PEOPLE: u16 = 100;
/// So many hex digits in a row are a digest or an id, of which so many are shown.
const DIGEST: usize = 24;
const SHOWN: usize = 9;

/// Checks, and tells what came of it.
pub(crate) async fn verify(args: &AuditVerify, settings: &Settings) -> Result<Exit, Failure> {
    if args.all {
        let (lines, _) = whole::audit(&known(args), true, settings).await?;
        return tell("audit.verify", &lines, settings);
    }
    let gathered = match &args.bundle {
        Some(folder) => match bundle::read(folder) {
            Ok(gathered) => gathered,
            Err(_) if !folder.is_dir() => {
                return Err(Failure::new(Exit::CouldNotVerify, format!("there is no bundle at {}", folder.display())));
            }
            Err(why) => return tell("audit.verify", &[broken(why)], settings),
        },
        None => match gather(&args.about, Some(&args.vkey), args.data.data.is_some(), settings).await {
            Ok(gathered) => gathered,
            Err(failure) => match ask::broken_rule(settings, args.data.data.is_some()) {
                Some(why) => return tell("audit.verify", &[line(Check::Rules, why)], settings),
                None => return Err(unchecked(failure)),
            },
        },
    };
    let (is_bundle, note, asked_at) = (args.bundle.is_some(), gathered.checkpoint.clone(), gathered.asked_at);
    let mut gathered = gathered;
    if is_bundle {
        if let Some(path) = settings.identity.as_ref().filter(|_| args.about.subject.is_none())
            && let Some(name) = device::stranger(&gathered, &Identity::read(path)?, args.about.identity.is_some())?
        {
            let why = format!("answer {name} is about another identity");
            return tell("audit.verify", &[broken(why)], settings);
        }
        device::add(&mut gathered, &args.about)?;
    }
    let read = |path: &Path| {
        let failed = |why| Failure::new(Exit::CouldNotVerify, format!("{} cannot be read: {why}", path.display()));
        std::fs::read(path).map_err(failed)
    };
    for path in &args.audit {
        gathered.audits.push(read(path)?);
    }
    for path in &args.certificate {
        let mut certificate = read(path)?;
        // An editor may have ended the line: no other byte is passed over.
        certificate.truncate(certificate.strip_suffix(b"\n").unwrap_or(&certificate).len());
        gathered.certificates.push(certificate);
    }
    gathered.holders = holders(settings, &gathered)?;
    let mut known = known(args);
    if is_bundle {
        known.by_bundle = by_bundle(&args.about, settings);
    }
    let keys = if known.log.is_empty() { gathered.shown_keys() } else { known.log.clone() };
    let kept = Kept::open()?;
    (known.kept, known.also_kept) = match gathered.kept.take() {
        // Of a service it was read before it was asked: another command may have kept a newer one meanwhile.
        Some(by_then) => by_then,
        // Keys that a bundle shows are its own word; those of a folder come from its ring.
        None => held(&kept, note.as_deref(), &keys, !known.log.is_empty() || !is_bundle)?,
    };
    let mut lines = Vec::new();
    if is_bundle {
        lines.push(whole_bundle(asked_at));
    }
    match gathered.into_evidence(known) {
        Ok(evidence) => lines.extend(verify::check(&evidence)),
        Err(why) => lines.push(broken(why)),
    }
    keep_sound(&kept, note.as_deref(), &keys, &lines)?;
    tell("audit.verify", &lines, settings)
}

/// Writes a bundle.
pub(crate) async fn export(args: &AuditExport, settings: &Settings) -> Result<Exit, Failure> {
    let gathered = gather(&args.about, None, args.data.data.is_some(), settings).await?;
    let (rows, count) = rows::parquet(&gathered)?;
    let manifest = bundle::write(&args.bundle, &gathered, rows)?;
    let mut report = Report::new("audit.export").column("path", "file").column("sha256", "SHA-256");
    for (path, digest) in &manifest.files {
        report.row(vec![json!(path), json!(digest.to_string())]);
    }
    report.fact("bundle", args.bundle.display().to_string());
    report.fact("digest", manifest.digest.to_string());
    report.fact("held", count);
    report.note(format!("{} of {}", counted(count, "row"), counted(gathered.subjects.len(), "subject")));
    if args.about.subject.is_some() && gathered.subjects.is_empty() {
        report.note("nothing is held about this subject, says the service; the bundle has no proof of that");
    } else if args.about.subject.is_some() && count == 0 {
        report.note("nothing is held about this subject");
    }
    report.note(format!("`candor audit verify {}` checks it", args.bundle.display()));
    report.print(&settings.answer)?;
    Ok(Exit::Done)
}

/// What verdicts come to, for people and programs.
pub(super) fn tell(kind: &'static str, lines: &[Line], settings: &Settings) -> Result<Exit, Failure> {
    let mut report = Report::new(kind).column("verdict", "verdict").column("check", "what").column("about", "of what");
    report = report.column("why", "how much, or why").column("assumption", "rests on");
    for line in lines {
        let assumption = json!(line.assumption);
        report.row(vec![json!(line.verdict), json!(line.check), json!(line.about), json!(line.why), assumption]);
    }
    let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
    let (outcome, exit) = match verify::outcome(lines) {
        Outcome::Holds => ("holds", Exit::Done),
        Outcome::Failed => ("failed", Exit::VerificationFailed),
        Outcome::Unchecked => ("unchecked", Exit::CouldNotVerify),
    };
    report.fact("outcome", outcome);
    let verdicts =
        [Verdict::Proved, Verdict::ProvedIfRecomputed, Verdict::NotProvable, Verdict::Unchecked, Verdict::Failed];
    let counts: Vec<String> = verdicts
        .iter()
        .filter(|verdict| count(**verdict) > 0)
        .map(|verdict| format!("{} {}", count(*verdict), verdict.text()))
        .collect();
    report.text(for_people(lines));
    report.note(match exit {
        Exit::Done => format!("it holds: {}", counts.join(", ")),
        Exit::VerificationFailed => format!("IT DOES NOT HOLD: {}", counts.join(", ")),
        _ => format!("IT COULD NOT BE CHECKED: {}", counts.join(", ")),
    });
    report.print(&settings.answer)?;
    Ok(exit)
}

/// Everything that the arguments name.
async fn gather(
    about: &AboutArg,
    keys: Option<&[VerifierKey]>,
    in_folder: bool,
    settings: &Settings,
) -> Result<Gathered, Failure> {
    let identity = settings.identity.as_deref().filter(|_| about.subject.is_none()).map(Identity::read).transpose()?;
    let subject = about.subject.as_deref().map(|subject| service::or_stdin(subject, "subject")).transpose()?;
    let whom = match (&identity, &subject) {
        (Some(identity), _) => ask::Whom::Holder(identity),
        (None, Some(subject)) => ask::Whom::Named(subject),
        (None, None) => ask::Whom::Nobody,
    };
    let mut progress = Progress::start("asking for the keys of the log");
    let mut gathered = if in_folder || settings.url.is_none() {
        ask::folder(whom, settings, &mut progress).await?
    } else {
        ask::service(whom, keys, settings, &progress).await?
    };
    device::add(&mut gathered, about)?;
    Ok(gathered)
}

fn known(args: &AuditVerify) -> Known {
    let (log, witnesses, auditors) = (args.vkey.clone(), args.witness.clone(), args.auditor.clone());
    Known { log, witnesses, auditors, kept: None, also_kept: Vec::new(), by_bundle: Vec::new() }
}

/// Ids under which a service knew the holder of an identity: of an epoch that was erased it says nothing any more.
fn holders(settings: &Settings, gathered: &Gathered) -> Result<Vec<LedgerId>, Failure> {
    let Some(path) = settings.identity.as_deref().filter(|_| !gathered.certificates.is_empty()) else {
        return Ok(Vec::new());
    };
    let identity = Identity::read(path)?;
    let last = gathered.subjects.iter().filter_map(|told| told.epoch).max().unwrap_or(0);
    if last > MOST_EPOCHS {
        return Err(Failure::new(Exit::CouldNotVerify, "an answer is about an epoch that no device comes to"));
    }
    let last = last + EPOCHS_AROUND;
    let id = |epoch| Ok(LedgerId::of_certified(&identity.public(epoch)?.subject_id()));
    (0..last).map(id).collect()
}

/// What was kept of a log: the largest checkpoint under any of its keys, and whatever else there is of it or of its name.
pub(super) fn held(
    kept: &Kept,
    note: Option<&[u8]>,
    keys: &[VerifierKey],
    are_sure: bool,
) -> Result<(Option<Vec<u8>>, Vec<AlsoKept>), Failure> {
    let mut also = Vec::new();
    for key in keys {
        let Some(signed) = kept.last(key)? else { continue };
        let (note, text) = (signed.note.to_string().into_bytes(), key.to_string());
        also.push((signed.checkpoint.size, AlsoKept { note, key: digest_of(text.as_bytes()), of: KeptOf::ThisLog }));
    }
    also.sort_by_key(|(size, _)| *size);
    let newest = also.pop().map(|(_, newest)| newest.note);
    // Most often the same note is kept under each of them.
    let mut also: Vec<AlsoKept> = also.into_iter().map(|(_, one)| one).collect();
    also.retain(|one| Some(&one.note) != newest.as_ref());
    let origin = note.and_then(|note| Some(Checkpoint::parse(Note::parse(note).ok()?.text()).ok()?.origin));
    // What was kept under one of its keys was held against the others then.
    let of = if are_sure || newest.is_some() { KeptOf::PerhapsAnother } else { KeptOf::ThisName };
    for other in origin.map(|origin| kept.of_name(&origin, keys)).transpose()?.unwrap_or_default() {
        also.push(AlsoKept { note: other.note, key: other.key, of });
    }
    Ok((newest, also))
}

/// Keeps a checkpoint that lines stand behind, unless a larger one is kept under each key that signed it.
pub(super) fn keep_sound(
    kept: &Kept,
    note: Option<&[u8]>,
    keys: &[VerifierKey],
    lines: &[Line],
) -> Result<(), Failure> {
    let Some(note) = note.filter(|_| is_log_sound(lines)) else { return Ok(()) };
    let Ok(signed) = SignedCheckpoint::open(note, keys, &[]) else { return Ok(()) };
    for key in signed.by_log.iter().map(|verified| &verified.by) {
        if kept.last(key)?.is_none_or(|before| before.checkpoint.size < signed.checkpoint.size) {
            return kept.keep(&signed);
        }
    }
    Ok(())
}

/// Whoever asks and gets no answer must not take that for a good one.
fn unchecked(failure: Failure) -> Failure {
    match failure.exit {
        Exit::Usage => failure,
        _ => Failure { exit: Exit::CouldNotVerify, ..failure },
    }
}

fn broken(why: String) -> Line {
    line(Check::Bundle, why)
}

pub(super) fn line(check: Check, why: String) -> Line {
    Line { check, about: None, verdict: Verdict::Failed, assumption: None, why: Some(why) }
}

fn whole_bundle(asked_at: i64) -> Line {
    let asked_at = jiff::Timestamp::from_microsecond(asked_at).map(|time| format!("{time:.0}"));
    let why = format!("its writer asked, so it says, at {}", asked_at.as_deref().unwrap_or("no time that there is"));
    Line { check: Check::Bundle, about: None, verdict: Verdict::Proved, assumption: None, why: Some(why) }
}

/// What a bundle alone says: when it was asked for, and what whoever checks does not bring along.
fn by_bundle(about: &AboutArg, settings: &Settings) -> Vec<Check> {
    let own = [
        (Check::Ids, settings.identity.is_some() && about.subject.is_none()),
        (Check::ReceiptsComplete, about.receipts.is_some()),
        (Check::StatementsComplete, about.statements.is_some()),
        (Check::Fresh, false),
    ];
    own.into_iter().filter(|(_, is_own)| !is_own).map(|(check, _)| check).collect()
}

/// Whether a checkpoint is worth keeping: the log stands behind it, whatever else is wrong.
fn is_log_sound(lines: &[Line]) -> bool {
    let is = |check, verdict| lines.iter().any(|line| line.check == check && line.verdict == verdict);
    let is_another = is(Check::Kept, Verdict::Failed) || is(Check::Kept, Verdict::Unchecked);
    is(Check::Entries, Verdict::Proved) && !is_another && !is(Check::Rules, Verdict::Failed)
}

/// A line each, those of files and receipts that came to the same as one.
fn for_people(lines: &[Line]) -> String {
    let mut shown: Vec<(Line, usize)> = Vec::new();
    for line in lines {
        let is_grouped = matches!(line.check, Check::File | Check::Recomputed | Check::ReceiptRows);
        let same = |(other, _): &&mut (Line, usize)| {
            let of = |line: &Line| (line.check, line.verdict, line.assumption, line.why.clone());
            of(other) == of(line)
        };
        match shown.iter_mut().find(same) {
            Some((_, count)) if is_grouped && line.verdict < Verdict::Unchecked => *count += 1,
            _ => shown.push((line.clone(), 1)),
        }
    }
    let row = |(line, count): &(Line, usize)| {
        let tone = match line.verdict {
            Verdict::Proved | Verdict::ProvedIfRecomputed => Tone::Kept,
            Verdict::NotProvable => Tone::Gone,
            Verdict::Unchecked | Verdict::Failed => Tone::Changed,
        };
        let about = match count {
            1 => line.about.clone().unwrap_or_default(),
            n => format!("{n} of them"),
        };
        let why = [line.why.as_deref(), line.assumption.map(verify::Assumption::text)];
        let why = why.into_iter().flatten().collect::<Vec<_>>().join("; ");
        vec![
            Text::toned(line.verdict.text().to_owned(), tone),
            Text::from(printable(line.check.text())),
            Text::from(brief(&printable(&about))),
            Text::from(brief(&printable(&why))),
        ]
    };
    let titles = [("verdict", false), ("what", false), ("of what", false), ("how much, or why", false)];
    grid(&titles, shown.iter().map(row).collect(), Width::AtMost(PEOPLE))
}

/// Text with its digests cut: the whole ones are in `--json`.
fn brief(text: &str) -> String {
    let (mut brief, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let (before, from) = rest.split_at(at);
        let (digits, after) = from.split_at(from.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(from.len()));
        brief.push_str(before);
        brief.push_str(&if digits.len() < DIGEST { digits.to_owned() } else { shorten(digits, SHOWN) });
        rest = after;
    }
    brief + rest
}

/// Path as text, for messages.
pub(super) fn named(path: &Path) -> String {
    path.display().to_string()
}
