//! The network: listener, protocols, authentication, limits, the pipeline and its answers.
//!
//! [`serve::serve`] runs the service; [`fleet::Fleet`] is what it needs to know of a fleet; [`route::ROUTES`] is every
//! path there is, with who may call it. The way of an event is in `pipeline.rs`.

mod auth;
mod body;
pub mod credential;
pub mod doctor;
pub mod error;
pub mod exposition;
pub mod fleet;
mod guard;
mod limit;
mod listener;
mod metrics;
mod openapi;
mod operations;
mod pipeline;
pub mod process;
mod protocol;
mod published;
pub mod role;
pub mod route;
pub mod serve;
mod service;
pub mod settings;
pub mod source;
#[cfg(test)]
mod tests;
mod token;
mod toml_text;
mod workers;
