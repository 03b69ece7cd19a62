//! Every kind of problem in a catalogue has a place and a mend.

use super::*;
use crate::catalogue::FieldPath;
use crate::testing::{CATALOGUE, assert_problem, edit};

fn problem(from: &str, to: &str, cause: &str, says: &str) -> crate::problem::Problem {
    let text = edit(CATALOGUE, from, to);
    assert_problem(&text, Catalogue::parse(&text, "catalogue.toml"), cause, says)
}

#[test]
fn a_catalogue_is_read() {
    let catalogue = Catalogue::parse(CATALOGUE, "catalogue.toml").unwrap();
    assert_eq!(catalogue.name, "acme-fleet");
    let names: Vec<_> = catalogue.streams.iter().map(|stream| stream.name.as_str()).collect();
    assert_eq!(names, ["car.drive", "phone.app"]);
    let phone = &catalogue.streams[1];
    let columns: Vec<_> = phone.fields.iter().map(|field| field.column.as_str()).collect();
    assert_eq!(columns, ["imei", "screen", "level", "warmth", "charging", "seen"]);
    assert_eq!(phone.events[1].name, "phone.app.crashed");
    assert_eq!(phone.events[1].fields, [0, 2]);
    assert_eq!(phone.events[0].fields, [0, 1, 2, 3, 4, 5]);
    assert_eq!(phone.fields[0].from, FieldPath::Resource("device.imei".into()));
    assert_eq!((phone.fields[0].owner.as_str(), phone.fields[0].expires_day), ("phones@acme.example", Some(21_549)));
    assert_eq!(phone.fields[1].values, ["home", "chat"]);
    assert_eq!(catalogue.event_number(Signal::Logs, "car.drive.ended"), Some((0, 0)));
    assert_eq!(catalogue.event_number(Signal::Logs, "car.drive"), None);
    assert_eq!(
        catalogue.digest.to_string(),
        crate::digest::Digest::of_bytes(catalogue.canonical.as_bytes()).to_string()
    );
}

#[test]
fn canonical_json_reads_back_to_the_same_catalogue() {
    let catalogue = Catalogue::parse(CATALOGUE, "catalogue.toml").unwrap();
    let again = Catalogue::from_canonical(&catalogue.canonical, "stored").unwrap();
    assert_eq!((again.digest, &again.canonical), (catalogue.digest, &catalogue.canonical));
    let sorted = |catalogue: &Catalogue| {
        let mut fields: Vec<_> = catalogue.streams[1].fields.iter().map(|field| format!("{field:?}")).collect();
        fields.sort();
        fields
    };
    assert_eq!(sorted(&again), sorted(&catalogue));
}

#[test]
fn names_and_keys() {
    problem(
        "catalogue = \"acme-fleet\"",
        "catalogue = \"acme fleet\"",
        "\"acme fleet\"",
        "cannot be the name of the document",
    );
    problem("catalogue = \"acme-fleet\"", "# none", "\n", "the catalogue has no `catalogue`");
    let typo =
        problem("owner       = \"cars", "ownr = \"cars@acme.example\"\nowner = \"cars", "ownr", "has no key `ownr`");
    assert!(typo.mend.contains("did you mean `owner`"), "{typo}");
    problem("catalogue = \"acme-fleet\"", "catalogue = \"acme-fleet\"\ncolour = 1", "colour", "has no key `colour`");
    let to = "[stream.\"car/drive\"]\ndescription = \"x\"\nowner = \"x\"\nevent.x.description = \"x\"\n[stream.\"car.drive\"]";
    problem("[stream.\"car.drive\"]", to, "\"car/drive\"", "cannot be the name of a stream");
    problem(
        "[stream.\"phone.app\".event.\"phone.app.opened\"]",
        "[stream.\"phone.app\".event.\"phone.app\\u0007\"]",
        "\"phone.app\\u0007\"",
        "cannot be the name of an event",
    );
    problem("warmth   =", "Warmth   =", "Warmth", "cannot be the column");
    let reserved = problem("warmth   =", "decision =", "decision =", "a column that every table has");
    assert_eq!(reserved.file, "catalogue.toml");
}

