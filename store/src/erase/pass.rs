//! A pass: everything that is open is erased together, on the thread that writes tables. Each step is durable before the next and
//! harmless to repeat; what a crash broke off goes on with the next pass, at the latest with the next start.

use std::collections::{BTreeMap, HashMap, HashSet};

use candor_policy::hex;
use candor_policy::subject::LedgerId;
use candor_wire::erasure::{Certificate, CertificateKind, ErasedFile, Place, PlaceState, Scope, subject_digest};
use candor_wire::log::entry::{Entry, Erased, Sha256Hex};

use super::desk::Desk;
use super::plan::{self, Held, Pass, Waits, Wanted};
use crate::consent::key_of;
use crate::error::{Error, Kind};
use crate::flusher::Flusher;
use crate::ledger::erasures::Kept;
use crate::ledger::jobs::Job;
use crate::rewrite::{Left, Rewrite};
use crate::segment::SET_ASIDE;
use crate::shared::lock;
use crate::table::engine::Delta;
use crate::table::layout;

use super::tombstones::Line;

/// What the ledger calls a job of this room.
pub(crate) const PASS: &str = "erase";
/// Its files may be written anew, or not.
const PLANNED: &str = "planned";
/// Certificates of one entry of the log: it stays well under 64 KiB.
const CERTIFICATES_NAMED: usize = 800;
/// Numbers of successors that one entry names.
const SUCCESSORS_NAMED: usize = 3_000;

/// What a pass did.
#[derive(Clone, Debug, Default)]
pub struct Passed {
    /// Erasures that are done.
    pub erasures: u64,
    /// Files that are gone.
    pub files: u64,
    /// Rows that are gone.
    pub rows: u64,
    /// What is still open, the nearest deadline first.
    pub open: Vec<Waiting>,
    /// Why something waits: the first reason. Who asked while the pass ran waits without one.
    pub why: Option<Error>,
}

/// An erasure that is still open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// 32 hex digits.
    pub id: String,
    /// Until when it has to be done, µs UTC.
    pub deadline: i64,
}

impl Passed {
    /// The same, unless none could be done. Files do not count: a job that goes on tells again of those that went before.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn unless_for_nothing(mut self) -> Result<Self, Error> {
        match self.why.take_if(|_| self.erasures == 0) {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }
}

/// Does the erasures of `drained`: those for whose subjects everything that was acknowledged is in tables. Only on the flusher's
/// thread. Whatever else is open by now waits. What keeps one keeps no other: the next pass goes on with those that it keeps.
///
/// # Errors
/// If nothing can be trusted any more; if what is done cannot be ended.
pub(super) fn run(flusher: &Flusher, desk: &Desk, drained: &HashSet<[u8; 16]>) -> Result<Passed, Error> {
    let (mut done, mut waits) = (Passed::default(), Waits::default());
    let outcome = all(flusher, desk, drained, (&mut done, &mut waits));
    waits.keep_going(outcome)?;
    flusher.shared().gauges.unreadable.of_erasure(waits.unreadable);
    flusher.desk().runtime.block_on(flusher.desk().ledger.finish_erasures())?;
    fail::fail_point!("erase::after_clean", |_| std::process::abort());
    Ok(Passed { why: waits.why, ..done })
}

fn all(
    flusher: &Flusher,
    desk: &Desk,
    drained: &HashSet<[u8; 16]>,
    (done, waits): (&mut Passed, &mut Waits),
) -> Result<(), Error> {
    let (ledger, runtime) = (flusher.desk().ledger, flusher.desk().runtime);
    // Whose rows such a job has in its hands is seen by the files that it names.
    Waits::default().keep_going(flusher.desk().resume())?;
    let mut in_passes = HashSet::new();
    for job in runtime.block_on(ledger.jobs())?.into_iter().filter(|job| job.kind == PASS) {
        let pass = parse(&job)?;
        let outcome = finish(flusher, desk, job.id, &pass, (done, waits));
        waits.keep_going(outcome)?;
        in_passes.extend(pass.erasures);
    }
    let mut open = runtime.block_on(ledger.open_erasures())?;
    open.retain(|kept| drained.contains(&kept.id) && !in_passes.contains(&hex::encode(&kept.id)));
    if !open.is_empty() {
        let (pass, why) = planned(flusher, desk, &open)?;
        waits.and(why);
        if !pass.erasures.is_empty() {
            let what = serde_json::to_string(&pass).map_err(|why| unreadable(&why))?;
            let id = runtime.block_on(ledger.begin_job(PASS, &what, PLANNED))?;
            fail::fail_point!("erase::after_plan", |_| std::process::abort());
            let outcome = finish(flusher, desk, id, &pass, (done, waits));
            waits.keep_going(outcome)?;
        }
    }
    Ok(())
}

