//! The key ring: made by the first start, mode 0600, never in a log or an answer. Format: `docs/FORMAT.md`, "Key ring".

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use candor_policy::hex;
use candor_policy::keys::{HmacKey, Keys};
use candor_wire::identity::SubjectKey;
use candor_wire::log::note::{Algorithm, Signer, VerifierKey};
use candor_wire::succession::Succession;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::erase::tombstones::TombstoneKey;
use crate::error::{Error, Kind};
use crate::settings::Settings;
use crate::storage;

pub mod change;
pub mod history;

use history::KeyChange;

/// A ring of a thousand keys is a tenth of this.
const MAX_BYTES: u64 = 4 << 20;
const VERSION: u32 = 1;

/// All keys of a data folder.
#[derive(Debug, Clone)]
pub struct KeyRing {
    document: Document,
}

/// 32 secret bytes; printing them says nothing of them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

/// The secrets of a ring with one generation of each key, for whoever injects fixed ones.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// Makes ledger ids.
    pub ledger: Secret,
    /// Makes subject ids.
    pub subject: Secret,
    /// Makes digests of requests.
    pub repeats: Secret,
    /// Keeps erased subjects refused.
    pub tombstone: Secret,
    /// What `hmac` operators name.
    pub named: BTreeMap<String, Secret>,
}

impl KeyRing {
    /// Opens `keys/ring.toml`, or makes one with a key for each name in `named` (existing rings gain missing names).
    ///
    /// # Errors
    /// If it cannot be read or written, or others than its owner can read it.
    pub fn open_or_create(data: &Path, named: &[String]) -> Result<Self, Error> {
        Self::open_or_create_at(data, named, 0)
    }

    fn open_or_create_at(data: &Path, named: &[String], now: i64) -> Result<Self, Error> {
        let path = path_of(data);
        storage::finish_replacing(&path)
            .map_err(|error| Error::write(format!("cannot clean beside the key ring {}", path.display()), &error))?;
        let mut ring = match read(&path, Whose::Folder)? {
            Some(ring) => ring,
            None if data.join("ledger.db").exists() => return Err(lost(&path)),
            None => Self::from_secrets(Secrets::random()?),
        };
        let before = ring.document.history.len();
        ring.complete(named, now)?;
        if ring.document.history.len() > before {
            ring.write(&path)?;
        }
        Ok(ring)
    }

    /// The ring of a service with a key for each name in `named`: its data folder's own, made where there is none; or
    /// the one that the settings name, which must have them.
    ///
    /// # Errors
    /// As [`KeyRing::open_or_create`]; a ring that is kept elsewhere is never made or changed.
    pub fn of_service(settings: &Settings, named: &[String], now: i64) -> Result<Self, Error> {
        let Some(path) = &settings.key_ring else { return Self::open_or_create_at(&settings.data, named, now) };
        let ring = Self::open_at(path, Whose::Elsewhere)?;
        match named.iter().find(|name| !ring.document.named.contains_key(*name)) {
            None => Ok(ring),
            Some(name) => Err(Error::new(
                Kind::Data,
                format!("the key ring {} has no key `{name}`, which the policy names", path.display()),
                "it is kept outside the data folder, so it is not changed",
                "add [named.NAME] with generation = 1 and a secret of 64 hex digits (`openssl rand -hex 32`)",
            )),
        }
    }

    /// Opens an existing ring for reading: the one that the settings name, or the data folder's own.
    ///
    /// # Errors
    /// If there is none.
    pub fn open_for(data: &Path, elsewhere: Option<&Path>) -> Result<Self, Error> {
        elsewhere.map_or_else(|| Self::open(data), |path| Self::open_at(path, Whose::Elsewhere))
    }

    /// Opens the existing ring of a data folder for reading.
    ///
    /// # Errors
    /// If there is none.
    pub fn open(data: &Path) -> Result<Self, Error> {
        Self::open_at(&path_of(data), Whose::Folder)
    }

    fn open_at(path: &Path, whose: Whose) -> Result<Self, Error> {
        read(path, whose)?.ok_or_else(|| {
            Error::new(
                Kind::Data,
                format!("there is no key ring at {}", path.display()),
                "no service ever ran on this folder, or its keys were taken away",
                "name the folder that the service writes to; lost keys come back from a backup only",
            )
        })
    }

