//! Reads `from`: the place of a record that a field's value comes from, fitted to the stream's signal and the field's type.

use crate::catalogue::{FieldPath, FieldType, Signal, type_name};
use crate::document::Node;
use crate::field_path::Needs;
use crate::reader::{Reader, Text, text};
use crate::source::Findings;

const POSITION: &str = "write from = { lat = \"attributes.location.lat\", lon = \"attributes.location.lon\" }";
const COORDINATE: &str = "use attributes.<key>, resource.<key>, scope.attributes.<key> or body.<key>";

/// The path of a field, if it is one that fits; `kind` is the declared type, if it could be read.
pub(super) fn from(
    reader: &mut Reader<'_>,
    signal: Signal,
    kind: Option<(FieldType, bool)>,
    findings: &mut Findings,
) -> Option<FieldPath> {
    let Some(entry) = reader.get("from") else {
        let is_position = kind == Some((FieldType::Position, false));
        reader.missing(findings, "from", if is_position { POSITION } else { signal.paths() });
        return None;
    };
    let what = format!("`from` of {}", reader.what());
    if let Node::Table(table) = &entry.item.node {
        let mut inner = Reader::new(table, &*what, &entry.item.span);
        let lat = inner.required(findings, "lat", POSITION).and_then(|text| coordinate(text, signal, findings));
        let lon = inner.required(findings, "lon", POSITION).and_then(|text| coordinate(text, signal, findings));
        inner.finish(findings);
        if let Some(kind) = kind.filter(|kind| *kind != (FieldType::Position, false)) {
            let message = format!("{what} names two places, and the field is of type {}", type_name(kind.0, kind.1));
            findings.report(&entry.item.span, message, "write type = \"position\", or name one place");
        }
        let (lat, lon) = (Box::new(lat?), Box::new(lon?));
        let side = |path: &FieldPath| (path.is_per_resource(), matches!(path, FieldPath::ScopeAttribute(_)));
        if side(&lat) != side(&lon) {
            let message = format!("{what} takes its halves from two of resource, scope and record");
            findings.report(&entry.item.span, message, "take both from attributes, or both from the resource");
        }
        return Some(FieldPath::Position { lat, lon });
    }
    let text = text(&entry.item, &what, signal.paths(), findings)?;
    let path = path(text, signal, findings)?;
    if let Some((kind, list)) = kind {
        check_type(text, path.needs(), kind, list, findings);
    }
    Some(path)
}

/// Half of a position.
fn coordinate(text: Text<'_>, signal: Signal, findings: &mut Findings) -> Option<FieldPath> {
    let path = path(text, signal, findings)?;
    if !path.is_coordinate() {
        findings.report(text.span, format!("`{}` cannot be half of a position", text.value), COORDINATE);
        return None;
    }
    Some(path)
}

fn path(text: Text<'_>, signal: Signal, findings: &mut Findings) -> Option<FieldPath> {
    let Some(path) = FieldPath::parse(text.value) else {
        let message = format!("`{}` is not a place in a record", text.value.escape_debug());
        findings.report(text.span, message, signal.paths());
        return None;
    };
    if !path.signals().contains(&signal) {
        let of: Vec<&str> = path.signals().iter().map(|signal| signal.name()).collect();
        let message = format!(
            "`{}` is a place in {}, and the stream's signal is {}",
            text.value.escape_debug(),
            of.join(" and "),
            signal.name()
        );
        findings.report(text.span, message, signal.paths());
    }
    Some(path)
}

fn check_type(text: Text<'_>, needs: Needs, kind: FieldType, list: bool, findings: &mut Findings) {
    if needs.fits(kind, list) {
        return;
    }
    let path = text.value.escape_debug();
    let (message, mend) = match needs {
        Needs::Any => (format!("`{path}` is one place, and a position is made of two"), POSITION.to_owned()),
        Needs::Number => (format!("`{path}` is a number"), "write type = \"f64\" or type = \"i64\"".to_owned()),
        Needs::List => {
            (format!("`{path}` has many values in a span"), "write a list: type = \"list<string>\"".to_owned())
        }
        Needs::Exactly(kind, list) => {
            let name = type_name(kind, list);
            (format!("`{path}` is of type {name}"), format!("write type = \"{name}\""))
        }
    };
    findings.report(text.span, message, mend);
}

#[cfg(test)]
mod tests {
    use crate::catalogue::{Catalogue, FieldPath, Place, Signal};
    use crate::problem::Problem;
    use crate::testing::{CATALOGUE, assert_problem, edit};

    /// The stream of cars with another signal and another field.
    fn catalogue(signal: &str, kind: &str, from: &str) -> String {
        let text = edit(CATALOGUE, "\"cars@acme.example\"", &format!("\"cars@acme.example\"\nsignal = \"{signal}\""));
        let text = edit(
            &text,
            "type        = \"string\"\nfrom        = \"attributes.vin\"",
            &format!("type = \"{kind}\"\nfrom = {from}"),
        );
        edit(&text, "\"car.drive.ended\"", "\"drive\"")
    }

