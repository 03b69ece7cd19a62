//! `candor agent identity`: who the device is. A seed is never shown, its 24 words once and only if asked for.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::Path;

use candor_agent::device::{Device, Shown};
use candor_agent::error::Error;
use candor_agent::identity::Identity;
use candor_agent::rim::SystemEntropy;
use serde_json::json;
use zeroize::Zeroizing;

use super::{asking, deliver, device_settings, open, tell_end, world};
use crate::args::{Recover, Transfer};
use crate::command::consent::state_name;
use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::render::{Report, Width, counted, grid, tell};
use crate::service;
use crate::settings::Settings;

/// Most bytes of a file with 24 words.
const PHRASE_BYTES: u64 = 4 << 10;
const MICROS_A_DAY: i64 = 86_400_000_000;

/// Makes an identity where there is none.
pub(super) fn new(fleet: &str, show_phrase: bool, settings: &Settings) -> Result<Exit, Failure> {
    let identity = Identity::random(fleet, &SystemEntropy)?;
    // What is no name of a fleet makes no key, and then nothing is written.
    identity.public(0)?;
    let device = Device::create(world(settings)?, device_settings(), &identity)?;
    let mut report = report(&device, settings)?;
    if show_phrase {
        reveal(&device, &mut report)?;
    }
    report.print(&settings.answer)?;
    Ok(Exit::Done)
}

/// Who the device is.
pub(super) fn show(settings: &Settings) -> Result<Exit, Failure> {
    report(&open(settings)?, settings)?.print(&settings.answer)?;
    Ok(Exit::Done)
}

/// Begins the next epoch.
pub(super) fn rotate(settings: &Settings) -> Result<Exit, Failure> {
    let mut device = open(settings)?;
    device.rotate()?;
    report(&device, settings)?.print(&settings.answer)?;
    Ok(Exit::Done)
}

/// A new owner: a new identity, and nothing of the old one stays.
pub(super) async fn transfer(args: &Transfer, settings: &Settings) -> Result<Exit, Failure> {
    if settings.identity.is_some() {
        return Err(Failure::usage("the identity is kept outside the state folder, where it is only read")
            .mend("replace it where it is kept, and give the new one a state folder of its own"));
    }
    let mut device = open(settings)?;
    let old = device.transfer()?;
    let end = deliver(&mut device, &args.patience, settings).await?;
    let mut report = report(&device, settings)?;
    let dropped = old.dropped.values().sum::<u64>();
    report.fact("before", json!({ "taken": old.taken, "acknowledged": old.acknowledged, "dropped": old.dropped }));
    let gone = match device.show()?.leaving {
        0 => "seed, spool and receipts are destroyed",
        _ => "spool and receipts are destroyed, the seed once its closing statements are delivered",
    };
    report.note(format!(
        "the owner before: {} = {} acknowledged + {dropped} dropped; {gone}",
        counted(old.taken, "event"),
        old.acknowledged
    ));
    let exit = tell_end(&mut report, end.as_ref());
    if args.phrase.show_phrase {
        reveal(&device, &mut report)?;
    }
    report.print(&settings.answer)?;
    Ok(exit)
}

/// Takes over from a device that is lost.
pub(super) async fn recover(args: &Recover, settings: &Settings) -> Result<Exit, Failure> {
    let mut client = asking(settings)?;
    let phrase = if let Some(path) = &args.phrase_file {
        Zeroizing::new(read(path)?)
    } else {
        if std::io::stdin().is_terminal() {
            tell("type the 24 words, and end with Ctrl-D on a line of its own");
        }
        Zeroizing::new(service::stdin("recovery phrase")?)
    };
    let identity = Identity::of_phrase(&phrase, &args.fleet).map_err(|e| Failure::usage(e.to_string()))?;
    let progress = Progress::start("asking the service what it knows");
    let recovered = Device::recover(world(settings)?, device_settings(), &identity, &mut client).await;
    let device = recovered.map_err(|error| {
        let is_refused = matches!(&error, Error::Status { status, .. } if matches!(status.as_u16(), 401 | 403));
        let failure = Failure::from(error);
        // No token is asked for here: the words and the fleet are the key.
        if is_refused {
            failure.mend("check FLEET, the name that the service's catalogue.toml has, and --url")
        } else {
            failure
        }
    })?;
    drop(progress);
    let mut report = report(&device, settings)?;
    report.note("recovered: this device speaks for the identity now; statements of the one before are behind its own");
    report.print(&settings.answer)?;
    Ok(Exit::Done)
}

