//! Every path of the service in one list, each with who may call it: the router is made from it and from nothing else.

use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{MethodFilter, Router, on};
use candor_policy::catalogue::Signal;
use candor_wire::erasure::ErasureRequest;
use candor_wire::record::ConsentRecord;
use http::{HeaderMap, Method, StatusCode};

use crate::auth::TokenIn;
use crate::error::{Kind, Refusal};
use crate::guard;
use crate::openapi::{About, Content, anything, array, consent_requests, object, of, one_or_many};
use crate::operations::{Flushed, Health};
use crate::protocol::Taken;
use crate::protocol::glean::Version;
use crate::protocol::segment::Success;
use crate::published::{Keys, Published};
use crate::role::{Access, Role};
use crate::service::Service;
use crate::signer::Signer;
use crate::source::Source;
use crate::{erasure, log, openapi, operations, path, protocol, published, subject, upkeep};

/// One path and method. A route without a declaration of who may call it does not build.
#[derive(Debug)]
pub struct Route {
    /// GET, POST or PUT; GET answers HEAD too.
    pub method: Method,
    /// The path. A part in braces stands for whatever a request has there: log lines and labels have the braces.
    pub path: &'static str,
    /// Who may call it.
    pub access: Access,
    pub(crate) token: TokenIn,
    pub(crate) errors: Errors,
    pub(crate) deadline: Deadline,
    /// What it is for, takes and answers: `/openapi.json` says it.
    pub(crate) about: About,
    pub(crate) handler: Handler,
}

/// How a route writes its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errors {
    /// As google.rpc.Status in the encoding of the request, as OTLP asks.
    Otlp,
    /// In headers, as gRPC asks.
    Grpc,
    /// As JSON.
    Json,
    /// As JSON, for clients that take every 4xx for final, 429 included.
    Ping,
}

/// How long a route may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// `request_seconds`.
    Request,
    /// As long as there is work, which the segments bound.
    Work,
}

/// A request on its way, after its sender was let in.
pub(crate) struct Call<'a> {
    pub(crate) service: &'a Arc<Service>,
    /// Who sent it; none on public routes, and where a subject signs without a token.
    pub(crate) source: Option<&'a Arc<Source>>,
    /// The subject that signed it, where one did.
    pub(crate) signer: Option<&'a Signer>,
    pub(crate) route: &'a Route,
    pub(crate) path: &'a str,
    /// What follows `?`.
    pub(crate) query: Option<&'a str>,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a mut Body,
    pub(crate) note: &'a mut Note,
}

/// What a handler tells the log and the metrics: numbers only.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Note {
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
    pub(crate) repeat: bool,
    /// Whether something durable remembers the nonce of a signed request.
    pub(crate) is_nonce_kept: bool,
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Response, Refusal>> + Send + 'a>>;
type Handler = for<'a> fn(Call<'a>) -> Answer<'a>;

