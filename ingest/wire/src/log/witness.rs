//! Witnesses (c2sp.org/tlog-witness): what a log sends to one, and what a witness has to look at before it signs.

use std::fmt::{Display, Formatter};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::log::checkpoint::{self, Checkpoint, CheckpointError, SignedCheckpoint};
use crate::log::note::{MOST_BYTES, Note, NoteError, Signature, VerifierKey};
use crate::log::proof;
use crate::merkle::{self, Hash, MOST_PATH};

/// Where a witness takes checkpoints, from its address on.
pub const PATH: &str = "/add-checkpoint";
/// Media type of the size that a conflict is answered with.
pub const SIZE_TYPE: &str = "text/x.tlog.size";

/// What a log sends: its newest checkpoint, and the proof that it extends the one that the witness saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size of the checkpoint that the witness cosigned last; 0 for none.
    pub old: u64,
    /// Consistency path from there.
    pub proof: Vec<Hash>,
    /// The checkpoint, a signed note.
    pub note: Note,
}

/// Why a witness does not sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request cannot be read, or is older than itself.
    #[error("the request is not one of c2sp.org/tlog-witness")]
    Malformed,
    /// It watches other logs.
    #[error("this log is not watched here")]
    UnknownLog,
    /// None of the log's keys signed it.
    #[error("no key of the log signed the checkpoint")]
    Unsigned,
    /// The witness saw another size last: this one.
    #[error("the checkpoint that was cosigned last has {0} entries")]
    Conflict(u64),
    /// As many entries, and not the same ones; or a proof that does not hold.
    #[error("the checkpoint does not extend the one that was cosigned last")]
    Inconsistent,
}

impl Refusal {
    /// The HTTP status that says it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unsigned => 403,
            Self::UnknownLog => 404,
            Self::Conflict(_) => 409,
            Self::Inconsistent => 422,
        }
    }
}

impl AddCheckpoint {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        if body.len() > 2 * MOST_BYTES {
            return Err(Refusal::Malformed);
        }
        let text = std::str::from_utf8(body).map_err(|_| Refusal::Malformed)?;
        let (head, note) = text.split_once("\n\n").ok_or(Refusal::Malformed)?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(checkpoint::number);
        let old = old.ok_or(Refusal::Malformed)?;
        let proof: Vec<Hash> =
            lines.take(MOST_PATH + 1).map(checkpoint::hash).collect::<Option<_>>().ok_or(Refusal::Malformed)?;
        let note = Note::parse(note.as_bytes()).map_err(|_| Refusal::Malformed)?;
        if proof.len() > MOST_PATH { Err(Refusal::Malformed) } else { Ok(Self { old, proof, note }) }
    }

    /// The name of the log that it says to be of; nothing is checked yet.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub fn origin(&self) -> Result<String, Refusal> {
        Checkpoint::parse(self.note.text()).map(|checkpoint| checkpoint.origin).map_err(|_| Refusal::Malformed)
    }

    /// The checkpoint, if a witness that knows the log by these keys and saw `last` of it is to sign it.
    ///
    /// # Errors
    /// Why not. The checks come in the order of the specification.
    pub fn judge(&self, log: &[VerifierKey], last: Option<&Checkpoint>) -> Result<SignedCheckpoint, Refusal> {
        if log.first().map(VerifierKey::name) != Some(self.origin()?.as_str()) {
            return Err(Refusal::UnknownLog);
        }
        let opened = SignedCheckpoint::open(self.note.to_string().as_bytes(), log, &[]);
        let signed = opened.map_err(|error| match error {
            CheckpointError::Note(_) => Refusal::Unsigned,
            CheckpointError::Origin { .. } => Refusal::UnknownLog,
            CheckpointError::Form(_) => Refusal::Malformed,
        })?;
        let checkpoint = &signed.checkpoint;
        if self.old > checkpoint.size {
            return Err(Refusal::Malformed);
        }
        let (size, root) = last.map_or((0, merkle::root(&[])), |last| (last.size, last.root));
        if self.old != size {
            return Err(Refusal::Conflict(size));
        }
        if size == checkpoint.size && root != checkpoint.root && size > 0 {
            return Err(Refusal::Conflict(size));
        }
        let extends = proof::is_consistent((size, &root), (checkpoint.size, &checkpoint.root), &self.proof);
        if extends { Ok(signed) } else { Err(Refusal::Inconsistent) }
    }
}

/// What a witness signed, in the body of its answer to the checkpoint of this text; what others signed is passed over.
///
/// # Errors
/// If the body is not lines of signatures, or none of them is this witness's.
pub fn cosignature(body: &[u8], text: &str, witness: &VerifierKey) -> Result<Signature, NoteError> {
    // What stands behind the text and the empty line of a note: read as such, it meets the same limits.
    let lines = body.strip_suffix(b"\n").ok_or(NoteError::Form("its last line has no end"))?;
    let note = Note::parse(&[text.as_bytes(), b"\n", lines, b"\n"].concat())?;
    let signed = note.verify(std::slice::from_ref(witness))?;
    // The specification leaves a time of 0 to whoever has no clock, which says nothing about when.
    let has_time = signed.iter().all(|verified| verified.time.is_some_and(|time| time > 0));
    let signature = note.signatures().iter().find(|signature| signature.is_by(witness)).filter(|_| has_time);
    if note.text() == text { signature.cloned().ok_or(NoteError::Unsigned) } else { Err(NoteError::Unsigned) }
}

/// The size in the answer to a conflict.
#[must_use]
pub fn conflict(content_type: Option<&str>, body: &[u8]) -> Option<u64> {
    let is_size = content_type.is_some_and(|kind| kind.split(';').next().unwrap_or_default().trim() == SIZE_TYPE);
    let text = std::str::from_utf8(body).ok().filter(|_| is_size)?;
    checkpoint::number(text.strip_suffix('\n').unwrap_or(text))
}

impl Display for AddCheckpoint {
    /// The body.
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{}", STANDARD.encode(hash)))?;
        write!(f, "\n{}", self.note)
    }
}
