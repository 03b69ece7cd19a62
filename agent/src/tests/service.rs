//! A service in memory: what a device can tell of the real one, and faults by script.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use candor_policy::consent::ConsentState;
use candor_policy::digest::Digest;
use candor_policy::hex;
use candor_policy::subject::LedgerId;
use candor_wire::erasure::{Certificate, CertificateKind, Scope, subject_digest};
use candor_wire::identity::{PublicKey, SubjectKey};
use candor_wire::log::checkpoint::Checkpoint;
use candor_wire::log::note::{Algorithm, Note, Signer};
use candor_wire::log::tile::{Tile, hashes_to_bytes};
use candor_wire::merkle::{leaf_hash, root};
use candor_wire::reason::Reason;
use candor_wire::receipt::{PurposeReceipt, Receipt, SignedReceipt, sign_group};
use candor_wire::row::hash_of;
use candor_wire::signature::{self, RequestHead, Verified};
use candor_wire::statement::{SignedStatement, Statement};
use http::{Request, Response};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use prost::Message;
use serde_json::{Value, json};

use crate::error::Error;
use crate::rim::Transport;

pub(super) const FLEET: &str = "acme-fleet";
/// Name of the log.
const LOG: &str = "candor/acme-fleet";

/// What happens to the next requests, beside what the service would do.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    None,
    /// The request does not arrive.
    Lost,
    /// It arrives, and the answer does not.
    NoReply,
    /// Somebody answers this in the service's place.
    Answer(u16, Vec<(&'static str, String)>, &'static str),
}

pub(super) struct Service {
    pub time: i64,
    pub key: SubjectKey,
    pub subjects: BTreeMap<PublicKey, Subject>,
    pub erasures: BTreeMap<PublicKey, Value>,
    pub faults: VecDeque<Fault>,
    /// Path, key and connection of each request that came through.
    pub seen: Vec<(String, Option<PublicKey>, u64)>,
    /// Its log, if it keeps one: fewer than 256 entries.
    pub log: Vec<Vec<u8>>,
    /// Entries of the checkpoint that answers are under; all of them where nothing is said.
    pub answered: Option<usize>,
    /// A note that answers are under instead, whatever it is.
    pub claimed: Option<String>,
    /// Whether it seals rows in time.
    pub seals: bool,
    /// What its policy declares; anything where nothing is said.
    pub declared: Option<Vec<&'static str>>,
    nonces: BTreeSet<[u8; 16]>,
    connections: u64,
}

#[derive(Clone, Default)]
pub(super) struct Subject {
    pub statements: Vec<SignedStatement>,
    pub receipts: BTreeMap<u64, SignedReceipt>,
    pub rows: Vec<Row>,
    batches: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub batch: u64,
    pub event: String,
    pub id: i64,
    pub encoding: Vec<u8>,
}

/// A way to the service.
pub(super) struct Link {
    pub service: Arc<Mutex<Service>>,
    connection: Option<u64>,
}

