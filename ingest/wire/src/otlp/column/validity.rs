//! Which rows of a column hold a value.

use arrow_buffer::{NullBuffer, NullBufferBuilder};

use super::ROOM;

/// Arrow's builder with its length at hand, which is asked for with every value.
#[derive(Debug)]
pub(super) struct Validity {
    rows: usize,
    nulls: NullBufferBuilder,
}

impl Validity {
    pub(super) fn new() -> Self {
        Self { rows: 0, nulls: NullBufferBuilder::new(ROOM) }
    }

    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.rows
    }

    #[inline]
    pub(super) fn append(&mut self, valid: bool) {
        self.rows += 1;
        self.nulls.append(valid);
    }

    pub(super) fn append_many(&mut self, count: usize, valid: bool) {
        self.rows += count;
        if valid {
            self.nulls.append_n_non_nulls(count);
        } else {
            self.nulls.append_n_nulls(count);
        }
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.rows = self.rows.min(rows);
        self.nulls.truncate(rows);
    }

    pub(super) fn finish(&mut self) -> Option<NullBuffer> {
        self.rows = 0;
        self.nulls.finish()
    }
}
