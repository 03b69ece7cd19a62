//! What a data folder has of a subject, with what shows that it is all: a proof for each live file of each table.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) mod files;

use candor_policy::subject::{LedgerId, SubjectId};
use candor_wire::log::checkpoint::Checkpoint;
use candor_wire::log::entry::{Entry, Sealed};
use candor_wire::log::live::LiveFiles;
use candor_wire::log::note::Note;
use candor_wire::log::tile::{Tile, WIDTH, What};
use candor_wire::verify::{FileEvidence, StatementEvidence};

use crate::error::{Error, Kind};
use crate::log::{Log, LogFiles};
use crate::view::{HeldRow, View, blocking};

/// How often a view is opened again that does not fit the log: a file is in its table a moment before it is in the log.
const TRIES: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(50);

/// A log at one of its checkpoints.
#[derive(Clone, Debug)]
pub struct Under {
    note: String,
    live: Vec<(u64, Sealed)>,
    totals_epoch: u64,
    consents_epoch: u64,
}

/// What there is of a subject.
#[derive(Debug)]
pub struct Held {
    /// Rows, sealed or pending.
    pub rows: Vec<HeldRow>,
    /// The checkpoint that the proofs are under, as a note; none where there is no log.
    pub checkpoint: Option<String>,
    /// A proof for each live file.
    pub files: Vec<FileEvidence>,
    /// Where its statements are in the log.
    pub consents: Vec<StatementEvidence>,
}

/// A checkpoint as a note, and the entries under it.
pub type NoteAndEntries = (Vec<u8>, Vec<Vec<u8>>);

impl Under {
    /// The log of a service as it is now.
    #[must_use]
    pub fn of(log: &Log) -> Self {
        log.look_under(|checkpoint, files| Self::new(checkpoint.note.to_string(), files))
    }

    /// The log of a folder; none where there is none. Whoever reads it checks it: nothing of it is believed here.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of_folder(data: &Path) -> Result<Option<Self>, Error> {
        let Some((note, entries)) = entries(data)? else { return Ok(None) };
        let mut files = LiveFiles::default();
        for bytes in &entries {
            let entry = Entry::decode(bytes).map_err(|why| unreadable(&why))?;
            files.apply(&entry).map_err(|why| unreadable(&why))?;
        }
        Ok(Some(Self::new(String::from_utf8(note).map_err(|why| unreadable(&why))?, &files)))
    }

    fn new(note: String, files: &LiveFiles) -> Self {
        Self {
            note,
            live: files.live().map(|(entry, sealed)| (entry, sealed.clone())).collect(),
            totals_epoch: files.totals_epoch().unwrap_or(0),
            consents_epoch: files.consents_epoch().unwrap_or(0),
        }
    }

    /// The newest epoch whose totals it has; 0 for none.
    #[must_use]
    pub const fn totals_epoch(&self) -> u64 {
        self.totals_epoch
    }

    fn names(&self) -> BTreeSet<(&str, &str)> {
        self.live.iter().map(|(_, sealed)| (sealed.table.as_str(), sealed.path.as_str())).collect()
    }
}

/// The checkpoint of a folder's log, as a note, and the entries under it; none where there is no log.
///
/// # Errors
/// If it cannot be read.
pub fn entries(data: &Path) -> Result<Option<NoteAndEntries>, Error> {
    let files = LogFiles::of(data);
    let Some(note) = files.checkpoint()? else { return Ok(None) };
    let text = Note::parse(&note).map_err(|why| unreadable(&why))?;
    let checkpoint = Checkpoint::parse(text.text()).map_err(|why| unreadable(&why))?;
    let mut entries = Vec::new();
    while let Some(bundle) = Tile::of(What::Entries, entries.len() as u64, checkpoint.size) {
        entries.extend(files.bundle(&bundle)?);
        if !bundle.is_full() || !(entries.len() as u64).is_multiple_of(WIDTH) {
            break;
        }
    }
    Ok(Some((note, entries)))
}

/// A view of a folder and the log that it fits: both tell of the same files, except where one is on its way from one to the other
/// for longer than anybody waits.
///
/// # Errors
/// If either cannot be read.
pub async fn open(data: &Path, log: impl Fn() -> Result<Option<Under>, Error>) -> Result<(View, Option<Under>), Error> {
    for _ in 1..TRIES {
        // In this order: no receipt that the view has names a checkpoint that is newer than the answer's.
        let view = View::open(data).await?;
        let Some(under) = log()? else { return Ok((view, None)) };
        if view.files() == under.names() {
            return Ok((view, Some(under)));
        }
        tokio::time::sleep(BETWEEN).await;
    }
    let view = View::open(data).await?;
    Ok((view, log()?))
}

impl View {
    /// Everything that is held about a subject by its ids, with proofs under a log, and its statements' places there.
    ///
    /// # Errors
    /// `Retry` if a file was replaced meanwhile; if something cannot be read.
    pub async fn proved(&self, under: Option<&Under>, ledger: &LedgerId, ids: &[SubjectId]) -> Result<Held, Error> {
        let Some(under) = under else {
            let rows = self.held_by(ids).await?;
            return Ok(Held { rows, checkpoint: None, files: Vec::new(), consents: Vec::new() });
        };
        let (data, live, ids_of, work) = (self.folder().to_path_buf(), under.live.clone(), ids.to_vec(), self.work());
        let (files, parts) = blocking(move || files::look(&data, &live, &ids_of, &work)).await?;
        let rows = self.held_in(ids, &parts).await?;
        let consents = self.ledger().statement_places(ledger, under.consents_epoch).await?;
        Ok(Held { rows, checkpoint: Some(under.note.clone()), files, consents })
    }
}

/// Where the file of a `sealed` entry lies; the entry was read by [`Entry::decode`], so that its names lead nowhere else.
#[must_use]
pub fn path_of(data: &Path, sealed: &Sealed) -> PathBuf {
    data.join("tables").join(&sealed.table).join(&sealed.path)
}

fn unreadable(why: &dyn std::fmt::Display) -> Error {
    let mend = "restore the folder `log` from a backup";
    Error::new(Kind::Data, "the log cannot be read", why, mend)
}
