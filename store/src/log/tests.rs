//! Appending, opening again, what a crash leaves, and what is refused.

use std::path::Path;

use candor_wire::log::entry::{InForce, Sha256Hex};
use candor_wire::log::note::Algorithm;
use candor_wire::merkle;

use super::*;

const ORIGIN: &str = "candor/test";

fn signers(seeds: &[u8]) -> Vec<Signer> {
    seeds.iter().map(|seed| Signer::new(ORIGIN, Algorithm::Ed25519, &[*seed; 32]).unwrap()).collect()
}

fn open(data: &Path) -> Result<Log, Error> {
    Log::open(data, signers(&[1]), ORIGIN)
}

/// Statements that may follow each other, from number `from` on.
fn statements(from: u64, count: u64) -> Vec<Entry> {
    let digest = |n: u64| Sha256Hex(leaf_hash(&n.to_be_bytes()));
    (from..from + count).map(|n| Entry::Policy(InForce { digest: digest(n), since: n as i64 })).collect()
}

fn root_of(log: &Log, size: u64) -> Hash {
    let entries = log.entries(0..size).unwrap();
    merkle::root(&entries.iter().map(|entry| leaf_hash(&entry.encode().unwrap())).collect::<Vec<_>>())
}

#[test]
fn what_was_appended_is_there_after_opening_again() {
    let data = tempfile::tempdir().unwrap();
    let mut size = 0;
    for count in [1, 3, 250, 1, 1, 1, 600, 0, 5] {
        let log = open(data.path()).unwrap();
        let old = log.checkpoint();
        assert_eq!(log.append(&statements(size, count)).unwrap(), size..size + count);
        size += count;
        let new = log.checkpoint();
        assert_eq!((new.checkpoint.size, new.checkpoint.root), (size, root_of(&log, size)));
        let proof = log.consistency(old.checkpoint.size, size).unwrap();
        let ends = |checkpoint: &SignedCheckpoint| (checkpoint.checkpoint.size, checkpoint.checkpoint.root);
        let ((from, before), (to, after)) = (ends(&old), ends(&new));
        assert!(proof::is_consistent((from, &before), (to, &after), &proof));
        for number in [0, size / 2, size - 1] {
            let leaf = leaf_hash(&log.entry(number).unwrap().encode().unwrap());
            let path = log.inclusion(number, size).unwrap();
            assert!(proof::is_included(leaf, number, (size, &after), &path));
        }
        let file = LogFiles::of(data.path()).checkpoint().unwrap().unwrap();
        assert_eq!(String::from_utf8(file).unwrap(), new.note.to_string());
    }
    let log = open(data.path()).unwrap();
    assert_eq!(log.look(LiveFiles::next), size);
    assert_eq!(log.entry(size).unwrap_err().kind(), Kind::Request);
    assert!(log.inclusion(0, size + 1).is_err() && log.consistency(2, 1).is_err());
    // What became full has no partial ones beside it, and is still there for who has an old checkpoint.
    let names = |folder: &str| std::fs::read_dir(data.path().join("log/tile").join(folder)).unwrap().count();
    assert_eq!((names("0"), names("entries"), names("1")), (4, 4, 1));
    let narrow = log.tile(&Tile::entries(0, 4)).unwrap().unwrap();
    assert_eq!(tile::entries_of_bytes(&narrow, 4).unwrap().len(), 4);
    assert_eq!(log.tile(&Tile::hashes(0, 0, 4)).unwrap().unwrap().len(), 128);
    assert_eq!(log.tile(&Tile::entries(3, 256)).unwrap(), None);
}

#[test]
fn a_statement_that_breaks_a_rule_adds_nothing() {
    let data = tempfile::tempdir().unwrap();
    let log = open(data.path()).unwrap();
    log.append(&statements(0, 2)).unwrap();
    let before = log.checkpoint();
    let wrong = [statements(2, 1), statements(2, 1)].concat();
    assert_eq!(log.append(&wrong).unwrap_err().kind(), Kind::Data);
    assert_eq!((log.checkpoint(), log.look(LiveFiles::next)), (before, 2));
    log.append(&statements(2, 1)).unwrap();
    assert_eq!(log.size(), 3);
}

#[test]
fn what_lies_beyond_the_checkpoint_goes() {
    let data = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let log = open(data.path()).unwrap();
    log.append(&statements(0, 255)).unwrap();
    let signed = LogFiles::of(data.path()).checkpoint().unwrap().unwrap();
    log.append(&statements(255, 300)).unwrap();
    drop(log);
    // As a crash before the last checkpoint leaves it.
    std::fs::write(data.path().join("log/checkpoint"), &signed).unwrap();
    std::fs::write(data.path().join("log/tile/0/002.tmp"), b"torn").unwrap();
    let log = open(data.path());
    // The bundle of the signed size was replaced by the full one, of which it is the beginning.
    let log = log.unwrap();
    assert_eq!(log.size(), 255);
    let other = statements(1000, 2);
    log.append(&other).unwrap();
    assert_eq!(log.entries(255..257).unwrap(), other);
    let files = |folder: &Path| {
        let listed = std::fs::read_dir(folder).map(|items| items.map(|item| item.unwrap().file_name()).collect());
        let mut names: Vec<_> = listed.unwrap_or_default();
        names.sort();
        names
    };
    let again = Log::open(copy.path(), signers(&[1]), ORIGIN).unwrap();
    again.append(&statements(0, 255)).unwrap();
    again.append(&other).unwrap();
    for folder in ["log", "log/tile/0", "log/tile/1", "log/tile/entries", "log/tile/entries/001.p"] {
        assert_eq!(files(&data.path().join(folder)), files(&copy.path().join(folder)), "{folder}");
    }
    assert_eq!(log.checkpoint(), again.checkpoint());
}