    /// Opens a ring that is kept outside of any data folder.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn open_at_elsewhere(path: &Path) -> Result<Self, Error> {
        Self::open_at(path, Whose::Elsewhere)
    }

    /// Writes the ring to a file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn save_as(&self, path: &Path) -> Result<(), Error> {
        self.write(path)
    }

    /// Says of two rings whether data of one can be read with the other, and nothing of their keys: a digest of the key of
    /// ledger ids, which never changes.
    pub(crate) fn mark(&self) -> String {
        let bytes = [b"candor/ring/v1".as_slice(), &self.document.ledger.secret.0].concat();
        hex::encode(&ring::digest::digest(&ring::digest::SHA256, &bytes).as_ref()[..16])
    }

    /// A ring of these secrets, each the first generation of its key.
    #[must_use]
    pub fn from_secrets(secrets: Secrets) -> Self {
        let first = |secret| Key { generation: 1, secret };
        let document = Document {
            version: VERSION,
            ledger: first(secrets.ledger),
            repeats: first(secrets.repeats),
            tombstone: first(secrets.tombstone),
            subject: vec![first(secrets.subject)],
            receipts: None,
            log: Vec::new(),
            named: secrets.named.into_iter().map(|(name, secret)| (name, Named::first(secret))).collect(),
            successions: Vec::new(),
            history: Vec::new(),
        };
        Self { document }
    }

    /// Writes the ring as `keys/ring.toml` of a data folder: how fixed keys come to a service before its first start.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, data: &Path) -> Result<(), Error> {
        self.write(&path_of(data))
    }

    /// The live keys.
    #[must_use]
    pub fn keys(&self) -> Keys {
        // A ring without a subject key is refused when it is read.
        let live = self.document.subject.iter().max_by_key(|key| key.generation).unwrap_or(&self.document.ledger);
        self.with_subject_key(live)
    }

    /// The keys under every live generation of the subject key, newest first: access and erasure look under each.
    #[must_use]
    pub fn generations(&self) -> Vec<Keys> {
        newest_first(&self.document.subject).into_iter().map(|key| self.with_subject_key(key)).collect()
    }

    /// The key of request digests.
    pub(crate) fn repeats(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.document.repeats.secret.0)
    }

    /// The Ed25519 key that signs receipts; none in a ring that is kept elsewhere and has none.
    pub(crate) fn receipts(&self) -> Option<SubjectKey> {
        Some(SubjectKey::of_seed(&self.document.receipts.as_ref()?.secret.0))
    }

    /// The key of tombstones.
    pub(crate) fn tombstones(&self) -> TombstoneKey {
        TombstoneKey::new(&self.document.tombstone.secret.0)
    }

    /// The log's newest key, which signs certificates.
    pub(crate) fn log_key(&self) -> Option<SubjectKey> {
        Some(SubjectKey::of_seed(&newest_first(&self.document.log).first()?.secret.0))
    }

    /// What signs the log of this origin: its newest key first.
    ///
    /// # Errors
    /// If the ring has none, which happens where it is kept elsewhere; if the origin cannot be the name of a key.
    pub(crate) fn log_signers(&self, origin: &str) -> Result<Vec<Signer>, Error> {
        let keys = newest_first(&self.document.log);
        if keys.is_empty() {
            let mend = "add [[log]] with generation = 1 and a secret of 64 hex digits (`openssl rand -hex 32`)";
            return Err(Error::new(Kind::Data, "the log cannot be signed", "the key ring has no key for it", mend));
        }
        let signers = keys.iter().map(|key| Signer::new(origin, Algorithm::Ed25519, &key.secret.0));
        signers.collect::<Result<_, _>>().map_err(|error| {
            let mend = "set `store.log.origin` to a name without spaces and plus signs";
            Error::new(Kind::Data, "the log cannot be signed", error, mend)
        })
    }

    /// Who verifies what the log of this origin is signed with, the newest key first.
    ///
    /// # Errors
    /// If the ring has no key for the log.
    pub fn log_keys(&self, origin: &str) -> Result<Vec<VerifierKey>, Error> {
        Ok(self.log_signers(origin)?.iter().map(|signer| signer.verifier().clone()).collect())
    }

    fn with_subject_key(&self, subject: &Key) -> Keys {
        let named = self.document.named.iter().map(|(name, key)| (name.clone(), key.live().to_hmac())).collect();
        Keys::new(self.document.ledger.to_hmac(), subject.to_hmac(), named)
    }

    fn write(&self, path: &Path) -> Result<(), Error> {
        let failed =
            |error: &std::io::Error| Error::write(format!("cannot write the key ring {}", path.display()), error);
        let text = toml::to_string(&self.document).map_err(|_| malformed(path, "it cannot be written as TOML"))?;
        let text = format!("# Keys of this data folder. Whoever has them can link its pseudonyms to people.\n{text}");
        storage::make_folder(&storage::parent(path)).map_err(|error| failed(&error))?;
        storage::replace_secret(path, text.as_bytes(), 0o600).map_err(|error| failed(&error))
    }
}

impl Secret {
    /// These bytes as a secret.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn random() -> Result<Self, Error> {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).map_err(|_| {
            Error::new(
                Kind::Stop,
                "no key can be made",
                "the system gives no random numbers",
                "start again when it does",
            )
        })?;
        Ok(Self(bytes))
    }
}

