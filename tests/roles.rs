//! Who may call what, on the real binary: every role, no token and a wrong one at every route that the service says it has.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::grpc::{Grpc, INVALID_ARGUMENT, LOGS, METRICS, PERMISSION_DENIED, TRACES, UNAUTHENTICATED};
use crate::world::{Service, World, figure};

const ROLES: [&str; 6] = ["device", "subject", "auditor", "analyst", "officer", "operator"];

const PING: &str = "/glean/{token}/submit/{app}/{ping}/{version}/{uuid}";

/// Parameters of paths that may be anything here.
const PARAMETERS: [&str; 8] = ["app", "ping", "version", "level", "first", "second", "third", "fourth"];

/// No role reaches it: it is for who signs.
const SUBJECT_ALONE: &[&str] = &["whoever signs"];

/// Method, path, and the roles that reach it; none: everybody. Written by hand: it is the declaration read by a person.
const CELLS: [(&str, &str, &[&str]); 39] = [
    ("POST", "/v1/logs", &["device"]),
    ("POST", "/v1/metrics", &["device"]),
    ("POST", "/v1/traces", &["device"]),
    ("POST", LOGS, &["device"]),
    ("POST", METRICS, &["device"]),
    ("POST", TRACES, &["device"]),
    ("POST", "/v1/events", &["device"]),
    ("POST", "/v1/batch", &["device"]),
    ("POST", PING, &["device"]),
    ("PUT", PING, &["device"]),
    ("POST", "/v1/consent", &["officer", "operator"]),
    ("GET", "/v1/subject", &["operator"]),
    ("POST", "/v1/subject/erasure", &["operator"]),
    ("GET", "/v1/subject/erasure", &["operator"]),
    ("POST", "/v1/erasures", &["operator"]),
    ("GET", "/v1/subject/head", SUBJECT_ALONE),
    ("GET", "/v1/subject/receipts", SUBJECT_ALONE),
    ("GET", "/v1/keys", &[]),
    ("POST", "/v1/keys", &["operator"]),
    ("POST", "/v1/backup", &["operator"]),
    ("GET", "/v1/schemas/consent-record", &[]),
    ("POST", "/v1/flush", &["operator"]),
    ("POST", "/v1/compact", &["operator"]),
    ("POST", "/v1/expire", &["operator"]),
    ("GET", "/v1/policy", &[]),
    ("GET", "/v1/catalogue", &[]),
    ("GET", "/v1/limits", &[]),
    ("GET", "/log/checkpoint", &[]),
    ("GET", "/log/tile/{level}/{first}", &[]),
    ("GET", "/log/tile/{level}/{first}/{second}", &[]),
    ("GET", "/log/tile/{level}/{first}/{second}/{third}", &[]),
    ("GET", "/log/tile/{level}/{first}/{second}/{third}/{fourth}", &[]),
    ("GET", "/healthz", &[]),
    ("GET", "/readyz", &[]),
    ("GET", "/__heartbeat__", &[]),
    ("GET", "/__lbheartbeat__", &[]),
    ("GET", "/__version__", &[]),
    ("GET", "/metrics", &[]),
    ("GET", "/openapi.json", &[]),
];

/// A route as `/openapi.json` has it, which is made from the list that makes the router.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Route {
    method: String,
    path: String,
    grpc: bool,
}

#[test]
fn every_cell_of_the_matrix_is_as_declared() {
    let world = World::new();
    one_source_a_role(&world);
    // A second fleet, whose tokens mean nothing to the first.
    let other = World::new();
    one_source_a_role(&other);
    for role in ROLES {
        std::fs::write(other.fleet().join(format!("tokens/{role}")), token("other", role)).unwrap();
    }
    let (service, _other) = (world.serve(), other.serve());
    let routes = routes(&service);
    assert_eq!(differences(&routes, &CELLS), Vec::<String>::new());
    let mut cells = 0;
    for route in &routes {
        let allowed = CELLS.iter().find(|cell| route.is(cell)).expect("no difference").2;
        for role in ROLES {
            let fate = route.call(&service, Some(&token("this", role)));
            let expected = if allowed.is_empty() || allowed.contains(&role) { Fate::LetIn } else { Fate::Forbidden };
            assert_eq!(fate, expected, "{role} {route:?}");
            cells += 1;
        }
        let strangers = ROLES.map(|role| Some(token("other", role)));
        for stranger in strangers.iter().map(Option::as_deref).chain([None, Some("unknown"), Some("")]) {
            let expected = if allowed.is_empty() { Fate::LetIn } else { Fate::Unknown };
            assert_eq!(route.call(&service, stranger), expected, "{stranger:?} {route:?}");
            cells += 1;
        }
    }
    figure(&format!("roles: {} routes of the service, {cells} cells", routes.len()));
    assert!(world.account().iter().all(|account| *account == (0, 0)));
}

