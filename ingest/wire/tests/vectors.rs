//! The vectors of `docs/FORMAT.md`, from identity to rows. The page has them from `tests/python/vectors.py`, which computes
//! each with Python's hashlib and `cryptography` of `PyPI`, without a line of ours.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests stop where a test would")]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use candor_policy::consent::ConsentState::{Given, Refused, Withdrawn};
use candor_policy::hex;
use candor_policy::subject::LedgerId;
use candor_wire::erasure::{Certificate, CertificateKind, ErasedFile, Place, PlaceState, Scope, subject_digest};
use candor_wire::identity::{Seed, SubjectKey};
use candor_wire::leaf::{self, FileProof, Sealer, Secret, content_of, file_root, salted};
use candor_wire::log::checkpoint::Checkpoint;
use candor_wire::log::edge::Edge;
use candor_wire::log::entry::{Entry, InForce, KeyChange, KeyEvent, Sealed, Sha256Hex};
use candor_wire::log::live::LiveFiles;
use candor_wire::log::note::{Algorithm, Note, Signer};
use candor_wire::log::proof::{self, Missing, OfTiles};
use candor_wire::log::tile::{self, Tile};
use candor_wire::merkle;
use candor_wire::receipt::{PurposeReceipt, Receipt, SignedReceipt, sign_group};
use candor_wire::row::{Rows, hash_of};
use candor_wire::signature::{self, RequestHead};
use candor_wire::statement::{Notice, SignedStatement, Statement, consent_leaf};
use candor_wire::sum_tree;
use candor_wire::totals::{Cell, Opened};
use http::{HeaderMap, HeaderValue};

const PAGE: &str = include_str!("../../../docs/FORMAT.md");
const BODY: &[u8] = b"{\"resourceLogs\":[]}";
const ROWS_HASH: &str = "72037916502a42d094414915812a4613c9271a2788058a94479c4397ca7ed72b";

fn says(section: &str, vector: &str) {
    let (_, after) = PAGE.split_once(&format!("\n## {section}\n")).unwrap_or_else(|| panic!("no section {section}"));
    let text = after.split("\n## ").next().unwrap();
    assert!(text.contains(vector), "{section} does not say {vector}");
}

fn key(epoch: u64) -> SubjectKey {
    SubjectKey::derive(&Seed::new([7; 32]), "acme-fleet", epoch).unwrap()
}

#[test]
fn identity() {
    for epoch in [0, 1] {
        let key = key(epoch);
        let subject = key.subject_id();
        let row = format!(
            "| {epoch} | `{}` | `{}` | `{}` |",
            key.public(),
            hex::encode(subject.as_bytes()),
            subject.in_table("analytics").as_str()
        );
        says("Identity", &row);
    }
    let seed = "2c1af0132c1c712523d96105a29c88203eb0c996719b470418989004ed0cc216";
    says("Identity", seed);
    let of_seed = SubjectKey::of_seed(&hex::decode(seed).unwrap().try_into().unwrap());
    assert_eq!(of_seed.public(), key(0).public());
    says("Identity", &hex::encode(&*Seed::new([7; 32]).expand(b"candor/spool/v1").unwrap()));
}

