//! A small gRPC client on HTTP/2, as low as tests need it: what is sent is sent byte for byte, outcomes are read whole.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

pub(crate) const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
pub(crate) const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
pub(crate) const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// The codes that tests meet.
pub(crate) const OK: i32 = 0;
pub(crate) const INVALID_ARGUMENT: i32 = 3;
pub(crate) const DEADLINE_EXCEEDED: i32 = 4;
pub(crate) const PERMISSION_DENIED: i32 = 7;
pub(crate) const RESOURCE_EXHAUSTED: i32 = 8;
pub(crate) const UNIMPLEMENTED: i32 = 12;
pub(crate) const UNAUTHENTICATED: i32 = 16;

/// Longest time that anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// One connection to a service.
pub(crate) struct Grpc {
    runtime: Runtime,
    requests: SendRequest<Bytes>,
    token: Option<String>,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) http: u16,
    /// Headers, and trailers after them.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Grpc {
    /// HTTP/2 without TLS, by prior knowledge.
    pub(crate) fn connect(to: SocketAddr, token: Option<&str>) -> Self {
        let runtime = runtime();
        let requests = runtime.block_on(async { handshake(reach(to).await.unwrap()).await });
        Self { runtime, requests, token: token.map(str::to_owned) }
    }

    /// HTTP/2 over TLS, by ALPN, trusting one certificate.
    pub(crate) fn connect_tls(to: SocketAddr, token: Option<&str>, certificate: &str) -> Self {
        let runtime = runtime();
        let requests = runtime.block_on(async {
            let stream = tls(to, certificate, b"h2").await.expect("a handshake");
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
            handshake(stream).await
        });
        Self { runtime, requests, token: token.map(str::to_owned) }
    }

    /// A call with one message, compressed or not as `encoding` says ("" for not).
    pub(crate) fn export(&mut self, path: &str, encoding: &str, message: &[u8]) -> Outcome {
        let headers: &[(&str, &str)] = if encoding.is_empty() { &[] } else { &[("grpc-encoding", encoding)] };
        self.call(path, headers, &framed(!encoding.is_empty(), message)).expect("an outcome")
    }

    /// Any request with a body of any bytes.
    pub(crate) fn call(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Outcome, h2::Error> {
        let request = self.request(path, headers);
        let requests = self.requests.clone();
        let body = Bytes::copy_from_slice(body);
        self.runtime.block_on(async {
            let call = async {
                let (response, stream) = requests.ready().await?.send_request(request, false)?;
                // A refusal may come before the whole body is sent: what counts is the answer.
                let _ = send(stream, body).await;
                outcome(response).await
            };
            timeout(PATIENCE, call).await.expect("an outcome in time")
        })
    }

    /// Calls of one form, all under way at a time: their outcomes in order.
    pub(crate) fn calls(&mut self, path: &str, headers: &[(&str, &str)], bodies: Vec<Vec<u8>>) -> Vec<Outcome> {
        let requests: Vec<_> =
            bodies.into_iter().map(|body| (self.request(path, headers), Bytes::from(body))).collect();
        let connection = self.requests.clone();
        self.runtime.block_on(async {
            let running: Vec<_> = requests
                .into_iter()
                .map(|(request, body)| {
                    let connection = connection.clone();
                    tokio::spawn(async move {
                        let (response, stream) = connection.ready().await?.send_request(request, false)?;
                        let _ = send(stream, body).await;
                        outcome(response).await
                    })
                })
                .collect();
            let mut outcomes = Vec::with_capacity(running.len());
            for call in running {
                let call = timeout(PATIENCE, call).await.expect("an outcome in time").expect("no panic");
                outcomes.push(call.expect("an outcome"));
            }
            outcomes
        })
    }

    /// Begins a call, sends `part` of its body and nothing more; the outcome of what comes back.
    pub(crate) fn stall(&mut self, path: &str, headers: &[(&str, &str)], part: &[u8]) -> Result<Outcome, h2::Error> {
        let request = self.request(path, headers);
        let requests = self.requests.clone();
        let part = Bytes::copy_from_slice(part);
        self.runtime.block_on(async {
            let call = async {
                let (response, mut stream) = requests.ready().await?.send_request(request, false)?;
                stream.send_data(part, false)?;
                outcome(response).await
            };
            timeout(PATIENCE, call).await.expect("an outcome in time")
        })
    }

    fn request(&self, path: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::post(format!("http://localhost{path}")).header("te", "trailers");
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/grpc");
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(()).unwrap()
    }
}

impl Outcome {
    /// `grpc-status`; -1 if there is none.
    pub(crate) fn code(&self) -> i32 {
        self.text("grpc-status").parse().unwrap_or(-1)
    }

    pub(crate) fn text(&self, header: &str) -> String {
        self.headers.get(header).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    }

    /// The message of the answer, without its five bytes of frame.
    pub(crate) fn message(&self) -> &[u8] {
        self.body.get(5..).unwrap_or_default()
    }

    /// The same outcome, if its code is the one expected.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!((self.http, self.code()), (200, code), "{}", self.text("grpc-message"));
        self
    }
}

/// A message behind its five bytes.
pub(crate) fn framed(compressed: bool, message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u32).to_be_bytes();
    [&[u8::from(compressed)], length.as_slice(), message].concat()
}

/// A TLS connection to `localhost`, trusting one certificate in PEM.
pub(crate) async fn tls(
    to: SocketAddr,
    certificate: &str,
    protocol: &[u8],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate")).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = reach(to).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// Head, frame and end of a call are writes of their own, and must not wait for each other's acknowledgement.
async fn reach(to: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> SendRequest<Bytes> {
    let (requests, connection) = h2::client::handshake(stream).await.expect("a handshake");
    tokio::spawn(async move {
        // How a connection ends shows in its requests.
        let _ = connection.await;
    });
    requests
}

async fn send(mut stream: SendStream<Bytes>, mut body: Bytes) -> Result<(), h2::Error> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let Some(capacity) = poll_fn(|context| stream.poll_capacity(context)).await else { return Ok(()) };
        let piece = body.split_to(capacity?.min(body.len()));
        stream.send_data(piece, false)?;
    }
    stream.send_data(Bytes::new(), true)
}

async fn outcome(response: ResponseFuture) -> Result<Outcome, h2::Error> {
    let (parts, mut body) = response.await?.into_parts();
    let bytes = read(&mut body).await?;
    let mut headers = parts.headers;
    headers.extend(body.trailers().await?.unwrap_or_default());
    Ok(Outcome { http: parts.status.as_u16(), headers, body: bytes })
}

pub(crate) async fn read(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}
