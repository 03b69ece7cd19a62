//! Changing the keys of a ring: new ones, later generations, and the end of them. Each change leaves a line in the ring's
//! history, and from there an entry in the log.

use std::collections::BTreeMap;
use std::path::Path;

use candor_wire::identity::SubjectKey;
use candor_wire::log::entry::Entry;
use candor_wire::log::live::LiveFiles;
use candor_wire::log::note::{Algorithm, VerifierKey};
use candor_wire::succession::Succession;
use serde::{Deserialize, Serialize};

use super::history::{KeyChange, KeyEvent, KeyLine, KeyName};
use super::{Key, KeyRing, Named, Secret, path_of};
use crate::clock::Clock;
use crate::error::{Error, Kind};
use crate::lock::Lock;
use crate::log::{Log, LogFiles};
use crate::settings::Settings;

/// What is to become of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// A key that operators can name from now on.
    New {
        /// `named/NAME`.
        key: KeyName,
    },
    /// Another generation.
    Rotate {
        /// The key.
        key: KeyName,
    },
    /// The end of a generation, or of all of them.
    Destroy {
        /// The key.
        key: KeyName,
        /// The generation; all of them if it is not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        generation: Option<u64>,
    },
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// What happened, as the log has it.
    pub events: Vec<KeyChange>,
    /// The keys that are there now.
    pub keys: Vec<KeyLine>,
}

/// Changes a key of a data folder that no service uses.
///
/// # Errors
/// `Retry` if a service has the folder; `Request` if the key cannot be changed so, or the ring is kept elsewhere.
pub fn change_in(settings: &Settings, change: &Change, clock: &dyn Clock) -> Result<Changed, Error> {
    #[cfg(feature = "failpoints")]
    crate::store::arm_failpoints();
    // Before the lock, which would make a file in a folder that is none of ours.
    KeyRing::open_for(&settings.data, settings.key_ring.as_deref())?;
    let _lock = Lock::take(&settings.data)?;
    let mut ring = KeyRing::open_for(&settings.data, settings.key_ring.as_deref())?;
    let now = clock.now();
    if let Some(log) = existing_log(&settings.data, &ring)? {
        return change_and_log(&mut ring, &log, (settings, change, &[], now), |_| ());
    }
    let events = ring.change_kept(settings, change, &[], now)?;
    Ok(Changed { events, keys: ring.lines() })
}

/// Changes a key and has the log say so. `put_in_force` comes as soon as the ring is written: what follows may fail, and is made
/// up for by the next change or start.
pub(crate) fn change_and_log(
    ring: &mut KeyRing,
    log: &Log,
    (settings, change, named, now): (&Settings, &Change, &[String], i64),
    put_in_force: impl FnOnce(&KeyRing),
) -> Result<Changed, Error> {
    // With the keys of before: what they have to sign must not wait for those of after.
    record_key_events(log, &ring.told(now))?;
    refuse_to_lose(log, ring, change)?;
    let events = ring.change_kept(settings, change, named, now)?;
    put_in_force(ring);
    log.set_signers(ring.log_signers(log.origin())?);
    record_key_events(log, ring.history())?;
    Ok(Changed { events, keys: ring.lines() })
}

/// A log opens by the keys that signed what it shows: the last of them is not destroyed before another one did.
fn refuse_to_lose(log: &Log, ring: &KeyRing, change: &Change) -> Result<(), Error> {
    let Change::Destroy { key: KeyName::Log, generation: Some(generation) } = change else { return Ok(()) };
    let mut without = ring.clone();
    without.document.log.retain(|key| key.generation != *generation);
    if without.document.log.is_empty() || log.is_signed_by(&without.log_keys(log.origin())?) {
        return Ok(());
    }
    let mend = "try again when the log can be written: `candor doctor` looks at the disk";
    Err(Error::new(
        Kind::Retry,
        "the key log is not destroyed",
        "no other key has signed the newest checkpoint yet",
        mend,
    ))
}

