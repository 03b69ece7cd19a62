//! What a witness signs, and what it does not.

use candor_wire::log::checkpoint::Checkpoint;
use candor_wire::log::note::{Algorithm, Note, NoteError, Signer};
use candor_wire::log::proof::consistency;
use candor_wire::log::witness::{AddCheckpoint, Refusal, conflict, cosignature};
use candor_wire::merkle;

use crate::tree::{Plain, leaves};

const ORIGIN: &str = "example.com/log";

fn log() -> Signer {
    Signer::new(ORIGIN, Algorithm::Ed25519, &[1; 32]).unwrap()
}

fn at(size: u64) -> Checkpoint {
    Checkpoint::new(ORIGIN.to_owned(), size, merkle::root(&leaves(size)))
}

fn request(old: u64, new: &Checkpoint) -> AddCheckpoint {
    let text = new.to_string();
    let note = Note::new(text.clone(), vec![log().sign(&text, 0)]).unwrap();
    AddCheckpoint { old, proof: consistency(&Plain(&leaves(new.size)), old, new.size).unwrap_or_default(), note }
}

#[test]
fn what_extends_the_last_checkpoint_is_signed() {
    let keys = [log().verifier().clone()];
    for (old, new) in [(0, 1), (0, 0), (0, 7), (3, 7), (4, 8), (7, 7), (255, 300)] {
        let request = request(old, &at(new));
        assert_eq!(AddCheckpoint::parse(request.to_string().as_bytes()), Ok(request.clone()));
        let last = (old > 0).then(|| at(old));
        assert_eq!(request.judge(&keys, last.as_ref()).unwrap().checkpoint, at(new), "{old} to {new}");
    }
}

#[test]
fn everything_else_is_refused_as_the_specification_says() {
    let keys = [log().verifier().clone()];
    let judge =
        |request: &AddCheckpoint, last: Option<&Checkpoint>| request.judge(&keys, last).map(|_| ()).unwrap_err();
    let good = request(3, &at(7));
    assert_eq!(good.judge(&[], Some(&at(3))).unwrap_err(), Refusal::UnknownLog);
    let stranger = Signer::new("example.com/other", Algorithm::Ed25519, &[1; 32]).unwrap();
    assert_eq!(good.judge(&[stranger.verifier().clone()], None).unwrap_err(), Refusal::UnknownLog);
    let thief = Signer::new(ORIGIN, Algorithm::Ed25519, &[2; 32]).unwrap();
    let stolen = Note::new(good.note.text().to_owned(), vec![thief.sign(good.note.text(), 0)]).unwrap();
    assert_eq!(judge(&AddCheckpoint { note: stolen, ..good.clone() }, Some(&at(3))), Refusal::Unsigned);
    assert_eq!(judge(&AddCheckpoint { old: 8, ..good.clone() }, Some(&at(8))), Refusal::Malformed);
    assert_eq!(judge(&good, None), Refusal::Conflict(0));
    assert_eq!(judge(&good, Some(&at(4))), Refusal::Conflict(4));
    assert_eq!(judge(&good, Some(&at(9))), Refusal::Conflict(9), "a log that was turned back");
    let mut wrong = good.clone();
    wrong.proof[0][0] ^= 1;
    assert_eq!(judge(&wrong, Some(&at(3))), Refusal::Inconsistent);
    let forked = Checkpoint { root: [9; 32], ..at(7) };
    assert_eq!(judge(&request(7, &forked), Some(&at(7))), Refusal::Conflict(7));
    assert_eq!(judge(&AddCheckpoint { proof: good.proof, ..request(3, &forked) }, Some(&at(3))), Refusal::Inconsistent);
    let mut needless = request(0, &at(7));
    needless.proof.push([0; 32]);
    assert_eq!(judge(&needless, None), Refusal::Inconsistent);
    assert_eq!(
        [400, 403, 404, 409, 422],
        [Refusal::Malformed, Refusal::Unsigned, Refusal::UnknownLog, Refusal::Conflict(1), Refusal::Inconsistent,]
            .map(Refusal::status)
    );
}

#[test]
fn bodies_are_read_strictly() {
    let body = request(3, &at(7)).to_string();
    let hash = body.lines().nth(1).unwrap();
    for other in [
        body.replacen("old 3", "old 03", 1),
        body.replacen("old 3", "3", 1),
        body.replacen("old 3\n", "", 1),
        body.replacen(hash, &hash[1..], 1),
        body.replacen("\n\n", "\n", 1),
        body.replacen(hash, &format!("{hash}\n").repeat(64), 1),
        String::new(),
        "x".repeat(200_000),
    ] {
        assert_eq!(
            AddCheckpoint::parse(other.as_bytes()),
            Err(Refusal::Malformed),
            "{}",
            &other[..other.len().min(90)]
        );
    }
}

#[test]
fn of_an_answer_only_the_witnesses_own_signature_is_taken() {
    let signer = |name: &str, seed| Signer::new(name, Algorithm::Cosignature, &[seed; 32]).unwrap();
    let (witness, other) = (signer("witness.example/w1", 5), signer("witness.example/w2", 6));
    let text = at(7).to_string();
    let own = witness.sign(&text, 77);
    assert_eq!((own.time(), own.id(), own.is_by(witness.verifier())), (Some(77), witness.verifier().id(), true));
    assert_eq!(log().sign(&text, 0).time(), None);
    let take = |body: &str| cosignature(body.as_bytes(), &text, witness.verifier());
    for body in [own.to_string(), format!("{}{own}", other.sign(&text, 1)), format!("{own}{}", other.sign(&text, 1))] {
        assert_eq!(take(&body), Ok(own.clone()), "{body}");
    }
    let line = own.to_string();
    for body in [
        String::new(),
        "\n".to_owned(),
        line.trim_end().to_owned(),
        format!("{line}\n"),
        format!("\n{line}"),
        format!("x\n\n{line}"),
        format!("{line}x\n"),
        other.sign(&text, 77).to_string(),
        witness.sign("other\n", 77).to_string(),
        witness.sign(&text, 0).to_string(),
        line.repeat(65),
        line.replace(' ', "\u{0}"),
    ] {
        assert!(take(&body).is_err(), "{body:?}");
    }
    assert_eq!(take(&other.sign(&text, 77).to_string()), Err(NoteError::Unsigned));
    // Two of its own, one of which does not hold, are no answer of an honest witness.
    assert!(take(&format!("{line}{}", witness.sign("other\n", 77))).is_err());
}

#[test]
fn the_size_of_a_conflict_is_read_as_the_specification_has_it() {
    let size = |kind: &'static str, body: &str| conflict(Some(kind), body.as_bytes());
    assert_eq!(size("text/x.tlog.size", "7\n"), Some(7));
    assert_eq!(size("text/x.tlog.size; charset=utf-8", "0\n"), Some(0));
    for (kind, body) in [
        ("text/plain", "7\n"),
        ("text/x.tlog.size", ""),
        ("text/x.tlog.size", "07\n"),
        ("text/x.tlog.size", "+7\n"),
        ("text/x.tlog.size", "7\n\n"),
        ("text/x.tlog.size", "9223372036854775808\n"),
    ] {
        assert_eq!(size(kind, body), None, "{kind} {body:?}");
    }
    assert_eq!(conflict(None, b"7\n"), None);
}
