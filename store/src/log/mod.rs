//! The log of a data folder: statements go in, in batches that are durable whole or not at all, and a signed checkpoint comes out.
//!
//! Tiles are durable before the checkpoint that covers them, and nobody sees a checkpoint before it is durable. What a crash leaves
//! beyond the checkpoint was never signed, and is removed.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use candor_wire::log::checkpoint::{Checkpoint, SignedCheckpoint};
use candor_wire::log::edge::Edge;
use candor_wire::log::entry::Entry;
use candor_wire::log::live::LiveFiles;
use candor_wire::log::note::{Note, Signature, Signer, VerifierKey};
use candor_wire::log::proof;
use candor_wire::log::tile::{self, Tile, WIDTH, What};
use candor_wire::merkle::{Hash, leaf_hash};
use tokio::sync::watch;

use crate::error::{Error, Kind};
use crate::keys::KeyRing;

mod files;
pub(crate) mod removed;
pub(crate) mod replay;
pub(crate) mod start;
#[cfg(test)]
mod tests;

pub use files::LogFiles;

/// The log of a service: one writer, any number of readers.
#[derive(Debug)]
pub struct Log {
    disk: LogFiles,
    origin: String,
    signers: RwLock<Vec<Signer>>,
    writer: Mutex<Writer>,
    shown: RwLock<Shown>,
    /// The checkpoint that is shown, for who waits for it to change or may not wait for anything.
    newest: watch::Sender<Arc<SignedCheckpoint>>,
}

/// What appending needs.
#[derive(Debug, Default)]
struct Writer {
    edge: Edge,
    /// Bytes of the last bundle, if it is not full.
    tail: Vec<u8>,
    /// What the entries say, up to the one that is being checked.
    files: LiveFiles,
    /// Why nobody can say any more what is durable: nothing is signed from then on.
    stopped: Option<Error>,
}

/// What readers see: all of it is durable and signed.
#[derive(Debug)]
struct Shown {
    checkpoint: Arc<SignedCheckpoint>,
    files: LiveFiles,
}

impl Log {
    /// Opens the log of a data folder, or begins it. Every entry is read and held against the checkpoint.
    ///
    /// # Errors
    /// `Data` if the log is damaged, of another origin, or signed by none of these keys.
    pub fn open(data: &Path, signers: Vec<Signer>, origin: &str) -> Result<Self, Error> {
        let disk = LogFiles::of(data);
        let keys = verifiers(&signers);
        let Some(bytes) = disk.checkpoint()? else { return Self::begin(disk, signers, origin) };
        refuse_another(&bytes, origin)?;
        let opened = SignedCheckpoint::open(&bytes, &keys, &[]);
        let checkpoint = opened.map_err(|error| refused(error, "the log's checkpoint cannot be used"))?;
        let writer = replay::replay(&disk, &checkpoint.checkpoint)?;
        Ok(Self::of(disk, (signers, origin), writer, checkpoint))
    }

    /// Opens the log that a service of this data folder began, under the name that its checkpoint has.
    ///
    /// # Errors
    /// As [`Log::open`]; `Data` if no service ever began one.
    pub fn reopen(data: &Path, ring: &KeyRing) -> Result<Self, Error> {
        let bytes = LogFiles::of(data).checkpoint()?;
        let bytes = bytes.ok_or_else(|| refused("no service began one", "the log cannot be used"))?;
        let origin = origin_of(&bytes)?;
        Self::open(data, ring.log_signers(&origin)?, &origin)
    }

    fn begin(disk: LogFiles, signers: Vec<Signer>, origin: &str) -> Result<Self, Error> {
        if disk.has_tiles() {
            return Err(refused("its checkpoint is gone", "the log cannot be used"));
        }
        let writer = Writer::default();
        // Durable before anything else, so that a log whose checkpoint was lost is never taken for a new one.
        let (bytes, checkpoint) = sign(&signers, origin, &writer.edge)?;
        disk.write_checkpoint(&bytes)?;
        Ok(Self::of(disk, (signers, origin), writer, checkpoint))
    }