/// The whole list.
pub static ROUTES: [Route; 39] = [
    otlp(protocol::otlp::LOGS, &LOGS, |call| Box::pin(protocol::otlp::export(call, Signal::Logs))),
    otlp(protocol::otlp::METRICS, &METRICS, |call| Box::pin(protocol::otlp::export(call, Signal::Metrics))),
    otlp(protocol::otlp::TRACES, &TRACES, |call| Box::pin(protocol::otlp::export(call, Signal::Traces))),
    grpc(protocol::grpc::LOGS, &LOGS, |call| Box::pin(protocol::grpc::export(call, Signal::Logs))),
    grpc(protocol::grpc::METRICS, &METRICS, |call| Box::pin(protocol::grpc::export(call, Signal::Metrics))),
    grpc(protocol::grpc::TRACES, &TRACES, |call| Box::pin(protocol::grpc::export(call, Signal::Traces))),
    Route {
        method: Method::POST,
        path: "/v1/events",
        access: Access::Roles(&[Role::Device]),
        token: TokenIn::Bearer,
        errors: Errors::Json,
        deadline: Deadline::Request,
        about: About {
            summary: "Take in CloudEvents: one, a batch, or one in binary mode with its attributes in ce- headers",
            request: Some(Content::OneOf(&[
                (protocol::cloudevents::STRUCTURED, object),
                (protocol::cloudevents::BATCH, array),
                ("*/*", anything),
            ])),
            answer: Content::Json(of::<Taken<'static>>),
        },
        handler: |call| Box::pin(protocol::cloudevents::events(call)),
    },
    Route {
        method: Method::POST,
        path: "/v1/batch",
        access: Access::Roles(&[Role::Device]),
        token: TokenIn::BearerOrBasic,
        errors: Errors::Json,
        deadline: Deadline::Request,
        about: About {
            summary: "Take in a batch of Segment's libraries",
            request: Some(Content::Json(object)),
            answer: Content::Json(of::<Success>),
        },
        handler: |call| Box::pin(protocol::segment::batch(call)),
    },
    ping(Method::POST),
    ping(Method::PUT),
    Route {
        method: Method::POST,
        path: "/v1/consent",
        access: Access::RolesOrSigned(&[Role::Officer, Role::Operator]),
        token: TokenIn::Bearer,
        errors: Errors::Json,
        deadline: Deadline::Request,
        about: About {
            summary: "Record what subjects consented to: one statement, or up to 1,000 in an array; one of its own from a \
                      subject that signs",
            request: Some(Content::Json(consent_requests)),
            answer: Content::Json(one_or_many::<ConsentRecord>),
        },
        handler: |call| Box::pin(protocol::consent::record(call)),
    },
    Route {
        method: Method::POST,
        path: "/v1/flush",
        access: Access::Roles(&[Role::Operator]),
        token: TokenIn::Bearer,
        errors: Errors::Json,
        deadline: Deadline::Work,
        about: About {
            summary: "Seal what was acknowledged so far into tables",
            request: None,
            answer: Content::Json(of::<Flushed>),
        },
        handler: |call| Box::pin(operations::flush(call)),
    },
    Route {
        method: Method::POST,
        path: "/v1/compact",
        access: Access::Roles(&[Role::Operator]),
        token: TokenIn::Bearer,
        errors: Errors::Json,
        deadline: Deadline::Work,
        about: About {
            summary: "Make small files of tables into large ones, or say which",
            request: Some(Content::Json(of::<upkeep::Compact>)),
            answer: Content::Json(of::<upkeep::Compacted>),
        },
        handler: |call| Box::pin(upkeep::compact(call)),
    },
    Route {
        method: Method::POST,
        path: "/v1/expire",
        access: Access::Roles(&[Role::Operator]),
        token: TokenIn::Bearer,
        errors: Errors::Json,
        deadline: Deadline::Work,
        about: About {
            summary: "Remove what was kept as long as its purpose says, or say what that is",
            request: Some(Content::Json(of::<upkeep::Expire>)),
            answer: Content::Json(of::<upkeep::ExpiredAnswer>),
        },
        handler: |call| Box::pin(upkeep::expire(call)),
    },
    Route {
        method: Method::POST,
        path: "/v1/backup",
        access: Access::Roles(&[Role::Operator]),
        token: TokenIn::Bearer,
        errors: Errors::Json,
        deadline: Deadline::Work,
        about: About {
            summary: "Back up the data folder under a name, in the folder that the settings have for backups",
            request: Some(Content::Json(of::<operations::BackupRequest>)),
            answer: Content::Json(object),
        },
        handler: |call| Box::pin(operations::backup(call)),
    },
    Route {
        method: Method::POST,
        path: "/v1/keys",
        access: Access::Roles(&[Role::Operator]),
        token: TokenIn::Bearer,
        errors: Errors::Json,
        deadline: Deadline::Work,
        about: About {
            summary: "Make, rotate or destroy a key; answers with what happened and the keys that are there, without secrets",
            request: Some(Content::Json(object)),
            answer: Content::Json(object),
        },
        handler: |call| Box::pin(operations::change_key(call)),
    },
    Route {
        method: Method::GET,
        path: subject::ALL,
        access: Access::Subject(&[Role::Operator]),
        token: TokenIn::Bearer,
        errors: Errors::Json,
        deadline: Deadline::Work,
        about: About {
            summary: "Everything that is held about the subject that signed, or that Candor-Subject names for an operator",
            request: None,
            answer: Content::Json(of::<subject::Subject>),
        },
        handler: |call| Box::pin(subject::all(call)),
    },
    Route {
        method: Method::POST,
        path: erasure::PATH,
        access: Access::Subject(&[Role::Operator]),
        token: TokenIn::Bearer,
        errors: Errors::Json,
        deadline: Deadline::Request,
        about: About {
            summary: "Have erased what is held about the subject that signed, or that Candor-Subject names for an operator",
            request: Some(Content::Json(of::<ErasureRequest>)),
            answer: Content::Json(of::<erasure::Status>),
        },
        handler: |call| Box::pin(erasure::request(call)),
    },
    Route {
        method: Method::GET,
        path: erasure::PATH,
        access: Access::Subject(&[Role::Operator]),
        token: TokenIn::Bearer,
        errors: Errors::Json,
        deadline: Deadline::Request,
        about: About {
            summary: "How far the erasures of a subject are, with the certificates of those that are done",
            request: None,
            answer: Content::Json(of::<erasure::Erasures>),
        },
        handler: |call| Box::pin(erasure::show(call)),
    },
    Route {
        method: Method::POST,
        path: erasure::RUN,
        access: Access::Roles(&[Role::Operator]),
        token: TokenIn::Bearer,
        errors: Errors::Json,
        deadline: Deadline::Work,
        about: About {
            summary: "Do every erasure that is open, now, and say what stays open and why",
            request: None,
            answer: Content::Json(of::<erasure::Passed>),
        },
        handler: |call| Box::pin(erasure::run(call)),
    },
    own(subject::HEAD, ("Where a subject's device goes on", Content::Json(of::<subject::Head>)), |call| {
        Box::pin(subject::head(call))
    }),
    own(subject::RECEIPTS, ("Receipts of a subject's batches", Content::Json(of::<subject::Receipts>)), |call| {
        Box::pin(subject::receipts(call))
    }),
    public("/v1/keys", ("The fleet, and the keys that sign receipts and the log", Content::Json(of::<Keys>)), |call| {
        now(Ok(published::keys(&call)))
    }),
    public("/v1/schemas/consent-record", ("JSON Schema of consent records", Content::Json(object)), |_| {
        now(Ok(published::consent_record_schema()))
    }),
    public(
        "/v1/policy",
        ("The policy in force, or that of ?digest=, as RFC 8785 JSON", Content::Json(object)),
        |call| Box::pin(published::policy(call)),
    ),
    public(
        "/v1/catalogue",
        ("The catalogue in force, or that of ?digest=, as RFC 8785 JSON", Content::Json(object)),
        |call| Box::pin(published::catalogue(call)),
    ),
    public("/v1/limits", ("What one request may hold", Content::Json(of::<Published<'static>>)), |call| {
        now(Ok(published::limits(&call)))
    }),
    public(
        log::CHECKPOINT,
        (
            "The log's newest checkpoint, a signed note of c2sp.org, with the cosignatures of witnesses that it has by now",
            Content::Text,
        ),
        |call| now(Ok(log::checkpoint(&call))),
    ),
    tile(log::TILES[0]),
    tile(log::TILES[1]),
    tile(log::TILES[2]),
    tile(log::TILES[3]),
    public("/healthz", ("The process answers", Content::Json(of::<Health>)), |_| now(Ok(operations::health()))),
    public("/readyz", ("Events can be stored", Content::Json(of::<Health>)), |call| now(operations::ready(&call))),
    public("/__heartbeat__", ("Events can be stored, as Dockerflow asks", Content::Json(of::<Health>)), |call| {
        now(operations::ready(&call))
    }),
    public("/__lbheartbeat__", ("The process answers, as Dockerflow asks", Content::Json(of::<Health>)), |_| {
        now(Ok(operations::health()))
    }),
    public("/__version__", ("The version, as Dockerflow asks", Content::Json(of::<Version>)), |_| {
        now(Ok(protocol::glean::version()))
    }),
    public("/metrics", ("Figures in the text form of OpenMetrics", Content::OpenMetrics), |call| {
        now(operations::metrics(&call))
    }),
    public("/openapi.json", ("This document", Content::Json(object)), |_| now(Ok(openapi::document()))),
];

/// What the exporters of one signal send and read.
struct Messages {
    what: &'static str,
    request: &'static str,
    answer: &'static str,
}

const LOGS: Messages = Messages {
    what: "Take in logs",
    request: "opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest",
    answer: "opentelemetry.proto.collector.logs.v1.ExportLogsServiceResponse",
};
const METRICS: Messages = Messages {
    what: "Take in metrics",
    request: "opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest",
    answer: "opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceResponse",
};
const TRACES: Messages = Messages {
    what: "Take in spans",
    request: "opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest",
    answer: "opentelemetry.proto.collector.trace.v1.ExportTraceServiceResponse",
};

/// Where the devices' exporters send one signal over HTTP.
const fn otlp(path: &'static str, messages: &Messages, handler: Handler) -> Route {
    Route {
        method: Method::POST,
        path,
        access: Access::RolesOrSigned(&[Role::Device]),
        token: TokenIn::Bearer,
        errors: Errors::Otlp,
        deadline: Deadline::Request,
        about: About {
            summary: messages.what,
            request: Some(Content::Protobuf(messages.request)),
            answer: Content::Protobuf(messages.answer),
        },
        handler,
    }
}

/// An `Export` call of OTLP over gRPC.
const fn grpc(path: &'static str, messages: &Messages, handler: Handler) -> Route {
    Route {
        method: Method::POST,
        path,
        access: Access::Roles(&[Role::Device]),
        token: TokenIn::Bearer,
        errors: Errors::Grpc,
        deadline: Deadline::Request,
        about: About {
            summary: messages.what,
            request: Some(Content::Grpc(messages.request)),
            answer: Content::Grpc(messages.answer),
        },
        handler,
    }
}

/// Where Glean submits a ping.
const fn ping(method: Method) -> Route {
    Route {
        method,
        path: protocol::glean::SUBMIT,
        access: Access::Roles(&[Role::Device]),
        token: TokenIn::Path,
        errors: Errors::Ping,
        deadline: Deadline::Request,
        about: About {
            summary: "Take in a ping of the Glean SDK; `deletion-request` withdraws every purpose of its subject",
            request: Some(Content::Json(object)),
            answer: Content::Json(of::<Taken<'static>>),
        },
        handler: |call| Box::pin(protocol::glean::submit(call)),
    }
}

/// A tile or bundle of the log.
const fn tile(path: &'static str) -> Route {
    let summary = "Hashes of the log, or its entries, as c2sp.org/tlog-tiles names them";
    public(path, (summary, Content::Bytes), |call| Box::pin(log::tile(call)))
}

/// What a subject alone may ask, by its signature.
const fn own(path: &'static str, (summary, answer): (&'static str, Content), handler: Handler) -> Route {
    Route {
        method: Method::GET,
        path,
        access: Access::Subject(&[]),
        token: TokenIn::Bearer,
        errors: Errors::Json,
        deadline: Deadline::Request,
        about: About { summary, request: None, answer },
        handler,
    }
}

const fn public(path: &'static str, (summary, answer): (&'static str, Content), handler: Handler) -> Route {
    Route {
        method: Method::GET,
        path,
        access: Access::Public,
        token: TokenIn::Bearer,
        errors: Errors::Json,
        deadline: Deadline::Request,
        about: About { summary, request: None, answer },
        handler,
    }
}

/// An answer that waits for nothing.
fn now(answer: Result<Response, Refusal>) -> Answer<'static> {
    Box::pin(ready(answer))
}

