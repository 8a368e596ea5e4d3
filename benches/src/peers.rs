//! The two servers that the gate is measured against: an upstream that always answers the same,
//! and a pass-through proxy that does what every proxy must and nothing else.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::SocketAddr;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

/// What the upstream answers, whatever it is asked: a small JSON document.
pub const ANSWER: &str = r#"{"id":"user-1","name":"Ada Lovelace","email":"ada@example.com","type":"end_user","created_at":"2025-01-01T00:00:00Z","enabled":true}"#;

/// Binds and tells the harness, which reads standard output, where: `<name>: listening on <address>`.
pub async fn announce(name: &str, at: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(at).await?;
    let mut out = io::stdout().lock();
    writeln!(out, "{name}: listening on {}", listener.local_addr()?)?;
    out.flush()?;
    Ok(listener)
}

/// Reads every request whole and answers it with [`ANSWER`], for as long as connections can be accepted.
pub async fn upstream(listener: TcpListener) -> io::Result<()> {
    loop {
        let stream = accept(&listener).await?;
        let service = service_fn(async |request: Request<Incoming>| {
            request.into_body().collect().await?;
            let mut response = Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes())));
            response.headers_mut().insert(
                http::header::CONTENT_TYPE,
                http::HeaderValue::from_static("application/json"),
            );
            Ok::<_, hyper::Error>(response)
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// Passes every request to `upstream` over pooled connections and streams both bodies: hyper's
/// server and hyper-util's client with their own defaults, and no checks at all.
pub async fn passthrough(listener: TcpListener, upstream: SocketAddr) -> io::Result<()> {
    let authority: Authority = upstream.to_string().parse().map_err(io::Error::other)?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
    loop {
        let stream = accept(&listener).await?;
        let (client, authority) = (client.clone(), authority.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (client, authority) = (client.clone(), authority.clone());
            async move { Ok::<_, Infallible>(forward(&client, authority, request).await) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn forward(
    client: &Client<HttpConnector, Incoming>,
    authority: Authority,
    mut request: Request<Incoming>,
) -> Response<BoxBody<Bytes, hyper::Error>> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority);
    parts.path_and_query = request
        .uri()
        .path_and_query()
        .cloned()
        .or(Some(PathAndQuery::from_static("/")));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    match client.request(request).await {
        Ok(response) => response.map(BodyExt::boxed),
        Err(_) => {
            let body = Empty::new()
                .map_err(|never: Infallible| match never {})
                .boxed();
            let mut response = Response::new(body);
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    }
}

async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
