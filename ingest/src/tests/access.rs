//! Who may call what: every route with every role, without a token and with an unknown one.

use axum::body::Body;
use http::{Request, StatusCode, Version};

use super::world::{World, token};
use crate::role::{Access, Role};
use crate::route::{Errors, ROUTES, Route};

async fn status(world: &World, route: &Route, authorization: Option<String>) -> StatusCode {
    let mut request = Request::builder().method(route.method.clone()).uri(route.path);
    if route.errors == Errors::Grpc {
        request = request.version(Version::HTTP_2).header("content-type", "application/grpc");
    }
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let answer = world.send(request.body(Body::empty()).unwrap()).await;
    if let Some(code) = answer.headers.get("grpc-status") {
        assert_eq!(answer.status, StatusCode::OK);
        return match code.to_str().unwrap() {
            "16" => StatusCode::UNAUTHORIZED,
            "7" => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        };
    }
    if answer.status == StatusCode::UNAUTHORIZED {
        assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"candor\"");
    }
    answer.status
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_lets_in_whom_it_declares_and_nobody_else() {
    let world = World::open().await;
    for route in &ROUTES {
        for role in Role::ALL {
            let found = status(&world, route, Some(format!("Bearer {}", token(role)))).await;
            let allowed = match route.access {
                Access::Public => true,
                Access::Roles(roles) => roles.contains(&role),
            };
            assert_eq!(found != StatusCode::FORBIDDEN, allowed, "{role} at {}: {found}", route.path);
            assert_ne!(found, StatusCode::UNAUTHORIZED, "{role} at {}", route.path);
        }
        let public = route.access == Access::Public;
        for bad in [
            None,
            Some("Bearer unknown-token"),
            Some("Basic dG9rZW4tb2YtZGV2aWNl"),
            Some("token-of-device"),
            Some("Bearer "),
        ] {
            let found = status(&world, route, bad.map(str::to_owned)).await;
            assert_eq!(found != StatusCode::UNAUTHORIZED, public, "{bad:?} at {}: {found}", route.path);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_not_read_for_somebody_unknown() {
    let world = World::open().await;
    let request = Request::post("/v1/logs").header("content-type", "application/x-protobuf");
    let answer = world.send(request.body(Body::from("not protobuf")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "and not 400");
    assert_eq!(world.metric("candor_request_body_bytes_total{source=\"devices\"}").await, 0);
}
