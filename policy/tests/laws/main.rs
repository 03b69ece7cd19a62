//! What holds for every document that anybody may write: fuzz targets look for one that breaks it, and their corpora are replayed here.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail the test that calls them, and say how many files they replayed"
)]

mod batch;
mod catalogue;
mod place;
mod policy;
#[path = "../../../tests/fuzz/replay.rs"]
mod replay;
