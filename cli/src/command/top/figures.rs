//! What two answers of `/metrics` say about the time between them.

use std::collections::BTreeMap;

use candor_ingest::exposition::Samples;

/// What a service did between two answers, and how it stands at the second.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Figures {
    /// Seconds between the two.
    pub(super) seconds: f64,
    /// By source and purpose.
    pub(super) events: Vec<Events>,
    /// By route, those that were asked in this time first.
    pub(super) routes: Vec<Requests>,
    pub(super) bytes: Rate,
    pub(super) repeats: Rate,
    pub(super) undeclared_attributes: Rate,
    pub(super) connections: u64,
    pub(super) in_flight_bytes: u64,
    pub(super) store: Store,
}

/// A counter: its value, and how fast it rose.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rate {
    pub(super) total: u64,
    pub(super) per_second: f64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Events {
    pub(super) source: String,
    pub(super) purpose: String,
    pub(super) offered: Rate,
    pub(super) stored: Rate,
    pub(super) dropped: Rate,
    /// Drops by reason since the start of the service, the most first.
    pub(super) reasons: Vec<(String, Rate)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Requests {
    pub(super) route: String,
    pub(super) answered: Rate,
    /// Answers with a status of 400 and above.
    pub(super) refused: Rate,
    /// Upper bounds in seconds of how long half, and 99 of 100, took; none where nothing was asked.
    pub(super) median: Option<f64>,
    pub(super) p99: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Store {
    pub(super) flush_lag_seconds: u64,
    pub(super) pending_rows: u64,
    pub(super) segments: u64,
    pub(super) set_aside: u64,
    pub(super) unreadable_files: u64,
    pub(super) flush_failures: u64,
    pub(super) subjects: u64,
    pub(super) syncs: Rate,
    pub(super) frames: Rate,
}

impl Figures {
    pub(super) fn between(before: &Samples, now: &Samples, seconds: f64) -> Self {
        let span = Span { before, now, seconds };
        let gauge = |name: &str| now.sum(name) as u64;
        Self {
            seconds,
            events: span.events(),
            routes: span.routes(),
            bytes: span.rate("candor_request_body_bytes_total", &[]),
            repeats: span.rate("candor_repeats_total", &[]),
            undeclared_attributes: span.rate("candor_undeclared_attributes_total", &[]),
            connections: gauge("candor_connections"),
            in_flight_bytes: gauge("candor_in_flight_bytes"),
            store: Store {
                flush_lag_seconds: gauge("candor_store_flush_lag_seconds"),
                pending_rows: gauge("candor_store_pending_rows"),
                segments: gauge("candor_store_segments"),
                set_aside: gauge("candor_store_set_aside"),
                unreadable_files: gauge("candor_store_unreadable_files"),
                flush_failures: gauge("candor_store_flush_failures"),
                subjects: gauge("candor_store_subjects"),
                syncs: span.rate("candor_store_syncs", &[]),
                frames: span.rate("candor_store_frames", &[]),
            },
        }
    }
}

struct Span<'a> {
    before: &'a Samples,
    now: &'a Samples,
    seconds: f64,
}

impl Span<'_> {
    fn rate(&self, name: &str, labels: &[(&str, &str)]) -> Rate {
        let (before, now) = (sum(self.before, name, labels), sum(self.now, name, labels));
        // A counter that fell began anew: what it shows, it counted since.
        let rose = if now < before { now } else { now - before };
        Rate { total: now as u64, per_second: if self.seconds > 0.0 { rose / self.seconds } else { 0.0 } }
    }

    fn events(&self) -> Vec<Events> {
        let label = |of: &BTreeMap<String, String>, name| of.get(name).cloned().unwrap_or_default();
        let offered = self.now.of("candor_events_offered_total");
        let of_purpose = |labels: &BTreeMap<String, String>| {
            let (source, purpose) = (label(labels, "source"), label(labels, "purpose"));
            let these = [("source", source.as_str()), ("purpose", purpose.as_str())];
            let reasons = self.reasons(&these);
            Events {
                offered: self.rate("candor_events_offered_total", &these),
                stored: self.rate("candor_events_stored_total", &these),
                dropped: self.rate("candor_events_dropped_total", &these),
                reasons,
                source,
                purpose,
            }
        };
        let mut events: Vec<Events> = offered.map(|sample| of_purpose(&sample.labels)).collect();
        events.sort_by(|a, b| (&a.source, &a.purpose).cmp(&(&b.source, &b.purpose)));
        events
    }

    fn reasons(&self, of: &[(&str, &str)]) -> Vec<(String, Rate)> {
        let name = "candor_events_dropped_total";
        let dropped = self.now.of(name).filter(|sample| matches(&sample.labels, of));
        let mut reasons: Vec<(String, Rate)> = dropped
            .filter_map(|sample| {
                let reason = sample.labels.get("reason")?;
                let these: Vec<(&str, &str)> = of.iter().copied().chain([("reason", reason.as_str())]).collect();
                Some((reason.clone(), self.rate(name, &these)))
            })
            .collect();
        reasons.sort_by_key(|(_, rate)| std::cmp::Reverse(rate.total));
        reasons
    }

    fn routes(&self) -> Vec<Requests> {
        let names = self.now.by("candor_requests_total", "route").into_keys();
        let mut routes: Vec<Requests> = names
            .map(|route| {
                let these = [("route", route.as_str())];
                let times = self.times(&these);
                Requests {
                    answered: self.rate("candor_requests_total", &these),
                    refused: self.refused(&route),
                    median: quantile(&times, 0.5),
                    p99: quantile(&times, 0.99),
                    route,
                }
            })
            .collect();
        routes.sort_by(|a, b| b.answered.per_second.total_cmp(&a.answered.per_second));
        routes
    }

    fn refused(&self, route: &str) -> Rate {
        let statuses = self.now.by("candor_requests_total", "status").into_keys();
        let errors = statuses.filter(|status| status.parse::<u16>().is_ok_and(|status| status >= 400));
        errors.fold(Rate::default(), |sum, status| {
            let one = self.rate("candor_requests_total", &[("route", route), ("status", &status)]);
            Rate { total: sum.total + one.total, per_second: sum.per_second + one.per_second }
        })
    }

    /// (upper bound, answers in this time up to it), ascending.
    fn times(&self, of: &[(&str, &str)]) -> Vec<(f64, f64)> {
        let name = "candor_request_seconds_bucket";
        let buckets = self.now.of(name).filter(|sample| matches(&sample.labels, of));
        let mut times: Vec<(f64, f64)> = buckets
            .filter_map(|sample| {
                let bound = sample.labels.get("le")?;
                let these: Vec<(&str, &str)> = of.iter().copied().chain([("le", bound.as_str())]).collect();
                let upper = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
                Some((upper, self.rate(name, &these).per_second))
            })
            .collect();
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        times
    }
}

