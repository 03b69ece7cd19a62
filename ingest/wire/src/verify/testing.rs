//! A small service in memory that tells the truth, and hands over each part of it to be bent.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use candor_policy::catalogue::Catalogue;
use candor_policy::consent::ConsentState;
use candor_policy::plan::Plan;
use candor_policy::policy::Policy;
use serde_json::json;

use super::*;
use crate::identity::{PublicKey, Seed, SubjectKey};
use crate::leaf::{self, FileProof, Leaves, Secret};
use crate::log::checkpoint::Checkpoint;
use crate::log::entry::{self, Entry, InForce, KeyChange, KeyEvent, Sealed, Sha256Hex, Tree};
use crate::log::live::LiveFiles;
use crate::log::note::{Algorithm, Note, Signer};
use crate::merkle::{self, Hash, leaf_hash};
use crate::receipt::{self, PurposeReceipt, Receipt, SignedReceipt};
use crate::row::{Rows, hash_of};
use crate::statement::{Notice, SignedStatement, Statement, consent_leaf};
use crate::sum_tree::{self, Node, PurposeSums};
use crate::totals::{Cell, Opened};

pub(super) const HOUR: i64 = 3_600_000_000;
/// 2026-11-22T20:00:00Z, day 20,779.
pub(super) const NOW: i64 = 1_795_377_600_000_000;
pub(super) const DAY: i32 = 20_779;
pub(super) const DATE: &str = "2026-11-22";

pub(super) const CATALOGUE: &str = r#"
catalogue = "acme-fleet"
[stream."phone.app"]
description = "What the apps of a phone do"
owner = "phones@acme.example"
signal = "logs"
expires = "2028-12-31"
[stream."phone.app".event."phone.app.opened"]
description = "An app came to the front"
[stream."phone.app".field.model]
type = "string"
from = "resource.device.model"
category = "system.operations"
role = "plain"
description = "Model"
"#;

pub(super) const POLICY: &str = r#"
policy = "acme-fleet"
default = "drop"
notice = "2026-01"
jurisdiction = { from = "resource.region", EU = ["DE"] }
[purpose.analytics]
description = "How the fleet is used"
use = "analytics.reporting"
basis = { "*" = "consent" }
retain = "13 months"
[purpose.diagnostics]
description = "Faults"
use = "essential.service.operations.improve"
basis = { "*" = "consent" }
retain = "30 days"
[[rule]]
id = "all"
stream = "phone.app"
purpose = "*"
emit.model = { op = "keep" }
emit.time = { op = "time_floor", unit = "hour" }
"#;

/// A row of a table: whose, of which batch, when, what.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) subject: String,
    pub(super) batch: i64,
    pub(super) consent: i64,
    pub(super) time: i64,
    pub(super) model: &'static str,
}

/// A file as it lies there.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) table: String,
    pub(super) path: String,
    pub(super) salt: leaf::Salt,
    pub(super) secret: [u8; 16],
    pub(super) events: Vec<Event>,
    /// Leaves, in the order in which they are hashed.
    pub(super) leaves: Vec<leaf::Entry>,
}

/// The service.
pub(super) struct World {
    pub(super) log: Signer,
    pub(super) receipt_key: SubjectKey,
    pub(super) me: SubjectKey,
    pub(super) plan: Plan,
    pub(super) files: BTreeMap<u64, File>,
    pub(super) pending: Vec<(String, Event)>,
    pub(super) entries: Vec<Entry>,
    pub(super) statements: Vec<Statement>,
    pub(super) receipts: Vec<Receipt>,
}

