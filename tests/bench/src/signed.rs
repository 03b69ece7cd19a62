//! One device that sends as it is, or signs each request, numbers it, and keeps what the service gives it for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use candor_policy::consent::ConsentState;
use candor_wire::identity::{Seed, SubjectKey};
use candor_wire::receipt::SignedReceipt;
use candor_wire::signature::{self, LONGEST_WINDOW, RequestHead};
use candor_wire::statement::{Notice, SignedStatement};
use http::{HeaderMap, HeaderName, HeaderValue};
use ring::rand::{SecureRandom, SystemRandom};

/// How long a signature holds, in seconds: the most that is taken, since all requests are made before the first is sent.
const WINDOW: i64 = LONGEST_WINDOW;
const MEDIA_TYPE: &str = "application/x-protobuf";

/// One connection and what each request on it carries.
pub trait Sender: Send {
    /// The next request, as it goes over the wire, made at a time (s since 1970).
    fn prepare(&mut self, body: &[u8], now: i64) -> Vec<u8>;

    /// Sends a request and waits until its events are stored.
    ///
    /// # Panics
    /// If the service says anything else: what is measured would not be the job.
    fn send(&mut self, request: &[u8]);

    /// Receipts that were kept, each checked.
    ///
    /// # Panics
    /// If one is not what the service's key signed.
    fn check(&self) -> usize;
}

/// Sends as it is.
#[derive(Debug)]
pub struct Plain(Connection);

/// Signs.
#[derive(Debug)]
pub struct Device {
    connection: Connection,
    key: SubjectKey,
    fleet: String,
    consent: i64,
    number: u64,
    receipts: Vec<String>,
}

impl Plain {
    /// Opens a connection.
    #[must_use]
    pub fn connect(address: &str, token: &str) -> Self {
        Self(Connection::open(address, token))
    }
}

impl Sender for Plain {
    fn prepare(&mut self, body: &[u8], _: i64) -> Vec<u8> {
        let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE))]);
        self.0.request("/v1/logs", &headers, body)
    }

    fn send(&mut self, request: &[u8]) {
        assert_eq!(self.0.send(request).status, 200);
    }

    fn check(&self) -> usize {
        0
    }
}

impl Device {
    /// Opens a connection as device number `which` and states its consent to `purposes`.
    #[must_use]
    pub fn connect((address, token): (&str, &str), (fleet, which): (&str, u8), purposes: &[String], now: i64) -> Self {
        let key = SubjectKey::derive(&Seed::new([which; 32]), fleet, 0).unwrap();
        let connection = Connection::open(address, token);
        let mut device = Self { connection, key, fleet: fleet.to_owned(), consent: 1, number: 0, receipts: Vec::new() };
        device.consent(purposes, now);
        device
    }

    fn consent(&mut self, purposes: &[String], now: i64) {
        let body = serde_json::to_vec(&statement(&self.key, &self.fleet, purposes)).unwrap();
        let headers =
            HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let request = self.signed("/v1/consent", headers, &body, now);
        let answer = self.connection.send(&request);
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    }

    fn signed(&mut self, path: &str, mut headers: HeaderMap, body: &[u8], now: i64) -> Vec<u8> {
        headers.insert("candor-fleet", HeaderValue::from_str(&self.fleet).unwrap());
        let mut nonce = [0; 16];
        SystemRandom::new().fill(&mut nonce).unwrap();
        let head =
            RequestHead { method: "POST", authority: &self.connection.address, path, query: None, headers: &headers };
        let signed = signature::sign(&self.key, &head, Some(body), (now, now + WINDOW), nonce).unwrap();
        for (name, value) in [
            ("content-digest", signed.content_digest),
            ("signature-input", Some(signed.signature_input)),
            ("signature", Some(signed.signature)),
        ] {
            headers.extend(value.map(|value| (HeaderName::from_static(name), value)));
        }
        self.connection.request(path, &headers, body)
    }
}

impl Sender for Device {
    fn prepare(&mut self, body: &[u8], now: i64) -> Vec<u8> {
        self.number += 1;
        let mut headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE))]);
        headers.insert("candor-consent", HeaderValue::from(self.consent));
        headers.insert("candor-batch", HeaderValue::from(self.number));
        self.signed("/v1/logs", headers, body, now)
    }

    fn send(&mut self, request: &[u8]) {
        let answer = self.connection.send(request);
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        self.receipts.push(answer.receipt.expect("what is stored has a receipt"));
    }

    fn check(&self) -> usize {
        for (number, receipt) in (1..).zip(&self.receipts) {
            let signed = SignedReceipt::from_header(receipt).unwrap();
            assert_eq!(signed.receipt.batch, number);
            signed.verify(&signed.proof.key).unwrap();
        }
        self.receipts.len()
    }
}

/// Everything given.
fn statement(key: &SubjectKey, fleet: &str, purposes: &[String]) -> SignedStatement {
    SignedStatement {
        fleet: fleet.to_owned(),
        key: key.public(),
        sequence: 1,
        previous: SignedStatement::nothing_before(),
        purposes: purposes.iter().map(|purpose| (purpose.clone(), ConsentState::Given)).collect(),
        notice: Notice { version: "1".to_owned(), language: "en".to_owned() },
        age_from: None,
        expires: None,
        granted_at: None,
        gpc: false,
        guardian: false,
        closes: false,
        signature: String::new(),
    }
    .sign(key)
    .unwrap()
}

/// HTTP/1.1, one request at a time.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
    address: String,
    token: String,
}

struct Answer {
    status: u16,
    receipt: Option<String>,
    body: Vec<u8>,
}

impl Connection {
    fn open(address: &str, token: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let answers = BufReader::new(stream.try_clone().unwrap());
        Self { stream, answers, address: address.to_owned(), token: token.to_owned() }
    }

    fn request(&self, path: &str, headers: &HeaderMap, body: &[u8]) -> Vec<u8> {
        let (address, token) = (&self.address, &self.token);
        let mut head = format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {}\r\n", value.to_str().unwrap());
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    }

    fn send(&mut self, request: &[u8]) -> Answer {
        self.stream.write_all(request).unwrap();
        self.answer()
    }

    fn answer(&mut self) -> Answer {
        let (mut line, mut length) = (String::new(), 0);
        let mut answer = Answer { status: 0, receipt: None, body: Vec::new() };
        loop {
            line.clear();
            self.answers.read_line(&mut line).unwrap();
            let text = line.trim_end();
            if text.is_empty() {
                break;
            }
            if let Some(rest) = text.strip_prefix("HTTP/1.1 ") {
                answer.status = rest[..3].parse().unwrap();
            } else if let Some((name, value)) = text.split_once(':') {
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => length = value.trim().parse().unwrap(),
                    "candor-receipt" => answer.receipt = Some(value.trim().to_owned()),
                    _ => {}
                }
            }
        }
        answer.body = vec![0; length];
        self.answers.read_exact(&mut answer.body).unwrap();
        answer
    }
}
