//! The log: its checkpoint, that every entry and tile leads to it, and what it says of files.

use std::collections::BTreeMap;
use std::path::Path;

use candor_wire::counted::counted_and;
use candor_wire::log::checkpoint::{Checkpoint, SignedCheckpoint};
use candor_wire::log::live::LiveFiles;
use candor_wire::log::note::Note;
use candor_wire::merkle::Hash;

use crate::doctor::Finding;
use crate::error::Error;
use crate::keys::KeyRing;
use crate::log::LogFiles;
use crate::log::replay::look;
use crate::recount;

const CHECK: &str = "log";

/// Files that the log says are live: (table, path from its folder) and the digest of each.
pub(super) type Sealed = BTreeMap<(String, String), Hash>;

/// Reads the log of a folder, and what it says of files.
pub(super) fn check(data: &Path, ring: Option<&KeyRing>) -> (Finding, Sealed) {
    let files = &LogFiles::of(data);
    let read = || -> Result<Option<(u64, bool, LiveFiles, usize)>, Error> {
        let Some(bytes) = files.checkpoint()? else { return Ok(None) };
        let (checkpoint, signed) = checkpoint(&bytes, ring).map_err(|why| damaged(&why))?;
        let (live, entries) = look(files, &checkpoint)?;
        let (_, wrong) = recount::tiles(data, &entries)?;
        Ok(Some((checkpoint.size, signed, live, wrong.len())))
    };
    match read() {
        Err(error) => (Finding::error(CHECK, &error), Sealed::new()),
        Ok(None) => (Finding::ok(CHECK, "none yet: the start of the service begins it"), Sealed::new()),
        Ok(Some((size, signed, live, wrong))) => {
            let sealed = live.live().map(|(_, file)| ((file.table.clone(), file.path.clone()), file.file.0)).collect();
            let found = format!("{} to the checkpoint", counted_and(size, "entry", "leads", "lead"));
            let finding = match (wrong, signed) {
                (0, true) => Finding::ok(CHECK, format!("{found}, which is signed by the ring's key")),
                (0, false) => Finding::ok(CHECK, format!("{found}; its signature is not checked without the key ring")),
                (wrong, _) => Finding::fail(
                    CHECK,
                    format!("{found}, and {} not what follows", counted_and(wrong, "tile", "is", "are")),
                    "restore the folder `log` from a backup, and check the disk",
                ),
            };
            (finding, sealed)
        }
    }
}

/// The checkpoint, and whether its signature was checked.
fn checkpoint(bytes: &[u8], ring: Option<&KeyRing>) -> Result<(Checkpoint, bool), String> {
    let note = Note::parse(bytes).map_err(|error| error.to_string())?;
    let plain = Checkpoint::parse(note.text()).map_err(|error| error.to_string())?;
    let Some(signers) = ring.and_then(|ring| ring.log_signers(&plain.origin).ok()) else { return Ok((plain, false)) };
    let keys: Vec<_> = signers.iter().map(|signer| signer.verifier().clone()).collect();
    let signed = SignedCheckpoint::open(bytes, &keys, &[]).map_err(|error| error.to_string())?;
    Ok((signed.checkpoint, true))
}

fn damaged(why: &str) -> Error {
    let mend = "restore the folder `log` and the key ring from the same backup";
    Error::new(crate::error::Kind::Data, "the log's checkpoint cannot be used", why, mend)
}