/// The log of a folder, if it has one: the start of a service begins it.
fn existing_log(data: &Path, ring: &KeyRing) -> Result<Option<Log>, Error> {
    let Some(bytes) = LogFiles::of(data).checkpoint()? else { return Ok(None) };
    let origin = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let origin = String::from_utf8_lossy(origin).into_owned();
    Log::open(data, ring.log_signers(&origin)?, &origin).map(Some)
}

/// Leaves in the log what became of keys, as far as it does not have it.
pub(crate) fn record_key_events(log: &Log, history: &[KeyChange]) -> Result<(), Error> {
    let entries = log.look(|known| entries_of(known, history, log.origin()));
    log.append(&entries).map(drop)
}

/// The entries that the log lacks. It has its own rules: a key is created once, and its generations only grow.
pub(crate) fn entries_of(known: &LiveFiles, history: &[KeyChange], origin: &str) -> Vec<Entry> {
    let mut newest: BTreeMap<&str, Option<u64>> = BTreeMap::new();
    let mut entries = Vec::new();
    for change in history.iter().filter(|change| !matches!(change.usage.as_str(), "repeats" | "tombstone")) {
        let newest = newest.entry(&change.usage).or_insert_with(|| known.generation(&change.usage));
        let event = match (change.event, *newest) {
            (KeyEvent::Destroyed, Some(newest)) if change.generation <= newest => {
                if known.is_destroyed(&change.usage, change.generation) {
                    continue;
                }
                KeyEvent::Destroyed
            }
            (KeyEvent::Created | KeyEvent::Rotated, None) => KeyEvent::Created,
            (KeyEvent::Created | KeyEvent::Rotated, Some(newest)) if newest < change.generation => KeyEvent::Rotated,
            _ => continue,
        };
        if event != KeyEvent::Destroyed {
            *newest = Some(change.generation);
        }
        let key = change.key.as_ref().map(|key| if change.usage == "log" { vkey(origin, key) } else { key.clone() });
        entries.push(Entry::Key(KeyChange { event, key, ..change.clone() }));
    }
    entries
}

/// What verifies checkpoints that a key signs.
fn vkey(origin: &str, key: &str) -> String {
    let key = key.parse().ok().and_then(|key| VerifierKey::new(origin, Algorithm::Ed25519, key).ok());
    key.map(|key| key.to_string()).unwrap_or_default()
}

impl KeyRing {
    /// The keys that are there, without their secrets.
    #[must_use]
    pub fn lines(&self) -> Vec<KeyLine> {
        let document = &self.document;
        let newest = document.subject.iter().map(|key| key.generation).max();
        let mut found: Vec<(KeyName, u64, bool)> = vec![(KeyName::Ledger, document.ledger.generation, true)];
        found.extend(
            document.subject.iter().map(|key| (KeyName::Subject, key.generation, Some(key.generation) == newest)),
        );
        found.push((KeyName::Repeats, document.repeats.generation, true));
        found.push((KeyName::Tombstone, document.tombstone.generation, true));
        found.extend(document.receipts.iter().map(|key| (KeyName::Receipts, key.generation, true)));
        // All of them sign.
        found.extend(document.log.iter().map(|key| (KeyName::Log, key.generation, true)));
        for (name, named) in &document.named {
            let name = KeyName::Named(name.clone());
            found.extend(named.before.iter().map(|key| (name.clone(), key.generation, false)));
            found.push((name, named.generation, true));
        }
        found
            .into_iter()
            .map(|(name, generation, live)| KeyLine {
                since: self.since(&name, generation),
                public: self.public_half(&name, generation),
                key: name.to_string(),
                generation,
                live,
            })
            .collect()
    }

    /// How each receipt key of before was followed by the next, oldest first.
    #[must_use]
    pub fn successions(&self) -> &[Succession] {
        &self.document.successions
    }