#[test]
fn tiles_that_were_damaged_are_written_anew_and_entries_are_not() {
    let data = tempfile::tempdir().unwrap();
    open(data.path()).unwrap().append(&statements(0, 600)).unwrap();
    let at = |name: &str| data.path().join("log/tile").join(name);
    let whole = std::fs::read(at("0/000")).unwrap();
    std::fs::write(at("0/000"), b"short").unwrap();
    std::fs::remove_file(at("0/002.p/88")).unwrap();
    std::fs::write(at("1/000.p/2"), [0; 64]).unwrap();
    let log = open(data.path()).unwrap();
    assert_eq!(std::fs::read(at("0/000")).unwrap(), whole);
    assert!(at("0/002.p/88").exists());
    let (root, path) = (log.checkpoint().checkpoint.root, log.inclusion(300, 600).unwrap());
    let leaf = leaf_hash(&log.entry(300).unwrap().encode().unwrap());
    assert!(proof::is_included(leaf, 300, (600, &root), &path));
    drop(log);

    let bundle = std::fs::read(at("entries/001")).unwrap();
    for damaged in [b"".to_vec(), bundle[1..].to_vec(), {
        let mut flipped = bundle.clone();
        let digit = flipped.iter().position(|byte| *byte == b'1').unwrap();
        flipped[digit] = b'2';
        flipped
    }] {
        std::fs::write(at("entries/001"), damaged).unwrap();
        assert_eq!(open(data.path()).unwrap_err().kind(), Kind::Data);
    }
    std::fs::write(at("entries/001"), bundle).unwrap();
    assert_eq!(open(data.path()).unwrap().size(), 600);
}

#[test]
fn a_log_that_lost_its_checkpoint_is_not_begun_anew() {
    let data = tempfile::tempdir().unwrap();
    open(data.path()).unwrap().append(&statements(0, 1)).unwrap();
    std::fs::remove_file(data.path().join("log/checkpoint")).unwrap();
    assert_eq!(open(data.path()).unwrap_err().kind(), Kind::Data);
}

#[test]
fn a_log_is_signed_by_every_key_and_opened_by_any() {
    let data = tempfile::tempdir().unwrap();
    open(data.path()).unwrap().append(&statements(0, 1)).unwrap();
    let both = Log::open(data.path(), signers(&[2, 1]), ORIGIN).unwrap();
    both.append(&statements(1, 1)).unwrap();
    assert_eq!(both.checkpoint().by_log.len(), 2);
    drop(both);
    assert_eq!(Log::open(data.path(), signers(&[2]), ORIGIN).unwrap().size(), 2);
    assert_eq!(Log::open(data.path(), signers(&[3]), ORIGIN).unwrap_err().kind(), Kind::Data);
    let other = vec![Signer::new("candor/other", Algorithm::Ed25519, &[1; 32]).unwrap()];
    assert_eq!(Log::open(data.path(), other, "candor/other").unwrap_err().kind(), Kind::Data);
}

#[test]
fn a_cosignature_goes_with_the_checkpoint_that_it_is_of() {
    let data = tempfile::tempdir().unwrap();
    let log = open(data.path()).unwrap();
    log.append(&statements(0, 1)).unwrap();
    let witness = Signer::new("witness.example/w1", Algorithm::Cosignature, &[9; 32]).unwrap();
    let seen = log.checkpoint();
    let cosigned = || vec![witness.sign(seen.note.text(), 77)];
    assert!(log.add_cosignatures(&seen.checkpoint, cosigned()).unwrap());
    let again = open(data.path()).unwrap().checkpoint();
    assert_eq!(again.note, log.checkpoint().note);
    assert_eq!(again.note.verify(&[witness.verifier().clone()]).unwrap()[0].time, Some(77));
    log.append(&statements(1, 1)).unwrap();
    assert!(!log.add_cosignatures(&seen.checkpoint, cosigned()).unwrap(), "it is of an older one");
    assert_eq!(log.checkpoint().note.signatures().len(), 1);
}

#[test]
fn after_a_failure_that_nobody_can_judge_nothing_is_signed_any_more() {
    let data = tempfile::tempdir().unwrap();
    let log = open(data.path()).unwrap();
    log.append(&statements(0, 2)).unwrap();
    // It cannot be taken away as a file could.
    let beside = data.path().join("log/checkpoint.tmp");
    std::fs::create_dir(&beside).unwrap();
    assert_eq!(log.append(&statements(2, 1)).unwrap_err().kind(), Kind::Stop);
    std::fs::remove_dir(&beside).unwrap();
    assert_eq!(log.append(&statements(2, 2)).unwrap_err().kind(), Kind::Stop);
    let seen = log.checkpoint();
    assert_eq!(log.add_cosignatures(&seen.checkpoint, seen.note.signatures().to_vec()).unwrap_err().kind(), Kind::Stop);
    drop(log);
    assert_eq!(open(data.path()).unwrap().append(&statements(2, 2)).unwrap(), 2..4);
}