impl Service {
    pub(super) fn new(time: i64) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            time,
            key: SubjectKey::of_seed(&[9; 32]),
            subjects: BTreeMap::new(),
            erasures: BTreeMap::new(),
            faults: VecDeque::new(),
            seen: Vec::new(),
            log: Vec::new(),
            answered: None,
            claimed: None,
            seals: true,
            declared: None,
            nonces: BTreeSet::new(),
            connections: 0,
        }))
    }

    /// Ids of all events that are stored, and whether one is there twice.
    pub(super) fn ids(&self) -> BTreeSet<i64> {
        let mut ids = BTreeSet::new();
        for row in self.subjects.values().flat_map(|subject| &subject.rows) {
            assert!(ids.insert(row.id), "event {} is stored twice", row.id);
        }
        ids
    }

    fn handle(&mut self, request: &Request<Bytes>, connection: u64) -> Response<Bytes> {
        let (path, query) = (request.uri().path().to_owned(), request.uri().query().map(str::to_owned));
        if path == "/v1/keys" {
            self.seen.push((path, None, connection));
            let key = self.key.public().to_string();
            let log: Vec<_> =
                self.checkpoint(0).map(|_| json!({"vkey": log_signer().verifier().to_string()})).into_iter().collect();
            return answer(
                200,
                &json!({"schema_version": 1, "fleet": FLEET, "receipts": [{"key": key}], "log": log, "time": self.time}),
            );
        }
        if path == "/v1/policy" {
            let declared = self.declared.iter().flatten().map(|name| ((*name).to_owned(), json!({})));
            return answer(200, &json!({"purpose": declared.collect::<serde_json::Map<_, _>>()}));
        }
        if let Some(name) = path.strip_prefix("/log/") {
            return self.of_log(name);
        }
        let head = RequestHead {
            method: request.method().as_str(),
            authority: "service.example",
            path: &path,
            query: query.as_deref(),
            headers: request.headers(),
        };
        let body = request.body();
        let verified = match signature::verify(&head, !body.is_empty(), self.time / 1_000_000) {
            Ok(verified) => verified,
            Err(error) => return self.refusal(401, error.reason),
        };
        if !self.nonces.insert(verified.nonce.id) {
            return self.refusal(401, Reason::NonceUsed);
        }
        if verified.digest.is_some_and(|digest| digest != *Digest::of_bytes(body).as_bytes()) {
            return self.refusal(400, Reason::DigestMismatch);
        }
        assert_eq!(verified.fleet.as_deref(), Some(FLEET));
        self.seen.push((path.clone(), Some(verified.key), connection));
        match path.as_str() {
            "/v1/consent" => self.consent(&verified, body),
            "/v1/subject/erasure" => self.erasure(&verified.key, request.method() == http::Method::POST),
            "/v1/logs" => self.logs(&verified, request),
            _ => self.access(&verified.key, &path, query.as_deref()),
        }
    }

    /// The checkpoint of the first entries, if there is a log.
    fn checkpoint(&self, size: usize) -> Option<Checkpoint> {
        let leaves: Vec<_> = self.log.iter().take(size).map(|entry| leaf_hash(entry)).collect();
        (!self.log.is_empty()).then(|| Checkpoint::new(LOG.to_owned(), leaves.len() as u64, root(&leaves)))
    }

    fn note(&self, size: usize) -> Option<String> {
        let text = self.checkpoint(size)?.to_string();
        let signatures = vec![log_signer().sign(&text, 0)];
        Some(Note::new(text, signatures).unwrap().to_string())
    }

    fn of_log(&self, name: &str) -> Response<Bytes> {
        if name == "checkpoint" {
            return Response::new(Bytes::from(self.note(self.log.len()).unwrap_or_default()));
        }
        let tile = Tile::parse(name).unwrap();
        let leaves: Vec<_> = self.log.iter().take(tile.width().into()).map(|entry| leaf_hash(entry)).collect();
        Response::new(Bytes::from(hashes_to_bytes(&leaves)))
    }

    /// The erasure of a subject, begun by a POST, and done when [`Service::erase`] says so.
    fn erasure(&mut self, key: &PublicKey, asks: bool) -> Response<Bytes> {
        let subject = LedgerId::of_certified(&key.subject_id());
        if asks && self.subjects.contains_key(key) && !self.erasures.contains_key(key) {
            self.erasures.insert(
                *key,
                json!({
                    "id": hex::encode(&subject.as_bytes()[..16]), "state": "open", "scope": "all",
                    "requested_at": self.time, "deadline": self.time + 1,
                }),
            );
        }
        match self.erasures.get(key) {
            None if !self.subjects.contains_key(key) => self.refusal(404, Reason::SubjectUnknown),
            Some(erasure) if asks => answer(200, erasure),
            erasure => {
                let list: Vec<_> = erasure.into_iter().collect();
                answer(200, &json!({"subject": hex::encode(subject.as_bytes()), "erasures": list}))
            }
        }
    }

    /// Does every erasure.
    pub(super) fn erase(&mut self) {
        for (key, erasure) in &mut self.erasures {
            let subject = LedgerId::of_certified(&key.subject_id());
            let certificate = Certificate {
                deadline: self.time + 1,
                done_at: self.time,
                files: Vec::new(),
                fleet: FLEET.to_owned(),
                id: erasure["id"].as_str().unwrap().to_owned(),
                kind: CertificateKind::Certificate,
                places: Vec::new(),
                requested_at: self.time,
                rows: 0,
                scope: Scope::All,
                subject: subject_digest(&[6; 32], &subject),
            };
            self.subjects.remove(key);
            erasure["certificate"] = serde_json::to_value(certificate.sign([6; 32], &self.key).unwrap()).unwrap();
        }
    }

    fn refusal(&self, status: u16, reason: Reason) -> Response<Bytes> {
        let mut response = answer(status, &json!({"message": "no"}));
        response.headers_mut().insert(&signature::REASON, reason.name().parse().unwrap());
        response.headers_mut().insert(&signature::TIME, self.time.to_string().parse().unwrap());
        response
    }

    fn consent(&mut self, verified: &Verified, body: &Bytes) -> Response<Bytes> {
        let statement: SignedStatement = serde_json::from_slice(body).unwrap();
        assert_eq!((statement.key, statement.check()), (verified.key, Ok(())));
        let known = self.subjects.entry(verified.key).or_default();
        if known.statements.contains(&statement) {
            return answer(200, &record(&known.statements, statement.sequence));
        }
        if known.statements.last().is_some_and(|head| head.closes) || self.erasures.contains_key(&verified.key) {
            return self.refusal(403, Reason::KeyClosed);
        }
        let follows = match known.statements.last() {
            None => true,
            Some(head) if statement.sequence == head.sequence => statement.previous == head.previous,
            Some(head) => {
                let mut heads = known.statements.iter().filter(|one| one.sequence == head.sequence);
                let follows = heads.any(|head| statement.previous == head.hash().unwrap().to_string());
                statement.sequence > head.sequence && follows
            }
        };
        let gives = |one: &SignedStatement, name: &str| one.purposes.get(name) == Some(&ConsentState::Given);
        let before = known.statements.last();
        let is_known = |name: &String| {
            let declared = self.declared.as_ref().is_none_or(|all| all.contains(&name.as_str()));
            declared || !gives(&statement, name) || before.is_some_and(|before| gives(before, name))
        };
        if follows && !statement.purposes.keys().all(is_known) {
            return self.refusal(400, Reason::ConsentInvalid);
        }
        if follows {
            let sequence = statement.sequence;
            known.statements.push(statement);
            return answer(200, &record(&known.statements, sequence));
        }
        let head = known.statements.last().map(|head| format!("{} {}", head.sequence, head.hash().unwrap()));
        let mut response = self.refusal(409, Reason::ConsentConflict);
        response.headers_mut().insert(&signature::CONSENT_HEAD, head.unwrap().parse().unwrap());
        response
    }

    fn logs(&mut self, verified: &Verified, request: &Request<Bytes>) -> Response<Bytes> {
        let known = self.subjects.entry(verified.key).or_default();
        if known.statements.last().is_some_and(|head| head.closes) || self.erasures.contains_key(&verified.key) {
            return self.refusal(403, Reason::KeyClosed);
        }
        let newest = known.statements.last().map_or(0, |head| head.sequence);
        if verified.consent.is_some_and(|sequence| sequence > newest) {
            return self.refusal(503, Reason::ConsentMissing);
        }
        let number = verified.batch.unwrap();
        let highest = known.receipts.keys().next_back().copied().unwrap_or(0);
        let lowest_gap = (1..=highest + 1).find(|number| !known.receipts.contains_key(number)).unwrap();
        if number > highest && number - lowest_gap >= 1_024 {
            return self.refusal(409, Reason::BatchTooFar);
        }
        if !known.receipts.contains_key(&number) {
            let signed = self.store(verified, request, number);
            self.subjects.get_mut(&verified.key).unwrap().receipts.insert(number, signed);
        }
        let mut response = answer(200, &json!({}));
        let receipt = self.subjects[&verified.key].receipts[&number].to_header().unwrap();
        response.headers_mut().insert(&signature::RECEIPT, receipt.parse().unwrap());
        response
    }

    fn store(&mut self, verified: &Verified, request: &Request<Bytes>, number: u64) -> SignedReceipt {
        let body = match request.headers().get("content-encoding") {
            Some(_) => zstd::decode_all(request.body().as_ref()).unwrap(),
            None => request.body().to_vec(),
        };
        let checkpoint = self.checkpoint(self.log.len()).map(|checkpoint| checkpoint.to_string());
        let known = self.subjects.get_mut(&verified.key).unwrap();
        let given = |statement: Option<&SignedStatement>| {
            statement.is_some_and(|s| s.purposes.get("analytics") == Some(&ConsentState::Given))
        };
        let then = verified.consent.map(|sequence| known.statements.iter().rev().find(|s| s.sequence <= sequence));
        let stores = given(known.statements.last()) && then.is_none_or(given);
        let (mut offered, mut rows) = (0, Vec::new());
        let decoded = ExportLogsServiceRequest::decode(body.as_slice()).unwrap();
        for record in decoded.resource_logs.iter().flat_map(|r| &r.scope_logs).flat_map(|s| &s.log_records) {
            offered += 1;
            let Some(any_value::Value::IntValue(id)) = record.attributes[0].value.as_ref().unwrap().value else {
                panic!("an event without its id")
            };
            let encoding = encoding(&record.event_name, id);
            rows.push(Row { batch: known.batches + 1, event: record.event_name.clone(), id, encoding });
        }
        let mut purpose = PurposeReceipt { offered, ..PurposeReceipt::default() };
        if stores && offered > 0 {
            known.batches += 1;
            let encodings = rows.iter().map(|row| row.encoding.as_slice()).collect();
            purpose.rows = Some(hex::encode(&hash_of([("phone.app", encodings)]).unwrap()));
            (purpose.batch, purpose.stored) = (Some(known.batches), offered);
            known.rows.extend(rows);
        } else if offered > 0 {
            purpose.dropped.insert("no_consent".to_owned(), offered);
        }
        let receipt = Receipt {
            batch: number,
            body: Digest::of_bytes(request.body()).to_string(),
            catalogue: "00".repeat(32),
            checkpoint,
            consent: verified.consent,
            fleet: FLEET.to_owned(),
            policy: "00".repeat(32),
            purposes: BTreeMap::from([("analytics".to_owned(), purpose)]),
            received_at: self.time,
            seal_by: self.time + 3_600_000_000,
            subject: hex::encode(verified.key.subject_id().as_bytes()),
        };
        let leaf = leaf_hash(receipt.to_json().unwrap().as_bytes());
        let proof = sign_group(&self.key, &[leaf, [7; 32]]).remove(0);
        SignedReceipt { receipt, proof }
    }

    fn access(&self, key: &PublicKey, path: &str, query: Option<&str>) -> Response<Bytes> {
        let Some(known) = self.subjects.get(key) else { return self.refusal(404, Reason::SubjectUnknown) };
        let next = known.receipts.keys().next_back().map_or(1, |last| last.saturating_add(1));
        let missing: Vec<u64> = (1..next.min(10_000)).filter(|number| !known.receipts.contains_key(number)).collect();
        let batches = json!({"next": next, "missing": missing});
        let head = known.statements.last();
        match path {
            "/v1/subject/head" => answer(
                200,
                &json!({"sequence": head.map_or(0, |head| head.sequence), "time": self.time, "batches": batches,
                    "hash": head.map(|head| head.hash().unwrap().to_string()).unwrap_or_default()}),
            ),
            "/v1/subject/receipts" => {
                let from: u64 = query.unwrap().strip_prefix("from=").unwrap().parse().unwrap();
                let page: Vec<_> = known.receipts.range(from..).take(1_000).map(|(_, signed)| signed).collect();
                answer(200, &json!({"schema_version": 1, "receipts": page}))
            }
            "/v1/subject" => {
                let kept = |s: &SignedStatement| Statement::from_signed(s.clone(), self.time, "devices").unwrap();
                let statements: Vec<_> = known.statements.iter().map(kept).collect();
                let sealed = |row: &Row| {
                    let is_its = |signed: &&SignedReceipt| {
                        signed.receipt.purposes.get("analytics").and_then(|purpose| purpose.batch) == Some(row.batch)
                    };
                    let by = known.receipts.values().find(is_its).map(|signed| signed.receipt.seal_by);
                    by.filter(|by| self.seals && *by <= self.time).map(|_| "a sealed file")
                };
                let row = |row: &Row| {
                    json!({"purpose": "analytics", "stream": "phone.app", "event": row.event, "file": sealed(row),
                        "batch": row.batch, "row": URL_SAFE_NO_PAD.encode(&row.encoding)})
                };
                let rows: Vec<_> = known.rows.iter().map(row).collect();
                let note = || self.note(self.answered.unwrap_or(self.log.len()));
                let checkpoint = self.claimed.clone().or_else(note);
                answer(
                    200,
                    &json!({"statements": statements, "rows": rows, "batches": batches, "checkpoint": checkpoint}),
                )
            }
            _ => answer(404, &json!({})),
        }
    }
}

