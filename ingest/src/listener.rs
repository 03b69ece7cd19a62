//! The accept loop: caps on connections, time for each step of one, and a stop that lets requests in flight end.
//!
//! `axum::serve` sets no timer on request heads, so that a connection that sends nothing would stay for ever.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use axum::routing::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use crate::address::Addresses;
use crate::connection::{Connection, Version, drive};
use crate::metrics::OpenConnection;
use crate::process;
use crate::service::Service;
use crate::settings::Limits;
use crate::stream::{Noted, Sniffed};
use crate::tls;

/// After a failed accept: most often there is no free file descriptor, and none comes free by asking at once.
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes of one HTTP/2 connection that hyper holds before a handler reads them: they are in no budget.
const WINDOW: u32 = 256 << 10;
/// How long a silent HTTP/2 client stays before it is asked whether it lives, and how long it has for its answer.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(20);

/// How long streams whose connection is gone may take to notice.
const LAST_STREAMS: Duration = Duration::from_secs(5);

/// Where connections come from and what answers them.
pub(crate) struct Door {
    pub(crate) http: TcpListener,
    /// A second listener, for those who keep the port of gRPC apart; each answers everything.
    pub(crate) grpc: Option<TcpListener>,
    pub(crate) tls: Option<tls::Current>,
    pub(crate) router: Router,
}

/// Accepts connections until `shutdown`, then gives requests in flight `grace` to end.
pub(crate) async fn run(door: Door, service: &Arc<Service>, grace: Duration, shutdown: impl Future<Output = ()>) {
    let Door { http, grpc, tls, router } = door;
    let slots = Arc::new(Semaphore::new(connections(&service.limits)));
    let addresses = Addresses::new(service.limits.connections_per_address);
    let (stop, stopped) = watch::channel(false);
    let (alive, mut all_gone) = mpsc::channel(1);
    let front = Arc::new(Front { router, tls, limits: service.limits.clone(), streams: Streams { alive } });
    let mut tasks = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        // Without a free slot connections wait in the system's queue, where they cost next to nothing.
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, accept(&http, grpc.as_ref()).await)
        };
        let (slot, (stream, peer)) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accepted => accepted,
        };
        while tasks.try_join_next().is_some() {}
        let Some(place) = addresses.take(peer.ip()) else {
            service.metrics.turned_away.inc();
            continue;
        };
        let open = OpenConnection::new(Arc::clone(service));
        let (front, stopped) = (Arc::clone(&front), stopped.clone());
        tasks.spawn(async move {
            let _held = (slot, place, open);
            front.serve(stream, peer.ip(), stopped).await;
        });
    }
    drop((http, grpc, front));
    stop.send_replace(true);
    let ended = timeout(grace, async { while tasks.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::warn!("some requests did not end in time: their clients will send them again");
    }
    tasks.shutdown().await;
    // Streams of HTTP/2 have tasks of their own, which end once they see that their connection is gone.
    let _ = timeout(LAST_STREAMS, all_gone.recv()).await;
}

async fn accept(http: &TcpListener, grpc: Option<&TcpListener>) -> (TcpStream, SocketAddr) {
    loop {
        let second = async {
            match grpc {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        let accepted = tokio::select! {
            accepted = http.accept() => accepted,
            accepted = second => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Answers are small and leave at once; without the option they only leave later.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// What all connections share.
struct Front {
    router: Router,
    tls: Option<tls::Current>,
    limits: Limits,
    streams: Streams,
}

/// Runs the streams of HTTP/2 connections, in such a way that somebody can wait for the last of them.
#[derive(Clone)]
struct Streams {
    alive: mpsc::Sender<Infallible>,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let alive = self.alive.clone();
        tokio::spawn(async move {
            stream.await;
            drop(alive);
        });
    }
}

impl Front {
    async fn serve(&self, stream: TcpStream, peer: IpAddr, stop: watch::Receiver<bool>) {
        match &self.tls {
            None => self.sniff(stream, peer, stop).await,
            Some(current) => {
                let acceptor = TlsAcceptor::from(Arc::clone(&current.borrow()));
                // Who speaks no TLS, or not in time, is closed without a word: there is none that he would understand.
                let handshake = timeout(self.limits.handshake_time(), acceptor.accept(stream));
                if let Some(Ok(Ok(stream))) = unless_stopped(&stop, handshake).await {
                    self.sniff(stream, peer, stop).await;
                }
            }
        }
    }

    /// Tells the version of HTTP by what the client sends first: gRPC comes on every listener, with TLS or without.
    async fn sniff<S>(&self, stream: S, peer: IpAddr, stop: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let since = Instant::now();
        let sniff = timeout(self.limits.header_time(), Sniffed::new(stream));
        let Some(Ok(Ok(Some(sniffed)))) = unless_stopped(&stop, sniff).await else { return };
        let version = sniffed.version;
        let connection = Connection::new(&self.limits, peer, since);
        let io = TokioIo::new(sniffed.noted(Arc::clone(&connection), self.limits.http2_streams));
        self.speak(io, version, &connection, stop).await;
    }

    async fn speak<S>(
        &self,
        io: TokioIo<Noted<S>>,
        version: Version,
        connection: &Arc<Connection>,
        stop: watch::Receiver<bool>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (router, known) = (TowerToHyperService::new(self.router.clone()), Arc::clone(connection));
        let answer = service_fn(move |mut request: Request<Incoming>| {
            let busy = known.busy();
            request.extensions_mut().insert(Arc::clone(&known));
            let answer = router.call(request.map(Body::new));
            async move {
                let answer: Result<Response, Infallible> = answer.await;
                drop(busy);
                answer
            }
        });
        let limits = &self.limits;
        match version {
            Version::Http1 => {
                let served = http1(limits).serve_connection(io, answer);
                drive(served, connection, version, limits, stop).await;
            }
            Version::Http2 => {
                let served = http2(limits, self.streams.clone()).serve_connection(io, answer);
                drive(served, connection, version, limits, stop).await;
            }
        }
    }
}

/// What a step comes to, or nothing if the service stops first: no request is under way yet.
async fn unless_stopped<T>(stop: &watch::Receiver<bool>, work: impl Future<Output = T>) -> Option<T> {
    let mut stop = stop.clone();
    tokio::select! {
        done = work => Some(done),
        _ = stop.wait_for(|stop| *stop) => None,
    }
}

fn http1(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Behind the timers of `connection`, which know an idle client from a slow one.
        .header_read_timeout(limits.header_time() + limits.idle_time())
        .max_header_size(limits.header_bytes)
        .keep_alive(true);
    builder
}

fn http2(limits: &Limits, streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits.http2_streams)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    builder
}

/// As many connections as the limit says, but never more than half of all files: the store needs the rest.
fn connections(limits: &Limits) -> usize {
    let half = (process::file_limit() / 2).max(1) as usize;
    limits.connections.min(half)
}
