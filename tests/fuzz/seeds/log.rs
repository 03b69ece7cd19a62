//! What the log has, what proves something, and what is signed: genuine ones, from which mutations go far.

use candor_wire::erasure::{Certificate, CertificateKind, ErasedFile, Place, PlaceState, Scope, subject_digest};
use candor_wire::identity::SubjectKey;
use candor_wire::leaf::{Claim, Entry as Leaf, FileProof, salted};
use candor_wire::log::checkpoint::Checkpoint;
use candor_wire::log::entry::{Entry, Erased, Expired, InForce, KeyChange, KeyEvent, Sealed, Sha256Hex};
use candor_wire::log::note::{Algorithm, Note, Signer};
use candor_wire::merkle::{self, Hash};
use candor_wire::signature::{self, RequestHead};
use http::{HeaderMap, HeaderValue};

use crate::certificates::{NONCE, SUBJECT};
use crate::proofs::{NOBODY, SALT, SUBJECTS, leaves};
use crate::signed::{AUTHORITY, NOW};

pub(crate) fn entries() -> Vec<Vec<u8>> {
    let sealed = |part: u8, replaces: Vec<u64>| {
        let removed = (!replaces.is_empty()).then_some(4);
        Entry::Sealed(Sealed {
            table: "analytics/phone.app".to_owned(),
            path: format!("received_date=2026-11-28/part-{part:02}.parquet"),
            file: Sha256Hex([part; 32]),
            size: 4096,
            root: Sha256Hex([2; 32]),
            rows: if replaces.is_empty() { 10 } else { 16 },
            subjects: 3,
            received_date: "2026-11-28".to_owned(),
            policy: Sha256Hex([3; 32]),
            catalogue: Sha256Hex([4; 32]),
            replaces,
            removed,
        })
    };
    let key = |usage: &str, generation, event| {
        let key = matches!(usage, "log" | "receipts").then(|| "key".to_owned());
        Entry::Key(KeyChange { usage: usage.to_owned(), generation, event, key, at: 1 })
    };
    let all = [
        key("log", 1, KeyEvent::Created),
        key("subject", 1, KeyEvent::Created),
        key("subject", 2, KeyEvent::Rotated),
        key("subject", 1, KeyEvent::Destroyed),
        Entry::Policy(InForce { digest: Sha256Hex([3; 32]), since: 1 }),
        Entry::Catalogue(InForce { digest: Sha256Hex([4; 32]), since: 1 }),
        sealed(1, Vec::new()),
        sealed(2, Vec::new()),
        sealed(3, vec![6, 7]),
        Entry::Erased(Erased { certificates: vec![Sha256Hex([9; 32])], files: Vec::new(), replaced: vec![8], removed: 4 }),
        sealed(4, Vec::new()),
        Entry::Expired(Expired {
            table: "analytics/phone.app".to_owned(),
            before: "2026-11-29".to_owned(),
            files: vec![10],
            field: None,
            removed: 10,
        }),
    ];
    let texts: Vec<Vec<u8>> = all.iter().map(|entry| entry.encode().expect("an entry")).collect();
    let mut inputs: Vec<Vec<u8>> = (1..=texts.len()).map(|count| texts[..count].join(&b'\n')).collect();
    inputs.extend(texts);
    inputs
}

pub(crate) fn notes() -> Vec<Vec<u8>> {
    let log = Signer::new("example.com/log", Algorithm::Ed25519, &[1; 32]).expect("a signer");
    let witness = Signer::new("witness.example/w1", Algorithm::Cosignature, &[4; 32]).expect("a signer");
    let hashes: Vec<Hash> = (0_u8..7).map(|leaf| merkle::leaf_hash(&[leaf])).collect();
    let mut inputs = Vec::new();
    for size in [0, 3, 7] {
        let text = Checkpoint::new("example.com/log".to_owned(), size, merkle::root(&hashes[..size as usize])).to_string();
        let signatures = [log.sign(&text, 0), witness.sign(&text, 1_795_377_600)];
        for count in 1..=2 {
            let note = Note::new(text.clone(), signatures[..count].to_vec()).expect("a note").to_string();
            inputs.push(format!("old 0\n\n{note}").into_bytes());
            inputs.push(note.into_bytes());
        }
        inputs.extend(signatures.iter().map(|signature| signature.to_string().into_bytes()));
    }
    inputs.extend([&log, &witness].map(|signer| signer.verifier().to_string().into_bytes()));
    inputs
}

