//! `candor audit show`: what is held of a subject, or of the holder of a seed epoch by epoch, with the consent that it rests on. A
//! service and its data folder give one answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use candor_agent::held::{self, HeldEpoch, HeldRow, MOST_EPOCHS, UNKNOWN_EPOCHS};
use candor_agent::identity::Identity;
use candor_agent::rim::{SystemClock, SystemEntropy};
use candor_policy::hex;
use candor_policy::subject::LedgerId;
use candor_wire::identity::PublicKey;
use candor_wire::statement::Statement;
use serde_json::{Value, json};

use super::ask;
use crate::args::AuditShow;
use crate::command::agent::asking;
use crate::command::consent::state_name;
use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::render::{Report, Width, cell_text, counted, grid, printable};
use crate::service;
use crate::settings::Settings;

/// Everything that is held: a row a stored value.
pub(crate) async fn show(args: &AuditShow, settings: &Settings) -> Result<Exit, Failure> {
    let (epochs, keys) = match &args.subject {
        None => of_holder(args, settings).await?,
        Some(subject) => {
            let subject = service::or_stdin(subject, "subject")?;
            let is_asked = args.service.address.url.is_some();
            let held = if is_asked { told(&subject, settings).await? } else { read(&subject, settings).await? };
            (Vec::from_iter(held), BTreeMap::new())
        }
    };
    report(&epochs, &keys).print(&settings.answer)?;
    Ok(Exit::Done)
}

/// What a service, or a data folder, holds of the holder of an identity.
async fn of_holder(
    args: &AuditShow,
    settings: &Settings,
) -> Result<(Vec<HeldEpoch>, BTreeMap<u64, PublicKey>), Failure> {
    let path = settings.identity.as_deref().ok_or_else(|| Failure::usage("no identity is named"))?;
    let identity = Identity::read(path)?;
    let epochs = match &settings.url {
        Some(_) if args.data.data.is_none() => {
            let before = log_size(settings).await?;
            let mut client = asking(settings)?;
            let _progress = Progress::start("asking the service, an epoch a connection");
            let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
            let epochs = held::ask(&identity, clock, random, &mut client, |_| {}).await?;
            is_new(before, &epochs)?;
            epochs
        }
        _ => of_data(&identity, settings).await?,
    };
    let keys = epochs.iter().map(|held| Ok((held.epoch, identity.public(held.epoch)?)));
    let keys = keys.collect::<Result<BTreeMap<u64, PublicKey>, candor_agent::error::Error>>()?;
    Ok((epochs, keys))
}

/// What a service tells an operator of an assigned subject, if it knows anything of it.
async fn told(subject: &str, settings: &Settings) -> Result<Option<HeldEpoch>, Failure> {
    let before = log_size(settings).await?;
    let _progress = Progress::start("asking the service");
    let Some(answer) = service::about(subject, &mut service::client(settings)?).await? else { return Ok(None) };
    let held: HeldEpoch = serde_json::from_slice(&answer)
        .map_err(|_| Failure::from(candor_agent::error::Error::Answer("what a service holds of a subject")))?;
    is_new(before, std::slice::from_ref(&held))?;
    Ok(Some(held))
}

/// The same as a data folder has it.
async fn read(subject: &str, settings: &Settings) -> Result<Option<HeldEpoch>, Failure> {
    let mut progress = Progress::start("reading the tables");
    let view = service::view(settings).await?;
    progress.watch(view.work(), "files");
    let ledger = view.ledger_id(subject)?;
    let (statements, rows) = (view.history_of(&ledger).await?, view.held(subject).await?);
    if statements.is_empty() && rows.is_empty() {
        return Ok(None);
    }
    held_epoch(0, hex::encode(ledger.as_bytes()), statements, &rows).map(Some)
}

/// Entries of the service's log before it is asked anything.
async fn log_size(settings: &Settings) -> Result<u64, Failure> {
    let note = service::public(settings)?.get("/log/checkpoint").await?.success()?.body;
    let size = ask::size_of(&note);
    size.ok_or_else(|| Failure::from(candor_agent::error::Error::Answer("the log of C2SP's tlog-tiles")))
}

/// That no answer is of before it was asked: one that was true once, and lacks what came since. Nothing more is checked here.
fn is_new(before: u64, epochs: &[HeldEpoch]) -> Result<(), Failure> {
    let size = |held: &HeldEpoch| held.checkpoint.as_ref().and_then(|note| ask::size_of(note.as_bytes()));
    if epochs.iter().all(|held| size(held).is_some_and(|size| size >= before)) {
        return Ok(());
    }
    let what = "the service answers with what it held before it was asked: its log was longer already";
    Err(Failure::new(Exit::VerificationFailed, what).mend("`candor audit verify` says what is proved of an answer"))
}

