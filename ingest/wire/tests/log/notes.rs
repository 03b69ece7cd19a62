//! Signed notes, verifier keys, checkpoints.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use candor_wire::identity::PublicKey;
use candor_wire::log::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint, number};
use candor_wire::log::note::{Algorithm, Note, NoteError, Signature, Signer, VerifierKey, VerifierKeyError};

/// Key and note of the documentation of golang.org/x/mod/sumdb/note.
const VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const NOTE: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
    \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
/// The example of c2sp.org/tlog-cosignature: whose keys are is not said there.
const COSIGNED: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
    \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
    \u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

fn log(seed: u8) -> Signer {
    Signer::new("example.com/log", Algorithm::Ed25519, &[seed; 32]).unwrap()
}

fn witness(seed: u8) -> Signer {
    Signer::new("witness.example/w1", Algorithm::Cosignature, &[seed; 32]).unwrap()
}

fn note(signers: &[&Signer]) -> Note {
    let text = Checkpoint::new("example.com/log".to_owned(), 7, [9; 32]).to_string();
    let signatures = signers.iter().map(|signer| signer.sign(&text, 1_795_377_600)).collect();
    Note::new(text, signatures).unwrap()
}

fn open(note: &Note, log: &[&Signer], witnesses: &[&Signer]) -> Result<SignedCheckpoint, CheckpointError> {
    let keys = |signers: &[&Signer]| signers.iter().map(|signer| signer.verifier().clone()).collect::<Vec<_>>();
    SignedCheckpoint::open(note.to_string().as_bytes(), &keys(log), &keys(witnesses))
}

#[test]
fn a_note_of_the_go_checksum_database_verifies() {
    let key: VerifierKey = VKEY.parse().unwrap();
    assert_eq!((key.to_string().as_str(), key.name()), (VKEY, "PeterNeumann"));
    let note = Note::parse(NOTE.as_bytes()).unwrap();
    assert_eq!(note.to_string(), NOTE);
    let verified = note.verify(std::slice::from_ref(&key)).unwrap();
    assert_eq!((&verified[0].by, verified[0].time), (&key, None));
    for at in 0..NOTE.len() {
        let mut bytes = NOTE.as_bytes().to_vec();
        bytes[at] ^= 1;
        let still = Note::parse(&bytes).is_ok_and(|note| note.verify(std::slice::from_ref(&key)).is_ok());
        assert!(!still, "byte {at} changed");
    }
}

#[test]
fn the_example_of_the_specification_is_read() {
    let note = Note::parse(COSIGNED.as_bytes()).unwrap();
    assert_eq!(note.to_string(), COSIGNED);
    let checkpoint = Checkpoint::parse(note.text()).unwrap();
    assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("example.com/behind-the-sofa", 20_852_163));
    assert_eq!(checkpoint.to_string(), note.text());
    assert_eq!(note.signatures()[1].name(), "witness.example.com/w1");
}

#[test]
fn signatures_of_strangers_are_passed_over_and_wrong_ones_of_friends_are_not() {
    let (ours, old, theirs, seen) = (log(1), log(2), log(3), witness(4));
    let both = note(&[&theirs, &ours, &old, &seen]);
    let opened = open(&both, &[&ours, &old], &[&seen]).unwrap();
    assert_eq!((opened.by_log.len(), opened.by_witnesses.len()), (2, 1));
    assert_eq!((opened.checkpoint.size, opened.witnessed_at()), (7, Some(1_795_377_600)));
    assert_eq!(opened.note, both);
    assert_eq!(open(&both, &[&ours], &[]).unwrap().by_witnesses, []);
    assert_eq!(open(&note(&[&theirs, &seen]), &[&ours], &[&seen]), Err(NoteError::Unsigned.into()));

    // Name and id of ours, the bytes of another.
    let line = both.signatures()[1].to_string();
    let (head, _) = line.rsplit_once(' ').unwrap();
    let forged = {
        let mut bytes = STANDARD.decode(line.trim_end().rsplit_once(' ').unwrap().1).unwrap();
        bytes[10] ^= 1;
        format!("{head} {}", STANDARD.encode(bytes))
    };
    let mut wrong = note(&[&old]);
    wrong.add(Signature::parse(&forged).unwrap());
    assert_eq!(open(&wrong, &[&ours, &old], &[]), Err(NoteError::Signature("example.com/log".to_owned()).into()));
    let mut mended = wrong.clone();
    mended.add(both.signatures()[1].clone());
    assert_eq!(open(&mended, &[&ours, &old], &[]).unwrap().by_log.len(), 2, "the newer replaces the older");
}