#[test]
fn signed_request() {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-type", "application/json"),
        ("candor-fleet", "acme-fleet"),
        ("candor-consent", "1"),
        ("candor-batch", "17"),
        ("sec-gpc", "1"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let head =
        RequestHead { method: "POST", authority: "candor.example", path: "/v1/logs", query: None, headers: &headers };
    let nonce = std::array::from_fn(|n| n as u8);
    let signed = signature::sign(&key(0), &head, Some(BODY), (1_795_377_600, 1_795_377_660), nonce).unwrap();
    let digest = signed.content_digest.unwrap();
    says("Signed requests", &format!("Content-Digest: {}\n", digest.to_str().unwrap()));
    says("Signed requests", &format!("Signature-Input: {}\n", signed.signature_input.to_str().unwrap()));
    says("Signed requests", &format!("Signature: {}\n", signed.signature.to_str().unwrap()));
    let mut sent = headers.clone();
    sent.insert("content-digest", digest);
    sent.insert("signature-input", signed.signature_input);
    sent.insert("signature", signed.signature);
    let verified = signature::verify(&RequestHead { headers: &sent, ..head }, true, 1_795_377_600).unwrap();
    says("Signed requests", &format!("`{}`", hex::encode(&verified.nonce.id)));
}

#[test]
fn reasons() {
    for reason in candor_wire::reason::Reason::ALL {
        says("Signed requests", &format!("| `{reason}` |"));
    }
}

fn statement_of_epoch_0() -> SignedStatement {
    let draft = SignedStatement {
        fleet: "acme-fleet".to_owned(),
        key: key(0).public(),
        sequence: (1 << 32) | 1,
        previous: SignedStatement::nothing_before(),
        purposes: BTreeMap::from([("analytics".to_owned(), Given), ("marketing".to_owned(), Refused)]),
        notice: Notice { version: "2026-01".to_owned(), language: "de".to_owned() },
        age_from: Some(18),
        expires: Some("2027-01-01".to_owned()),
        granted_at: Some("2026-01-31T12:00:00Z".to_owned()),
        gpc: true,
        guardian: false,
        closes: false,
        signature: String::new(),
    };
    draft.sign(&key(0)).unwrap()
}

#[test]
fn statement() {
    let statement = statement_of_epoch_0();
    says("Signed statements", &format!("`{}`", statement.signature));
    says("Signed statements", &format!("`{}`", statement.hash().unwrap()));
}

#[test]
fn what_was_signed_of_a_statement_of_the_ledger() {
    let before = statement_of_epoch_0();
    let draft = SignedStatement {
        sequence: before.sequence + 1,
        previous: before.hash().unwrap().to_string(),
        purposes: BTreeMap::from([("analytics".to_owned(), Withdrawn), ("marketing".to_owned(), Refused)]),
        age_from: Some(12),
        expires: None,
        granted_at: None,
        gpc: false,
        guardian: true,
        closes: true,
        ..before
    };
    let said = draft.sign(&key(0)).unwrap();
    let section = "Consent statements";
    says(section, &format!("`{}`", said.signature));
    says(section, &format!("`{}`", said.hash().unwrap()));
    let kept = Statement::from_signed(said.clone(), 1_795_377_600_500_000, "agents").unwrap();
    let kept = serde_json_canonicalizer::to_string(&kept).unwrap();
    says(section, &kept);
    let read: Statement = serde_json::from_str(&kept).unwrap();
    assert_eq!(read.to_signed(), Some(said));
    assert_eq!(read.to_signed().unwrap().check(), Ok(()));
}

/// The rows of a subject of the sealed file.
fn sealed_rows(subject: usize) -> RecordBatch {
    let time = 1_795_377_600_500_000;
    let (opened, closed) = (Some("phone.app.opened"), Some("phone.app.closed"));
    let mut words = ListBuilder::new(StringBuilder::new());
    let columns: Vec<(&str, ArrayRef)> = match subject {
        1 => vec![
            ("load", Arc::new(Float64Array::from(vec![0.5, -f64::NAN, -0.0]))),
            ("charging", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))),
            ("time", Arc::new(TimestampMicrosecondArray::from(vec![time, time + 70_000, time + 1_000]))),
            ("batch", Arc::new(Int64Array::from(vec![1, 1, 2]))),
            ("event", Arc::new(StringArray::from(vec![opened, closed, opened]))),
            ("decision", Arc::new(Int32Array::from(vec![2, 2, 2]))),
        ],
        2 => vec![
            ("event", Arc::new(StringArray::from(vec![closed]))),
            ("decision", Arc::new(Int32Array::from(vec![-1]))),
        ],
        _ => {
            words.append_value([Some("ä"), None]);
            vec![
                ("decision", Arc::new(Int32Array::from(vec![0]))),
                ("words", Arc::new(words.finish())),
                ("event", Arc::new(StringArray::from(vec![opened]))),
            ]
        }
    };
    let count = columns[0].1.len();
    let names: ArrayRef = Arc::new(StringArray::from(vec![format!("{subject:032x}"); count]));
    let columns = columns.into_iter().chain([("subject", names)]);
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, values)| (name, values, true))).unwrap()
}

