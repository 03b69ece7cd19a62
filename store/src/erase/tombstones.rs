//! Tombstones: what stays of erased subjects, so that nothing of them comes back. `DATA/tombstones.jsonl`, appended to and synced;
//! the ledger has them too, and each of both makes up for what a backup of the other lacks.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use candor_policy::hex;
use candor_policy::subject::LedgerId;
use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind};
use crate::storage;

/// Name of the file.
pub(crate) const FILE: &str = "tombstones.jsonl";
/// What the HMAC of a name in tables begins with.
const NAME: &[u8] = b"candor/tombstone/name/v1";
/// What the HMAC that gives the nonce of a certificate begins with.
const NONCE: &[u8] = b"candor/certificate/nonce/v1";

/// More than the tombstones of a hundred million subjects.
const MOST_BYTES: u64 = 64 << 30;
/// No line is longer.
const LAST_LINE_BYTES: u64 = 4 << 20;

/// HMAC of a ledger id under the tombstone key.
pub(crate) type TombstoneId = [u8; 32];

/// What stays of an erased subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tombstone {
    /// HMAC of the ledger id, hex.
    pub(crate) id: String,
    /// HMAC of each name that tables may have of the subject, first 16 bytes, hex.
    pub(crate) names: Vec<String>,
    /// Version of the notice of its last statement, if it made one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) notice: Option<String>,
    /// When it was asked for, µs UTC.
    pub(crate) requested_at: i64,
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Line {
    /// A subject is erased for good.
    Tombstone(Tombstone),
    /// All tombstones before this line were applied to tables up to these versions of them.
    Applied(BTreeMap<String, u64>),
}

/// The key of tombstones. Its `Debug` says nothing.
#[derive(Clone)]
pub(crate) struct TombstoneKey(hmac::Key);

impl TombstoneKey {
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    pub(crate) fn id(&self, subject: &LedgerId) -> TombstoneId {
        self.of(&[subject.as_bytes()])
    }

    /// What a tombstone has of a name in tables.
    pub(crate) fn name(&self, in_table: &str) -> String {
        hex::encode(&self.of(&[NAME, in_table.as_bytes()])[..16])
    }

    /// The nonce of a certificate: it can be handed out whenever the subject asks, and is kept nowhere.
    pub(crate) fn nonce(&self, erasure: &[u8; 16], subject: &LedgerId) -> [u8; 32] {
        self.of(&[NONCE, erasure, subject.as_bytes()])
    }

    fn of(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }
}

/// The tombstones in memory, for whoever decides about a subject that no statement is known of.
#[derive(Debug, Default)]
pub(crate) struct Tombstones {
    key: Option<TombstoneKey>,
    any: AtomicBool,
    ids: RwLock<HashSet<TombstoneId, foldhash::fast::FixedState>>,
}

impl Tombstones {
    pub(crate) fn new(key: TombstoneKey) -> Self {
        Self { key: Some(key), ..Self::default() }
    }

    /// Whether there are any.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Whether a subject is erased for good. Costs nothing while there are none.
    pub(crate) fn holds(&self, subject: &LedgerId) -> bool {
        if !self.any() {
            return false;
        }
        let Some(key) = &self.key else { return false };
        let ids = self.ids.read().unwrap_or_else(PoisonError::into_inner);
        ids.contains(&key.id(subject))
    }

    pub(crate) fn add(&self, ids: impl IntoIterator<Item = TombstoneId>) {
        let mut known = self.ids.write().unwrap_or_else(PoisonError::into_inner);
        known.extend(ids);
        self.any.store(!known.is_empty(), Ordering::Release);
    }
}

/// The file.
#[derive(Debug)]
pub(crate) struct TombstoneFile {
    path: PathBuf,
}

impl TombstoneFile {
    pub(crate) fn of(data: &Path) -> Self {
        Self { path: data.join(FILE) }
    }

    /// Its lines. A last one that is torn was never acknowledged, and goes.
    ///
    /// # Errors
    /// `Data` if another line makes no sense.
    #[expect(clippy::disallowed_methods, reason = "capped by `take`")]
    pub(crate) fn read(&self) -> Result<Vec<Line>, Error> {
        let mut text = Vec::new();
        match File::open(&self.path) {
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            opened => {
                opened.and_then(|file| file.take(MOST_BYTES).read_to_end(&mut text)).map_err(|why| self.failed(&why))?
            }
        };
        let whole = whole(&text);
        let lines = text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.enumerate().map(|(at, line)| serde_json::from_slice(line).map_err(|_| self.damaged(at + 1))).collect()
    }

