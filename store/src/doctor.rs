//! Looking a data folder over without changing it: what would keep a service from running well, and what to do about it.

use std::fs::{File, Metadata, TryLockError};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use candor_policy::plan::Plan;
use candor_wire::counted::{counted, counted_and};
use candor_wire::log::checkpoint::Checkpoint;
use candor_wire::log::note::{Note, VerifierKey};
use rustix::fs::{Access, StatVfs, access, statvfs};
use serde::Serialize;

use crate::clock::Clock;
use crate::error::Error;
use crate::fit;
use crate::keys::KeyRing;
use crate::ledger::Ledger;
use crate::log::{self, LogFiles};
use crate::segment::recover::count_set_aside;
use crate::segment::{self, FOLDER};
use crate::settings::Settings;
use crate::storage;
use crate::view::View;

/// More segments than this wait only where flushing fails or cannot keep up.
const MANY_SEGMENTS: usize = 8;
/// Below this many segments' worth of free space somebody should look.
const ROOMY: u64 = 32;
/// Free files (inodes) below which a flush may soon fail.
const FEW_FILES: u64 = 1_000;
/// How far files of the folder may be ahead of the clock.
const AHEAD_SECONDS: i64 = 300;
/// 2026-01-01: no folder is older than the program.
const FIRST_DAY: i64 = 1_767_225_600;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How it is.
    pub outcome: Outcome,
    /// What was found.
    pub found: String,
    /// What to do, where something is to be done.
    pub mend: Option<String>,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing to do.
    Ok,
    /// It works, and somebody should look.
    Warn,
    /// It does not work, or not safely.
    Fail,
}

impl Finding {
    /// All is well.
    #[must_use]
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Ok, found: found.into(), mend: None }
    }

    /// Somebody should look.
    #[must_use]
    pub fn warn(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Warn, found: found.into(), mend: Some(mend.into()) }
    }

    /// It does not work.
    #[must_use]
    pub fn fail(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Fail, found: found.into(), mend: Some(mend.into()) }
    }

    /// An error whose text ends with its mend on a line of its own.
    #[must_use]
    pub fn error(check: &'static str, error: &dyn std::fmt::Display) -> Self {
        let text = error.to_string();
        let (found, mend) = text.split_once("\n  mend: ").unwrap_or((&text, "see above"));
        Self::fail(check, found, mend)
    }
}