#[test]
fn sealed_file() {
    let (salt, secret) = ([9; 16], [10; 16]);
    let section = "Sealed files";
    let mut subjects: Vec<usize> = vec![1, 2, 3];
    subjects.sort_by_key(|subject| salted(&salt, &format!("{subject:032x}")));
    let (mut entries, mut hashes) = (Vec::new(), Vec::new());
    for subject in &subjects {
        // Each subject's rows have columns of their own, which changes nothing.
        let rows = sealed_rows(*subject);
        let mut sealer = Sealer::new(salt, secret, 20_779, |entry: leaf::Entry, hash| {
            entries.push(entry);
            hashes.push(hash);
        });
        sealer.push(&rows).unwrap();
        sealer.finish().unwrap();
        let entry = entries.last().unwrap();
        let blind = Secret::new(secret).blind(&format!("{subject:032x}"));
        says(
            section,
            &format!("Content of {subject}:\n\n```\n{}\n```", hex::encode(&content_of(&rows, 20_779).unwrap())),
        );
        let row = [
            format!(
                "| {subject} | `{}` | `{}` `{}`",
                hex::encode(&blind),
                hex::encode(&entry.salted),
                hex::encode(&entry.commitment)
            ),
            format!(" | `{}` |", hex::encode(hashes.last().unwrap())),
        ];
        says(section, &row.concat());
    }
    let root = file_root(&salt, 3, &merkle::root(&hashes));
    says(section, &format!("Root `{}`.", hex::encode(&root)));
    for (of, subject) in [("Presence of 3", 3), ("Absence of 9", 9)] {
        let (_, after) = PAGE.split_once(&format!("\n{of}:\n\n```\n")).unwrap();
        let proof = FileProof::from_text(after.split('\n').next().unwrap()).unwrap();
        assert!(proof.leads_to(&root, &format!("{subject:032x}")), "{of}");
        assert_eq!(proof.is_present(), subject == 3);
    }
}

#[test]
fn rows() {
    let mut words = ListBuilder::new(StringBuilder::new());
    words.append_value([Some("ä"), None]);
    let first: [(&str, ArrayRef); 10] = [
        ("event", Arc::new(StringArray::from(vec!["phone.app.opened"]))),
        ("time", Arc::new(TimestampMicrosecondArray::from(vec![1_795_377_600_500_000]).with_timezone("UTC"))),
        ("subject", Arc::new(StringArray::from(vec!["7dc95bac9da00216200fb6d600cb7889"]))),
        ("batch", Arc::new(Int64Array::from(vec![3]))),
        ("consent_seq", Arc::new(Int64Array::from(vec![1]))),
        ("decision", Arc::new(Int32Array::from(vec![2]))),
        ("charging", Arc::new(BooleanArray::from(vec![true]))),
        ("load", Arc::new(Float64Array::from(vec![-0.0]))),
        ("heat", Arc::new(Float64Array::from(vec![-f64::NAN]))),
        ("words", Arc::new(words.finish())),
    ];
    let second: [(&str, ArrayRef); 3] = [
        ("event", Arc::new(StringArray::from(vec!["phone.app.closed"]))),
        ("decision", Arc::new(Int32Array::from(vec![-1]))),
        ("load", Arc::new(Float64Array::from(vec![None]))),
    ];
    let first = Rows::encode(&RecordBatch::try_from_iter(first).unwrap(), 20_779).unwrap();
    let second =
        Rows::encode(&RecordBatch::try_from_iter(second.map(|(name, cells)| (name, cells))).unwrap(), 20_779).unwrap();
    let (first, second) = (first.row(0), second.row(0));
    says("Rows in canonical encoding", &hex::encode(first));
    says("Rows in canonical encoding", &hex::encode(second));
    let hash = hash_of([("phone", vec![second, first, second]), ("car", vec![second])]).unwrap();
    assert_eq!(hex::encode(&hash), ROWS_HASH);
    says("Hash of stored rows", ROWS_HASH);
}

