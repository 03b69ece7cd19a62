//! Certificates that lie: what is signed and logged, and still not what the entries of its files say.

use candor_policy::subject::LedgerId;

use crate::erasure::{Certificate, CertificateKind, ErasedFile, Scope, SignedCertificate, subject_digest};
use crate::identity::SubjectKey;
use crate::log::entry::{Entry, Erased, Sha256Hex};
use crate::verify::testing::*;
use crate::verify::tests::{fails, of, text};
use crate::verify::*;

/// A file that held rows of somebody, as a certificate names it.
fn file(old: u8, new: Option<u8>, removed: u64) -> ErasedFile {
    let (old, new) = (Sha256Hex([old; 32]), new.map(|new| Sha256Hex([new; 32])));
    ErasedFile { table: "analytics/phone.app".to_owned(), old, new, removed }
}

/// A log in which file 11 took the place of 7 without one of its rows, and nothing that of 12, which had two; with a certificate
/// about these files, signed by the log's key and in the log.
fn certified(files: Vec<ErasedFile>) -> (World, SignedCertificate) {
    let mut world = World::new();
    let me = LedgerId::of_certified(&world.me.subject_id());
    let certificate = Certificate {
        deadline: NOW + HOUR,
        done_at: NOW + 10,
        rows: files.iter().map(|file| file.removed).sum(),
        files,
        fleet: "acme-fleet".to_owned(),
        id: "01".repeat(16),
        kind: CertificateKind::Certificate,
        places: Vec::new(),
        requested_at: NOW + 5,
        scope: Scope::All,
        subject: subject_digest(&[8; 32], &me),
    };
    let signed = certificate.sign([8; 32], &SubjectKey::of_seed(&[9; 32])).unwrap();
    assert_eq!(world.log.verifier().public(), signed.key);
    world.seal("analytics/phone.app", vec![other(4)], &[7], 1);
    world.seal("analytics/phone.app", vec![other(6), other(7)], &[], 0);
    let certificates = vec![signed.certificate.digest().unwrap()];
    world.entries.push(Entry::Erased(Erased { certificates, files: vec![12], replaced: vec![11], removed: 3 }));
    (world, signed)
}

fn with_certificate(world: &World, signed: &SignedCertificate) -> Evidence {
    Evidence { certificates: vec![signed.encode().unwrap()], ..world.evidence() }
}

#[test]
fn a_certificate_is_signed_logged_and_about_files_that_are_gone() {
    let (mut world, signed) = certified(vec![file(7, Some(11), 1), file(12, None, 2)]);
    let with = |change: fn(&mut SignedCertificate)| {
        let mut signed = signed.clone();
        change(&mut signed);
        with_certificate(&world, &signed)
    };
    let lines = check(&with(|_| ()));
    assert_eq!(of(&lines, Check::Certificate)[0].verdict, Verdict::Proved, "{}", text(&lines));
    fails(&with(|signed| signed.certificate.done_at += 1), Check::Certificate);
    fails(&with(|signed| signed.nonce.0[0] ^= 1), Check::Certificate);
    fails(&with(|signed| signed.key = stranger()), Check::Certificate);
    let mut short = with(|_| ());
    short.certificates[0].pop();
    fails(&short, Check::Certificate);
    let Some(Entry::Erased(erased)) = world.entries.last_mut() else { panic!("an erasure is last") };
    erased.certificates.clear();
    fails(&with_certificate(&world, &signed), Check::Certificate);
}

/// What the log's key signed and an entry names is a lie all the same where the entries of its files say something else.
#[test]
fn a_certificate_says_of_its_files_what_their_entries_say() {
    for (what, files) in [
        ("both", vec![file(7, Some(11), 1), file(12, None, 2)]),
        ("not all of them: others were erased too", vec![file(12, None, 1)]),
    ] {
        let (world, signed) = certified(files);
        let lines = check(&with_certificate(&world, &signed));
        assert_eq!(outcome(&lines), Outcome::Holds, "{what}: {}", text(&lines));
    }
    for (what, files) in [
        ("never sealed", vec![file(20, None, 1)]),
        ("live", vec![file(11, None, 1)]),
        ("a successor that was never sealed", vec![file(7, Some(20), 1)]),
        ("the successor of others", vec![file(7, Some(6), 1)]),
        ("a successor where there is none", vec![file(12, Some(11), 1)]),
        ("none where there is one", vec![file(7, None, 1)]),
        ("more rows than its successor lacks", vec![file(7, Some(11), 2)]),
        ("more rows than went with it", vec![file(12, None, 3)]),
        ("packed, without a row less", vec![file(4, Some(6), 1)]),
        ("more rows together than their successor lacks", vec![file(4, Some(6), 1), file(5, Some(6), 1)]),
    ] {
        let (world, signed) = certified(files);
        let lines = check(&with_certificate(&world, &signed));
        assert_eq!(of(&lines, Check::Certificate)[0].verdict, Verdict::Failed, "{what}: {}", text(&lines));
    }
}
