//! What is held about a subject, for the subject itself: everything, where its device stands, its receipts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::response::Response;
use candor_policy::hex;
use candor_store::settings::Settings as StoreSettings;
use candor_store::signed::BatchNumbers;
use candor_store::view::{HeldRow, View};
use candor_wire::reason::Reason;
use candor_wire::receipt::SignedReceipt;
use candor_wire::record::ConsentRecord;
use candor_wire::signature;
use candor_wire::statement::{SignedStatement, Statement};
use http::HeaderMap;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::Refusal;
use crate::guard;
use crate::published::json;
use crate::route::Call;
use crate::service::Service;
use crate::signer::Signer;

pub(crate) const ALL: &str = "/v1/subject";
pub(crate) const HEAD: &str = "/v1/subject/head";
pub(crate) const RECEIPTS: &str = "/v1/subject/receipts";

/// Most receipts of one answer.
const MOST_RECEIPTS: usize = 1_000;
/// Most bytes of the value that names an assigned subject.
const MOST_VALUE_BYTES: usize = candor_wire::statement::MAX_SUBJECT_BYTES;
/// Readings of the tables at a time: each looks into every file.
const READINGS: usize = 2;

/// What `GET /v1/subject` answers.
#[derive(Serialize, JsonSchema)]
#[expect(clippy::struct_field_names, reason = "the field is named as in every other answer")]
pub(crate) struct Subject {
    /// Version of this form.
    schema_version: u32,
    /// The subject's id in the ledger, hex; of one that signs, the SHA-256 of its key.
    subject: String,
    /// Time of the service, µs UTC.
    time: i64,
    /// Every statement, oldest first, as the ledger has it.
    #[schemars(with = "Vec<BTreeMap<String, serde_json::Value>>")]
    statements: Vec<Statement>,
    /// The record of the newest statement; null if there is none.
    records: Option<ConsentRecord>,
    /// The numbers of its batches; null for subjects that do not sign.
    batches: Option<Batches>,
    /// Every row, sealed or not, with what let it through and its canonical encoding.
    #[schemars(with = "Vec<BTreeMap<String, serde_json::Value>>")]
    rows: Vec<HeldRow>,
}

/// What `GET /v1/subject/head` answers: where a device goes on.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Head {
    /// Sequence of the newest statement; 0 if there is none.
    sequence: i64,
    /// Its hash: what the next statement names as `previous`.
    hash: String,
    /// The numbers of its batches.
    batches: Batches,
    /// Time of the service, µs UTC.
    time: i64,
}

/// What `GET /v1/subject/receipts` answers.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Receipts {
    /// Version of this form.
    schema_version: u32,
    /// Up to 1,000 receipts, by batch number.
    receipts: Vec<SignedReceipt>,
}

/// Which of a subject's batches were seen.
#[derive(Serialize, JsonSchema)]
struct Batches {
    /// One more than the highest number.
    next: u64,
    /// Numbers below it that were not seen.
    missing: Vec<u64>,
}

/// Reads the data folder for a few subjects at a time.
#[derive(Debug)]
pub(crate) struct Readings {
    data: PathBuf,
    key_ring: Option<PathBuf>,
    places: Semaphore,
}

/// `GET /v1/subject`: everything that is held about whoever signed, or about the subject that an operator names.
pub(crate) async fn all(call: Call<'_>) -> Result<Response, Refusal> {
    let service = call.service;
    let (view, _place) = match call.signer {
        // Who is not known has no rows: no file is opened for a key that anybody can make.
        Some(signer) if !is_known(service, signer) => return Err(unknown()),
        _ => service.readings.begin().await?,
    };
    let (subject, rows, batches) = if let Some(signer) = call.signer {
        (signer.ledger, view.held_by(&[signer.subject]).await?, Some(batches(service, signer)))
    } else {
        let value = named(call.headers)?;
        (service.store.keys().ledger_id(value), view.held(value).await?, None)
    };
    let statements = service.store.consent_history(&subject).await?;
    if call.signer.is_none() && statements.is_empty() && rows.is_empty() {
        return Err(unknown());
    }
    call.note.rows = rows.len() as u64;
    Ok(json(&Subject {
        schema_version: 1,
        subject: hex::encode(subject.as_bytes()),
        time: service.clock.now(),
        records: record(service, &statements)?,
        statements,
        batches,
        rows,
    }))
}

/// `GET /v1/subject/head`.
pub(crate) async fn head(call: Call<'_>) -> Result<Response, Refusal> {
    let (service, signer) = (call.service, call.signer()?);
    if !is_known(service, signer) {
        return Err(unknown());
    }
    let newest = service.store.consent_history(&signer.ledger).await?.pop();
    let (sequence, hash) = match &newest {
        Some(statement) => (statement.sequence, statement.hash().map_err(|_| guard::bug())?.to_string()),
        None => (0, SignedStatement::nothing_before()),
    };
    Ok(json(&Head { sequence, hash, batches: batches(service, signer), time: service.clock.now() }))
}

/// `GET /v1/subject/receipts?from=N`: receipts of the batches from number N on.
pub(crate) async fn receipts(call: Call<'_>) -> Result<Response, Refusal> {
    let (service, signer) = (call.service, call.signer()?);
    let from = match call.query {
        None => 1,
        Some(query) => query
            .strip_prefix("from=")
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| Refusal::malformed("the query says from which number on, like ?from=1, and nothing else"))?,
    };
    if !is_known(service, signer) {
        return Err(unknown());
    }
    let receipts = service.store.receipts_from(&signer.ledger, from, MOST_RECEIPTS).await?;
    Ok(json(&Receipts { schema_version: 1, receipts }))
}

impl Readings {
    pub(crate) fn new(store: &StoreSettings) -> Self {
        Self { data: store.data.clone(), key_ring: store.key_ring.clone(), places: Semaphore::new(READINGS) }
    }

    /// What is acknowledged by now, and a place that is held while it is read.
    async fn begin(&self) -> Result<(View, SemaphorePermit<'_>), Refusal> {
        let busy = |_| Refusal::unavailable("others are being answered: ask again");
        let place = self.places.try_acquire().map_err(busy)?;
        let view = View::open(&self.data).await?.with_key_ring(self.key_ring.as_deref());
        Ok((view, place))
    }
}

/// Whether anything was ever recorded of who signed.
pub(crate) fn is_known(service: &Service, signer: &Signer) -> bool {
    let said: bool = service.store.consent(&[signer.ledger]).of(0).sequence() > 0;
    said || service.store.batches_of(&signer.ledger).next > 1
}

pub(crate) fn unknown() -> Refusal {
    Refusal::because(Reason::SubjectUnknown, "nothing was recorded of this subject")
}

fn batches(service: &Service, signer: &Signer) -> Batches {
    let BatchNumbers { next, missing } = service.store.batches_of(&signer.ledger);
    Batches { next, missing }
}

fn record(service: &Service, statements: &[Statement]) -> Result<Option<ConsentRecord>, Refusal> {
    if statements.is_empty() {
        return Ok(None);
    }
    ConsentRecord::new(statements, &service.plan, &service.parties).map(Some).map_err(|_| guard::bug())
}

/// The subject that an operator names.
pub(crate) fn named(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(&signature::SUBJECT).iter();
    let value = values.next().filter(|_| values.next().is_none());
    let value = value.and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
    let fits = |value: &&str| (1..=MOST_VALUE_BYTES).contains(&value.len());
    value.filter(fits).ok_or_else(|| {
        Refusal::malformed(
            "name the subject in the header Candor-Subject: the value of the attribute that the source names",
        )
    })
}
