//! Files and folders that survive a power cut: synced themselves, and named by a synced folder.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What a device that fails gives: tests have it come where they want it.
#[cfg(feature = "failpoints")]
pub(crate) const EIO: i32 = 5;

/// Marks what a failed sync gave: it says more of a disk than any other error of a file.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct FailedSync(io::Error);

/// An error of a sync, marked as such.
pub(crate) fn failed_sync(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), FailedSync(error))
}

/// Whether an error came from a sync: what the page cache shows may not be on the disk then.
pub(crate) fn is_failed_sync(error: &io::Error) -> bool {
    matches!(error.get_ref(), Some(inner) if inner.is::<FailedSync>())
}

/// Makes a file's bytes durable.
pub(crate) fn sync_file(file: &File) -> io::Result<()> {
    file.sync_all().map_err(failed_sync)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    sync_file(&File::open(folder)?)
}

/// Makes a folder for its owner alone, and its parents, if they are not there; durable in either case.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    if !folder.is_dir() {
        let parent = parent(folder);
        if !parent.is_dir() {
            make_folder(&parent)?;
        }
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    sync_folder(&parent(folder))
}

/// Writes a whole file beside, syncs it, and gives it its name: afterwards the old or the new bytes are there, whole.
pub(crate) fn write_file(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let beside = beside(path);
    // A leftover of a crash may have another mode, which opening would keep.
    remove_if_there(&beside)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    let written = file.write_all(bytes).and_then(|()| sync_file(&file));
    if let Err(error) = written.and_then(|()| std::fs::rename(&beside, path)) {
        let _ = std::fs::remove_file(&beside);
        return Err(error);
    }
    sync_folder(&parent(path))
}

/// Writes a file anew as [`write_file`] does, and overwrites the bytes that it had before they are let go of. What a crash
/// leaves of them, [`finish_replacing`] overwrites.
pub(crate) fn replace_secret(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    finish_replacing(path)?;
    let old = outgoing(path);
    match std::fs::hard_link(path, &old) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => other?,
    }
    fail::fail_point!("keys::before_rename", |_| std::process::abort());
    write_file(path, bytes, mode)?;
    fail::fail_point!("keys::failed_sync", |_| Err(failed_sync(io::Error::from_raw_os_error(EIO))));
    fail::fail_point!("keys::after_rename", |_| std::process::abort());
    finish_replacing(path)
}

/// Overwrites and removes what [`replace_secret`] did not come to.
pub(crate) fn finish_replacing(path: &Path) -> io::Result<()> {
    let old = outgoing(path);
    let about = match std::fs::symlink_metadata(&old) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    // Before the rename both names are of one file, which is the one in force.
    let in_force = std::fs::metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (about.dev(), about.ino()));
    if !in_force && about.is_file() {
        let mut file = OpenOptions::new().write(true).open(&old)?;
        file.write_all(&vec![0; usize::try_from(about.len()).unwrap_or(0)])?;
        sync_file(&file)?;
        fail::fail_point!("keys::after_overwrite", |_| std::process::abort());
    }
    std::fs::remove_file(&old)?;
    sync_folder(&parent(path))
}

/// The second name of a file that is about to be replaced.
fn outgoing(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".old");
    PathBuf::from(name)
}

/// Removes a file; one that is not there is fine.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The unfinished name of a file: readers and recovery pass such names over.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    PathBuf::from(name)
}

/// How unfinished names end.
pub(crate) const UNFINISHED: &str = ".tmp";

/// The folder that a path is in; the working folder for a bare name.
pub(crate) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn writes_whole_files_with_their_mode() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        make_folder(&inner).unwrap();
        make_folder(&inner).unwrap();
        let path = inner.join("file");
        std::fs::write(beside(&path), b"left over").unwrap();
        write_file(&path, b"one", 0o600).unwrap();
        write_file(&path, b"two", 0o600).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&inner).unwrap().count(), 1);
    }

    #[test]
    fn what_is_replaced_is_overwritten_and_a_file_in_force_never_is() {
        let folder = tempfile::tempdir().unwrap();
        let (path, held) = (folder.path().join("ring"), folder.path().join("held"));
        replace_secret(&path, b"first secret", 0o600).unwrap();
        // A second name shows what becomes of the bytes.
        std::fs::hard_link(&path, &held).unwrap();
        replace_secret(&path, b"second secret", 0o600).unwrap();
        assert_eq!(std::fs::read(&held).unwrap(), [0; 12]);
        assert_eq!(std::fs::read(&path).unwrap(), b"second secret");

        // A crash before the rename leaves both names on the file in force.
        std::fs::hard_link(&path, outgoing(&path)).unwrap();
        finish_replacing(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second secret");
        assert!(!outgoing(&path).exists());
        // One after it leaves the old bytes.
        std::fs::write(outgoing(&path), b"old secret").unwrap();
        finish_replacing(&path).unwrap();
        assert!(!outgoing(&path).exists());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
