//! What shows that a file has these rows of a subject and no others, or none.

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{ENTRY_LEN, Entry, Salt, Salted, file_root, salted};
use crate::merkle::{self, Hash, MOST_PATH};

/// First byte where the subject is in the file.
const PRESENT: u8 = 1;
/// First byte where it is not.
const ABSENT: u8 = 2;
/// Most hashes beside two neighbours.
const MOST_HASHES: usize = 2 * MOST_PATH;
/// Most bytes of a proof.
const MOST_BYTES: usize = 1 + 8 + 16 + 8 + 2 * ENTRY_LEN + 32 * MOST_HASHES;

/// What a file has of a subject, shown by one leaf or by two neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProof {
    /// Leaves of the file, one for each subject.
    pub size: u64,
    /// The file's salt.
    pub salt: Salt,
    /// What is shown.
    pub claim: Claim,
    /// Hashes of the subtrees beside the leaves, from left to right ([`merkle::beside`]).
    pub beside: Vec<Hash>,
}

/// What a proof shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The subject has a leaf.
    Present {
        /// Its number.
        index: u64,
        /// `SHA-256(blind ‖ content)`.
        commitment: Hash,
    },
    /// It has none: these two stand side by side where it would be.
    Absent {
        /// How many leaves come before it.
        before: u64,
        /// The last of them, if there is one.
        left: Option<Entry>,
        /// The first that comes after it, if there is one.
        right: Option<Entry>,
    },
}

/// Why a proof shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// It cannot be read.
    #[error("it is not a proof of a file in base64url")]
    Unreadable,
    /// It shows presence where absence is claimed.
    #[error("it shows that the file has rows of the subject")]
    Present,
    /// It shows absence where presence is claimed.
    #[error("it shows that the file has no row of the subject")]
    Absent,
    /// The subject is not between the two neighbours.
    #[error("the subject would stand somewhere else in the file")]
    Place,
    /// The hashes lead to another root.
    #[error("it does not lead to the root of the file")]
    Root,
}

/// Leaves of a file, in memory or in another file.
pub trait Leaves {
    /// What can go wrong when they are read.
    type Error;

    /// The file's salt.
    fn salt(&self) -> Salt;

    /// How many there are.
    fn size(&self) -> u64;

    /// The number of the leaf with a salted subject, or else of the first after it.
    ///
    /// # Errors
    /// If they cannot be read.
    fn find(&self, salted: &Salted) -> Result<Result<u64, u64>, Self::Error>;

    /// One of them.
    ///
    /// # Errors
    /// If they cannot be read.
    fn entry(&self, index: u64) -> Result<Entry, Self::Error>;

    /// Hash of the subtree over these leaves, which RFC 6962 has in the tree.
    ///
    /// # Errors
    /// If they cannot be read.
    fn subtree(&self, leaves: &Range<u64>) -> Result<Hash, Self::Error>;
}

impl FileProof {
    /// What the leaves show about a subject.
    ///
    /// # Errors
    /// Those of the leaves.
    pub fn of<L: Leaves>(leaves: &L, subject: &str) -> Result<Self, L::Error> {
        let (size, salt) = (leaves.size(), leaves.salt());
        let claim = match leaves.find(&salted(&salt, subject))? {
            Ok(index) => Claim::Present { index, commitment: leaves.entry(index)?.commitment },
            Err(before) => {
                let left = before.checked_sub(1).map(|left| leaves.entry(left)).transpose()?;
                let right = (before < size).then(|| leaves.entry(before)).transpose()?;
                Claim::Absent { before, left, right }
            }
        };
        let beside = if size == 0 { Vec::new() } else { merkle::beside(&claim.range(), size) };
        let beside = beside.iter().map(|tree| leaves.subtree(tree)).collect::<Result<_, _>>()?;
        Ok(Self { size, salt, claim, beside })
    }

    /// Whether it shows that the file has rows of the subject.
    #[must_use]
    pub const fn is_present(&self) -> bool {
        matches!(self.claim, Claim::Present { .. })
    }

    /// Checks that a file with this root has `content` of the subject and nothing else: its order was checked by whoever
    /// recomputed it.
    ///
    /// # Errors
    /// If it does not show that.
    pub fn check_present(&self, root: &Hash, subject: &str, blind: &Hash, content: &[u8]) -> Result<(), ProofError> {
        let Claim::Present { index, commitment } = &self.claim else { return Err(ProofError::Absent) };
        let entry = Entry::new(salted(&self.salt, subject), blind, content);
        if entry.commitment != *commitment {
            return Err(ProofError::Root);
        }
        self.lead(root, *index, &[entry.hash()])
    }

