//! The accept loop: a cap on connections, timers on heads, and a stop that lets requests in flight end.
//!
//! `axum::serve` sets no timer on request heads, so that a connection that sends nothing would stay for ever.

use std::sync::Arc;
use std::time::Duration;

use axum::routing::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::metrics::OpenConnection;
use crate::process;
use crate::service::Service;
use crate::settings::Limits;

/// After a failed accept: most often there is no free file descriptor, and none comes free by asking at once.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until `shutdown`, then gives requests in flight `grace` to end.
pub(crate) async fn run(
    listener: TcpListener,
    router: Router,
    service: &Arc<Service>,
    grace: Duration,
    shutdown: impl Future<Output = ()>,
) {
    let slots = Arc::new(Semaphore::new(connections(&service.limits)));
    let builder = builder(&service.limits);
    let graceful = GracefulShutdown::new();
    let mut tasks = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        // Without a free slot connections wait in the system's queue, where they cost next to nothing.
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, accept(&listener).await)
        };
        let (slot, stream) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accepted => accepted,
        };
        while tasks.try_join_next().is_some() {}
        let open = OpenConnection::new(Arc::clone(service));
        let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        let watched = graceful.watch(connection);
        tasks.spawn(async move {
            let _held = (slot, open);
            // Who closes a connection early, or sends no HTTP, has had his answer from hyper; requests log for themselves.
            let _ = watched.await;
        });
    }
    drop(listener);
    if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time: their clients will send them again");
    }
    tasks.shutdown().await;
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are small and leave at once; without the option they only leave later.
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time())
        .max_header_size(limits.header_bytes)
        .keep_alive(true);
    builder
}

/// As many connections as the limit says, but never more than half of all files: the store needs the rest.
fn connections(limits: &Limits) -> usize {
    let half = (process::file_limit() / 2).max(1) as usize;
    limits.connections.min(half)
}