impl Outcome {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// Looks over the data folder of the settings. A service may be running on it; nothing is changed.
pub async fn data_folder(settings: &Settings, clock: &dyn Clock) -> Vec<Finding> {
    let data = &settings.data;
    let mut findings = vec![folder(data), space(settings), time(data, clock)];
    if !data.is_dir() {
        return findings;
    }
    findings.push(lock(data));
    findings.push(keys(settings));
    findings.extend(ledger(data).await);
    findings.push(segments(data));
    findings.push(set_aside(data));
    findings.extend(tables(data).await);
    findings.extend(witnesses(settings));
    findings
}

/// Whether what a fleet would store fits into a data folder: its columns, and the name of its log.
pub async fn fleet_in_folder(settings: &Settings, plan: &Arc<Plan>) -> Option<Finding> {
    const CHECK: &str = "fleet and data";
    let data = &settings.data;
    if !data.join("ledger.db").exists() {
        return None;
    }
    let fits: Result<(), Error> = async {
        log::check_origin(data, &settings.log.origin(&plan.catalogue().name))?;
        let ledger = Ledger::open_read_only(&data.join("ledger.db")).await?;
        let released = ledger.released_lsn().await?;
        ledger.close().await?;
        fit::look(data, plan, released).await
    }
    .await;
    Some(match fits {
        Ok(()) => Finding::ok(CHECK, "no column changes its type, and the log has the fleet's name"),
        Err(error) => Finding::error(CHECK, &error),
    })
}

/// Who is asked to cosign, and who did.
fn witnesses(settings: &Settings) -> Vec<Finding> {
    const CHECK: &str = "witnesses";
    const MEND: &str = "the service's log and candor_witness_failures_total say why; a checkpoint of this minute may still be asked for";
    let witnesses = match settings.log.witnesses() {
        Ok(witnesses) if witnesses.is_empty() => {
            let found = "none is asked: a forked log is noticed by nobody but who kept a checkpoint";
            return vec![Finding::ok(CHECK, found)];
        }
        Ok(witnesses) => witnesses,
        Err(error) => return vec![Finding::error(CHECK, &Error::from(error))],
    };
    let note = LogFiles::of(&settings.data).checkpoint().ok().flatten().and_then(|bytes| Note::parse(&bytes).ok());
    let Some((now, note)) = note.and_then(|note| Some((Checkpoint::parse(note.text()).ok()?, note))) else {
        return vec![Finding::warn(CHECK, "there is no checkpoint to cosign", "start the service: it begins a log")];
    };
    let finding = |key: &VerifierKey| {
        let (name, size) = (key.name(), counted(now.size, "entry"));
        let signed = note.verify(std::slice::from_ref(key)).ok().and_then(|signed| signed.first()?.time);
        let time = signed.and_then(|time| jiff::Timestamp::from_second(i64::try_from(time).ok()?).ok());
        match time {
            Some(time) => Finding::ok(CHECK, format!("{name} cosigned the newest checkpoint, {size}, at {time}")),
            None => Finding::warn(CHECK, format!("{name} has not cosigned the newest checkpoint, {size}"), MEND),
        }
    };
    witnesses.iter().map(|witness| finding(&witness.key)).collect()
}

fn folder(data: &Path) -> Finding {
    const CHECK: &str = "data folder";
    let place = data.display();
    let metadata = match std::fs::metadata(data) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let parent = existing_parent(data);
            return match access(&parent, Access::WRITE_OK | Access::EXEC_OK) {
                Ok(()) => Finding::ok(CHECK, format!("{place} is not there yet: the first start makes it")),
                Err(_) => Finding::fail(
                    CHECK,
                    format!("{place} is not there, and {} may not be written by this user", parent.display()),
                    "make it as root and give it to the service's user: install -d -m 700 -o USER",
                ),
            };
        }
        Err(error) => {
            return Finding::fail(CHECK, format!("{place} cannot be looked at: {error}"), "check its owner and mode");
        }
        Ok(metadata) => metadata,
    };
    if !metadata.is_dir() {
        return Finding::fail(CHECK, format!("{place} is a file"), "name a folder with --data or in candor.toml");
    }
    if access(data, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let found = format!("{place} may not be read and written by this user");
        return Finding::fail(CHECK, found, "run this as the service's user, or give the folder to it with chown");
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Finding::warn(CHECK, format!("others can look into {place} (mode {mode:o})"), "chmod 700 on it");
    }
    Finding::ok(CHECK, format!("{place}, for its owner alone"))
}

