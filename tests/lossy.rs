//! The client sees an error, the server had stored it: one row. Between them stands a proxy that loses every tenth reply.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::clients::python;
use crate::http::Client;
use crate::otlp::{Event, encode, gzip};
use crate::sdk::{Sdk, send};
use crate::world::{DEVICE, Service, World, figure};

/// Of so many replies one is lost.
const EVERY: u64 = 10;

#[test]
fn a_lost_reply_makes_no_second_row_for_a_plain_client() {
    let world = World::new();
    let service = world.serve();
    service.consent(&["lossy-01"], "given");
    let proxy = Proxy::start(service.address(), count_http);
    let mut client = Client::new(proxy.address, Some(DEVICE));
    for number in 0..100 {
        let body = gzip(&encode(&[Event::numbered("lossy-01", number)]));
        while client.logs_gzip(&body).map(|answer| answer.expect_status(200)).is_err() {}
    }
    assert_one_row_each(&world, &service, &proxy, 100, "plain HTTP");
}

#[test]
fn a_lost_reply_makes_no_second_row_for_the_python_sdk_over_http_and_grpc() {
    let Some(python) = python() else { return };
    for (protocol, count) in [("http", count_http as Count), ("grpc", count_http2)] {
        let world = World::new();
        let service = world.serve();
        service.consent(&["sdk-01"], "given");
        let proxy = Proxy::start(service.address(), count);
        let sdk = Sdk { protocol, events: 150, batch: 5, certificate: None };
        let sent = send(&python, &sdk, &format!("http://{}", proxy.address), DEVICE);
        assert!(sent.status.success(), "{protocol}: {}", String::from_utf8_lossy(&sent.stderr));
        assert_one_row_each(&world, &service, &proxy, 150, protocol);
    }
}

fn assert_one_row_each(world: &World, service: &Service, proxy: &Proxy, events: u64, what: &str) {
    let lost = proxy.lost.load(Ordering::Relaxed);
    let repeats = service.metric("candor_repeats_total");
    figure(&format!("lossy: {what}: {events} events, {lost} replies lost, {repeats} requests recognised as repeats"));
    assert!(lost >= 2, "the proxy lost {lost} replies only");
    assert_eq!(repeats, lost, "each request whose reply was lost came again, once");
    assert_eq!(world.account()[1], (events, events));
    let distinct = "select count(distinct app_package) from analytics.\"phone.app\"";
    if what == "plain HTTP" {
        assert_eq!(world.count(distinct), events);
    }
    assert_eq!(world.count("select count(*) from analytics.\"phone.app\""), events);
}

/// Replies in bytes that the server sent; the state says how far into a frame they got.
type Count = fn(&mut Frames, &[u8]) -> u64;

struct Proxy {
    address: SocketAddr,
    lost: Arc<AtomicU64>,
}

impl Proxy {
    fn start(to: SocketAddr, count: Count) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (replies, lost) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let noted = Arc::clone(&lost);
        thread::spawn(move || {
            for client in listener.incoming() {
                // After the test the service is gone, and so is whoever would ask.
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(to)) else { return };
                relay(client, server, count, Arc::clone(&replies), Arc::clone(&noted));
            }
        });
        Self { address, lost }
    }
}

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
            let before = replies.fetch_add(0, Ordering::Relaxed);
            let here = count(&mut frames, &buffer[..read]);
            replies.fetch_add(here, Ordering::Relaxed);
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
