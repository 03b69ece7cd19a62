//! Checkpoints (c2sp.org/tlog-checkpoint): a log's size and root, as the text of a note.

use std::fmt::{Display, Formatter};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::log::note::{Algorithm, Note, NoteError, Verified, VerifierKey};
use crate::merkle::Hash;

/// Size and root of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Entries in it, below 2^63.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Hash,
    /// Lines that mean nothing here.
    pub extensions: Vec<String>,
}

/// A checkpoint whose signatures were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The note, with every signature that it came with.
    pub note: Note,
    /// The log's signatures, at least one.
    pub by_log: Vec<Verified>,
    /// Signatures of witnesses that are known.
    pub by_witnesses: Vec<Verified>,
}

/// Why a checkpoint says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Its text has another form.
    #[error("it is not a checkpoint: {0}")]
    Form(&'static str),
    /// It is another log's.
    #[error("it is of the log `{found}`, not of `{expected}`")]
    Origin {
        /// Whose it was to be.
        expected: String,
        /// Whose it is.
        found: String,
    },
    /// Its note is not signed, or not a note.
    #[error(transparent)]
    Note(#[from] NoteError),
}

impl Checkpoint {
    /// The checkpoint of a log without extension lines.
    #[must_use]
    pub const fn new(origin: String, size: u64, root: Hash) -> Self {
        Self { origin, size, root, extensions: Vec::new() }
    }

    /// Reads the text of a note.
    ///
    /// # Errors
    /// [`CheckpointError::Form`].
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let form = CheckpointError::Form;
        let lines = text.strip_suffix('\n').ok_or(form("its last line has no end"))?;
        let mut lines = lines.split('\n');
        let mut next = |what| lines.next().filter(|line| !line.is_empty()).ok_or(form(what));
        let origin = next("its first line names the log")?.to_owned();
        let size = number(next("its second line is the size")?).ok_or(form("its size is not a number below 2^63"))?;
        let root = hash(next("its third line is the root")?).ok_or(form("its root is not 32 bytes in base64"))?;
        let extensions: Vec<String> = lines.map(str::to_owned).collect();
        if extensions.iter().any(String::is_empty) {
            return Err(form("a line of it is empty"));
        }
        Ok(Self { origin, size, root, extensions })
    }
}

impl Display for Checkpoint {
    /// The text of its note.
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, STANDARD.encode(self.root))?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl SignedCheckpoint {
    /// Reads a note and checks that one of the log's keys signed it, and that it is of the log whose name the first of them has.
    ///
    /// # Errors
    /// [`CheckpointError`]; also where the signature of a known witness does not hold.
    pub fn open(bytes: &[u8], log: &[VerifierKey], witnesses: &[VerifierKey]) -> Result<Self, CheckpointError> {
        let note = Note::parse(bytes)?;
        let by_log = note.verify(log)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        let expected = log.first().map_or("", VerifierKey::name);
        if checkpoint.origin != expected {
            return Err(CheckpointError::Origin { expected: expected.to_owned(), found: checkpoint.origin });
        }
        let by_witnesses = match note.verify(witnesses) {
            Err(NoteError::Unsigned) => Vec::new(),
            other => other?,
        };
        Ok(Self { checkpoint, note, by_log, by_witnesses })
    }

    /// When a witness that is known saw it last, in seconds since 1970.
    #[must_use]
    pub fn witnessed_at(&self) -> Option<u64> {
        let cosigned = self.by_witnesses.iter().filter(|verified| verified.by.algorithm() == Algorithm::Cosignature);
        cosigned.filter_map(|verified| verified.time).max()
    }
}

/// A hash as notes write it.
#[must_use]
pub fn hash(base64: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    matches!(STANDARD.decode_slice(base64, &mut hash), Ok(32)).then_some(hash)
}

/// A number as notes write it: decimal, below 2^63, no sign and no zero before it.
#[must_use]
pub fn number(text: &str) -> Option<u64> {
    let number = text.parse::<u64>().ok().filter(|number| i64::try_from(*number).is_ok())?;
    (number.to_string() == text).then_some(number)
}
