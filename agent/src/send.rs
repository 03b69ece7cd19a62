//! Sending events as OTLP over HTTP, with the retries that the OTLP specification asks of clients.

use candor_wire::counted::counted_and;
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use prost::Message;

use crate::client::{Client, Payload};
use crate::encode::request_body;
use crate::error::Error;
use crate::event::Event;

/// How to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendSettings {
    /// Most events in one request.
    pub batch: usize,
    /// Whether bodies are compressed with gzip.
    pub gzip: bool,
    /// How often a request is tried in all.
    pub attempts: u32,
    /// Wait before the second attempt; it doubles from there.
    pub first_wait: Duration,
    /// Longest wait, `Retry-After` included.
    pub longest_wait: Duration,
}

impl Default for SendSettings {
    fn default() -> Self {
        Self {
            batch: 512,
            gzip: true,
            attempts: 8,
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_secs(10),
        }
    }
}

/// What was sent and what the service said to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Events in acknowledged requests.
    pub events: u64,
    /// Acknowledged requests.
    pub requests: u64,
    /// Attempts beyond the first of each request.
    pub retries: u64,
    /// Records that the service rejected for good (`partial_success`).
    pub rejected: u64,
    /// What it said about them, the last time.
    pub message: String,
}

/// Sending stopped: what was acknowledged before, and why it stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause} ({} been acknowledged)", counted_and(sent.events, "event", "has", "have"))]
pub struct SendError {
    /// What was acknowledged before.
    pub sent: Sent,
    /// Why it stopped.
    pub cause: Error,
}

/// Sends events in their order, a request at a time.
///
/// # Errors
/// [`SendError`] for an answer that must not be retried, or when the attempts are used up.
pub async fn send(client: &mut Client, events: &[Event], settings: &SendSettings) -> Result<Sent, SendError> {
    let mut sent = Sent::default();
    for batch in events.chunks(settings.batch.max(1)) {
        let payload = payload(batch, settings.gzip);
        if let Err(cause) = deliver(client, payload, settings, &mut sent).await {
            return Err(SendError { sent, cause });
        }
        sent.events += batch.len() as u64;
        sent.requests += 1;
    }
    Ok(sent)
}

/// The same bytes go out in each attempt, so that the service can recognise a repeat.
async fn deliver(client: &mut Client, payload: Payload, settings: &SendSettings, sent: &mut Sent) -> Result<(), Error> {
    let mut wait = settings.first_wait;
    for attempt in 1.. {
        let (error, asked) = match client.post("/v1/logs", payload.clone()).await {
            Ok(answer) => {
                let asked = answer.retry_after;
                match answer.success() {
                    Ok(answer) => return note(&answer.body, sent),
                    Err(error) => (error, asked),
                }
            }
            Err(error) => (error, None),
        };
        if !error.is_temporary() || attempt >= settings.attempts {
            return Err(error);
        }
        tokio::time::sleep(asked.unwrap_or(wait).min(settings.longest_wait)).await;
        wait = wait.saturating_mul(2);
        sent.retries += 1;
    }
    Ok(())
}

fn note(body: &Bytes, sent: &mut Sent) -> Result<(), Error> {
    let response = ExportLogsServiceResponse::decode(body.clone())
        .map_err(|_| Error::Answer("a protobuf ExportLogsServiceResponse"))?;
    if let Some(partial) = response.partial_success {
        sent.rejected += u64::try_from(partial.rejected_log_records).unwrap_or(0);
        sent.message = partial.error_message;
    }
    Ok(())
}

fn payload(events: &[Event], gzip: bool) -> Payload {
    let body = request_body(events);
    let compressed = gzip.then(|| compress(&body)).flatten();
    Payload {
        content_type: "application/x-protobuf",
        encoding: compressed.as_ref().map(|_| "gzip"),
        bytes: compressed.unwrap_or(body).into(),
    }
}

