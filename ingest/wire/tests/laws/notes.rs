//! Signed notes, checkpoints, keys of verifiers and requests to witnesses: what is read is written the same, and only what a known
//! key signed is opened.

use candor_wire::log::checkpoint::{Checkpoint, SignedCheckpoint};
use candor_wire::log::note::{Algorithm, Note, Signature, Signer, VerifierKey};
use candor_wire::log::witness::AddCheckpoint;

const LOG: &str = "example.com/log";

/// The law of a fuzz target's input: any of them.
pub(crate) fn notes(input: &[u8]) {
    let log = Signer::new(LOG, Algorithm::Ed25519, &[1; 32]).unwrap();
    let witness = Signer::new("witness.example/w1", Algorithm::Cosignature, &[4; 32]).unwrap();
    let (log_keys, witnesses) = ([log.verifier().clone()], [witness.verifier().clone()]);
    if let Ok(note) = Note::parse(input) {
        assert_eq!(note.to_string().as_bytes(), input);
        if let Ok(checkpoint) = Checkpoint::parse(note.text()) {
            assert_eq!(checkpoint.to_string(), note.text());
        }
        if let Ok(verified) = note.verify(&log_keys) {
            // Signatures of Ed25519 are made one way only: nobody made another of this text.
            let own = log.sign(note.text(), 0).to_string();
            assert!(!verified.is_empty() && note.signatures().iter().any(|one| one.to_string() == own));
        }
    }
    if let Ok(opened) = SignedCheckpoint::open(input, &log_keys, &witnesses) {
        assert_eq!((opened.note.to_string().as_bytes(), opened.checkpoint.origin.as_str()), (input, LOG));
        assert!(!opened.by_log.is_empty() && opened.by_witnesses.is_empty() == opened.witnessed_at().is_none());
    }
    if let Ok(asked) = AddCheckpoint::parse(input) {
        for last in [None, Some(Checkpoint::new(LOG.to_owned(), 3, [9; 32]))] {
            if let Ok(signed) = asked.judge(&log_keys, last.as_ref()) {
                assert!(asked.old <= signed.checkpoint.size && asked.old == last.map_or(0, |last| last.size));
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(input) {
        if let Ok(key) = text.parse::<VerifierKey>() {
            assert_eq!(key.to_string(), text);
        }
        if let Ok(signature) = Signature::parse(text) {
            assert_eq!(signature.to_string().trim_end_matches('\n'), text.trim_end_matches('\n'));
        }
    }
}
