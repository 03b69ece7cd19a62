//! What both ends of the network need, pure: the readers of OTLP and of the protocols beside it, the encodings of consent statements,
//! identities, signed requests, receipts and the rows that they are about.

pub mod cloudevents;
pub mod counted;
pub mod erasure;
mod event;
pub mod glean;
pub mod identified;
pub mod identity;
mod json;
pub mod leaf;
pub mod log;
pub mod merkle;
pub mod otlp;
pub mod reason;
pub mod receipt;
pub mod record;
pub mod row;
pub mod segment;
mod sha256;
pub mod signature;
pub mod statement;
pub mod succession;
pub mod sum_tree;
pub mod totals;
pub mod verify;
