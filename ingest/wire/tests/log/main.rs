//! The log's formats against what C2SP and RFC 9162 say, against other implementations' figures, and against themselves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests stop where a test would")]

mod entries;
mod growth;
mod live;
mod notes;
mod proofs;
mod tree;
