//! Clients that send a body and wait for its answer: one connection each, on a thread of its own.

mod grpc;
mod http1;

use crate::requests::Protocol;

/// What the service said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is stored.
    Stored,
    /// Send it again.
    Again,
}

/// One connection.
pub trait Client {
    /// Sends a body and waits. The body is still there if it must be sent again.
    ///
    /// # Panics
    /// If the service says anything but that it is stored or to come again: what is measured would not be the job.
    fn send(&mut self, body: &mut Vec<u8>) -> Answer;
}

/// Opens a connection.
#[must_use]
pub fn connect(protocol: Protocol, address: &str, token: &str) -> Box<dyn Client> {
    match protocol {
        Protocol::Protobuf => Box::new(http1::Http1::connect(address, token, "application/x-protobuf")),
        Protocol::Json => Box::new(http1::Http1::connect(address, token, "application/json")),
        Protocol::Grpc => Box::new(grpc::Grpc::connect(address, token)),
    }
}