    /// Adds lines, durably.
    ///
    /// # Errors
    /// If they cannot be written; some may be there then, as if they were.
    pub(crate) fn append(&self, lines: &[Line]) -> Result<(), Error> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line).map_err(|why| self.failed(&why.into()))?;
            text.push(b'\n');
        }
        // The name too, each time: one that is there may be of a start that could not sync it.
        self.write(&text)
            .and_then(|()| storage::sync_folder(&storage::parent(&self.path)))
            .map_err(|why| self.failed(&why))
    }

    /// Writes behind the last whole line, and syncs.
    #[expect(clippy::disallowed_methods, reason = "capped by `take`")]
    fn write(&self, text: &[u8]) -> std::io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&self.path)?;
        let looked_at = file.metadata()?.len().saturating_sub(LAST_LINE_BYTES);
        let mut before = Vec::new();
        file.seek(SeekFrom::Start(looked_at))?;
        (&file).take(LAST_LINE_BYTES).read_to_end(&mut before)?;
        let in_view = whole(&before) as u64;
        if in_view == 0 && looked_at > 0 {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "its last line is too long to be one"));
        }
        let whole = looked_at + in_view;
        file.set_len(whole)?;
        file.seek(SeekFrom::Start(whole))?;
        file.write_all(text)?;
        fail::fail_point!("erase::failed_sync", |_| Err(storage::failed_sync(std::io::Error::from_raw_os_error(
            storage::EIO
        ))));
        storage::sync_file(&file)
    }

    fn failed(&self, why: &std::io::Error) -> Error {
        Error::write(format!("cannot use {}", self.path.display()), why)
    }

    fn damaged(&self, line: usize) -> Error {
        let why = format!("line {line} makes no sense");
        Error::new(Kind::Data, format!("{} is damaged", self.path.display()), why, "restore it from a backup")
    }
}

/// Bytes up to and with the last line that has an end.
fn whole(text: &[u8]) -> usize {
    text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

impl std::fmt::Debug for TombstoneKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TombstoneKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(byte: u8) -> Line {
        let names = vec![hex::encode(&[byte; 16])];
        Line::Tombstone(Tombstone { id: hex::encode(&[byte; 32]), names, notice: None, requested_at: 5 })
    }

    #[test]
    fn a_torn_last_line_goes_and_any_other_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = TombstoneFile::of(folder.path());
        assert_eq!(file.read().unwrap(), []);
        file.append(&[line(1), Line::Applied([("a/b".to_owned(), 3)].into())]).unwrap();
        let mut text = std::fs::read(folder.path().join(FILE)).unwrap();
        text.extend_from_slice(b"{\"tombstone\":{\"id\":\"");
        std::fs::write(folder.path().join(FILE), &text).unwrap();
        assert_eq!(file.read().unwrap().len(), 2);
        file.append(&[line(2)]).unwrap();
        assert_eq!(file.read().unwrap(), [line(1), Line::Applied([("a/b".to_owned(), 3)].into()), line(2)]);
        std::fs::write(folder.path().join(FILE), b"{}\n{\"applied\":{}}\n").unwrap();
        assert!(file.read().unwrap_err().to_string().contains("line 1"));
    }

    #[test]
    fn the_page_says_what_a_tombstone_is() {
        let (key, subject) = (TombstoneKey::new(&[3; 32]), LedgerId::from_bytes([5; 32]));
        let page = include_str!("../../../docs/FORMAT.md");
        let id: [u8; 16] = std::array::from_fn(|at| at as u8);
        for vector in [
            hex::encode(&key.id(&subject)),
            key.name("1a58945753576fbd6a7b921bb387d542"),
            hex::encode(&key.nonce(&id, &subject)),
        ] {
            assert!(page.contains(&format!("`{vector}`")), "docs/FORMAT.md does not say {vector}");
        }
    }

    #[test]
    fn a_subject_is_known_by_its_id_alone() {
        let key = TombstoneKey::new(&[3; 32]);
        let (one, two) = (LedgerId::from_bytes([1; 32]), LedgerId::from_bytes([2; 32]));
        let tombstones = Tombstones::new(key.clone());
        assert!(!tombstones.holds(&one));
        tombstones.add([key.id(&one)]);
        assert!(tombstones.holds(&one) && !tombstones.holds(&two));
        assert_ne!(key.nonce(&[0; 16], &one), key.nonce(&[1; 16], &one));
        assert_eq!(format!("{key:?}"), "TombstoneKey(..)");
    }
}
