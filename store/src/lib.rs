//! Every byte on disk: segments, Delta tables, the ledger, the key ring, and reading them.

pub mod access;
mod appender;
pub mod backup;
pub mod batches;
pub mod check;
pub mod clock;
mod closed;
pub mod compact;
mod consent;
pub mod doctor;
mod epochs;
pub mod erase;
pub mod error;
pub mod expire;
pub mod flush;
mod flusher;
mod held;
pub mod keys;
mod kinds;
pub mod ledger;
mod load;
mod lock;
pub mod log;
pub mod nonces;
mod query;
mod queue;
mod receipts;
pub mod recount;
mod repeats;
#[cfg(test)]
#[path = "../../tests/fuzz/replay.rs"]
mod replay;
pub mod reply;
mod rewrite;
mod schedule;
pub mod sealed;
mod sealing;
pub mod segment;
pub mod settings;
mod shared;
pub mod signed;
mod storage;
pub mod store;
mod table;
mod turn;
pub mod view;
pub mod work;
