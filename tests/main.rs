//! Drives the whole system from outside: the real binary, real sockets, real files. Of the crates, only what signs a request is called.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking, in its helpers too"
)]

mod agent;
mod alerts;
mod astray;
mod backup;
mod cancel;
mod captures;
mod certificates;
mod clients;
mod compaction;
mod consent;
mod core;
mod crash;
mod doors;
mod erasing;
mod erasure;
mod explain;
mod fleet_of_devices;
mod flow;
mod gossip;
mod gpc;
mod grpc;
mod hostile;
mod http;
mod imports;
mod input;
mod keys;
mod layers;
mod lies;
mod limits;
mod lists;
mod log;
mod log_rules;
mod lossy;
mod malformed;
mod misfit;
mod numbers;
mod openapi;
mod operations;
mod order;
mod otlp;
mod privacy;
mod proxy;
mod random;
mod receipts;
mod repeats;
mod retention;
mod retry;
mod roles;
mod rpc;
mod scan;
mod sdk;
mod sealed;
mod shown;
mod signals;
mod signatures;
mod signed;
mod signer;
mod skip;
mod slow;
mod spark;
mod tls;
mod tokens;
mod trace;
mod unit;
mod vectors;
mod verify;
mod witnesses;
mod world;
