//! A small HTTP/1.1 client: one connection to one service, with TLS or without, a bearer token, limits on time and on the answer's size.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::Error;
use crate::retry_after;
use crate::rim::Transport;
use crate::trust;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most bytes of an answer that are read.
const ANSWER_BYTES: usize = 4 << 20;
/// Most characters of a service's message that are repeated.
const MESSAGE_CHARS: usize = 500;

/// A client of one service. Its `Debug` says where, never the token.
pub struct Client {
    authority: String,
    host: String,
    port: u16,
    base: String,
    tls: Option<Tls>,
    token: Option<HeaderValue>,
    timeout: Duration,
    answer_bytes: usize,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// How a service is met over TLS: whom to trust, and the name that its certificate must have.
struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// A body with its type, as it goes out.
#[derive(Clone, Debug)]
pub struct Payload {
    /// `Content-Type`.
    pub content_type: &'static str,
    /// `Content-Encoding`, if any.
    pub encoding: Option<&'static str>,
    /// The bytes as sent.
    pub bytes: Bytes,
}

/// What a service answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// `Retry-After` in seconds, if it gave one.
    pub retry_after: Option<Duration>,
    /// The body, up to the limit.
    pub body: Bytes,
}

impl Client {
    /// A client for `url` (`https://host:port` or `http://host:port`, with a path before `/v1` if the service has one). Over
    /// TLS it trusts the roots in the file `ca`, in PEM; without one, those of the platform.
    ///
    /// # Errors
    /// If the address, the token or the roots cannot be used.
    pub fn new(url: &str, token: Option<&str>, ca: Option<&Path>) -> Result<Self, Error> {
        let uri: Uri = url.parse().map_err(|_| Error::Address("it is not a URL such as http://127.0.0.1:4318"))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(Error::Address("it must start with https:// or http://")),
        };
        let host = uri.host().ok_or(Error::Address("it names no host"))?;
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let token = token.map(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim())).map_err(|_| Error::Token)?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        });
        let plain_host = host.trim_matches(['[', ']']).to_owned();
        Ok(Self {
            authority: authority(host, port, secure),
            port,
            base: uri.path().trim_end_matches('/').to_owned(),
            token: token.transpose()?,
            tls: if secure { Some(Tls::new(plain_host.clone(), ca)?) } else { None },
            host: plain_host,
            timeout: PATIENCE,
            answer_bytes: ANSWER_BYTES,
            connection: None,
        })
    }

    /// The same with another time that an answer may take.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.timeout = patience;
        self
    }

    /// The same with another limit on the bytes of an answer.
    #[must_use]
    pub fn answer_bytes(self, answer_bytes: usize) -> Self {
        Self { answer_bytes, ..self }
    }

    /// `POST path` with a body.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if nobody answers in time. An error status is an [`Answer`] like any other.
    pub async fn post(&mut self, path: &str, payload: Payload) -> Result<Answer, Error> {
        self.request(Method::POST, path, Some(payload)).await
    }

    /// `GET path`.
    ///
    /// # Errors
    /// As [`Client::post`].
    pub async fn get(&mut self, path: &str) -> Result<Answer, Error> {
        self.request(Method::GET, path, None).await
    }

    async fn request(&mut self, method: Method, path: &str, payload: Option<Payload>) -> Result<Answer, Error> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        let mut body = Bytes::new();
        if let Some(payload) = payload {
            request = request.header(CONTENT_TYPE, payload.content_type);
            if let Some(encoding) = payload.encoding {
                request = request.header(CONTENT_ENCODING, encoding);
            }
            body = payload.bytes;
        }
        let response = self.timely(request.body(body).map_err(|_| Error::Address("its path cannot be used"))?).await?;
        let retry_after = retry_after::asked(response.headers(), None);
        Ok(Answer { status: response.status(), retry_after, body: response.into_body() })
    }

    async fn timely(&mut self, mut request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
        let headers = request.headers_mut();
        headers
            .insert(HOST, HeaderValue::from_str(&self.authority).map_err(|_| Error::Address("its host is no name"))?);
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("candor/", env!("CARGO_PKG_VERSION"))));
        if let Some(token) = &self.token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        let exchange = tokio::time::timeout(self.timeout, self.once(request.map(Full::new))).await;
        let answer = exchange.unwrap_or_else(|_| Err(self.unreachable("it took too long")));
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    async fn once(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Error> {
        let mut open = self.connection.take();
        if let Some(connection) = &mut open
            && connection.ready().await.is_err()
        {
            open = None;
        }
        let mut connection = match open {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let response = connection.send_request(request).await.map_err(|e| self.unreachable(e))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, self.answer_bytes).collect().await;
        let body = body.map_err(|_| self.unreachable("its answer broke off or is too long"))?.to_bytes();
        self.connection = Some(connection);
        Ok(Response::from_parts(head, body))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Error> {
        let stream =
            TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|e| self.unreachable(e.kind()))?;
        // Small requests wait for nothing: a failure only costs latency.
        let _ = stream.set_nodelay(true);
        let Some(Tls { config, name }) = &self.tls else { return self.speak(stream).await };
        match TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await {
            Ok(stream) => self.speak(stream).await,
            Err(error) => Err(trust::refused(&error, &self.authority).unwrap_or_else(|| self.unreachable(error))),
        }
    }

    async fn speak<S>(&self, stream: S) -> Result<SendRequest<Full<Bytes>>, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.unreachable(e))?;
        // Its error is seen by the request that is under way, which fails with it.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    fn unreachable(&self, why: impl std::fmt::Display) -> Error {
        Error::Unreachable { authority: self.authority.clone(), why: why.to_string() }
    }
}