    /// Checks that a file with this root has nothing of the subject.
    ///
    /// # Errors
    /// If it does not show that.
    pub fn check_absent(&self, root: &Hash, subject: &str) -> Result<(), ProofError> {
        let Claim::Absent { before, left, right } = &self.claim else {
            return Err(ProofError::Present);
        };
        // A missing neighbour is one that cannot be.
        if left.is_some() != (*before > 0) || right.is_some() != (*before < self.size) {
            return Err(ProofError::Root);
        }
        let salted = salted(&self.salt, subject);
        if left.is_some_and(|left| left.salted >= salted) || right.is_some_and(|right| right.salted <= salted) {
            return Err(ProofError::Place);
        }
        let hashes: Vec<Hash> = left.iter().chain(right).map(Entry::hash).collect();
        self.lead(root, self.claim.range().start, &hashes)
    }

    /// Whether its leaves lead to a root, whatever the content of the subject's: for whoever makes it.
    #[must_use]
    pub fn leads_to(&self, root: &Hash, subject: &str) -> bool {
        match &self.claim {
            Claim::Present { index, commitment } => {
                let entry = Entry { salted: salted(&self.salt, subject), commitment: *commitment };
                self.lead(root, *index, &[entry.hash()]).is_ok()
            }
            Claim::Absent { .. } => self.check_absent(root, subject).is_ok(),
        }
    }

    fn lead(&self, root: &Hash, first: u64, leaves: &[Hash]) -> Result<(), ProofError> {
        let tree = if self.size == 0 && leaves.is_empty() && self.beside.is_empty() {
            Some(merkle::root(&[]))
        } else {
            merkle::root_of_range(first, leaves, self.size, &self.beside)
        };
        let led = tree.is_some_and(|tree| file_root(&self.salt, self.size, &tree) == *root);
        led.then_some(()).ok_or(ProofError::Root)
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let kind = if self.is_present() { PRESENT } else { ABSENT };
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&self.size.to_be_bytes());
        bytes.extend_from_slice(&self.salt);
        match &self.claim {
            Claim::Present { index, commitment } => {
                bytes.extend_from_slice(&index.to_be_bytes());
                bytes.extend_from_slice(commitment);
            }
            Claim::Absent { before, left, right } => {
                bytes.extend_from_slice(&before.to_be_bytes());
                left.iter().chain(right).for_each(|entry| bytes.extend_from_slice(&entry.to_bytes()));
            }
        }
        self.beside.iter().for_each(|hash| bytes.extend_from_slice(hash));
        bytes
    }

    /// The proof that the bytes are.
    ///
    /// # Errors
    /// [`ProofError::Unreadable`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProofError> {
        Some(bytes).filter(|bytes| bytes.len() <= MOST_BYTES).and_then(read).ok_or(ProofError::Unreadable)
    }

    /// As JSON has it: base64url.
    #[must_use]
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.to_bytes())
    }

    /// The proof that a text is.
    ///
    /// # Errors
    /// [`ProofError::Unreadable`].
    pub fn from_text(text: &str) -> Result<Self, ProofError> {
        if text.len() > MOST_BYTES.div_ceil(3) * 4 {
            return Err(ProofError::Unreadable);
        }
        URL_SAFE_NO_PAD.decode(text).map_err(|_| ProofError::Unreadable).and_then(|bytes| Self::from_bytes(&bytes))
    }
}

impl Claim {
    /// The leaves that it has.
    const fn range(&self) -> Range<u64> {
        match self {
            Self::Present { index, .. } => *index..index.saturating_add(1),
            Self::Absent { before, right, .. } => {
                before.saturating_sub(1)..before.saturating_add(if right.is_some() { 1 } else { 0 })
            }
        }
    }
}

