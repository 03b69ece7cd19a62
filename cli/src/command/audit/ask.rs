//! Gathering what a service, or a data folder, says of a subject, and the log that it says it under.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candor_agent::client::Client;
use candor_agent::error::Error;
use candor_agent::evidence::gather;
use candor_agent::held::MOST_EPOCHS;
use candor_agent::identity::Identity;
use candor_agent::rim::{SystemClock, SystemEntropy};
use candor_policy::hex;
use candor_policy::subject::{LedgerId, SubjectId};
use candor_store::access::{self, Asked, Held, Lasting, Under};
use candor_store::clock::Clock as _;
use candor_store::view::View;
use candor_wire::log::checkpoint::Checkpoint;
use candor_wire::log::entry::Entry;
use candor_wire::log::live::LiveFiles;
use candor_wire::log::note::{Note, VerifierKey};
use candor_wire::log::tile::{Tile, What, entries_of_bytes};
use candor_wire::merkle::Hash;
use candor_wire::statement::Statement;
use candor_wire::verify::{Batches, ReceiptEvidence};
use serde::Deserialize;
use serde_json::json;

use super::gathered::{Gathered, Told, documents_of, to_lines};
use super::verify::held;
use crate::exit::{Exit, Failure};
use crate::kept::Kept;
use crate::progress::Progress;
use crate::service;
use crate::settings::Settings;

/// Most bytes of an answer: one about a subject, or a bundle of 256 entries.
const ANSWER_BYTES: usize = 256 << 20;
/// How often a folder is read anew that changes meanwhile.
const TRIES: u32 = 5;
/// Epochs that nothing is known of, until no more are looked for.
const UNKNOWN_EPOCHS: u32 = candor_agent::held::UNKNOWN_EPOCHS;
/// Numbers that a ledger lacks are told up to here; no service leaves so many open.
const MOST_MISSING: usize = 1 << 16;