#[test]
fn what_must_be_there() {
    problem("owner       = \"cars@acme.example\"\n", "", "\"car.drive\"]", "stream `car.drive` has no `owner`");
    problem("description = \"Drives\"\n", "", "\"car.drive\"]", "has no `description`");
    problem("description = \"Drives\"", "description = \" \"", "\" \"", "is empty");
    problem("expires     = \"2029-12-31\"\n", "", "vin]", "field `vin` has no `expires`");
    problem("from        = \"attributes.vin\"\n", "", "vin]", "field `vin` has no `from`");
    problem(
        "[stream.\"car.drive\".event.\"car.drive.ended\"]\ndescription = \"A drive ended\"\n",
        "",
        "\"car.drive\"]",
        "has no `event`",
    );
    let text = "catalogue = \"acme-fleet\"\n";
    assert_problem(text, Catalogue::parse(text, "c.toml"), "catalogue", "has no `stream`");
}

#[test]
fn values_of_the_wrong_kind() {
    problem("description = \"Drives\"", "description = 5", "5", "must be a text, not a whole number");
    problem("expires     = \"2029-12-31\"", "expires = \"2029-13-31\"", "\"2029-13-31\"", "is not a date");
    problem("expires     = \"2029-12-31\"", "expires = 2029-12-31T10:00:00Z", "2029-12-31T", "is not a date");
    assert!(Catalogue::parse(&edit(CATALOGUE, "\"2029-12-31\"", "2029-12-31"), "c.toml").is_ok());
    problem("type        = \"string\"", "type = \"text\"", "\"text\"", "there is no type `text`");
    problem("role        = \"identifier\"", "role = \"id\"", "\"id\"", "there is no role `id`");
    problem("\"attributes.vin\"", "\"attribute.vin\"", "\"attribute.vin\"", "is not a place in a record");
    problem("\"attributes.vin\"", "\"severity_number\"", "\"severity_number\"", "is of type i64");
    problem("category    = \"user.unique_id\"", "category = \"User\"", "\"User\"", "is not a data category");
    problem("[\"imei\", \"level\"]", "\"imei\"", "\"imei\"", "must be a list of texts");
    problem("[\"imei\", \"level\"]", "[\"imei\", 5]", "5]", "must be a text");
}

#[test]
fn lists_name_what_is_declared_once() {
    let typo = problem("[\"imei\", \"level\"]", "[\"imei\", \"leve\"]", "\"leve\"", "declares no field `leve`");
    assert_eq!(typo.mend, "did you mean `level`?");
    problem("[\"imei\", \"level\"]", "[\"imei\", 'imei']", "'imei'", "lists `imei` twice");
    problem("[\"home\", \"chat\"]", "[\"home\", 'home']", "'home'", "listed twice");
    problem("[\"home\", \"chat\"]", "[]", "[]", "`values` is empty");
    problem(
        "description = \"Battery\"",
        "description = \"Battery\", values = [\"1\"]",
        "values = [\"1\"]",
        "only a field of type string",
    );
    let twice = problem("\"car.drive.ended\"]", "'phone.app.opened']", "'phone.app.opened'", "is declared twice");
    let also = twice.also.unwrap();
    assert_eq!((also.line, also.what.as_str()), (9, "declared in stream `phone.app`"));
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_file() {
    let text = edit(CATALOGUE, "type        = \"string\"", "type = 1");
    let text = edit(&text, "catalogue = ", "katalogue = ");
    let text = edit(&text, "owner       = \"phones@acme.example\"\n", "");
    let problems = Catalogue::parse(&text, "c.toml").unwrap_err().0;
    let messages: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "the catalogue has no `catalogue`",
            "the catalogue has no key `katalogue`",
            "stream `phone.app` has no `owner`",
            "`type` of field `vin` must be a text, not a whole number",
        ]
    );
}

#[test]
fn unknown_needs_no_listing() {
    let text = edit(CATALOGUE, "[\"home\", \"chat\"]", "[\"home\", \"unknown\"]");
    let catalogue = Catalogue::parse(&text, "c.toml").unwrap();
    assert_eq!(catalogue.streams[1].fields[1].values, ["home"]);
}
