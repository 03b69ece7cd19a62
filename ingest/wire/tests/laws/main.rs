//! What holds for any bytes of the log, of proofs, certificates and signed requests, held against the corpora of the fuzz targets.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail the test that calls them, and say what was run"
)]

#[path = "../../../../tests/fuzz/replay.rs"]
mod replay;

mod certificates;
mod entries;
mod notes;
mod proofs;
mod signed;

#[test]
fn the_corpora_keep_the_laws() {
    replay::replay("entries", entries::entries);
    replay::replay("notes", notes::notes);
    replay::replay("proofs", proofs::proofs);
    replay::replay("certificates", certificates::certificates);
    replay::replay("signed", signed::signed);
}
