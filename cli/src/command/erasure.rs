//! `candor erasure`: asking for it, and what it leaves in one's hands.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use candor_agent::erasure::{self, Erasures, OfEpoch};
use candor_agent::error::Error;
use candor_agent::identity::Identity;
use candor_agent::rim::{SystemClock as DeviceClock, SystemEntropy, Transport};
use candor_policy::hex;
use candor_policy::subject::LedgerId;
use candor_store::clock::SystemClock;
use candor_store::erase::Progress as Stage;
use candor_store::store::Store;
use candor_store::store::erasure::still_taken;
use candor_wire::erasure::{ErasureRequest as Document, Scope, SignedCertificate};
use candor_wire::signature;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::args::{Erasure, ErasureOf, ErasureRequest, ErasureStatus};
use crate::command::agent::asking;
use crate::command::consent;
use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::render::{Report, counted, printable};
use crate::service;
use crate::settings::{Flags, Settings};

const PATH: &str = "/v1/subject/erasure";

/// Runs a command of erasures.
pub(crate) async fn run(command: &Erasure, settings: &Settings) -> Result<Exit, Failure> {
    match command {
        Erasure::Request(args) => request(args, settings).await,
        Erasure::Status(args) => status(args, settings).await,
        Erasure::Run(_) => pass(settings).await,
    }
}

impl Erasure {
    /// Its flags that are settings.
    pub(crate) fn flags(&self, flags: Flags) -> Flags {
        let of = match self {
            Self::Run(args) => return flags.service(&args.service),
            Self::Request(args) => &args.of,
            Self::Status(args) => &args.of,
        };
        flags
            .path("data", of.data.as_deref())
            .path("identity", of.identity.as_deref())
            .path("fleet", of.fleet.fleet.as_deref())
            .service(&of.service)
    }
}

async fn request(args: &ErasureRequest, settings: &Settings) -> Result<Exit, Failure> {
    let scope = scope(args)?;
    let what = said_of(&scope);
    let _progress = Progress::start("asking");
    let found = match subject(&args.of, settings)? {
        Who::Holder(identity) => {
            let rim = (Arc::new(DeviceClock) as _, Arc::new(SystemEntropy) as _);
            erasure::request(&identity, rim, &mut asking(settings)?, &scope).await?
        }
        Who::Named(value) if args.of.data.is_some() => in_folder(&value, Some(scope), settings).await?,
        Who::Named(value) => {
            let body = serde_json::to_vec(&Document { scope }).map_err(|_| Failure::usage("the scope is no JSON"))?;
            let answer = named(Method::POST, &value, body.into(), settings).await?;
            let erasure = serde_json::from_slice(&answer).map_err(|_| Failure::from(Error::Answer("an erasure")))?;
            vec![OfEpoch { epoch: 0, subject: None, erasures: vec![erasure] }]
        }
    };
    let mut report = report("erasure.request", &found, None);
    report.note(match found.len() {
        0 => "the service knows nothing of this subject".to_owned(),
        _ => format!("asked for: {what}"),
    });
    let still: BTreeSet<&str> =
        found.iter().flat_map(|of| &of.erasures).flat_map(|one| &one.still_taken).map(String::as_str).collect();
    if !still.is_empty() {
        let names = still.into_iter().map(printable).collect::<Vec<_>>().join(", ");
        report.note(format!(
            "new events are stored for these all the same, since no consent is asked for them: {names}; --all ends that"
        ));
    }
    report.print(&settings.answer)?;
    Ok(Exit::Done)
}

/// What is said of new events.
const fn said_of(scope: &Scope) -> &'static str {
    match scope {
        Scope::All => "nothing is stored of this subject from now on",
        Scope::Purposes(_) => "these purposes are withdrawn, and what is stored for them goes with the next pass",
        Scope::Received { .. } => {
            "what was received on these days goes with the next pass; what comes now is stored as before"
        }
    }
}

