//! The ledger's schema, as an ordered list: what has run is never edited, a change is a new entry.

/// `PRAGMA user_version` counts how many have run.
pub(crate) const MIGRATIONS: &[&str] = &[FIRST, NUMBERED, EPOCHS, JOBS, DAYS, ERASURES];

const FIRST: &str = "
CREATE TABLE watermark (
    one          INTEGER PRIMARY KEY CHECK (one = 1),
    released_lsn INTEGER NOT NULL
) STRICT;
INSERT INTO watermark VALUES (1, 0);

-- Statements are added and never changed; erasure alone removes them.
CREATE TABLE statements (
    ledger_id BLOB    NOT NULL CHECK (length(ledger_id) = 32),
    sequence  INTEGER NOT NULL,
    hash      BLOB    NOT NULL CHECK (length(hash) = 32),
    json      TEXT    NOT NULL,
    PRIMARY KEY (ledger_id, sequence, hash)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER statements_stay BEFORE UPDATE ON statements
BEGIN SELECT RAISE(ABORT, 'statements are never changed'); END;

-- account: 'offered', 'stored' or the reason of a drop; stream: '' where no stream declares the event.
CREATE TABLE totals (
    source  TEXT    NOT NULL,
    stream  TEXT    NOT NULL,
    purpose TEXT    NOT NULL,
    account TEXT    NOT NULL,
    records INTEGER NOT NULL,
    PRIMARY KEY (source, stream, purpose, account)
) STRICT, WITHOUT ROWID;

CREATE TABLE repeats (
    digest      BLOB    NOT NULL PRIMARY KEY CHECK (length(digest) = 16),
    received_at INTEGER NOT NULL,
    rejected    INTEGER NOT NULL,
    message     TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX repeats_by_time ON repeats (received_at);

CREATE TABLE documents (
    digest    TEXT    NOT NULL PRIMARY KEY,
    kind      TEXT    NOT NULL,
    canonical TEXT    NOT NULL,
    since     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

const NUMBERED: &str = "
-- What was taken of each subject that numbers its batches: highest number, those missing below it (JSON array), and by purpose
-- how many batches stored rows (JSON object).
CREATE TABLE numbers (
    ledger_id BLOB    NOT NULL PRIMARY KEY CHECK (length(ledger_id) = 32),
    highest   INTEGER NOT NULL,
    missing   TEXT    NOT NULL,
    stored    TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Receipts stay: a number gets the same one for good.
CREATE TABLE receipts (
    ledger_id BLOB    NOT NULL CHECK (length(ledger_id) = 32),
    number    INTEGER NOT NULL,
    receipt   TEXT    NOT NULL,
    rejected  INTEGER NOT NULL,
    message   TEXT    NOT NULL,
    PRIMARY KEY (ledger_id, number)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER receipts_stay BEFORE UPDATE ON receipts
BEGIN SELECT RAISE(ABORT, 'receipts are never changed'); END;

CREATE TABLE nonces (
    id      BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX nonces_by_time ON nonces (expires);
";

const EPOCHS: &str = "
-- Epochs of the log. The newest is open; a closed one has a nonce that opens the cells which the log holds as a digest only.
CREATE TABLE epochs (
    number    INTEGER PRIMARY KEY,
    opened_at INTEGER NOT NULL,
    closed_at INTEGER,
    nonce     BLOB CHECK (length(nonce) = 32),
    CHECK ((closed_at IS NULL) = (nonce IS NULL))
) STRICT;

CREATE TABLE epoch_totals (
    epoch   INTEGER NOT NULL,
    source  TEXT    NOT NULL,
    stream  TEXT    NOT NULL,
    purpose TEXT    NOT NULL,
    account TEXT    NOT NULL,
    records INTEGER NOT NULL,
    PRIMARY KEY (epoch, source, stream, purpose, account)
) STRICT, WITHOUT ROWID;

-- Epoch 0 is what was there before epochs were.
ALTER TABLE receipts ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
CREATE INDEX receipts_by_epoch ON receipts (epoch);
ALTER TABLE statements ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE statements ADD COLUMN nonce BLOB;
CREATE INDEX statements_by_epoch ON statements (epoch);

-- What an erasure leaves of a receipt or a statement, so that the paths of others still lead to the root.
CREATE TABLE bare_leaves (
    epoch INTEGER NOT NULL,
    tree  TEXT    NOT NULL CHECK (tree IN ('receipts', 'consents')),
    hash  BLOB    NOT NULL CHECK (length(hash) = 32),
    sums  TEXT    NOT NULL,
    PRIMARY KEY (epoch, tree, hash)
) STRICT, WITHOUT ROWID;
";

const JOBS: &str = "
-- What was begun on tables and is not over: a start goes on with it. what: JSON.
CREATE TABLE jobs (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    kind  TEXT    NOT NULL,
    what  TEXT    NOT NULL,
    state TEXT    NOT NULL
) STRICT;
";

const DAYS: &str = "
-- The day that retention believes, since 1970-01-01.
CREATE TABLE believed (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    day INTEGER NOT NULL
) STRICT;

-- Dates of receipt that a clock gave which was behind: their rows came on this day.
CREATE TABLE late_days (
    received_date INTEGER PRIMARY KEY,
    day           INTEGER NOT NULL
) STRICT;
";

const ERASURES: &str = "
-- What subjects asked to have erased. ledger_id: while it is not over. again: it was done before, and a backup brought something back.
CREATE TABLE erasures (
    id           BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    tombstone    BLOB    NOT NULL CHECK (length(tombstone) = 32),
    ledger_id    BLOB,
    scope        TEXT    NOT NULL,
    requested_at INTEGER NOT NULL,
    deadline     INTEGER NOT NULL,
    state        TEXT    NOT NULL CHECK (state IN ('open', 'cleaning', 'done')),
    done_at      INTEGER,
    certificate  TEXT,
    entry        INTEGER,
    again        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX erasures_by_tombstone ON erasures (tombstone);
CREATE INDEX erasures_by_state ON erasures (state);

-- Subjects of whom nothing is ever stored again. line: as in tombstones.jsonl.
CREATE TABLE tombstones (
    id   BLOB NOT NULL UNIQUE CHECK (length(id) = 32),
    line TEXT NOT NULL
) STRICT;
";