fn planned(flusher: &Flusher, desk: &Desk, open: &[Kept]) -> Result<(Pass, Waits), Error> {
    let mut wanted = Vec::with_capacity(open.len());
    for kept in open {
        let subjects = kept.subject.map_or_else(Vec::new, |subject| plan::ids_of(&lock(&desk.ring), &subject));
        wanted.push(Wanted { id: hex::encode(&kept.id), scope: scope_of(kept)?, subjects });
    }
    plan::plan(&flusher.shared().settings.data, &desk.log, wanted, &flusher.desk().files_of_jobs()?)
}

fn finish(
    flusher: &Flusher,
    desk: &Desk,
    job: i64,
    pass: &Pass,
    (done, waits): (&mut Passed, &mut Waits),
) -> Result<(), Error> {
    let (ledger, runtime) = (flusher.desk().ledger, flusher.desk().runtime);
    let rewritten = flusher.desk().rewrite_for(Some(job), &pass.rewrite)?;
    done.files += rewritten.files_removed();
    waits.unreadable.extend(rewritten.unreadable());
    fail::fail_point!("erase::after_rewrite", |_| std::process::abort());
    let open: Vec<Kept> = runtime.block_on(ledger.open_erasures())?;
    let of_pass = without_waiting(pass, &open, rewritten.left.as_ref());
    if let Some(left) = rewritten.left.as_ref().filter(|_| of_pass.is_empty()) {
        return Err(left.error.clone());
    }
    forget_subjects(flusher, &of_pass)?;
    fail::fail_point!("erase::after_ledger", |_| std::process::abort());
    let ended: Vec<&Kept> = of_pass.iter().map(|(_, kept)| *kept).collect();
    desk.applied(flusher, &ended)?;
    let successors = successors(desk, pass)?;
    let digests = certificates(flusher, desk, pass, &of_pass, &successors)?;
    fail::fail_point!("erase::after_certificates", |_| std::process::abort());
    let entry = logged(desk, pass, digests, &successors)?;
    fail::fail_point!("erase::after_log", |_| std::process::abort());
    let ids: Vec<[u8; 16]> = of_pass.iter().map(|(_, kept)| kept.id).collect();
    // What waits needs the job yet: it alone knows what the files held that are gone by now.
    let over = rewritten.left.is_none().then_some(job);
    runtime.block_on(ledger.end_erasures(&ids, entry, over, flusher.shared().clock.now()))?;
    fail::fail_point!("erase::after_end", |_| std::process::abort());
    done.erasures += ids.len() as u64;
    let places: HashSet<usize> = of_pass.iter().map(|(at, _)| *at).collect();
    let rows = pass.held.iter().flat_map(|held| &held.rows);
    done.rows += rows.filter(|(at, _)| places.contains(at)).map(|(_, rows)| rows).sum::<u64>();
    rewritten.whole().map(drop)
}

/// The erasures of a pass that are open, with their places in it, but for those of whom a file that is left has rows.
fn without_waiting<'a>(pass: &Pass, open: &'a [Kept], left: Option<&Left>) -> Vec<(usize, &'a Kept)> {
    let places: HashMap<&str, usize> = pass.erasures.iter().enumerate().map(|(at, id)| (id.as_str(), at)).collect();
    let of_pass = |kept: &'a Kept| Some((*places.get(hex::encode(&kept.id).as_str())?, kept));
    let of_pass: Vec<(usize, &Kept)> = open.iter().filter_map(of_pass).collect();
    let Some(left) = left else { return of_pass };
    let is_left = |held: &&Held| left.files.contains(&(held.table.clone(), held.path.clone()));
    let waiting: HashSet<usize> =
        pass.held.iter().filter(is_left).flat_map(|held| held.rows.iter().map(|(at, _)| *at)).collect();
    // Rows are counted for one erasure, and another one of the same subject may reach them too.
    let subjects: HashSet<LedgerId> =
        of_pass.iter().filter(|(at, _)| waiting.contains(at)).filter_map(|(_, kept)| kept.subject).collect();
    of_pass.into_iter().filter(|(_, kept)| kept.subject.is_none_or(|subject| !subjects.contains(&subject))).collect()
}