fn receipt(batch: u64) -> Receipt {
    let dropped = |count| BTreeMap::from([("no_consent".to_owned(), count)]);
    let analytics =
        PurposeReceipt { batch: Some(3), dropped: dropped(2), offered: 5, rows: Some(ROWS_HASH.to_owned()), stored: 3 };
    let marketing = PurposeReceipt { dropped: dropped(5), offered: 5, ..PurposeReceipt::default() };
    Receipt {
        batch,
        body: "6e8a0c7b2e88c8fd437e4b5ab947d4c7a17040d8de489f4bd7dc8081135856a6".to_owned(),
        catalogue: "0a".repeat(32),
        checkpoint: Some("candor/acme-fleet\n5\n80lPsBfLlYZZBQoXH7jRdiO9vmIEJ+tNwFLD1Pd3FxE=\n".to_owned()),
        consent: Some(1),
        fleet: "acme-fleet".to_owned(),
        policy: "0b".repeat(32),
        purposes: BTreeMap::from([("analytics".to_owned(), analytics), ("marketing".to_owned(), marketing)]),
        received_at: 1_795_377_600_500_000,
        seal_by: 1_795_378_200_500_000,
        subject: hex::encode(key(0).subject_id().as_bytes()),
    }
}

fn group() -> Vec<SignedReceipt> {
    let receipts = [17, 18, 19].map(receipt);
    let leaves = receipts.clone().map(|receipt| merkle::leaf_hash(receipt.to_json().unwrap().as_bytes()));
    let proofs = sign_group(&SubjectKey::of_seed(&[8; 32]), &leaves);
    receipts.into_iter().zip(proofs).map(|(receipt, proof)| SignedReceipt { receipt, proof }).collect()
}

#[test]
fn receipts() {
    let group = group();
    says("Receipts", &group[0].receipt.to_json().unwrap());
    let leaves: Vec<_> = group.iter().map(|one| merkle::leaf_hash(one.receipt.to_json().unwrap().as_bytes())).collect();
    for hash in leaves.iter().chain([&merkle::root(&leaves)]) {
        says("Receipts", &format!("`{}`", hex::encode(hash)));
    }
    for hash in group.iter().flat_map(|one| &one.proof.path) {
        says("Receipts", &format!("`{}`", URL_SAFE_NO_PAD.encode(hash)));
    }
    let proof = &group[0].proof;
    says("Receipts", &format!("`{}`", proof.key));
    says("Receipts", &format!("`{}`", proof.signature));
    for signed in &group {
        assert_eq!(signed.verify(&proof.key), Ok(()));
        assert_eq!(SignedReceipt::from_header(&signed.to_header().unwrap()).unwrap(), *signed);
    }
}

#[test]
fn a_receipt_with_any_byte_changed_proves_nothing() {
    let group = group();
    let known = group[0].proof.key;
    for signed in &group {
        let json = serde_json::to_string(signed).unwrap();
        for at in 0..json.len() {
            for other in ['0', '1', 'a', 'A', '"', ' '] {
                let mut changed = json.clone().into_bytes();
                if changed[at] == other as u8 {
                    continue;
                }
                changed[at] = other as u8;
                let Ok(read) = SignedReceipt::from_header(&URL_SAFE_NO_PAD.encode(&changed)) else { continue };
                assert!(read.verify(&known).is_err(), "{}", String::from_utf8_lossy(&changed));
            }
        }
        assert!(SignedReceipt::from_header(&URL_SAFE_NO_PAD.encode(&json[1..])).is_err());
    }
}