    fn of(
        disk: LogFiles,
        (signers, origin): (Vec<Signer>, &str),
        writer: Writer,
        checkpoint: SignedCheckpoint,
    ) -> Self {
        let shown = Shown { checkpoint: Arc::new(checkpoint), files: writer.files.clone() };
        Self {
            disk,
            origin: origin.to_owned(),
            signers: RwLock::new(signers),
            writer: Mutex::new(writer),
            newest: watch::Sender::new(Arc::clone(&shown.checkpoint)),
            shown: RwLock::new(shown),
        }
    }

    /// Adds statements under one checkpoint; returns their numbers when it is durable.
    ///
    /// # Errors
    /// `Data` for a statement that cannot be or breaks a rule of the log: nothing is added then. `Retry` for a full disk, `Stop` if
    /// nobody can say what is durable.
    pub fn append(&self, entries: &[Entry]) -> Result<Range<u64>, Error> {
        let mut writer = self.writer()?;
        let from = writer.edge.size();
        if entries.is_empty() {
            return Ok(from..from);
        }
        let appended = self.check_and_write(&mut writer, entries);
        if let Err(error) = appended {
            writer.files = self.look(LiveFiles::clone);
            if error.kind() == Kind::Stop {
                writer.stopped = Some(error.clone());
            } else {
                self.disk.sweep(from)?;
            }
            return Err(error);
        }
        Ok(from..writer.edge.size())
    }

    fn check_and_write(&self, writer: &mut Writer, entries: &[Entry]) -> Result<(), Error> {
        let mut encoded = Vec::with_capacity(entries.len());
        for entry in entries {
            encoded.push(entry.encode().map_err(|error| fault(&error))?);
            writer.files.apply(entry).map_err(|error| fault(&error))?;
        }
        let (mut edge, mut tail) = (writer.edge.clone(), writer.tail.clone());
        let leaves: Vec<Hash> = encoded.iter().map(|entry| leaf_hash(entry)).collect();
        fail::fail_point!("log::before_tiles", |how| match how.as_deref() {
            Some("full") => Err(Error::io("cannot write a tile", &std::io::ErrorKind::StorageFull.into())),
            _ => std::process::abort(),
        });
        let mut full = Vec::new();
        for (tile, bytes) in bundles(&mut tail, edge.size(), &encoded) {
            self.disk.write_tile(&tile, &bytes)?;
            full.extend(tile.is_full().then_some(tile));
        }
        for (tile, hashes) in edge.grow(&leaves) {
            self.disk.write_tile(&tile, &tile::hashes_to_bytes(&hashes))?;
            full.extend(tile.is_full().then_some(tile));
        }
        fail::fail_point!("log::after_tiles", |_| std::process::abort());
        let (bytes, checkpoint) = sign(&self.signers(), &self.origin, &edge)?;
        self.disk.write_checkpoint(&bytes)?;
        fail::fail_point!("log::after_checkpoint", |_| std::process::abort());
        (writer.edge, writer.tail) = (edge, tail);
        self.show(checkpoint, entries);
        for tile in full {
            // They say nothing that the full one does not: the next start tries again.
            if let Err(error) = self.disk.remove_narrower(&tile) {
                tracing::warn!(%error, "partial tiles stay");
            }
        }
        Ok(())
    }

