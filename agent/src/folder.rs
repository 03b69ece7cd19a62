//! Where a device keeps its state: few files, and each change of one is durable, or did not happen.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Files by name (`state.toml`, `spool/NAME`). After a call that changes one returned, a power cut does not take the change back;
/// a call that failed may have happened or not, but never by half: but for [`Folder::append`], which may leave a torn end.
pub trait Folder: Send + Sync + std::fmt::Debug {
    /// A file whole, or `None` if there is none.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::FileTooLarge`] if it has more than `most` bytes, and
    /// [`io::ErrorKind::PermissionDenied`] if others can read it.
    fn read(&self, name: &str, most: u64) -> io::Result<Option<Vec<u8>>>;

    /// Names of the files within a folder of it, in no order; none if there is no such folder.
    ///
    /// # Errors
    /// What the system says.
    fn names(&self, within: &str) -> io::Result<Vec<String>>;

    /// Gives a file these bytes, whole.
    ///
    /// # Errors
    /// What the system says: the file then has its old bytes or the new ones.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Puts bytes at the end of a file that is cut to `at` bytes before.
    ///
    /// # Errors
    /// What the system says: bytes from `at` on are then undefined.
    fn append(&self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Removes a file, which may come back after a power cut. One that is not there is fine.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Overwrites a file and removes it for good, and with it what was removed beside it before: for secrets. One that is not
    /// there is fine.
    ///
    /// # Errors
    /// What the system says.
    fn destroy(&self, name: &str) -> io::Result<()>;
}

/// A folder of the file system, mode 0700, its files 0600. One process has it at a time.
#[derive(Debug)]
pub struct DiskFolder {
    path: PathBuf,
    /// Held as long as the folder is.
    _lock: File,
}

/// How unfinished names end; whoever lists passes them over.
const UNFINISHED: &str = ".tmp";

impl DiskFolder {
    /// Opens a folder, and makes it if it is not there.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::ResourceBusy`] if another process has it.
    pub fn open(path: &Path) -> io::Result<Self> {
        make_folder(path)?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_path_buf(), _lock: lock }),
            Err(std::fs::TryLockError::WouldBlock) => Err(io::ErrorKind::ResourceBusy.into()),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn parent(&self, name: &str) -> PathBuf {
        self.path.join(name).parent().map_or_else(|| self.path.clone(), Path::to_path_buf)
    }
}

impl Folder for DiskFolder {
    fn read(&self, name: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.path.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mode = file.metadata()?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let why = format!("others can read it (mode {mode:o}): chmod 600 on it");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        let mut bytes = Vec::new();
        #[expect(clippy::disallowed_methods, reason = "capped by `take`")]
        file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(Some(bytes)) }
    }

    fn names(&self, within: &str) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.path.join(within)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let names = entries.map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()));
        let names: io::Result<Vec<String>> = names.collect();
        Ok(names?.into_iter().filter(|name| !name.ends_with(UNFINISHED)).collect())
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let folder = self.parent(name);
        if !folder.is_dir() {
            make_folder(&folder)?;
        }
        let path = self.path.join(name);
        let mut beside = path.clone().into_os_string();
        beside.push(UNFINISHED);
        // A leftover of a crash may have another mode, which opening would keep.
        remove_if_there(Path::new(&beside))?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        if let Err(error) = written.and_then(|()| std::fs::rename(&beside, &path)) {
            // Whatever happens to it: the next one begins by removing it.
            let _ = std::fs::remove_file(&beside);
            return Err(error);
        }
        sync_folder(&folder)
    }

    fn append(&self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        let path = self.path.join(name);
        let is_new = !path.exists();
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        let length = file.metadata()?.len();
        if length < at {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file lost its end"));
        }
        if length > at {
            file.set_len(at)?;
        }
        file.seek(SeekFrom::Start(at))?;
        file.write_all(bytes)?;
        file.sync_data()?;
        if is_new { sync_folder(&self.parent(name)) } else { Ok(()) }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        remove_if_there(&self.path.join(name))
    }

    fn destroy(&self, name: &str) -> io::Result<()> {
        let path = self.path.join(name);
        if let Ok(mut file) = OpenOptions::new().write(true).open(&path) {
            let zeros = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX).min(1 << 20)];
            file.write_all(&zeros)?;
            file.sync_all()?;
        }
        remove_if_there(&path)?;
        match sync_folder(&self.parent(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    }
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_folder)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A folder in memory that can lose its power in the middle of a write: for tests and simulations. Clones share their files.
#[derive(Clone, Debug, Default)]
pub struct MemoryFolder(Arc<Mutex<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    files: BTreeMap<String, Vec<u8>>,
    /// Removed, but not durably: a power cut may bring them back.
    removed: BTreeMap<String, Vec<u8>>,
    writes: u64,
    cut: Option<Cut>,
    is_dead: bool,
}

/// A power cut that is to come.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Changes that still happen.
    pub after: u64,
    /// How much of the next one happens, in 256ths: of an append its first bytes, of any other all or nothing.
    pub part: u8,
    /// Whether the power is gone then. Otherwise this one change fails, and the next ones work.
    pub is_final: bool,
}

impl MemoryFolder {
    /// Plans a fault.
    pub fn cut(&self, cut: Cut) {
        self.with(|memory| memory.cut = Some(cut));
    }

