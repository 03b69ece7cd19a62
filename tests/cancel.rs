//! Requests that a client cancels, at whatever moment, over HTTP/2 and gRPC: too many cut its connection, honest ends never do.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::grpc::{Grpc, LOGS, OK, framed};
use crate::otlp::{Event, encode};
use crate::world::{DEVICE, Start, World, figure};

/// `limits.http2_resets`, and the time between two looks at a connection, after which as many are allowed again.
const RESETS: u32 = 128;
const LOOK: Duration = Duration::from_millis(2_500);
/// Requests at a time, below `limits.http2_streams`.
const AT_ONCE: u32 = 60;
/// Requests that are cancelled if nobody cuts the connection.
const MOST: u32 = 2_000;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const CANCEL: u32 = 8;

/// When a request is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// In the same packet that asks.
    AtOnce,
    /// Its handler reads a body that is not over.
    Body,
    /// Its handler waits for the disk.
    Work,
    /// Its answer has begun, and the client takes no more of it.
    Answer,
}

#[test]
fn cancelled_requests_count_at_every_moment_and_honest_clients_are_served_beside() {
    let world = World::new();
    // Every sync takes its time, so that requests are being worked on when they are cancelled.
    let start = Start { environment: &[("FAILPOINTS", "segment::before_sync=sleep(400)")], ..Start::default() };
    let service = world.start(&start).unwrap();
    let mut honest = Grpc::connect(service.address(), Some(DEVICE));
    // The same each time: after the first it is answered from memory.
    let event = encode(&[Event::numbered("honest-01", 1)]);
    honest.export(LOGS, "", &event).expect(OK);
    for grpc in [false, true] {
        for moment in [Moment::AtOnce, Moment::Body, Moment::Work, Moment::Answer] {
            let what = format!("{moment:?} over {}", if grpc { "gRPC" } else { "HTTP/2" });
            let started = Instant::now();
            let mut raw = Raw::connect(service.address(), moment != Moment::Answer);
            let mut cancelled = 0;
            while cancelled < MOST && raw.cancel(moment, grpc, cancelled).is_ok() {
                cancelled += AT_ONCE;
                honest.export(LOGS, "", &event).expect(OK);
            }
            let looks = 1 + (started.elapsed().as_millis() / LOOK.as_millis()) as u32;
            figure(&format!("cancel: {what}: cut before {} in {:?}", cancelled + AT_ONCE, started.elapsed()));
            assert!(cancelled < RESETS * (looks + 1), "{what}: {cancelled} were cancelled in {looks} looks");
        }
    }
    honest.export(LOGS, "", &event).expect(OK);
}

#[test]
fn ends_that_are_none_of_the_clients_doing_do_not_count() {
    let world = World::new();
    let service = world.serve();
    let mut raw = Raw::connect(service.address(), true);
    // An answer that comes before the body is over makes the body useless: clients take it back with a reset.
    for _ in 0..10 {
        let streams: Vec<u32> = (0..AT_ONCE).map(|_| raw.open(&head(true, "a-wrong-token"), b"half", false)).collect();
        raw.ends(&streams).unwrap();
        raw.reset(&streams);
        raw.settled().unwrap();
    }
    // Nor does it matter what is cancelled after its whole answer came.
    for number in 0..10 {
        let streams: Vec<u32> = (0..AT_ONCE).map(|_| raw.export(true, number)).collect();
        raw.ends(&streams).unwrap();
        raw.reset(&streams);
        raw.settled().unwrap();
    }
    // A few cancelled calls are allowed, and the connection lives on.
    raw.cancel(Moment::Body, true, 0).unwrap();
    raw.cancel(Moment::Body, false, 0).unwrap();
    let stream = raw.export(false, 1);
    raw.ends(&[stream]).unwrap();
}

/// A client of HTTP/2 that sends what it is told and nothing else.
struct Raw {
    stream: TcpStream,
    next: u32,
    /// Frames that are not sent yet.
    pending: Vec<u8>,
}

