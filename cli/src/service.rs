//! Talking to a running service: its address, a token from a file, JSON there and back.

use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use candor_agent::client::{Answer, Client, Payload};
use candor_agent::rim::Transport;
use candor_ingest::exposition::Samples;
use candor_store::view::View;
use candor_wire::reason::Reason;
use candor_wire::signature;
use http::{HeaderValue, Request};
use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::settings::Settings;

/// Most bytes of a token file that are read.
const TOKEN_BYTES: u64 = 8 << 10;
/// Most bytes of what stdin may say in place of an argument.
const STDIN_BYTES: u64 = 1 << 20;

/// A client of the service that the settings name, for what anybody may read.
pub(crate) fn public(settings: &Settings) -> Result<Client, Failure> {
    Ok(Client::new(url(settings)?, None, settings.ca.as_deref())?)
}

/// A client of the service that the settings name, with the token that they name.
pub(crate) fn client(settings: &Settings) -> Result<Client, Failure> {
    let url = url(settings)?;
    let path = settings.token_file.as_deref().ok_or_else(|| {
        Failure::usage("no token is named")
            .mend("give --token-file FILE: sources.toml of the fleet says which file belongs to which source")
    })?;
    Ok(Client::new(url, Some(&token(path)?), settings.ca.as_deref())?)
}

/// The data folder that the settings name, for reading.
pub(crate) async fn view(settings: &Settings) -> Result<View, Failure> {
    Ok(View::open(&settings.data).await?.with_key_ring(settings.store.key_ring.as_deref()))
}

/// What `GET /metrics` answers.
pub(crate) async fn metrics(client: &mut Client) -> Result<Samples, Failure> {
    let answer = client.get("/metrics").await?.success()?;
    let text = std::str::from_utf8(&answer.body).ok().and_then(|text| Samples::parse(text).ok());
    text.ok_or_else(|| candor_agent::error::Error::Answer("metrics").into())
}

/// Posts JSON and takes JSON back.
pub(crate) async fn post(client: &mut Client, path: &str, body: String) -> Result<Value, Failure> {
    let answer = client.post(path, Payload::json(body)).await?.success()?;
    serde_json::from_slice(&answer.body).map_err(|_| candor_agent::error::Error::Answer("JSON").into())
}

/// What a service tells an operator of the subject that its source names so: the body, or none where it knows nothing of it.
pub(crate) async fn about(subject: &str, client: &mut Client) -> Result<Option<Bytes>, Failure> {
    let mut value = HeaderValue::from_bytes(subject.as_bytes())
        .map_err(|_| Failure::usage("the subject fits no header").mend("ask with --data, beside the service"))?;
    value.set_sensitive(true);
    let request =
        Request::get(format!("{}/v1/subject", client.base())).header(&signature::SUBJECT, value).body(Bytes::new());
    let request = request.map_err(|_| Failure::usage("the address of the service cannot be used"))?;
    let response = client.exchange(request).await?;
    let reason = response.headers().get(&signature::REASON).and_then(|reason| reason.to_str().ok());
    if !response.status().is_success() && reason.and_then(Reason::of_name) == Some(Reason::SubjectUnknown) {
        return Ok(None);
    }
    answer(response).map(Some)
}

/// The body of a success.
pub(crate) fn answer(response: http::Response<Bytes>) -> Result<Bytes, Failure> {
    let answer = Answer { status: response.status(), retry_after: None, body: response.into_body() };
    Ok(answer.success()?.body)
}

/// The argument, or the first line of stdin where it is `-`: what is on a command line, others can read.
pub(crate) fn or_stdin(argument: &str, what: &str) -> Result<String, Failure> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    let text = stdin(what)?;
    let text = text.trim();
    if text.is_empty() { Err(Failure::usage(format!("stdin holds no {what}"))) } else { Ok(text.to_owned()) }
}

/// All of stdin, up to a limit.
pub(crate) fn stdin(what: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(STDIN_BYTES + 1).read_to_string(&mut text);
    match read {
        Ok(bytes) if bytes as u64 > STDIN_BYTES => {
            Err(Failure::usage(format!("the {what} on stdin is longer than {STDIN_BYTES} bytes")))
        }
        Ok(_) => Ok(text),
        Err(e) => Err(Failure::new(Exit::Failed, format!("the {what} cannot be read from stdin: {e}"))),
    }
}

fn url(settings: &Settings) -> Result<&str, Failure> {
    settings.url.as_deref().ok_or_else(|| {
        Failure::usage("no service is named").mend("give --url http://127.0.0.1:4318, or set CANDOR_URL")
    })
}

/// A secret of a file, of which no more than a line is wanted.
pub(crate) fn read_secret(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(TOKEN_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

fn token(path: &Path) -> Result<String, Failure> {
    let failure = |why: String| Failure::configuration(format!("the token file {} {why}", path.display()));
    let text = read_secret(path).map_err(|e| failure(format!("cannot be read: {e}")))?;
    match text.lines().next().map(str::trim) {
        Some(token) if !token.is_empty() => Ok(token.to_owned()),
        _ => Err(failure("is empty".to_owned())),
    }
}
