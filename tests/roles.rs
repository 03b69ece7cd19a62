//! Who may call what, on the real binary: every role, no token and a wrong one at every path, over HTTP and gRPC.

use crate::grpc::{Grpc, INVALID_ARGUMENT, LOGS, METRICS, PERMISSION_DENIED, TRACES, UNAUTHENTICATED};
use crate::world::{Service, World};

const ROLES: [&str; 6] = ["device", "subject", "auditor", "analyst", "officer", "operator"];

/// Here the token is part of the path.
const PING: &str = "/glean/TOKEN/submit/app/ping/1/167466aa-5334-44d9-a217-f91f3396a4df";

/// Method, path, and the roles that reach it; none: everybody. Written by hand: it is the declaration read by a person.
const CELLS: [(&str, &str, &[&str]); 18] = [
    ("POST", "/v1/logs", &["device"]),
    ("POST", "/v1/metrics", &["device"]),
    ("POST", "/v1/traces", &["device"]),
    ("POST", "/v1/events", &["device"]),
    ("POST", "/v1/batch", &["device"]),
    ("POST", PING, &["device"]),
    ("PUT", PING, &["device"]),
    ("POST", "/v1/consent", &["officer", "operator"]),
    ("POST", "/v1/flush", &["operator"]),
    ("GET", "/v1/policy", &[]),
    ("GET", "/v1/catalogue", &[]),
    ("GET", "/v1/limits", &[]),
    ("GET", "/healthz", &[]),
    ("GET", "/readyz", &[]),
    ("GET", "/__heartbeat__", &[]),
    ("GET", "/__lbheartbeat__", &[]),
    ("GET", "/__version__", &[]),
    ("GET", "/metrics", &[]),
];

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
    let mut cells = 0;
    for (method, path, allowed) in CELLS {
        for role in ROLES {
            let status = status(&service, method, path, Some(&token("this", role)));
            let may = allowed.is_empty() || allowed.contains(&role);
            assert_eq!(status != 403, may, "{role} {method} {path}: {status}");
            assert_ne!(status, 401, "{role} {method} {path}");
            cells += 1;
        }
        let strangers = ROLES.map(|role| Some(token("other", role)));
        for stranger in strangers.iter().map(Option::as_deref).chain([None, Some("unknown"), Some("")]) {
            let status = status(&service, method, path, stranger);
            assert_eq!(status != 401, allowed.is_empty(), "{stranger:?} {method} {path}: {status}");
            cells += 1;
        }
    }
    for (method, role) in [LOGS, METRICS, TRACES].into_iter().flat_map(|method| ROLES.map(|role| (method, role))) {
        let code = |fleet: &str| {
            Grpc::connect(service.address(), Some(&token(fleet, role))).export(method, "", b"no protobuf").code()
        };
        assert_eq!(
            code("this"),
            if role == "device" { INVALID_ARGUMENT } else { PERMISSION_DENIED },
            "{role} {method}"
        );
        assert_eq!(code("other"), UNAUTHENTICATED, "{role} {method}");
        cells += 2;
    }
    assert_eq!(cells, 18 * (6 + 9) + 3 * 6 * 2);
    assert!(world.account().iter().all(|account| *account == (0, 0)));
}

fn status(service: &Service, method: &str, path: &str, token: Option<&str>) -> u16 {
    let in_path = path.contains("TOKEN");
    let path = path.replace("TOKEN", token.filter(|token| !token.is_empty()).unwrap_or("none"));
    service.client(token.filter(|_| !in_path)).send(method, &path, &[], &[]).unwrap().status
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
