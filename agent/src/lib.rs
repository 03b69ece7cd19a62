//! The device: identity, consent, an encrypted bounded spool, receipts, and the sender of events as OTLP over HTTP.
//!
//! [`device::Device`] is all of it for one folder; [`deliver::deliver`] sends what it holds. Time, randomness, the folder and the way
//! to the service are arguments ([`rim`], [`folder`]).

mod access;
mod backoff;
mod call;
pub mod client;
pub mod consent;
pub mod deliver;
pub mod device;
pub mod encode;
mod epoch;
pub mod erase;
pub mod erasure;
pub mod error;
pub mod event;
pub mod evidence;
pub mod feed;
pub mod folder;
pub mod gossip;
mod heal;
pub mod held;
pub mod identity;
mod journal;
mod owner;
pub mod receipts;
mod refused;
mod retry_after;
pub mod rim;
pub mod send;
mod spool;
mod state;
mod trust;

#[cfg(test)]
mod tests;
