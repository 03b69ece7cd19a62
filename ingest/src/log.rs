//! The log as c2sp.org/tlog-tiles serves it: the checkpoint, tiles of hashes, bundles of entries. Anybody may read it.

use axum::body::Body;
use axum::response::Response;
use candor_wire::log::tile::Tile;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use crate::error::{Kind, Refusal};
use crate::guard;
use crate::route::Call;

/// Where the checkpoint is.
pub(crate) const CHECKPOINT: &str = "/log/checkpoint";
/// Where tiles and bundles are: the longest name is that of a partial one with three parts to its number.
pub(crate) const TILES: [&str; 4] = [
    "/log/tile/{level}/{first}",
    "/log/tile/{level}/{first}/{second}",
    "/log/tile/{level}/{first}/{second}/{third}",
    "/log/tile/{level}/{first}/{second}/{third}/{fourth}",
];

const PREFIX: &str = "/log/";
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// Somebody who checks wants the newest.
const NEWEST: HeaderValue = HeaderValue::from_static("no-store");
/// What a tile of a width holds never changes.
const FOR_GOOD: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// `GET /log/checkpoint`: the newest one that is durable, with the witnesses' signatures that it has by now.
pub(crate) fn checkpoint(call: &Call<'_>) -> Response {
    let note = call.service.store.log().checkpoint().note.to_string();
    answer(note.into_bytes(), TEXT, NEWEST)
}

/// `GET /log/tile/...`: a tile or bundle that the checkpoint covers.
pub(crate) async fn tile(call: Call<'_>) -> Result<Response, Refusal> {
    // Only a name that is written as ours are leads to a file, and the path is made from what was read.
    let tile = call.path.strip_prefix(PREFIX).and_then(Tile::parse).ok_or_else(not_there)?;
    let log = call.service.store.log();
    let read = tokio::task::spawn_blocking(move || log.tile(&tile)).await.map_err(|_| guard::bug())?;
    Ok(answer(read?.ok_or_else(not_there)?, BYTES, FOR_GOOD))
}

fn not_there() -> Refusal {
    Refusal::new(Kind::UnknownPath, "the log has no such tile: the size in /log/checkpoint says which there are")
}

fn answer(bytes: Vec<u8>, content_type: HeaderValue, caching: HeaderValue) -> Response {
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response.headers_mut().insert(CACHE_CONTROL, caching);
    response
}
