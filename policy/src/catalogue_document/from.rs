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
        if lat.is_per_resource() != lon.is_per_resource() {
            let message = format!("{what} takes one half from the resource and the other from the record");
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
