//! `candor catalogue`: what devices may send.

use std::path::Path;

use candor_ingest::fleet::load_plan;
use candor_policy::catalogue::{Catalogue, Event, Field, Role, Stream};
use candor_policy::plan::Plan;
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::render::Report;
use crate::settings::Settings;

/// Streams and their events.
pub(crate) fn list(settings: &Settings) -> Result<Exit, Failure> {
    let plan = plan(settings.fleet()?)?;
    let catalogue = plan.catalogue();
    let mut report = Report::new("catalogue.list")
        .column("stream", "stream")
        .column("event", "event")
        .number("fields", "fields")
        .column("description", "description")
        .detail("owner")
        .detail("expires");
    for stream in &catalogue.streams {
        for event in &stream.events {
            let expires = day(event.expires_day.or(stream.expires_day));
            let (fields, owner) = (json!(event.fields.len()), json!(stream.owner));
            report.row(vec![json!(stream.name), json!(event.name), fields, json!(event.description), owner, expires]);
        }
    }
    report.fact("catalogue", catalogue.name.as_str());
    report.fact("digest", catalogue.digest.to_string());
    report.note(format!("catalogue {}, sha256 {}", catalogue.name, catalogue.digest));
    report.print(&settings.answer)?;
    Ok(Exit::Done)
}

/// The fields of a stream or of an event.
pub(crate) fn show(name: &str, settings: &Settings) -> Result<Exit, Failure> {
    let plan = plan(settings.fleet()?)?;
    let (stream, event) = find(plan.catalogue(), name)?;
    let mut report = Report::new("catalogue.show")
        .column("field", "field")
        .column("type", "type")
        .column("role", "role")
        .column("category", "category")
        .column("from", "from")
        .column("expires", "expires")
        .column("description", "description")
        .detail("owner")
        .detail("values");
    let numbers = event.map_or_else(|| (0..stream.fields.len() as u16).collect(), |event| event.fields.clone());
    for field in numbers.iter().filter_map(|number| stream.fields.get(usize::from(*number))) {
        report.row(row(stream, field));
    }
    report.fact("stream", stream.name.as_str());
    report.fact("event", event.map(|event| event.name.clone()));
    let description = event.map_or(&stream.description, |event| &event.description);
    report.fact("description", description.as_str());
    report.note(format!("{name}: {description}; owner {}", stream.owner));
    report.print(&settings.answer)?;
    Ok(Exit::Done)
}

/// Catalogue and policy of a fleet folder.
pub(crate) fn plan(folder: &Path) -> Result<Plan, Failure> {
    load_plan(folder).map_err(|problems| {
        Failure::configuration(format!("the fleet folder {} has problems\n{problems}", folder.display()))
            .mend(format!("`candor policy check {}` shows them in their place", folder.display()))
    })
}

fn find<'a>(catalogue: &'a Catalogue, name: &str) -> Result<(&'a Stream, Option<&'a Event>), Failure> {
    for stream in &catalogue.streams {
        if stream.name == name {
            return Ok((stream, None));
        }
        if let Some(event) = stream.events.iter().find(|event| event.name == name) {
            return Ok((stream, Some(event)));
        }
    }
    Err(Failure::usage("the catalogue declares no stream and no event of that name")
        .mend("`candor catalogue list` shows what there is"))
}

fn row(stream: &Stream, field: &Field) -> Vec<Value> {
    vec![
        json!(field.column),
        json!(field.type_name()),
        json!(role_name(field.role)),
        json!(field.category.as_str()),
        json!(field.from.to_string()),
        day(field.expires_day.or(stream.expires_day)),
        json!(field.description),
        json!(field.owner),
        json!(field.values),
    ]
}

fn day(day: Option<i32>) -> Value {
    let epoch = jiff::civil::Date::constant(1970, 1, 1);
    json!(day.and_then(|day| epoch.checked_add(jiff::Span::new().days(day)).ok()).map(|date| date.to_string()))
}

const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Identifier => "identifier",
        Role::Quasi => "quasi",
        Role::Sensitive => "sensitive",
        Role::Plain => "plain",
    }
}