/// Takes subjects of whom nothing may stay out of the ledger, and out of memory.
fn forget_subjects(flusher: &Flusher, erasures: &[(usize, &Kept)]) -> Result<(), Error> {
    let mut subjects: Vec<LedgerId> = Vec::new();
    for (_, kept) in erasures {
        if scope_of(kept)? == Scope::All {
            subjects.extend(kept.subject);
        }
    }
    flusher.desk().runtime.block_on(flusher.desk().ledger.erase_subjects(&subjects))?;
    for subject in &subjects {
        flusher.shared().batches.forget(&key_of(subject));
    }
    Ok(())
}

/// Makes the certificates that are not made yet, and keeps them; the digests of all.
fn certificates(
    flusher: &Flusher,
    desk: &Desk,
    pass: &Pass,
    erasures: &[(usize, &Kept)],
    successors: &HashMap<u64, Successor>,
) -> Result<Vec<Sha256Hex>, Error> {
    let now = flusher.shared().clock.now();
    let set_aside = layout_has_files(&flusher.shared().settings.data.join(SET_ASIDE));
    let mut held = by_erasure(desk, pass, successors);
    let (mut digests, mut made) = (Vec::new(), Vec::new());
    for (at, kept) in erasures.iter().filter(|(_, kept)| !kept.is_again) {
        let files = held.remove(at).unwrap_or_default();
        let Some(subject) = &kept.subject else { continue };
        let nonce = desk.key.nonce(&kept.id, subject);
        let certificate = match &kept.certificate {
            Some(json) => Certificate::decode(json.as_bytes()).map_err(|why| unsound(&why))?,
            None => Certificate {
                deadline: kept.deadline,
                done_at: now,
                rows: files.values().map(|file| file.removed).sum(),
                files: files.into_values().collect(),
                fleet: desk.fleet.clone(),
                id: hex::encode(&kept.id),
                kind: CertificateKind::Certificate,
                places: places(desk, kept, set_aside, now)?,
                requested_at: kept.requested_at,
                scope: scope_of(kept)?,
                subject: subject_digest(&nonce, subject),
            },
        };
        digests.push(certificate.digest().map_err(|why| unsound(&why))?);
        if kept.certificate.is_none() {
            let json = certificate.encode().map_err(|why| unsound(&why))?;
            let json = String::from_utf8(json).map_err(|why| unsound(&why))?;
            made.push((kept.id, json));
        }
    }
    flusher.desk().runtime.block_on(flusher.desk().ledger.keep_certificates(&made, now))?;
    digests.sort_unstable();
    Ok(digests)
}

/// By erasure, the files that held rows of it, with those in their place.
fn by_erasure(desk: &Desk, pass: &Pass, successors: &HashMap<u64, Successor>) -> HashMap<usize, ErasedFiles> {
    let mut by_erasure: HashMap<usize, ErasedFiles> = HashMap::new();
    for held in &pass.held {
        let new = entry_of(desk, held).and_then(|entry| successors.get(&entry)).map(|successor| successor.file);
        for (at, rows) in &held.rows {
            let fresh = ErasedFile { table: held.table.clone(), old: held.file, new, removed: 0 };
            let files = by_erasure.entry(*at).or_default();
            files.entry((held.table.clone(), held.file)).or_insert(fresh).removed += rows;
        }
    }
    by_erasure
}

/// In the order of a certificate.
type ErasedFiles = BTreeMap<(String, Sha256Hex), ErasedFile>;

/// The file in the place of another.
#[derive(Clone, Copy)]
struct Successor {
    /// Number of its entry.
    entry: u64,
    file: Sha256Hex,
    /// Rows that it does not have any more.
    removed: u64,
}

/// Entry of a file that held rows → what took its place since the pass began, as the log says.
fn successors(desk: &Desk, pass: &Pass) -> Result<HashMap<u64, Successor>, Error> {
    let mut successors = HashMap::new();
    for (entry, said) in (pass.log_size..).zip(desk.log.entries(pass.log_size..desk.log.size())?) {
        if let Entry::Sealed(sealed) = said {
            let successor = Successor { entry, file: sealed.file, removed: sealed.removed.unwrap_or(0) };
            successors.extend(sealed.replaces.into_iter().map(|old| (old, successor)));
        }
    }
    Ok(successors)
}

/// Number of the entry of a file that held rows.
fn entry_of(desk: &Desk, held: &Held) -> Option<u64> {
    desk.log.look(|files| files.entry_of(&held.table, &held.path))
}

