//! What only a socket shows: slow clients, and a stop with a request in flight.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::world::{Folders, StillClock, body_of, opened, token};
use crate::error::Error;
use crate::fleet::Fleet;
use crate::role::Role;
use crate::serve::{Report, serve};
use crate::settings::{Limits, Settings};
use crate::witnesses::Nobody;

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    end: JoinHandle<Result<Report, Error>>,
}

async fn start(folders: &Folders, limits: Limits) -> Running {
    let fleet = Fleet::load(&folders.fleet()).unwrap();
    let http = "127.0.0.1:0".parse().unwrap();
    let settings = Settings { http, stop_seconds: 5, limits, ..Settings::default() };
    let clock = Arc::new(StillClock(AtomicI64::new(1_780_000_000_000_000)));
    let (stop, stopped) = oneshot::channel();
    let (ready, address) = oneshot::channel();
    let store = folders.store_settings();
    let end = tokio::spawn(serve(
        fleet,
        settings,
        store,
        clock,
        Arc::new(Nobody),
        |address| ready.send(address.http).unwrap(),
        async {
            let _ = stopped.await;
        },
    ));
    Running { address: address.await.unwrap(), stop, end }
}

fn head(length: usize) -> String {
    let token = token(Role::Device);
    format!(
        "POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/x-protobuf\r\nContent-Length: {length}\r\n\r\n"
    )
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        match tokio::time::timeout(Duration::from_secs(20), stream.read(&mut chunk)).await.expect("an end in time") {
            Ok(0) | Err(_) => return String::from_utf8_lossy(&answer).into_owned(),
            Ok(read) => answer.extend_from_slice(&chunk[..read]),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_a_request_in_flight_end_and_seals_it() {
    let folders = Folders::new();
    let running = start(&folders, Limits::default()).await;
    let body = body_of("phone-1", opened(0, 10));
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(head(body.len()).as_bytes()).await.unwrap();
    stream.write_all(&body[..10]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.stop.send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(TcpStream::connect(running.address).await.is_err(), "nobody new is let in");
    stream.write_all(&body[10..]).await.unwrap();
    let answer = read_all(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let report = running.end.await.unwrap().unwrap();
    assert_eq!(report.flush.rows, 20, "ten for each of two purposes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_idle_connections() {
    let folders = Folders::new();
    let running = start(&folders, Limits::default()).await;
    let _idle = TcpStream::connect(running.address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let started = Instant::now();
    running.stop.send(()).unwrap();
    running.end.await.unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_are_cut_off_and_slow_bodies_are_to_come_again() {
    let folders = Folders::new();
    let running = start(&folders, Limits { header_seconds: 1, request_seconds: 1, ..Limits::default() }).await;
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    silent.write_all(b"POST /v1/logs HTTP/1.1\r\nHost:").await.unwrap();
    let mut slow = TcpStream::connect(running.address).await.unwrap();
    slow.write_all(head(1_000).as_bytes()).await.unwrap();
    slow.write_all(b"x").await.unwrap();
    let answer = read_all(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
    assert!(!read_all(&mut silent).await.contains("200"));
    running.stop.send(()).unwrap();
    running.end.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_refused_early_still_reads_why() {
    let folders = Folders::new();
    let limits = Limits { body_bytes: 64 << 10, ..Limits::default() };
    let running = start(&folders, limits).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let body = vec![0; 4 << 20];
    stream.write_all(head(body.len()).as_bytes()).await.unwrap();
    // With the connection reset the write, or the read after it, would fail.
    stream.write_all(&body).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    drop(stream);
    running.stop.send(()).unwrap();
    running.end.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_stops_the_start_before_the_store_is_touched() {
    let folders = Folders::new();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = Settings { http: taken.local_addr().unwrap(), ..Settings::default() };
    let fleet = Fleet::load(&folders.fleet()).unwrap();
    let clock = Arc::new(StillClock(AtomicI64::new(0)));
    let store = folders.store_settings();
    let error =
        serve(fleet, settings, store, clock, Arc::new(Nobody), |_| (), std::future::pending()).await.unwrap_err();
    assert!(matches!(error, Error::Listen { .. }), "{error}");
    assert!(!folders.store_settings().data.exists());
}
