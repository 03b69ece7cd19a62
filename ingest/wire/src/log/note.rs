//! Signed notes (c2sp.org/signed-note): text, and who signed it: with Ed25519, or as a witness that says when
//! (c2sp.org/tlog-cosignature, `cosignature/v1`).

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::identity::{KeyError, PublicKey, SubjectKey};

/// Most bytes of a note.
pub const MOST_BYTES: usize = 64 << 10;
/// Most signatures of a note; the specification asks for 16.
const MOST_SIGNATURES: usize = 64;
/// Bytes of an Ed25519 signature.
const SIGNATURE_BYTES: usize = 64;
/// Most bytes of a key's name.
const MOST_NAME: usize = 1024;
/// What the line of a signature begins with.
const DASH: &str = "\u{2014} ";

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// Ed25519 over the text: what logs do.
    Ed25519,
    /// Ed25519 over the text and the time of signing: what witnesses do.
    Cosignature,
}

/// Whom a signature is from: name, key, algorithm. Its text is a `vkey`: name `+` id `+` base64 of algorithm and key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VerifierKey {
    name: String,
    algorithm: Algorithm,
    key: PublicKey,
}

/// Who signs notes.
#[derive(Debug)]
pub struct Signer {
    pair: SubjectKey,
    verifier: VerifierKey,
}

/// A note: a text and signatures that nobody has checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

/// A signature as its line has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

/// A signature that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Whose it is.
    pub by: VerifierKey,
    /// When it was made, in seconds since 1970, if it says so.
    pub time: Option<u64>,
}

/// Why a note is worth nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It is not written as notes are.
    #[error("it is not a signed note: {0}")]
    Form(&'static str),
    /// A key that is known did not make the signature that bears its name.
    #[error("the signature of `{0}` does not hold")]
    Signature(String),
    /// No signature is of a key that is known.
    #[error("no key that is known signed it")]
    Unsigned,
}

/// Why there is no key for verifying or signing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifierKeyError {
    /// A name with spaces, with a plus or of no characters.
    #[error("a key's name has 1 to 1,024 bytes, no space, no plus and no control character")]
    Name,
    /// The text is no verifier key.
    #[error(
        "a verifier key is name+id+base64: the id is 8 hex digits, what follows a byte for the algorithm and 32 of Ed25519"
    )]
    Text,
    /// The id is not that of the name and the key.
    #[error("the id of the verifier key is not that of its name and key")]
    Id,
    /// An algorithm that is not spoken here.
    #[error("the algorithm of the verifier key is neither 1 (Ed25519) nor 4 (cosignature/v1)")]
    Algorithm,
    /// The cryptographic library refused what it was given.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Algorithm {
    const fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::Cosignature => 4,
        }
    }
}

impl VerifierKey {
    /// The key of a name.
    ///
    /// # Errors
    /// If the name cannot be one.
    pub fn new(name: &str, algorithm: Algorithm, key: PublicKey) -> Result<Self, VerifierKeyError> {
        if is_name(name) { Ok(Self { name: name.to_owned(), algorithm, key }) } else { Err(VerifierKeyError::Name) }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it signs.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key itself.
    #[must_use]
    pub const fn public(&self) -> PublicKey {
        self.key
    }

    /// Whether its holder signed a message that is no note.
    #[must_use]
    pub fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.algorithm == Algorithm::Ed25519 && self.key.verify(message, signature)
    }

    /// First four bytes of SHA-256(name ‖ `\n` ‖ algorithm ‖ key).
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        let hash = Sha256::new_with_prefix(&self.name)
            .chain_update([b'\n', self.algorithm.byte()])
            .chain_update(self.key.as_bytes())
            .finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// Whether a signature bears its name and id.
    fn claims(&self, signature: &Signature) -> bool {
        self.name == signature.name && self.id() == signature.id
    }

    /// The signature's time, if it has one; an error if it does not hold.
    fn verify(&self, text: &str, signature: &Signature) -> Result<Option<u64>, NoteError> {
        let wrong = || NoteError::Signature(self.name.clone());
        let (time, message) = match self.algorithm {
            Algorithm::Ed25519 => (None, text.to_owned()),
            Algorithm::Cosignature => {
                let (time, _) = signature.bytes.split_first_chunk::<8>().ok_or_else(wrong)?;
                let time = u64::from_be_bytes(*time);
                if i64::try_from(time).is_err() {
                    return Err(wrong());
                }
                (Some(time), cosigned(text, time))
            }
        };
        let bytes = signature.bytes.get(if time.is_some() { 8 } else { 0 }..).unwrap_or_default();
        if self.key.verify(message.as_bytes(), bytes) { Ok(time) } else { Err(wrong()) }
    }
}

impl FromStr for VerifierKey {
    type Err = VerifierKeyError;

    fn from_str(text: &str) -> Result<Self, VerifierKeyError> {
        let (name, rest) = text.split_once('+').ok_or(VerifierKeyError::Text)?;
        let (id, key) = rest.split_once('+').ok_or(VerifierKeyError::Text)?;
        let id = candor_policy::hex::decode(id).ok_or(VerifierKeyError::Text)?;
        let mut bytes = [0; 33];
        let length = STANDARD.decode_slice(key, &mut bytes).map_err(|_| VerifierKeyError::Text)?;
        let algorithm = match bytes[0] {
            1 => Algorithm::Ed25519,
            4 => Algorithm::Cosignature,
            _ => return Err(VerifierKeyError::Algorithm),
        };
        let Some(public) = bytes.last_chunk::<32>().filter(|_| length == 33) else {
            return Err(VerifierKeyError::Text);
        };
        let key = Self::new(name, algorithm, PublicKey::new(*public))?;
        if id == key.id() { Ok(key) } else { Err(VerifierKeyError::Id) }
    }
}

