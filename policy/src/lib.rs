//! Consent and anonymisation, pure: documents, their compiler, and clearing of Arrow columns.
//!
//! Nothing here reads a clock, a disk, the network or random numbers: the same arguments give the same rows.

pub mod batch;
pub mod catalogue;
mod catalogue_document;
pub mod category;
mod cells;
mod clear;
mod compile;
pub mod condition;
pub mod consent;
mod contest;
pub mod counts;
pub mod digest;
mod document;
pub mod explain;
mod expression;
pub mod field_path;
pub mod files;
pub mod hex;
pub mod key_index;
pub mod keys;
mod lattice;
mod names;
pub mod operator;
pub mod plan;
pub mod policy;
mod policy_document;
pub mod problem;
mod reader;
pub mod reason;
pub mod retention;
mod rule_document;
mod sample;
mod source;
pub mod subject;
mod table;
#[cfg(test)]
mod testing;
pub mod times;
mod tokens;
mod typed_condition;
