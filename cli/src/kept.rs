//! Checkpoints of logs that were followed: what was seen once, a log can never take back.
//!
//! `$XDG_STATE_HOME/candor/logs/SHA-256-OF-THE-VERIFIER-KEY.checkpoint`, a signed note each.

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use candor_policy::digest::Digest;
use candor_wire::log::checkpoint::SignedCheckpoint;
use candor_wire::log::note::{MOST_BYTES, VerifierKey};

use crate::exit::{Exit, Failure};

/// The folder that they are in.
#[derive(Debug)]
pub(crate) struct Kept {
    folder: PathBuf,
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

    /// The checkpoint that was seen last of the log that a key signs.
    pub(crate) fn last(&self, key: &VerifierKey) -> Result<Option<SignedCheckpoint>, Failure> {
        let path = self.path(key);
        let mut bytes = Vec::new();
        let file = std::fs::File::open(&path).map(|file| file.take(MOST_BYTES as u64 + 1));
        #[expect(clippy::disallowed_methods, reason = "capped by the line before")]
        match file.and_then(|mut file| file.read_to_end(&mut bytes)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(&path, &error)),
            Ok(_) => {}
        }
        SignedCheckpoint::open(&bytes, std::slice::from_ref(key), &[])
            .map(Some)
            .map_err(|error| unusable(&path, &error))
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

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::CouldNotVerify, format!("the kept checkpoint {} cannot be used: {why}", path.display()))
        .mend("look at it: without it nobody can say whether the log took something back")
}
