//! Texts, one behind the other.

use arrow_array::StringArray;
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow_schema::ArrowError;
use candor_policy::hex;

use super::{ROOM, Share};

/// Texts and where they begin.
#[derive(Debug)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    /// Where each text begins; the last one is where the next begins.
    offsets: Vec<i32>,
}

impl Texts {
    pub(super) fn new() -> Self {
        let mut offsets = Vec::with_capacity(ROOM + 1);
        offsets.push(0);
        Self { bytes: Vec::with_capacity(ROOM * 16), offsets }
    }

    fn end(&self) -> i32 {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// Adds a text; false if that is more than an array can hold.
    #[inline]
    pub(super) fn push(&mut self, text: &[u8]) -> bool {
        let Ok(end) = i32::try_from(self.bytes.len() + text.len()) else { return false };
        self.bytes.extend_from_slice(text);
        self.offsets.push(end);
        true
    }

    /// Adds bytes in lower-case hex.
    pub(super) fn push_hex(&mut self, bytes: &[u8]) -> bool {
        let Ok(end) = i32::try_from(self.bytes.len() + bytes.len() * 2) else { return false };
        hex::append(&mut self.bytes, bytes);
        self.offsets.push(end);
        true
    }

    /// Adds empty texts until there are as many rows.
    pub(super) fn fill(&mut self, rows: usize) {
        self.offsets.resize(rows + 1, self.end());
    }

    pub(super) fn reserve(&mut self, share: Share, rows: usize) {
        self.bytes.reserve(share.of(self.bytes.len()));
        self.offsets.reserve(rows);
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.bytes.truncate(self.end() as usize);
    }

    pub(super) fn finish(self, nulls: Option<NullBuffer>) -> Result<StringArray, ArrowError> {
        StringArray::try_new(OffsetBuffer::new(self.offsets.into()), Buffer::from_vec(self.bytes), nulls)
    }
}
