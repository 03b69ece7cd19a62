//! Figures as people and programs read them.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::figures::{Events, Figures, Rate, Requests};
use crate::render::{Report, Width, counted, grid, printable};

/// The same figures as one answer: a row a source and purpose.
pub(super) fn report(url: &str, figures: &Figures) -> Report {
    let mut report = Report::new("top").column("source", "source").column("purpose", "purpose");
    for key in ["offered_per_second", "stored_per_second", "dropped_per_second", "offered", "stored", "dropped"] {
        report = report.number(key, key);
    }
    report = report.column("reasons", "reasons");
    for events in &figures.events {
        report.row(vec![
            json!(events.source),
            json!(events.purpose),
            json!(events.offered.per_second),
            json!(events.stored.per_second),
            json!(events.dropped.per_second),
            json!(events.offered.total),
            json!(events.stored.total),
            json!(events.dropped.total),
            reasons(events),
        ]);
    }
    report.fact("url", url);
    report.fact("seconds", figures.seconds);
    report.fact("routes", figures.routes.iter().map(route).collect::<Vec<_>>());
    report.fact("bytes_per_second", figures.bytes.per_second);
    report.fact("repeats_per_second", figures.repeats.per_second);
    report.fact("undeclared_attributes_per_second", figures.undeclared_attributes.per_second);
    report.fact("connections", figures.connections);
    report.fact("in_flight_bytes", figures.in_flight_bytes);
    report.fact("store", store(figures));
    report.text(text(url, figures));
    report
}

/// What a screen shows.
pub(super) fn text(url: &str, figures: &Figures) -> String {
    let mut out = format!("candor at {}, over {:.1} s\n\n", printable(url), figures.seconds);
    out.push_str(&events(figures));
    out.push('\n');
    out.push_str(&routes(figures));
    let store = &figures.store;
    let _ = writeln!(
        out,
        "\nflush lag   {} s: {} in {} wait to be written into tables",
        store.flush_lag_seconds,
        counted(store.pending_rows, "row"),
        counted(store.segments, "segment"),
    );
    let _ = writeln!(
        out,
        "store       {} frames/s in {} syncs/s, failed flushes {}, segments set aside {}, files unreadable {}, subjects {}",
        per_second(store.frames),
        per_second(store.syncs),
        store.flush_failures,
        store.set_aside,
        store.unreadable_files,
        store.subjects,
    );
    let _ = writeln!(
        out,
        "network     {}, {} KiB/s in, {} KiB of bodies in memory, {} repeats/s",
        counted(figures.connections, "connection"),
        per_second(Rate { per_second: figures.bytes.per_second / 1024.0, ..Rate::default() }),
        figures.in_flight_bytes / 1024,
        per_second(figures.repeats),
    );
    out
}

fn events(figures: &Figures) -> String {
    if figures.events.is_empty() {
        return "no event came since the service was started\n".to_owned();
    }
    let titles = [
        ("source", false),
        ("purpose", false),
        ("offered/s", true),
        ("stored/s", true),
        ("dropped/s", true),
        ("dropped since the start, because", false),
    ];
    let row = |events: &Events| {
        let because: Vec<_> =
            events.reasons.iter().map(|(reason, rate)| format!("{} {}", printable(reason), rate.total)).collect();
        vec![
            printable(&events.source),
            printable(&events.purpose),
            per_second(events.offered),
            per_second(events.stored),
            per_second(events.dropped),
            because.join(", "),
        ]
    };
    grid(&titles, figures.events.iter().map(row).collect(), Width::Terminal)
}

fn routes(figures: &Figures) -> String {
    let titles =
        [("route", false), ("requests/s", true), ("refused/s", true), ("half below", true), ("99 % below", true)];
    let row = |route: &Requests| {
        vec![
            printable(&route.route),
            per_second(route.answered),
            per_second(route.refused),
            seconds(route.median),
            seconds(route.p99),
        ]
    };
    grid(&titles, figures.routes.iter().map(row).collect(), Width::Terminal)
}

fn reasons(events: &Events) -> Value {
    let by_reason = events.reasons.iter().map(|(reason, rate)| (reason.clone(), json!(rate.total)));
    Value::Object(by_reason.collect::<Map<_, _>>())
}

fn route(route: &Requests) -> Value {
    // JSON has no infinity: whoever is slower than the last bound has none.
    json!({
        "route": route.route,
        "requests_per_second": route.answered.per_second,
        "refused_per_second": route.refused.per_second,
        "requests": route.answered.total,
        "refused": route.refused.total,
        "median_below_seconds": route.median,
        "p99_below_seconds": route.p99,
    })
}

fn store(figures: &Figures) -> Value {
    let store = &figures.store;
    json!({
        "flush_lag_seconds": store.flush_lag_seconds,
        "pending_rows": store.pending_rows,
        "segments": store.segments,
        "set_aside": store.set_aside,
        "unreadable_files": store.unreadable_files,
        "flush_failures": store.flush_failures,
        "subjects": store.subjects,
        "syncs_per_second": store.syncs.per_second,
        "frames_per_second": store.frames.per_second,
    })
}

fn per_second(rate: Rate) -> String {
    if rate.per_second >= 10.0 { format!("{:.0}", rate.per_second) } else { format!("{:.1}", rate.per_second) }
}

fn seconds(bound: Option<f64>) -> String {
    match bound {
        None => "-".to_owned(),
        Some(bound) if bound.is_infinite() => "more".to_owned(),
        Some(bound) if bound < 1.0 => format!("{:.2} ms", bound * 1000.0),
        Some(bound) => format!("{bound:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use candor_ingest::exposition::Samples;

    use super::*;
    use crate::render::Format;

    const BEFORE: &str = r#"candor_events_offered_total{source="devices",purpose="analytics"} 10
candor_events_stored_total{source="devices",purpose="analytics"} 9
candor_events_dropped_total{source="devices",purpose="analytics",reason="no_consent"} 1
candor_requests_total{route="/v1/logs",status="200"} 1
"#;

    #[test]
    fn people_and_programs_read_the_same_figures() {
        let now = BEFORE.replace("} 10", "} 40").replace("} 9", "} 31").replace("no_consent\"} 1", "no_consent\"} 9");
        let now =
            format!("{now}candor_store_flush_lag_seconds 5\ncandor_store_pending_rows 31\ncandor_store_segments 1\n");
        let figures = Figures::between(&Samples::parse(BEFORE).unwrap(), &Samples::parse(&now).unwrap(), 2.0);
        let report = report("http://x", &figures);
        let text = |format| String::from_utf8(report.render(format).unwrap()).unwrap();
        let shown = text(Format::Table);
        for part in ["devices", "15", "11", "4.0", "no_consent 9", "/v1/logs", "flush lag   5 s: 31 rows in 1 segment"]
        {
            assert!(shown.contains(part), "{part} is not in\n{shown}");
        }
        let json: Value = serde_json::from_str(&text(Format::Json)).unwrap();
        assert_eq!(json["rows"][0]["stored_per_second"], 11.0);
        assert_eq!(json["rows"][0]["reasons"], json!({ "no_consent": 9 }));
        assert_eq!(json["store"]["flush_lag_seconds"], 5);
        assert_eq!(json["routes"][0]["p99_below_seconds"], Value::Null);
    }
}
