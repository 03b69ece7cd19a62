//! The way to witnesses: over HTTP, a connection each time. What is asked, and what becomes of an answer, is the service's.

use bytes::Bytes;
use candor_agent::client::Client;
use candor_agent::error::Error;
use candor_agent::rim::Transport;
use candor_ingest::witnesses::{Answer, Ask, Asking, PATIENCE};
use candor_wire::log::note::MOST_BYTES;
use candor_wire::log::witness::PATH;
use http::Request;
use http::header::CONTENT_TYPE;

/// Posts to witnesses. Over TLS it trusts the roots of the platform.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OverHttp;

impl Ask for OverHttp {
    fn ask<'a>(&'a self, url: &'a str, body: String) -> Asking<'a> {
        Box::pin(async move { post(url, body).await.map_err(|error| error.to_string()) })
    }
}

async fn post(url: &str, body: String) -> Result<Answer, Error> {
    let mut client = Client::new(url, None, None)?.patience(PATIENCE).answer_bytes(MOST_BYTES);
    let request = Request::post(format!("{}{PATH}", client.base())).header(CONTENT_TYPE, "text/plain; charset=utf-8");
    let request = request.body(Bytes::from(body)).map_err(|_| Error::Address("its path cannot be used"))?;
    let response = client.exchange(request).await?;
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Ok(Answer { status: response.status().as_u16(), content_type, body: response.into_body() })
}
