//! The log: an append-only Merkle tree of statements, in the formats of C2SP (tlog-tiles, tlog-checkpoint, signed-note,
//! tlog-cosignature). Pure: who keeps it is `candor-store`, who follows it the command line.

pub mod checkpoint;
pub mod edge;
pub mod entry;
pub mod follow;
pub mod live;
pub mod note;
pub mod proof;
pub mod tile;