async fn status(args: &ErasureStatus, settings: &Settings) -> Result<Exit, Failure> {
    let _progress = Progress::start("asking");
    let unverified = |error: Error| match error {
        Error::Answer(_) => Failure { exit: Exit::VerificationFailed, ..Failure::from(error) },
        other => other.into(),
    };
    let who = subject(&args.of, settings)?;
    let found = match &who {
        Who::Holder(identity) => {
            let rim = (Arc::new(DeviceClock) as _, Arc::new(SystemEntropy) as _);
            erasure::status(identity, rim, &mut asking(settings)?).await.map_err(unverified)?
        }
        Who::Named(value) if args.of.data.is_some() => in_folder(value, None, settings).await?,
        Who::Named(value) => {
            let answer = named(Method::GET, value, Bytes::new(), settings).await?;
            let answer: Erasures =
                serde_json::from_slice(&answer).map_err(|_| Failure::from(Error::Answer("erasures")))?;
            let id = hex::decode(&answer.subject).and_then(|id| id.try_into().ok()).map(LedgerId::from_bytes);
            let holds = id.is_some_and(|id| answer.erasures.iter().all(|one| erasure::holds(one, &id)));
            if !holds {
                return Err(unverified(Error::Answer("certificates of this subject")));
            }
            vec![OfEpoch { epoch: 0, subject: Some(answer.subject), erasures: answer.erasures }]
        }
    };
    let folder = args.certificates.as_deref();
    let mut report = report("erasure.status", &found, folder);
    tell_subjects(&mut report, &found, matches!(who, Who::Holder(_)));
    match folder {
        Some(folder) => {
            let written = write(folder, &found)?;
            report.note(format!("{} in {}", counted(written, "certificate"), folder.display()));
            tell_commands(&mut report, &found, folder, settings, args.of.data.is_some());
        }
        None if signed(&found).next().is_some() => {
            report.note("--certificates DIR writes each certificate into a file, and says how it is checked");
        }
        None => {}
    }
    report.print(&settings.answer)?;
    Ok(Exit::Done)
}

/// What `POST /v1/erasures` answers.
#[derive(Deserialize)]
struct Passed {
    erasures: u64,
    files: u64,
    rows: u64,
    open: u64,
    waiting: Vec<Value>,
    why: Option<String>,
}

async fn pass(settings: &Settings) -> Result<Exit, Failure> {
    let mut client = service::client(settings)?;
    let progress = Progress::start("erasing");
    let answer = service::post(&mut client, "/v1/erasures", String::new()).await?;
    drop(progress);
    let done: Passed = serde_json::from_value(answer).map_err(|_| Error::Answer("a report of erasures"))?;
    let mut report =
        Report::new("erasure.run").number("erasures", "erasures").number("files", "files").number("rows", "rows");
    report.row(vec![json!(done.erasures), json!(done.files), json!(done.rows)]);
    report.fact("open", done.open);
    report.fact("waiting", done.waiting);
    report.fact("why", done.why.clone());
    // Whoever asked meanwhile waits for the next pass, and nothing is wrong with that.
    let exit = if done.why.is_some() { Exit::Failed } else { Exit::Done };
    if done.open > 0 {
        let why = printable(done.why.as_deref().unwrap_or("they were asked for meanwhile"));
        report.note(format!("{} still open: {why}", counted(done.open as usize, "erasure")));
    }
    report.print(&settings.answer)?;
    Ok(exit)
}

enum Who {
    Holder(Identity),
    Named(String),
}

fn subject(of: &ErasureOf, settings: &Settings) -> Result<Who, Failure> {
    if let Some(subject) = &of.subject {
        return Ok(Who::Named(service::or_stdin(subject, "subject")?));
    }
    let path = settings.identity.as_deref().ok_or_else(|| Failure::usage("no identity is named"))?;
    Ok(Who::Holder(Identity::read(path)?))
}

fn scope(args: &ErasureRequest) -> Result<Scope, Failure> {
    let scope = if args.all {
        Scope::All
    } else if args.purpose.is_empty() {
        Scope::Received { from: args.from.clone(), to: args.to.clone() }
    } else {
        Scope::Purposes(args.purpose.clone())
    };
    let scope = scope.in_order();
    scope.check().map_err(|why| Failure::usage(format!("nothing can be erased by this: {why}")))?;
    Ok(scope)
}

/// Asks as an operator, for a subject that is named.
async fn named(method: Method, value: &str, body: Bytes, settings: &Settings) -> Result<Bytes, Failure> {
    let mut client = service::client(settings)?;
    let mut subject = HeaderValue::from_bytes(value.as_bytes())
        .map_err(|_| Failure::usage("the subject fits no header").mend("use --data, beside the service"))?;
    subject.set_sensitive(true);
    let request = Request::builder().method(method).uri(format!("{}{PATH}", client.base()));
    let request = request.header(&signature::SUBJECT, subject).header(CONTENT_TYPE, "application/json").body(body);
    let request = request.map_err(|_| Failure::usage("the address of the service cannot be used"))?;
    service::answer(client.exchange(request).await?)
}

