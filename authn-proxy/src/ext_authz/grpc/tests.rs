use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use hyper_util::rt::{TokioExecutor, TokioIo};
use listener::{Limits, Listener, Timeouts};
use prometheus::Registry;
use prost::Message as _;
use settings::Address;
use tokio::net::TcpStream;
use tracing::span;

use super::*;
use crate::config::{ExtAuthzConfig, ForwardedConfig, RealmConfig};
use crate::fixture::World;
use crate::rejection::Realm;
use crate::request_log::TARGET;

/// A reader of decision events that panics at each, as a defect anywhere in the writing of the log would.
struct Defect;

impl tracing::Subscriber for Defect {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == TARGET
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn event(&self, _: &tracing::Event<'_>) {
        panic!("a defect");
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// Every check has such a piece of memory made, filled and freed, and the first layout that comes to mind took 26 KB.
#[test]
fn a_check_takes_little_memory_while_it_waits() {
    fn size<'a, F: Future>(_: impl FnOnce(&'a Checker, Request<RequestBody>) -> F) -> usize {
        size_of::<F>()
    }
    let size = size(Checker::check_grpc);
    assert!(size < 4096, "{size}");
}

#[tokio::test]
async fn what_is_answered_when_nothing_can_be_said_is_a_denial() {
    let body = broken().into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()[GRPC_STATUS], "0");
    let body = body.to_bytes();
    let answer = CheckResponse::decode(message(&body).unwrap()).unwrap();
    assert_eq!(answer.status.unwrap().code, 14);
    assert!(matches!(
        answer.http_response,
        Some(HttpResponse::DeniedResponse(_))
    ));
}

/// All of it on one thread, whose events the defect sees.
#[tokio::test]
async fn a_panic_in_a_served_check_is_answered_with_a_denial() {
    let _guard = tracing::subscriber::set_default(Defect);
    let world = World::new("routes: [{ match: 'GET /open', public: true }]", "");
    let registry = Registry::new();
    let checker = Checker::new(
        Arc::new(world.gate),
        &ExtAuthzConfig::default(),
        &ForwardedConfig::default(),
        Realm::new(&RealmConfig::default()).unwrap(),
        &registry,
    )
    .unwrap();
    let listener = Listener::bind(
        SURFACE,
        &Address::Tcp("127.0.0.1:0".parse().unwrap()),
        Limits::default(),
        Timeouts::default(),
        listener::Metrics::register(&registry).unwrap(),
    )
    .await
    .unwrap();
    let Address::Tcp(address) = *listener.address() else {
        panic!("bound elsewhere");
    };
    let (_running, drain) = listener::drain();
    let service = GrpcService::new(checker).await.unwrap();
    let listener = listener.with_small_answers();
    tokio::spawn(listener.serve(service, refuse, drain));

    let stream = TcpStream::connect(address).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    // The second shows that the connection, and the service, are none the worse for the first.
    for _ in 0..2 {
        // An empty message: a check about nothing, which is refused, and whose refusal is logged.
        let call = Request::post(format!("http://asked.example{CHECK}"))
            .header(CONTENT_TYPE, GRPC)
            .body(Full::new(Bytes::from_static(&[0; 5])))
            .unwrap();
        let answer = client.send_request(call).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let body = answer.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()[GRPC_STATUS], "0");
        let answer = CheckResponse::decode(message(&body.to_bytes()).unwrap()).unwrap();
        // 14, as of something that is not there: an ordinary refusal of such a call has another code.
        assert_eq!(answer.status.unwrap().code, 14);
        let denied = answer.http_response;
        assert!(matches!(denied, Some(HttpResponse::DeniedResponse(_))));
    }
}
