//! Slow clients and floods harm nobody: the time of honest requests stays what it is, and who is slow is cut off.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::grpc::{Grpc, LOGS, OK};
use crate::otlp::{Event, encode};
use crate::tls::certificate;
use crate::world::{DEVICE, Start, World, figure};

/// Slow connections at a time.
const SLOW: usize = 1_000;
/// Honest requests of one window of time.
const WINDOW: usize = 200;
/// Windows that are tried: other work on the machine slows some of them.
const TRIES: usize = 6;
/// What a shared machine adds to the slowest of two hundred, with or without anybody slow.
const NOISE: Duration = Duration::from_millis(5);

#[test]
fn a_thousand_slow_heads_and_bodies_do_not_slow_honest_clients() {
    let world = World::new();
    let service = world.serve();
    let head = format!(
        "POST /v1/logs HTTP/1.1\r\nhost: slow\r\nauthorization: Bearer {DEVICE}\r\n\
         content-type: application/x-protobuf\r\ncontent-length: 100000\r\n\r\n"
    );
    let mut honest = service.device();
    let mut send = || drop(honest.logs(&event()).unwrap().expect_status(200));
    for (what, at_once) in [("head", "POST /v1/logs HTTP/1.1\r\nx: "), ("body", head.as_str())] {
        let slow = |stop: &AtomicBool| trickle(service.address(), at_once.as_bytes(), stop);
        compare(&format!("{SLOW} slow {what}s"), &mut send, slow);
    }
}

#[test]
fn a_thousand_slow_handshakes_do_not_slow_honest_clients() {
    let world = World::new();
    let files = certificate(&world);
    let environment = files.environment();
    let service = world.start(&Start { environment: &environment, ..Start::default() }).unwrap();
    let mut honest = Grpc::connect_tls(service.address(), Some(DEVICE), &files.certificate);
    let mut send = || drop(honest.export(LOGS, "", &event()).expect(OK));
    // The first bytes of a record that is a ClientHello of 16 KiB.
    let hello = [0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc];
    compare(&format!("{SLOW} slow handshakes"), &mut send, |stop| trickle(service.address(), &hello, stop));
}

#[test]
fn a_flood_of_cancelled_requests_is_cut_off_and_does_not_slow_honest_clients() {
    let world = World::new();
    let service = world.serve();
    let mut honest = service.device();
    let mut send = || drop(honest.logs(&event()).unwrap().expect_status(200));
    let (cut, cancelled) = (AtomicU64::new(0), AtomicU64::new(0));
    compare("a flood of cancelled HTTP/2 requests", &mut send, |stop| {
        while !stop.load(Ordering::Relaxed) {
            let (requests, was_cut) = flood(service.address(), 100_000);
            cancelled.fetch_add(requests, Ordering::Relaxed);
            cut.fetch_add(u64::from(was_cut), Ordering::Relaxed);
            thread::sleep(Duration::from_millis(20));
        }
    });
    let (cut, cancelled) = (cut.into_inner(), cancelled.into_inner());
    figure(&format!("slow: {cut} connections cut after {} cancelled requests each", cancelled / cut.max(1)));
    assert!(cut > 0, "nobody was cut off");
}

#[test]
fn who_is_slow_is_cut_off_in_time_or_told_to_come_again() {
    let world = World::new();
    let files = certificate(&world);
    let limits = [
        ("CANDOR_LIMITS_HANDSHAKE_SECONDS", "1"),
        ("CANDOR_LIMITS_HEADER_SECONDS", "1"),
        ("CANDOR_LIMITS_BODY_SECONDS", "1"),
        ("CANDOR_LIMITS_IDLE_SECONDS", "3"),
    ];
    let plain = world.start(&Start { environment: &limits, ..Start::default() }).unwrap();
    let other = World::new();
    let environment = [limits.as_slice(), &files.environment()].concat();
    let secure = other.start(&Start { environment: &environment, ..Start::default() }).unwrap();

    // (what, where, what is sent, the answer, least and most seconds that it takes)
    let head = "POST /v1/logs HTTP/1.1\r\nhost: slow\r\ncontent-type: application/x-protobuf\r\ncontent-length: 9\r\n";
    let body = format!("{head}authorization: Bearer {DEVICE}\r\n\r\nx");
    let asked = "GET /healthz HTTP/1.1\r\nhost: idle\r\n\r\n";
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let cases = [
        ("silence", &plain, "", "", 0.8, 5.0),
        ("a slow head", &plain, head, "", 0.8, 5.0),
        ("a slow body", &plain, body.as_str(), "HTTP/1.1 503", 0.8, 16.0),
        ("an idle connection", &plain, asked, "HTTP/1.1 200", 2.5, 8.0),
        ("an idle HTTP/2 connection", &plain, preface, "", 2.5, 12.0),
        ("a slow handshake", &secure, "\x16\x03\x01", "", 0.8, 5.0),
    ];
    thread::scope(|scope| {
        for (what, service, sent, answer, least, most) in cases {
            scope.spawn(move || {
                let started = Instant::now();
                let mut stream = TcpStream::connect(service.address()).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                stream.write_all(sent.as_bytes()).unwrap();
                let got = read_to_close(&mut stream);
                let seconds = started.elapsed().as_secs_f64();
                assert!(got.starts_with(answer.as_bytes()), "{what}: {}", String::from_utf8_lossy(&got));
                assert!(answer != "HTTP/1.1 503" || String::from_utf8_lossy(&got).contains("retry-after: 1"));
                assert!((least..most).contains(&seconds), "{what} took {seconds:.1} s");
            });
        }
    });
}

