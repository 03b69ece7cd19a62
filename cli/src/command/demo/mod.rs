//! `candor demo`: the first minute. A service on loopback, a small fleet, a withdrawal, and what is left.

mod fleet;
mod story;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candor_agent::client::Client;
use candor_agent::event::Event;
use candor_agent::send::{SendSettings, Sent, send};
use candor_ingest::fleet::Fleet;
use candor_ingest::serve::serve;
use candor_ingest::witnesses::Nobody;
use candor_policy::consent::ConsentState;
use candor_policy::plan::Plan;
use candor_store::clock::SystemClock;
use candor_store::view::View;
use candor_wire::statement::{ConsentRequest, Notice};
use tokio::sync::oneshot;

use crate::args::Demo;
use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::service;
use crate::settings::Settings;
use fleet::SampleFleet;
use story::{Facts, Story};

/// The device whose data is shown: its owner consents to everything, and withdraws it on the way.
const DEVICE: &str = "demo-phone-01";
/// What is shown of it.
const SHOWN: [&str; 2] = ["phone.app.opened", "phone.app.crashed"];
/// Events that are sent before the withdrawal.
const BEFORE: usize = 30;

/// What happened on the network.
struct Sending {
    address: String,
    sent: Sent,
    /// Sequence of the statement by which the device's owner withdrew.
    withdrawn: i64,
}

pub(crate) async fn run(args: &Demo, settings: &Settings) -> Result<Exit, Failure> {
    let places = Places::make(args.data.as_deref())?;
    let sample = fleet::write(&places.fleet)?;
    let fleet = Fleet::load(&places.fleet).map_err(|problems| {
        Failure::new(Exit::Failed, format!("the sample fleet has problems\n{problems}"))
            .mend("report this: it is a fault")
    })?;
    let plan = Arc::clone(&fleet.plan);
    let progress = Progress::start("starting a service on loopback");
    let sending = through_a_service(fleet, &places.data, &plan, &sample, &progress).await?;
    progress.next("reading what is left");
    let view = View::open(&places.data).await?;
    let facts = Facts {
        held: view.held(DEVICE).await?,
        totals: view.totals().await?,
        tables: view.rows().await?,
        address: sending.address,
        sent: sending.sent,
        withdrawn: sending.withdrawn,
    };
    drop(progress);
    let story = Story { plan: &plan, events: &sample.events, facts: &facts, places: &places };
    story.report()?.print(&settings.answer)?;
    Ok(if story.mismatches().is_empty() { Exit::Done } else { Exit::VerificationFailed })
}

/// Where the demo keeps its files: beside each other, so that the data folder holds nothing but data.
struct Places {
    data: PathBuf,
    fleet: PathBuf,
}

impl Places {
    fn make(data: Option<&Path>) -> Result<Self, Failure> {
        let failure = |path: &Path, why: std::io::Error| {
            Failure::new(Exit::Failed, format!("{} cannot be made: {why}", path.display()))
                .mend("name another place with --data DIR")
        };
        let places = if let Some(data) = data {
            let mut fleet = data.as_os_str().to_owned();
            fleet.push("-fleet");
            Self { data: data.to_owned(), fleet: PathBuf::from(fleet) }
        } else {
            let base = tempfile::Builder::new().prefix("candor-demo-").tempdir();
            let base = base.map_err(|e| failure(&std::env::temp_dir(), e))?.keep();
            Self { data: base.join("data"), fleet: base.join("fleet") }
        };
        for folder in [&places.data, &places.fleet] {
            std::fs::create_dir_all(folder).map_err(|e| failure(folder, e))?;
            if std::fs::read_dir(folder).map_err(|e| failure(folder, e))?.next().is_some() {
                return Err(Failure::usage(format!("{} is not empty", folder.display()))
                    .mend("the demo starts from nothing: name a new folder with --data DIR"));
            }
        }
        Ok(places)
    }
}

/// Serves, and drives what happens as the service's clients would.
async fn through_a_service(
    fleet: Fleet,
    data: &Path,
    plan: &Plan,
    sample: &SampleFleet,
    progress: &Progress,
) -> Result<Sending, Failure> {
    let service = candor_ingest::settings::Settings {
        http: std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
        ..candor_ingest::settings::Settings::default()
    };
    let store =
        candor_store::settings::Settings { data: data.to_owned(), ..candor_store::settings::Settings::default() };
    let (ready, started) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = serve(
        fleet,
        service,
        store,
        Arc::new(SystemClock),
        Arc::new(Nobody),
        |address| {
            // Whoever waits for it is the other half of this function.
            let _ = ready.send(address.http);
        },
        async { drop(stopped.await) },
    );
    let driving = async {
        // Without an address the service has failed, and says why.
        let address = started.await.ok()?;
        let done = drive(&format!("http://{address}"), plan, sample, progress).await;
        drop(stop);
        Some(done)
    };
    let (served, driven) = tokio::join!(serving, driving);
    served.map_err(super::serve::failure)?;
    driven.unwrap_or_else(|| Err(Failure::new(Exit::Failed, "the service did not start")))
}

async fn drive(url: &str, plan: &Plan, sample: &SampleFleet, progress: &Progress) -> Result<Sending, Failure> {
    let mut devices = Client::new(url, Some(sample.device_token), None)?;
    let mut backend = Client::new(url, Some(sample.backend_token), None)?;
    let settings = SendSettings::default();
    let (before, after) = sample.events.split_at(BEFORE.min(sample.events.len()));
    progress.next("sending events as OpenTelemetry logs");
    let mut sent = send(&mut devices, before, &settings).await?;
    let withdrawn = super::consent::post(&mut backend, &withdrawal(plan)).await?.sequence;
    let rest = send(&mut devices, after, &settings).await?;
    sent.events += rest.events;
    sent.requests += rest.requests;
    progress.next("sealing");
    service::post(&mut backend, "/v1/flush", String::new()).await?;
    Ok(Sending { address: url.to_owned(), sent, withdrawn })
}

fn withdrawal(plan: &Plan) -> ConsentRequest {
    let policy = plan.policy();
    ConsentRequest {
        subject: DEVICE.to_owned(),
        purposes: policy.purposes.iter().map(|p| (p.name.clone(), ConsentState::Withdrawn)).collect(),
        notice: Notice { version: policy.notice.clone().unwrap_or_default(), language: "de".to_owned() },
        age_from: None,
        expires: None,
        granted_at: None,
    }
}

/// The device that an event of the sample is from.
fn device(event: &Event) -> Option<&str> {
    event.resource.get("device.id")?.as_str()
}
