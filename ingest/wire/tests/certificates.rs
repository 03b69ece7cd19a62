//! Certificates of erasure: what is read is what was written, and no byte can be changed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests stop where a test would")]

use candor_policy::subject::LedgerId;
use candor_wire::erasure::{
    Certificate, CertificateKind, ErasedFile, ErasureError, ErasureRequest, Place, PlaceState, Scope,
    SignedCertificate, subject_digest,
};
use candor_wire::identity::SubjectKey;
use candor_wire::log::entry::Sha256Hex;
use proptest::prelude::*;

const SUBJECT: LedgerId = LedgerId::from_bytes([5; 32]);
const NONCE: [u8; 32] = [6; 32];

fn key() -> SubjectKey {
    SubjectKey::of_seed(&[8; 32])
}

fn certificate(scope: Scope) -> Certificate {
    let file = |table: &str, old, new, removed| ErasedFile {
        table: table.to_owned(),
        old: Sha256Hex([old; 32]),
        new: new_of(new),
        removed,
    };
    Certificate {
        deadline: 1_797_969_600_000_000,
        done_at: 1_795_377_700_000_000,
        files: vec![file("analytics/phone.app", 1, 2, 3), file("diagnostics/phone.app", 1, 0, 4)],
        fleet: "acme-fleet".to_owned(),
        id: "000102030405060708090a0b0c0d0e0f".to_owned(),
        kind: CertificateKind::Certificate,
        places: vec![
            Place { place: "tables".to_owned(), state: PlaceState::Done, until: None },
            Place { place: "backups".to_owned(), state: PlaceState::Due, until: Some(1_797_969_600_000_000) },
        ],
        requested_at: 1_795_377_600_000_000,
        rows: 7,
        scope,
        subject: subject_digest(&NONCE, &SUBJECT),
    }
}

fn new_of(byte: u8) -> Option<Sha256Hex> {
    (byte > 0).then_some(Sha256Hex([byte; 32]))
}

fn scopes() -> Vec<Scope> {
    let day = |day: &str| Some(day.to_owned());
    vec![
        Scope::All,
        Scope::Purposes(vec!["analytics".to_owned(), "marketing".to_owned()]),
        Scope::Received { from: day("2026-01-01"), to: day("2026-01-31") },
        Scope::Received { from: None, to: day("2026-01-31") },
    ]
}

#[test]
fn every_single_byte_change_is_found() {
    for scope in scopes() {
        let signed = certificate(scope).sign(NONCE, &key()).unwrap();
        let text = signed.encode().unwrap();
        let read = SignedCertificate::decode(&text).unwrap();
        assert_eq!(read, signed);
        read.check(&key().public(), &SUBJECT).unwrap();
        for at in 0..text.len() {
            for flip in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
                let mut changed = text.clone();
                changed[at] ^= flip;
                let outcome = SignedCertificate::decode(&changed).and_then(|it| it.check(&key().public(), &SUBJECT));
                assert!(outcome.is_err(), "byte {at} of {} changed to {:02x}", text.len(), changed[at]);
            }
        }
    }
}

#[test]
fn it_is_for_one_subject_and_of_one_key() {
    let signed = certificate(Scope::All).sign(NONCE, &key()).unwrap();
    let other = SubjectKey::of_seed(&[9; 32]).public();
    assert_eq!(signed.check(&other, &SUBJECT), Err(ErasureError::OtherKey));
    let somebody = LedgerId::from_bytes([7; 32]);
    assert_eq!(signed.check(&key().public(), &somebody), Err(ErasureError::OtherSubject));
}

#[test]
fn what_cannot_be_is_refused() {
    let certificate = certificate(Scope::All);
    let wrong = |change: fn(&mut Certificate)| {
        let mut wrong = certificate.clone();
        change(&mut wrong);
        wrong.encode().unwrap_err()
    };
    assert_eq!(wrong(|it| it.rows = 8), ErasureError::Field("rows"));
    assert_eq!(wrong(|it| it.files.reverse()), ErasureError::Field("files"));
    assert_eq!(wrong(|it| it.files[0].removed = 0), ErasureError::Field("removed"));
    assert_eq!(wrong(|it| it.files[0].table = "../x/y".to_owned()), ErasureError::Field("table"));
    assert_eq!(wrong(|it| it.id = "00".to_owned()), ErasureError::Field("id"));
    assert_eq!(wrong(|it| it.places[0].until = Some(1)), ErasureError::Field("until"));
    assert_eq!(wrong(|it| it.places[0].place = "a\u{1b}[0m".to_owned()), ErasureError::Field("place"));
    assert_eq!(wrong(|it| it.scope = Scope::Purposes(Vec::new())), ErasureError::Field("purposes"));
    let twice = vec!["a".to_owned(), "a".to_owned()];
    assert_eq!(Scope::Purposes(twice).check(), Err(ErasureError::Field("purposes")));
    let days = |from: &str, to: &str| Scope::Received { from: Some(from.to_owned()), to: Some(to.to_owned()) };
    assert_eq!(days("2026-02-01", "2026-01-31").check(), Err(ErasureError::Field("to")));
    assert_eq!(days("2026-2-1", "2026-03-01").check(), Err(ErasureError::Field("from")));
    assert_eq!(Scope::Received { from: None, to: None }.check(), Err(ErasureError::Field("received")));
}

#[test]
fn a_scope_covers_what_it_names() {
    let scopes = scopes();
    assert!(scopes[0].covers("any", 0));
    assert!(scopes[1].covers("marketing", 0) && !scopes[1].covers("diagnostics", 0));
    // 2026-01-01 is day 20454.
    for (day, covered) in [(20_453, false), (20_454, true), (20_484, true), (20_485, false)] {
        assert_eq!(scopes[2].covers("any", day), covered, "{day}");
    }
    assert!(scopes[3].covers("any", 0) && !scopes[3].covers("any", 20_485));
}

#[test]
fn requests_are_read_as_the_page_says() {
    let read = |text: &str| serde_json::from_str::<ErasureRequest>(text).map(|request| request.scope).ok();
    let scopes = scopes();
    assert_eq!(read(r#"{"scope":"all"}"#).as_ref(), Some(&scopes[0]));
    assert_eq!(read(r#"{"scope":{"purposes":["analytics","marketing"]}}"#).as_ref(), Some(&scopes[1]));
    assert_eq!(read(r#"{"scope":{"received":{"from":"2026-01-01","to":"2026-01-31"}}}"#).as_ref(), Some(&scopes[2]));
    for wrong in [r#"{"scope":"some"}"#, r"{}", r#"{"scope":"all","also":1}"#, r#"{"scope":{"received":{"at":"x"}}}"#] {
        assert_eq!(read(wrong), None, "{wrong}");
    }
}

proptest! {
    #[test]
    fn bytes_that_nobody_wrote_are_refused_without_a_panic(
        at in any::<prop::sample::Index>(), cut in any::<bool>(), bytes in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let text = certificate(Scope::All).sign(NONCE, &key()).unwrap().encode().unwrap();
        let at = at.index(text.len());
        let mut changed = text.clone();
        let end = if cut { text.len() } else { at };
        changed.splice(at..end, bytes);
        prop_assume!(changed != text);
        let outcome = SignedCertificate::decode(&changed).and_then(|it| it.check(&key().public(), &SUBJECT));
        prop_assert!(outcome.is_err());
    }
}