impl World {
    /// Two purposes, three files of which one is compacted, two batches of mine, consent given, an epoch closed.
    pub(super) fn new() -> Self {
        let catalogue = Catalogue::parse(CATALOGUE, "catalogue.toml").unwrap();
        let policy = Policy::parse(POLICY, "policy.toml").unwrap();
        let receipt_key = SubjectKey::of_seed(&[8; 32]);
        let me = SubjectKey::derive(&Seed::new([7; 32]), "acme-fleet", 0).unwrap();
        let mut world = Self {
            log: Signer::new("candor/acme-fleet", Algorithm::Ed25519, &[9; 32]).unwrap(),
            plan: Plan::compile(catalogue, policy).unwrap(),
            files: BTreeMap::new(),
            pending: Vec::new(),
            entries: Vec::new(),
            statements: Vec::new(),
            receipts: Vec::new(),
            receipt_key,
            me,
        };
        world.begin();
        world.state(ConsentState::Given, NOW - HOUR);
        let mine = |purpose, batch| world.mine(purpose, batch, 1);
        let (one, two, fault) = (mine("analytics", 1), mine("analytics", 2), mine("diagnostics", 1));
        world.receipt(1, &[("analytics", 1, vec![one.clone(), one.clone()]), ("diagnostics", 1, vec![fault.clone()])]);
        world.receipt(2, &[("analytics", 2, vec![two.clone()])]);
        let first = world.seal("analytics/phone.app", vec![one.clone(), one.clone(), other(1), other(2)], &[], 0);
        let second = world.seal("analytics/phone.app", vec![two.clone(), other(3)], &[], 0);
        world.seal(
            "analytics/phone.app",
            vec![one.clone(), one, two, other(1), other(2), other(3)],
            &[first, second],
            0,
        );
        world.seal("analytics/phone.app", vec![other(1), other(4)], &[], 0);
        world.seal("diagnostics/phone.app", vec![fault, other(5)], &[], 0);
        world.close_epoch(1);
        world
    }

    fn begin(&mut self) {
        let digest = |digest: candor_policy::digest::Digest| Sha256Hex(*digest.as_bytes());
        let key = Some(self.log.verifier().to_string());
        let key_of_receipts = Some(self.receipt_key.public().to_string());
        let created = |usage: &str, key| KeyChange {
            usage: usage.to_owned(),
            generation: 1,
            event: KeyEvent::Created,
            key,
            at: 1,
        };
        self.entries = vec![
            Entry::Key(created("log", key)),
            Entry::Key(created("receipts", key_of_receipts)),
            Entry::Policy(InForce { digest: digest(self.plan.policy().digest), since: 1 }),
            Entry::Catalogue(InForce { digest: digest(self.plan.catalogue().digest), since: 1 }),
        ];
    }

    /// What I say of every purpose.
    pub(super) fn state(&mut self, state: ConsentState, at: i64) {
        let before = self.statements.last();
        let signed = SignedStatement {
            fleet: "acme-fleet".to_owned(),
            key: self.me.public(),
            sequence: self.statements.len() as i64 + 1,
            previous: before.map_or_else(SignedStatement::nothing_before, |one| one.hash().unwrap().to_string()),
            purposes: [("analytics".to_owned(), state), ("diagnostics".to_owned(), state)].into(),
            notice: Notice { version: "2026-01".to_owned(), language: "de".to_owned() },
            age_from: None,
            expires: None,
            granted_at: None,
            gpc: false,
            guardian: false,
            closes: false,
            signature: String::new(),
        };
        let signed = signed.sign(&self.me).unwrap();
        self.statements.push(Statement::from_signed(signed, at, "devices").unwrap());
    }

    pub(super) fn mine(&self, purpose: &str, batch: i64, consent: i64) -> Event {
        let subject = self.me.subject_id().in_table(purpose).to_string();
        Event { subject, batch, consent, time: NOW + batch, model: "P8" }
    }

    /// A receipt of mine: purposes, their batches and rows.
    pub(super) fn receipt(&mut self, batch: u64, purposes: &[(&str, u64, Vec<Event>)]) {
        let of = |(purpose, number, events): &(&str, u64, Vec<Event>)| {
            let rows = Rows::encode(&columns(events), DAY).unwrap();
            let hash = hash_of([("phone.app", rows.iter().collect::<Vec<_>>())]).unwrap();
            let (offered, stored) = (events.len() as u64, events.len() as u64);
            let rows = Some(candor_policy::hex::encode(&hash));
            (
                (*purpose).to_owned(),
                PurposeReceipt { batch: Some(*number), dropped: BTreeMap::new(), offered, rows, stored },
            )
        };
        self.receipts.push(Receipt {
            batch,
            body: "00".repeat(32),
            catalogue: self.plan.catalogue().digest.to_string(),
            checkpoint: Some(self.checkpoint(self.entries.len()).to_string()),
            consent: Some(1),
            fleet: "acme-fleet".to_owned(),
            policy: self.plan.policy().digest.to_string(),
            purposes: purposes.iter().map(of).collect(),
            received_at: NOW + batch as i64,
            seal_by: NOW + HOUR,
            subject: candor_policy::hex::encode(self.me.subject_id().as_bytes()),
        });
    }