impl Transport for Client {
    fn authority(&self) -> &str {
        &self.authority
    }

    fn base(&self) -> &str {
        &self.base
    }

    async fn exchange(&mut self, request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
        self.timely(request).await
    }

    fn part(&mut self) {
        self.connection = None;
    }
}

/// As signatures have it (RFC 9421, section 2.2.3): in lower case, without the port that the scheme has anyway.
fn authority(host: &str, port: u16, secure: bool) -> String {
    let host = host.to_ascii_lowercase();
    if port == if secure { 443 } else { 80 } { host } else { format!("{host}:{port}") }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        write!(f, "Client({scheme}://{}{})", self.authority, self.base)
    }
}

impl Tls {
    fn new(host: String, ca: Option<&Path>) -> Result<Self, Error> {
        let name =
            ServerName::try_from(host).map_err(|_| Error::Address("its host is no name that certificates have"))?;
        Ok(Self { config: trust::config(ca)?, name })
    }
}

impl Payload {
    /// A JSON body.
    #[must_use]
    pub fn json(text: String) -> Self {
        Self { content_type: "application/json", encoding: None, bytes: text.into() }
    }
}

impl Answer {
    /// Itself if the status says success.
    ///
    /// # Errors
    /// [`Error::Status`] with the service's message: the `message` of a JSON or protobuf `Status`, or plain text.
    pub fn success(self) -> Result<Self, Error> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(Error::Status { status: self.status, message: message(&self.body) })
    }
}

/// `google.rpc.Status`, as far as it matters here.
#[derive(prost::Message)]
struct RpcStatus {
    #[prost(string, tag = "2")]
    message: String,
}

/// What a service says in an answer, fit for people: short, and without control characters.
pub(crate) fn message(body: &Bytes) -> String {
    let json = || {
        let value: serde_json::Value = serde_json::from_slice(body).ok()?;
        let text = ["message", "error"].into_iter().find_map(|name| value.get(name)?.as_str())?;
        Some(text.to_owned())
    };
    let rpc = || <RpcStatus as prost::Message>::decode(body.clone()).ok().map(|s| s.message).filter(|m| !m.is_empty());
    let text = || std::str::from_utf8(body).ok().map(str::to_owned);
    // What a service sends is shown to people: no control characters, no end of it.
    json().or_else(rpc).or_else(text).unwrap_or_default().trim().chars().take(MESSAGE_CHARS).map(printable).collect()
}

fn printable(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_addresses_apart_and_refuses_others() {
        let client = Client::new("http://[::1]:4318/in/", Some("t"), None).unwrap();
        assert_eq!(
            (client.authority.as_str(), client.host.as_str(), client.base.as_str()),
            ("[::1]:4318", "::1", "/in")
        );
        assert_eq!(format!("{client:?}"), "Client(http://[::1]:4318/in)");
        for url in ["ftp://a", "127.0.0.1:4318", "http://"] {
            assert!(matches!(Client::new(url, None, None), Err(Error::Address(_))), "{url}");
        }
        assert_eq!(Client::new("http://a", Some("two\nlines"), None).unwrap_err(), Error::Token);
    }

    #[test]
    fn where_no_tls_is_spoken_no_later_attempt_helps() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let folder = tempfile::tempdir().unwrap();
            let roots = folder.path().join("ca.pem");
            let root = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            std::fs::write(&roots, root.cert.pem()).unwrap();
            let answer = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let refusal = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n";
                tokio::io::AsyncWriteExt::write_all(&mut stream, refusal).await.unwrap();
                stream
            };
            let mut client = Client::new(&format!("https://localhost:{port}"), None, Some(&roots)).unwrap();
            let (asked, _stream) = tokio::join!(client.get("/"), answer);
            asked.unwrap_err()
        });
        assert!(matches!(error, Error::Address(_)) && !error.is_temporary(), "{error}");
    }

    #[test]
    fn finds_the_message_in_each_kind_of_body() {
        let rpc = prost::Message::encode_to_vec(&RpcStatus { message: "slow down".to_owned() });
        assert_eq!(message(&Bytes::from(rpc)), "slow down");
        assert_eq!(message(&Bytes::from_static(b"{\"code\":3,\"message\":\"no\\u001b[0m\"}")), "no [0m");
        assert_eq!(message(&Bytes::from_static(b"plain\n")), "plain");
        assert_eq!(message(&Bytes::from_static(b"\xff\xfe")), "");
    }
}
