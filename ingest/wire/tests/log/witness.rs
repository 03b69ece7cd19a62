//! What a witness signs, and what it does not.

use candor_wire::log::checkpoint::Checkpoint;
use candor_wire::log::note::{Algorithm, Note, Signer};
use candor_wire::log::proof::consistency;
use candor_wire::log::witness::{AddCheckpoint, Refusal};
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