/// The same in a folder that no service uses; what is asked for is done at once.
async fn in_folder(value: &str, scope: Option<Scope>, settings: &Settings) -> Result<Vec<OfEpoch>, Failure> {
    let fleet = super::serve::load(settings)?;
    let store = Store::open(settings.store.clone(), Arc::clone(&fleet.plan), Arc::new(SystemClock)).await?;
    let subject = store.keys().ledger_id(value);
    let still = scope.as_ref().map_or_else(Vec::new, |scope| still_taken(fleet.plan.policy(), scope));
    let outcome = async {
        if let Some(scope) = scope {
            store.check_scope(&scope)?;
            if let Scope::Purposes(names) = &scope {
                store.withdraw(value, names, (fleet.plan.policy(), consent::SOURCE)).await?;
            }
            let asked = store.request_erasure(subject, scope).await?;
            let passed = store.erase_now().await?;
            // What keeps others is told to whoever asks for those.
            if let Some(why) = passed.why.filter(|_| passed.open.iter().any(|one| one.id == asked.id)) {
                return Err(why);
            }
        }
        store.erasures(&subject).await
    };
    let outcome = outcome.await;
    // Whatever came of it, the lock is given back and what was written is sealed.
    store.close().await?;
    let erasures = outcome?.into_iter().map(|one| erasure::Erasure {
        id: one.id,
        state: if one.progress == Stage::Done { "done" } else { "open" }.to_owned(),
        scope: one.scope,
        requested_at: one.requested_at,
        deadline: one.deadline,
        done_at: one.done_at,
        certificate: one.certificate,
        entry: one.entry,
        still_taken: still.clone(),
    });
    let subject = Some(hex::encode(subject.as_bytes()));
    Ok(vec![OfEpoch { epoch: 0, subject, erasures: erasures.collect() }])
}

/// A row an erasure. Certificates are, or will be, in `folder`.
fn report(kind: &'static str, found: &[OfEpoch], folder: Option<&Path>) -> Report {
    let mut report = Report::new(kind)
        .number("epoch", "epoch")
        .column("id", "id")
        .column("state", "state")
        .column("scope", "what")
        .column("requested_at", "asked for")
        .column("deadline", "until")
        .column("done_at", "done")
        .number("rows", "rows")
        .number("entry", "log entry")
        .detail("certificate")
        .detail("subject")
        .detail("file")
        .detail("still_taken");
    let time = |micros: i64| jiff::Timestamp::from_microsecond(micros).map(|time| time.to_string()).ok();
    for of_epoch in found {
        for one in &of_epoch.erasures {
            report.row(vec![
                json!(of_epoch.epoch),
                json!(one.id),
                json!(printable(&one.state)),
                json!(one.scope),
                json!(time(one.requested_at)),
                json!(time(one.deadline)),
                json!(one.done_at.and_then(time)),
                json!(one.certificate.as_ref().map(|signed| signed.certificate.rows)),
                json!(one.entry),
                json!(one.certificate),
                json!(of_epoch.subject),
                json!(folder.zip(one.certificate.as_ref()).map(|(folder, signed)| file(folder, signed))),
                json!(one.still_taken),
            ]);
        }
    }
    report
}

/// Every certificate that there is, with the subject that it is about.
fn signed(found: &[OfEpoch]) -> impl Iterator<Item = (Option<&String>, &SignedCertificate)> {
    found
        .iter()
        .flat_map(|of| of.erasures.iter().map(|one| (of.subject.as_ref(), one.certificate.as_ref())))
        .filter_map(|(subject, signed)| Some((subject, signed?)))
}

/// What the ledger calls whoever is meant: a certificate is about that id, and names it to nobody else.
fn tell_subjects(report: &mut Report, found: &[OfEpoch], has_epochs: bool) {
    for of_epoch in found {
        let Some(subject) = &of_epoch.subject else { continue };
        let epoch = if has_epochs { format!("epoch {}: ", of_epoch.epoch) } else { String::new() };
        report.note(format!("{epoch}subject {}", printable(subject)));
    }
}

/// How each certificate is checked, without a line of ours.
fn tell_commands(report: &mut Report, found: &[OfEpoch], folder: &Path, settings: &Settings, in_folder: bool) {
    let held_against = if in_folder { settings.data.display().to_string() } else { "FOLDER".to_owned() };
    for (subject, signed) in signed(found) {
        let subject = subject.map_or_else(String::new, |subject| format!(" --subject {}", printable(subject)));
        let file = file(folder, signed);
        report.note(format!("  python docs/verify.py {held_against} --certificate {}{subject}", file.display()));
    }
    if !in_folder && signed(found).next().is_some() {
        report.note("FOLDER is a bundle of `candor audit export`, or a copy of the data folder");
    }
}

/// The id was checked with the rest: 32 hex digits.
fn file(folder: &Path, signed: &SignedCertificate) -> PathBuf {
    folder.join(format!("{}.json", signed.certificate.id))
}

/// Writes certificates as they are hashed and signed; how many.
fn write(folder: &Path, found: &[OfEpoch]) -> Result<usize, Failure> {
    let failed = |why: &dyn std::fmt::Display| {
        Failure::new(Exit::Failed, format!("a certificate cannot be written into {}: {why}", folder.display()))
    };
    std::fs::create_dir_all(folder).map_err(|why| failed(&why))?;
    let mut written = 0;
    for (_, signed) in signed(found) {
        let text = signed.encode().map_err(|why| failed(&why))?;
        std::fs::write(file(folder, signed), text).map_err(|why| failed(&why))?;
        written += 1;
    }
    Ok(written)
}
