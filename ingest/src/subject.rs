//! What is held about a subject, for the subject itself: everything, where its device stands, its receipts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::response::Response;
use candor_policy::hex;
use candor_policy::subject::LedgerId;
use candor_store::access::{self, Asked, Lasting, Under};
use candor_store::error::{Error as StoreError, Kind};
use candor_store::log::Log;
use candor_store::settings::Settings as StoreSettings;
use candor_store::signed::BatchNumbers;
use candor_store::view::{HeldRow, View};
use candor_wire::reason::Reason;
use candor_wire::receipt::SignedReceipt;
use candor_wire::record::ConsentRecord;
use candor_wire::signature;
use candor_wire::statement::{SignedStatement, Statement};
use candor_wire::verify::{Batches, FileEvidence, InEpoch, ReceiptEvidence, StatementEvidence};
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
/// How often an answer is put together anew when the service changed what it is about.
const TRIES: u32 = 5;
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
    /// Where they are in the log.
    consents: Vec<StatementEvidence>,
    /// Ids that tables are derived from, one for each key generation; none for one that signs: its key says it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ids: Vec<String>,
    /// The numbers of its batches; null for subjects that do not sign.
    batches: Option<Batches>,
    /// The log's checkpoint that the proofs are under, a signed note.
    checkpoint: Option<String>,
    /// For each live file of each table what shows that it has these rows of the subject, or none.
    files: Vec<FileEvidence>,
    /// Files, from the data folder, that cannot be read, or that are live in the log and in no table: what they have of the subject
    /// is not in `rows`, and they have no proof. Left out where there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unread: Vec<String>,
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
    receipts: Vec<ReceiptEvidence>,
}

/// Reads the data folder for a few subjects at a time.
#[derive(Debug)]
pub(crate) struct Readings {
    data: PathBuf,
    key_ring: Option<PathBuf>,
    lasting: Lasting,
    places: Semaphore,
}

/// `GET /v1/subject`: everything that is held about whoever signed, or about the subject that an operator names.
pub(crate) async fn all(call: Call<'_>) -> Result<Response, Refusal> {
    let service = call.service;
    if call.signer.is_some_and(|signer| !is_known(service, signer)) {
        // Who is not known has no rows: no file is opened for a key that anybody can make.
        return Err(unknown());
    }
    let _place = service.readings.begin()?;
    let value = if call.signer.is_some() { "" } else { named(call.headers)? };
    let of = |view: &View| match call.signer {
        Some(signer) => Ok((signer.ledger, vec![signer.subject])),
        None => Ok::<_, StoreError>((service.store.keys().ledger_id(value), view.ids(value)?)),
    };
    let mut tries = 0..TRIES;
    let (subject, ids, held, batches) = loop {
        let before = call.signer.map(|signer| batches(service, signer));
        let log = service.store.log();
        let (view, under) = service.readings.open(&log).await.map_err(Refusal::unread)?;
        let (subject, ids) = of(&view)?;
        let is_last = tries.next().is_none();
        let asked = Asked { ledger: &subject, ids: &ids, is_last };
        let held = view.proved(under.as_ref(), asked, || Ok(Some(Under::of(&log)))).await;
        match held {
            // A file was replaced while it was read.
            Err(error) if error.kind() == Kind::Retry && !is_last => {}
            // A batch came in between: it would be in the rows and not in the numbers.
            Ok(_) if call.signer.map(|signer| batches(service, signer)) != before && !is_last => {}
            held => break (subject, ids, held.map_err(Refusal::unread)?, before),
        }
    };
    let statements = service.store.consent_history(&subject).await?;
    if call.signer.is_none() && statements.is_empty() && held.rows.is_empty() && held.unread.is_empty() {
        return Err(unknown());
    }
    call.note.rows = held.rows.len() as u64;
    let ids = if call.signer.is_some() { Vec::new() } else { ids };
    Ok(json(&Subject {
        schema_version: 1,
        subject: hex::encode(subject.as_bytes()),
        time: service.clock.now(),
        records: record(service, &statements)?,
        statements,
        consents: held.consents,
        ids: ids.iter().map(|id| hex::encode(id.as_bytes())).collect(),
        batches,
        checkpoint: held.checkpoint,
        files: held.files,
        unread: held.unread,
        rows: held.rows,
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

/// `GET /v1/subject/receipts?from=N`: receipts of the batches from number N on; with `&totals=1` also where they are in the logged
/// totals.
pub(crate) async fn receipts(call: Call<'_>) -> Result<Response, Refusal> {
    let (service, signer) = (call.service, call.signer()?);
    let (from, totals) = call.query.map_or(Some((1, false)), asked_receipts).ok_or_else(|| {
        Refusal::malformed(
            "the query says from which number on, like ?from=1, then perhaps &totals=1, and nothing else",
        )
    })?;
    if !is_known(service, signer) {
        return Err(unknown());
    }
    let given = service.store.receipts_from(&signer.ledger, from, MOST_RECEIPTS).await?;
    let mut places = Vec::new();
    if totals {
        // Each epoch's tree is made anew.
        let _place = service.readings.begin()?;
        places = service.store.receipt_places(&signer.ledger, &given).await?;
    }
    places.resize(given.len(), None);
    let with = |(signed, totals): (SignedReceipt, Option<InEpoch>)| ReceiptEvidence { totals, ..signed.into() };
    Ok(json(&Receipts { schema_version: 1, receipts: given.into_iter().zip(places).map(with).collect() }))
}

fn asked_receipts(query: &str) -> Option<(u64, bool)> {
    let (from, totals) = query.strip_suffix("&totals=1").map_or((query, false), |from| (from, true));
    Some((from.strip_prefix("from=")?.parse().ok()?, totals))
}

impl Readings {
    pub(crate) fn new(store: &StoreSettings) -> Self {
        let (data, key_ring) = (store.data.clone(), store.key_ring.clone());
        Self { data, key_ring, lasting: Lasting::default(), places: Semaphore::new(READINGS) }
    }

    /// A place that is held while something is read.
    fn begin(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        self.places.try_acquire().map_err(|_| Refusal::again("others are being answered"))
    }

    /// What is acknowledged by now, and the log that it fits.
    async fn open(&self, log: &Log) -> Result<(View, Option<Under>), StoreError> {
        let (view, under) = access::open(&self.data, &self.lasting, || Ok(Some(Under::of(log)))).await?;
        Ok((view.with_key_ring(self.key_ring.as_deref()), under))
    }
}

/// Whether anything was ever recorded of who signed.
pub(crate) fn is_known(service: &Service, signer: &Signer) -> bool {
    is_recorded(service, &signer.ledger)
}

/// Whether a key may be one that somebody made a moment ago: nothing was recorded of it, nor taken away from what was.
pub(crate) fn is_stranger(service: &Service, subject: &LedgerId) -> bool {
    !is_recorded(service, subject) && !service.store.is_erased(subject)
}

fn is_recorded(service: &Service, subject: &LedgerId) -> bool {
    let said: bool = service.store.consent(&[*subject]).of(0).sequence() > 0;
    said || service.store.batches_of(subject).next > 1
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
