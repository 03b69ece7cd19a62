//! From a backup to a data folder that a service starts on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::List;
use super::copy::{copy, empty, failed, is_empty, sync_tree};
use crate::check;
use crate::doctor::Finding;
use crate::error::{Error, Kind};
use crate::keys::KeyRing;
use crate::kinds::RESTORING;
use crate::lock::Lock;
use crate::settings::Settings;
use crate::storage;
use crate::view::blocking;
use crate::work::Work;

const LOCK: &str = "lock";
const TOMBSTONES: &str = "tombstones.jsonl";
/// More than the tombstones of a hundred million subjects.
const MOST_TOMBSTONES: u64 = 32 << 30;

/// What is restored.
#[derive(Clone, Debug)]
pub struct From {
    /// The backup.
    pub folder: PathBuf,
    /// The key ring, as it was kept apart.
    pub keys: Option<PathBuf>,
    /// Who was erased, as the folder had it when it was lost: what came after the backup is not in it.
    pub tombstones: Option<PathBuf>,
}

/// What a restore found.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The backup's list.
    pub list: List,
    /// The check of what is there now.
    pub findings: Vec<Finding>,
    /// Whether a service can start on it: where the check failed it cannot.
    pub whole: bool,
}

/// Makes a data folder (`settings.data`) of a backup, and checks it. Broken off at any step, it begins anew.
///
/// # Errors
/// `Request` if the folder is not new, or the backup is not whole.
pub async fn restore(settings: &Settings, from: From, work: Arc<Work>) -> Result<Restored, Error> {
    #[cfg(feature = "failpoints")]
    crate::store::arm_failpoints();
    let list = List::read(&from.folder)?;
    let data = settings.data.clone();
    let (told, wanted) = (Arc::clone(&work), list.clone());
    let lock = blocking(move || {
        let lock = prepare(&data)?;
        put(&data, &from, &wanted, &told)?;
        Ok(lock)
    })
    .await?;
    let findings = check::inside(settings, &work).await?;
    let whole = check::holds(&findings);
    fail::fail_point!("restore::after_check", |_| std::process::abort());
    if whole {
        let marker = settings.data.join(RESTORING);
        storage::remove_if_there(&marker).map_err(|error| failed(&marker, &error))?;
        storage::sync_folder(&settings.data).map_err(|error| failed(&settings.data, &error))?;
    }
    drop(lock);
    Ok(Restored { list, findings, whole })
}

/// Refuses a data folder that a restore was broken off in.
///
/// # Errors
/// `Data` if it is one.
pub(crate) fn refuse_unfinished(data: &Path) -> Result<(), Error> {
    if !data.join(RESTORING).exists() {
        return Ok(());
    }
    let what = format!("{} is not whole", data.display());
    Err(Error::new(Kind::Data, what, "a restore was broken off in it", "run the same `candor store restore` again"))
}

fn prepare(data: &Path) -> Result<Lock, Error> {
    let is_ours = data.join(RESTORING).is_file();
    if !is_ours && !is_empty(data)? {
        let what = format!("nothing is restored to {}", data.display());
        return Err(Error::new(Kind::Request, what, "something is in it", "name a folder that is not there yet"));
    }
    storage::make_folder(data).map_err(|error| failed(data, &error))?;
    storage::write_file(&data.join(RESTORING), b"", 0o600).map_err(|error| failed(data, &error))?;
    let lock = Lock::take(data)?;
    empty(data, &[RESTORING, LOCK])?;
    fail::fail_point!("restore::after_marker", |_| std::process::abort());
    Ok(lock)
}

fn put(data: &Path, from: &From, list: &List, work: &Work) -> Result<(), Error> {
    work.begin(list.files.len() as u64);
    for file in &list.files {
        // The digest is of the bytes that were written, so that nothing can change between a look and a copy.
        if copy(&from.folder, data, &file.path)? != *file {
            return Err(damaged(&from.folder, &file.path));
        }
        work.advance(1);
    }
    fail::fail_point!("restore::after_files", |_| std::process::abort());
    if let Some(path) = &from.keys {
        let ring = KeyRing::open_at_elsewhere(path)?;
        if list.ring.as_ref().is_some_and(|mark| *mark != ring.mark()) {
            let what = format!("the key ring {} is not used", path.display());
            let why = "it is not the one that the backup goes with";
            return Err(Error::new(Kind::Request, what, why, "name the ring of the service that the backup is of"));
        }
        ring.save(data)?;
    }
    if let Some(path) = &from.tombstones {
        add_tombstones(data, path)?;
    }
    sync_tree(data)?;
    fail::fail_point!("restore::after_keys", |_| std::process::abort());
    Ok(())
}

/// Adds the lines that the backup does not have.
fn add_tombstones(data: &Path, from: &Path) -> Result<(), Error> {
    let own = data.join(TOMBSTONES);
    let read = |path: &Path| -> Result<String, Error> {
        let size = std::fs::metadata(path).map_err(|error| failed(path, &error))?.len();
        if size > MOST_TOMBSTONES {
            let what = format!("{} is not read", path.display());
            return Err(Error::new(Kind::Request, what, "it is too large", "name the file of a data folder"));
        }
        std::fs::read_to_string(path).map_err(|error| failed(path, &error))
    };
    let mut text = if own.exists() { read(&own)? } else { String::new() };
    let newer = read(from)?;
    let known: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    // A last line without its end was never acknowledged.
    let whole = newer.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    for line in whole.filter(|line| !known.contains(line.trim_end_matches('\n'))) {
        text.push_str(line);
    }
    storage::write_file(&own, text.as_bytes(), 0o600).map_err(|error| failed(&own, &error))
}

fn damaged(folder: &Path, path: &str) -> Error {
    let what = format!("the backup {} is damaged", folder.display());
    Error::new(Kind::Request, what, format!("{path} is not what was copied"), "use another backup")
}
