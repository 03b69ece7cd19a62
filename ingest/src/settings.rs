//! What the service can be told: data, with defaults. All of it fits `candor.toml`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use candor_wire::otlp::DecodeLimits;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Settings of [`crate::serve::serve`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where to listen: 4318 is the port of OTLP over HTTP. gRPC is answered here as well.
    pub http: SocketAddr,
    /// A second address to listen on; 4317 is the port of OTLP over gRPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<SocketAddr>,
    /// Seconds that requests in flight get when the service stops.
    pub stop_seconds: u64,
    /// TLS for both addresses; without it they speak plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// What one request, one sender and all of them together may take.
    pub limits: Limits,
}

/// The files of TLS. They are read again when they change, and on SIGHUP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate and the chain above it, in PEM.
    pub certificate: PathBuf,
    /// The certificate's private key, in PEM.
    pub key: PathBuf,
}

/// Limits, published at `/v1/limits`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a body as sent.
    pub body_bytes: usize,
    /// Bytes of a body after decompression.
    pub decompressed_bytes: usize,
    /// Records of a request.
    pub records: usize,
    /// Attributes of one record or resource.
    pub attributes: usize,
    /// Levels of nested values.
    pub depth: usize,
    /// Elements of a list that a field is.
    pub elements: usize,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// Seconds for a TLS handshake.
    pub handshake_seconds: u64,
    /// Seconds for a request's head to arrive.
    pub header_seconds: u64,
    /// Seconds for a body to arrive, and as many more as its bytes take at `body_bytes_per_second`.
    pub body_seconds: u64,
    /// Slowest rate at which a body may come.
    pub body_bytes_per_second: u64,
    /// Seconds for a request as a whole.
    pub request_seconds: u64,
    /// Seconds after which a connection that asks nothing is closed.
    pub idle_seconds: u64,
    /// Requests a second of one source; more are asked to come again.
    pub requests_per_second: u32,
    /// Requests a second of one address (of IPv6, one /64) where no token is needed but a signature; more are asked to come
    /// again.
    pub subject_requests_per_second: u32,
    /// Connections at a time; more wait to be accepted.
    pub connections: usize,
    /// Connections of one address (of IPv6, one /64) at a time; more are closed at once.
    pub connections_per_address: usize,
    /// Requests at a time on one HTTP/2 connection.
    pub http2_streams: u32,
    /// Requests that a client may cancel within a few seconds; more close its connection.
    pub http2_resets: u32,
    /// Bytes of all bodies that are in memory at a time; more are asked to come again.
    pub in_flight_bytes: usize,
}

/// hyper reads heads through a buffer of at least this size.
const LEAST_HEADER_BYTES: usize = 8_192;

impl Default for Settings {
    fn default() -> Self {
        Self {
            http: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4318),
            grpc: None,
            stop_seconds: 10,
            tls: None,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let decode = DecodeLimits::default();
        Self {
            body_bytes: 8 << 20,
            decompressed_bytes: 32 << 20,
            records: decode.records,
            attributes: decode.attributes,
            depth: decode.depth,
            elements: decode.elements,
            header_bytes: 32 << 10,
            handshake_seconds: 10,
            header_seconds: 10,
            body_seconds: 10,
            body_bytes_per_second: 1_024,
            request_seconds: 30,
            // Exporters send every few seconds, those of metrics every minute; closing their idle connections sooner
            // makes them meet a closed one.
            idle_seconds: 120,
            // All devices of a fleet may be one source.
            requests_per_second: 20_000,
            // Those of a household; a proxy in front makes one address of many.
            subject_requests_per_second: 100,
            connections: 4_096,
            connections_per_address: 2_048,
            http2_streams: 64,
            // As many as can be under way at a time, twice: a client whose deadline passes cancels all it has.
            http2_resets: 128,
            in_flight_bytes: 64 << 20,
        }
    }
}