    /// Power again. Removed files are back if `undone` says so for their name.
    pub fn revive(&self, undone: impl Fn(&str) -> bool) {
        self.with(|memory| {
            (memory.is_dead, memory.cut) = (false, None);
            for (name, bytes) in std::mem::take(&mut memory.removed) {
                if undone(&name) {
                    memory.files.entry(name).or_insert(bytes);
                }
            }
        });
    }

    /// Changes since it was made, the failed ones included.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.with(|memory| memory.writes)
    }

    /// Changes a file behind the device's back: `None` removes it.
    pub fn tamper(&self, name: &str, change: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) {
        self.with(|memory| {
            let bytes = memory.files.remove(name).unwrap_or_default();
            if let Some(bytes) = change(bytes) {
                memory.files.insert(name.to_owned(), bytes);
            }
        });
    }

    fn with<T>(&self, f: impl FnOnce(&mut Memory) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, apply: impl FnOnce(&mut Memory, u8)) -> io::Result<()> {
        self.with(|memory| {
            memory.writes += 1;
            if memory.is_dead {
                return Err(io::Error::other("no power"));
            }
            match &mut memory.cut {
                Some(cut) if cut.after == 0 => {
                    let cut = *cut;
                    (memory.cut, memory.is_dead) = (None, cut.is_final);
                    apply(memory, cut.part);
                    return Err(io::Error::other("the power went"));
                }
                Some(cut) => cut.after -= 1,
                None => {}
            }
            apply(memory, u8::MAX);
            Ok(())
        })
    }
}

impl Folder for MemoryFolder {
    fn read(&self, name: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        let bytes = self.with(|memory| memory.files.get(name).cloned());
        if bytes.as_ref().is_some_and(|bytes| bytes.len() as u64 > most) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    }

    fn names(&self, within: &str) -> io::Result<Vec<String>> {
        let prefix = format!("{within}/");
        let strip = |name: &String| name.strip_prefix(&prefix).map(str::to_owned);
        Ok(self.with(|memory| memory.files.keys().filter_map(strip).collect()))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.change(|memory, part| {
            if part > 127 {
                memory.removed.remove(name);
                memory.files.insert(name.to_owned(), bytes.to_vec());
            }
        })
    }

    fn append(&self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(|memory, part| {
            let file = memory.files.entry(name.to_owned()).or_default();
            file.truncate(at as usize);
            let most = if part == u8::MAX { bytes.len() } else { bytes.len() * usize::from(part) / 256 };
            file.extend(&bytes[..most]);
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|memory, part| {
            if part > 127
                && let Some(bytes) = memory.files.remove(name)
            {
                memory.removed.insert(name.to_owned(), bytes);
            }
        })
    }

    fn destroy(&self, name: &str) -> io::Result<()> {
        self.change(|memory, part| {
            if part > 127 {
                memory.files.remove(name);
                let folder = |name: &str| name.rsplit_once('/').map(|(folder, _)| folder.to_owned());
                memory.removed.retain(|removed, _| folder(removed) != folder(name));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_do_the_same() {
        let disk = tempfile::tempdir().unwrap();
        let folder = DiskFolder::open(&disk.path().join("a/b")).unwrap();
        for folder in [&folder as &dyn Folder, &MemoryFolder::default()] {
            assert_eq!(folder.read("x", 9).unwrap(), None);
            folder.append("x", 0, b"one").unwrap();
            folder.append("x", 2, b"ly").unwrap();
            assert_eq!(folder.read("x", 4).unwrap().unwrap(), b"only");
            assert_eq!(folder.read("x", 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
            folder.replace("spool/y", b"two").unwrap();
            folder.replace("spool/y", b"three").unwrap();
            assert_eq!(folder.names("spool").unwrap(), ["y"]);
            folder.remove("spool/y").unwrap();
            folder.remove("spool/y").unwrap();
            folder.destroy("x").unwrap();
            assert!(folder.names("spool").unwrap().is_empty() && folder.read("x", 9).unwrap().is_none());
        }
    }

    #[test]
    fn files_are_their_owners_alone_and_one_process_has_the_folder() {
        let disk = tempfile::tempdir().unwrap();
        let folder = DiskFolder::open(disk.path()).unwrap();
        folder.replace("spool/secret", b"").unwrap();
        folder.append("log", 0, b"").unwrap();
        let mode = |name: &str| std::fs::metadata(disk.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("spool"), mode("spool/secret"), mode("log")), (0o700, 0o600, 0o600));
        assert_eq!(DiskFolder::open(disk.path()).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        drop(folder);
        DiskFolder::open(disk.path()).unwrap();
    }

    #[test]
    fn a_cut_leaves_a_torn_end_and_brings_removed_files_back() {
        let folder = MemoryFolder::default();
        folder.replace("a", b"kept").unwrap();
        folder.remove("a").unwrap();
        folder.cut(Cut { after: 0, part: 128, is_final: true });
        assert!(folder.append("log", 0, b"12345678").is_err() && folder.replace("b", b"").is_err());
        folder.revive(|name| name == "a");
        assert_eq!(folder.read("log", 9).unwrap().unwrap(), b"1234");
        assert_eq!(folder.read("a", 9).unwrap().unwrap(), b"kept");
        folder.cut(Cut { after: 1, part: 0, is_final: false });
        folder.replace("c", b"").unwrap();
        assert!(folder.replace("c", b"new").is_err() && folder.replace("d", b"").is_ok());
        assert_eq!(folder.read("c", 9).unwrap().unwrap(), b"");
    }
}