    fn problem(signal: &str, kind: &str, from: &str, cause: &str, says: &str) -> Problem {
        let text = catalogue(signal, kind, from);
        assert_problem(&text, Catalogue::parse(&text, "catalogue.toml"), cause, says)
    }

    fn read(signal: &str, kind: &str, from: &str) -> (FieldPath, &'static str) {
        let catalogue = Catalogue::parse(&catalogue(signal, kind, from), "catalogue.toml");
        let catalogue = catalogue.unwrap_or_else(|problems| panic!("{problems}"));
        let field = &catalogue.streams[0].fields[0];
        assert_eq!(catalogue.streams[0].signal.name(), signal);
        assert_eq!(catalogue.streams[1].signal, Signal::Logs);
        (field.from.clone(), field.type_name())
    }

    #[test]
    fn every_signal_has_its_places() {
        assert_eq!(
            read("metrics", "list<i64>", "'bucket_counts'"),
            (FieldPath::Place(Place::BucketCounts), "list<i64>")
        );
        assert_eq!(read("metrics", "i64", "'value'").0, FieldPath::Place(Place::Value));
        assert_eq!(read("traces", "string", "'trace_id'").0, FieldPath::Place(Place::TraceId));
        let of_events = FieldPath::SpanEventAttribute("exception.type".into());
        assert_eq!(
            read("traces", "list<string>", "'span_events.attributes.exception.type'"),
            (of_events, "list<string>")
        );
        assert_eq!(read("logs", "list<f64>", "'body.levels'").0, FieldPath::BodyKey("levels".into()));
        for signal in Signal::ALL {
            assert_eq!(read(signal.name(), "string", "'scope.name'").0, FieldPath::Place(Place::ScopeName));
        }
    }

    #[test]
    fn a_place_of_another_signal_is_told() {
        let told = problem("metrics", "string", "'body'", "'body'", "`body` is a place in logs");
        assert!(told.message.contains("the stream's signal is metrics"), "{told}");
        problem("traces", "i64", "'value'", "'value'", "`value` is a place in metrics");
        problem("metrics", "string", "'span_id'", "'span_id'", "`span_id` is a place in logs and traces");
        problem("logs", "i64", "'duration_ns'", "'duration_ns'", "`duration_ns` is a place in traces");
        problem("sounds", "string", "'attributes.x'", "\"sounds\"", "there is no signal `sounds`");
    }

    #[test]
    fn a_place_has_a_type() {
        problem("metrics", "f64", "'bucket_counts'", "'bucket_counts'", "is of type list<i64>");
        problem("metrics", "string", "'value'", "'value'", "`value` is a number");
        problem("traces", "string", "'links.attributes.x'", "'links.attributes.x'", "has many values in a span");
        problem("logs", "position", "'attributes.x'", "'attributes.x'", "a position is made of two");
        problem("logs", "list<position>", "'attributes.x'", "\"list<position>\"", "there is no type `list<position>`");
    }

    #[test]
    fn a_position_is_read_from_two_places_of_one_side() {
        let halves = |lat: &str, lon: &str| format!("{{ lat = '{lat}', lon = '{lon}' }}");
        let (from, kind) = read("logs", "position", &halves("attributes.at.lat", "attributes.at.lon"));
        assert_eq!((from.to_string().as_str(), kind), ("attributes.at.lat, attributes.at.lon", "position"));
        assert!(read("metrics", "position", &halves("resource.lat", "resource.lon")).0.is_per_resource());

        let mixed = halves("resource.lat", "attributes.lon");
        problem("logs", "position", &mixed, "{ lat = 'r", "takes its halves from two of");
        problem("logs", "f64", &halves("attributes.a", "attributes.b"), "{ lat = 'attributes.a'", "is of type f64");
        problem("logs", "position", "{ lat = 'attributes.a' }", "{ lat = 'attributes.a'", "has no `lon`");
        problem(
            "logs",
            "position",
            &halves("attributes.a", "severity_number"),
            "'severity_number'",
            "half of a position",
        );
        problem("logs", "position", &halves("attributes.a", "here"), "'here'", "is not a place in a record");
    }

    #[test]
    fn an_event_belongs_to_one_stream_of_its_signal() {
        let text = catalogue("traces", "string", "'attributes.x'");
        let same = edit(&text, "\"drive\"", "'phone.app.opened'");
        assert!(Catalogue::parse(&same, "catalogue.toml").is_ok());
        let same = edit(&same, "\"traces\"", "\"logs\"");
        assert_problem(&same, Catalogue::parse(&same, "catalogue.toml"), "'phone.app.opened'", "declared twice");
    }
}