    /// What became of the keys, oldest first.
    #[must_use]
    pub fn history(&self) -> &[KeyChange] {
        &self.document.history
    }

    /// The same, with what the history does not tell of keys that are there: a ring that somebody wrote by hand.
    pub(crate) fn told(&self, now: i64) -> Vec<KeyChange> {
        let mut ring = self.clone();
        ring.tell(now);
        ring.document.history
    }

    /// Makes a change, with what a policy names in the place of what it took, writes the ring, and gives what happened.
    pub(crate) fn change_kept(
        &mut self,
        settings: &Settings,
        change: &Change,
        named: &[String],
        now: i64,
    ) -> Result<Vec<KeyChange>, Error> {
        if let Some(path) = &settings.key_ring {
            return Err(Error::new(
                Kind::Request,
                format!("the key ring {} is not changed", path.display()),
                "it is kept outside the data folder",
                "change it where it is kept, as docs/FORMAT.md has it, and start the service again",
            ));
        }
        let mut ring = self.clone();
        let before = ring.document.history.len();
        ring.change(change, now)?;
        ring.complete(named, now)?;
        ring.write(&path_of(&settings.data))?;
        *self = ring;
        Ok(self.document.history.iter().skip(before).cloned().collect())
    }

    /// Adds the keys that every ring has and those that a policy names, and tells of keys that the history does not know.
    pub(super) fn complete(&mut self, named: &[String], now: i64) -> Result<(), Error> {
        self.tell(now);
        if self.document.log.is_empty() {
            self.rotate_log(now)?;
        }
        if self.document.receipts.is_none() {
            let generation = self.next_generation("receipts");
            self.document.receipts = Some(Key { generation, secret: Secret::random()? });
            let public = self.receipts().map(|key| key.public().to_string());
            self.note("receipts", generation, first_or_later(generation), public, now);
        }
        for name in named {
            if !self.document.named.contains_key(name) {
                self.make_named(name, now)?;
            }
        }
        Ok(())
    }

    fn tell(&mut self, now: i64) {
        let mut lines = self.lines();
        lines.sort_by_key(|line| line.generation);
        for line in lines {
            let is_told = |one: &KeyChange| one.usage == line.key && one.generation == line.generation;
            if !self.document.history.iter().any(is_told) {
                self.note(&line.key, line.generation, first_or_later(line.generation), line.public, now);
            }
        }
    }

    fn change(&mut self, change: &Change, now: i64) -> Result<(), Error> {
        match change {
            Change::New { key: KeyName::Named(name) } if self.document.named.contains_key(name) => {
                Err(refused(change, "it is there", "rotate it, or choose another name"))
            }
            Change::New { key: KeyName::Named(name) } => self.make_named(name, now),
            Change::New { .. } => Err(refused(change, "every ring has that key", "name it named/NAME")),
            Change::Rotate { key: KeyName::Subject } => self.rotate_subject(now),
            Change::Rotate { key: KeyName::Log } => self.rotate_log(now),
            Change::Rotate { key: KeyName::Receipts } => self.rotate_receipts(change, now),
            Change::Rotate { key: KeyName::Named(name) } => self.rotate_named(change, name, now),
            Change::Rotate { key: KeyName::Ledger } => Err(refused(
                change,
                "consent is kept under ids that it makes: under another key nobody would be found again",
                "rotate `subject`: pseudonyms in tables depend on that one",
            )),
            Change::Rotate { .. } => Err(refused(
                change,
                "what it made has to be recognised: repeats of requests, subjects that were erased",
                "leave it as it is",
            )),
            Change::Destroy { key: KeyName::Subject, generation } => self.destroy_subject(change, *generation, now),
            Change::Destroy { key: KeyName::Log, generation } => self.destroy_log(change, *generation, now),
            Change::Destroy { key: KeyName::Named(name), generation } => {
                self.destroy_named(change, name, *generation, now)
            }
            Change::Destroy { .. } => Err(refused(
                change,
                "a service cannot be without it",
                "a key that signs receipts is gone when it is rotated; leave the others as they are",
            )),
        }
    }