fn sum(samples: &Samples, name: &str, labels: &[(&str, &str)]) -> f64 {
    samples.of(name).filter(|sample| matches(&sample.labels, labels)).map(|sample| sample.value).sum()
}

fn matches(labels: &BTreeMap<String, String>, wanted: &[(&str, &str)]) -> bool {
    wanted.iter().all(|(name, value)| labels.get(*name).is_some_and(|found| found == value))
}

/// The bound that a share of all answers is below.
fn quantile(times: &[(f64, f64)], share: f64) -> Option<f64> {
    let all = times.last().map(|(_, count)| *count).filter(|all| *all > 0.0)?;
    times.iter().find(|(_, count)| *count >= all * share).map(|(bound, _)| *bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(stored: u32, slow: u32) -> Samples {
        let text = format!(
            r#"# HELP candor_events_stored Rows made durable.
candor_events_offered_total{{source="devices",purpose="analytics"}} {offered}
candor_events_stored_total{{source="devices",purpose="analytics"}} {stored}
candor_events_dropped_total{{source="devices",purpose="analytics",reason="no_rule"}} 1
candor_events_dropped_total{{source="devices",purpose="analytics",reason="no_consent"}} 5
candor_requests_total{{route="/v1/logs",status="200"}} {stored}
candor_requests_total{{route="/v1/logs",status="503"}} {slow}
candor_request_seconds_bucket{{route="/v1/logs",le="0.001"}} {stored}
candor_request_seconds_bucket{{route="/v1/logs",le="0.5"}} {all}
candor_request_seconds_bucket{{route="/v1/logs",le="+Inf"}} {all}
candor_store_flush_lag_seconds 17
candor_store_segments 2
"#,
            offered = stored + 6,
            all = stored + slow,
        );
        Samples::parse(&text).unwrap()
    }

    #[test]
    fn rates_are_what_rose_in_the_time_between() {
        let figures = Figures::between(&samples(100, 0), &samples(198, 2), 2.0);
        let events = &figures.events[0];
        assert_eq!((events.source.as_str(), events.purpose.as_str()), ("devices", "analytics"));
        assert_eq!(events.stored, Rate { total: 198, per_second: 49.0 });
        assert_eq!(events.dropped, Rate { total: 6, per_second: 0.0 });
        assert_eq!(events.reasons[0], ("no_consent".to_owned(), Rate { total: 5, per_second: 0.0 }));
        let route = &figures.routes[0];
        assert_eq!((route.answered.per_second, route.refused.per_second), (50.0, 1.0));
        assert_eq!((route.median, route.p99), (Some(0.001), Some(0.5)));
        assert_eq!((figures.store.flush_lag_seconds, figures.store.segments), (17, 2));
    }

    #[test]
    fn a_service_that_began_anew_and_one_that_nobody_asks_are_told_right() {
        let figures = Figures::between(&samples(100, 0), &samples(10, 0), 2.0);
        assert_eq!(figures.events[0].stored, Rate { total: 10, per_second: 5.0 });
        let still = Figures::between(&samples(10, 0), &samples(10, 0), 2.0);
        assert_eq!((still.routes[0].median, still.events[0].stored.per_second), (None, 0.0));
        assert_eq!(Figures::between(&Samples::default(), &Samples::default(), 0.0).events, []);
    }
}