/// Compares the slowest of a hundred honest requests with and without those who are slow.
fn compare(what: &str, send: &mut impl FnMut(), slow: impl Fn(&AtomicBool) + Sync) {
    let mut window = || {
        let mut times: Vec<Duration> = (0..WINDOW)
            .map(|_| {
                let started = Instant::now();
                send();
                started.elapsed()
            })
            .collect();
        times.sort();
        times[WINDOW * 99 / 100]
    };
    window();
    let mut pairs = Vec::new();
    for _ in 0..TRIES {
        let usual = window();
        let stop = AtomicBool::new(false);
        let attacked = thread::scope(|scope| {
            let _until_the_end = Stop(&stop);
            scope.spawn(|| slow(&stop));
            thread::sleep(Duration::from_millis(1_500));
            window()
        });
        pairs.push((usual, attacked));
        if attacked < 2 * usual + NOISE {
            break;
        }
    }
    figure(&format!("slow: {what}: (usual p99, p99 among them) of each window: {pairs:?}"));
    let (usual, attacked) = *pairs.last().expect("a window");
    assert!(attacked < 2 * usual + NOISE, "{what}: {pairs:?}");
}

/// Stops the slow ones, also when an honest request fails: the scope waits for them.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Keeps many connections open that say `at_once` and then one byte a second; who is cut off comes again.
fn trickle(to: SocketAddr, at_once: &[u8], stop: &AtomicBool) {
    let connect = || {
        let mut stream = TcpStream::connect(to).ok()?;
        stream.write_all(at_once).ok()?;
        stream.set_nonblocking(true).ok()?;
        Some(stream)
    };
    let mut streams: Vec<Option<TcpStream>> = (0..SLOW).map(|_| connect()).collect();
    assert!(streams.iter().flatten().count() > SLOW * 9 / 10, "the slow ones were not let in");
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        if Instant::now() < next {
            thread::sleep(Duration::from_millis(10));
            continue;
        }
        next += Duration::from_secs(1);
        for slot in &mut streams {
            if slot.as_mut().is_none_or(|stream| stream.write_all(b"x").is_err()) {
                *slot = connect();
            }
        }
    }
}

/// Opens requests and cancels them, as fast as they go: how many, and whether the service closed the connection.
fn flood(to: SocketAddr, most: u64) -> (u64, bool) {
    let Ok(mut stream) = TcpStream::connect(to) else { return (0, false) };
    stream.set_nonblocking(true).expect("an option of sockets");
    let frame = |kind: u8, flags: u8, id: u32, payload: &[u8]| {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &id.to_be_bytes(), payload].concat()
    };
    let mut pending = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[])].concat();
    let (mut opened, mut sent) = (0, 0);
    let mut drain = [0; 4_096];
    let patience = Instant::now() + Duration::from_secs(5);
    while opened < most && Instant::now() < patience {
        if sent == pending.len() {
            (pending, sent) = (Vec::new(), 0);
            for _ in 0..8 {
                let id = 1 + 2 * opened as u32;
                // :method POST, :scheme http, :path /, :authority x; HEADERS that end there, then RST_STREAM with CANCEL.
                pending.extend(frame(1, 4, id, &[0x83, 0x86, 0x84, 0x41, 1, b'x']));
                pending.extend(frame(3, 0, id, &8_u32.to_be_bytes()));
                opened += 1;
            }
        }
        match stream.write(&pending[sent..]) {
            Ok(written) => sent += written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_micros(100)),
            Err(_) => return (opened, true),
        }
        match stream.read(&mut drain) {
            Ok(0) => return (opened, true),
            Err(error) if error.kind() != ErrorKind::WouldBlock => return (opened, true),
            _ => {}
        }
    }
    (opened, false)
}

fn read_to_close(stream: &mut TcpStream) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return all,
            Ok(read) => all.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("the connection was not closed"),
            Err(_) => return all,
        }
    }
}

/// The same request each time: after the first it is answered from memory, so that times are not those of a shared disk.
fn event() -> Vec<u8> {
    encode(&[Event::numbered("honest-01", 1)])
}