    fn make_named(&mut self, name: &str, now: i64) -> Result<(), Error> {
        let usage = format!("named/{name}");
        let generation = self.next_generation(&usage);
        let made = Named { generation, secret: Secret::random()?, before: Vec::new() };
        self.document.named.insert(name.to_owned(), made);
        self.note(&usage, generation, first_or_later(generation), None, now);
        Ok(())
    }

    /// All keys of the log sign, until older ones are destroyed.
    fn rotate_log(&mut self, now: i64) -> Result<(), Error> {
        let generation = self.next_generation("log");
        self.document.log.push(Key { generation, secret: Secret::random()? });
        let public = self.public_half(&KeyName::Log, generation);
        self.note("log", generation, first_or_later(generation), public, now);
        Ok(())
    }

    fn destroy_log(&mut self, change: &Change, generation: Option<u64>, now: i64) -> Result<(), Error> {
        let Some(generation) = generation else {
            return Err(refused(change, "it signs", "name an older one with --generation"));
        };
        if self.document.log.iter().map(|key| key.generation).max() == Some(generation) {
            return Err(refused(change, "it is the newest generation", "rotate it first"));
        }
        let Some(public) = self.public_half(&KeyName::Log, generation) else { return Err(missing(change)) };
        self.document.log.retain(|key| key.generation != generation);
        self.note("log", generation, KeyEvent::Destroyed, Some(public), now);
        Ok(())
    }

    /// The public half of a key that is there and has one.
    fn public_half(&self, name: &KeyName, generation: u64) -> Option<String> {
        let keys = match name {
            KeyName::Receipts => self.document.receipts.as_slice(),
            KeyName::Log => &self.document.log,
            _ => return None,
        };
        Some(public_of(keys.iter().find(|key| key.generation == generation)?))
    }

    fn rotate_subject(&mut self, now: i64) -> Result<(), Error> {
        let generation = self.next_generation("subject");
        self.document.subject.push(Key { generation, secret: Secret::random()? });
        self.note("subject", generation, KeyEvent::Rotated, None, now);
        Ok(())
    }

    fn rotate_named(&mut self, change: &Change, name: &str, now: i64) -> Result<(), Error> {
        let usage = format!("named/{name}");
        let generation = self.next_generation(&usage);
        let Some(named) = self.document.named.get_mut(name) else { return Err(missing(change)) };
        let before = Key { generation: named.generation, secret: named.secret.clone() };
        named.before.push(before);
        (named.generation, named.secret) = (generation, Secret::random()?);
        self.note(&usage, generation, KeyEvent::Rotated, None, now);
        Ok(())
    }

    /// The old key signs the new one and is gone: who takes the ring later cannot sign in its name.
    fn rotate_receipts(&mut self, change: &Change, now: i64) -> Result<(), Error> {
        let Some(before) = self.receipts() else { return Err(missing(change)) };
        let gone = self.document.receipts.as_ref().map_or(0, |key| key.generation);
        let generation = self.next_generation("receipts");
        let secret = Secret::random()?;
        let key = SubjectKey::of_seed(&secret.0);
        self.document.successions.push(Succession::announce(&before, &key.public()));
        self.document.receipts = Some(Key { generation, secret });
        self.note("receipts", generation, KeyEvent::Rotated, Some(key.public().to_string()), now);
        self.note("receipts", gone, KeyEvent::Destroyed, Some(before.public().to_string()), now);
        Ok(())
    }

