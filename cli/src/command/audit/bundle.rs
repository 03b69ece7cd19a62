//! A bundle: a folder with everything that was gathered, to be checked where there is no network.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use candor_policy::hex;
use candor_wire::log::entry::Sha256Hex;
use candor_wire::verify::{BundleSubject, MANIFEST, MOST_MANIFEST_BYTES, Manifest, digest_of};

use super::gathered::{Gathered, Told};
use crate::exit::{Exit, Failure};

/// Most bytes of a file of a bundle.
const MOST_FILE_BYTES: u64 = 1 << 30;
/// Rows for people and their tools: what counts is in the answers.
pub(super) const ROWS: &str = "rows.parquet";
const CHECKPOINT: &str = "checkpoint";
const ENTRIES: &str = "entries.jsonl";

/// Writes a bundle to a folder that is not there yet.
pub(super) fn write(folder: &Path, gathered: &Gathered, rows: Vec<u8>) -> Result<Manifest, Failure> {
    let failed = |why: &dyn std::fmt::Display| {
        Failure::new(Exit::Failed, format!("the bundle {} cannot be written: {why}", folder.display()))
            .mend("name a folder that is not there yet")
    };
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::from([(ROWS.to_owned(), rows)]);
    if let Some(checkpoint) = &gathered.checkpoint {
        files.insert(CHECKPOINT.to_owned(), checkpoint.clone());
    }
    if let Some(entries) = &gathered.entries {
        files.insert(ENTRIES.to_owned(), entries.iter().flat_map(|entry| [entry.as_slice(), b"\n"].concat()).collect());
    }
    for (digest, document) in &gathered.documents {
        files.insert(format!("documents/{}.json", hex::encode(digest)), document.clone());
    }
    for (number, audit) in gathered.audits.iter().enumerate() {
        files.insert(format!("audits/{number}.json"), audit.clone());
    }
    let mut subjects = Vec::new();
    for told in &gathered.subjects {
        files.insert(format!("answers/{}.json", told.name), told.answer.clone());
        files.insert(format!("receipts/{}.jsonl", told.name), told.receipts.clone());
        if let Some(kept) = &told.kept {
            files.insert(format!("kept/{}.jsonl", told.name), kept.clone());
        }
        if let Some(said) = &told.said {
            files.insert(format!("said/{}.jsonl", told.name), said.clone());
        }
        subjects.push(BundleSubject { name: told.name.clone(), epoch: told.epoch, key: told.key });
    }
    let digests = files.iter().map(|(path, bytes)| (path.clone(), Sha256Hex(digest_of(bytes)))).collect();
    let manifest = Manifest::new(gathered.asked_at, gathered.log.clone(), subjects, digests).map_err(|e| failed(&e))?;
    make_folder(folder).map_err(|e| failed(&e))?;
    for (path, bytes) in &files {
        write_file(&folder.join(path), bytes).map_err(|e| failed(&e))?;
    }
    // Last: a bundle without it is none.
    write_file(&folder.join(MANIFEST), &manifest.to_json().map_err(|e| failed(&e))?).map_err(|e| failed(&e))?;
    Ok(manifest)
}

/// Reads a bundle; what is not as it was written is said, and nothing of it is used.
pub(super) fn read(folder: &Path) -> Result<Gathered, String> {
    let manifest = read_file(&folder.join(MANIFEST), MOST_MANIFEST_BYTES as u64)?;
    let manifest = Manifest::from_json(&manifest).map_err(|why| format!("{MANIFEST}: {why}"))?;
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for path in manifest.files.keys() {
        let bytes = read_file(&folder.join(path), MOST_FILE_BYTES)?;
        manifest.check_file(path, &bytes).map_err(|why| format!("{path}: {why}"))?;
        files.insert(path.clone(), bytes);
    }
    let mut gathered = Gathered { asked_at: manifest.asked_at, log: manifest.log.clone(), ..Gathered::default() };
    gathered.checkpoint = files.remove(CHECKPOINT);
    gathered.entries = files.remove(ENTRIES).map(|entries| lines(&entries)).transpose()?;
    let missing = |what: &str| format!("it has no {what}");
    for BundleSubject { name, epoch, key } in manifest.subjects {
        let answer = files.remove(&format!("answers/{name}.json")).ok_or_else(|| missing(&format!("answer {name}")))?;
        let receipts = files.remove(&format!("receipts/{name}.jsonl")).unwrap_or_default();
        let kept = files.remove(&format!("kept/{name}.jsonl"));
        let said = files.remove(&format!("said/{name}.jsonl"));
        gathered.subjects.push(Told { name, epoch, key, answer, receipts, kept, said });
    }
    for (path, bytes) in files {
        if let Some(name) = path.strip_prefix("documents/") {
            let digest = name.strip_suffix(".json").and_then(hex::decode).and_then(|bytes| bytes.try_into().ok());
            gathered.documents.insert(digest.ok_or_else(|| format!("{path} has no digest for a name"))?, bytes);
        } else if path.starts_with("audits/") {
            gathered.audits.push(bytes);
        }
    }
    Ok(gathered)
}

fn lines(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let Some(lines) = bytes.strip_suffix(b"\n") else {
        return if bytes.is_empty() { Ok(Vec::new()) } else { Err(format!("{ENTRIES} ends within an entry")) };
    };
    Ok(lines.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect())
}

fn read_file(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let said = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let file = std::fs::File::open(path).map_err(|why| said(&why))?;
    let mut bytes = Vec::new();
    #[expect(clippy::disallowed_methods, reason = "capped by `take`")]
    file.take(most + 1).read_to_end(&mut bytes).map_err(|why| said(&why))?;
    if bytes.len() as u64 > most { Err(said(&"it is longer than a bundle's files are")) } else { Ok(bytes) }
}

/// A new folder for its owner alone: it is about a person.
fn make_folder(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).create(path)
}

fn write_file(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}
