//! `candor agent send`: events from a file or a pipe to a service, with an account of each.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use candor_agent::device::{BAD_LINE, Counts, Device};
use candor_agent::error::Error;
use candor_agent::event::{Event, EventLimits, Events};
use candor_agent::feed::{Fed, feed};
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, channel};

use super::{open, tell_end};
use crate::args::Send;
use crate::command::audit::by_size;
use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::render::{Report, counted_and, printable, tell};
use crate::service;
use crate::settings::Settings;

/// Events that are read ahead.
const AHEAD: usize = 4_096;

pub(super) async fn run(args: &Send, settings: &Settings) -> Result<Exit, Failure> {
    let mut client = service::client(settings)?;
    let mut device = open(settings)?;
    let mut events = read(&args.events)?;
    let before = device.counts();
    let progress = Progress::start("sending");
    let bar = progress.bar();
    let look = |device: &Device| {
        let counts = device.counts();
        bar.show(counts.taken - counts.spooled, counts.taken, "events");
    };
    let patience = Duration::from_secs(args.patience.patience);
    let fed = feed(&mut device, &mut client, &mut events, patience, look).await;
    drop(progress);
    let mut report = account(&before, &device.counts());
    let fed = match fed {
        Ok(fed) => fed,
        Err(error) => {
            report.print(&settings.answer)?;
            return Err(error.into());
        }
    };
    let mut exit = tell_end(&mut report, Some(&fed.end));
    report.fact("read", fed.taken);
    report.fact("bad_lines", fed.bad);
    report.fact("refused", device.batch_refusal());
    if let Some(why) = device.batch_refusal() {
        tell(&printable(&format!("warning: the service refused a batch, whose events are dropped and counted: {why}")));
        exit = Exit::Failed;
    }
    report.print(&settings.answer)?;
    match fed {
        Fed { broken: Some(error), taken, .. } => {
            let mut failure = Failure::from(error);
            failure.message = format!("{} (the {taken} before it were taken)", failure.message);
            Err(failure)
        }
        Fed { first_bad: Some(error), bad, .. } => {
            let mut failure = Failure { exit: Exit::Failed, ..Failure::from(error) };
            let passed = counted_and(bad, "such line", "was passed over", "were passed over");
            failure.message = format!("{} ({passed}, counted as `{BAD_LINE}`)", failure.message);
            Err(failure)
        }
        _ => Ok(exit),
    }
}

/// Reads on a thread of its own: a pipe may have nothing to say for days.
fn read(path: &Path) -> Result<Receiver<Result<Event, Error>>, Failure> {
    let lines: Box<dyn BufRead + std::marker::Send> = if path == Path::new("-") {
        Box::new(BufReader::new(std::io::stdin()))
    } else {
        let file = File::open(path)
            .map_err(|e| Failure::usage(format!("the events in {} cannot be read: {e}", path.display())))?;
        Box::new(BufReader::new(file))
    };
    let (sender, receiver) = channel(AHEAD);
    std::thread::spawn(move || {
        let mut is_told = false;
        for event in Events::of(lines, EventLimits::default()) {
            // A feed may go on for months: the first is told as it comes.
            if let Err(error @ Error::Event { .. }) = &event
                && !std::mem::replace(&mut is_told, true)
            {
                tell(&printable(&format!("warning: {error}: it is passed over, as are others that come")));
            }
            if sender.blocking_send(event).is_err() {
                break;
            }
        }
    });
    Ok(receiver)
}

/// What became of the events: of those of this run with those that waited before it, and of all that the device ever took.
fn account(before: &Counts, after: &Counts) -> Report {
    let mut report = Report::new("agent.send")
        .column("span", "")
        .number("sent", "sent =")
        .number("acknowledged", "acknowledged +")
        .number("dropped", "dropped +")
        .number("spooled", "spooled")
        .column("reasons", "dropped because");
    let change = |after: u64, before: u64| i64::try_from(after).unwrap_or(i64::MAX) - before as i64;
    let dropped = |counts: &Counts| counts.dropped.values().sum::<u64>();
    let new = after
        .dropped
        .iter()
        .map(|(reason, n)| (reason.as_str(), n.saturating_sub(before.dropped.get(reason).copied().unwrap_or(0))));
    report.row(vec![
        json!("now"),
        json!(change(after.taken, before.taken) + before.spooled as i64),
        json!(change(after.acknowledged, before.acknowledged)),
        // A receipt that comes late can mend a drop.
        json!(change(dropped(after), dropped(before))),
        json!(after.spooled),
        Value::Object(by_size(new)),
    ]);
    report.row(vec![
        json!("ever"),
        json!(after.taken),
        json!(after.acknowledged),
        json!(dropped(after)),
        json!(after.spooled),
        Value::Object(by_size(after.dropped.iter().map(|(reason, n)| (reason.as_str(), *n)))),
    ]);
    let balances = after.taken == after.acknowledged + dropped(after) + after.spooled;
    report.fact("balances", balances);
    if !balances {
        report.note("DOES NOT BALANCE: events are missing or counted twice");
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Format;

    fn counts(taken: u64, acknowledged: u64, dropped: &[(&str, u64)], spooled: u64) -> Counts {
        let dropped = dropped.iter().map(|(reason, n)| ((*reason).to_owned(), *n)).collect();
        Counts { taken, acknowledged, dropped, spooled }
    }

    #[test]
    fn what_waited_before_is_accounted_for_with_what_came() {
        let before = counts(10, 4, &[("withdrawn", 1)], 5);
        let after = counts(30, 20, &[("withdrawn", 1), ("no_consent", 6)], 3);
        let text = String::from_utf8(account(&before, &after).render(Format::Json).unwrap()).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        let row = |at: usize| ["sent", "acknowledged", "dropped", "spooled"].map(|key| json["rows"][at][key].clone());
        assert_eq!(row(0), [25, 16, 6, 3].map(|n| json!(n)));
        assert_eq!(row(1), [30, 20, 7, 3].map(|n| json!(n)));
        assert_eq!((&json["balances"], &json["rows"][0]["reasons"]), (&json!(true), &json!({ "no_consent": 6 })));
        let torn = counts(30, 20, &[], 3);
        let text = String::from_utf8(account(&before, &torn).render(Format::Table).unwrap()).unwrap();
        assert!(text.contains("DOES NOT BALANCE"), "{text}");
    }
}
