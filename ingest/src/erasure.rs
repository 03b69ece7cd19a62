//! Erasure, for the subject itself or for an operator who names one: asking for it, how far it is, and the certificate.

use axum::response::Response;
use candor_policy::hex;
use candor_store::erase::{Erasure, Progress};
use candor_store::error::Kind as StoreKind;
use candor_store::store::erasure::still_taken;
use candor_wire::erasure::{ErasureRequest, MOST_REQUEST_BYTES, Scope, SignedCertificate};
use schemars::JsonSchema;
use serde::Serialize;

use crate::body::Sent;
use crate::error::{Kind, Refusal};
use crate::published::json;
use crate::route::Call;
use crate::subject::{is_known, named, unknown};

pub(crate) const PATH: &str = "/v1/subject/erasure";
pub(crate) const RUN: &str = "/v1/erasures";

const DAY: i64 = 86_400_000_000;
/// Erasures that an answer names.
const MOST_NAMED: usize = 100;

/// What `GET /v1/subject/erasure` answers.
#[derive(Serialize, JsonSchema)]
#[expect(clippy::struct_field_names, reason = "it is the name in the answer")]
pub(crate) struct Erasures {
    /// Version of this form.
    schema_version: u32,
    /// The subject's id in the ledger, hex: certificates are about it.
    subject: String,
    /// Time of the service, µs UTC.
    time: i64,
    /// Oldest first.
    erasures: Vec<Status>,
}

/// An erasure, as it stands.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Status {
    /// 32 hex digits.
    id: String,
    /// `open` until nothing is left, then `done`.
    state: &'static str,
    /// What is to go.
    scope: Scope,
    /// When it was asked for, µs UTC.
    requested_at: i64,
    /// Until when it has to be done, µs UTC.
    deadline: i64,
    /// When it was done, µs UTC; null before.
    done_at: Option<i64>,
    /// What it leaves in the hands of who asked for it; null before.
    certificate: Option<SignedCertificate>,
    /// The log's entry that has the certificate's digest; null before.
    entry: Option<u64>,
    /// Where it is asked for: purposes of it whose events are taken all the same, since a law or a contract and no consent permits them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    still_taken: Vec<String>,
}

/// What `POST /v1/erasures` did.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Passed {
    /// Erasures that are done.
    erasures: u64,
    /// Parquet files that are gone.
    files: u64,
    /// Rows that are gone.
    rows: u64,
    /// How many are still open. A request that came while the pass ran is one of them, and is done by the next one.
    open: u64,
    /// Those of them with the nearest deadlines, 100 at most.
    waiting: Vec<Waiting>,
    /// What keeps them open, if something does; the service's log names it, and it is tried again.
    why: Option<String>,
}

/// An erasure that is still open.
#[derive(Serialize, JsonSchema)]
struct Waiting {
    /// 32 hex digits, as its request was answered.
    id: String,
    /// Until when it has to be done, µs UTC.
    deadline: i64,
}

/// `POST /v1/subject/erasure`: what it covers for good is refused from the answer on, what is there goes with the next pass.
pub(crate) async fn request(call: Call<'_>) -> Result<Response, Refusal> {
    let service = call.service;
    let sent =
        Sent::read(call.headers, call.body, &["application/json"], &service.limits, service.budget.lease()).await?;
    call.note.bytes = sent.len() as u64;
    if let Some(signer) = call.signer {
        signer.check(&sent)?;
    }
    let plain = sent.decompress(MOST_REQUEST_BYTES)?;
    let scope = scope_of(&plain.bytes, service.clock.now())?;
    // A stranger's request looks at no folder.
    if let Some(signer) = call.signer
        && !is_known(service, signer)
        && service.store.erasures(&signer.ledger).await?.is_empty()
    {
        return Err(unknown());
    }
    service.store.check_scope(&scope)?;
    let still_taken = still_taken(service.plan.policy(), &scope);
    let subject = if let Some(signer) = call.signer {
        if let Scope::Purposes(names) = &scope
            && names.iter().any(|name| service.store.may_be_stored(&signer.ledger, name))
        {
            let mend =
                "withdraw these purposes first, by a statement: what is erased would come back with the next events";
            return Err(Refusal::new(Kind::Conflict, mend));
        }
        signer.ledger
    } else {
        let value = named(call.headers)?;
        let subject = service.store.keys().ledger_id(value);
        let source = &call.source()?.name;
        if let Scope::Purposes(names) = &scope
            && service.store.withdraw(value, names, (service.plan.policy(), source)).await?
        {
            service.metrics.consented(source);
        }
        subject
    };
    let erasure = service.store.request_erasure(subject, scope).await?;
    Ok(json(&Status { still_taken, ..status(erasure) }))
}

