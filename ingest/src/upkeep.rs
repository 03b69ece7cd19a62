//! For those who run the service: work on sealed files.

use axum::response::Response;
use candor_store::compact::{CompactOptions, CompactReport};
use candor_store::expire::{ExpireOptions, ExpireReport};
use hyper::body::Body as _;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::body::Sent;
use crate::error::Refusal;
use crate::published::json;
use crate::route::Call;

/// What `POST /v1/compact` takes; a body may be left out.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Compact {
    /// One table alone, as `purpose/stream`.
    table: Option<String>,
    /// Say what would be done, and do nothing.
    dry_run: bool,
}

/// What `POST /v1/compact` did, or would do.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Compacted {
    /// Whether it was only planned.
    dry_run: bool,
    /// Files that became one each.
    units: Vec<CompactedUnit>,
}

#[derive(Serialize, JsonSchema)]
struct CompactedUnit {
    purpose: String,
    stream: String,
    received_date: String,
    /// How many files became one.
    files: u64,
    rows: u64,
    /// Their bytes before.
    bytes: u64,
}

/// What `POST /v1/expire` takes; a body may be left out.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expire {
    /// Say what would be done, and do nothing.
    dry_run: bool,
    /// The clock is right, however far it is from the day that retention went by last.
    trust_clock: bool,
}

/// What `POST /v1/expire` did, or would do.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ExpiredAnswer {
    /// Whether it was only planned.
    dry_run: bool,
    /// The day that it went by.
    day: String,
    /// Why that is not the clock's day.
    doubt: Option<String>,
    /// Files that could not be looked at: they stay, and so may what they hold.
    unreadable: u64,
    /// What went, by table, date and field.
    expired: Vec<ExpiredFiles>,
}

#[derive(Serialize, JsonSchema)]
struct ExpiredFiles {
    purpose: String,
    stream: String,
    received_date: String,
    /// The field that was emptied; none where whole rows went.
    field: Option<String>,
    files: u64,
    rows: u64,
}

/// `POST /v1/expire`: what was kept long enough goes.
pub(crate) async fn expire(mut call: Call<'_>) -> Result<Response, Refusal> {
    let Expire { dry_run, trust_clock } = wanted(&mut call).await?;
    let report = call.service.store.expire(ExpireOptions { dry_run, trust_clock }).await?;
    call.note.rows = report.expired.iter().map(|expired| expired.rows).sum();
    Ok(json(&ExpiredAnswer::from(report)))
}

/// `POST /v1/compact`: small files become large ones.
pub(crate) async fn compact(mut call: Call<'_>) -> Result<Response, Refusal> {
    let Compact { table, dry_run } = wanted(&mut call).await?;
    let report = call.service.store.compact(CompactOptions { table, dry_run }).await?;
    call.note.rows = report.units.iter().map(|unit| unit.rows).sum();
    Ok(json(&Compacted::from(report)))
}

/// The body, where there is one.
async fn wanted<T: DeserializeOwned + Default>(call: &mut Call<'_>) -> Result<T, Refusal> {
    if call.body.is_end_stream() {
        return Ok(T::default());
    }
    let (limits, lease) = (&call.service.limits, call.service.budget.lease());
    let sent = Sent::read(call.headers, call.body, &["application/json"], limits, lease).await?;
    call.note.bytes = sent.len() as u64;
    let plain = sent.decompress(limits.body_bytes)?;
    // The place alone: serde's text may quote what was sent.
    serde_json::from_slice(&plain.bytes).map_err(|why| {
        Refusal::malformed(format!("the body does not fit at line {} column {}", why.line(), why.column()))
    })
}

impl From<CompactReport> for Compacted {
    fn from(report: CompactReport) -> Self {
        let units = report.units.into_iter().map(|unit| CompactedUnit {
            purpose: unit.purpose,
            stream: unit.stream,
            received_date: unit.received_date,
            files: unit.files,
            rows: unit.rows,
            bytes: unit.bytes,
        });
        Self { dry_run: report.dry_run, units: units.collect() }
    }
}

impl From<ExpireReport> for ExpiredAnswer {
    fn from(report: ExpireReport) -> Self {
        let expired = report.expired.into_iter().map(|expired| ExpiredFiles {
            purpose: expired.purpose,
            stream: expired.stream,
            received_date: expired.received_date,
            field: expired.field,
            files: expired.files,
            rows: expired.rows,
        });
        let (dry_run, day, doubt, unreadable) = (report.dry_run, report.day, report.doubt, report.unreadable);
        Self { dry_run, day, doubt, unreadable, expired: expired.collect() }
    }
}
