//! Where a log is read: the folder of a service, or the service itself. What comes from either is checked before it is believed.

use std::path::Path;

use candor_agent::client::Client;
use candor_store::keys::KeyRing;
use candor_store::log::LogFiles;
use candor_wire::log::checkpoint::{Checkpoint, SignedCheckpoint};
use candor_wire::log::entry::Entry;
use candor_wire::log::follow::{Followed, Need};
use candor_wire::log::note::{Note, VerifierKey};
use candor_wire::log::tile::{Tile, WIDTH};
use serde::Deserialize;

use crate::exit::{Exit, Failure};
use crate::kept::Kept;
use crate::render::{counted, counted_and};
use crate::service;
use crate::settings::Settings;

/// Most bytes of a bundle: 256 entries of 65,535 bytes, and their lengths.
const MOST_BUNDLE: usize = WIDTH as usize * 65_537;

/// Where a log is read.
#[derive(Debug)]
pub(crate) enum LogSource {
    /// Beside the service, or without it.
    Folder(LogFiles),
    /// As anybody can.
    Service(Box<Client>),
}

/// A log whose checkpoint is signed, and extends what was seen before.
#[derive(Debug)]
pub(crate) struct OpenLog {
    source: LogSource,
    followed: Followed,
    /// What it says now.
    pub(crate) checkpoint: SignedCheckpoint,
    /// What was seen last, by whoever runs this.
    pub(crate) before: Option<Checkpoint>,
}

impl OpenLog {
    /// Opens the log that the settings name: of the data folder, if one was given on the command line or no service is named. Without
    /// `keys`, those of the key ring, or those that the service tells, are believed; witnesses are believed as they are pinned.
    pub(crate) async fn open(
        settings: &Settings,
        (keys, witnesses): (&[String], &[VerifierKey]),
        in_folder: bool,
    ) -> Result<Self, Failure> {
        let keys: Vec<VerifierKey> = keys.iter().map(|key| key.parse()).collect::<Result<_, _>>().map_err(no_key)?;
        let mut source = if in_folder || settings.url.is_none() {
            LogSource::Folder(LogFiles::of(&settings.data))
        } else {
            LogSource::Service(Box::new(service::public(settings)?.answer_bytes(MOST_BUNDLE)))
        };
        let bytes = source.checkpoint().await?;
        // Those of a service are its own word.
        let are_sure = !keys.is_empty() || matches!(source, LogSource::Folder(_));
        let keys = if keys.is_empty() { source.keys(&bytes, settings).await? } else { keys };
        let checkpoint = SignedCheckpoint::open(&bytes, &keys, witnesses).map_err(|error| failed(&error))?;
        let followed = Followed::new(checkpoint.checkpoint.clone());
        let mut log = Self { source, followed, checkpoint, before: None };
        log.hold_against(&Kept::open()?, &keys, are_sure).await?;
        Ok(log)
    }

    /// Holds the checkpoint against those that were seen before, under any of its keys, and keeps it. One that was seen under a key that
    /// is not known is held against it too: if the keys are the service's own word, it has to be extended.
    async fn hold_against(&mut self, kept: &Kept, keys: &[VerifierKey], are_sure: bool) -> Result<(), Failure> {
        let now = self.checkpoint.checkpoint.clone();
        for key in keys {
            let Some(last) = kept.last(key)?.map(|last| last.checkpoint) else { continue };
            if last.size > now.size {
                let (was, is) = (last.size, now.size);
                return Err(failed(&format!(
                    "it had {} when it was seen last, and has {is}: some were taken back",
                    counted(was, "entry")
                )));
            }
            if !self.extends(&last).await? {
                let (one, many) =
                    ("that was seen last: somebody changed it", "that were seen last: somebody changed them");
                let what = format!("it does not extend the {}", counted_and(last.size, "entry", one, many));
                return Err(failed(&what));
            }
            self.before = Some(last).max_by_size(self.before.take());
        }
        // What was kept under one of its keys was held against the others then.
        let are_sure = are_sure || self.before.is_some();
        for other in kept.of_name(&now.origin, keys)? {
            if other.checkpoint.size <= now.size && self.extends(&other.checkpoint).await? {
                self.before = Some(other.checkpoint).max_by_size(self.before.take());
            } else if !are_sure {
                return Err(another(&other.path, other.checkpoint.size));
            }
        }
        kept.keep(&self.checkpoint)
    }