/// The same from a data folder: whoever runs the service can look, the holder of the seed knows where.
async fn of_data(identity: &Identity, settings: &Settings) -> Result<Vec<HeldEpoch>, Failure> {
    let mut progress = Progress::start("reading the tables");
    let view = service::view(settings).await?;
    progress.watch(view.work(), "files");
    let (mut epochs, mut unknown) = (Vec::new(), 0);
    for epoch in 0..MOST_EPOCHS {
        let subject = identity.public(epoch)?.subject_id();
        let ledger = LedgerId::of_certified(&subject);
        let statements = view.history_of(&ledger).await?;
        let rows = view.held_by(&[subject]).await?;
        if statements.is_empty() && rows.is_empty() {
            unknown = if view.is_erased(&ledger).await? { 0 } else { unknown + 1 };
            if unknown == UNKNOWN_EPOCHS {
                break;
            }
            continue;
        }
        unknown = 0;
        epochs.push(held_epoch(epoch, hex::encode(subject.as_bytes()), statements, &rows)?);
    }
    Ok(epochs)
}

/// What a folder has, as a service would tell it; the consent record is the service's alone.
fn held_epoch(
    epoch: u64,
    subject: String,
    statements: Vec<Statement>,
    rows: &[candor_store::view::HeldRow],
) -> Result<HeldEpoch, Failure> {
    let rows = serde_json::to_value(rows).and_then(serde_json::from_value);
    let rows = rows.map_err(|e| Failure::new(Exit::Failed, format!("a row cannot be shown: {e}")))?;
    Ok(HeldEpoch { epoch, subject, statements, rows, ..HeldEpoch::default() })
}

fn report(epochs: &[HeldEpoch], keys: &BTreeMap<u64, PublicKey>) -> Report {
    let mut report = Report::new("audit.show").number("epoch", "epoch");
    for key in ["purpose", "stream", "event", "received_date", "goes_on", "field", "value", "rule", "operator"] {
        report = report.column(key, key);
    }
    report = report.number("row", "row").number("batch", "batch").column("consent_seq", "consent");
    report = report.column("policy", "policy").column("file", "file");
    let rows = epochs.iter().flat_map(|held| held.rows.iter().map(move |row| (held.epoch, row)));
    for (number, (epoch, row)) in rows.clone().enumerate() {
        for field in &row.fields {
            report.row(vec![
                json!(epoch),
                json!(row.purpose),
                json!(row.stream),
                json!(row.event),
                json!(row.received_date),
                json!(row.goes_on),
                json!(field.column),
                field.value.clone(),
                json!(field.rule),
                json!(field.operator),
                json!(number + 1),
                json!(row.batch),
                json!(row.consent_seq),
                json!(row.policy),
                json!(row.file),
            ]);
        }
    }
    let (held, pending) = (rows.clone().count(), rows.filter(|(_, row)| row.file.is_none()).count());
    report.fact("held", held);
    report.fact("pending", pending);
    report.fact("epochs", epochs.iter().map(|held| facts(held, keys.get(&held.epoch))).collect::<Vec<Value>>());
    let text: String = epochs.iter().map(|held| text(held, keys.get(&held.epoch))).collect();
    report.text(text.strip_suffix('\n').unwrap_or_default().to_owned());
    let unread: BTreeSet<&str> = epochs.iter().flat_map(|held| &held.unread).map(String::as_str).collect();
    report.note(match held {
        0 if !unread.is_empty() => "no row that can be read is held about this subject".to_owned(),
        0 => "nothing is held about this subject".to_owned(),
        n => format!("held about this subject: {}, {pending} of them pending", counted(n, "row")),
    });
    if !unread.is_empty() {
        report.note(format!(
            "the service cannot read {}: what they have of this subject is not here",
            counted(unread.len(), "file")
        ));
        report.fact("unread", Vec::from_iter(unread));
    }
    report
}

fn facts(held: &HeldEpoch, key: Option<&PublicKey>) -> Value {
    let statements = held.statements.iter().map(|statement| {
        let mut facts = json!(statement);
        facts["own"] = json!(key.map(|key| held::is_own(statement, key)));
        facts
    });
    let purposes: Vec<Value> = by_purpose(held)
        .into_iter()
        .map(|(purpose, rows)| {
            let pending = rows.iter().filter(|row| row.file.is_none()).count();
            json!({ "purpose": purpose, "sealed": rows.len() - pending, "pending": pending })
        })
        .collect();
    json!({
        "epoch": held.epoch, "subject": held.subject, "statements": statements.collect::<Vec<_>>(),
        "record": held.record, "batches": held.batches, "purposes": purposes,
    })
}