    fn destroy_subject(&mut self, change: &Change, generation: Option<u64>, now: i64) -> Result<(), Error> {
        let Some(generation) = generation else {
            return Err(refused(change, "rows are found under it", "name an older one with --generation"));
        };
        let subject = &mut self.document.subject;
        if subject.iter().map(|key| key.generation).max() == Some(generation) {
            return Err(refused(change, "it is the generation in use", "rotate it first"));
        }
        let before = subject.len();
        subject.retain(|key| key.generation != generation);
        if subject.len() == before {
            return Err(missing(change));
        }
        self.note("subject", generation, KeyEvent::Destroyed, None, now);
        Ok(())
    }

    fn destroy_named(&mut self, change: &Change, name: &str, generation: Option<u64>, now: i64) -> Result<(), Error> {
        let Some(named) = self.document.named.get_mut(name) else { return Err(missing(change)) };
        let mut gone: Vec<u64> = named.before.iter().map(|key| key.generation).collect();
        match generation {
            None => {
                gone.push(named.generation);
                self.document.named.remove(name);
            }
            Some(live) if live == named.generation => {
                return Err(refused(change, "it is the generation in use", "rotate it first, or destroy all of them"));
            }
            Some(generation) => {
                gone.retain(|one| *one == generation);
                named.before.retain(|key| key.generation != generation);
            }
        }
        if gone.is_empty() {
            return Err(missing(change));
        }
        for generation in gone {
            self.note(&format!("named/{name}"), generation, KeyEvent::Destroyed, None, now);
        }
        Ok(())
    }

    /// Generations count on, also after those that are gone.
    fn next_generation(&self, usage: &str) -> u64 {
        let told = self.document.history.iter().filter(|one| one.usage == usage).map(|one| one.generation);
        let there = self.lines().into_iter().filter(|line| line.key == usage).map(|line| line.generation);
        told.chain(there).max().unwrap_or(0) + 1
    }

    fn since(&self, name: &KeyName, generation: u64) -> Option<i64> {
        let name = name.to_string();
        let is_it =
            |one: &&KeyChange| one.usage == name && one.generation == generation && one.event != KeyEvent::Destroyed;
        self.document.history.iter().find(is_it).map(|one| one.at)
    }

    fn note(&mut self, usage: &str, generation: u64, event: KeyEvent, key: Option<String>, at: i64) {
        self.document.history.push(KeyChange { usage: usage.to_owned(), generation, event, key, at });
    }
}

impl Change {
    /// The key that it is about.
    #[must_use]
    pub const fn key(&self) -> &KeyName {
        match self {
            Self::New { key } | Self::Rotate { key } | Self::Destroy { key, .. } => key,
        }
    }

    const fn participle(&self) -> &'static str {
        match self {
            Self::New { .. } => "made",
            Self::Rotate { .. } => "rotated",
            Self::Destroy { .. } => "destroyed",
        }
    }
}

fn public_of(key: &Key) -> String {
    SubjectKey::of_seed(&key.secret.0).public().to_string()
}

const fn first_or_later(generation: u64) -> KeyEvent {
    if generation == 1 { KeyEvent::Created } else { KeyEvent::Rotated }
}

fn refused(change: &Change, why: &str, mend: &'static str) -> Error {
    Error::new(Kind::Request, format!("the key {} is not {}", change.key(), change.participle()), why, mend)
}

fn missing(change: &Change) -> Error {
    refused(change, "the ring has no such key", "`candor key list` shows what there is")
}

#[cfg(test)]
mod tests {
    use candor_wire::succession::followers;

    use super::KeyEvent::{Created, Destroyed, Rotated};
    use super::*;
    use crate::keys::Secrets;

    fn ring() -> KeyRing {
        let mut ring = KeyRing::from_secrets(Secrets::random().unwrap());
        ring.complete(&["analytics".to_owned()], 5).unwrap();
        ring
    }

    fn rotate(key: &str) -> Change {
        Change::Rotate { key: key.parse().unwrap() }
    }

    fn destroy(key: &str, generation: Option<u64>) -> Change {
        Change::Destroy { key: key.parse().unwrap(), generation }
    }