pub(crate) fn proofs() -> Vec<Vec<u8>> {
    let leaves = leaves();
    let hashes: Vec<Hash> = leaves.iter().map(Leaf::hash).collect();
    let of = |subject: &str| {
        let (salted, size) = (salted(&SALT, subject), leaves.len() as u64);
        let (claim, range) = match leaves.binary_search_by_key(&salted, |leaf| leaf.salted) {
            Ok(at) => (Claim::Present { index: at as u64, commitment: leaves[at].commitment }, at as u64..at as u64 + 1),
            Err(at) => {
                let left = at.checked_sub(1).map(|left| leaves[left]);
                let range = at.saturating_sub(1) as u64..(at as u64 + 1).min(size);
                (Claim::Absent { before: at as u64, left, right: leaves.get(at).copied() }, range)
            }
        };
        let beside = merkle::beside(&range, size);
        let beside = beside.iter().map(|tree| merkle::root(&hashes[tree.start as usize..tree.end as usize])).collect();
        FileProof { size, salt: SALT, claim, beside }.to_bytes()
    };
    let empty = FileProof { size: 0, salt: SALT, claim: Claim::Absent { before: 0, left: None, right: None }, beside: Vec::new() };
    SUBJECTS.iter().chain([&NOBODY, &"zz", &"0"]).map(|subject| of(subject)).chain([empty.to_bytes()]).collect()
}

pub(crate) fn certificates() -> Vec<Vec<u8>> {
    let key = SubjectKey::of_seed(&[8; 32]);
    let day = |day: &str| Some(day.to_owned());
    let scopes = [
        Scope::All,
        Scope::Purposes(vec!["analytics".to_owned(), "marketing".to_owned()]),
        Scope::Received { from: day("2026-01-01"), to: day("2026-01-31") },
    ];
    let mut inputs = Vec::new();
    for scope in scopes {
        let request = candor_wire::erasure::ErasureRequest { scope: scope.clone() };
        inputs.push(serde_json::to_vec(&request).expect("a request"));
        let certificate = Certificate {
            deadline: 1_797_969_600_000_000,
            done_at: 1_795_377_700_000_000,
            files: vec![ErasedFile {
                table: "analytics/phone.app".to_owned(),
                old: Sha256Hex([1; 32]),
                new: Some(Sha256Hex([2; 32])),
                removed: 7,
            }],
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
        };
        inputs.push(certificate.encode().expect("a certificate"));
        inputs.push(certificate.sign(NONCE, &key).expect("a signature").encode().expect("a certificate"));
    }
    inputs
}

pub(crate) fn signed() -> Vec<Vec<u8>> {
    let key = SubjectKey::of_seed(&[8; 32]);
    let mut inputs = Vec::new();
    let requests: [(&str, &str, Option<&str>, Option<&[u8]>); 3] = [
        ("GET", "/v1/subject", None, None),
        ("GET", "/v1/subject/receipts", Some("from=1"), None),
        ("POST", "/v1/logs", None, Some(b"body")),
    ];
    for (method, path, query, body) in requests {
        let mut headers = HeaderMap::new();
        headers.insert(&signature::FLEET, HeaderValue::from_static("acme-fleet"));
        if body.is_some() {
            headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
            headers.insert(&signature::BATCH, HeaderValue::from_static("7"));
            headers.insert(&signature::CONSENT, HeaderValue::from_static("3"));
        }
        let head = RequestHead { method, authority: AUTHORITY, path, query, headers: &headers };
        let made = signature::sign(&key, &head, body, (NOW, NOW + 120), [1; 16]).expect("a signature");
        if let Some(digest) = made.content_digest {
            headers.insert(&signature::CONTENT_DIGEST, digest);
        }
        headers.insert(&signature::SIGNATURE_INPUT, made.signature_input);
        headers.insert(&signature::SIGNATURE, made.signature);
        let mut input = format!("{method}\n{path}\n{}\n", query.unwrap_or_default()).into_bytes();
        for (name, value) in &headers {
            input.extend([name.as_str().as_bytes(), b":", value.as_bytes(), b"\n"].concat());
        }
        input.extend([b"\n", body.unwrap_or_default()].concat());
        inputs.push(input);
    }
    inputs
}
