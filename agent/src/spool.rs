//! Batches that wait for their acknowledgement: sealed files, one a batch, read by nobody without the seed.

use std::collections::BTreeMap;
use std::sync::Arc;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::folder::Folder;
use crate::rim::Random;

/// First bytes of a file, with its version at the end.
const MAGIC: &[u8; 8] = b"CandorB\x01";
/// More than a batch can have.
const MOST_FILE_BYTES: u64 = 64 << 20;
const FOLDER: &str = "spool";
const ENDING: &str = ".batch";

/// What a file says of its batch, sealed like the body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Label {
    /// Events in the body.
    pub events: u64,
    /// Events that were in it, or came with it, and may not be sent: by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shed: BTreeMap<String, u64>,
    /// Sequence of the statement that they were collected under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<i64>,
    /// All events that the device ever took, this batch the last.
    pub taken: u64,
}

impl Label {
    /// Events that the file accounts for.
    pub(crate) fn all(&self) -> u64 {
        self.events + self.shed.values().sum::<u64>()
    }
}

/// One file, as it is known without reading it again.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub label: Label,
    /// Bytes of the file.
    pub bytes: u64,
    /// Whether bytes of it may have left the device: its content is then fixed.
    pub may_be_out: bool,
}

/// Files by epoch and ordinal: within an epoch they go out in this order.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: Arc<dyn Folder>,
    key: SpoolKey,
    entries: BTreeMap<(u64, u64), Entry>,
}

/// Its `Debug` says nothing.
struct SpoolKey(LessSafeKey);

impl Spool {
    /// Reads what is there. Files of `settled` batches are leftovers and go; what cannot be opened is named, and goes too.
    pub(crate) fn load(
        folder: Arc<dyn Folder>,
        seed: &[u8; 32],
        settled: impl Fn(u64) -> bool,
    ) -> Result<(Self, Vec<(u64, u64)>), Error> {
        let mut spool = Self { folder, key: SpoolKey::new(seed)?, entries: BTreeMap::new() };
        let mut damaged = Vec::new();
        let names = spool.folder.names(FOLDER).map_err(|e| Error::folder(FOLDER, &e))?;
        for name in names {
            let Some((epoch, ordinal)) = place(&name) else { continue };
            if settled(ordinal) {
                spool.forget(epoch, ordinal)?;
                continue;
            }
            let bytes = spool.file(epoch, ordinal);
            match bytes.and_then(|bytes| Ok((bytes.len() as u64, spool.key.open(epoch, ordinal, &bytes)?.0))) {
                Ok((bytes, label)) => {
                    spool.entries.insert((epoch, ordinal), Entry { label, bytes, may_be_out: false });
                }
                Err(Error::Damaged { .. }) => damaged.push((epoch, ordinal)),
                Err(error) => return Err(error),
            }
        }
        let mut before = None;
        for ((epoch, _), entry) in &mut spool.entries {
            entry.may_be_out = before.replace(*epoch) != Some(*epoch);
        }
        Ok((spool, damaged))
    }

    /// Seals a batch; its file is durable afterwards. One that is there already is replaced.
    pub(crate) fn put(
        &mut self,
        (epoch, ordinal): (u64, u64),
        label: Label,
        body: &[u8],
        random: &dyn Random,
    ) -> Result<(), Error> {
        let bytes = self.key.seal(epoch, ordinal, &label, body, random)?;
        let name = name(epoch, ordinal);
        self.folder.replace(&name, &bytes).map_err(|e| Error::folder(&name, &e))?;
        self.entries.insert((epoch, ordinal), Entry { label, bytes: bytes.len() as u64, may_be_out: false });
        Ok(())
    }

    /// The body of a batch, opened.
    pub(crate) fn body(&self, (epoch, ordinal): (u64, u64)) -> Result<Vec<u8>, Error> {
        self.key.open(epoch, ordinal, &self.file(epoch, ordinal)?).map(|(_, body)| body)
    }