#[test]
fn a_witness_binds_its_time() {
    let (ours, seen) = (log(1), witness(4));
    let text = note(&[&ours]).text().to_owned();
    let (one, two) = (seen.sign(&text, 1), seen.sign(&text, 2));
    assert_ne!(one, two);
    // The time of one with the signature of the other.
    let bytes =
        |signature: &Signature| STANDARD.decode(signature.to_string().trim_end().rsplit_once(' ').unwrap().1).unwrap();
    let mixed = [&bytes(&one)[..12], &bytes(&two)[12..]].concat();
    let line = format!("\u{2014} witness.example/w1 {}", STANDARD.encode(mixed));
    let mut note = note(&[&ours]);
    note.add(Signature::parse(&line).unwrap());
    assert!(matches!(open(&note, &[&ours], &[&seen]), Err(CheckpointError::Note(NoteError::Signature(_)))));
    assert!(open(&note, &[&ours], &[]).is_ok(), "who does not know the witness does not look");
}

#[test]
fn a_checkpoint_of_another_log_is_refused() {
    let other = Signer::new("example.com/other", Algorithm::Ed25519, &[1; 32]).unwrap();
    let found = note(&[&other]);
    assert!(matches!(open(&found, &[&other], &[]), Err(CheckpointError::Origin { .. })));
}

#[test]
fn verifier_keys_are_read_strictly() {
    let key = VerifierKey::new("example.com/log", Algorithm::Cosignature, PublicKey::new([7; 32])).unwrap();
    assert_eq!(key.to_string().parse(), Ok(key.clone()));
    let other = VerifierKey::new("example.com/log", Algorithm::Ed25519, PublicKey::new([7; 32])).unwrap();
    assert_ne!(key.id(), other.id());
    let swapped = key.to_string().replace(&candor_policy::hex::encode(&key.id()), "00000000");
    assert_eq!(swapped.parse::<VerifierKey>(), Err(VerifierKeyError::Id));
    for text in [
        "",
        "a",
        "a+b",
        "a+00000000+",
        "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        &VKEY[..60],
        &VKEY.replace("c74f", "C74F"),
    ] {
        assert!(text.parse::<VerifierKey>().is_err(), "{text}");
    }
    for name in ["", "a b", "a+b", "a\nb", "a\u{a0}b", &"n".repeat(1025)] {
        assert_eq!(VerifierKey::new(name, Algorithm::Ed25519, PublicKey::new([7; 32])), Err(VerifierKeyError::Name));
    }
}

#[test]
fn what_is_not_a_note_is_not_read() {
    let many = |count: usize| format!("text\n\n{}", "\u{2014} name AAAAAAAA\n".repeat(count));
    assert!(Note::parse(many(64).as_bytes()).is_ok() && Note::parse(many(65).as_bytes()).is_err());
    for bytes in [
        &b""[..],
        b"text",
        b"text\n",
        b"text\n\n",
        b"text\n\n\xe2\x80\x94 name AAAAAAAA",
        b"text\n\n\xe2\x80\x94 name AAAA\n",
        b"text\n\n\xe2\x80\x94 name AAAAAAA\n",
        b"text\n\n- name AAAAAAAA\n",
        b"te\x01xt\n\n\xe2\x80\x94 name AAAAAAAA\n",
        b"text\r\n\n\xe2\x80\x94 name AAAAAAAA\n",
        b"\xff\n\n\xe2\x80\x94 name AAAAAAAA\n",
        b"text\n\n\xe2\x80\x94  AAAAAAAA\n",
        b"text\n\n\xe2\x80\x94 name AAAAAAAA \n",
        &vec![b'a'; 65_537],
    ] {
        assert!(Note::parse(bytes).is_err(), "{bytes:?}");
    }
    // The last empty line parts text from signatures.
    assert_eq!(Note::parse("a\n\nb\n\n\u{2014} name AAAAAAAA\n".as_bytes()).unwrap().text(), "a\n\nb\n");
}

#[test]
fn what_is_not_a_checkpoint_is_not_read() {
    let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
    let extended = format!("log\n0\n{root}\nmore\nand more\n");
    let read = Checkpoint::parse(&extended).unwrap();
    assert_eq!((read.extensions.len(), read.to_string()), (2, extended));
    for text in [
        String::new(),
        "log\n".to_owned(),
        format!("log\n1\n{root}"),
        format!("\n1\n{root}\n"),
        format!("log\n01\n{root}\n"),
        format!("log\n+1\n{root}\n"),
        format!("log\n-1\n{root}\n"),
        format!("log\n9223372036854775808\n{root}\n"),
        format!("log\n1\n{}\n", &root[1..]),
        format!("log\n1\n{root}\n\n"),
        format!("log\n1\n{root}\n\nx\n"),
        "log\n1\nAAAA\n".to_owned(),
        format!("log\n\n{root}\n"),
    ] {
        assert!(Checkpoint::parse(&text).is_err(), "{text:?}");
    }
    assert_eq!((number("0"), number("9223372036854775807"), number("")), (Some(0), Some(i64::MAX as u64), None));
}