fn sum_receipt(batch: u64, offered: u64, dropped: u64) -> Receipt {
    let reasons = (dropped > 0).then(|| ("no_consent".to_owned(), dropped)).into_iter().collect();
    let purpose = PurposeReceipt { dropped: reasons, offered, stored: offered - dropped, ..PurposeReceipt::default() };
    Receipt {
        batch,
        body: "0c".repeat(32),
        catalogue: "0a".repeat(32),
        checkpoint: None,
        consent: None,
        fleet: "acme-fleet".to_owned(),
        policy: "0b".repeat(32),
        purposes: BTreeMap::from([("analytics".to_owned(), purpose)]),
        received_at: 1_795_377_600_500_000,
        seal_by: 1_795_381_200_500_000,
        subject: "0d".repeat(32),
    }
}

#[test]
fn totals() {
    let section = "Totals of an epoch";
    let receipts = [sum_receipt(1, 5, 0), sum_receipt(2, 7, 3), sum_receipt(3, 100, 1)];
    says(section, &receipts[0].to_json().unwrap());
    let mut leaves: Vec<_> = receipts.iter().map(|receipt| sum_tree::Node::of_receipt(receipt).unwrap()).collect();
    leaves.sort_unstable_by_key(|leaf| leaf.hash);
    for leaf in &leaves {
        says(section, &format!("`{}`", hex::encode(&leaf.hash)));
    }
    let root = sum_tree::root(leaves.into_iter().map(Ok)).unwrap();
    says(section, &format!("`{}`", hex::encode(&root.hash)));
    says(section, &serde_json::to_string(&root.sums).unwrap());
    says(section, &format!("`{}`", hex::encode(&root.commitment().unwrap())));

    let cell = |source: &str, stream: &str, offered, dropped: &[(&str, u64)]| Cell {
        source: source.to_owned(),
        stream: stream.to_owned(),
        purpose: "analytics".to_owned(),
        dropped: dropped.iter().map(|(reason, records)| ((*reason).to_owned(), *records)).collect(),
        offered,
        stored: offered - dropped.iter().map(|(_, records)| records).sum::<u64>(),
    };
    let cells = vec![cell("agents", "phone.app", 112, &[("no_consent", 4)]), cell("phones", "", 50, &[])];
    let opened = Opened { epoch: 1, cells, nonce: [9; 32] };
    assert_eq!(opened.fault(), None);
    assert!(root.sums.is_within(&opened.sums().unwrap()));
    says(section, &format!("`{}`", hex::encode(&opened.digest().unwrap())));
    let hash = *candor_policy::digest::Digest::of_bytes(b"a statement").as_bytes();
    says(section, &format!("`{}`", hex::encode(&consent_leaf(&[5; 16], &hash))));
}

#[test]
fn erasure() {
    let section = "Erasure";
    let (ledger, nonce) = (LedgerId::from_bytes([5; 32]), [6; 32]);
    let file = |table: &str, new, removed| {
        let (table, old) = (table.to_owned(), Sha256Hex([1; 32]));
        ErasedFile { table, old, new, removed }
    };
    let until = 1_797_969_600_000_000;
    let certificate = Certificate {
        deadline: until,
        done_at: 1_795_377_700_000_000,
        files: vec![file("analytics/phone.app", Some(Sha256Hex([2; 32])), 3), file("diagnostics/phone.app", None, 4)],
        fleet: "acme-fleet".to_owned(),
        id: "000102030405060708090a0b0c0d0e0f".to_owned(),
        kind: CertificateKind::Certificate,
        places: vec![
            Place { place: "tables".to_owned(), state: PlaceState::Done, until: None },
            Place { place: "backups".to_owned(), state: PlaceState::Due, until: Some(until) },
        ],
        requested_at: 1_795_377_600_000_000,
        rows: 7,
        scope: Scope::All,
        subject: subject_digest(&nonce, &ledger),
    };
    says(section, &String::from_utf8(certificate.encode().unwrap()).unwrap());
    says(section, &format!("`{}`", certificate.digest().unwrap()));
    let key = SubjectKey::of_seed(&[8; 32]);
    let signed = certificate.sign(nonce, &key).unwrap();
    says(section, &format!("`{}`", signed.signature));
    signed.check(&key.public(), &ledger).unwrap();
}