impl Link {
    pub(super) fn new(service: &Arc<Mutex<Service>>) -> Self {
        Self { service: Arc::clone(service), connection: None }
    }
}

impl Transport for Link {
    fn authority(&self) -> &'static str {
        "service.example"
    }

    fn base(&self) -> &'static str {
        ""
    }

    async fn exchange(&mut self, request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
        let mut service = self.service.lock().unwrap();
        let connection = *self.connection.get_or_insert_with(|| {
            service.connections += 1;
            service.connections
        });
        let gone =
            || Error::Unreachable { authority: "service.example".to_owned(), why: "the test says so".to_owned() };
        match service.faults.pop_front().unwrap_or(Fault::None) {
            Fault::None => Ok(service.handle(&request, connection)),
            Fault::Lost => Err(gone()),
            Fault::NoReply => {
                service.handle(&request, connection);
                Err(gone())
            }
            Fault::Answer(status, headers, body) => {
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                Ok(response.body(Bytes::from(body)).unwrap())
            }
        }
    }

    fn part(&mut self) {
        self.connection = None;
    }
}

pub(super) fn log_signer() -> Signer {
    Signer::new(LOG, Algorithm::Ed25519, &[5; 32]).unwrap()
}

/// A row of two columns in canonical encoding.
fn encoding(event: &str, id: i64) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat();
    [text("event"), b"s".to_vec(), text(event), text("id"), b"i".to_vec(), id.to_be_bytes().to_vec()].concat()
}

/// What holds after the statements of a number: given is what all of them give.
fn record(statements: &[SignedStatement], sequence: i64) -> Value {
    let of_number = || statements.iter().filter(|one| one.sequence == sequence);
    let names: BTreeSet<&String> = of_number().flat_map(|one| one.purposes.keys()).collect();
    let state = |name: &&String| {
        let is_given = of_number().all(|one| one.purposes.get(*name) == Some(&ConsentState::Given));
        let state = if is_given { "ConsentGiven" } else { "ConsentWithdrawn" };
        json!({"purpose": name, "state": state})
    };
    json!({"purposes": names.iter().map(state).collect::<Vec<_>>()})
}

fn answer(status: u16, body: &Value) -> Response<Bytes> {
    Response::builder().status(status).body(Bytes::from(body.to_string())).unwrap()
}
