//! `candor serve`: the service, until it is told to stop.

use std::sync::Arc;

use candor_ingest::fleet::Fleet;
use candor_ingest::serve::{Addresses, serve};
use candor_store::clock::SystemClock;
use candor_store::error::Kind;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Serve;
use crate::exit::{Exit, Failure, with_mend};
use crate::render::{counted, tell};
use crate::settings::Settings;
use crate::supervisor;
use crate::witnesses::{self, OverHttp};

pub(crate) async fn run(args: &Serve, settings: &Settings) -> Result<Exit, Failure> {
    let fleet = load(settings)?;
    witnesses::check(&settings.store.log.witnesses().map_err(candor_store::error::Error::from)?)?;
    // Who reads the log as JSON has these lines in it.
    let say = |text: String| {
        if !args.log_json {
            tell(&text);
        }
    };
    let stop = stop_signal()?;
    let stop = async {
        stop.await;
        supervisor::stopping();
        say("candor: stopping; what is under way is finished and sealed".to_owned());
    };
    let data = settings.data.display();
    let ready = |at: Addresses| {
        let scheme = if at.tls { "https" } else { "http" };
        let grpc = at.grpc.map(|address| format!(" and, for gRPC, {scheme}://{address}")).unwrap_or_default();
        supervisor::ready(&format!("taking requests on {scheme}://{}{grpc}", at.http));
        say(format!("candor: ready on {scheme}://{}{grpc}, data in {data}", at.http));
    };
    let _alive = supervisor::stay_alive();
    let (service, store) = (settings.service.clone(), settings.store.clone());
    let report = serve(fleet, service, store, Arc::new(SystemClock), Arc::new(OverHttp), ready, stop).await;
    let report = report.map_err(failure)?;
    let (rows, files) = (counted(report.flush.rows, "row"), counted(report.flush.files, "file"));
    say(format!("candor: stopped; sealed {rows} into {files}"));
    Ok(Exit::Done)
}

/// The fleet of the settings; its problems are told as text with file, line and column.
pub(crate) fn load(settings: &Settings) -> Result<Fleet, Failure> {
    let folder = settings.fleet()?;
    Fleet::load(folder).map_err(|problems| {
        let count = problems.0.len();
        Failure::configuration(format!("the fleet folder {} has problems\n{problems}", folder.display()))
            .mend(format!("{count} to mend; `candor policy check {}` shows them in their place", folder.display()))
    })
}

/// The exit code follows from the kind of the service's error.
pub(crate) fn failure(error: candor_ingest::error::Error) -> Failure {
    let exit = match error.kind() {
        Kind::Retry | Kind::Stop => Exit::Failed,
        Kind::Request => Exit::Usage,
        Kind::Data => Exit::BadConfiguration,
    };
    match error {
        candor_ingest::error::Error::Store(error) => error.into(),
        other => with_mend(exit, &other.to_string()),
    }
}

fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let listen = |kind| signal(kind).map_err(|e| Failure::new(Exit::Failed, format!("signals cannot be heard: {e}")));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    // The service reads its certificate again on it; without one it must not end the process either.
    let hangup = listen(SignalKind::hangup())?;
    Ok(async move {
        let _heard = hangup;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
