//! The device: identity, consent, an encrypted bounded spool, receipts, and the sender of events as OTLP over HTTP.

mod backoff;
pub mod client;
pub mod encode;
mod epoch;
pub mod error;
pub mod event;
pub mod folder;
mod journal;
pub mod rim;
pub mod send;
mod spool;
mod trust;
