//! `candor key`: the keys of a service, listed and changed; no secret is ever shown.

use candor_store::clock::SystemClock;
use candor_store::keys::KeyRing;
use candor_store::keys::change::{Change, Changed, change_in};
use candor_store::keys::history::{KeyEvent, KeyLine, KeyName};
use serde_json::{Value, json};

use crate::args::{self, Key, KeyPlace};
use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::render::Report;
use crate::service;
use crate::settings::{Flags, Settings};

pub(crate) async fn run(command: &Key, settings: &Settings) -> Result<Exit, Failure> {
    let (change, place) = match command {
        Key::List(_) => return list(settings),
        Key::New { name, place } => (Change::New { key: named(name)? }, place),
        Key::Rotate { key, place } => (Change::Rotate { key: name(key)? }, place),
        Key::Destroy { key, generation, yes, place } => {
            let change = Change::Destroy { key: name(key)?, generation: *generation };
            if !*yes {
                return Err(Failure::usage(format!("{} cannot be undone: {}", key, what_is_lost(change.key())))
                    .mend("if that is meant, say it with --yes"));
            }
            (change, place)
        }
    };
    let changed = make(&change, place, settings).await?;
    answer(&changed).print(&settings.answer)?;
    Ok(Exit::Done)
}

impl args::Key {
    /// Its flags that are settings.
    pub(crate) fn flags(&self, flags: Flags) -> Flags {
        match self {
            Self::List(data) => flags.path("data", data.data.as_deref()),
            Self::New { place, .. } | Self::Rotate { place, .. } | Self::Destroy { place, .. } => {
                flags.path("data", place.data.as_deref()).service(&place.service)
            }
        }
    }
}

fn list(settings: &Settings) -> Result<Exit, Failure> {
    let ring = KeyRing::open_for(&settings.data, settings.store.key_ring.as_deref())?;
    let mut report = columns("key.list");
    for line in ring.lines() {
        report.row(row(&line));
    }
    report.print(&settings.answer)?;
    Ok(Exit::Done)
}

async fn make(change: &Change, place: &KeyPlace, settings: &Settings) -> Result<Changed, Failure> {
    if place.data.is_some() {
        return Ok(change_in(&settings.store, change, &SystemClock)?);
    }
    if settings.url.is_none() {
        return Err(Failure::usage("neither a service nor a data folder is named")
            .mend("give --url and --token-file for a running service, or --data"));
    }
    let body = serde_json::to_string(change).map_err(|_| Failure::usage("the change cannot be written as JSON"))?;
    let mut client = service::client(settings)?;
    let _progress = Progress::start("changing");
    let changed = service::post(&mut client, "/v1/keys", body).await?;
    serde_json::from_value(changed).map_err(|_| candor_agent::error::Error::Answer("a change of keys").into())
}

fn answer(changed: &Changed) -> Report {
    let mut report = columns("key.change");
    for line in &changed.keys {
        report.row(row(line));
    }
    report.fact("events", json!(changed.events));
    for event in &changed.events {
        let what = match event.event {
            KeyEvent::Created => "was made",
            KeyEvent::Rotated => "is in use",
            KeyEvent::Destroyed => "is gone for good",
        };
        report.note(format!("{}, generation {}: {what}", event.usage, event.generation));
    }
    report
}

fn columns(kind: &'static str) -> Report {
    let report = Report::new(kind).column("key", "key").number("generation", "generation");
    report
        .column("state", "state")
        .column("since", "since")
        .column("public", "public key")
        .column("use", "what it does")
}

fn row(line: &KeyLine) -> Vec<Value> {
    let since = line.since.and_then(|at| jiff::Timestamp::from_microsecond(at).ok()).map(|at| format!("{at:.0}"));
    let state = if line.live { "in use" } else { "kept" };
    let what = line.key.parse().map_or("", |name| purpose(&name));
    vec![json!(line.key), json!(line.generation), json!(state), json!(since), json!(line.public), json!(what)]
}

const fn purpose(name: &KeyName) -> &'static str {
    match name {
        KeyName::Ledger => "ids that consent is kept under",
        KeyName::Subject => "pseudonyms of assigned subjects in tables",
        KeyName::Repeats => "digests that recognise repeats",
        KeyName::Tombstone => "marks of erased subjects",
        KeyName::Receipts => "signs receipts",
        KeyName::Log => "signs checkpoints of the log",
        KeyName::Named(_) => "operators of policies",
    }
}

const fn what_is_lost(name: &KeyName) -> &'static str {
    match name {
        KeyName::Named(_) => {
            "its pseudonyms stay in the tables, and nobody can match them with identifiers, or undo them, ever again"
        }
        KeyName::Log => "whoever pinned it alone cannot check newer checkpoints any more",
        _ => {
            "rows under it stay in the tables until they expire, and nobody can find whose they are: neither access \
             nor erasure reaches them"
        }
    }
}

fn name(text: &str) -> Result<KeyName, Failure> {
    text.parse().map_err(|why: String| Failure::usage(why).mend("`candor key list` shows what there is"))
}

/// `NAME`, or `named/NAME`.
fn named(text: &str) -> Result<KeyName, Failure> {
    let whole = if text.starts_with("named/") { text.to_owned() } else { format!("named/{text}") };
    whole.parse().map_err(|_| Failure::usage("a key's name has 1 to 64 of the characters A-Z a-z 0-9 _ - ."))
}
