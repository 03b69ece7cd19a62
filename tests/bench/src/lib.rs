//! The job of the speed table, shared by the floor and the load: requests of 500 records, 11 attributes, about 500 bytes each.

pub mod client;
mod job;
mod json;
pub mod requests;
pub mod signed;

/// Records in one request.
pub const RECORDS: usize = 500;
