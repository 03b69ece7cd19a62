//! For those who run the service: health, readiness, metrics, and sealing what is there.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::response::Response;
use candor_store::keys::change::Change;
use candor_store::work::Work;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::body::Sent;
use crate::error::Refusal;
use crate::guard;
use crate::published::json;
use crate::route::Call;

/// What `GET /healthz` and `GET /readyz` answer.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Health {
    /// One word.
    status: &'static str,
}

/// What `POST /v1/flush` did.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Flushed {
    /// Rows that are in tables now.
    rows: u64,
    /// Parquet files that were written.
    files: u64,
    /// Segments that were released.
    segments: u64,
}

/// What `POST /v1/backup` takes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BackupRequest {
    /// Name of the backup, in the folder `store.backups`.
    name: String,
}

const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// `GET /healthz`: the process answers.
pub(crate) fn health() -> Response {
    json(&Health { status: "ok" })
}

/// `GET /readyz`: appends are possible.
pub(crate) fn ready(call: &Call<'_>) -> Result<Response, Refusal> {
    if call.service.stopping.load(Ordering::Relaxed) {
        return Err(Refusal::unavailable("the service is stopping"));
    }
    match call.service.store.ready() {
        Ok(()) => Ok(json(&Health { status: "ready" })),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            Err(Refusal::unavailable("the store cannot append at the moment: the service's log says why"))
        }
    }
}

/// `GET /metrics`, in the text form of `OpenMetrics`.
pub(crate) fn metrics(call: &Call<'_>) -> Result<Response, Refusal> {
    let service = call.service;
    let text = service.metrics.text(&service.store.figures(), service.budget.used()).map_err(|_| guard::bug())?;
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, OPEN_METRICS);
    Ok(response)
}

/// `POST /v1/flush`: everything acknowledged so far is in tables when it answers.
pub(crate) async fn flush(call: Call<'_>) -> Result<Response, Refusal> {
    let report = call.service.store.flush().await?;
    call.note.rows = report.rows;
    Ok(json(&Flushed { rows: report.rows, files: report.files, segments: report.segments }))
}

/// `POST /v1/keys`: makes, rotates or destroys a key of the ring.
pub(crate) async fn change_key(call: Call<'_>) -> Result<Response, Refusal> {
    let service = call.service;
    let sent =
        Sent::read(call.headers, call.body, &["application/json"], &service.limits, service.budget.lease()).await?;
    call.note.bytes = sent.len() as u64;
    let plain = sent.decompress(service.limits.body_bytes)?;
    let change: Change = serde_json::from_slice(&plain.bytes).map_err(|_| {
        Refusal::malformed(
            "not a change of a key: {\"change\": \"new\", \"rotate\" or \"destroy\", \"key\": \"subject\", \"receipts\" or \
             \"named/NAME\", \"generation\": a number, to destroy that one alone}",
        )
    })?;
    Ok(json(&service.store.change_key(change).await?))
}

/// `POST /v1/backup`: copies the data folder to the folder that the settings have for that.
pub(crate) async fn backup(call: Call<'_>) -> Result<Response, Refusal> {
    let service = call.service;
    let sent =
        Sent::read(call.headers, call.body, &["application/json"], &service.limits, service.budget.lease()).await?;
    call.note.bytes = sent.len() as u64;
    let plain = sent.decompress(service.limits.body_bytes)?;
    let wanted: BackupRequest = serde_json::from_slice(&plain.bytes)
        .map_err(|_| Refusal::malformed("not the name of a backup: {\"name\": \"monday\"}"))?;
    Ok(json(&service.store.backup(&wanted.name, Arc::new(Work::default())).await?))
}
