//! The sender: events from a file to a service, as OTLP over HTTP. Identity, consent and a spool come to it later.

pub mod client;
pub mod encode;
pub mod error;
pub mod event;
pub mod send;
mod trust;
