//! One pass over the live files: a proof of each for every id of a subject, and its rows where the proof says that it has some.

use std::collections::BTreeMap;
use std::path::Path;

use arrow_array::RecordBatch;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use candor_policy::subject::SubjectId;
use candor_wire::log::entry::Sealed;
use candor_wire::verify::FileEvidence;

use super::path_of;
use crate::error::{Error, Kind};
use crate::sealed::{self, Opened};
use crate::table::lookup::in_parts;
use crate::table::pages::Unpacker;
use crate::table::place::Place;
use crate::work::Work;

/// What a file has of a subject under one of its ids.
pub(crate) enum Part {
    /// Nothing, as its proof shows.
    Nothing,
    /// These rows, and no others.
    Rows(Read),
    /// Nobody knows: it has to be looked for.
    Unknown,
    /// Nobody can know.
    Lost,
}

/// A subject's rows of a file, and what the file says of them.
pub(crate) struct Read {
    /// SHA-256 of the policy, hex.
    pub(crate) policy: String,
    /// SHA-256 of the catalogue, hex.
    pub(crate) catalogue: String,
    /// The rows.
    pub(crate) rows: RecordBatch,
}

/// What all files have of a subject.
#[derive(Default)]
pub(crate) struct Parts(BTreeMap<String, BTreeMap<String, Vec<Part>>>);

impl Parts {
    /// A file of which nobody can know what it has, whoever it is about.
    pub(super) fn lose(&mut self, sealed: &Sealed, ids: usize) {
        let parts = self.0.entry(sealed.table.clone()).or_default();
        parts.insert(sealed.path.clone(), (0..ids).map(|_| Part::Lost).collect());
    }

    /// What a file of a table has of a subject under one of its ids, by its number.
    pub(crate) fn of(&self, table: &str, path: &str, id: usize) -> &Part {
        let part = || self.0.get(table)?.get(path)?.get(id);
        part().unwrap_or(&Part::Unknown)
    }
}

/// What the files of a log have of a subject, as far as they can be read.
#[derive(Default)]
pub(super) struct Found {
    pub(super) evidence: Vec<FileEvidence>,
    pub(super) parts: Parts,
    pub(super) lost: Vec<Lost>,
}

/// A file that is live in the log and that nobody can read, or that is not what it was.
pub(super) struct Lost {
    /// Number of its entry.
    pub(super) entry: u64,
    /// From the data folder.
    pub(super) file: String,
    /// Why.
    pub(super) error: Error,
}

impl Lost {
    pub(super) fn new(entry: u64, sealed: &Sealed, error: Error) -> Self {
        Self { entry, file: format!("tables/{}/{}", sealed.table, sealed.path), error }
    }
}

/// Goes through the files of a log, in several threads where they are many. A file that cannot be read keeps no other from being read.
pub(super) fn look(data: &Path, live: &[(u64, Sealed)], ids: &[SubjectId], work: &Work) -> Result<Found, Error> {
    work.begin(live.len() as u64);
    let found = in_parts(live, |live| {
        let unpacker = Unpacker::new().map_err(|why| no_memory(&why))?;
        let mut subjects: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut found = Vec::with_capacity(live.len());
        for (entry, sealed) in live {
            work.advance(1);
            let Some((purpose, stream)) = sealed.table.split_once('/') else { continue };
            let names = || ids.iter().map(|id| id.in_table(purpose).to_string()).collect();
            let subjects = subjects.entry(purpose).or_insert_with(names);
            found.push((*entry, sealed, one(data, (*entry, sealed), (purpose, stream), subjects, &unpacker)?));
        }
        Ok(found)
    })?;
    let mut all = Found { evidence: Vec::with_capacity(live.len() * ids.len()), ..Found::default() };
    for (entry, sealed, of_ids) in found {
        let mut parts = Vec::with_capacity(of_ids.len());
        for of_id in of_ids {
            let part = match of_id {
                Ok((proof, part)) => {
                    all.evidence.push(proof);
                    part
                }
                Err(error) => {
                    all.lost.push(Lost::new(entry, sealed, error));
                    Part::Lost
                }
            };
            parts.push(part);
        }
        all.parts.0.entry(sealed.table.clone()).or_default().insert(sealed.path.clone(), parts);
    }
    Ok(all)
}

/// What a file has under one of the subject's names, or why nobody can say.
type OfId = Result<(FileEvidence, Part), Error>;

/// A file, for each of the subject's names in its table.
///
/// # Errors
/// Those that say nothing of the file.
fn one(
    data: &Path,
    (entry, sealed): (u64, &Sealed),
    table: (&str, &str),
    subjects: &[String],
    unpacker: &Unpacker,
) -> Result<Vec<OfId>, Error> {
    let path = path_of(data, sealed);
    let mut opened = None;
    let mut found = Vec::with_capacity(subjects.len());
    let mut of_id = |id: usize, subject: &String| {
        let proof = sealed::prove(data, table, &sealed.path, &sealed.root.0, subject)?;
        let (mut blind, mut part) = (None, Part::Nothing);
        if let Some(place) = Place::of(&proof) {
            let file = match &opened {
                Some(file) => file,
                None => opened.insert(Opened::new(&path, unpacker)?),
            };
            blind = Some(URL_SAFE_NO_PAD.encode(file.blind(subject)));
            part = file.rows(place, subject).map_or(Part::Unknown, |rows| {
                let about = file.about();
                Part::Rows(Read { policy: about.policy.clone(), catalogue: about.catalogue.clone(), rows })
            });
        }
        Ok((FileEvidence { entry, id, proof: proof.to_text(), blind }, part))
    };
    for (id, subject) in subjects.iter().enumerate() {
        found.push(match of_id(id, subject) {
            Err(error) if !is_of_file(&error, &path) => return Err(error),
            found => found,
        });
    }
    Ok(found)
}

/// Whether an error says something of the file: it is damaged, or gone.
fn is_of_file(error: &Error, path: &Path) -> bool {
    match error.kind() {
        Kind::Data => true,
        Kind::Retry => !path.exists(),
        Kind::Request | Kind::Stop => false,
    }
}

fn no_memory(why: &std::io::Error) -> Error {
    Error::new(Kind::Retry, "nothing to decompress pages with", why, "ask again")
}