impl Secrets {
    fn random() -> Result<Self, Error> {
        Ok(Self {
            ledger: Secret::random()?,
            subject: Secret::random()?,
            repeats: Secret::random()?,
            tombstone: Secret::random()?,
            named: BTreeMap::new(),
        })
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = hex::decode(&text).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| serde::de::Error::custom("a secret is 64 lower-case hex digits"))
    }
}

/// `keys/ring.toml` as it is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    ledger: Key,
    repeats: Key,
    tombstone: Key,
    subject: Vec<Key>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    receipts: Option<Key>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    log: Vec<Key>,
    #[serde(default)]
    named: BTreeMap<String, Named>,
    /// Receipt keys of before, each with the word of the old one for the new one, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    successions: Vec<Succession>,
    /// What became of the keys, oldest first: nothing secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    history: Vec<KeyChange>,
}

/// A key that operators name: the newest generation, and older ones that are kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    generation: u64,
    secret: Secret,
    /// Older generations, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    before: Vec<Key>,
}

impl Named {
    const fn first(secret: Secret) -> Self {
        Self { generation: 1, secret, before: Vec::new() }
    }

    fn live(&self) -> Key {
        Key { generation: self.generation, secret: self.secret.clone() }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    generation: u64,
    secret: Secret,
}

impl Key {
    fn to_hmac(&self) -> HmacKey {
        HmacKey::new(self.generation, &self.secret.0)
    }
}

fn newest_first(keys: &[Key]) -> Vec<&Key> {
    let mut keys: Vec<&Key> = keys.iter().collect();
    keys.sort_by_key(|key| std::cmp::Reverse(key.generation));
    keys
}

fn path_of(data: &Path) -> PathBuf {
    data.join("keys").join("ring.toml")
}

/// Where a ring is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// In the data folder.
    Folder,
    /// Where the settings say.
    Elsewhere,
}

impl Whose {
    /// Bits of a file's mode that must not be there. systemd gives a service its credentials by an access list, whose
    /// mask shows as the group's right to read.
    const fn forbidden(self) -> u32 {
        match self {
            Self::Folder => 0o077,
            Self::Elsewhere => 0o037,
        }
    }
}

fn read(path: &Path, whose: Whose) -> Result<Option<KeyRing>, Error> {
    let failed = |error: &std::io::Error| Error::io(format!("cannot read the key ring {}", path.display()), error);
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| failed(&error))?,
    };
    let mode = file.metadata().map_err(|error| failed(&error))?.permissions().mode();
    if mode & whose.forbidden() != 0 {
        return Err(Error::new(
            Kind::Data,
            format!("the key ring {} is not safe", path.display()),
            format!("others than its owner can use it (mode {:o})", mode & 0o777),
            "run: chmod 600 on it, and rotate its keys if others had access",
        ));
    }
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(|error| failed(&error))?;
    // The parser's message would quote the line, and the line may be a secret.
    let document: Document = toml::from_str(&text).map_err(|_| malformed(path, "it is not the TOML of a key ring"))?;
    if document.version != VERSION {
        return Err(malformed(path, &format!("its version is {}, this program knows {VERSION}", document.version)));
    }
    if document.subject.is_empty() {
        return Err(malformed(path, "it has no subject key"));
    }
    Ok(Some(KeyRing { document }))
}

fn lost(path: &Path) -> Error {
    Error::new(
        Kind::Data,
        format!("there is no key ring at {}, and the folder has data", path.display()),
        "with new keys nobody who is in it would be found again: neither a consent nor a row",
        "put the ring back from where it is kept, or name it with store.key_ring",
    )
}

