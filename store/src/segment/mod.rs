//! Segments: write-ahead files of cleared rows, one frame a request or statement.

pub(crate) mod codec;
pub mod frame;
pub(crate) mod fresh;
#[cfg(test)]
mod law;
pub(crate) mod layout;
pub(crate) mod read;
pub(crate) mod recover;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod writer;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind};
use frame::Frame;
use read::{OpenError, SegmentReader};

/// Folder of the segments in a data folder.
pub(crate) const FOLDER: &str = "wal";
/// Folder of damaged segments in a data folder.
pub(crate) const SET_ASIDE: &str = "set-aside";
const EXTENSION: &str = "segment";

/// All frames in segments, in the order of their lsn; a service may be appending meanwhile. Takes no lock and mends
/// nothing: each segment is read up to its first byte that is not a whole frame.
///
/// Segments go when their rows are in tables. A caller that has read tables before compares
/// [`crate::ledger::Ledger::released_lsn`] before and after, and starts again if it moved.
///
/// # Errors
/// `Retry` if a segment was released between listing and reading: start again from the tables' snapshots.
pub fn read_all(data: &Path) -> Result<Vec<Frame>, Error> {
    let mut frames = Vec::new();
    for path in list(&data.join(FOLDER))? {
        let mut reader = match SegmentReader::open(&path) {
            Err(OpenError::Io(error)) if error.kind() == ErrorKind::NotFound => return Err(released(&path)),
            other => other.map_err(|error| error.into_error(&path))?,
        };
        while let Some(frame) = reader.next_frame()? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

/// The segments of a folder, ascending by lsn. A folder that is not there has none.
pub(crate) fn list(wal: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |error: &std::io::Error| Error::io(format!("cannot list {}", wal.display()), error);
    let entries = match std::fs::read_dir(wal) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| failed(&error))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| failed(&error))?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            paths.push(path);
        }
    }
    // Names are lsns of one width.
    paths.sort();
    Ok(paths)
}

/// Name of the segment whose first frame has this lsn.
pub(crate) fn file_name(first_lsn: u64) -> String {
    format!("{first_lsn:020}.{EXTENSION}")
}

fn released(path: &Path) -> Error {
    Error::new(
        Kind::Retry,
        "the segments changed while they were read",
        format!("{} was released", path.display()),
        "read again",
    )
}