    /// Removes a batch that is settled. Its file may come back after a power cut, and goes then.
    pub(crate) fn settle(&mut self, (epoch, ordinal): (u64, u64)) -> Result<(), Error> {
        self.entries.remove(&(epoch, ordinal));
        self.forget(epoch, ordinal)
    }

    /// From now on its content is fixed.
    pub(crate) fn goes_out(&mut self, at: (u64, u64)) {
        if let Some(entry) = self.entries.get_mut(&at) {
            entry.may_be_out = true;
        }
    }

    pub(crate) fn entries(&self) -> &BTreeMap<(u64, u64), Entry> {
        &self.entries
    }

    /// Events in it, those that it shed included.
    pub(crate) fn events(&self) -> u64 {
        self.entries.values().map(|entry| entry.label.events).sum()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.entries.values().map(|entry| entry.bytes).sum()
    }

    /// Removes everything, for good.
    pub(crate) fn destroy(folder: &dyn Folder) -> Result<(), Error> {
        for name in folder.names(FOLDER).map_err(|e| Error::folder(FOLDER, &e))? {
            let name = format!("{FOLDER}/{name}");
            folder.destroy(&name).map_err(|e| Error::folder(&name, &e))?;
        }
        // Batches that were settled before must not come back either, once the journal is gone that knows of it.
        folder.destroy(&format!("{FOLDER}/{ENDING}")).map_err(|e| Error::folder(FOLDER, &e))
    }

    /// Bytes of the file that a batch with such a body makes, and a little more.
    pub(crate) const fn file_bytes(body: usize) -> u64 {
        body as u64 + 512
    }

    fn file(&self, epoch: u64, ordinal: u64) -> Result<Vec<u8>, Error> {
        let name = name(epoch, ordinal);
        let bytes = self.folder.read(&name, MOST_FILE_BYTES).map_err(|e| Error::folder(&name, &e))?;
        bytes.ok_or(Error::Damaged { name, what: "it is gone" })
    }

    fn forget(&self, epoch: u64, ordinal: u64) -> Result<(), Error> {
        let name = name(epoch, ordinal);
        self.folder.remove(&name).map_err(|e| Error::folder(&name, &e))
    }
}

impl SpoolKey {
    fn new(seed: &[u8; 32]) -> Result<Self, Error> {
        let derived = Salt::new(HKDF_SHA256, &[]).extract(seed);
        let okm = derived.expand(&[b"candor/spool/v1"], &CHACHA20_POLY1305).map_err(|_| Error::Crypto)?;
        Ok(Self(LessSafeKey::new(UnboundKey::from(okm))))
    }

    fn seal(
        &self,
        epoch: u64,
        ordinal: u64,
        label: &Label,
        body: &[u8],
        random: &dyn Random,
    ) -> Result<Vec<u8>, Error> {
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce)?;
        let label = serde_json::to_vec(label).map_err(|_| Error::Crypto)?;
        let mut sealed = Vec::with_capacity(4 + label.len() + body.len());
        sealed.extend((label.len() as u32).to_be_bytes());
        sealed.extend(label);
        sealed.extend(body);
        let aad = Aad::from(bound(epoch, ordinal));
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .map_err(|_| Error::Crypto)?;
        let mut file = Vec::with_capacity(MAGIC.len() + NONCE_LEN + sealed.len());
        file.extend(MAGIC);
        file.extend(nonce);
        file.extend(sealed);
        Ok(file)
    }

    fn open(&self, epoch: u64, ordinal: u64, file: &[u8]) -> Result<(Label, Vec<u8>), Error> {
        let damaged = |what| Error::Damaged { name: name(epoch, ordinal), what };
        let rest = file.strip_prefix(MAGIC.as_slice()).ok_or(damaged("it is no batch"))?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(damaged("it is cut off"))?;
        let (mut sealed, nonce) = (sealed.to_vec(), Nonce::assume_unique_for_key(*nonce));
        let opened = self.0.open_in_place(nonce, Aad::from(bound(epoch, ordinal)), &mut sealed);
        let opened = opened.map_err(|_| damaged("it was changed, or sealed under another key"))?;
        let (length, rest) = opened.split_first_chunk::<4>().ok_or(damaged("it has no label"))?;
        let (label, body) =
            rest.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or(damaged("it has no label"))?;
        let label = serde_json::from_slice(label).map_err(|_| damaged("its label is of another version"))?;
        Ok((label, body.to_vec()))
    }
}