    /// Adds what witnesses signed to the checkpoint, if it is still the one that they saw. Ends the process where nobody can say any
    /// more what is durable.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add_cosignatures(&self, seen: &Checkpoint, signatures: Vec<Signature>) -> Result<bool, Error> {
        let mut writer = self.writer()?;
        let shown = self.checkpoint();
        if signatures.is_empty() || shown.checkpoint != *seen {
            return Ok(false);
        }
        let mut note = shown.note.clone();
        for signature in signatures {
            note.add(signature);
        }
        let bytes = note.to_string().into_bytes();
        let opened = SignedCheckpoint::open(&bytes, &self.verifiers(), &[]);
        let checkpoint = opened.map_err(|error| refused(error, "a cosignature cannot be added"))?;
        if let Err(error) = self.disk.write_checkpoint(&bytes) {
            error.end_process_if_of_disk();
            writer.stopped = Some(error.clone()).filter(|error| error.kind() == Kind::Stop);
            return Err(error);
        }
        self.show(checkpoint, &[]);
        Ok(true)
    }

    /// The newest checkpoint that is durable.
    #[must_use]
    pub fn checkpoint(&self) -> Arc<SignedCheckpoint> {
        Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner).checkpoint)
    }

    /// The same for who waits until there is another one, or until the same one has more signatures.
    #[must_use]
    pub fn newest(&self) -> watch::Receiver<Arc<SignedCheckpoint>> {
        self.newest.subscribe()
    }

    /// Entries under that checkpoint.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.checkpoint().checkpoint.size
    }

    /// Looks at what the entries under the checkpoint say: which files are live, and under which entry each was sealed. Nothing is
    /// appended meanwhile that would show, so keep it short.
    pub fn look<T>(&self, look: impl FnOnce(&LiveFiles) -> T) -> T {
        look(&self.shown.read().unwrap_or_else(PoisonError::into_inner).files)
    }

    /// The same together with the checkpoint that it is under.
    pub fn look_under<T>(&self, look: impl FnOnce(&Arc<SignedCheckpoint>, &LiveFiles) -> T) -> T {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        look(&shown.checkpoint, &shown.files)
    }

    /// Who verifies its checkpoints: the key in use first, then older ones that are not destroyed.
    #[must_use]
    pub fn verifiers(&self) -> Vec<VerifierKey> {
        verifiers(&self.signers())
    }

    /// Whether one of these keys signed the newest checkpoint.
    pub(crate) fn is_signed_by(&self, keys: &[VerifierKey]) -> bool {
        SignedCheckpoint::open(self.checkpoint().note.to_string().as_bytes(), keys, &[]).is_ok()
    }

    /// Has checkpoints from now on signed by these keys.
    pub(crate) fn set_signers(&self, signers: Vec<Signer>) {
        *self.signers.write().unwrap_or_else(PoisonError::into_inner) = signers;
    }

    fn signers(&self) -> RwLockReadGuard<'_, Vec<Signer>> {
        self.signers.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log's name.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The bytes of a tile or bundle that the checkpoint covers; none for any other.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn tile(&self, tile: &Tile) -> Result<Option<Vec<u8>>, Error> {
        if tile.is_in(self.size()) { self.disk.tile(tile) } else { Ok(None) }
    }

    /// An entry.
    ///
    /// # Errors
    /// `Request` if there is none of this number; if it cannot be read.
    pub fn entry(&self, number: u64) -> Result<Entry, Error> {
        let mut entries = self.entries(number..number.saturating_add(1))?;
        entries.pop().ok_or_else(|| no_such_entry(number))
    }

    /// Entries of a range.
    ///
    /// # Errors
    /// `Request` if the log does not have all of them; if they cannot be read.
    pub fn entries(&self, range: Range<u64>) -> Result<Vec<Entry>, Error> {
        let size = self.size();
        if range.end > size {
            return Err(no_such_entry(range.end.saturating_sub(1)));
        }
        let (mut entries, mut at) = (Vec::new(), range.start);
        while at < range.end {
            let bundle = Tile::of(What::Entries, at, size).ok_or_else(|| no_such_entry(at))?;
            let first = bundle.index() * WIDTH;
            let read = self.disk.bundle(&bundle)?;
            for bytes in read.iter().take((range.end - first) as usize).skip((at - first) as usize) {
                entries
                    .push(Entry::decode(bytes).map_err(|error| refused(error, "an entry of the log cannot be read"))?);
            }
            at = first + WIDTH;
        }
        Ok(entries)
    }

    /// What shows that the log with `new` entries extends that with `old`.
    ///
    /// # Errors
    /// `Request` for sizes that it did not have yet; if tiles cannot be read.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, Error> {
        proof::consistency(&self.disk.tree(self.had(new)?), old, new)
    }

    /// What shows that an entry is in the log with `size` entries.
    ///
    /// # Errors
    /// As [`Log::consistency`].
    pub fn inclusion(&self, number: u64, size: u64) -> Result<Vec<Hash>, Error> {
        proof::inclusion(&self.disk.tree(self.had(size)?), number, size)
    }

    /// A size that it has or had.
    fn had(&self, size: u64) -> Result<u64, Error> {
        if size <= self.size() { Ok(size) } else { Err(proof::Missing.into()) }
    }

    fn show(&self, checkpoint: SignedCheckpoint, entries: &[Entry]) {
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        for entry in entries {
            // The writer's own copy took each of them.
            if let Err(error) = shown.files.apply(entry) {
                tracing::error!(%error, "the log's files are not shown");
            }
        }
        shown.checkpoint = Arc::new(checkpoint);
        self.newest.send_replace(Arc::clone(&shown.checkpoint));
    }

    fn writer(&self) -> Result<MutexGuard<'_, Writer>, Error> {
        let writer = self.writer.lock().map_err(|_| {
            let mend = "start again: the log goes on from what is on disk";
            Error::new(Kind::Stop, "the log cannot be written", "an earlier writer panicked", mend)
        })?;
        writer.stopped.clone().map_or(Ok(writer), Err)
    }
}