/// Shows the words that write the identity, and says what they are on standard error.
fn reveal(device: &Device, report: &mut Report) -> Result<(), Failure> {
    let phrase = device.identity().phrase()?;
    let words: Vec<&str> = phrase.split(' ').collect();
    let lines: Vec<String> = words.chunks(6).map(|line| format!("  {}", line.join(" "))).collect();
    report.fact("phrase", phrase.as_str());
    report.note(format!("recovery phrase:\n{}", lines.join("\n")));
    tell(
        "warning: whoever reads these 24 words is this device to every service. Write them down, away from it; they \
         are not shown again",
    );
    Ok(())
}

/// What `identity show` says.
fn report(device: &Device, settings: &Settings) -> Result<Report, Failure> {
    let shown = device.show()?;
    let subject = shown.key.subject_id();
    let mut report = Report::new("agent.identity")
        .column("purpose", "purpose")
        .column("state", "state")
        .column("name_in_tables", "name in tables");
    for (purpose, state) in shown.consent.iter().flat_map(|statement| &statement.purposes) {
        report.row(vec![json!(purpose), json!(state), json!(subject.in_table(purpose).as_str())]);
    }
    facts(&mut report, &shown);
    let state = settings.state.display().to_string();
    report.fact("state", state.as_str());
    let line = |name: &str, value: String| vec![name.to_owned(), value];
    let consent = shown.consent.as_ref().map_or_else(
        || "nothing stated yet".to_owned(),
        |statement| {
            let states = statement.purposes.iter().map(|(name, state)| format!("{name} {}", state_name(*state)));
            format!("statement {}: {}", statement.sequence, states.collect::<Vec<_>>().join(", "))
        },
    );
    let waiting = shown.undelivered + shown.leaving;
    let lines = vec![
        line("fleet", shown.fleet.clone()),
        line("epoch", format!("{}, {} left", shown.epoch, counted(days(&shown), "day"))),
        line("subject", shown.subject.clone()),
        line("public key", shown.key.to_string()),
        line("consent", consent),
        line(
            "statements",
            if waiting == 0 { "all delivered".to_owned() } else { format!("{waiting} to be delivered") },
        ),
        line("service", shown.receipt_key.map_or_else(|| "not met yet".to_owned(), |key| format!("receipt key {key}"))),
        line("events", account(&shown)),
        line("receipts", format!("{}, chain {}", shown.receipts, shown.chain)),
        line("state folder", state),
    ];
    report.text(grid(&[("identity", false), ("", false)], lines, Width::Terminal));
    Ok(report)
}

fn facts(report: &mut Report, shown: &Shown) {
    let counts = &shown.counts;
    report.fact("fleet", shown.fleet.as_str());
    report.fact("epoch", shown.epoch);
    report.fact("epochs", shown.epochs.clone());
    report.fact("days_left", days(shown));
    report.fact("subject", shown.subject.as_str());
    report.fact("key", shown.key.to_string());
    report.fact("consent", json!(shown.consent));
    report.fact("undelivered", shown.undelivered);
    report.fact("leaving", shown.leaving);
    report.fact("receipt_key", shown.receipt_key.map(|key| key.to_string()));
    report.fact("clock_offset", shown.clock_offset);
    report.fact("spool_bytes", shown.spool_bytes);
    report.fact("receipts", shown.receipts);
    report.fact("chain", shown.chain.as_str());
    report.fact("taken", counts.taken);
    report.fact("acknowledged", counts.acknowledged);
    report.fact("dropped", json!(counts.dropped));
    report.fact("spooled", counts.spooled);
}

fn account(shown: &Shown) -> String {
    let counts = &shown.counts;
    let dropped = counts.dropped.values().sum::<u64>();
    format!("{} = {} acknowledged + {dropped} dropped + {} spooled", counts.taken, counts.acknowledged, counts.spooled)
}

fn days(shown: &Shown) -> usize {
    usize::try_from(shown.epoch_left / MICROS_A_DAY).unwrap_or(0)
}

fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(PHRASE_BYTES).read_to_string(&mut text));
    read.map_err(|e| Failure::usage(format!("the recovery phrase cannot be read from {}: {e}", path.display())))?;
    Ok(text)
}
