//! The service as its clients meet it: every test goes through the router or a socket, with a real store in a folder of its own.

mod access;
mod consent;
mod doors;
mod fleet;
mod flow;
mod json;
mod log;
mod openapi;
mod signals;
mod signed;
mod socket;
mod status;
pub(crate) mod world;
