//! Protocols: one file for each way in. A protocol turns a request into the pipeline's input, and its outcome into an answer.

pub(crate) mod consent;
pub(crate) mod grpc;
pub(crate) mod otlp;