/// `GET /v1/subject/erasure`.
pub(crate) async fn show(call: Call<'_>) -> Result<Response, Refusal> {
    let service = call.service;
    let subject = match call.signer {
        Some(signer) => signer.ledger,
        None => service.store.keys().ledger_id(named(call.headers)?),
    };
    let erasures = service.store.erasures(&subject).await?;
    // An operator may know of rows that no statement goes with: that none of them was asked to go is an answer.
    if erasures.is_empty() && call.signer.is_some_and(|signer| !is_known(service, signer)) {
        return Err(unknown());
    }
    Ok(json(&Erasures {
        schema_version: 1,
        subject: hex::encode(subject.as_bytes()),
        time: service.clock.now(),
        erasures: erasures.into_iter().map(status).collect(),
    }))
}

/// `POST /v1/erasures`: every erasure that is open is done when it answers, but for those that it names.
pub(crate) async fn run(call: Call<'_>) -> Result<Response, Refusal> {
    let passed = call.service.store.erase_now().await?;
    call.note.rows = passed.rows;
    let (open, why) = (passed.open.len() as u64, passed.why.as_ref().map(|error| kept_by(error.kind()).to_owned()));
    let waiting = passed.open.into_iter().take(MOST_NAMED).map(|one| Waiting { id: one.id, deadline: one.deadline });
    let waiting = waiting.collect();
    Ok(json(&Passed { erasures: passed.erasures, files: passed.files, rows: passed.rows, open, waiting, why }))
}

/// In words of ours: the store's own may name paths, and go to the operator's log.
const fn kept_by(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::Retry => "a disk is full, or other work on their files has to end first",
        StoreKind::Request | StoreKind::Data | StoreKind::Stop => {
            "something that they need cannot be read or written: mend what the log names, such as a file to restore from a backup"
        }
    }
}

fn scope_of(body: &[u8], now: i64) -> Result<Scope, Refusal> {
    let request: ErasureRequest = serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Refusal::malformed(format!(
            "the body is, at line {line}, column {column}, not a request of erasure: send {{\"scope\": \"all\"}}, \
             {{\"scope\": {{\"purposes\": [...]}}}} or {{\"scope\": {{\"received\": {{\"from\": \"YYYY-MM-DD\", \"to\": ...}}}}}}"
        ))
    })?;
    let scope = request.scope.in_order();
    scope.check().map_err(|why| Refusal::malformed(format!("nothing can be erased by this: {why}")))?;
    let today = i32::try_from(now.div_euclid(DAY)).unwrap_or(i32::MAX);
    let reaches_on = |day: &str| !Scope::Received { from: None, to: Some(day.to_owned()) }.covers("", today + 1);
    if let Scope::Received { to: Some(to), .. } = &scope
        && !reaches_on(to)
    {
        return Err(Refusal::malformed(
            "`to` is a day that is still to come: what is not received yet cannot be erased",
        ));
    }
    Ok(scope)
}

fn status(erasure: Erasure) -> Status {
    Status {
        id: erasure.id,
        state: match erasure.progress {
            Progress::Open => "open",
            Progress::Done => "done",
        },
        scope: erasure.scope,
        requested_at: erasure.requested_at,
        deadline: erasure.deadline,
        done_at: erasure.done_at,
        certificate: erasure.certificate,
        entry: erasure.entry,
        still_taken: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_purposes_says_nothing() {
        let scope = scope_of(br#"{"scope":{"purposes":["marketing","analytics","marketing"]}}"#, 0).unwrap();
        assert_eq!(scope, Scope::Purposes(vec!["analytics".to_owned(), "marketing".to_owned()]));
        assert!(scope_of(br#"{"scope":{"purposes":[]}}"#, 0).is_err());
    }

    #[test]
    fn days_to_come_cannot_be_erased_and_no_value_is_repeated() {
        // 2026-01-31, noon.
        let now = 20_484 * DAY + DAY / 2;
        let scope = |to: &str| scope_of(format!(r#"{{"scope":{{"received":{{"to":"{to}"}}}}}}"#).as_bytes(), now);
        assert!(scope("2026-01-31").is_ok());
        assert_eq!(scope("2026-02-01").unwrap_err().kind, Kind::Malformed);
        for body in [r#"{"scope":"secret-1"}"#, r#"{"scope":{"purposes":"secret-1"}}"#, "secret-1", ""] {
            let refusal = scope_of(body.as_bytes(), now).unwrap_err();
            assert!(!refusal.message.contains("secret"), "{}", refusal.message);
        }
    }
}