/// What became of it place by place.
fn places(desk: &Desk, kept: &Kept, set_aside: bool, now: i64) -> Result<Vec<Place>, Error> {
    const DAY: i64 = 86_400_000_000;
    let done = |name: &str| Place { place: name.to_owned(), state: PlaceState::Done, until: None };
    let mut places = vec![done("tables"), done("log of the tables"), done("segments")];
    if scope_of(kept)? == Scope::All {
        places.push(done("ledger"));
    }
    if set_aside {
        places.push(Place { place: "damaged segments".to_owned(), state: PlaceState::Due, until: None });
    }
    for place in &desk.settings.place {
        let until = place.days.map(|days| now.saturating_add(i64::from(days).saturating_mul(DAY)));
        places.push(Place { place: place.name.clone(), state: place.state, until });
    }
    Ok(places)
}

/// Puts the certificates into the log, once; the number of the last entry that names some.
fn logged(
    desk: &Desk,
    pass: &Pass,
    mut digests: Vec<Sha256Hex>,
    successors: &HashMap<u64, Successor>,
) -> Result<Option<u64>, Error> {
    let of_held = pass.held.iter().filter_map(|held| successors.get(&entry_of(desk, held)?));
    let mut successors: Vec<(u64, u64)> = of_held.map(|successor| (successor.entry, successor.removed)).collect();
    successors.sort_unstable();
    successors.dedup();
    let mut last = None;
    // What a crash kept from being noted is there all the same.
    for (number, said) in (pass.log_size..).zip(desk.log.entries(pass.log_size..desk.log.size())?) {
        if let Entry::Erased(known) = said {
            if digests.iter().any(|digest| known.certificates.contains(digest)) {
                last = Some(number);
            }
            digests.retain(|digest| !known.certificates.contains(digest));
            successors.retain(|(entry, _)| !known.replaced.contains(entry));
        }
    }
    let mut entries = Vec::new();
    while !digests.is_empty() || !successors.is_empty() {
        let certificates: Vec<Sha256Hex> = digests.drain(..digests.len().min(CERTIFICATES_NAMED)).collect();
        let replaced: Vec<(u64, u64)> = successors.drain(..successors.len().min(SUCCESSORS_NAMED)).collect();
        entries.push(Entry::Erased(Erased {
            certificates,
            files: Vec::new(),
            removed: replaced.iter().map(|(_, removed)| removed).sum(),
            replaced: replaced.into_iter().map(|(entry, _)| entry).collect(),
        }));
    }
    let has_certificates = |entry: &Entry| matches!(entry, Entry::Erased(erased) if !erased.certificates.is_empty());
    let named = entries.iter().filter(|entry| has_certificates(entry)).count() as u64;
    let numbers = desk.log.append(&entries)?;
    // Certificates come first, so that the entries that name some are the first ones.
    Ok(if named > 0 { Some(numbers.start + named - 1) } else { last })
}

impl Desk {
    /// Notes up to which versions of the tables every tombstone is applied: one that comes back with a backup is older. Those of
    /// erasures that are open and not `ended` now come once more behind it: to them it does not apply.
    pub(super) fn applied(&self, flusher: &Flusher, ended: &[&Kept]) -> Result<(), Error> {
        let mut versions = BTreeMap::new();
        for table in layout::list(&flusher.shared().settings.data)? {
            if let Some(version) = Delta::shared()?.version(&table)? {
                versions.insert(table.name(), version);
            }
        }
        // Before the look into the ledger: a tombstone is there before it is in the file, so that none is missed.
        let file = self.file();
        let open = flusher.desk().runtime.block_on(self.ledger.tombstones_of_open())?;
        let waits = open.into_iter().filter(|(erasure, _)| ended.iter().all(|kept| kept.id != *erasure));
        let lines: Vec<Line> =
            std::iter::once(Line::Applied(versions)).chain(waits.map(|(_, line)| Line::Tombstone(line))).collect();
        file.append(&lines)
    }
}

fn parse(job: &Job) -> Result<Pass, Error> {
    serde_json::from_str(&job.what).map_err(|why| unreadable(&why))
}

/// What a pass is to make of files: from its plan to its end they are its own.
///
/// # Errors
/// If it makes no sense.
pub(crate) fn planned_by(job: &Job) -> Result<Rewrite, Error> {
    parse(job).map(|pass| pass.rewrite)
}

pub(super) fn scope_of(kept: &Kept) -> Result<Scope, Error> {
    serde_json::from_str(&kept.scope).map_err(|why| unreadable(&why))
}

fn layout_has_files(folder: &std::path::Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// The place alone: serde's text may quote what it read.
fn unreadable(why: &serde_json::Error) -> Error {
    let why = format!("it ends to make sense at column {}", why.column());
    Error::new(Kind::Data, "an erasure cannot be read", why, "use the version of candor that began it")
}

pub(super) fn unsound(why: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Data, "a certificate of erasure cannot be made", why, "report this: it is a fault")
}
