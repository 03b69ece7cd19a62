//! What a device remembers beside its batches: the epoch and its timer, the statements of each epoch, whom it trusts, how its clock errs.

use candor_policy::consent::ConsentState;
use candor_wire::identity::{PublicKey, SubjectKey};
use candor_wire::statement::SignedStatement;
use serde::{Deserialize, Serialize};

use crate::consent::Draft;
use crate::epoch::EpochTimer;
use crate::erase::EpochErasure;
use crate::error::Error;
use crate::folder::Folder;

pub(crate) const FILE: &str = "state.toml";
const MOST_FILE_BYTES: u64 = 64 << 20;

/// `state.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    version: u32,
    /// Whose state this is, see [`crate::identity::Identity::mark`].
    pub identity: String,
    /// The epoch that events are collected in.
    pub epoch: u64,
    /// Microseconds by which the service's clock is ahead.
    pub clock_offset: i64,
    /// The service's key of receipts: as it was first seen, or what followed that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt_key: Option<PublicKey>,
    /// Keys of before, each of which signed the one after it: they signed receipts that the device holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receipt_keys_before: Vec<PublicKey>,
    /// Everything was erased, or the key was closed: nothing is sent until consent is given anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_silent: bool,
    pub timer: EpochTimer,
    /// Ascending; the current one is the last.
    pub epochs: Vec<EpochState>,
}

/// What is remembered of one epoch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EpochState {
    pub epoch: u64,
    /// Instance of the device that makes statements here; it rises when the device moves.
    pub instance: u32,
    /// How many of the statements the service has.
    pub delivered: usize,
    /// The key is closed at the service.
    pub is_closed: bool,
    /// The service does not take the statement that is next: another has to take its place.
    pub is_refused: bool,
    /// What it said about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub refusal: String,
    /// The highest sequence that was ever signed here.
    pub signed: i64,
    /// An instance before this one sent under it: the journal does not show what the service holds.
    pub moved: bool,
    /// JSON documents, oldest first.
    #[serde(with = "documents")]
    pub statements: Vec<SignedStatement>,
    /// Statements that the service never took, under which events were collected nevertheless.
    #[serde(with = "documents", default, skip_serializing_if = "Vec::is_empty")]
    pub void: Vec<SignedStatement>,
    /// It is to be erased, or was: nothing goes out under it but what erases it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erasure: Option<EpochErasure>,
}

impl State {
    pub(crate) fn new(identity: String, timer: EpochTimer) -> Self {
        let epochs = vec![EpochState::default()];
        Self {
            version: 1,
            identity,
            epoch: 0,
            clock_offset: 0,
            receipt_key: None,
            receipt_keys_before: Vec::new(),
            is_silent: false,
            timer,
            epochs,
        }
    }

    pub(crate) fn load(folder: &dyn Folder) -> Result<Option<Self>, Error> {
        load(folder, FILE)
    }

    pub(crate) fn save(&self, folder: &dyn Folder) -> Result<(), Error> {
        save(folder, FILE, self)
    }

    /// What is remembered of an epoch.
    pub(crate) fn of(&mut self, epoch: u64) -> &mut EpochState {
        let at = match self.epochs.binary_search_by_key(&epoch, |known| known.epoch) {
            Ok(at) => at,
            Err(at) => {
                self.epochs.insert(at, EpochState { epoch, ..EpochState::default() });
                at
            }
        };
        &mut self.epochs[at]
    }

    /// The same, if anything is.
    pub(crate) fn get(&self, epoch: u64) -> Option<&EpochState> {
        self.epochs.binary_search_by_key(&epoch, |known| known.epoch).ok().map(|at| &self.epochs[at])
    }
}

impl EpochState {
    /// The newest statement.
    pub(crate) fn head(&self) -> Option<&SignedStatement> {
        self.statements.last()
    }

    /// Whether the service took a state of this purpose.
    pub(crate) fn service_has(&self, purpose: &str) -> bool {
        let taken = self.statements[..self.delivered.min(self.statements.len())].last();
        let state = taken.and_then(|statement| statement.purposes.get(purpose).copied());
        state.is_some_and(|state| state != ConsentState::Unknown)
    }

    /// The newest statement at or before a sequence.
    pub(crate) fn at(&self, sequence: i64) -> Option<&SignedStatement> {
        self.statements.iter().rev().find(|statement| statement.sequence <= sequence)
    }

    /// What the person had said at a sequence, whether the service ever took it or not.
    pub(crate) fn said_at(&self, sequence: i64) -> Option<&SignedStatement> {
        self.void.iter().find(|statement| statement.sequence == sequence).or_else(|| self.at(sequence))
    }

    /// Signs what follows the newest statement, and queues it. One that the service refused makes room for it.
    pub(crate) fn state(&mut self, draft: &Draft, key: &SubjectKey, fleet: &str) -> Result<(), Error> {
        if std::mem::take(&mut self.is_refused) {
            self.refusal.clear();
            self.void.extend(self.statements.drain(self.delivered..));
        }
        let statement = draft.sign(key, fleet, self)?;
        self.signed = statement.sequence;
        self.statements.push(statement);
        Ok(())
    }

    /// The service has the statement of this sequence and hash as its newest: what follows is to be delivered. Whether it is one
    /// of this device's.
    pub(crate) fn is_heard_up_to(&mut self, sequence: i64, hash: &str) -> bool {
        let is_it = |statement: &SignedStatement| {
            statement.sequence == sequence && statement.hash().is_ok_and(|own| own.to_string() == hash)
        };
        let at = self.statements.iter().position(is_it);
        self.delivered = at.map_or(self.delivered, |at| at + 1);
        at.is_some()
    }

    /// Whether statements wait to be delivered. One that was refused holds up no erasure.
    pub(crate) fn is_behind(&self) -> bool {
        let is_over = self.is_closed || self.is_refused && self.erasure.is_some();
        !is_over && self.delivered < self.statements.len()
    }
}

/// Reads a TOML file of the folder.
pub(crate) fn load<T: serde::de::DeserializeOwned>(folder: &dyn Folder, name: &str) -> Result<Option<T>, Error> {
    let Some(bytes) = folder.read(name, MOST_FILE_BYTES).map_err(|e| Error::folder(name, &e))? else {
        return Ok(None);
    };
    parse(name, &zeroize::Zeroizing::new(bytes)).map(Some)
}

/// The same from bytes.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, Error> {
    let parsed = std::str::from_utf8(bytes).ok().and_then(|text| toml::from_str(text).ok());
    parsed.ok_or(Error::Damaged { name: name.to_owned(), what: "it is not what a device of this version writes" })
}

/// Writes one, durably.
pub(crate) fn save(folder: &dyn Folder, name: &str, value: &impl Serialize) -> Result<(), Error> {
    let text = toml::to_string(value).map(zeroize::Zeroizing::new).map_err(|_| Error::Crypto)?;
    folder.replace(name, text.as_bytes()).map_err(|e| Error::folder(name, &e))
}

/// Statements as JSON texts: what was signed, as the service and everybody else reads it.
mod documents {
    use candor_wire::statement::SignedStatement;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(statements: &[SignedStatement], serializer: S) -> Result<S::Ok, S::Error> {
        let texts: Result<Vec<String>, _> = statements.iter().map(serde_json::to_string).collect();
        texts.map_err(serde::ser::Error::custom)?.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SignedStatement>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| serde_json::from_str(text).map_err(|_| D::Error::custom("no statement"))).collect()
    }
}
