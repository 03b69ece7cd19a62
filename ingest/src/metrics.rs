//! Prometheus metrics. Every label comes from the fleet's files, the settings or this code, never from a request.

use std::sync::Arc;

use candor_policy::counts::Count;
use candor_policy::reason::Reason;
use candor_store::store::Figures;
use candor_wire::log::note::VerifierKey;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::witnesses::Failure;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSource {
    source: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPurpose {
    source: String,
    purpose: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    source: String,
    purpose: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRequest {
    route: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSigned {
    /// `taken`, `repeat`, `refused`, or the reason of a refusal that has one.
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRoute {
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfWitnessKey {
    /// Name of its key.
    witness: String,
    /// Id of its key.
    id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFailure {
    witness: String,
    id: String,
    kind: &'static str,
}

/// What is told of one witness.
#[derive(Clone, Debug)]
pub(crate) struct OfWitness {
    size: Gauge,
    signed_at: Gauge,
    failures: Vec<(Failure, Counter)>,
}

type FigureOf = fn(&Figures) -> u64;
type PerRoute = Family<OfRoute, Histogram, fn() -> Histogram>;

/// All metrics of a service.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    offered: Family<OfPurpose, Counter>,
    stored: Family<OfPurpose, Counter>,
    dropped: Family<OfReason, Counter>,
    repeats: Family<OfSource, Counter>,
    undeclared_attributes: Family<OfSource, Counter>,
    bytes: Family<OfSource, Counter>,
    requests: Family<OfRequest, Counter>,
    seconds: PerRoute,
    statements: Family<OfSource, Counter>,
    signed: Family<OfSigned, Counter>,
    pub(crate) connections: Gauge,
    pub(crate) turned_away: Counter,
    in_flight: Gauge,
    witness_size: Family<OfWitnessKey, Gauge>,
    witness_signed_at: Family<OfWitnessKey, Gauge>,
    witness_failures: Family<OfFailure, Counter>,
    store: Vec<(Gauge, FigureOf)>,
}

/// Name, help and source of each figure of the store.
const STORE: [(&str, &str, FigureOf); 26] = [
    ("candor_store_frames", "Frames acknowledged since the start", |f| f.frames),
    ("candor_store_syncs", "fdatasync calls that acknowledged them", |f| f.syncs),
    ("candor_store_pending_rows", "Rows in segments that are not in tables yet", |f| f.pending_rows),
    ("candor_store_pending_statements", "Statements in segments that are not in the ledger yet", |f| {
        f.pending_statements
    }),
    ("candor_store_flush_lag_seconds", "How long the oldest of them have waited", |f| f.flush_lag_seconds),
    ("candor_store_segments", "Segments on disk", |f| f.segments),
    ("candor_store_set_aside", "Damaged segments set aside, ever", |f| f.set_aside),
    ("candor_store_repeats", "Requests recognised as repeats since the start", |f| f.repeats),
    ("candor_store_repeats_held", "Requests held one by one until the ledger has them", |f| f.repeats_held),
    ("candor_store_repeats_filter_bytes", "Memory of the filter that knows those it has", |f| f.repeats_filter_bytes),
    ("candor_store_repeats_lookups", "Questions to the ledger whether it has a request", |f| f.repeats_lookups),
    ("candor_store_lsn", "Highest log sequence number appended", |f| f.lsn),
    ("candor_store_flushed_lsn", "Highest log sequence number in tables", |f| f.flushed_lsn),
    ("candor_store_subjects", "Subjects with a consent statement", |f| f.subjects),
    ("candor_erasures_open", "Erasures that were asked for and are not done", |f| f.erasures_open),
    ("candor_erasures_done", "Erasures that are done", |f| f.erasures_done),
    ("candor_erasures_overdue", "Erasures that are not done and should be", |f| f.erasures_overdue),
    ("candor_store_flush_failures", "Flushes that failed since the start", |f| f.flush_failures),
    ("candor_store_unsealed_files", "Live files without an entry in the log, because they cannot be read", |f| {
        f.unsealed_files
    }),
    (
        "candor_store_unreadable_files",
        "Files that retention or erasure could not read in its last pass, and left",
        |f| f.unreadable_files,
    ),
    ("candor_log_size", "Entries in the log", |f| f.log_size),
    ("candor_store_compacted_files", "Files that became part of larger ones since the start", |f| f.compacted_files),
    ("candor_store_expired_files", "Files that retention removed or emptied of a field since the start", |f| {
        f.expired_files
    }),
    ("candor_store_expired_rows", "Rows that retention removed since the start", |f| f.expired_rows),
    ("candor_store_expired_at_seconds", "When retention ran last, since 1970; 0 before the first time", |f| {
        f.expired_at
    }),
    ("candor_store_clock_doubted", "1 if retention did not believe the clock then", |f| f.clock_doubted),
];

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let seconds: PerRoute = Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_25, 2.0, 16)));
        let store = STORE.map(|(name, help, figure)| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            (gauge, figure)
        });
        let mut metrics = Self {
            registry,
            offered: Family::default(),
            stored: Family::default(),
            dropped: Family::default(),
            repeats: Family::default(),
            undeclared_attributes: Family::default(),
            bytes: Family::default(),
            requests: Family::default(),
            seconds,
            statements: Family::default(),
            signed: Family::default(),
            connections: Gauge::default(),
            turned_away: Counter::default(),
            in_flight: Gauge::default(),
            witness_size: Family::default(),
            witness_signed_at: Family::default(),
            witness_failures: Family::default(),
            store: store.into(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let to = &mut self.registry;
        to.register("candor_events_offered", "Records that were no repeat, once a purpose", self.offered.clone());
        to.register("candor_events_stored", "Rows made durable", self.stored.clone());
        to.register(
            "candor_events_dropped",
            "Records not stored, by the first reason that applies",
            self.dropped.clone(),
        );
        to.register("candor_repeats", "Requests that were stored before", self.repeats.clone());
        let help = "Attributes that no field declares";
        to.register("candor_undeclared_attributes", help, self.undeclared_attributes.clone());
        to.register("candor_request_body_bytes", "Bytes of bodies as sent", self.bytes.clone());
        to.register("candor_requests", "Requests by route and status", self.requests.clone());
        to.register("candor_request_seconds", "Time from a request's head to its answer", self.seconds.clone());
        to.register("candor_consent_statements", "Consent statements recorded", self.statements.clone());
        let help = "Requests that had to be signed: taken, repeat, refused for what unsigned ones are too, or a reason";
        to.register("candor_signed_requests", help, self.signed.clone());
        to.register("candor_connections", "Open connections", self.connections.clone());
        let help = "Connections closed because their address had too many";
        to.register("candor_connections_turned_away", help, self.turned_away.clone());
        to.register("candor_in_flight_bytes", "Bytes of bodies in memory", self.in_flight.clone());
        let help = "Entries in the log when the witness cosigned it last";
        to.register("candor_witness_size", help, self.witness_size.clone());
        let help = "When the witness cosigned the log last, since 1970; 0 if it did not since the start";
        to.register("candor_witness_signed_at_seconds", help, self.witness_signed_at.clone());
        let help = "How often the witness was asked and did not cosign, by kind";
        to.register("candor_witness_failures", help, self.witness_failures.clone());
    }

    /// The figures of a witness: all of them show from now on.
    pub(crate) fn of_witness(&self, key: &VerifierKey) -> OfWitness {
        let (witness, id) = (key.name().to_owned(), candor_policy::hex::encode(&key.id()));
        let of_key = OfWitnessKey { witness: witness.clone(), id: id.clone() };
        let counter = |failure: Failure| {
            let of = OfFailure { witness: witness.clone(), id: id.clone(), kind: failure.name() };
            (failure, self.witness_failures.get_or_create(&of).clone())
        };
        OfWitness {
            size: self.witness_size.get_or_create(&of_key).clone(),
            signed_at: self.witness_signed_at.get_or_create(&of_key).clone(),
            failures: Failure::ALL.map(counter).into(),
        }
    }

    /// A request that had to be signed was answered; `outcome` is one of a few words.
    pub(crate) fn signed(&self, outcome: &'static str) {
        self.signed.get_or_create(&OfSigned { outcome }).inc();
    }

    /// A request was answered; `route` is a path of the list, or one word for all that are not in it.
    pub(crate) fn answered(&self, route: &'static str, status: u16, seconds: f64) {
        self.requests.get_or_create(&OfRequest { route, status }).inc();
        self.seconds.get_or_create(&OfRoute { route }).observe(seconds);
    }

    pub(crate) fn received(&self, source: &str, bytes: u64) {
        self.bytes.get_or_create(&OfSource { source: source.into() }).inc_by(bytes);
    }

    pub(crate) fn repeated(&self, source: &str) {
        self.repeats.get_or_create(&OfSource { source: source.into() }).inc();
    }

    pub(crate) fn consented(&self, source: &str) {
        self.statements.get_or_create(&OfSource { source: source.into() }).inc();
    }

    /// A batch is durable: its account.
    pub(crate) fn stored(&self, source: &str, counts: &[Count], undeclared_attributes: u64) {
        self.undeclared_attributes.get_or_create(&OfSource { source: source.into() }).inc_by(undeclared_attributes);
        for count in counts {
            let of_purpose = OfPurpose { source: source.into(), purpose: count.purpose.clone() };
            self.offered.get_or_create(&of_purpose).inc_by(count.offered);
            self.stored.get_or_create(&of_purpose).inc_by(count.stored);
            for (reason, records) in &count.dropped {
                self.dropped.get_or_create(&of_reason(&of_purpose, *reason)).inc_by(*records);
            }
        }
    }

    /// The text form, with the figures of the store and the bytes in flight as they are now.
    pub(crate) fn text(&self, figures: &Figures, in_flight: usize) -> Result<String, std::fmt::Error> {
        for (gauge, figure) in &self.store {
            gauge.set(figure(figures) as i64);
        }
        self.in_flight.set(in_flight as i64);
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

impl OfWitness {
    /// It cosigned so many entries, at this second since 1970.
    pub(crate) fn signed(&self, size: u64, at: u64) {
        self.size.set(size as i64);
        self.signed_at.set(at as i64);
    }

    pub(crate) fn failed(&self, failure: Failure) {
        for (_, counter) in self.failures.iter().filter(|(kind, _)| *kind == failure) {
            counter.inc();
        }
    }
}

fn of_reason(of: &OfPurpose, reason: Reason) -> OfReason {
    OfReason { source: of.source.clone(), purpose: of.purpose.clone(), reason: reason.name() }
}

/// Counts an open connection for as long as it lives.
#[derive(Debug)]
pub(crate) struct OpenConnection(Arc<crate::service::Service>);

impl OpenConnection {
    pub(crate) fn new(service: Arc<crate::service::Service>) -> Self {
        service.metrics.connections.inc();
        Self(service)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.metrics.connections.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_every_family_and_balances() {
        let metrics = Metrics::new();
        let dropped = [(Reason::NoConsent, 2)].into();
        let count = Count { stream: None, purpose: "analytics".into(), offered: 5, stored: 3, dropped };
        metrics.stored("devices", &[count.clone(), count], 7);
        metrics.answered("/v1/logs", 200, 0.001);
        let text = metrics.text(&Figures { pending_rows: 9, ..Figures::default() }, 11).unwrap();
        for line in [
            r#"candor_events_offered_total{source="devices",purpose="analytics"} 10"#,
            r#"candor_events_stored_total{source="devices",purpose="analytics"} 6"#,
            r#"candor_events_dropped_total{source="devices",purpose="analytics",reason="no_consent"} 4"#,
            r#"candor_undeclared_attributes_total{source="devices"} 7"#,
            r#"candor_requests_total{route="/v1/logs",status="200"} 1"#,
            "candor_store_pending_rows 9",
            "candor_in_flight_bytes 11",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
