//! OTLP over gRPC: one call at a time on one HTTP/2 connection.

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use super::{Answer, Client};

const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const OK: &str = "0";
const RESOURCE_EXHAUSTED: &str = "8";
const UNAVAILABLE: &str = "14";

pub(super) struct Grpc {
    /// Runs while a call is made; the connection is served by a task of its own.
    runtime: Runtime,
    calls: SendRequest<Bytes>,
    request: Request<()>,
}

impl Grpc {
    pub(super) fn connect(address: &str, token: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_io().build().unwrap();
        let calls = runtime.block_on(async {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (calls, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(async move { connection.await.unwrap() });
            calls
        });
        let request = Request::post(format!("http://{address}{EXPORT}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", format!("Bearer {token}"))
            .body(())
            .unwrap();
        Self { runtime, calls, request }
    }
}

impl Client for Grpc {
    fn send(&mut self, body: &mut Vec<u8>) -> Answer {
        let message = Bytes::from(std::mem::take(body));
        let (calls, request) = (self.calls.clone(), self.request.clone());
        let answer = self.runtime.block_on(call(calls, request, message.clone()));
        *body = Vec::from(message);
        answer
    }
}

async fn call(calls: SendRequest<Bytes>, request: Request<()>, message: Bytes) -> Answer {
    let mut calls = calls.ready().await.unwrap();
    let (response, mut stream) = calls.send_request(request, false).unwrap();
    stream.send_data(message, true).unwrap();
    let (head, mut body) = response.await.unwrap().into_parts();
    assert_eq!(head.status, 200);
    while let Some(chunk) = body.data().await {
        body.flow_control().release_capacity(chunk.unwrap().len()).unwrap();
    }
    let trailers = body.trailers().await.unwrap().unwrap_or_default();
    let status = |of: &HeaderMap| of.get("grpc-status").map(|status| status.to_str().unwrap().to_owned());
    match status(&trailers).or_else(|| status(&head.headers)).as_deref() {
        Some(OK) => Answer::Stored,
        Some(RESOURCE_EXHAUSTED | UNAVAILABLE) => Answer::Again,
        other => panic!("grpc-status {other:?}"),
    }
}