fn by_purpose(held: &HeldEpoch) -> BTreeMap<&str, Vec<&HeldRow>> {
    let mut purposes: BTreeMap<&str, Vec<&HeldRow>> = BTreeMap::new();
    for row in &held.rows {
        purposes.entry(&row.purpose).or_default().push(row);
    }
    purposes
}

fn text(held: &HeldEpoch, key: Option<&PublicKey>) -> String {
    let mut text = String::new();
    if key.is_some() {
        let _ = writeln!(text, "epoch {}, subject {}\n", held.epoch, printable(&held.subject));
    }
    for (purpose, rows) in by_purpose(held) {
        let pending = rows.iter().filter(|row| row.file.is_none()).count();
        let purpose = printable(purpose);
        let _ = writeln!(text, "{purpose}: {} sealed, {pending} pending\n", counted(rows.len() - pending, "row"));
        for row in rows {
            text.push_str(&row_text(row));
            text.push('\n');
        }
    }
    if !held.statements.is_empty() {
        text.push_str("consent\n\n");
        text.push_str(&history(&held.statements, key));
        text.push('\n');
    }
    text
}

fn row_text(row: &HeldRow) -> String {
    let mut parts = vec![format!("{}, received {}", row.event, row.received_date)];
    parts.extend(row.goes_on.as_ref().map(|day| format!("goes on {day}")));
    parts.extend(row.batch.map(|batch| format!("batch {batch}")));
    parts.extend(row.consent_seq.map(|sequence| format!("consent statement {sequence}")));
    let whence = row.file.as_deref().unwrap_or("pending: not in a table yet");
    let fields = row.fields.iter().map(|field| {
        let column = printable(&format!("  {}", field.column));
        vec![column, cell_text(Some(&field.value)), printable(&field.operator), printable(&field.rule)]
    });
    let titles = [("  field", false), ("stored value", false), ("operator", false), ("by rule", false)];
    let fields = grid(&titles, fields.collect(), Width::Terminal);
    format!("{}\n  {}\n{fields}", printable(&parts.join(", ")), printable(whence))
}

fn history(statements: &[Statement], key: Option<&PublicKey>) -> String {
    let rows = statements.iter().map(|statement| {
        let states = statement.purposes.iter().map(|(name, state)| format!("{name} {}", state_name(*state)));
        let cells = [
            statement.sequence.to_string(),
            statement.received_at.clone(),
            states.collect::<Vec<_>>().join(", "),
            format!("{} {}", statement.notice.version, statement.notice.language),
            said_by(statement, key),
        ];
        cells.map(|cell| printable(&cell)).to_vec()
    });
    let titles = [("statement", true), ("received", false), ("purposes", false), ("notice", false), ("said by", false)];
    grid(&titles, rows.collect(), Width::Terminal)
}

/// Who vouches for a statement; a signature is checked, not believed.
fn said_by(statement: &Statement, key: Option<&PublicKey>) -> String {
    let who = json!(statement.asserted_by).as_str().unwrap_or_default().to_owned();
    match key {
        Some(key) if held::is_own(statement, key) => format!("{who}, signed"),
        Some(_) => format!("{who}: NOT SIGNED BY THIS IDENTITY"),
        None => who,
    }
}

#[cfg(test)]
mod tests {
    use candor_wire::log::checkpoint::Checkpoint;
    use candor_wire::log::note::{Algorithm, Note, Signer};

    use super::*;

    #[test]
    fn an_answer_of_before_it_was_asked_is_refused() {
        let held = |size: u64| {
            let key = Signer::new("candor/acme-fleet", Algorithm::Ed25519, &[9; 32]).unwrap();
            let text = Checkpoint::new("candor/acme-fleet".to_owned(), size, [1; 32]).to_string();
            let note = Note::new(text.clone(), vec![key.sign(&text, 0)]).unwrap();
            HeldEpoch { checkpoint: Some(note.to_string()), ..HeldEpoch::default() }
        };
        for (sizes, fits) in [(&[][..], true), (&[7, 9], true), (&[9, 6], false)] {
            let epochs: Vec<HeldEpoch> = sizes.iter().map(|size| held(*size)).collect();
            assert_eq!(is_new(7, &epochs).is_ok(), fits, "{sizes:?}");
        }
        assert_eq!(is_new(7, &[HeldEpoch::default()]).unwrap_err().exit, Exit::VerificationFailed);
    }
}