impl Route {
    pub(crate) fn handle<'a>(&self, call: Call<'a>) -> Answer<'a> {
        (self.handler)(call)
    }

    /// Whether a path is one of this route.
    pub(crate) fn matches(&self, path: &str) -> bool {
        path::matches(self.path, path)
    }

    /// What a path of this route has in the place of `{wanted}`, as it was sent.
    pub(crate) fn parameter<'p>(&self, wanted: &str, path: &'p str) -> Option<&'p str> {
        path::parameter(self.path, wanted, path)
    }

    /// The names of its parameters.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &'static str> {
        path::parameters(self.path)
    }
}

impl Errors {
    /// The kind that an error is answered as.
    pub(crate) const fn kind(self, kind: Kind) -> Kind {
        match self {
            Self::Ping => kind.without_temporary_4xx(),
            Self::Otlp | Self::Grpc | Self::Json => kind,
        }
    }
}

impl<'a> Call<'a> {
    /// The sender, on routes that name roles.
    pub(crate) fn source(&self) -> Result<&'a Arc<Source>, Refusal> {
        self.source.ok_or_else(guard::bug)
    }

    /// The subject that signed, on routes that are for it alone.
    pub(crate) fn signer(&self) -> Result<&'a Signer, Refusal> {
        self.signer.ok_or_else(guard::bug)
    }

    /// A parameter of the path.
    pub(crate) fn parameter(&self, name: &str) -> Result<&'a str, Refusal> {
        self.route.parameter(name, self.path).ok_or_else(guard::bug)
    }
}

