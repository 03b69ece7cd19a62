//! One service at a time holds a data folder.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::error::{Error, Kind};

/// Held as long as it lives; the system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes `DATA/lock`.
    pub(crate) fn take(data: &Path) -> Result<Self, Error> {
        let path = data.join("lock");
        let failed = |error: &std::io::Error| Error::io(format!("cannot lock {}", path.display()), error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| failed(&error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(&path, &mut file)),
            Err(TryLockError::Error(error)) => return Err(failed(&error)),
        }
        write_holder(&mut file).map_err(|error| failed(&error))?;
        Ok(Self { _file: file })
    }
}

/// Whether a process has a data folder. Nothing is taken, and nothing made.
pub(crate) fn is_held(data: &Path) -> bool {
    let Ok(file) = File::open(data.join("lock")) else { return false };
    // Shared, and given back at once.
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// The number of the process, for whoever finds the folder locked; the lock itself is the system's.
fn write_holder(file: &mut File) -> std::io::Result<()> {
    // It may be of an older version.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn held(path: &Path, file: &mut File) -> Error {
    let mut text = String::new();
    let holder = match file.take(20).read_to_string(&mut text) {
        Ok(_) => text.trim().parse::<u32>().ok(),
        Err(_) => None,
    };
    let why = match holder {
        Some(process) => format!("process {process} has it open"),
        None => "another process has it open".to_owned(),
    };
    Error::new(
        Kind::Retry,
        format!("{} is locked", path.display()),
        why,
        "stop that service, or send it the change with --url",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_the_first_is() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path()).unwrap();
        let error = Lock::take(folder.path()).unwrap_err();
        assert_eq!(error.kind(), Kind::Retry);
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(first);
        Lock::take(folder.path()).unwrap();
    }
}