impl Settings {
    /// Refuses settings under which the service could not answer every request that its limits allow.
    ///
    /// # Errors
    /// [`Error::Setting`], naming the setting and what it must be.
    pub fn check(&self) -> Result<(), Error> {
        let limits = &self.limits;
        let positive = [
            ("limits.body_bytes", limits.body_bytes as u64),
            ("limits.decompressed_bytes", limits.decompressed_bytes as u64),
            ("limits.records", limits.records as u64),
            ("limits.attributes", limits.attributes as u64),
            ("limits.depth", limits.depth as u64),
            ("limits.elements", limits.elements as u64),
            ("limits.handshake_seconds", limits.handshake_seconds),
            ("limits.header_seconds", limits.header_seconds),
            ("limits.body_seconds", limits.body_seconds),
            ("limits.body_bytes_per_second", limits.body_bytes_per_second),
            ("limits.request_seconds", limits.request_seconds),
            ("limits.idle_seconds", limits.idle_seconds),
            ("limits.requests_per_second", limits.requests_per_second.into()),
            ("limits.subject_requests_per_second", limits.subject_requests_per_second.into()),
            ("limits.connections", limits.connections as u64),
            ("limits.connections_per_address", limits.connections_per_address as u64),
            ("limits.http2_streams", limits.http2_streams.into()),
            ("limits.http2_resets", limits.http2_resets.into()),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(Error::Setting { name, must: "be at least 1".into() });
        }
        if limits.header_bytes < LEAST_HEADER_BYTES {
            let must = format!("be at least {LEAST_HEADER_BYTES}");
            return Err(Error::Setting { name: "limits.header_bytes", must });
        }
        let largest = limits.body_bytes.saturating_add(limits.decompressed_bytes);
        if limits.in_flight_bytes < largest {
            // Otherwise the largest request would be told "try again" for ever.
            let must = format!("be at least body_bytes + decompressed_bytes, which is {largest}");
            return Err(Error::Setting { name: "limits.in_flight_bytes", must });
        }
        Ok(())
    }
}

impl Limits {
    /// The limits that decoders meet.
    #[must_use]
    pub const fn decode(&self) -> DecodeLimits {
        DecodeLimits { records: self.records, attributes: self.attributes, depth: self.depth, elements: self.elements }
    }

    pub(crate) const fn handshake_time(&self) -> Duration {
        Duration::from_secs(self.handshake_seconds)
    }

    pub(crate) const fn header_time(&self) -> Duration {
        Duration::from_secs(self.header_seconds)
    }

    /// Time for a body of which `received` bytes are there: each buys some for the next.
    pub(crate) const fn body_time(&self, received: u64) -> Duration {
        let bought = received / if self.body_bytes_per_second == 0 { 1 } else { self.body_bytes_per_second };
        Duration::from_secs(self.body_seconds).saturating_add(Duration::from_secs(bought))
    }

    pub(crate) const fn request_time(&self) -> Duration {
        Duration::from_secs(self.request_seconds)
    }

    pub(crate) const fn idle_time(&self) -> Duration {
        Duration::from_secs(self.idle_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settings_file_says_only_what_differs() {
        let settings: Settings = toml::from_str("http = '127.0.0.1:0'\n[limits]\nrecords = 10\n").unwrap();
        assert_eq!(settings.http.port(), 0);
        assert_eq!(settings.limits, Limits { records: 10, ..Limits::default() });
        assert!(settings.check().is_ok());
        assert!(toml::from_str::<Settings>("[limits]\nrecord = 10\n").is_err(), "an unknown setting is refused");
    }

    #[test]
    fn limits_that_no_request_could_pass_are_refused_by_name() {
        let refused = |limits: Limits| Settings { limits, ..Settings::default() }.check().unwrap_err().to_string();
        assert!(refused(Limits { depth: 0, ..Limits::default() }).contains("limits.depth"));
        assert!(refused(Limits { header_bytes: 100, ..Limits::default() }).contains("8192"));
        assert!(refused(Limits { in_flight_bytes: 1 << 20, ..Limits::default() }).contains("limits.in_flight_bytes"));
    }
}