#[test]
fn log() {
    const SINCE: i64 = 1_795_377_600_000_000;
    let key = Signer::new("candor/acme-fleet", Algorithm::Ed25519, &[9; 32]).unwrap();
    let witness = Signer::new("witness.example/w1", Algorithm::Cosignature, &[10; 32]).unwrap();
    says("The log", &format!("\n{}\n{}\n", key.verifier(), witness.verifier()));
    let sealed = Sealed {
        table: "analytics/phone.app".to_owned(),
        path: "received_date=2026-11-28/part-00112233445566778899aabbccddeeff.parquet".to_owned(),
        file: Sha256Hex([1; 32]),
        size: 4096,
        root: Sha256Hex([2; 32]),
        rows: 10,
        subjects: 3,
        received_date: "2026-11-28".to_owned(),
        policy: Sha256Hex([3; 32]),
        catalogue: Sha256Hex([4; 32]),
        replaces: vec![],
        removed: None,
    };
    let successor = Sealed {
        path: sealed.path.replace("00112233", "ffeeddcc"),
        replaces: vec![3],
        removed: Some(2),
        rows: 8,
        ..sealed.clone()
    };
    let vkey = Some(key.verifier().to_string());
    let entries = [
        Entry::Key(KeyChange {
            usage: "log".to_owned(),
            generation: 1,
            event: KeyEvent::Created,
            key: vkey,
            at: SINCE,
        }),
        Entry::Catalogue(InForce { digest: sealed.catalogue, since: SINCE }),
        Entry::Policy(InForce { digest: sealed.policy, since: SINCE }),
        Entry::Sealed(sealed),
        Entry::Sealed(successor),
    ];
    let (mut leaves, mut bundle, mut together) = (Vec::new(), Vec::new(), LiveFiles::default());
    for entry in &entries {
        let bytes = entry.encode().unwrap();
        together.apply(entry).unwrap();
        leaves.push(merkle::leaf_hash(&bytes));
        says("The log", &format!("{}\n", String::from_utf8(bytes.clone()).unwrap()));
        says("The log", &hex::encode(leaves.last().unwrap()));
        tile::push_entry(&mut bundle, &bytes);
    }
    let digest = |bytes: &[u8]| candor_policy::digest::Digest::of_bytes(bytes).to_string();
    says("The log", &digest(&bundle));
    says("The log", &digest(&tile::hashes_to_bytes(&leaves)));
    let text = Checkpoint::new("candor/acme-fleet".to_owned(), 5, merkle::root(&leaves)).to_string();
    let signatures = vec![key.sign(&text, 0), witness.sign(&text, 1_795_377_600)];
    says("The log", &Note::new(text, signatures).unwrap().to_string());

    let mut edge = Edge::default();
    let tiles: std::collections::HashMap<_, _> = edge.grow(&leaves).into_iter().collect();
    let hashes = OfTiles::new(5, |tile: &Tile| tiles.get(tile).cloned().ok_or(Missing));
    let table = |path: Vec<merkle::Hash>| {
        let cells: Vec<_> = path.iter().map(|hash| format!("`{}`", STANDARD.encode(hash))).collect();
        cells.join(", ")
    };
    let inclusion = proof::inclusion(&hashes, 3, 5).unwrap();
    says("The log", &format!("| entry 3 is in the log of 5 | {} |", table(inclusion)));
    let consistency = proof::consistency(&hashes, 3, 5).unwrap();
    says("The log", &format!("| the log of 5 extends that of 3 | {} |", table(consistency)));
}
