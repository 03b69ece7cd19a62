//! `candor consent`: what people consented to, and recording it.

use std::collections::BTreeMap;
use std::sync::Arc;

use candor_agent::client::Client;
use candor_policy::consent::ConsentState;
use candor_store::clock::SystemClock;
use candor_store::store::Store;
use candor_wire::record::ConsentRecord;
use candor_wire::statement::{ConsentRequest, Notice, Statement};
use serde_json::json;

use crate::args::ConsentSet;
use crate::command::catalogue;
use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::render::{Report, printable};
use crate::service;
use crate::settings::Settings;

/// Who vouches for statements that are recorded without a service.
pub(super) const SOURCE: &str = "command line";

/// The state of each purpose.
pub(crate) async fn show(subject: &str, settings: &Settings) -> Result<Exit, Failure> {
    let history = statements(subject, settings).await?;
    let Some(newest) = history.last() else {
        return nothing("consent.show", settings);
    };
    standing(newest).print(&settings.answer)?;
    Ok(Exit::Done)
}

/// Every statement, oldest first.
pub(crate) async fn history(subject: &str, settings: &Settings) -> Result<Exit, Failure> {
    let history = statements(subject, settings).await?;
    if history.is_empty() {
        return nothing("consent.history", settings);
    }
    let mut report = Report::new("consent.history")
        .number("sequence", "sequence")
        .column("received_at", "received")
        .column("purposes", "purposes")
        .column("notice", "notice")
        .number("age_from", "age from")
        .column("expires", "expires")
        .column("source", "source")
        .detail("previous");
    for statement in &history {
        report.row(vec![
            json!(statement.sequence),
            json!(statement.received_at),
            json!(statement.purposes),
            json!(format!("{} {}", statement.notice.version, statement.notice.language)),
            json!(statement.age_from),
            json!(statement.expires),
            json!(statement.source),
            json!(statement.previous),
        ]);
    }
    report.print(&settings.answer)?;
    Ok(Exit::Done)
}

/// Records a statement, at a running service or in a folder that no service uses.
pub(crate) async fn set(args: &ConsentSet, settings: &Settings) -> Result<Exit, Failure> {
    let request = request(args, settings)?;
    let record = if args.data.is_some() {
        record(request, settings).await?
    } else if settings.url.is_some() {
        post(&mut service::client(settings)?, &request).await?
    } else {
        return Err(Failure::usage("neither a service nor a data folder is named")
            .mend("give --url and --token-file for a running service, or --data and --fleet"));
    };
    answer(&record).print(&settings.answer)?;
    Ok(Exit::Done)
}

/// Has a running service record a statement.
pub(crate) async fn post(client: &mut Client, request: &ConsentRequest) -> Result<ConsentRecord, Failure> {
    let body = serde_json::to_string(request).map_err(|_| Failure::usage("the statement cannot be written as JSON"))?;
    let record = service::post(client, "/v1/consent", body).await?;
    serde_json::from_value(record).map_err(|_| candor_agent::error::Error::Answer("a consent record").into())
}

/// `name=state`, as flags write it; `names` are the purposes there are, where that is known.
pub(crate) fn assignments(texts: &[String], names: Option<&[&str]>) -> Result<BTreeMap<String, ConsentState>, Failure> {
    let mut states = BTreeMap::new();
    for text in texts {
        let state = text.split_once('=').and_then(|(name, state)| Some((name, state_of(state)?)));
        let Some((name, state)) = state else {
            return Err(Failure::usage("a state is written PURPOSE=STATE")
                .mend("states: given, refused, withdrawn, expired, invalidated, unknown"));
        };
        match (name, names) {
            ("*", Some(names)) => states.extend(names.iter().map(|name| ((*name).to_owned(), state))),
            (_, Some(names)) if !names.contains(&name) => {
                return Err(Failure::usage("the policy has no purpose of that name")
                    .mend(format!("purposes: {}", names.join(", "))));
            }
            _ => {
                states.insert(name.to_owned(), state);
            }
        }
    }
    Ok(states)
}

async fn statements(subject: &str, settings: &Settings) -> Result<Vec<Statement>, Failure> {
    let subject = service::or_stdin(subject, "subject")?;
    let _progress = Progress::start("reading");
    Ok(service::view(settings).await?.consent_history(&subject).await?)
}

fn nothing(kind: &'static str, settings: &Settings) -> Result<Exit, Failure> {
    let mut report = Report::new(kind).column("purpose", "purpose").column("state", "state");
    report.note("no statement of this subject: nothing that needs consent is stored");
    report.print(&settings.answer)?;
    Ok(Exit::Done)
}