impl Raw {
    /// `takes` bodies, or leaves them no window.
    fn connect(to: SocketAddr, takes: bool) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // SETTINGS_INITIAL_WINDOW_SIZE (4).
        let window: [u8; 6] = if takes { [0, 4, 0, 1, 0, 0] } else { [0, 4, 0, 0, 0, 0] };
        let pending = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &window)].concat();
        Self { stream, next: 1, pending }
    }

    /// Asks and cancels `AT_ONCE` times; an error if the connection is cut.
    fn cancel(&mut self, moment: Moment, grpc: bool, from: u32) -> io::Result<()> {
        let open = |number: u32| match moment {
            Moment::AtOnce => self.open(&head(grpc, DEVICE), b"", false),
            Moment::Body => self.open(&head(grpc, DEVICE), b"half", false),
            Moment::Work => self.export(grpc, from + number),
            Moment::Answer if grpc => self.export(grpc, 0),
            Moment::Answer => {
                self.open(&[(":method", "GET".to_owned()), (":path", "/openapi.json".to_owned())], b"", true)
            }
        };
        let streams: Vec<u32> = (0..AT_ONCE).map(open).collect();
        match moment {
            Moment::AtOnce => {}
            Moment::Body | Moment::Work => {
                self.settled()?;
                std::thread::sleep(Duration::from_millis(50));
            }
            Moment::Answer => self.answers(&streams, HEADERS, 0)?,
        }
        self.reset(&streams);
        self.settled()
    }

    /// A whole request with an event of its own.
    fn export(&mut self, grpc: bool, number: u32) -> u32 {
        let event = encode(&[Event::numbered("cancel-01", u64::from(number))]);
        let body = if grpc { framed(false, &event) } else { event };
        self.open(&head(grpc, DEVICE), &body, true)
    }

    /// Opens a stream with a part of a body, or all of it.
    fn open(&mut self, head: &[(&str, String)], body: &[u8], whole: bool) -> u32 {
        let stream = self.next;
        self.next += 2;
        // :scheme http of the static table, and :authority x.
        let mut block = vec![0x86, 0x41, 1, b'x'];
        for (name, value) in head {
            // Literals that are not remembered, their names neither.
            block.extend([0, name.len() as u8]);
            block.extend(name.bytes());
            block.push(value.len() as u8);
            block.extend(value.bytes());
        }
        let end = if whole { END_STREAM } else { 0 };
        let alone = if body.is_empty() { end } else { 0 };
        self.pending.extend(frame(HEADERS, 4 | alone, stream, &block));
        if !body.is_empty() {
            self.pending.extend(frame(DATA, end, stream, body));
        }
        stream
    }

    fn reset(&mut self, streams: &[u32]) {
        let cancel = CANCEL.to_be_bytes();
        self.pending.extend(streams.iter().flat_map(|stream| frame(RST_STREAM, 0, *stream, &cancel)));
    }

    /// Sends what is pending and waits until it was read; an error if the connection is cut before.
    fn settled(&mut self) -> io::Result<()> {
        self.pending.extend(frame(PING, 0, 0, &[0; 8]));
        self.send()?;
        while self.read()?.0 != PING {}
        Ok(())
    }

    /// Waits for the end of these answers.
    fn ends(&mut self, streams: &[u32]) -> io::Result<()> {
        self.answers(streams, DATA, END_STREAM)
    }

    /// Waits for a frame of each stream: of a kind (or the headers that are all), with flags.
    fn answers(&mut self, streams: &[u32], kind: u8, flags: u8) -> io::Result<()> {
        self.send()?;
        let mut missing = streams.to_vec();
        while !missing.is_empty() {
            let (got, with, stream) = self.read()?;
            if (got == kind || got == HEADERS) && with & flags == flags {
                missing.retain(|other| *other != stream);
            }
        }
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        self.stream.write_all(&std::mem::take(&mut self.pending))
    }

    /// Kind, flags and stream of the next frame.
    fn read(&mut self) -> io::Result<(u8, u8, u32)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head)?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload)?;
        if kind == GOAWAY {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        Ok((kind, flags, u32::from_be_bytes(stream)))
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of an export, of a gRPC call or over plain HTTP/2.
fn head(grpc: bool, token: &str) -> Vec<(&'static str, String)> {
    let (path, media_type) = if grpc { (LOGS, "application/grpc") } else { ("/v1/logs", "application/x-protobuf") };
    let own = [(":method", "POST"), (":path", path), ("content-type", media_type), ("te", "trailers")];
    let mut head: Vec<_> = own.map(|(name, value)| (name, value.to_owned())).into();
    head.push(("authorization", format!("Bearer {token}")));
    head
}
