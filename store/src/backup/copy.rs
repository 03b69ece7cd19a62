//! Copying files so that they are durable, with the digest of what was copied.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use candor_policy::hex;
use ring::digest::{Context, SHA256};

use super::Copied;
use crate::error::{Error, Kind};
use crate::{kinds, storage};

const CHUNK: usize = 1 << 20;

/// Copies a file of one folder to the same place in another, durable but for the names of folders.
pub(super) fn copy(from: &Path, to: &Path, path: &str) -> Result<Copied, Error> {
    copy_up_to(from, to, path, u64::MAX)
}

/// The same for no more than `most` bytes.
pub(super) fn copy_up_to(from: &Path, to: &Path, path: &str, most: u64) -> Result<Copied, Error> {
    let (source, target) = (kinds::below(from, path), kinds::below(to, path));
    storage::make_folder(&storage::parent(&target)).map_err(|error| failed(&target, &error))?;
    let mut reader = match File::open(&source) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(gone(path)),
        other => other.map_err(|error| failed(&source, &error))?.take(most),
    };
    let writer = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&target);
    let mut writer = writer.map_err(|error| failed(&target, &error))?;
    let (mut digest, mut size, mut chunk) = (Context::new(&SHA256), 0, vec![0; CHUNK]);
    loop {
        let read = reader.read(&mut chunk).map_err(|error| failed(&source, &error))?;
        if read == 0 {
            break;
        }
        digest.update(&chunk[..read]);
        writer.write_all(&chunk[..read]).map_err(|error| failed(&target, &error))?;
        size += read as u64;
    }
    writer.sync_all().map_err(|error| failed(&target, &error))?;
    Ok(Copied { path: path.to_owned(), size, sha256: hex::encode(digest.finish().as_ref()) })
}

/// What a file that is in its place already has.
pub(crate) fn digest_of(folder: &Path, path: &str) -> Result<Copied, Error> {
    let place = kinds::below(folder, path);
    let mut reader = File::open(&place).map_err(|error| failed(&place, &error))?;
    let (mut digest, mut size, mut chunk) = (Context::new(&SHA256), 0, vec![0; CHUNK]);
    loop {
        let read = reader.read(&mut chunk).map_err(|error| failed(&place, &error))?;
        if read == 0 {
            break;
        }
        digest.update(&chunk[..read]);
        size += read as u64;
    }
    Ok(Copied { path: path.to_owned(), size, sha256: hex::encode(digest.finish().as_ref()) })
}

/// Makes the names in a folder and in all below it durable.
pub(super) fn sync_tree(folder: &Path) -> Result<(), Error> {
    let below = || -> std::io::Result<Vec<_>> {
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
        Ok(folders)
    };
    for inner in below().map_err(|error| failed(folder, &error))? {
        sync_tree(&inner)?;
    }
    storage::sync_folder(folder).map_err(|error| failed(folder, &error))
}

/// Removes everything in a folder but what is called so.
pub(super) fn empty(folder: &Path, but: &[&str]) -> Result<(), Error> {
    let emptied = || -> std::io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if but.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        storage::sync_folder(folder)
    };
    emptied().map_err(|error| failed(folder, &error))
}

/// Whether nothing is in a folder, or it is not there.
pub(super) fn is_empty(folder: &Path) -> Result<bool, Error> {
    match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        other => Ok(other.map_err(|error| failed(folder, &error))?.next().is_none()),
    }
}

/// A copy that fails is no reason to stop a service: never `Stop`.
pub(super) fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::io(format!("cannot copy {}", path.display()), error)
}

fn gone(path: &str) -> Error {
    Error::new(Kind::Retry, format!("{path} is gone"), "it was replaced while it was copied", "make the backup again")
}