/// The router of a service.
pub(crate) fn router(service: &Arc<Service>) -> Router {
    let mut router = Router::new();
    for route in &ROUTES {
        let service = Arc::clone(service);
        let handler = move |request: Request| guard::answer(route, Arc::clone(&service), request);
        let filter = match route.method {
            Method::POST => MethodFilter::POST,
            Method::PUT => MethodFilter::PUT,
            _ => MethodFilter::GET,
        };
        router = router.route(route.path, on(filter, handler));
    }
    let (unknown, wrong) = (Arc::clone(service), Arc::clone(service));
    router
        .fallback(move |request: Request| ready(guard::unmatched(&unknown, request, StatusCode::NOT_FOUND)))
        .method_not_allowed_fallback(move |request: Request| {
            ready(guard::unmatched(&wrong, request, StatusCode::METHOD_NOT_ALLOWED))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_declared_once_and_what_changes_something_needs_a_role() {
        for (at, route) in ROUTES.iter().enumerate() {
            assert!(route.path.starts_with('/'), "{}", route.path);
            assert!(!ROUTES[..at].iter().any(|other| other.path == route.path && other.method == route.method));
            match route.access {
                Access::Roles(roles) | Access::RolesOrSigned(roles) => {
                    assert!(!roles.is_empty(), "{} is for nobody", route.path);
                }
                Access::Public => assert_eq!(route.method, Method::GET, "{} changes something", route.path),
                // What a subject may change is its own, and an operator names it.
                Access::Subject(roles) => assert!(route.method == Method::GET || roles == [Role::Operator]),
            }
        }
    }

    #[test]
    fn a_token_in_the_path_has_a_place_there() {
        assert!(
            ROUTES.iter().all(|route| (route.token == TokenIn::Path) == route.parameters().any(|name| name == "token"))
        );
    }
}
