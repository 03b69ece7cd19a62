//! What may stand between a client and the service: a proxy that loses replies, and one that refuses as a script says.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};

use crate::grpc::{Grpc, Outcome, read, runtime};

/// Of so many replies one is lost.
const EVERY: u64 = 10;

/// Loses every tenth reply: the server has sent it, the client never sees it.
pub(crate) struct Lossy {
    pub(crate) address: SocketAddr,
    lost: Arc<AtomicU64>,
}

impl Lossy {
    /// In front of `to`; `grpc` says how replies are told apart.
    pub(crate) fn start(to: SocketAddr, grpc: bool) -> Self {
        let count = if grpc { count_http2 } else { count_http };
        let (replies, lost) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let noted = Arc::clone(&lost);
        let address = listen(move |client| {
            // After the test the service is gone, and so is whoever would ask.
            let Ok(server) = TcpStream::connect(to) else { return };
            relay(client, server, count, Arc::clone(&replies), Arc::clone(&noted));
        });
        Self { address, lost }
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// What a scripted proxy does with one request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// Hands it to the service, and the service's answer back.
    Pass,
    /// Answers with an HTTP status or a gRPC code; over HTTP with the seconds of `Retry-After`.
    Refuse(u16, Option<u32>),
}

/// Takes one step for each request, whatever connection it comes by; behind the script everything passes.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    script: Script,
}

#[derive(Clone)]
struct Script {
    steps: Arc<Mutex<VecDeque<Step>>>,
    seen: Arc<Mutex<Vec<Message>>>,
}

/// An HTTP/1.1 message as it was on the wire; of a gRPC call the body alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Scripted {
    pub(crate) fn start(to: SocketAddr, grpc: bool, steps: &[Step]) -> Self {
        let steps = Arc::new(Mutex::new(steps.iter().copied().collect()));
        let script = Script { steps, seen: Arc::default() };
        let own = script.clone();
        let address = listen(move |client| {
            let script = own.clone();
            thread::spawn(move || {
                // A client closes when it is done: how its connection ends proves nothing.
                let _ = if grpc { serve_grpc(client, to, &script) } else { serve_http(&client, to, &script) };
            });
        });
        Self { address, script }
    }

    /// Every request so far.
    pub(crate) fn seen(&self) -> Vec<Message> {
        self.script.seen.lock().unwrap().clone()
    }

    /// Steps that no request took.
    pub(crate) fn left(&self) -> usize {
        self.script.steps.lock().unwrap().len()
    }
}

impl Script {
    fn next(&self, request: Message) -> Step {
        self.seen.lock().unwrap().push(request);
        self.steps.lock().unwrap().pop_front().unwrap_or(Step::Pass)
    }
}

/// Listens on a free port, until the test ends.
fn listen(mut take: impl FnMut(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(&mut take));
    address
}

fn serve_http(client: &TcpStream, to: SocketAddr, script: &Script) -> Result<()> {
    let (mut from, mut back) = (BufReader::new(client), client);
    while let Some(request) = Message::read(&mut from)? {
        let answer = match script.next(request.clone()) {
            Step::Refuse(status, retry) => {
                let retry = retry.map(|seconds| format!("retry-after: {seconds}\r\n")).unwrap_or_default();
                let head = format!("HTTP/1.1 {status} Refused\r\n{retry}content-length: 0\r\n\r\n");
                Message { head, body: Vec::new() }
            }
            Step::Pass => {
                let mut server = TcpStream::connect(to)?;
                server.write_all(&request.bytes())?;
                let answer = Message::read(&mut BufReader::new(server))?;
                answer.ok_or_else(|| Error::new(ErrorKind::UnexpectedEof, "the service said nothing"))?
            }
        };
        back.write_all(&answer.bytes())?;
    }
    Ok(())
}

impl Message {
    /// The next message of a connection; none if it was closed before.
    fn read(from: &mut impl BufRead) -> Result<Option<Self>> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if from.take(64 << 10).read_line(&mut head)? == 0 {
                return Ok(None);
            }
        }
        let mut message = Self { head, body: Vec::new() };
        if message.header("transfer-encoding").as_deref() == Some("chunked") {
            let mut last = false;
            while !last {
                let mut size = String::new();
                from.take(64).read_line(&mut size)?;
                let bytes = u64::from_str_radix(size.trim(), 16);
                let bytes = bytes.map_err(|_| Error::new(ErrorKind::InvalidData, "no size of a chunk"))?;
                message.body.extend_from_slice(size.as_bytes());
                message.take(from, bytes + 2)?;
                last = bytes == 0;
            }
        } else if let Some(length) = message.header("content-length") {
            message.take(from, length.parse().map_err(|_| Error::new(ErrorKind::InvalidData, "no length"))?)?;
        }
        Ok(Some(message))
    }

    fn take(&mut self, from: &mut impl BufRead, bytes: u64) -> Result<()> {
        let start = self.body.len();
        self.body.resize(start + usize::try_from(bytes.min(1 << 20)).unwrap(), 0);
        from.read_exact(&mut self.body[start..])
    }

    /// A header's value, in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_ascii_lowercase())
    }

    /// The body without the frames of chunks.
    pub(crate) fn content(&self) -> Vec<u8> {
        if self.header("transfer-encoding").is_none() {
            return self.body.clone();
        }
        let (mut rest, mut content) = (self.body.as_slice(), Vec::new());
        while let Some(at) = rest.windows(2).position(|pair| pair == b"\r\n") {
            let size = usize::from_str_radix(str::from_utf8(&rest[..at]).unwrap(), 16).unwrap();
            content.extend_from_slice(&rest[at + 2..at + 2 + size]);
            rest = &rest[at + 4 + size..];
        }
        content
    }

    fn bytes(&self) -> Vec<u8> {
        [self.head.as_bytes(), &self.body].concat()
    }
}