fn verifiers(signers: &[Signer]) -> Vec<VerifierKey> {
    signers.iter().map(|signer| signer.verifier().clone()).collect()
}

/// The checkpoint of a tree, signed by every key.
fn sign(signers: &[Signer], origin: &str, edge: &Edge) -> Result<(Vec<u8>, SignedCheckpoint), Error> {
    let text = Checkpoint::new(origin.to_owned(), edge.size(), edge.root()).to_string();
    let signatures = signers.iter().map(|signer| signer.sign(&text, 0)).collect();
    let note = Note::new(text, signatures).map_err(|error| fault(&error))?;
    let bytes = note.to_string().into_bytes();
    let checkpoint = SignedCheckpoint::open(&bytes, &verifiers(signers), &[]).map_err(|error| fault(&error))?;
    Ok((bytes, checkpoint))
}

/// The bundles that new entries change, and what is left of the last one in `tail`.
fn bundles(tail: &mut Vec<u8>, size: u64, entries: &[Vec<u8>]) -> Vec<(Tile, Vec<u8>)> {
    let (mut changed, mut at) = (Vec::new(), size);
    for entry in entries {
        // What [`Entry::encode`] gives is never too long.
        tile::push_entry(tail, entry);
        at += 1;
        if at % WIDTH == 0 {
            changed.push((Tile::entries(at / WIDTH - 1, WIDTH as u16), std::mem::take(tail)));
        }
    }
    if at % WIDTH > 0 {
        changed.push((Tile::entries(at / WIDTH, (at % WIDTH) as u16), tail.clone()));
    }
    changed
}

fn no_such_entry(number: u64) -> Error {
    let why = format!("there is no entry {number}");
    Error::new(Kind::Request, "the log has no such entry", why, "ask for entries below its size")
}

/// Whether the log of a data folder, if it has one, is of this name.
///
/// # Errors
/// `Data` if it is another's, or cannot be read.
pub(crate) fn check_origin(data: &Path, origin: &str) -> Result<(), Error> {
    LogFiles::of(data).checkpoint()?.map_or(Ok(()), |bytes| refuse_another(&bytes, origin))
}

fn refuse_another(checkpoint: &[u8], origin: &str) -> Result<(), Error> {
    let written = origin_of(checkpoint)?;
    if written == origin { Ok(()) } else { Err(another_origin(&written, origin)) }
}

/// The name that a checkpoint has, which anybody may have written: its signature is looked at after.
fn origin_of(checkpoint: &[u8]) -> Result<String, Error> {
    let unusable = |why: &dyn std::fmt::Display| refused(why, "the log's checkpoint cannot be used");
    let note = Note::parse(checkpoint).map_err(|why| unusable(&why))?;
    Checkpoint::parse(note.text()).map(|checkpoint| checkpoint.origin).map_err(|why| unusable(&why))
}

fn another_origin(written: &str, wanted: &str) -> Error {
    let why = format!("it is the log of {written:?}, and this fleet's is {wanted:?}");
    let mend = "give the catalogue its old name (`catalogue = ...`), or set store.log.origin to the name that the log has: it is for good";
    Error::new(Kind::Data, "the log of the data folder is another one's", why, mend)
}

fn refused(why: impl std::fmt::Display, what: &str) -> Error {
    Error::new(Kind::Data, what, why, "restore the folder `log` and the key ring from the same backup")
}

fn fault(why: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Data, "a statement cannot go into the log", why, "this is a fault of candor: report it")
}
