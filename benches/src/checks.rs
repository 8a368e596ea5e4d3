//! Envoy's external authorization from both ends: the checks that an Envoy puts, and a server that allows each without looking.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use envoy_types::pb::envoy::config::core::v3::{
    Address, SocketAddress, address, socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, OkHttpResponse,
};
use envoy_types::pb::google::rpc;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::{TcpListener, TcpStream};

use crate::load::{Error, Exchange};

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
/// Flag and length before a message.
const FRAME: usize = 5;

/// One call at a time, on a stream of an HTTP/2 connection that others share.
pub struct Stream {
    sender: SendRequest<Bytes>,
    uri: http::Uri,
}

/// So many streams of one connection.
///
/// # Errors
/// When nobody listens, or not for HTTP/2.
pub async fn streams(target: SocketAddr, count: usize) -> Result<Vec<Stream>, Error> {
    let connection = TcpStream::connect(target).await?;
    connection.set_nodelay(true)?;
    let (sender, driver) = h2::client::handshake(connection).await?;
    tokio::spawn(driver);
    let uri: http::Uri = format!("http://{target}{CHECK}").parse()?;
    let stream = || Stream {
        sender: sender.clone(),
        uri: uri.clone(),
    };
    Ok(std::iter::repeat_with(stream).take(count).collect())
}

impl Exchange for Stream {
    async fn ask(&mut self, request: &[u8]) -> Result<(), Error> {
        let head = http::Request::post(self.uri.clone())
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", "200m")
            .body(())?;
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut body) = sender.send_request(head, false)?;
        body.send_data(Bytes::copy_from_slice(request), true)?;
        let mut body = response.await?.into_body();
        let mut answer = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            answer.extend_from_slice(&data);
        }
        let status = body.trailers().await?.unwrap_or_default();
        if status.get("grpc-status") != Some(&HeaderValue::from_static("0")) {
            return Err("a check ended with an error".into());
        }
        let message = answer.get(FRAME..).unwrap_or_default();
        // The status is the first member, and code 0 in it is not written: an empty message. Anything else is a denial.
        if message.starts_with(&[0x0a, 0]) {
            return Ok(());
        }
        let denial = CheckResponse::decode(message)?;
        Err(format!("a check was denied: {denial:?}").into())
    }
}

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

/// Answers every call OK, having read it and looked at nothing, for as long as connections can be accepted.
///
/// # Errors
/// When no more connection can be accepted.
pub async fn always(listener: TcpListener) -> io::Result<()> {
    let allowed = Bytes::from(framed(&CheckResponse {
        status: Some(rpc::Status::default()),
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse::default())),
        ..CheckResponse::default()
    }));
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
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::load::{Requests, closed_over, open_over};

    #[tokio::test]
    async fn both_loops_drive_the_server_that_always_allows() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        tokio::spawn(always(listener));
        let checks = vec![check("/v1/users/a", "token"); 4];
        let requests = Arc::new(Requests::repeated(checks));
        let short = Duration::from_millis(100);
        let closed = closed_over(streams(target, 4).await.unwrap(), &requests, short);
        assert!(closed.await.unwrap().answered() >= 4);
        let open = open_over(streams(target, 4).await.unwrap(), &requests, 100.0, short);
        assert!(open.await.unwrap().answered() >= 4);
    }
}
