//! Proofs of a file: what is read is written the same, and of a file that is known no bytes prove what is not so.

use candor_wire::leaf::{Entry, FileProof, Salt, Secret, file_root, salted};
use candor_wire::merkle::{self, Hash};

pub(crate) const SALT: Salt = [3; 16];
pub(crate) const SUBJECTS: [&str; 5] = ["00a0", "01b1", "02c2", "03d3", "04e4"];
pub(crate) const NOBODY: &str = "05f5";

/// The law of a fuzz target's input: the bytes of a proof.
pub(crate) fn proofs(input: &[u8]) {
    let Ok(proof) = FileProof::from_bytes(input) else { return };
    assert_eq!(proof.to_bytes(), input);
    assert_eq!(FileProof::from_text(&proof.to_text()).as_ref(), Ok(&proof));
    let (leaves, secret) = (leaves(), Secret::new([7; 16]));
    let root = root(&leaves);
    for subject in SUBJECTS {
        assert!(proof.check_absent(&root, subject).is_err(), "{subject} is there");
        let blind = secret.blind(subject);
        assert!(proof.check_present(&root, subject, &blind, b"other rows").is_err());
        let shown = proof.check_present(&root, subject, &blind, content(subject).as_bytes());
        assert!(shown.is_err() || proof.leads_to(&root, subject));
    }
    let blind = secret.blind(NOBODY);
    assert!(proof.check_present(&root, NOBODY, &blind, content(NOBODY).as_bytes()).is_err(), "nobody is not there");
    if proof.check_absent(&root, NOBODY).is_ok() {
        assert_eq!((proof.size, proof.salt), (leaves.len() as u64, SALT));
    }
}

/// The leaves of the file, in order.
pub(crate) fn leaves() -> Vec<Entry> {
    let secret = Secret::new([7; 16]);
    let entry =
        |subject: &&str| Entry::new(salted(&SALT, subject), &secret.blind(subject), content(subject).as_bytes());
    let mut leaves: Vec<Entry> = SUBJECTS.iter().map(entry).collect();
    leaves.sort_by_key(|entry| entry.salted);
    leaves
}

fn root(leaves: &[Entry]) -> Hash {
    let hashes: Vec<Hash> = leaves.iter().map(Entry::hash).collect();
    file_root(&SALT, leaves.len() as u64, &merkle::root(&hashes))
}

fn content(subject: &str) -> String {
    format!("rows of {subject}")
}