impl std::fmt::Debug for SpoolKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SpoolKey(..)")
    }
}

/// What a file is bound to beside its key: its place.
fn bound(epoch: u64, ordinal: u64) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&epoch.to_be_bytes());
    bytes[16..].copy_from_slice(&ordinal.to_be_bytes());
    bytes
}

fn name(epoch: u64, ordinal: u64) -> String {
    format!("{FOLDER}/{epoch}-{ordinal}{ENDING}")
}

fn place(name: &str) -> Option<(u64, u64)> {
    let (epoch, ordinal) = name.strip_suffix(ENDING)?.split_once('-')?;
    Some((epoch.parse().ok()?, ordinal.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::MemoryFolder;
    use crate::rim::SystemEntropy;

    fn load(folder: &MemoryFolder, seed: u8) -> (Spool, Vec<(u64, u64)>) {
        Spool::load(Arc::new(folder.clone()), &[seed; 32], |ordinal| ordinal == 9).unwrap()
    }

    fn label(events: u64) -> Label {
        Label { events, shed: BTreeMap::from([("withdrawn".to_owned(), 1)]), consent: Some(3), taken: 7 }
    }

    #[test]
    fn batches_come_back_in_order_and_the_first_of_an_epoch_may_be_out() {
        let folder = MemoryFolder::default();
        let (mut spool, _) = load(&folder, 1);
        for at in [(0, 10), (0, 2), (0, 9), (1, 11)] {
            spool.put(at, label(2), b"secret body", &SystemEntropy).unwrap();
        }
        assert!(spool.entries().values().all(|entry| !entry.may_be_out));
        let (mut spool, damaged) = load(&folder, 1);
        assert!(damaged.is_empty());
        let out: Vec<_> = spool.entries().iter().map(|(at, entry)| (*at, entry.may_be_out)).collect();
        assert_eq!(out, [((0, 2), true), ((0, 10), false), ((1, 11), true)]);
        assert_eq!((spool.entries()[&(0, 2)].label.clone(), spool.events()), (label(2), 6));
        assert_eq!(spool.body((0, 10)).unwrap(), b"secret body");
        assert!(spool.bytes() > 100 && spool.bytes() / 3 < Spool::file_bytes(11));
        spool.settle((0, 2)).unwrap();
        assert_eq!(folder.names("spool").unwrap().len(), 2);
    }

    #[test]
    fn another_key_another_place_and_every_changed_byte_are_refused() {
        let folder = MemoryFolder::default();
        let (mut spool, _) = load(&folder, 1);
        spool.put((0, 1), label(2), b"secret body", &SystemEntropy).unwrap();
        assert_eq!(load(&folder, 2).1, [(0, 1)]);
        let file = folder.read("spool/0-1.batch", 999).unwrap().unwrap();
        assert!(!file.windows(6).any(|window| window == b"secret"));
        folder.replace("spool/0-2.batch", &file).unwrap();
        assert_eq!(load(&folder, 1).1, [(0, 2)]);
        folder.remove("spool/0-2.batch").unwrap();
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1;
            folder.replace("spool/0-1.batch", &changed).unwrap();
            assert_eq!(load(&folder, 1).1, [(0, 1)], "byte {at}");
            folder.replace("spool/0-1.batch", &file[..at]).unwrap();
            assert_eq!(load(&folder, 1).1, [(0, 1)], "cut at {at}");
        }
    }
}