    /// Whether the log extends an older checkpoint of it.
    pub(crate) async fn extends(&mut self, before: &Checkpoint) -> Result<bool, Failure> {
        loop {
            match self.followed.extends(before) {
                Ok(extends) => return Ok(extends),
                Err(need) => self.fetch(need).await?,
            }
        }
    }

    /// The entries of the bundle that `number` is in, and the number of the first; the checkpoint covers each.
    pub(crate) async fn bundle(&mut self, number: u64) -> Result<(u64, Vec<Entry>), Failure> {
        let (bundle, first) = self.followed.bundle_of(number).map_err(|_| no_entry(number))?;
        let bytes = self.source.tile(&bundle).await?;
        loop {
            match self.followed.entries(&bundle, &bytes) {
                Ok(Ok(entries)) => return Ok((first, entries)),
                Ok(Err(wrong)) => return Err(failed(&wrong)),
                Err(need) => self.fetch(need).await?,
            }
        }
    }

    async fn fetch(&mut self, need: Need) -> Result<(), Failure> {
        let Need::Tile(tile) = need else { return Err(failed(&"it is smaller than what it says")) };
        let bytes = self.source.tile(&tile).await?;
        if self.followed.put(tile, &bytes) {
            Ok(())
        } else {
            Err(failed(&format!("{tile} is not as wide as its name says")))
        }
    }
}

impl LogSource {
    async fn checkpoint(&mut self) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Folder(files) => files.checkpoint()?.ok_or_else(|| {
                Failure::configuration("there is no log in this data folder")
                    .mend("name the folder that a service writes to, or the service with --url")
            }),
            Self::Service(client) => Ok(client.get("/log/checkpoint").await?.success()?.body.to_vec()),
        }
    }

    async fn tile(&mut self, tile: &Tile) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Folder(files) => {
                let missing = || failed(&format!("{tile} is not there, though the checkpoint covers it"));
                files.tile(tile)?.ok_or_else(missing)
            }
            Self::Service(client) => Ok(client.get(&format!("/log/{tile}")).await?.success()?.body.to_vec()),
        }
    }

    /// The keys that the key ring has, or the service says that it has.
    async fn keys(&mut self, checkpoint: &[u8], settings: &Settings) -> Result<Vec<VerifierKey>, Failure> {
        match self {
            Self::Folder(_) => {
                let note = Note::parse(checkpoint).map_err(|error| failed(&error))?;
                let origin = Checkpoint::parse(note.text()).map_err(|error| failed(&error))?.origin;
                let ring = KeyRing::open_for(&settings.data, settings.store.key_ring.as_deref())?;
                Ok(ring.log_keys(&origin)?)
            }
            Self::Service(client) => {
                let answer = client.get("/v1/keys").await?.success()?.body;
                let told: Told =
                    serde_json::from_slice(&answer).map_err(|_| candor_agent::error::Error::Answer("keys"))?;
                told.log.iter().map(|key| key.vkey.parse()).collect::<Result<_, _>>().map_err(no_key)
            }
        }
    }
}

/// What `GET /v1/keys` says of the log.
#[derive(Deserialize)]
struct Told {
    log: Vec<ToldKey>,
}

#[derive(Deserialize)]
struct ToldKey {
    vkey: String,
}

/// The larger of two checkpoints of a log.
trait MaxBySize {
    fn max_by_size(self, other: Self) -> Self;
}

impl MaxBySize for Option<Checkpoint> {
    fn max_by_size(self, other: Self) -> Self {
        self.into_iter().chain(other).max_by_key(|checkpoint| checkpoint.size)
    }
}

fn no_key(error: candor_wire::log::note::VerifierKeyError) -> Failure {
    Failure::usage(format!("the key of the log cannot be used: {error}"))
}

fn no_entry(number: u64) -> Failure {
    Failure::usage(format!("the log has no entry {number}")).mend("`candor audit log show` says how many there are")
}

/// It has another key than the one that was seen, and is not what was seen.
fn another(path: &Path, size: u64) -> Failure {
    let path = path.display();
    let why = format!(
        "a log of this name was seen under another key, with {} that this one does not extend ({path})",
        counted(size, "entry")
    );
    Failure::new(Exit::CouldNotVerify, why).mend(
        "if it is another log, name its key with --key; if it is to be the same, ask whoever runs it for both keys",
    )
}

/// The log is not what it was, or not what it says.
fn failed(why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::VerificationFailed, format!("the log does not hold: {why}"))
        .mend("keep the folder of checkpoints as it is: it is the evidence; ask whoever runs the service")
}