fn space(settings: &Settings) -> Finding {
    const CHECK: &str = "free space";
    let place = existing_parent(&settings.data);
    let disk = match statvfs(&place) {
        Ok(disk) => disk,
        Err(error) => {
            return Finding::warn(CHECK, format!("{} tells nothing: {error}", place.display()), "look with `df`");
        }
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let found = format!("{} MiB free on the disk of {}", free >> 20, place.display());
    let mend = "free some space or move the folder: while the disk is full, clients are told to come again";
    if free < settings.segment_bytes.saturating_mul(2) {
        return Finding::fail(CHECK, found, mend);
    }
    if free < settings.segment_bytes.saturating_mul(ROOMY) || few_files(&disk) {
        let files = format!("{found}, {} more can be made", counted(disk.f_favail, "file"));
        return Finding::warn(CHECK, if few_files(&disk) { files } else { found }, mend);
    }
    Finding::ok(CHECK, found)
}

/// File systems without a table of files say that they have none.
const fn few_files(disk: &StatVfs) -> bool {
    disk.f_files > 0 && disk.f_favail < FEW_FILES
}

fn time(data: &Path, clock: &dyn Clock) -> Finding {
    const CHECK: &str = "clock";
    let now = clock.now().div_euclid(1_000_000);
    let mend = "set the clock and let NTP keep it: dates of receipt and expiry of consent go by it";
    if now < FIRST_DAY {
        return Finding::fail(CHECK, "the clock stands before 2026", mend);
    }
    let newest = newest_file(data).unwrap_or(i64::MIN);
    if newest > now.saturating_add(AHEAD_SECONDS) {
        let found = format!("the folder has a file from {} seconds in the future", newest - now);
        return Finding::fail(CHECK, found, mend);
    }
    Finding::ok(CHECK, "not behind what the folder holds")
}

fn lock(data: &Path) -> Finding {
    const CHECK: &str = "lock";
    let path = data.join("lock");
    let failed =
        |why: &dyn std::fmt::Display| Finding::fail(CHECK, format!("{}: {why}", path.display()), "check its mode");
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Finding::ok(CHECK, "no service ever ran on it"),
        Err(error) => return failed(&error),
        Ok(file) => file,
    };
    // Shared, and given back at once: it only asks whether somebody has it.
    match file.try_lock_shared() {
        Ok(()) => Finding::ok(CHECK, "no service has the folder open"),
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let read = file.by_ref().take(20).read_to_string(&mut holder).is_ok();
            let holder = holder.trim().parse::<u32>().ok().filter(|_| read);
            let who = holder.map_or_else(|| "a process".to_owned(), |process| format!("process {process}"));
            Finding::ok(CHECK, format!("{who} has the folder open"))
        }
        Err(TryLockError::Error(error)) => failed(&error),
    }
}

fn keys(settings: &Settings) -> Finding {
    const CHECK: &str = "key ring";
    let data = &settings.data;
    let own = data.join("keys").join("ring.toml");
    if settings.key_ring.is_none() && !own.exists() && !data.join("ledger.db").exists() {
        return Finding::ok(CHECK, "none yet: the first start makes it");
    }
    match KeyRing::open_for(data, settings.key_ring.as_deref()) {
        Ok(ring) => {
            let generations = ring.generations().len();
            Finding::ok(CHECK, format!("readable by the service alone, subject keys: {generations}"))
        }
        Err(error) => Finding::error(CHECK, &error),
    }
}

async fn ledger(data: &Path) -> Option<Finding> {
    const CHECK: &str = "ledger";
    let path = data.join("ledger.db");
    if !path.exists() {
        return None;
    }
    let opened: Result<u64, Error> = async {
        let ledger = Ledger::open_read_only(&path).await?;
        let lsn = ledger.released_lsn().await?;
        ledger.close().await?;
        Ok(lsn)
    }
    .await;
    Some(match opened {
        Ok(lsn) => Finding::ok(CHECK, format!("has everything up to frame {lsn}")),
        Err(error) => Finding::error(CHECK, &error),
    })
}

fn segments(data: &Path) -> Finding {
    const CHECK: &str = "segments";
    match segment::list(&data.join(FOLDER)) {
        Ok(paths) if paths.len() > MANY_SEGMENTS => Finding::warn(
            CHECK,
            format!("{} to be written into tables", counted_and(paths.len(), "segment", "waits", "wait")),
            "see the service's log for failed flushes, and candor_store_flush_failures in /metrics",
        ),
        Ok(paths) => Finding::ok(CHECK, format!("{} waiting to be written into tables", paths.len())),
        Err(error) => Finding::error(CHECK, &error),
    }
}

fn set_aside(data: &Path) -> Finding {
    const CHECK: &str = "set aside";
    match count_set_aside(data) {
        0 => Finding::ok(CHECK, "no damaged segment"),
        count => Finding::warn(
            CHECK,
            format!("{} set aside", counted_and(count, "damaged segment", "was", "were")),
            format!(
                "check the disk; keep {} for whoever looks into it: rows in it may be in no table",
                data.join(segment::SET_ASIDE).display()
            ),
        ),
    }
}

