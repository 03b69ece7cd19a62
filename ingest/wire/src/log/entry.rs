//! The statements of the log: what an entry may say, its bytes (RFC 8785 JSON) and how strictly they are read.

use std::fmt::{Debug, Display, Formatter};

use candor_policy::hex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::merkle::Hash;
use crate::totals::Cell;

/// Most bytes of an entry: one more has no length in a bundle.
pub const MOST_BYTES: usize = 65_535;
/// JSON numbers are exact below this.
const MOST_NUMBER: u64 = 1 << 53;
/// Most bytes of a name, a path or a key.
const MOST_TEXT: usize = 255;

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// A file of a table is there, instead of others or beside them.
    Sealed(Sealed),
    /// A policy came into force.
    Policy(InForce),
    /// A catalogue came into force.
    Catalogue(InForce),
    /// A key was made, or changed.
    Key(KeyChange),
    /// What was offered, stored and dropped in an epoch.
    Totals(Totals),
    /// The statements of consent of an epoch.
    Consents(Consents),
    /// Subjects were erased.
    Erased(Erased),
    /// Rows, or a field of them, were held as long as they may be.
    Expired(Expired),
}

/// A Parquet file that is committed to its table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// `PURPOSE/STREAM`.
    pub table: String,
    /// The file, from the table's folder.
    pub path: String,
    /// SHA-256 of its bytes.
    pub file: Sha256Hex,
    /// Its bytes.
    pub size: u64,
    /// Root over the subjects in it.
    pub root: Sha256Hex,
    /// Its rows.
    pub rows: u64,
    /// Subjects that have rows in it.
    pub subjects: u64,
    /// Date of receipt of every row.
    pub received_date: String,
    /// Digest of the policy that let the rows through.
    pub policy: Sha256Hex,
    /// Digest of the catalogue that declared them.
    pub catalogue: Sha256Hex,
    /// Numbers of the `sealed` entries whose files it replaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<u64>,
    /// Rows of those that it does not have any more; only where it replaces something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<u64>,
}

/// A document that came into force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct InForce {
    /// SHA-256 of its RFC 8785 JSON.
    pub digest: Sha256Hex,
    /// Since when, µs UTC.
    pub since: i64,
}

/// A change of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct KeyChange {
    /// `log`, `receipts`, `subject`, `ledger` or `named/NAME`.
    #[serde(rename = "use")]
    pub usage: String,
    /// Generation of the key, from 1.
    pub generation: u64,
    /// What happened.
    pub event: KeyEvent,
    /// The public key of receipts (base64url), the verifier key of the log; nothing for keys that have no public half.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// When, µs UTC.
    pub at: i64,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum KeyEvent {
    /// There was none of its use.
    Created,
    /// It is the newest generation of several.
    Rotated,
    /// It is gone.
    Destroyed,
}

/// The account of an epoch, or one part of it: an entry has room for some hundred cells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Number of the epoch.
    pub epoch: u64,
    /// Number of the part, from 1.
    pub part: u64,
    /// How many parts there are; they follow each other.
    pub parts: u64,
    /// Its beginning by the service's clock, which may have been wrong, µs UTC.
    pub from: i64,
    /// Its end, µs UTC.
    pub to: i64,
    /// Cells in their order, without those that have a small number.
    pub cells: Vec<Cell>,
    /// Digest of all cells of the epoch, the small ones too ([`crate::totals::Opened::digest`]).
    pub hidden: Sha256Hex,
    /// Sum tree over the epoch's receipts.
    pub receipts: Tree,
}

/// A tree that something else than the log is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Tree {
    /// Its root.
    pub root: Sha256Hex,
    /// Its leaves.
    pub size: u64,
}

/// The ledger of consent at the end of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Consents {
    /// Number of the epoch.
    pub epoch: u64,
    /// Root over its statements.
    pub root: Sha256Hex,
    /// Statements.
    pub size: u64,
}

/// What an erasure took away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Erased {
    /// SHA-256 of each certificate.
    pub certificates: Vec<Sha256Hex>,
    /// Entries of files that are gone and have no successor.
    pub files: Vec<u64>,
    /// Entries of the files that replaced others for it.
    pub replaced: Vec<u64>,
    /// Rows removed.
    pub removed: u64,
}

/// What expired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Expired {
    /// `PURPOSE/STREAM`.
    pub table: String,
    /// What was received before this date.
    pub before: String,
    /// Entries of files that are gone and have no successor.
    pub files: Vec<u64>,
    /// The field, where only that expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Rows removed.
    pub removed: u64,
}

/// 32 bytes, written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256Hex(pub Hash);

/// Why bytes are no entry, or a statement cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// It cannot be read, or says something that no statement of its kind does.
    #[error("it is not a statement of the log")]
    Unreadable,
    /// It could be written in another way.
    #[error("it is not written as RFC 8785 says")]
    NotCanonical,
    /// It has too many bytes.
    #[error("it has more than 65,535 bytes")]
    TooLong,
    /// A field has a value that it cannot have.
    #[error("its `{0}` cannot be that")]
    Field(&'static str),
}

impl Entry {
    /// Its bytes, as the log hashes them.
    ///
    /// # Errors
    /// If a field has a value that it cannot have, or it is too long.
    pub fn encode(&self) -> Result<Vec<u8>, EntryError> {
        self.check()?;
        let bytes = serde_json_canonicalizer::to_vec(self).map_err(|_| EntryError::Unreadable)?;
        if bytes.len() > MOST_BYTES { Err(EntryError::TooLong) } else { Ok(bytes) }
    }

