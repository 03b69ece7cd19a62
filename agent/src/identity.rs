//! Who a device is: a seed that never leaves it, in a file of its own or handed over by the service manager.

use std::path::{Path, PathBuf};

use bip39::{Language, Mnemonic};
use candor_policy::hex;
use candor_wire::identity::{PublicKey, Seed, SubjectKey};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::error::Error;
use crate::folder::Folder;
use crate::rim::Random;

/// The identity's file within the state folder.
pub const FILE: &str = "identity.toml";
/// Words of a recovery phrase: 256 bits and a checksum of 8.
pub const WORDS: usize = 24;
const MOST_FILE_BYTES: u64 = 64 << 10;
const HEAD: &str =
    "# The secret of this device. Whoever has it can read and erase what is kept of the device, and speak for it.\n";

/// Seed and fleet. Its `Debug` shows the fleet alone.
#[derive(Clone, Debug)]
pub struct Identity {
    seed: Seed,
    fleet: String,
}

/// Where the identity is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IdentityAt {
    /// In the state folder, where a change of owner can replace it.
    #[default]
    Folder,
    /// In this file, such as a credential of systemd (`$CREDENTIALS_DIRECTORY/NAME`): it is read and never written. Its group may
    /// read it, others may not.
    File(PathBuf),
}

/// `identity.toml` as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    fleet: String,
    /// 64 hex digits.
    seed: String,
}

