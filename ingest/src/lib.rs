//! The network: listener, protocols, authentication, limits, the pipeline and its answers.
//!
//! [`serve::serve`] runs the service; [`fleet::Fleet`] is what it needs to know of a fleet; [`route::ROUTES`] is every
//! path there is, with who may call it. The way of an event is in `pipeline.rs`.

mod address;
mod auth;
mod body;
mod buffer;
mod connection;
pub mod credential;
pub mod doctor;
mod encoding;
mod erasure;
pub mod error;
pub mod exposition;
pub mod fleet;
mod form;
mod frames;
mod framing;
mod guard;
mod head;
#[cfg(test)]
mod law;
mod limit;
mod listener;
mod log;
mod metrics;
mod openapi;
mod operations;
mod path;
mod pipeline;
pub mod process;
mod protocol;
mod published;
mod rate;
#[cfg(test)]
#[path = "../../tests/fuzz/replay.rs"]
mod replay;
pub mod role;
pub mod route;
pub mod serve;
mod service;
pub mod settings;
mod signer;
pub mod source;
mod strangers;
mod stream;
mod subject;
#[cfg(test)]
mod tests;
mod tls;
mod token;
mod toml_text;
mod upkeep;
pub mod witnesses;
mod workers;
