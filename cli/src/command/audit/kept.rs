//! The newest checkpoint of each log that was checked: what shows a later rollback or fork.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use candor_wire::log::checkpoint::Checkpoint;
use candor_wire::log::note::{Note, VerifierKey};
use candor_wire::verify::digest_of;

/// Where checkpoints are kept: `$XDG_STATE_HOME/candor/logs`, by default in `~/.local/state`.
pub(super) fn folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("candor/logs"))
}

/// The checkpoint that was kept of a log, if one was.
pub(super) fn read(key: &VerifierKey) -> Option<Vec<u8>> {
    std::fs::read(path(key)?).ok()
}

/// Keeps a checkpoint that was checked, unless a longer one is kept.
pub(super) fn keep(key: &VerifierKey, note: &[u8]) -> std::io::Result<()> {
    let Some(path) = path(key) else { return Ok(()) };
    let size = |note: &[u8]| Some(Checkpoint::parse(Note::parse(note).ok()?.text()).ok()?.size);
    let kept = std::fs::read(&path).ok();
    if kept.as_deref().and_then(size) >= size(note) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let beside = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(note)?;
    file.sync_all()?;
    std::fs::rename(beside, path)
}

fn path(key: &VerifierKey) -> Option<PathBuf> {
    let name = candor_policy::hex::encode(&digest_of(key.to_string().as_bytes()));
    Some(folder()?.join(format!("{name}.checkpoint")))
}