impl Identity {
    /// A new one.
    ///
    /// # Errors
    /// [`Error::NoRandomness`].
    pub fn random(fleet: &str, random: &dyn Random) -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        random.fill(bytes.as_mut_slice())?;
        Ok(Self::of_seed(*bytes, fleet))
    }

    /// These 32 bytes as an identity.
    #[must_use]
    pub fn of_seed(seed: [u8; 32], fleet: &str) -> Self {
        Self { seed: Seed::new(seed), fleet: fleet.to_owned() }
    }

    /// The identity that 24 English words of BIP-39 write: they hold the seed itself. Case and spaces do not matter.
    ///
    /// # Errors
    /// [`Error::Identity`] if a word is none of the list, or the checksum is wrong. No word is repeated.
    pub fn of_phrase(phrase: &str, fleet: &str) -> Result<Self, Error> {
        let refused = |why: &str| Error::Identity(why.to_owned());
        if phrase.split_whitespace().take(WORDS + 1).count() != WORDS {
            return Err(refused("a recovery phrase has 24 words"));
        }
        let words = Zeroizing::new(phrase.to_lowercase());
        let phrase = Mnemonic::parse_in_normalized(Language::English, &words).map_err(|error| match error {
            bip39::Error::UnknownWord(at) => Error::Identity(format!("word {} is not in the list", at + 1)),
            _ => refused("the words do not belong together: one is wrong, or two are swapped"),
        })?;
        let (mut entropy, length) = phrase.to_entropy_array();
        let seed = entropy[..length].try_into().map(|seed| Self::of_seed(seed, fleet));
        entropy.zeroize();
        seed.map_err(|_| refused("a recovery phrase has 24 words"))
    }

    /// The 24 words that write this identity. Whoever reads them has it.
    ///
    /// # Errors
    /// None in practice: 32 bytes make 24 words.
    pub fn phrase(&self) -> Result<Zeroizing<String>, Error> {
        let words = Mnemonic::from_entropy_in(Language::English, self.seed.as_bytes()).map_err(|_| Error::Crypto)?;
        let mut phrase = Zeroizing::new(String::with_capacity(WORDS * 9));
        for word in words.words() {
            if !phrase.is_empty() {
                phrase.push(' ');
            }
            phrase.push_str(word);
        }
        Ok(phrase)
    }

    /// Reads an identity that is kept outside the state folder.
    ///
    /// # Errors
    /// [`Error::Identity`] if it cannot be read, others may read it, or it is none.
    pub fn read(path: &Path) -> Result<Self, Error> {
        use std::os::unix::fs::PermissionsExt;
        let refused = |why: String| Error::Identity(format!("{} {why}", path.display()));
        let mode = std::fs::metadata(path).map_err(|e| refused(format!("cannot be read: {e}")))?.permissions().mode();
        if mode & 0o007 != 0 {
            return Err(refused(format!("can be read by others (mode {:o}): chmod 600 on it", mode & 0o777)));
        }
        let text = std::fs::read(path).map_err(|e| refused(format!("cannot be read: {e}")))?;
        Self::parse(&Zeroizing::new(text)).ok_or_else(|| refused("is no identity".to_owned()))
    }

    pub(crate) fn load(folder: &dyn Folder) -> Result<Option<Self>, Error> {
        let refused = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => Error::Identity(format!("{FILE}: {error}")),
            _ => Error::folder(FILE, &error),
        };
        let Some(text) = folder.read(FILE, MOST_FILE_BYTES).map_err(refused)? else { return Ok(None) };
        let damaged = Error::Damaged { name: FILE.to_owned(), what: "it is no identity" };
        Self::parse(&Zeroizing::new(text)).ok_or(damaged).map(Some)
    }

    pub(crate) fn save(&self, folder: &dyn Folder) -> Result<(), Error> {
        folder.replace(FILE, self.text()?.as_bytes()).map_err(|e| Error::folder(FILE, &e))
    }

    /// What `identity.toml` says, for a file elsewhere.
    ///
    /// # Errors
    /// None in practice.
    pub fn text(&self) -> Result<Zeroizing<String>, Error> {
        let mut document = Document { version: 1, fleet: self.fleet.clone(), seed: hex::encode(self.seed.as_bytes()) };
        let body = toml::to_string(&document).map(Zeroizing::new).map_err(|_| Error::Crypto);
        document.seed.zeroize();
        Ok(Zeroizing::new(format!("{HEAD}{}", *body?)))
    }

    fn parse(text: &Zeroizing<Vec<u8>>) -> Option<Self> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() as u64 <= MOST_FILE_BYTES)?;
        let mut document: Document = toml::from_str(text).ok()?;
        let seed = hex::decode(&document.seed).map(Zeroizing::new);
        document.seed.zeroize();
        let seed: [u8; 32] = seed?.as_slice().try_into().ok()?;
        (document.version == 1).then(|| Self::of_seed(seed, &document.fleet))
    }

    /// The seed: for whoever keeps it.
    #[must_use]
    pub const fn seed(&self) -> &Seed {
        &self.seed
    }

    /// Name of the fleet.
    #[must_use]
    pub fn fleet(&self) -> &str {
        &self.fleet
    }

    /// The key of an epoch.
    ///
    /// # Errors
    /// [`Error::Identity`] if the fleet's name makes no key.
    pub fn key(&self, epoch: u64) -> Result<SubjectKey, Error> {
        SubjectKey::derive(&self.seed, &self.fleet, epoch).map_err(|error| Error::Identity(error.to_string()))
    }

    /// The public key of an epoch.
    ///
    /// # Errors
    /// As [`Identity::key`].
    pub fn public(&self, epoch: u64) -> Result<PublicKey, Error> {
        self.key(epoch).map(|key| key.public())
    }

    /// What ties a state folder to its seed, and tells nothing of it: HKDF-SHA256, info `candor/state/v1`, first 16 bytes, hex.
    pub(crate) fn mark(&self) -> Result<String, Error> {
        let bytes = self.seed.expand(b"candor/state/v1").map_err(|_| Error::Crypto)?;
        Ok(hex::encode(&bytes[..16]))
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.seed.as_bytes() == other.seed.as_bytes() && self.fleet == other.fleet
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::folder::{DiskFolder, MemoryFolder};
    use crate::rim::SystemEntropy;

    #[test]
    fn a_phrase_holds_the_seed_and_a_wrong_one_is_refused_without_its_words() {
        // The last vectors of BIP-39's own list for 256 bits.
        let zero = Identity::of_seed([0; 32], "acme-fleet");
        assert_eq!(*zero.phrase().unwrap(), "abandon ".repeat(23) + "art");
        let ones = Identity::of_seed([0xff; 32], "acme-fleet");
        assert_eq!(*ones.phrase().unwrap(), "zoo ".repeat(23) + "vote");
        let identity = Identity::random("acme-fleet", &SystemEntropy).unwrap();
        let phrase = identity.phrase().unwrap();
        assert!(Identity::of_phrase(&format!("  {}\n", phrase.to_uppercase()), "acme-fleet").unwrap() == identity);
        for wrong in ["abandon ".repeat(24), "abandon ".repeat(12), "abandon ".repeat(23) + "secretly", String::new()] {
            let error = Identity::of_phrase(&wrong, "acme-fleet").unwrap_err().to_string();
            assert!(!error.contains("abandon") && !error.contains("secretly"), "{error}");
        }
    }

    #[test]
    fn the_file_is_the_owners_alone_and_comes_back() {
        let identity = Identity::random("acme \"fleet\"", &SystemEntropy).unwrap();
        let disk = tempfile::tempdir().unwrap();
        let folder = DiskFolder::open(disk.path()).unwrap();
        assert!(Identity::load(&folder).unwrap().is_none());
        identity.save(&folder).unwrap();
        assert!(Identity::load(&folder).unwrap().unwrap() == identity);
        let path = disk.path().join(FILE);
        assert!(Identity::read(&path).unwrap() == identity);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o440)).unwrap();
        assert!(Identity::read(&path).is_ok());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
        assert!(Identity::read(&path).unwrap_err().to_string().contains("mode 604"));
        let folder = MemoryFolder::default();
        folder.replace(FILE, b"version = 1\nfleet = \"a\"\nseed = \"00\"\n").unwrap();
        assert!(matches!(Identity::load(&folder), Err(Error::Damaged { .. })));
        assert!(!format!("{identity:?}").contains(&hex::encode(identity.seed().as_bytes())));
    }
}