fn request(args: &ConsentSet, settings: &Settings) -> Result<ConsentRequest, Failure> {
    let plan = settings.fleet.as_deref().map(catalogue::plan).transpose()?;
    let policy = plan.as_ref().map(candor_policy::plan::Plan::policy);
    let names: Option<Vec<&str>> = policy.map(|policy| policy.purposes.iter().map(|p| p.name.as_str()).collect());
    let version = args.notice.clone().or_else(|| policy.and_then(|policy| policy.notice.clone()));
    let version = version.ok_or_else(|| {
        Failure::usage("no version of the notice is named")
            .mend("give --notice VERSION, or --fleet DIR whose policy names it")
    })?;
    Ok(ConsentRequest {
        subject: service::or_stdin(&args.subject, "subject")?,
        purposes: assignments(&args.purposes, names.as_deref())?,
        notice: Notice { version, language: args.language.clone() },
        age_from: args.age_from,
        expires: args.expires.clone(),
        granted_at: None,
    })
}

async fn record(request: ConsentRequest, settings: &Settings) -> Result<ConsentRecord, Failure> {
    let fleet = super::serve::load(settings)?;
    let _progress = Progress::start("recording");
    let store = Store::open(settings.store.clone(), Arc::clone(&fleet.plan), Arc::new(SystemClock)).await?;
    let subject = store.keys().ledger_id(&request.subject);
    let recorded = match store.record_consent(request, SOURCE).await {
        Ok(_) => store.consent_history(&subject).await,
        Err(error) => Err(error),
    };
    // Whatever came of it, the lock is given back and what was written is sealed.
    store.close().await?;
    ConsentRecord::new(&recorded?, &fleet.plan, &fleet.parties).map_err(|e| {
        Failure::new(Exit::Failed, format!("the statement was recorded, its record cannot be written: {e}"))
    })
}

/// What the subject is told: ISO/IEC TS 27560 in JSON, the states for people.
fn answer(record: &ConsentRecord) -> Report {
    let mut report = Report::new("consent.set")
        .column("purpose", "purpose")
        .column("state", "state")
        .column("valid_until", "until")
        .column("retention", "rows stay")
        .column("description", "description");
    for purpose in &record.purposes {
        let terms = &purpose.terms;
        let state = json!(purpose.state).as_str().map(|name| name.trim_start_matches("Consent").to_lowercase());
        let (until, retention) = (json!(purpose.valid_until), json!(terms.retention_period));
        report.row(vec![json!(terms.purpose), json!(state), until, retention, json!(terms.description)]);
    }
    report.fact("record", json!(record));
    report.note(format!(
        "statement {} recorded, notice {} ({})",
        record.sequence,
        printable(&record.privacy_notice),
        printable(&record.language)
    ));
    report
}

/// One statement as it stands: a row a purpose.
fn standing(statement: &Statement) -> Report {
    let mut report = Report::new("consent.show").column("purpose", "purpose").column("state", "state");
    for (purpose, state) in &statement.purposes {
        report.row(vec![json!(purpose), json!(state)]);
    }
    let mut facts = json!(statement);
    if let Some(facts) = facts.as_object_mut() {
        facts.remove("purposes");
        for (key, value) in std::mem::take(facts) {
            report.fact(&key, value);
        }
    }
    let mut parts = vec![
        format!("statement {}, received {}", statement.sequence, statement.received_at),
        format!("notice {} ({})", statement.notice.version, statement.notice.language),
    ];
    parts.extend(statement.age_from.map(|age| format!("age from {age}")));
    parts.extend(statement.expires.as_ref().map(|day| format!("given until {day}")));
    report.note(printable(&parts.join(", ")));
    report
}

fn state_of(text: &str) -> Option<ConsentState> {
    serde_json::from_value(json!(text)).ok()
}

/// As statements write it.
pub(crate) fn state_name(state: ConsentState) -> String {
    json!(state).as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_every_purpose_and_unknown_ones_are_refused() {
        let names = ["analytics", "marketing"];
        let texts = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let states = assignments(&texts(&["*=given", "marketing=refused"]), Some(&names)).unwrap();
        assert_eq!(states["analytics"], ConsentState::Given);
        assert_eq!(states["marketing"], ConsentState::Refused);
        for wrong in ["analytics", "analytics=yes", "sales=given"] {
            assert_eq!(assignments(&texts(&[wrong]), Some(&names)).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
        assert_eq!(state_name(ConsentState::Withdrawn), "withdrawn");
    }
}