/// Whom to ask about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whom<'a> {
    /// The holder of an identity.
    Holder(&'a Identity),
    /// A subject as its source names it.
    Named(&'a str),
    /// Nobody: the log alone.
    Nobody,
}

/// What `GET /v1/keys` answers.
#[derive(Deserialize)]
struct Keys {
    #[serde(default)]
    log: Vec<LogKey>,
}

#[derive(Deserialize)]
struct LogKey {
    vkey: String,
}

/// Asks a service; whoever checks also reads what was kept of the log, by the keys that are known or else by those that are shown.
pub(super) async fn service(
    whom: Whom<'_>,
    keys: Option<&[VerifierKey]>,
    settings: &Settings,
    progress: &Progress,
) -> Result<Gathered, Failure> {
    let mut client = service::public(settings)?.answer_bytes(ANSWER_BYTES);
    let shown = client.get("/v1/keys").await?.success()?;
    let shown: Keys = serde_json::from_slice(&shown.body).map_err(|_| Error::Answer("keys"))?;
    let mut gathered = Gathered {
        asked_at: candor_store::clock::SystemClock.now(),
        log: shown.log.into_iter().map(|key| key.vkey).collect(),
        ..Gathered::default()
    };
    // Before anything else: no answer can be under an older checkpoint than these without being an old answer.
    gathered.before = Some(client.get("/log/checkpoint").await?.success()?.body.to_vec());
    if let Some(known) = keys {
        let shown = gathered.shown_keys();
        let keys = if known.is_empty() { &shown } else { known };
        // Keys that a service shows are its own word.
        gathered.kept = Some(held(&Kept::open()?, gathered.before.as_deref(), keys, !known.is_empty())?);
    }
    progress.next("asking about the subject");
    match whom {
        Whom::Holder(identity) => {
            let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
            for told in gather(identity, clock, random, &mut client, |_| {}).await? {
                gathered.subjects.push(Told {
                    name: told.epoch.to_string(),
                    epoch: Some(told.epoch),
                    key: Some(identity.public(told.epoch)?),
                    answer: told.answer.to_vec(),
                    receipts: to_lines(&told.receipts).map_err(unwritable)?,
                    kept: None,
                    said: None,
                });
            }
        }
        Whom::Named(value) => {
            let told = of_operator(value, settings).await?;
            if told.is_none() && keys.is_some() {
                // The log alone would hold, and would say nothing of the subject.
                let what = "the service says that it has nothing of this subject, and shows no proof of that";
                return Err(Failure::new(Exit::CouldNotVerify, what).mend("ask with --data, beside the service"));
            }
            gathered.subjects.extend(told);
        }
        Whom::Nobody => {}
    }
    progress.next("reading the log");
    // After the answers: their checkpoints are not younger than this one.
    let (note, entries) = log(&mut client).await?;
    for (is_catalogue, digest) in documents_of(&entries) {
        let path = if is_catalogue { "/v1/catalogue" } else { "/v1/policy" };
        let answer = client.get(&format!("{path}?digest={}", hex::encode(&digest))).await?;
        // One that the service does not hand out leaves a line unchecked, and no more.
        if answer.status.is_success() {
            gathered.documents.insert(digest, answer.body.to_vec());
        }
    }
    (gathered.checkpoint, gathered.entries) = (Some(note), Some(entries));
    Ok(gathered)
}

async fn of_operator(value: &str, settings: &Settings) -> Result<Option<Told>, Failure> {
    let mut client = service::client(settings)?.answer_bytes(ANSWER_BYTES);
    let Some(answer) = service::about(value, &mut client).await?.map(|answer| answer.to_vec()) else { return Ok(None) };
    let (name, receipts) = ("0".to_owned(), Vec::new());
    Ok(Some(Told { name, epoch: None, key: None, answer, receipts, kept: None, said: None }))
}

/// The newest checkpoint and the entries under it.
async fn log(client: &mut Client) -> Result<(Vec<u8>, Vec<Vec<u8>>), Failure> {
    let no_log = || Failure::from(Error::Answer("the log of C2SP's tlog-tiles"));
    let note = client.get("/log/checkpoint").await?.success()?.body.to_vec();
    let size = size_of(&note).ok_or_else(no_log)?;
    let mut entries: Vec<Vec<u8>> = Vec::new();
    while let Some(tile) = Tile::of(What::Entries, entries.len() as u64, size) {
        let bundle = client.get(&format!("/log/{tile}")).await?.success()?;
        let read = entries_of_bytes(&bundle.body, tile.width()).ok_or_else(no_log)?;
        entries.extend(read.into_iter().map(<[u8]>::to_vec));
    }
    Ok((note, entries))
}

/// Entries that a checkpoint says there are.
pub(super) fn size_of(note: &[u8]) -> Option<u64> {
    Checkpoint::parse(Note::parse(note).ok()?.text()).ok().map(|checkpoint| checkpoint.size)
}

/// Reads a data folder, beside a service or without one.
pub(super) async fn folder(whom: Whom<'_>, settings: &Settings, progress: &mut Progress) -> Result<Gathered, Failure> {
    let lasting = Lasting::default();
    for _ in 1..TRIES {
        match folder_once(whom, settings, (&lasting, false), progress).await {
            // Files were replaced while they were read.
            Err(failure) if failure.exit == Exit::Failed => {}
            other => return other,
        }
    }
    folder_once(whom, settings, (&lasting, true), progress).await
}

/// Which rule the log of a folder breaks: then nothing else of it can be read, and it is not for want of looking.
pub(super) fn broken_rule(settings: &Settings, in_folder: bool) -> Option<String> {
    let (_, entries) =
        access::entries(&settings.data).ok().flatten().filter(|_| in_folder || settings.url.is_none())?;
    let mut live = LiveFiles::default();
    entries.iter().filter_map(|bytes| Entry::decode(bytes).ok()).enumerate().find_map(|(number, entry)| {
        let why = live.apply(&entry).err()?;
        Some(format!("entry {number}: {why}"))
    })
}

async fn folder_once(
    whom: Whom<'_>,
    settings: &Settings,
    (lasting, is_last): (&Lasting, bool),
    progress: &mut Progress,
) -> Result<Gathered, Failure> {
    let data = settings.data.as_path();
    let (view, under) = access::open(data, lasting, || Under::of_folder(data)).await?;
    let view = view.with_key_ring(settings.store.key_ring.as_deref());
    progress.watch(view.work(), "files");
    let mut gathered = Gathered { asked_at: candor_store::clock::SystemClock.now(), ..Gathered::default() };
    match whom {
        Whom::Holder(identity) => {
            gathered.subjects = of_holder(identity, &view, under.as_ref(), (data, is_last)).await?;
        }
        Whom::Named(value) => {
            let (ledger, ids) = (view.ledger_id(value)?, view.ids(value)?);
            let asked = Asked { ledger: &ledger, ids: &ids, is_last };
            let held = view.proved(under.as_ref(), asked, || Under::of_folder(data)).await?;
            let statements = view.history_of(&ledger).await?;
            let answer = answer(&ledger, &ids, &statements, None, &held)?;
            let (name, receipts) = ("0".to_owned(), Vec::new());
            gathered.subjects.push(Told { name, epoch: None, key: None, answer, receipts, kept: None, said: None });
        }
        Whom::Nobody => {}
    }
    if let Some((note, entries)) = access::entries(data)? {
        gathered.documents = documents(&view, &entries).await?;
        // Whoever has the ring knows the keys of the log; others say which it is.
        let origin = Note::parse(&note).ok().and_then(|note| Some(Checkpoint::parse(note.text()).ok()?.origin));
        gathered.log = origin.and_then(|origin| view.log_keys(&origin).ok()).unwrap_or_default();
        (gathered.checkpoint, gathered.entries) = (Some(note), Some(entries));
    }
    Ok(gathered)
}

/// Every document that a log names and the ledger has.
pub(super) async fn documents(view: &View, entries: &[Vec<u8>]) -> Result<BTreeMap<Hash, Vec<u8>>, Failure> {
    let mut documents = BTreeMap::new();
    for (_, digest) in documents_of(entries) {
        if let Some(text) = view.document(&hex::encode(&digest)).await? {
            documents.insert(digest, text.into_bytes());
        }
    }
    Ok(documents)
}

async fn of_holder(
    identity: &Identity,
    view: &View,
    under: Option<&Under>,
    (data, is_last): (&Path, bool),
) -> Result<Vec<Told>, Failure> {
    let (mut told, mut unknown) = (Vec::new(), 0);
    for epoch in 0..MOST_EPOCHS {
        let key = identity.public(epoch)?;
        let subject = key.subject_id();
        let ledger = LedgerId::of_certified(&subject);
        let statements = view.history_of(&ledger).await?;
        let asked = Asked { ledger: &ledger, ids: &[subject], is_last };
        let held = view.proved(under, asked, || Under::of_folder(data)).await?;
        if statements.is_empty() && held.rows.is_empty() {
            unknown = if view.is_erased(&ledger).await? { 0 } else { unknown + 1 };
            if unknown == UNKNOWN_EPOCHS {
                break;
            }
            continue;
        }
        unknown = 0;
        let receipts = view.receipts(&ledger, under).await?;
        let answer = answer(&ledger, &[], &statements, Some(&batches(&receipts)), &held)?;
        let receipts = to_lines(&receipts).map_err(unwritable)?;
        let (name, epoch, key) = (epoch.to_string(), Some(epoch), Some(key));
        told.push(Told { name, epoch, key, answer, receipts, kept: None, said: None });
    }
    Ok(told)
}

/// Numbers as the receipts have them.
fn batches(receipts: &[ReceiptEvidence]) -> Batches {
    let next = receipts.iter().map(|given| given.receipt.batch.saturating_add(1)).max().unwrap_or(1);
    let has = |number: &u64| receipts.binary_search_by_key(number, |given| given.receipt.batch).is_ok();
    Batches { next, missing: (1..next).filter(|number| !has(number)).take(MOST_MISSING).collect() }
}

/// The same that a service would answer.
fn answer(
    ledger: &LedgerId,
    ids: &[SubjectId],
    statements: &[Statement],
    batches: Option<&Batches>,
    held: &Held,
) -> Result<Vec<u8>, Failure> {
    let ids: Vec<String> = ids.iter().map(|id| hex::encode(id.as_bytes())).collect();
    let mut answer = json!({
        "schema_version": 1, "subject": hex::encode(ledger.as_bytes()), "ids": ids,
        "time": candor_store::clock::SystemClock.now(), "statements": statements, "consents": held.consents,
        "batches": batches, "checkpoint": held.checkpoint, "files": held.files, "rows": held.rows,
    });
    if !held.unread.is_empty() {
        answer["unread"] = json!(held.unread);
    }
    serde_json::to_vec(&answer).map_err(unwritable)
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn unwritable(why: serde_json::Error) -> Failure {
    Failure::new(Exit::Failed, format!("the answer cannot be written: {why}"))
}