/// `None` if it fails, which memory-backed writers do not: the body then goes out as it is.
fn compress(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use http::{Request, Response};
    use http_body_util::{BodyExt, Full};
    use hyper::body::Incoming;
    use hyper_util::rt::TokioIo;
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsPartialSuccess;
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncRead, AsyncWrite};
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::event::EventLimits;

    type Script = Arc<Mutex<Vec<(u16, Option<&'static str>, Vec<u8>)>>>;
    type Bodies = Arc<Mutex<Vec<Bytes>>>;

    /// Serves the scripted answers from the end; a status of 0 closes the connection without one.
    async fn service(script: Script, tls: Option<TlsAcceptor>) -> (u16, Bodies) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let bodies = Bodies::default();
        let seen = bodies.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                match &tls {
                    None => answer(stream, &script, &seen).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            answer(stream, &script, &seen).await;
                        }
                    }
                }
            }
        });
        (port, bodies)
    }

    async fn answer<S>(stream: S, script: &Script, seen: &Bodies)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let answer = hyper::service::service_fn(|request: Request<Incoming>| async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            seen.lock().unwrap().push(body);
            let (status, retry_after, body) = script.lock().unwrap().pop().unwrap();
            if status == 0 {
                return Err(std::io::Error::other("gone"));
            }
            let mut response = Response::builder().status(status);
            if let Some(seconds) = retry_after {
                response = response.header("retry-after", seconds);
            }
            Ok(response.body(Full::new(Bytes::from(body))).unwrap())
        });
        let _: Result<_, _> =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
    }

    fn event() -> Event {
        Event::parse("{\"event\":\"e\",\"resource\":{\"id\":\"a\"}}", &EventLimits::default()).unwrap()
    }

    async fn run(script: Vec<(u16, Option<&'static str>, Vec<u8>)>) -> (Result<Sent, SendError>, Vec<Bytes>) {
        let (port, bodies) = service(Arc::new(Mutex::new(script.into_iter().rev().collect())), None).await;
        let mut client = Client::new(&format!("http://127.0.0.1:{port}"), Some("token"), None).unwrap();
        let event = event();
        let settings = SendSettings { batch: 2, attempts: 3, first_wait: Duration::ZERO, ..SendSettings::default() };
        let sent = send(&mut client, &[event.clone(), event.clone(), event], &settings).await;
        let bodies = bodies.lock().unwrap().clone();
        (sent, bodies)
    }

    #[tokio::test]
    async fn temporary_trouble_is_tried_again_with_the_same_bytes() -> Result<(), Infallible> {
        let partial = ExportLogsServiceResponse {
            partial_success: Some(ExportLogsPartialSuccess { rejected_log_records: 1, error_message: "one".into() }),
        };
        let script = vec![
            (503, Some("0"), vec![]),
            (0, None, vec![]),
            (200, None, vec![]),
            (200, None, partial.encode_to_vec()),
        ];
        let (sent, bodies) = run(script).await;
        let expected = Sent { events: 3, requests: 2, retries: 2, rejected: 1, message: "one".to_owned() };
        assert_eq!(sent.unwrap(), expected);
        assert_eq!(bodies.len(), 4);
        assert!(bodies[0] == bodies[1] && bodies[1] == bodies[2] && bodies[2] != bodies[3]);
        Ok(())
    }

    #[tokio::test]
    async fn final_answers_and_used_up_attempts_stop() {
        let (sent, bodies) = run(vec![(200, None, vec![]), (400, None, b"{\"message\":\"no\"}".to_vec())]).await;
        let stopped = sent.unwrap_err();
        assert_eq!((stopped.sent.events, bodies.len()), (2, 2));
        assert!(stopped.cause.to_string().contains("400 Bad Request: no"), "{}", stopped.cause);
        let (sent, bodies) = run((0..9).map(|_| (429, Some("0"), vec![])).collect()).await;
        assert!(sent.unwrap_err().cause.is_temporary());
        assert_eq!(bodies.len(), 3);
    }
    #[tokio::test]
    async fn over_tls_events_go_to_whom_is_trusted_and_to_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let authority = |name: &str| {
            let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let path = folder.path().join(name);
            std::fs::write(&path, cert.pem()).unwrap();
            (path, cert.der().clone(), PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap())
        };
        let (ca, certificate, key) = authority("ca.pem");
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let tls = TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate], key).unwrap()));
        let script = Arc::new(Mutex::new(vec![(200, None, vec![]), (200, None, vec![])]));
        let (port, bodies) = service(script, Some(tls)).await;
        let url = format!("https://localhost:{port}");
        let settings = SendSettings { batch: 1, first_wait: Duration::ZERO, ..SendSettings::default() };
        for (url, ca) in [(&url, authority("other.pem").0), (&format!("https://127.0.0.1:{port}"), ca.clone())] {
            let mut client = Client::new(url, Some("token"), Some(&ca)).unwrap();
            let stopped = send(&mut client, &[event()], &settings).await.unwrap_err();
            assert!(matches!(stopped.cause, Error::Untrusted { .. }) && stopped.sent.retries == 0, "{stopped:?}");
        }
        assert!(bodies.lock().unwrap().is_empty());
        let mut client = Client::new(&url, Some("token"), Some(&ca)).unwrap();
        assert_eq!(send(&mut client, &[event(), event()], &settings).await.unwrap().requests, 2);
        assert_eq!(bodies.lock().unwrap().len(), 2);
    }
}