fn read(mut bytes: &[u8]) -> Option<FileProof> {
    let [kind] = take(&mut bytes)?;
    let size = u64::from_be_bytes(take(&mut bytes)?);
    let salt = take(&mut bytes)?;
    let place = u64::from_be_bytes(take(&mut bytes)?);
    let entry = |is_there: bool, bytes: &mut &[u8]| {
        if is_there { take(bytes).map(|entry| Some(Entry::from_bytes(&entry))) } else { Some(None) }
    };
    let claim = match kind {
        PRESENT if place < size => Claim::Present { index: place, commitment: take(&mut bytes)? },
        ABSENT if place <= size => Claim::Absent {
            before: place,
            left: entry(place > 0, &mut bytes)?,
            right: entry(place < size, &mut bytes)?,
        },
        _ => return None,
    };
    let (beside, rest) = bytes.as_chunks::<32>();
    rest.is_empty().then(|| FileProof { size, salt, claim, beside: beside.to_vec() })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::super::Secret;
    use super::*;

    /// A file in memory: what each subject has in it.
    struct File {
        salt: Salt,
        secret: Secret,
        content: BTreeMap<Salted, Vec<u8>>,
        entries: Vec<Entry>,
    }

    impl File {
        fn new(salt: Salt, secret: [u8; 16], subjects: &BTreeMap<String, Vec<u8>>) -> Self {
            let secret = Secret::new(secret);
            let mut entries: Vec<Entry> = Vec::new();
            let mut of_salted = BTreeMap::new();
            for (subject, content) in subjects {
                let salted = salted(&salt, subject);
                entries.push(Entry::new(salted, &secret.blind(subject), content));
                of_salted.insert(salted, content.clone());
            }
            entries.sort_unstable();
            Self { salt, secret, content: of_salted, entries }
        }

        fn root(&self) -> Hash {
            let hashes: Vec<Hash> = self.entries.iter().map(Entry::hash).collect();
            file_root(&self.salt, hashes.len() as u64, &merkle::root(&hashes))
        }

        fn check(&self, root: &Hash, subject: &str, proof: &FileProof) -> Result<bool, ProofError> {
            match self.content.get(&salted(&self.salt, subject)) {
                Some(content) => {
                    proof.check_present(root, subject, &self.secret.blind(subject), content).map(|()| true)
                }
                None => proof.check_absent(root, subject).map(|()| false),
            }
        }
    }

    impl Leaves for File {
        type Error = Infallible;

        fn salt(&self) -> Salt {
            self.salt
        }

        fn size(&self) -> u64 {
            self.entries.len() as u64
        }

        fn find(&self, salted: &Salted) -> Result<Result<u64, u64>, Infallible> {
            let found = self.entries.binary_search_by(|entry| entry.salted.cmp(salted));
            Ok(found.map(|at| at as u64).map_err(|at| at as u64))
        }

        fn entry(&self, index: u64) -> Result<Entry, Infallible> {
            Ok(self.entries[index as usize])
        }

        fn subtree(&self, leaves: &Range<u64>) -> Result<Hash, Infallible> {
            let entries = &self.entries[leaves.start as usize..leaves.end as usize];
            Ok(merkle::root(&entries.iter().map(Entry::hash).collect::<Vec<_>>()))
        }
    }

    fn subjects() -> impl Strategy<Value = BTreeMap<String, Vec<u8>>> {
        let content = prop::collection::vec(any::<u8>(), 0..40);
        prop::collection::btree_map(0_u8..60, content, 0..40)
            .prop_map(|some| some.into_iter().map(|(subject, content)| (format!("{subject:032x}"), content)).collect())
    }

    proptest! {
        #[test]
        fn every_subject_has_a_proof_that_holds(subjects in subjects(), salt: [u8; 16], secret: [u8; 16]) {
            let file = File::new(salt, secret, &subjects);
            let root = file.root();
            for subject in (0_u8..60).map(|subject| format!("{subject:032x}")) {
                let Ok(proof) = FileProof::of(&file, &subject);
                prop_assert_eq!(file.check(&root, &subject, &proof), Ok(subjects.contains_key(&subject)));
                prop_assert!(proof.leads_to(&root, &subject));
                prop_assert_eq!(FileProof::from_text(&proof.to_text()), Ok(proof));
            }
        }

        #[test]
        fn nothing_can_be_changed(
            subjects in subjects(),
            keys: ([u8; 16], [u8; 16]),
            subject in 0_u8..60,
            other in 0_u8..60,
            place: prop::sample::Index,
            flip in 1_u8..,
        ) {
            let file = File::new(keys.0, keys.1, &subjects);
            let (root, subject, other) = (file.root(), format!("{subject:032x}"), format!("{other:032x}"));
            let Ok(proof) = FileProof::of(&file, &subject);

            let mut bytes = proof.to_bytes();
            bytes[place.index(proof.to_bytes().len())] ^= flip;
            if let Ok(changed) = FileProof::from_bytes(&bytes) {
                prop_assert!(file.check(&root, &subject, &changed).is_err());
            }
            let mut changed = root;
            changed[place.index(32)] ^= flip;
            prop_assert!(file.check(&changed, &subject, &proof).is_err());
            for size in [proof.size + 1, proof.size.wrapping_sub(1)] {
                let other = FileProof { size, ..proof.clone() };
                prop_assert!(file.check(&root, &subject, &other).is_err());
            }
            let blind = file.secret.blind(&subject);
            if let Some(content) = subjects.get(&subject) {
                prop_assert_eq!(proof.check_absent(&root, &subject), Err(ProofError::Present));
                let more = [content.clone(), vec![flip]].concat();
                prop_assert!(proof.check_present(&root, &subject, &blind, &more).is_err());
                if let Some((_, less)) = content.split_last() {
                    prop_assert!(proof.check_present(&root, &subject, &blind, less).is_err());
                    let mut other = content.clone();
                    other[place.index(content.len())] ^= flip;
                    prop_assert!(proof.check_present(&root, &subject, &blind, &other).is_err());
                }
                let mut other_blind = blind;
                other_blind[place.index(32)] ^= flip;
                prop_assert!(proof.check_present(&root, &subject, &other_blind, content).is_err());
            } else {
                let shown = proof.check_present(&root, &subject, &blind, &[]);
                prop_assert_eq!(shown, Err(ProofError::Absent));
            }
            // A proof about one subject says nothing about another, but that both are missing at one place.
            let Ok(own) = FileProof::of(&file, &other);
            if own != proof {
                prop_assert!(file.check(&root, &other, &proof).is_err());
            }
        }

        #[test]
        fn any_bytes_are_a_proof_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(proof) = FileProof::from_bytes(&bytes) {
                prop_assert_eq!(proof.to_bytes(), bytes);
                prop_assert!(proof.check_absent(&[0; 32], "s").is_err());
                prop_assert!(proof.check_present(&[0; 32], "s", &[0; 32], &[]).is_err());
            }
        }
    }

    #[test]
    fn a_salt_that_was_made_to_fit_leads_to_another_root() {
        let subjects = (0..8).map(|subject| (format!("{subject:032x}"), vec![subject])).collect();
        let file = File::new([1; 16], [2; 16], &subjects);
        let subject = format!("{:032x}", 3);
        let hashes: Vec<Hash> = file.entries.iter().map(Entry::hash).collect();
        let forged = (0_u64..).find_map(|n| {
            let mut salt = [0; 16];
            salt[..8].copy_from_slice(&n.to_be_bytes());
            let here = salted(&salt, &subject);
            let between = file.entries[0].salted < here && here < file.entries[1].salted;
            between.then(|| FileProof {
                size: 8,
                salt,
                claim: Claim::Absent { before: 1, left: Some(file.entries[0]), right: Some(file.entries[1]) },
                beside: merkle::beside(&(0..2), 8)
                    .into_iter()
                    .map(|tree| merkle::root(&hashes[tree.start as usize..tree.end as usize]))
                    .collect(),
            })
        });
        assert_eq!(forged.unwrap().check_absent(&file.root(), &subject), Err(ProofError::Root));
    }

    #[test]
    fn proofs_are_small() {
        let subjects = (0..10_000_u32).map(|subject| (format!("{subject:032x}"), vec![1])).collect();
        let file = File::new([1; 16], [2; 16], &subjects);
        let hashes: Vec<Hash> = file.entries.iter().map(Entry::hash).collect();
        let (mut most, mut all) = (0, 0);
        for before in 1..10_000_u64 {
            let beside = merkle::beside(&(before - 1..before + 1), 10_000).len();
            most = most.max(beside);
            all += beside;
        }
        let bytes = |beside: usize| 1 + 8 + 16 + 8 + 2 * ENTRY_LEN + 32 * beside;
        assert!(bytes(most) < 1_000, "{}", bytes(most));
        assert!(bytes(all / 9_999) < 650, "{}", bytes(all / 9_999));
        assert_eq!(hashes.len(), 10_000);
    }
}