    /// Reads an entry: exactly what [`Entry::encode`] writes.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > MOST_BYTES {
            return Err(EntryError::TooLong);
        }
        let entry: Self = serde_json::from_slice(bytes).map_err(|_| EntryError::Unreadable)?;
        if entry.encode()? == bytes { Ok(entry) } else { Err(EntryError::NotCanonical) }
    }

    /// The value of `kind`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Sealed(_) => "sealed",
            Self::Policy(_) => "policy",
            Self::Catalogue(_) => "catalogue",
            Self::Key(_) => "key",
            Self::Totals(_) => "totals",
            Self::Consents(_) => "consents",
            Self::Erased(_) => "erased",
            Self::Expired(_) => "expired",
        }
    }

    fn check(&self) -> Result<(), EntryError> {
        match self {
            Self::Sealed(sealed) => sealed.check(),
            Self::Policy(document) | Self::Catalogue(document) => instant("since", document.since),
            Self::Key(key) => key.check(),
            Self::Totals(totals) => totals.check(),
            Self::Consents(consents) => numbers("size", &[consents.epoch, consents.size]),
            Self::Erased(erased) => {
                ascending("files", &erased.files)?;
                ascending("replaced", &erased.replaced)?;
                numbers("removed", &[erased.removed])
            }
            Self::Expired(expired) => {
                require("table", is_table(&expired.table))?;
                require("before", is_date(&expired.before))?;
                require("field", expired.field.as_deref().is_none_or(is_name))?;
                ascending("files", &expired.files)?;
                numbers("removed", &[expired.removed])
            }
        }
    }
}

impl Sealed {
    fn check(&self) -> Result<(), EntryError> {
        require("table", is_table(&self.table))?;
        require("received_date", is_date(&self.received_date))?;
        let file = self.path.strip_prefix("received_date=").and_then(|rest| rest.strip_prefix(&self.received_date));
        let file = file.and_then(|rest| rest.strip_prefix('/'));
        require("path", file.is_some_and(|file| is_name(file) && file.ends_with(".parquet")))?;
        ascending("replaces", &self.replaces)?;
        require("removed", self.removed.is_some() != self.replaces.is_empty())?;
        numbers("size", &[self.size])?;
        numbers("removed", &[self.removed.unwrap_or(0)])?;
        require("subjects", self.subjects <= self.rows)?;
        numbers("rows", &[self.rows])
    }
}

impl KeyChange {
    fn check(&self) -> Result<(), EntryError> {
        let named = self.usage.strip_prefix("named/").is_some_and(is_name);
        let public = matches!(self.usage.as_str(), "log" | "receipts");
        require("use", public || named || matches!(self.usage.as_str(), "subject" | "ledger"))?;
        require("key", self.key.is_some() == public)?;
        require("key", self.key.as_ref().is_none_or(|key| key.len() <= 2 * MOST_TEXT))?;
        require("generation", self.generation > 0)?;
        numbers("generation", &[self.generation])?;
        instant("at", self.at)
    }
}

impl Totals {
    fn check(&self) -> Result<(), EntryError> {
        numbers("epoch", &[self.epoch, self.parts, self.receipts.size])?;
        require("part", 0 < self.part && self.part <= self.parts)?;
        instant("from", self.from)?;
        instant("to", self.to)?;
        require("cells", self.cells.is_sorted_by(|one, two| one.name() < two.name()))?;
        for cell in &self.cells {
            require("purpose", is_name(&cell.purpose) && is_name(&cell.source))?;
            require("stream", cell.stream.is_empty() || is_name(&cell.stream))?;
            require("offered", cell.balances())?;
            require("dropped", cell.dropped.keys().all(|reason| is_name(reason)))?;
            numbers("offered", &[cell.offered, cell.stored])?;
            cell.dropped.values().try_for_each(|count| numbers("dropped", &[*count]))?;
        }
        Ok(())
    }
}

impl Display for Sha256Hex {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl Debug for Sha256Hex {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sha256Hex({self})")
    }
}

impl From<Hash> for Sha256Hex {
    fn from(hash: Hash) -> Self {
        Self(hash)
    }
}

impl From<candor_policy::digest::Digest> for Sha256Hex {
    fn from(digest: candor_policy::digest::Digest) -> Self {
        Self(*digest.as_bytes())
    }
}

impl Serialize for Sha256Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let hash = hex::decode(&text).and_then(|bytes| bytes.try_into().ok());
        hash.map(Self).ok_or_else(|| serde::de::Error::custom("a digest is 64 lower-case hex digits"))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Sha256Hex {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Sha256Hex".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{64}$" })
    }
}

fn require(field: &'static str, holds: bool) -> Result<(), EntryError> {
    if holds { Ok(()) } else { Err(EntryError::Field(field)) }
}

fn numbers(field: &'static str, numbers: &[u64]) -> Result<(), EntryError> {
    require(field, numbers.iter().all(|number| *number < MOST_NUMBER))
}

fn ascending(field: &'static str, entries: &[u64]) -> Result<(), EntryError> {
    require(field, entries.is_sorted_by(|one, two| one < two))?;
    numbers(field, entries)
}

fn instant(field: &'static str, time: i64) -> Result<(), EntryError> {
    require(field, time.unsigned_abs() < MOST_NUMBER)
}

fn is_table(table: &str) -> bool {
    table.split_once('/').is_some_and(|(purpose, stream)| is_name(purpose) && is_name(stream))
}

/// What can be a name of a table or a file: no way out of a folder, nothing that a terminal would obey.
fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= MOST_TEXT && !name.starts_with('.') && name.chars().all(allowed)
}

/// A day as `YYYY-MM-DD`: such texts compare as days do, which those of years before the first do not.
fn is_date(date: &str) -> bool {
    date.parse::<jiff::civil::Date>().is_ok_and(|parsed| parsed.year() > 0 && parsed.to_string() == date)
}
