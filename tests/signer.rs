//! A device that signs, as somebody else might have written it: requests that can be altered at every place.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use candor_policy::consent::ConsentState;
use candor_policy::hex;
use candor_wire::identity::{Seed, SubjectKey};
use candor_wire::receipt::SignedReceipt;
use candor_wire::signature::{RequestHead, sign};
use candor_wire::statement::{Notice, SignedStatement};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::http::{Answer, Client};
use crate::otlp::{Event, encode};
use crate::world::{PURPOSES, Service, World};

/// The token of the signed source that [`World::sign`] adds.
pub(crate) const AGENTS: &str = "example-agents-token";
/// The fleet of the seeds.
pub(crate) const FLEET: &str = "acme-fleet";
/// How long a signature holds, in seconds.
const WINDOW: i64 = 60;

/// One key of a device.
pub(crate) struct Signer {
    pub(crate) key: SubjectKey,
    pub(crate) statements: Vec<SignedStatement>,
    /// Number of the batch before.
    pub(crate) number: u64,
    /// Seconds by which its clock is ahead.
    pub(crate) ahead: i64,
}

/// A request that is signed and not sent yet.
#[derive(Clone)]
pub(crate) struct Signed {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl World {
    /// Adds a source whose devices sign.
    pub(crate) fn sign(&self) {
        std::fs::write(self.fleet().join("tokens/agents.token"), AGENTS).unwrap();
        self.edit("sources.toml", |text| {
            format!(
                "{text}\n[source.agents]\ntoken_file = \"tokens/agents.token\"\nroles = [\"device\"]\nsigned = true\n"
            )
        });
    }
}

impl Signer {
    pub(crate) fn new(seed: u8, epoch: u64) -> Self {
        let key = SubjectKey::derive(&Seed::new([seed; 32]), FLEET, epoch).unwrap();
        Self { key, statements: Vec::new(), number: 0, ahead: 0 }
    }

    /// What tables call it for a purpose.
    pub(crate) fn name(&self, purpose: &str) -> String {
        self.key.subject_id().in_table(purpose).to_string()
    }

    /// Its next statement: every purpose in one state.
    pub(crate) fn statement(&self, state: ConsentState) -> SignedStatement {
        let last = self.statements.last();
        self.statement_after(last, last.map_or(1, |last| last.sequence + 1), state)
    }

    pub(crate) fn statement_after(
        &self,
        previous: Option<&SignedStatement>,
        sequence: i64,
        state: ConsentState,
    ) -> SignedStatement {
        SignedStatement {
            fleet: FLEET.to_owned(),
            key: self.key.public(),
            sequence,
            previous: previous
                .map_or_else(SignedStatement::nothing_before, |before| before.hash().unwrap().to_string()),
            purposes: PURPOSES.iter().map(|purpose| ((*purpose).to_owned(), state)).collect::<BTreeMap<_, _>>(),
            notice: Notice { version: "2026-01".to_owned(), language: "de".to_owned() },
            age_from: Some(30),
            expires: None,
            granted_at: None,
            gpc: false,
            guardian: false,
            closes: false,
            signature: String::new(),
        }
        .sign(&self.key)
        .unwrap()
    }

    /// Says it, and remembers that it did.
    pub(crate) fn says(&mut self, service: &Service, state: ConsentState) {
        let statement = self.statement(state);
        self.send_statement(service, &statement).expect_status(200);
        self.statements.push(statement);
    }

    pub(crate) fn send_statement(&self, service: &Service, statement: &SignedStatement) -> Answer {
        let body = serde_json::to_vec(statement).unwrap();
        let request = self.request(service, "POST", "/v1/consent", &[("content-type", "application/json")], body);
        request.send(service, Some(AGENTS))
    }

    /// A batch of its next number.
    pub(crate) fn batch(&mut self, service: &Service, events: &[Event]) -> Signed {
        self.number += 1;
        self.batch_of(service, self.number, self.statements.last().map_or(0, |statement| statement.sequence), events)
    }

    pub(crate) fn batch_of(&self, service: &Service, number: u64, consent: i64, events: &[Event]) -> Signed {
        let (number, consent) = (number.to_string(), consent.to_string());
        let headers = [
            ("content-type", "application/x-protobuf"),
            ("candor-consent", consent.as_str()),
            ("candor-batch", number.as_str()),
        ];
        self.request(service, "POST", "/v1/logs", &headers, encode(events))
    }

    pub(crate) fn get(&self, service: &Service, path: &str) -> Answer {
        self.request(service, "GET", path, &[], Vec::new()).send(service, None)
    }

    /// Signs a request for this fleet.
    pub(crate) fn request(
        &self,
        service: &Service,
        method: &'static str,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Vec<u8>,
    ) -> Signed {
        let mut all = HeaderMap::new();
        for (name, value) in headers.iter().chain(&[("candor-fleet", FLEET)]) {
            all.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let mut request = Signed { method, path: path.to_owned(), headers: all, body };
        request.sign(&self.key, service, now() + self.ahead);
        request
    }
}

impl Signed {
    /// Signs it as it is.
    pub(crate) fn sign(&mut self, key: &SubjectKey, service: &Service, created: i64) {
        self.sign_for(key, &service.address().to_string(), created);
    }

    pub(crate) fn sign_for(&mut self, key: &SubjectKey, authority: &str, created: i64) {
        static NONCES: AtomicU64 = AtomicU64::new(1);
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&NONCES.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        nonce[8..].copy_from_slice(&u64::from(std::process::id()).to_le_bytes());
        for name in ["content-digest", "signature-input", "signature"] {
            self.headers.remove(name);
        }
        let (path, query) = self.path.split_once('?').map_or((self.path.as_str(), None), |(p, q)| (p, Some(q)));
        let head = RequestHead { method: self.method, authority, path, query, headers: &self.headers };
        let body = Some(self.body.as_slice()).filter(|body| !body.is_empty());
        let signed = sign(key, &head, body, (created, created + WINDOW), nonce).unwrap();
        for (name, value) in [
            ("content-digest", signed.content_digest),
            ("signature-input", Some(signed.signature_input)),
            ("signature", Some(signed.signature)),
        ] {
            self.headers.extend(value.map(|value| (HeaderName::from_static(name), value)));
        }
    }

    pub(crate) fn send(&self, service: &Service, token: Option<&str>) -> Answer {
        self.send_by(&mut service.client(token))
    }

    pub(crate) fn send_by(&self, client: &mut Client) -> Answer {
        self.offer(client).unwrap()
    }

    /// Sends it to a service that may die meanwhile.
    pub(crate) fn offer(&self, client: &mut Client) -> std::io::Result<Answer> {
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        client.send(self.method, &self.path, &headers, &self.body)
    }
}

/// Why an answer refuses, by name.
pub(crate) fn reason(answer: &Answer) -> Option<&str> {
    answer.header("candor-reason")
}

/// The receipt of an answer.
pub(crate) fn receipt(answer: &Answer) -> SignedReceipt {
    SignedReceipt::from_header(answer.header("candor-receipt").expect("a receipt")).unwrap()
}

/// Second since 1970.
#[expect(clippy::disallowed_methods, reason = "a device has a clock of its own")]
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

/// SHA-256 of a body, as receipts have it.
pub(crate) fn digest(body: &[u8]) -> String {
    hex::encode(candor_policy::digest::Digest::of_bytes(body).as_bytes())
}