async fn tables(data: &Path) -> Option<Finding> {
    const CHECK: &str = "tables";
    if !data.join("ledger.db").exists() {
        return None;
    }
    let tables: Result<_, Error> = async { View::open(data).await?.rows().await }.await;
    Some(match tables {
        Ok(tables) => {
            let rows: u64 = tables.iter().map(|table| table.sealed + table.pending).sum();
            Finding::ok(CHECK, format!("{} can be read, {}", counted(tables.len(), "table"), counted(rows, "row")))
        }
        Err(error) => Finding::error(CHECK, &error),
    })
}

/// The folder itself, or the nearest one above it that is there.
fn existing_parent(data: &Path) -> std::path::PathBuf {
    let mut place = data.to_path_buf();
    while !place.exists() && place != storage::parent(&place) {
        place = storage::parent(&place);
    }
    place
}

/// When the newest file of the folder was written, in seconds since 1970.
fn newest_file(data: &Path) -> Option<i64> {
    let modified = |metadata: Metadata| {
        let since = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since.as_secs()).ok()
    };
    let in_folder = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| modified(entry.metadata().ok()?)).max()
    };
    in_folder(data).max(in_folder(&data.join(FOLDER)))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct At(i64);

    impl Clock for At {
        fn now(&self) -> i64 {
            self.0 * 1_000_000
        }
    }

    impl std::fmt::Debug for At {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "At({})", self.0)
        }
    }

    /// Far enough ahead of any file that a test writes.
    const LATER: At = At(32_503_680_000);

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    async fn outcomes(settings: &Settings, clock: At) -> Vec<(&'static str, Outcome)> {
        data_folder(settings, &clock).await.into_iter().map(|f| (f.check, f.outcome)).collect()
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_yet_is_fine() {
        let parent = tempfile::tempdir().unwrap();
        let settings = Settings { data: parent.path().join("a/b"), segment_bytes: 1, ..Settings::default() };
        let found = outcomes(&settings, LATER).await;
        assert_eq!(found, [("data folder", Outcome::Ok), ("free space", Outcome::Ok), ("clock", Outcome::Ok)]);
    }

    #[tokio::test]
    async fn what_is_wrong_is_found_and_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        KeyRing::open_or_create(data, &[]).unwrap();
        mode(&data.join("keys/ring.toml"), 0o644);
        mode(data, 0o755);
        std::fs::create_dir(data.join("set-aside")).unwrap();
        std::fs::write(data.join("set-aside/1.segment"), b"x").unwrap();
        std::fs::write(data.join("ledger.db"), b"this is no database, and long enough to tell").unwrap();
        let settings = Settings { data: data.to_path_buf(), segment_bytes: u64::MAX, ..Settings::default() };
        let found = data_folder(&settings, &At(FIRST_DAY + 1)).await;
        let of = |check: &str| found.iter().find(|f| f.check == check).unwrap_or_else(|| panic!("{check}: {found:?}"));
        assert_eq!(of("data folder").outcome, Outcome::Warn);
        assert_eq!(of("free space").outcome, Outcome::Fail);
        assert_eq!(of("clock").outcome, Outcome::Fail, "the files are younger than the clock says it is");
        assert_eq!(of("key ring").outcome, Outcome::Fail);
        assert!(of("key ring").mend.as_deref().unwrap().contains("chmod 600"));
        assert_eq!(of("set aside").outcome, Outcome::Warn);
        assert_eq!(of("ledger").outcome, Outcome::Fail);
        assert_eq!(of("tables").outcome, Outcome::Fail);
        assert!(found.iter().all(|f| (f.outcome == Outcome::Ok) == f.mend.is_none()));
    }

    #[test]
    fn the_lock_is_looked_at_and_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        assert!(lock(folder.path()).found.contains("ever"));
        let held = crate::lock::Lock::take(folder.path()).unwrap();
        assert!(lock(folder.path()).found.contains(&std::process::id().to_string()));
        drop(held);
        assert!(lock(folder.path()).found.contains("no service"));
        crate::lock::Lock::take(folder.path()).unwrap();
    }
}