fn serve_grpc(client: TcpStream, to: SocketAddr, script: &Script) -> Result<()> {
    client.set_nonblocking(true)?;
    runtime().block_on(async {
        let stream = tokio::net::TcpStream::from_std(client)?;
        let mut connection = h2::server::handshake(stream).await.map_err(Error::other)?;
        while let Some(call) = connection.accept().await {
            let (request, respond) = call.map_err(Error::other)?;
            tokio::spawn(answer(request, respond, to, script.clone()));
        }
        Ok(())
    })
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, to: SocketAddr, script: Script) {
    let (head, mut body) = request.into_parts();
    let body = read(&mut body).await.unwrap();
    let response = Response::builder().header("content-type", "application/grpc");
    match script.next(Message { head: String::new(), body: body.clone() }) {
        Step::Refuse(code, _) => {
            let response = response.header("grpc-status", code).body(()).unwrap();
            respond.send_response(response, true).unwrap();
        }
        Step::Pass => {
            let outcome = tokio::task::spawn_blocking(move || forward(to, head.uri.path(), &head.headers, &body));
            let outcome = outcome.await.unwrap();
            let mut stream = respond.send_response(response.body(()).unwrap(), false).unwrap();
            stream.send_data(outcome.body.into(), false).unwrap();
            let trailers = outcome.headers.into_iter().filter(|(name, _)| {
                name.as_ref().is_some_and(|name| name.as_str().starts_with("grpc-") && name != "grpc-accept-encoding")
            });
            stream.send_trailers(trailers.filter_map(|(name, value)| Some((name?, value))).collect()).unwrap();
        }
    }
}

fn forward(to: SocketAddr, path: &str, headers: &HeaderMap, body: &[u8]) -> Outcome {
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
    let headers: Vec<_> = headers.filter(|(name, _)| *name != "te").collect();
    Grpc::connect(to, None).call(path, &headers, body).unwrap()
}

/// Replies in bytes that the server sent; the state says how far into a frame they got.
type Count = fn(&mut Frames, &[u8]) -> u64;

/// Hands on what comes, until a reply is to be lost: then both sides are closed, and the client never sees it.
fn relay(client: TcpStream, server: TcpStream, count: Count, replies: Arc<AtomicU64>, lost: Arc<AtomicU64>) {
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    thread::spawn(move || {
        let (mut client, mut server) = (client, server);
        let (mut frames, mut buffer) = (Frames::default(), [0; 16 << 10]);
        while let Ok(read @ 1..) = server.read(&mut buffer) {
            let here = count(&mut frames, &buffer[..read]);
            let before = replies.fetch_add(here, Ordering::Relaxed);
            if (before + here) / EVERY > before / EVERY {
                lost.fetch_add(1, Ordering::Relaxed);
                break;
            }
            if client.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    });
}

/// Answers of HTTP/1.1 are small here: each comes in one piece.
fn count_http(_: &mut Frames, bytes: &[u8]) -> u64 {
    u64::from(bytes.starts_with(b"HTTP/1.1 "))
}

/// Answers of gRPC: frames of type HEADERS that end a stream, which are their trailers.
fn count_http2(frames: &mut Frames, bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| frames.next(*byte)).sum()
}

/// Where in a sequence of HTTP/2 frames we are.
#[derive(Default)]
struct Frames {
    head: Vec<u8>,
    rest: usize,
}

impl Frames {
    /// Takes a byte; 1 if it ends the head of a frame that ends an answer.
    fn next(&mut self, byte: u8) -> u64 {
        if self.rest > 0 {
            self.rest -= 1;
            return 0;
        }
        self.head.push(byte);
        if self.head.len() < 9 {
            return 0;
        }
        self.rest = usize::from(self.head[0]) << 16 | usize::from(self.head[1]) << 8 | usize::from(self.head[2]);
        let (kind, flags) = (self.head[3], self.head[4]);
        self.head.clear();
        u64::from(kind == 1 && flags & 1 == 1)
    }
}

#[test]
fn the_proxy_counts_answers_however_frames_are_cut() {
    let frame = |kind: u8, flags: u8, length: u8| {
        [vec![0, 0, length, kind, flags, 0, 0, 0, 1], vec![7; length.into()]].concat()
    };
    // SETTINGS, HEADERS, DATA, trailers, and trailers alone.
    let stream = [frame(4, 0, 6), frame(1, 4, 3), frame(0, 0, 12), frame(1, 5, 1), frame(1, 5, 9)].concat();
    for size in 1..stream.len() {
        let mut frames = Frames::default();
        let replies: u64 = stream.chunks(size).map(|piece| count_http2(&mut frames, piece)).sum();
        assert_eq!(replies, 2, "in pieces of {size}");
    }
}
