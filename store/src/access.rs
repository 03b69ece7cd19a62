//! What a data folder has of a subject, with what shows that it is all: a proof for each live file of each table.
//!
//! A file that is live in the log and that nobody can read, or that its table does not list, has no proof. No such file takes the rest
//! of an answer away: who is told of the rest finds by it which rows are missing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

pub(crate) mod files;

use candor_policy::subject::{LedgerId, SubjectId};
use candor_wire::log::checkpoint::Checkpoint;
use candor_wire::log::entry::{Entry, Sealed};
use candor_wire::log::live::LiveFiles;
use candor_wire::log::note::Note;
use candor_wire::log::tile::{Tile, WIDTH, What};
use candor_wire::verify::{FileEvidence, StatementEvidence};

use self::files::Lost;
use crate::error::{Error, Kind};
use crate::held::Looked;
use crate::log::{Log, LogFiles};
use crate::rewrite::files_of_jobs;
use crate::shared::lock;
use crate::view::{HeldRow, View, blocking};

/// A file that is live in a log, with the number of its entry.
type Live = (u64, Sealed);

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
    /// A proof for each live file that can be read.
    pub files: Vec<FileEvidence>,
    /// Where its statements are in the log.
    pub consents: Vec<StatementEvidence>,
    /// Files, from the data folder, that nobody can read, or that are live in the log and in no table: what they have of the subject
    /// is not in the rows.
    pub unread: Vec<String>,
}

/// What tables and log did not agree on when somebody had waited for it long enough: it is not waited for again, until they agree.
#[derive(Debug, Default)]
pub struct Lasting(Mutex<BTreeSet<(String, String)>>);

impl Lasting {
    /// Whether files that only one of both has are known to be so, or are from now on.
    fn is_known(&self, apart: BTreeSet<(String, String)>, is_last: bool) -> bool {
        let mut known = lock(&self.0);
        let is_known = is_last || apart.is_subset(&known);
        if is_known {
            *known = apart;
        }
        is_known
    }
}

/// What is asked of a view: about whom, and whether it is asked for the last time.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The subject's id in the ledger.
    pub ledger: &'a LedgerId,
    /// Its ids in tables.
    pub ids: &'a [SubjectId],
    /// Whether nobody will look again: then what still changes is told as it is.
    pub is_last: bool,
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
pub async fn open(
    data: &Path,
    lasting: &Lasting,
    log: impl Fn() -> Result<Option<Under>, Error>,
) -> Result<(View, Option<Under>), Error> {
    let mut tries = 1..TRIES;
    loop {
        // In this order: no receipt that the view has names a checkpoint that is newer than the answer's.
        let view = View::open(data).await?;
        let Some(under) = log()? else { return Ok((view, None)) };
        if lasting.is_known(apart(&view, &under), tries.next().is_none()) {
            return Ok((view, Some(under)));
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

/// Files, by table and path, that only one of both has.
fn apart(view: &View, under: &Under) -> BTreeSet<(String, String)> {
    let (files, names) = (view.files(), under.names());
    files.symmetric_difference(&names).map(|(table, path)| ((*table).to_owned(), (*path).to_owned())).collect()
}

impl View {
    /// Everything that is held about a subject by its ids, with proofs under a log, and its statements' places there. `log` is the log
    /// as it is by then: it tells a file that was replaced meanwhile from one that is lost.
    ///
    /// # Errors
    /// `Retry` if a file was replaced meanwhile; if something else than a file of a table cannot be read.
    pub async fn proved(
        &self,
        under: Option<&Under>,
        asked: Asked<'_>,
        log: impl Fn() -> Result<Option<Under>, Error>,
    ) -> Result<Held, Error> {
        let Asked { ledger, ids, is_last } = asked;
        let Some(under) = under else {
            let rows = self.held_by(ids).await?;
            return Ok(Held { rows, checkpoint: None, files: Vec::new(), consents: Vec::new(), unread: Vec::new() });
        };
        let (listed, aside) = self.parted(under);
        let (data, ids_of, work) = (self.folder().to_path_buf(), ids.to_vec(), self.work());
        let mut found = blocking(move || files::look(&data, &listed, &ids_of, &work)).await?;
        for (entry, sealed) in &aside {
            found.parts.lose(sealed, ids.len());
            found.lost.push(Lost::new(*entry, sealed, aside_of_its_table(sealed)));
        }
        if !found.lost.is_empty() {
            self.are_lost(&found.lost, (&aside, is_last), log()?).await?;
        }
        let Looked { rows, unread } = self.held_in(ids, &found.parts).await?;
        if let Some((_, error)) = unread.iter().find(|(_, error)| error.kind() == Kind::Retry && !is_last) {
            return Err(error.clone());
        }
        let lost = found.lost.into_iter().map(|lost| (lost.file, lost.error));
        let unread = told(lost.chain(unread).collect());
        let consents = self.ledger().statement_places(ledger, under.consents_epoch).await?;
        Ok(Held { rows, checkpoint: Some(under.note.clone()), files: found.evidence, consents, unread })
    }

    /// The live files of a log: those that their tables list, and others.
    fn parted(&self, under: &Under) -> (Vec<Live>, Vec<Live>) {
        let listed = self.files();
        let is_listed = |(_, sealed): &Live| listed.contains(&(sealed.table.as_str(), sealed.path.as_str()));
        under.live.iter().cloned().partition(is_listed)
    }

    /// That nothing explains why files cannot be read: what took the place of one, or took it away, is in the log before it goes from
    /// the disk; and one that a job has taken out of its table will be there.
    async fn are_lost(
        &self,
        lost: &[Lost],
        (aside, is_last): (&[(u64, Sealed)], bool),
        now: Option<Under>,
    ) -> Result<(), Error> {
        let live: BTreeSet<u64> = now.iter().flat_map(|under| under.live.iter().map(|(entry, _)| *entry)).collect();
        let mut passes = lost.iter().find(|lost| !live.contains(&lost.entry)).map(|lost| lost.file.clone());
        if passes.is_none() && !is_last && !aside.is_empty() {
            let jobs = files_of_jobs(self.ledger()).await?;
            let of_job = |sealed: &Sealed| {
                let (purpose, stream) = sealed.table.split_once('/')?;
                jobs.contains(&(purpose.to_owned(), stream.to_owned(), sealed.path.clone()))
                    .then(|| sealed.path.clone())
            };
            passes = aside.iter().find_map(|(_, sealed)| of_job(sealed));
        }
        match passes {
            Some(file) => {
                Err(Error::new(Kind::Retry, format!("{file} is gone"), "it was replaced meanwhile", "ask again"))
            }
            None => Ok(()),
        }
    }
}

fn aside_of_its_table(sealed: &Sealed) -> Error {
    let what = format!("tables/{}/{} is not in its table", sealed.table, sealed.path);
    let mend = "somebody else committed to the table: restore the version before that, or a backup";
    Error::new(Kind::Data, what, "the log has it as live", mend)
}

/// The files that an answer lacks, each once; whoever runs the service reads why.
fn told(lost: Vec<(String, Error)>) -> Vec<String> {
    if let Some((_, error)) = lost.first() {
        tracing::error!(files = lost.len(), %error, "an answer lacks what files have of the subject");
    }
    lost.into_iter().map(|(file, _)| file).collect::<BTreeSet<String>>().into_iter().collect()
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