#[test]
fn a_route_that_nobody_wrote_down_is_missed_and_so_is_one_that_is_gone() {
    let world = World::new();
    let mut routes = routes(&world.serve());
    let new = Route { method: "DELETE".to_owned(), path: "/v1/subject".to_owned(), grpc: false };
    let gone = routes.pop_first().unwrap();
    routes.insert(new.clone());
    let differences = differences(&routes, &CELLS);
    assert_eq!(differences.len(), 2, "{differences:?}");
    assert!(differences.iter().any(|line| line.contains(&new.path)), "{differences:?}");
    assert!(differences.iter().any(|line| line.contains(&gone.path)), "{differences:?}");
}

/// How far a caller gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    LetIn,
    Forbidden,
    Unknown,
}

/// Every route of a service.
fn routes(service: &Service) -> BTreeSet<Route> {
    let document = service.client(None).get("/openapi.json").unwrap().expect_status(200);
    let document: Value = serde_json::from_slice(&document.body).unwrap();
    let methods = |(path, methods): (&String, &Value)| {
        let of = |(method, operation): (&String, &Value)| Route {
            method: method.to_uppercase(),
            path: path.clone(),
            grpc: !operation["requestBody"]["content"]["application/grpc"].is_null(),
        };
        methods.as_object().unwrap().iter().map(of).collect::<Vec<_>>()
    };
    let paths: &Map<String, Value> = document["paths"].as_object().unwrap();
    paths.iter().flat_map(methods).collect()
}

/// What the service has and the table lacks, and the other way round.
fn differences(routes: &BTreeSet<Route>, cells: &[(&str, &str, &[&str])]) -> Vec<String> {
    let unwritten = routes.iter().filter(|route| !cells.iter().any(|cell| route.is(cell)));
    let gone = cells.iter().filter(|cell| !routes.iter().any(|route| route.is(cell)));
    let unwritten = unwritten.map(|route| format!("no cell for {route:?}"));
    unwritten.chain(gone.map(|(method, path, _)| format!("no route for {method} {path}"))).collect()
}

impl Route {
    fn is(&self, (method, path, _): &(&str, &str, &[&str])) -> bool {
        self.method == *method && self.path == *path
    }

    /// Calls it with nothing of use.
    fn call(&self, service: &Service, token: Option<&str>) -> Fate {
        if self.grpc {
            return match Grpc::connect(service.address(), token).export(&self.path, "", b"no protobuf").code() {
                INVALID_ARGUMENT => Fate::LetIn,
                PERMISSION_DENIED => Fate::Forbidden,
                UNAUTHENTICATED => Fate::Unknown,
                other => panic!("{self:?}: {other}"),
            };
        }
        // Where it is part of the path, nothing else says it.
        let in_path = self.path.contains("{token}");
        let token = if in_path { token.filter(|token| !token.is_empty()).or(Some("none")) } else { token };
        let path = self.path.replace("{token}", token.unwrap_or_default());
        let path = path.replace("{uuid}", "167466aa-5334-44d9-a217-f91f3396a4df");
        let path = PARAMETERS.iter().fold(path, |path, name| path.replace(&format!("{{{name}}}"), "1"));
        assert!(!path.contains('{'), "{path} has a parameter that this test does not know");
        let mut client = service.client(token.filter(|_| !in_path));
        let answer = client.send(&self.method, &path, &[], &[]).unwrap();
        match answer.status {
            // Whoever may ask hears that a log so small has no such tile.
            404 if answer.text().contains("the log has no such tile") => Fate::LetIn,
            401 => Fate::Unknown,
            403 => Fate::Forbidden,
            404 | 405 => panic!("{self:?} is not there"),
            _ => Fate::LetIn,
        }
    }
}

fn token(fleet: &str, role: &str) -> String {
    format!("token-of-{role}-in-{fleet}-fleet")
}

fn one_source_a_role(world: &World) {
    let sources = ROLES.map(|role| {
        std::fs::write(world.fleet().join(format!("tokens/{role}")), token("this", role)).unwrap();
        let subject = if role == "device" { "subject = \"resource.device.id\"\n" } else { "" };
        format!("[source.{role}s]\ntoken_file = \"tokens/{role}\"\nroles = [\"{role}\"]\n{subject}")
    });
    std::fs::write(world.fleet().join("sources.toml"), sources.concat()).unwrap();
}
