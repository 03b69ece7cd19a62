//! Running the service: open the store, listen, stop, seal.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use candor_store::clock::Clock;
use candor_store::settings::Settings as StoreSettings;
use candor_store::store::{Figures, FlushReport, Store};
use candor_wire::log::note::VerifierKey;
use candor_wire::statement::ConsentRequest;
use futures::future::join_all;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::error::Error;
use crate::fleet::Fleet;
use crate::limit::Budget;
use crate::listener::Door;
use crate::metrics::Metrics;
use crate::protocol::consent;
use crate::rate::Rates;
use crate::service::Service;
use crate::settings::Settings;
use crate::strangers::Strangers;
use crate::subject::Readings;
use crate::witnesses::{Ask, Witnesses};
use crate::workers::Workers;
use crate::{listener, route, tls};

/// Who vouches for the statements of a fleet folder; no source can have this name, since it holds a blank.
const FLEET_FOLDER: &str = "fleet folder";

/// What a service did between start and stop.
#[derive(Clone, Debug)]
pub struct Report {
    /// The store's figures at the stop, before the last flush.
    pub figures: Figures,
    /// What the last flush sealed.
    pub flush: FlushReport,
}

/// Where a service that is ready can be reached.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// OTLP over HTTP, gRPC and everything else.
    pub http: SocketAddr,
    /// The second address, if one is set.
    pub grpc: Option<SocketAddr>,
    /// Whether they speak TLS.
    pub tls: bool,
}

/// Runs the service until `shutdown`: then it stops accepting, gives requests in flight `stop_seconds`, and seals what is there.
/// `ready` hears the addresses once requests are taken; `ask` is the way to the witnesses of the settings. Call [`crate::process::harden`] first.
///
/// # Errors
/// If it cannot start, or the last flush fails: what was acknowledged is in segments then, and the next start has it.
pub async fn serve(
    fleet: Fleet,
    settings: Settings,
    store: StoreSettings,
    clock: Arc<dyn Clock>,
    ask: Arc<dyn Ask>,
    ready: impl FnOnce(Addresses),
    shutdown: impl Future<Output = ()>,
) -> Result<Report, Error> {
    settings.check()?;
    let witnesses = store.log.witnesses().map_err(candor_store::error::Error::from)?;
    // Before the store is opened: a second service on the same port should touch nothing.
    let (http, address) = listen(settings.http).await?;
    let (grpc, second) = match settings.grpc {
        Some(address) => listen(address).await.map(|(listener, bound)| (Some(listener), Some(bound)))?,
        None => (None, None),
    };
    let (tls, follow) = match settings.tls.clone() {
        Some(files) => {
            let (sender, current) = watch::channel(tls::load(&files)?);
            (Some(current), Some(tokio::spawn(tls::follow(files, sender))))
        }
        None => (None, None),
    };
    let grace = Duration::from_secs(settings.stop_seconds);
    let service = open(fleet, settings, store, Arc::clone(&clock)).await?;
    let figures = |key: &VerifierKey| service.metrics.of_witness(key);
    let witnesses = Witnesses::start(witnesses, (&service.store.log(), &ask, &clock), figures);
    let addresses = Addresses { http: address, grpc: second, tls: tls.is_some() };
    let door = Door { http, grpc, tls, router: route::router(&service) };
    tracing::info!(%address, tls = addresses.tls, "ready");
    ready(addresses);
    let stop = async {
        shutdown.await;
        service.stopping.store(true, Ordering::Relaxed);
        tracing::info!("stopping");
    };
    listener::run(door, &service, grace, stop).await;
    if let Some(follow) = follow {
        follow.abort();
    }
    // Before the store lets go of the folder: a signature may be on its way into the log.
    witnesses.stop().await;
    close(service).await
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Opens the store and records what the fleet folder says of consent.
pub(crate) async fn open(
    fleet: Fleet,
    settings: Settings,
    store: StoreSettings,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Service>, Error> {
    let Fleet { plan, sources, parties, consents } = fleet;
    let repeat_hours = store.repeat_hours;
    let rates = Rates::new(&sources, settings.limits.requests_per_second);
    let strangers = Strangers::new(settings.limits.subject_requests_per_second);
    let readings = Readings::new(&store);
    let fleet = plan.catalogue().name.as_str().into();
    let signed = sources.iter().any(|source| source.signed);
    let store = Store::open(store, Arc::clone(&plan), Arc::clone(&clock)).await?;
    let service = Arc::new(Service {
        plan,
        fleet,
        sources,
        parties,
        store,
        clock,
        budget: Budget::new(settings.limits.in_flight_bytes),
        limits: settings.limits,
        rates,
        strangers,
        readings,
        repeat_hours,
        workers: Workers::new(),
        metrics: Metrics::new(),
        stopping: AtomicBool::new(false),
    });
    let applied = if signed && service.store.receipt_key().is_none() {
        Err(Error::NoReceiptKey)
    } else {
        apply(&service, consents).await
    };
    if let Err(error) = applied {
        close(service).await?;
        return Err(error);
    }
    Ok(service)
}

/// Records the fleet folder's statements of subjects who have none yet: what a subject said later always stands.
async fn apply(service: &Service, consents: Vec<ConsentRequest>) -> Result<(), Error> {
    let keys = service.store.keys();
    let is_new = |request: &ConsentRequest| {
        let subject = keys.ledger_id(&request.subject);
        service.store.consent(&[subject]).of(0).sequence() == 0 && !service.store.is_erased(&subject)
    };
    let mut applied = 0;
    for mut run in consent::in_runs(consents) {
        run.retain(is_new);
        // Whatever they say: who is in the file waits for the start anyway, and until then nothing of theirs is taken.
        service.store.room_for_statements().await?;
        let recorded =
            join_all(run.into_iter().map(|request| service.store.record_consent(request, FLEET_FOLDER))).await;
        applied += recorded.into_iter().collect::<Result<Vec<_>, _>>()?.len();
    }
    if applied > 0 {
        tracing::info!(statements = applied, "statements of the fleet folder recorded");
    }
    Ok(())
}

/// Closes the store, once nobody else holds it.
pub(crate) async fn close(service: Arc<Service>) -> Result<Report, Error> {
    // Connections are gone; what may be left is a worker whose client went away.
    service.workers.idle().await;
    let service = Arc::into_inner(service).ok_or(Error::Unfinished)?;
    let figures = service.store.figures();
    let flush = service.store.close().await?;
    tracing::info!(rows = flush.rows, files = flush.files, "sealed and stopped");
    Ok(Report { figures, flush })
}
