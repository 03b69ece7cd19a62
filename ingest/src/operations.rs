//! For those who run the service: health, readiness, metrics, and sealing what is there.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::response::Response;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use schemars::JsonSchema;
use serde::Serialize;

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