    #[test]
    fn a_completed_ring_has_told_of_every_key_once() {
        let mut ring = ring();
        let told = ring.history().len();
        assert_eq!(told, ring.lines().len());
        ring.complete(&["analytics".to_owned()], 9).unwrap();
        assert_eq!(ring.history().len(), told);
        assert!(ring.lines().iter().all(|line| line.since == Some(5) && line.live && line.generation == 1));
    }

    #[test]
    fn a_rotated_subject_key_keeps_the_old_one_until_it_is_destroyed() {
        let mut ring = ring();
        let id = ring.keys().ledger_id("x");
        let before = ring.keys().subject_id(&id);
        ring.change(&rotate("subject"), 6).unwrap();
        assert_eq!(ring.keys().ledger_id("x"), id);
        let ids: Vec<_> = ring.generations().iter().map(|keys| keys.subject_id(&id)).collect();
        assert!(ids.len() == 2 && ids[1] == before && ids[0] != before);
        for wrong in [None, Some(2), Some(7)] {
            assert_eq!(ring.change(&destroy("subject", wrong), 7).unwrap_err().kind(), Kind::Request);
        }
        ring.change(&destroy("subject", Some(1)), 7).unwrap();
        assert_eq!(ring.generations().len(), 1);
        ring.change(&rotate("subject"), 8).unwrap();
        assert_eq!(ring.lines().iter().filter(|line| line.key == "subject").map(|line| line.generation).max(), Some(3));
    }

    #[test]
    fn a_named_key_that_was_destroyed_comes_back_as_another_generation() {
        let mut ring = ring();
        let key = "named/analytics";
        ring.change(&rotate(key), 6).unwrap();
        assert_eq!(ring.keys().named("analytics").unwrap().generation(), 2);
        assert!(ring.change(&destroy(key, Some(2)), 7).is_err(), "it is in use");
        ring.change(&destroy(key, Some(1)), 7).unwrap();
        ring.change(&destroy(key, None), 8).unwrap();
        assert!(ring.keys().named("analytics").is_none());
        ring.complete(&["analytics".to_owned()], 9).unwrap();
        assert_eq!(ring.keys().named("analytics").unwrap().generation(), 3);
        let told = ring.history().iter().filter(|one| one.usage == key);
        let events: Vec<_> = told.map(|one| (one.generation, one.event)).collect();
        assert_eq!(events, [(1, Created), (2, Rotated), (1, Destroyed), (2, Destroyed), (3, Rotated)]);
    }

    #[test]
    fn receipt_keys_follow_each_other_and_the_old_secret_is_gone() {
        let mut ring = ring();
        let first = ring.receipts().unwrap().public();
        let secret = ring.document.receipts.clone().unwrap().secret;
        for at in 6..9 {
            ring.change(&rotate("receipts"), at).unwrap();
        }
        let followers = followers(&first, ring.successions());
        assert_eq!((followers.len(), followers.last()), (3, Some(&ring.receipts().unwrap().public())));
        assert!(!toml::to_string(&ring.document).unwrap().contains(&candor_policy::hex::encode(&secret.0)));
    }

    #[test]
    fn what_cannot_be_changed_says_why() {
        let mut ring = ring();
        let before = ring.history().len();
        let made = |key: &str| Change::New { key: key.parse().unwrap() };
        for change in [
            rotate("ledger"),
            rotate("repeats"),
            rotate("tombstone"),
            rotate("named/nobody"),
            made("named/analytics"),
            made("subject"),
            destroy("ledger", None),
            destroy("receipts", None),
            destroy("log", None),
            destroy("log", Some(1)),
            destroy("named/nobody", None),
            destroy("named/analytics", Some(9)),
        ] {
            assert_eq!(ring.change(&change, 6).unwrap_err().kind(), Kind::Request, "{change:?}");
        }
        assert_eq!(ring.history().len(), before);
    }
}
