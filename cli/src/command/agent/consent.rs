//! `candor agent consent`: what the person at the device says, signed by the device.

use std::collections::BTreeMap;

use candor_agent::consent::Change;
use candor_agent::device::Device;
use candor_policy::consent::ConsentState;
use candor_wire::statement::Notice;
use serde_json::json;

use super::{deliver, open, tell_end};
use crate::args::AgentConsentSet;
use crate::command::consent::assignments;
use crate::exit::{Exit, Failure};
use crate::render::{Report, counted, printable};
use crate::settings::Settings;

/// What a person can say of a purpose: `unknown` takes a name back that was mistyped.
const STATES: [ConsentState; 4] =
    [ConsentState::Given, ConsentState::Refused, ConsentState::Withdrawn, ConsentState::Unknown];

/// The statement in force.
pub(super) fn show(settings: &Settings) -> Result<Exit, Failure> {
    let device = open(settings)?;
    let mut report = report("agent.consent.show", &device)?;
    let undelivered = device.show()?.undelivered;
    report.fact("delivered", undelivered == 0);
    let refusals = device.refusals().into_iter().map(|(epoch, message)| json!({ "epoch": epoch, "message": message }));
    report.fact("refusals", refusals.collect::<Vec<_>>());
    report.note(match undelivered {
        _ if device.consented().is_none() => "nothing is stated yet: nothing that needs consent is stored".to_owned(),
        0 => "the service has it".to_owned(),
        _ if !device.refusals().is_empty() => tell_refusals(&device),
        n => format!("{} to be delivered: `candor agent send` does it, before any event", counted(n, "statement")),
    });
    report.print(&settings.answer)?;
    Ok(Exit::Done)
}

/// States what changes.
pub(super) async fn set(args: &AgentConsentSet, settings: &Settings) -> Result<Exit, Failure> {
    let change = change(args)?;
    let mut device = open(settings)?;
    let before = device.counts();
    device.consent(&change)?;
    let after = device.counts();
    let end = deliver(&mut device, &args.patience, settings).await?;
    let mut report = report("agent.consent.set", &device)?;
    let dropped = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
    let dropped = dropped(&after.dropped).saturating_sub(dropped(&before.dropped));
    report.fact("dropped", dropped);
    if dropped > 0 {
        report.note(format!("{} that waited may not be sent any more: dropped", counted(dropped, "event")));
    }
    let exit = tell_end(&mut report, end.as_ref());
    report.print(&settings.answer)?;
    Ok(exit)
}

fn change(args: &AgentConsentSet) -> Result<Change, Failure> {
    let purposes = assignments(&args.purposes, None)?;
    if purposes.contains_key("*") || purposes.values().any(|state| !STATES.contains(state)) {
        return Err(Failure::usage("a device names each purpose, and says given, refused, withdrawn or unknown")
            .mend("`--withdraw-all` stands for all purposes, `unknown` takes a name back that was mistyped"));
    }
    let (left_out, said): (BTreeMap<_, _>, BTreeMap<_, _>) =
        purposes.into_iter().partition(|(_, state)| *state == ConsentState::Unknown);
    Ok(Change {
        purposes: said,
        left_out: left_out.into_keys().collect(),
        notice: args.notice.clone().map(|version| Notice { version, language: args.language.clone() }),
        age_from: args.age_from,
        expires: args.expires.clone(),
        granted_at: args.granted_at.clone(),
        gpc: args.gpc,
        guardian: args.guardian,
        withdraw_all: args.withdraw_all,
    })
}

/// What the service does not take, and why.
fn tell_refusals(device: &Device) -> String {
    let told = device.refusals().into_iter();
    let told =
        told.map(|(epoch, why)| format!("NOT DELIVERED: the service refuses the consent of epoch {epoch}: {why}"));
    printable(&told.collect::<Vec<_>>().join("; "))
}

/// One statement as it stands: a row a purpose.
fn report(kind: &'static str, device: &Device) -> Result<Report, Failure> {
    let mut report = Report::new(kind).column("purpose", "purpose").column("state", "state");
    let Some(statement) = device.consented() else { return Ok(report) };
    for (purpose, state) in &statement.purposes {
        report.row(vec![json!(purpose), json!(state)]);
    }
    report.fact("statement", json!(statement));
    report.fact("epoch", device.show()?.epoch);
    let mut parts = vec![
        format!("statement {}", statement.sequence),
        format!("notice {} ({})", statement.notice.version, statement.notice.language),
    ];
    parts.extend(statement.age_from.map(|age| format!("age from {age}")));
    parts.extend(statement.expires.as_ref().map(|day| format!("given until {day}")));
    parts.extend(statement.granted_at.as_ref().map(|time| format!("first given {time}")));
    parts.extend(statement.gpc.then(|| "GPC on".to_owned()));
    parts.extend(statement.guardian.then(|| "by a guardian".to_owned()));
    parts.extend(statement.closes.then(|| "the key is closed".to_owned()));
    report.note(printable(&parts.join(", ")));
    Ok(report)
}
