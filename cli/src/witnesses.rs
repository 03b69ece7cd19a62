//! The way to witnesses: over HTTP, a connection each time. What is asked, and what becomes of an answer, is the service's.

use bytes::Bytes;
use candor_agent::client::Client;
use candor_agent::error::Error;
use candor_agent::rim::Transport;
use candor_ingest::witnesses::{Answer, Ask, Asking, PATIENCE};
use candor_store::settings::Witness;
use candor_wire::log::note::MOST_BYTES;
use candor_wire::log::witness::PATH;
use http::Request;
use http::header::CONTENT_TYPE;

use crate::exit::Failure;

/// Posts to witnesses. Over TLS it trusts the roots of each one's `ca`, or those of the platform.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OverHttp;

impl Ask for OverHttp {
    fn ask<'a>(&'a self, witness: &'a Witness, body: String) -> Asking<'a> {
        Box::pin(async move { post(witness, body).await.map_err(|error| error.to_string()) })
    }
}

/// Whether there is a way to each: one whose roots cannot be read would never be asked.
pub(crate) fn check(witnesses: &[Witness]) -> Result<(), Failure> {
    for (number, witness) in (1_usize..).zip(witnesses).filter(|(_, witness)| witness.ca.is_some()) {
        client(witness).map_err(|error| {
            Failure::configuration(format!("the setting `store.log.witness`, witness {number}, `ca`: {error}"))
                .mend("name the file with the certificate, in PEM, of the authority that signed the witness's")
        })?;
    }
    Ok(())
}

fn client(witness: &Witness) -> Result<Client, Error> {
    Client::new(&witness.url, None, witness.ca.as_deref())
}

async fn post(witness: &Witness, body: String) -> Result<Answer, Error> {
    let mut client = client(witness)?.patience(PATIENCE).answer_bytes(MOST_BYTES);
    let request = Request::post(format!("{}{PATH}", client.base())).header(CONTENT_TYPE, "text/plain; charset=utf-8");
    let request = request.body(Bytes::from(body)).map_err(|_| Error::Address("its path cannot be used"))?;
    let response = client.exchange(request).await?;
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Ok(Answer { status: response.status().as_u16(), content_type, body: response.into_body() })
}