    /// Seals a file; the number of its entry.
    pub(super) fn seal(&mut self, table: &str, events: Vec<Event>, replaces: &[u64], removed: u64) -> u64 {
        let number = self.entries.len() as u64;
        let file = File::new(table, number, events);
        let sealed = Sealed {
            table: table.to_owned(),
            path: file.path.clone(),
            file: Sha256Hex([number as u8; 32]),
            size: 1_000,
            root: Sha256Hex(file.root()),
            rows: file.events.len() as u64,
            subjects: file.leaves.len() as u64,
            received_date: DATE.to_owned(),
            policy: Sha256Hex(*self.plan.policy().digest.as_bytes()),
            catalogue: Sha256Hex(*self.plan.catalogue().digest.as_bytes()),
            replaces: replaces.to_vec(),
            removed: (!replaces.is_empty()).then_some(removed),
        };
        self.entries.push(Entry::Sealed(sealed));
        self.files.insert(number, file);
        number
    }

    /// Logs the totals and the consents of everything so far.
    pub(super) fn close_epoch(&mut self, epoch: u64) {
        let (leaves, _) = self.receipt_leaves();
        let root = sum_tree::root(leaves.iter().cloned().map(Ok)).unwrap();
        let opened = Self::opened(epoch, &root);
        self.entries.push(Entry::Totals(entry::Totals {
            epoch,
            part: 1,
            parts: 1,
            from: NOW - HOUR,
            to: NOW + HOUR,
            cells: opened.shown(3).cloned().collect(),
            hidden: Sha256Hex(opened.digest().unwrap()),
            receipts: Tree { root: Sha256Hex(root.commitment().unwrap()), size: leaves.len() as u64 },
        }));
        let leaves = self.consent_leaves();
        let (root, size) = (Sha256Hex(merkle::root(&leaves)), leaves.len() as u64);
        self.entries.push(Entry::Consents(entry::Consents { epoch, root, size }));
    }

    /// All cells of an epoch, as an auditor is handed them.
    pub(super) fn opened(epoch: u64, root: &Node) -> Opened {
        let cell = |(purpose, sums): (&str, &PurposeSums)| Cell {
            source: "phones".to_owned(),
            stream: "phone.app".to_owned(),
            purpose: purpose.to_owned(),
            dropped: sums.dropped.clone(),
            offered: sums.offered,
            stored: sums.stored,
        };
        Opened { epoch, cells: root.sums.purposes().map(cell).collect(), nonce: [6; 32] }
    }

    /// The root over the receipts of the epoch.
    pub(super) fn receipts_root(&self) -> Node {
        sum_tree::root(self.receipt_leaves().0.into_iter().map(Ok)).unwrap()
    }

    /// The leaves of my receipts and of two others', and which is mine.
    fn receipt_leaves(&self) -> (Vec<Node>, Vec<usize>) {
        let mut others = self.receipts.clone();
        for receipt in &mut others {
            receipt.subject = "11".repeat(32);
        }
        let mine: Vec<Node> = self.receipts.iter().map(|receipt| Node::of_receipt(receipt).unwrap()).collect();
        let mut leaves: Vec<Node> =
            others.iter().map(|receipt| Node::of_receipt(receipt).unwrap()).chain(mine.clone()).collect();
        leaves.sort_unstable_by_key(|leaf| leaf.hash);
        let places = mine.iter().map(|leaf| leaves.iter().position(|other| other == leaf).unwrap()).collect();
        (leaves, places)
    }

    fn consent_leaves(&self) -> Vec<Hash> {
        let mut leaves: Vec<Hash> =
            self.statements.iter().map(|one| consent_leaf(&[5; 16], one.hash().unwrap().as_bytes())).collect();
        leaves.push(leaf_hash(b"somebody else's"));
        leaves.sort_unstable();
        leaves
    }

    /// The log as it was when it had so many entries.
    pub(super) fn checkpoint(&self, size: usize) -> Checkpoint {
        let leaves: Vec<Hash> = self.entries[..size].iter().map(|entry| leaf_hash(&entry.encode().unwrap())).collect();
        Checkpoint::new("candor/acme-fleet".to_owned(), size as u64, merkle::root(&leaves))
    }

    pub(super) fn note(&self, size: usize) -> Note {
        let text = self.checkpoint(size).to_string();
        Note::new(text.clone(), vec![self.log.sign(&text, 0)]).unwrap()
    }

