//! Checkpoints of logs that were followed: what was seen once, a log can never take back.
//!
//! `$XDG_STATE_HOME/candor/logs/SHA-256-OF-THE-VERIFIER-KEY.checkpoint`, a signed note each.

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use candor_policy::digest::Digest;
use candor_wire::log::checkpoint::{Checkpoint, SignedCheckpoint};
use candor_wire::log::note::{MOST_BYTES, Note, VerifierKey};
use candor_wire::merkle::Hash;

use crate::exit::{Exit, Failure};

/// The folder that they are in.
#[derive(Debug)]
pub(crate) struct Kept {
    folder: PathBuf,
}

/// A checkpoint that was kept under a key that is not known.
#[derive(Debug)]
pub(crate) struct Other {
    /// Its file.
    pub(crate) path: PathBuf,
    /// SHA-256 of the text of the key.
    pub(crate) key: Hash,
    /// As it was kept.
    pub(crate) note: Vec<u8>,
    /// What it says.
    pub(crate) checkpoint: Checkpoint,
}

impl Kept {
    /// That of whoever runs this.
    pub(crate) fn open() -> Result<Self, Failure> {
        use etcetera::BaseStrategy;
        let base = etcetera::choose_base_strategy().ok().and_then(|base| base.state_dir());
        let base = base.ok_or_else(|| {
            Failure::new(Exit::CouldNotVerify, "there is no place to keep checkpoints in")
                .mend("set HOME or XDG_STATE_HOME")
        })?;
        Ok(Self { folder: base.join("candor").join("logs") })
    }

    /// Another folder.
    pub(crate) const fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The checkpoint that was seen last of the log that a key signs.
    pub(crate) fn last(&self, key: &VerifierKey) -> Result<Option<SignedCheckpoint>, Failure> {
        let path = self.path(key);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        SignedCheckpoint::open(&bytes, std::slice::from_ref(key), &[])
            .map(Some)
            .map_err(|error| unusable(&path, &error))
    }

    /// What was seen of logs of a name under other keys than these: a log that is forked may be signed by a key of its own.
    pub(crate) fn of_name(&self, origin: &str, keys: &[VerifierKey]) -> Result<Vec<Other>, Failure> {
        let files = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|error| unusable(&self.folder, &error))?,
        };
        let known: Vec<PathBuf> = keys.iter().map(|key| self.path(key)).collect();
        let mut others = Vec::new();
        for file in files {
            let path = file.map_err(|error| unusable(&self.folder, &error))?.path();
            let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".checkpoint"));
            let key = name.and_then(candor_policy::hex::decode).and_then(|key| key.try_into().ok());
            let (Some(key), false) = (key, known.contains(&path)) else { continue };
            let Some(bytes) = read(&path)? else { continue };
            let note = Note::parse(&bytes).map_err(|error| unusable(&path, &error))?;
            let checkpoint = Checkpoint::parse(note.text()).map_err(|error| unusable(&path, &error))?;
            if checkpoint.origin == origin {
                others.push(Other { path, key, note: bytes, checkpoint });
            }
        }
        others.sort_by(|one, two| one.path.cmp(&two.path));
        Ok(others)
    }

    /// Keeps a checkpoint that extends the last one, under each key that signed it.
    pub(crate) fn keep(&self, checkpoint: &SignedCheckpoint) -> Result<(), Failure> {
        for key in checkpoint.by_log.iter().map(|verified| &verified.by) {
            let path = self.path(key);
            self.write(&path, checkpoint.note.to_string().as_bytes()).map_err(|error| unusable(&path, &error))?;
        }
        Ok(())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        std::fs::File::open(&self.folder)?.sync_all()
    }

    fn path(&self, key: &VerifierKey) -> PathBuf {
        self.folder.join(format!("{}.checkpoint", Digest::of_bytes(key.to_string().as_bytes())))
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map(|file| file.take(MOST_BYTES as u64 + 1));
    #[expect(clippy::disallowed_methods, reason = "capped by the line before")]
    match file.and_then(|mut file| file.read_to_end(&mut bytes)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(path, &error)),
        Ok(_) => Ok(Some(bytes)),
    }
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::CouldNotVerify, format!("the kept checkpoint {} cannot be used: {why}", path.display()))
        .mend("look at it: without it nobody can say whether the log took something back")
}
