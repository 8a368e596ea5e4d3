//! Envoy's external authorization from both ends: the checks that an Envoy puts, how they are asked over one HTTP/2
//! connection, and a server that allows each without looking.

mod call;
mod connection;
mod fields;
mod frames;
mod loops;

use std::convert::Infallible;
use std::io;

use bytes::{BufMut, Bytes};
use envoy_types::pb::envoy::config::core::v3::{
    Address, SocketAddress, address, socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, OkHttpResponse,
};
use envoy_types::pb::google::rpc;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpListener;

pub use loops::{answer, closed, open};

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
/// Flag and length before a message.
const FRAME: usize = 5;

/// The call that Envoy makes about a request: the head of a GET for `path` with a token.
#[must_use]
pub fn check(path: &str, token: &str) -> Vec<u8> {
    let authorization = format!("Bearer {token}");
    let headers = [
        (":authority", "users.example"),
        (":method", "GET"),
        (":path", path),
        (":scheme", "http"),
        ("accept", "application/json"),
        ("authorization", &authorization),
        ("user-agent", "load"),
        ("x-forwarded-proto", "http"),
        ("x-request-id", "7b1f3a52-2f1e-4d0e-9d3c-0d4f8a6f1f11"),
    ];
    let http = HttpRequest {
        id: "1234567890".to_owned(),
        method: "GET".to_owned(),
        path: path.to_owned(),
        host: "users.example".to_owned(),
        scheme: "http".to_owned(),
        protocol: "HTTP/1.1".to_owned(),
        size: -1,
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..HttpRequest::default()
    };
    let call = CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(peer("192.0.2.7", 40_000)),
            destination: Some(peer("127.0.0.1", 10_000)),
            request: Some(Request {
                http: Some(http),
                ..Request::default()
            }),
            ..AttributeContext::default()
        }),
    };
    framed(&call)
}

/// The least that lets a request pass, framed.
#[must_use]
pub fn allowed() -> Vec<u8> {
    framed(&CheckResponse {
        status: Some(rpc::Status::default()),
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse::default())),
        ..CheckResponse::default()
    })
}

/// Answers every call the same, having read it and looked at nothing, for as long as connections can be accepted.
///
/// # Errors
/// When no more connection can be accepted.
pub async fn always(listener: TcpListener, answer: Vec<u8>) -> io::Result<()> {
    let allowed = Bytes::from(answer);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let allowed = allowed.clone();
        let service = service_fn(move |request: http::Request<Incoming>| {
            let allowed = allowed.clone();
            async move {
                request.into_body().collect().await?;
                let mut trailers = HeaderMap::with_capacity(1);
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                let trailers = async { Some(Ok::<_, Infallible>(trailers)) };
                let mut response = http::Response::new(Full::new(allowed).with_trailers(trailers));
                let grpc = HeaderValue::from_static("application/grpc");
                response
                    .headers_mut()
                    .insert(http::header::CONTENT_TYPE, grpc);
                Ok::<_, hyper::Error>(response)
            }
        });
        tokio::spawn(
            http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service),
        );
    }
}

fn peer(host: &str, port: u32) -> Peer {
    let socket = SocketAddress {
        address: host.to_owned(),
        port_specifier: Some(PortSpecifier::PortValue(port)),
        ..SocketAddress::default()
    };
    Peer {
        address: Some(Address {
            address: Some(address::Address::SocketAddress(socket)),
        }),
        ..Peer::default()
    }
}

fn framed(message: &impl Message) -> Vec<u8> {
    let mut framed = Vec::with_capacity(FRAME + message.encoded_len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.encoded_len()).unwrap_or(u32::MAX));
    // A vector grows.
    let _ = message.encode(&mut framed);
    framed
}

#[cfg(test)]
mod tests;