    /// Everything that I can ask for, two hours later.
    pub(super) fn evidence(&self) -> Evidence {
        let signed = self.signed_receipts();
        let document =
            |digest: candor_policy::digest::Digest, text: &str| (*digest.as_bytes(), text.as_bytes().to_vec());
        let (policy, catalogue) = (self.plan.policy(), self.plan.catalogue());
        Evidence {
            asked_at: NOW + 2 * HOUR,
            trust: Trust {
                log: vec![self.log.verifier().clone()],
                is_pinned: true,
                receipts: Some(self.receipt_key.public()),
                ..Trust::default()
            },
            before: None,
            checkpoint: Some(self.note(self.entries.len()).to_string().into_bytes()),
            entries: Some(self.entries.iter().map(|entry| entry.encode().unwrap()).collect()),
            documents: [document(policy.digest, &policy.canonical), document(catalogue.digest, &catalogue.canonical)]
                .into(),
            audits: Vec::new(),
            opened: Vec::new(),
            certificates: Vec::new(),
            holders: Vec::new(),
            subjects: vec![SubjectEvidence {
                epoch: Some(0),
                key: Some(self.me.public()),
                answer: self.answer(),
                receipts: self.receipt_evidence(signed.clone()),
                kept_receipts: Some(signed),
                kept_statements: Some(self.statements.clone()),
            }],
            unanswered: Vec::new(),
        }
    }

    fn signed_receipts(&self) -> Vec<SignedReceipt> {
        let leaves: Vec<Hash> = self.receipts.iter().map(|one| leaf_hash(one.to_json().unwrap().as_bytes())).collect();
        let proofs = receipt::sign_group(&self.receipt_key, &leaves);
        self.receipts.iter().cloned().zip(proofs).map(|(receipt, proof)| SignedReceipt { receipt, proof }).collect()
    }

    fn receipt_evidence(&self, signed: Vec<SignedReceipt>) -> Vec<ReceiptEvidence> {
        let (leaves, places) = self.receipt_leaves();
        let totals = |place: usize| Some(InEpoch { epoch: 1, path: sum_tree::path(&leaves, place).unwrap().unwrap() });
        let given = signed.into_iter().zip(places);
        given.map(|(signed, place)| ReceiptEvidence { totals: totals(place), ..signed.into() }).collect()
    }

    fn answer(&self) -> Answer {
        let mut live = LiveFiles::default();
        self.entries.iter().for_each(|entry| live.apply(entry).unwrap());
        let (mut rows, mut files) = (Vec::new(), Vec::new());
        for (number, _) in live.live() {
            let file = &self.files[&number];
            let (purpose, _) = file.table.split_once('/').unwrap();
            let me = self.me.subject_id().in_table(purpose).to_string();
            files.push(file.evidence(number, &me));
            let mine = file.events.iter().filter(|event| event.subject == me);
            rows.extend(
                mine.map(|event| self.row(purpose, event, Some(format!("tables/{}/{}", file.table, file.path)))),
            );
        }
        rows.extend(self.pending.iter().map(|(purpose, event)| self.row(purpose, event, None)));
        let consents = self.consent_leaves();
        let place = |statement: &Statement| {
            let hash = *statement.hash().unwrap().as_bytes();
            let index = consents.iter().position(|leaf| *leaf == consent_leaf(&[5; 16], &hash)).unwrap();
            let path = merkle::path(&consents, index).into_iter().map(Sha256Hex).collect();
            StatementEvidence { statement: Sha256Hex(hash), epoch: 1, nonce: vec![5; 16], index: index as u64, path }
        };
        Answer {
            subject: candor_policy::hex::encode(self.me.subject_id().as_bytes()),
            ids: Vec::new(),
            time: NOW + 2 * HOUR,
            statements: self.statements.clone(),
            consents: self.statements.iter().map(place).collect(),
            batches: Some(Batches { next: self.receipts.len() as u64 + 1, missing: Vec::new() }),
            rows,
            checkpoint: Some(self.note(self.entries.len()).to_string()),
            files,
        }
    }

    /// A row as an answer shows it.
    pub(super) fn row(&self, purpose: &str, event: &Event, file: Option<String>) -> Row {
        let table = self.plan.tables().iter().find(|table| *table.purpose_name == *purpose).unwrap();
        let field = |column: &str, value| {
            let why = table.explain_column(0, column).unwrap();
            Field { column: column.to_owned(), value, rule: why.rule, operator: why.operator }
        };
        let time = jiff::Timestamp::from_microsecond(event.time).unwrap().to_string();
        Row {
            purpose: purpose.to_owned(),
            stream: "phone.app".to_owned(),
            id: 0,
            event: "phone.app.opened".to_owned(),
            received_date: DATE.to_owned(),
            file,
            batch: Some(event.batch),
            consent_seq: Some(event.consent),
            policy: self.plan.policy().digest.to_string(),
            catalogue: Some(self.plan.catalogue().digest.to_string()),
            fields: vec![field("time", json!(time)), field("model", json!(event.model))],
            row: URL_SAFE_NO_PAD.encode(Rows::encode(&columns(std::slice::from_ref(event)), DAY).unwrap().row(0)),
        }
    }
}

