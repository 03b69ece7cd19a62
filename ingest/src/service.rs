//! What every request shares: the plan, the sources, the store, the clock, limits, workers and metrics.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use candor_policy::plan::Plan;
use candor_store::clock::Clock;
use candor_store::store::Store;
use candor_wire::record::Parties;

use crate::limit::Budget;
use crate::metrics::Metrics;
use crate::rate::Rates;
use crate::settings::Limits;
use crate::source::Sources;
use crate::strangers::Strangers;
use crate::subject::Readings;
use crate::workers::Workers;

/// A running service. Handlers hold it in an `Arc`; when the last request is over, the store comes out and is closed.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) plan: Arc<Plan>,
    /// The fleet's name: what signed requests must be for.
    pub(crate) fleet: Arc<str>,
    pub(crate) sources: Sources,
    /// Who runs the fleet, as consent records say it.
    pub(crate) parties: Parties,
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Limits,
    pub(crate) rates: Rates,
    pub(crate) strangers: Strangers,
    pub(crate) readings: Readings,
    /// Hours for which a repeat is recognised, for `/v1/limits`.
    pub(crate) repeat_hours: u64,
    pub(crate) budget: Arc<Budget>,
    pub(crate) workers: Workers,
    pub(crate) metrics: Metrics,
    /// Set when no new work should come: load balancers read it from `/readyz`.
    pub(crate) stopping: AtomicBool,
}