impl Display for VerifierKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let key = [&[self.algorithm.byte()], self.key.as_bytes().as_slice()].concat();
        write!(f, "{}+{}+{}", self.name, candor_policy::hex::encode(&self.id()), STANDARD.encode(key))
    }
}

impl std::fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

impl Signer {
    /// A name with the key pair of an Ed25519 seed.
    ///
    /// # Errors
    /// If the name cannot be one.
    pub fn new(name: &str, algorithm: Algorithm, seed: &[u8; 32]) -> Result<Self, VerifierKeyError> {
        let pair = SubjectKey::of_seed(seed);
        let verifier = VerifierKey::new(name, algorithm, pair.public())?;
        Ok(Self { pair, verifier })
    }

    /// Who verifies what it signs.
    #[must_use]
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs a text; a witness says with it that it is `now`, in seconds since 1970.
    #[must_use]
    pub fn sign(&self, text: &str, now: u64) -> Signature {
        let bytes = match self.verifier.algorithm {
            Algorithm::Ed25519 => self.pair.sign(text.as_bytes()).to_vec(),
            Algorithm::Cosignature => {
                let signature = self.pair.sign(cosigned(text, now).as_bytes());
                [&now.to_be_bytes(), signature.as_slice()].concat()
            }
        };
        Signature { name: self.verifier.name.clone(), id: self.verifier.id(), bytes }
    }
}

impl Signature {
    /// The signature of a line, without its end.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(line: &str) -> Result<Self, NoteError> {
        let form = NoteError::Form("a signature is a dash, a name and base64");
        let Some((name, base64)) = line.strip_prefix(DASH).and_then(|rest| rest.split_once(' ')) else {
            return Err(form);
        };
        let bytes = STANDARD.decode(base64).map_err(|_| form.clone())?;
        match bytes.split_first_chunk::<4>() {
            Some((id, bytes)) if is_name(name) && !bytes.is_empty() => {
                Ok(Self { name: name.to_owned(), id: *id, bytes: bytes.to_vec() })
            }
            _ => Err(form),
        }
    }

    /// Name of the key.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Id of the key.
    #[must_use]
    pub const fn id(&self) -> [u8; 4] {
        self.id
    }

    /// Whether it bears the name and id of a key; whether it is that key's says [`Note::verify`].
    #[must_use]
    pub fn is_by(&self, key: &VerifierKey) -> bool {
        key.claims(self)
    }

    /// The time that it says, in seconds since 1970, if it is as long as those of witnesses are. Nothing is checked.
    #[must_use]
    pub fn time(&self) -> Option<u64> {
        let (time, _) = self.bytes.split_first_chunk::<8>().filter(|(_, rest)| rest.len() == SIGNATURE_BYTES)?;
        Some(u64::from_be_bytes(*time))
    }
}

impl Display for Signature {
    /// The line, with its end.
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let bytes = [self.id.as_slice(), &self.bytes].concat();
        writeln!(f, "{DASH}{} {}", self.name, STANDARD.encode(bytes))
    }
}

impl Note {
    /// A text with these signatures.
    ///
    /// # Errors
    /// If it cannot be the text of a note.
    pub fn new(text: String, signatures: Vec<Signature>) -> Result<Self, NoteError> {
        if !text.ends_with('\n') || text.chars().any(|c| c < ' ' && c != '\n') {
            return Err(NoteError::Form("its text ends with a newline and has no control characters"));
        }
        Ok(Self { text, signatures })
    }

    /// Reads a note; who signed it says [`Note::verify`].
    ///
    /// # Errors
    /// [`NoteError::Form`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MOST_BYTES {
            return Err(NoteError::Form("it has more than 64 KiB"));
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::Form("it is not UTF-8"))?;
        let at = note.rfind("\n\n").ok_or(NoteError::Form("no empty line is before its signatures"))?;
        let (text, signatures) = (&note[..=at], &note[at + 2..]);
        let lines = signatures.strip_suffix('\n').ok_or(NoteError::Form("its last line has no end"))?;
        let signatures: Vec<_> =
            lines.split('\n').take(MOST_SIGNATURES + 1).map(Signature::parse).collect::<Result<_, _>>()?;
        if signatures.len() > MOST_SIGNATURES {
            return Err(NoteError::Form("it has more than 64 signatures"));
        }
        Self::new(text.to_owned(), signatures)
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, checked or not.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Adds a signature; one of the same key goes.
    pub fn add(&mut self, signature: Signature) {
        self.signatures.retain(|other| (&other.name, other.id) != (&signature.name, signature.id));
        self.signatures.push(signature);
    }

    /// The signatures of keys that are known; those of others are passed over.
    ///
    /// # Errors
    /// [`NoteError::Signature`] if one bears the name and id of a known key and is not its, [`NoteError::Unsigned`] if there is none.
    pub fn verify(&self, known: &[VerifierKey]) -> Result<Vec<Verified>, NoteError> {
        let mut verified = Vec::new();
        for signature in &self.signatures {
            for key in known.iter().filter(|key| key.claims(signature)) {
                verified.push(Verified { by: key.clone(), time: key.verify(&self.text, signature)? });
            }
        }
        if verified.is_empty() { Err(NoteError::Unsigned) } else { Ok(verified) }
    }
}

impl Display for Note {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| signature.fmt(f))
    }
}

/// What a witness signs.
fn cosigned(text: &str, time: u64) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

fn is_name(name: &str) -> bool {
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    !name.is_empty() && name.len() <= MOST_NAME && !name.contains(forbidden)
}