fn malformed(path: &Path, why: &str) -> Error {
    Error::new(
        Kind::Data,
        format!("the key ring {} cannot be used", path.display()),
        why,
        "restore it from a backup; docs/FORMAT.md has its form",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed() -> KeyRing {
        KeyRing::from_secrets(Secrets {
            ledger: Secret::new([1; 32]),
            subject: Secret::new([2; 32]),
            repeats: Secret::new([3; 32]),
            tombstone: Secret::new([4; 32]),
            named: BTreeMap::from([("analytics".to_owned(), Secret::new([5; 32]))]),
        })
    }

    #[test]
    fn fixed_keys_are_found_again_and_gain_missing_names() {
        let data = tempfile::tempdir().unwrap();
        fixed().save(data.path()).unwrap();
        let ring = KeyRing::open_or_create(data.path(), &["ads".to_owned(), "analytics".to_owned()]).unwrap();
        assert_eq!(ring.keys().ledger_id("x"), fixed().keys().ledger_id("x"));
        assert_eq!(ring.document.named["analytics"].secret, Secret::new([5; 32]));
        let again = KeyRing::open(data.path()).unwrap();
        assert_eq!(again.document.named["ads"].secret, ring.document.named["ads"].secret);
        assert!(again.keys().named("ads").is_some());
    }

    #[test]
    fn a_ring_as_the_format_page_shows_it_can_be_read() {
        let data = tempfile::tempdir().unwrap();
        let secret = "0101010101010101010101010101010101010101010101010101010101010101";
        let key = format!("generation = 1\nsecret = \"{secret}\"\n");
        let text = format!(
            "version = 1\n[ledger]\n{key}[repeats]\n{key}[tombstone]\n{key}[[subject]]\n{key}[[subject]]\n\
             generation = 2\nsecret = \"{}\"\n[named.analytics]\n{key}",
            secret.replace("01", "02")
        );
        storage::make_folder(&data.path().join("keys")).unwrap();
        storage::write_file(&path_of(data.path()), text.as_bytes(), 0o600).unwrap();
        let ring = KeyRing::open(data.path()).unwrap();
        let id = ring.keys().ledger_id("x");
        let generations = ring.generations();
        assert_eq!(generations.len(), 2);
        assert_eq!(generations[0].subject_id(&id), ring.keys().subject_id(&id));
        assert_ne!(generations[1].subject_id(&id), ring.keys().subject_id(&id));
    }

    #[test]
    fn a_ring_without_a_key_for_receipts_gains_one_and_keeps_it() {
        let data = tempfile::tempdir().unwrap();
        fixed().save(data.path()).unwrap();
        assert!(KeyRing::open(data.path()).unwrap().receipts().is_none(), "reading changes nothing");
        let public = |ring: &KeyRing| ring.receipts().unwrap().public().to_string();
        let gained = public(&KeyRing::open_or_create(data.path(), &[]).unwrap());
        assert_eq!(public(&KeyRing::open_or_create(data.path(), &[]).unwrap()), gained);
        // The vector of the format page.
        let text = std::fs::read_to_string(path_of(data.path())).unwrap();
        let (before, after) = text.split_once("[receipts]").unwrap();
        let (_, rest) = after.split_once("secret = \"").unwrap();
        let known = format!("{before}[receipts]\ngeneration = 1\nsecret = \"{}{}", "08".repeat(32), &rest[64..]);
        storage::write_file(&path_of(data.path()), known.as_bytes(), 0o600).unwrap();
        let ring = KeyRing::open(data.path()).unwrap();
        assert_eq!(public(&ring), "E5j2LG0aRXxRumpLXz29L2n8qTIWIY3ImX5Ba9F9k8o");
    }

    #[test]
    fn every_first_start_makes_other_keys_for_the_owner_alone() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = KeyRing::open_or_create(one.path(), &[]).unwrap();
        let second = KeyRing::open_or_create(two.path(), &[]).unwrap();
        assert_ne!(first.keys().ledger_id("x"), second.keys().ledger_id("x"));
        let mode = std::fs::metadata(path_of(one.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        std::fs::set_permissions(path_of(one.path()), std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(KeyRing::open(one.path()).unwrap_err().kind(), Kind::Data);
        assert_eq!(KeyRing::open(&one.path().join("nowhere")).unwrap_err().kind(), Kind::Data);
    }

    #[test]
    fn a_ring_that_is_kept_elsewhere_is_read_and_never_changed() {
        let (data, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = elsewhere.path().join("ring");
        let settings =
            Settings { data: data.path().to_path_buf(), key_ring: Some(path.clone()), ..Settings::default() };
        let of_service = |names: &[&str]| {
            KeyRing::of_service(&settings, &names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), 0)
        };
        assert_eq!(of_service(&[]).unwrap_err().kind(), Kind::Data, "it is not made");
        fixed().save(elsewhere.path()).unwrap();
        std::fs::rename(path_of(elsewhere.path()), &path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o440)).unwrap();
        let before = std::fs::read(&path).unwrap();
        assert_eq!(of_service(&["analytics"]).unwrap().keys().ledger_id("x"), fixed().keys().ledger_id("x"));
        let error = of_service(&["analytics", "ads"]).unwrap_err().to_string();
        assert!(error.contains("`ads`") && !error.contains("0101"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert!(!path_of(data.path()).exists());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
        assert!(of_service(&[]).unwrap_err().to_string().contains("not safe"));
    }

    #[test]
    fn no_secret_is_printed_neither_whole_nor_in_an_error() {
        let data = tempfile::tempdir().unwrap();
        let text = format!("{:?}", fixed());
        assert!(text.contains("Secret(..)") && !text.contains("0101"), "{text}");
        storage::make_folder(&data.path().join("keys")).unwrap();
        storage::write_file(&path_of(data.path()), b"version = 1\nledger = \"c0ffee\"\n", 0o600).unwrap();
        let error = KeyRing::open(data.path()).unwrap_err();
        assert!(!error.to_string().contains("c0ffee"), "{error}");
    }
}