impl File {
    fn new(table: &str, number: u64, mut events: Vec<Event>) -> Self {
        let (salt, secret) = ([number as u8; 16], [100 + number as u8; 16]);
        events.sort_by_key(|event| leaf::salted(&salt, &event.subject));
        let path = format!("received_date={DATE}/part-{number:032x}.parquet");
        let mut file = Self { table: table.to_owned(), path, salt, secret, events, leaves: Vec::new() };
        let mut subjects: Vec<&str> = file.events.iter().map(|event| event.subject.as_str()).collect();
        subjects.dedup();
        file.leaves = subjects.into_iter().map(|subject| file.leaf(subject)).collect();
        file
    }

    /// The leaf that a subject should have.
    pub(super) fn leaf(&self, subject: &str) -> leaf::Entry {
        let rows: Vec<Event> = self.events.iter().filter(|event| event.subject == subject).cloned().collect();
        let content = leaf::content_of(&columns(&rows), DAY).unwrap();
        leaf::Entry::new(leaf::salted(&self.salt, subject), &Secret::new(self.secret).blind(subject), &content)
    }

    pub(super) fn root(&self) -> Hash {
        let hashes: Vec<Hash> = self.leaves.iter().map(leaf::Entry::hash).collect();
        leaf::file_root(&self.salt, self.leaves.len() as u64, &merkle::root(&hashes))
    }

    fn evidence(&self, entry: u64, subject: &str) -> FileEvidence {
        let Ok(proof) = FileProof::of(self, subject);
        let blind = proof.is_present().then(|| URL_SAFE_NO_PAD.encode(Secret::new(self.secret).blind(subject)));
        FileEvidence { entry, id: 0, proof: proof.to_text(), blind }
    }
}

impl Leaves for File {
    type Error = Infallible;

    fn salt(&self) -> leaf::Salt {
        self.salt
    }

    fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// The first that fits, as a service would that lies about the others.
    fn find(&self, salted: &leaf::Salted) -> Result<Result<u64, u64>, Infallible> {
        let at = self.leaves.iter().position(|leaf| leaf.salted == *salted).map(|at| at as u64);
        Ok(at.ok_or_else(|| {
            self.leaves.iter().position(|leaf| leaf.salted > *salted).unwrap_or(self.leaves.len()) as u64
        }))
    }

    fn entry(&self, index: u64) -> Result<leaf::Entry, Infallible> {
        Ok(self.leaves[index as usize])
    }

    fn subtree(&self, leaves: &Range<u64>) -> Result<Hash, Infallible> {
        let leaves = &self.leaves[leaves.start as usize..leaves.end as usize];
        Ok(merkle::root(&leaves.iter().map(leaf::Entry::hash).collect::<Vec<_>>()))
    }
}

/// Somebody else's row.
pub(super) fn other(number: i64) -> Event {
    Event { subject: format!("{number:032x}"), batch: number, consent: 1, time: NOW, model: "X1" }
}

/// Rows as a file has them.
pub(super) fn columns(events: &[Event]) -> RecordBatch {
    let text = |of: fn(&Event) -> &str| {
        Arc::new(events.iter().map(|event| Some(of(event))).collect::<StringArray>()) as ArrayRef
    };
    let number = |of: fn(&Event) -> i64| {
        Arc::new(events.iter().map(|event| Some(of(event))).collect::<Int64Array>()) as ArrayRef
    };
    let times: TimestampMicrosecondArray = events.iter().map(|event| Some(event.time)).collect();
    RecordBatch::try_from_iter([
        ("event", text(|_| "phone.app.opened")),
        ("time", Arc::new(times.with_timezone("UTC")) as ArrayRef),
        ("subject", text(|event| &event.subject)),
        ("batch", number(|event| event.batch)),
        ("consent_seq", number(|event| event.consent)),
        ("decision", Arc::new(Int32Array::from(vec![0; events.len()])) as ArrayRef),
        ("model", text(|event| event.model)),
    ])
    .unwrap()
}

/// The key that a device knows.
pub(super) fn stranger() -> PublicKey {
    SubjectKey::of_seed(&[1; 32]).public()
}
