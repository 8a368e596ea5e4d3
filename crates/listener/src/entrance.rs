//! Between hyper and the service: every request of both versions passes here.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use http::header::{CONNECTION, EXPECT, HOST, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode, Uri, request};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::upgrade::OnUpgrade;
use pin_project_lite::pin_project;
use tokio::sync::Semaphore;
use tracing::debug;

use crate::body::{RequestBody, ResponseBody};
use crate::connection::Connection;
use crate::metrics::ListenerMetrics;
use crate::stall;
use crate::ticket::Ticket;
use crate::upgrade::Upgrade;
use crate::{Fault, Limits, Peer, Timeouts, authority, head};

/// What all connections of a listener share.
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) name: &'static str,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    pub(crate) metrics: ListenerMetrics,
    pub(crate) places: Arc<Semaphore>,
    /// Those of connections that leave HTTP.
    pub(crate) tunnels: Arc<Semaphore>,
}

/// The service of one connection.
pub(crate) struct Entrance<S, B> {
    pub(crate) service: S,
    pub(crate) faults: fn(Fault) -> Response<B>,
    pub(crate) house: Arc<House>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) peer: Peer,
    pub(crate) version: Version,
    /// In pieces no longer than this a body goes to HTTP/2, in bytes.
    pub(crate) piece: usize,
    pub(crate) calls: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// Its guard has judged the head.
    Http1,
    /// h2 has judged the frames and the form of the headers, nobody yet what they say.
    Http2,
}

pin_project! {
    /// The answer to one request.
    #[project = AnswerProj]
    pub(crate) enum Answer<F, B> {
        Refused { response: Option<Response<B>> },
        Asked {
            #[pin]
            call: Option<F>,
            ticket: Option<Ticket>,
            // Only of HTTP/1, where closing the connection is ours to ask for.
            connection: Option<Arc<Connection>>,
            // The request asked to leave HTTP, so that nothing after it is one.
            last: bool,
            max_piece: usize,
        },
    }
}

impl<S, B> Service<Request<Incoming>> for Entrance<S, B>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    B: Body,
{
    type Response = Response<ResponseBody<B>>;
    type Error = Infallible;
    type Future = Answer<S::Future, B>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let nth = self.calls.fetch_add(1, Ordering::Relaxed);
        match self.admit(nth, &request) {
            Ok((ticket, upgrade)) => self.ask(request, ticket, upgrade),
            Err(fault) => self.refuse(nth, &request, fault),
        }
    }
}

impl<S, B> Entrance<S, B>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
{
    /// In this order: whether it is a request at all, what it says, how much of it there is, whether there is
    /// room for it.
    fn admit(
        &self,
        nth: u64,
        request: &Request<Incoming>,
    ) -> Result<(Ticket, Option<Upgrade>), Fault> {
        if let Some(fault) = self.connection.refusal(nth) {
            return Err(fault);
        }
        if self.version == Version::Http2 {
            check_http2(request.uri(), request.headers(), &self.house.limits)?;
        }
        if request.body().size_hint().lower() > self.house.limits.body_bytes.0 {
            return Err(Fault::BODY_TOO_LARGE);
        }
        let upgrade = match self.connection.upgrade() {
            Some(last) if last == nth => Some(
                Upgrade::take(
                    &self.house.tunnels,
                    self.house.limits.tunnels,
                    &self.connection,
                    &self.house.metrics,
                )
                .ok_or(Fault::OVERLOADED)?,
            ),
            _ => None,
        };
        let ticket = Ticket::take(&self.house.places, &self.connection, &self.house.metrics)
            .ok_or(Fault::OVERLOADED)?;
        Ok((ticket, upgrade))
    }

    fn ask(
        &self,
        request: Request<Incoming>,
        ticket: Ticket,
        upgrade: Option<Upgrade>,
    ) -> Answer<S::Future, B> {
        let (mut parts, body) = request.into_parts();
        prepare(&mut parts, self.peer);
        let last = upgrade.is_some();
        if let Some(upgrade) = upgrade {
            parts.extensions.insert(upgrade);
        }
        let body = RequestBody::new(
            body,
            self.connection.clone(),
            self.house.limits.body_bytes.0,
            self.house.timeouts.body.0,
        );
        let (connection, max_piece) = match self.version {
            Version::Http1 => (Some(self.connection.clone()), usize::MAX),
            Version::Http2 => (None, self.piece),
        };
        Answer::Asked {
            call: Some(self.service.call(Request::from_parts(parts, body))),
            ticket: Some(ticket),
            connection,
            last,
            max_piece,
        }
    }

    fn refuse(&self, nth: u64, request: &Request<Incoming>, fault: Fault) -> Answer<S::Future, B> {
        self.house.metrics.count_refusal(&fault);
        debug!(
            listener = self.house.name,
            code = fault.code,
            "request refused: {}",
            fault.message
        );
        let mut response = (self.faults)(fault);
        if self.version == Version::Http1 {
            let unread = !request.body().is_end_stream();
            let last = self.connection.upgrade() == Some(nth);
            let refused = self.connection.refusal(nth).is_some();
            if unread || last || refused || self.connection.must_close() {
                close_after(response.headers_mut());
            }
        }
        Answer::Refused {
            response: Some(response),
        }
    }
}

impl<F, B> Future for Answer<F, B>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: Body,
{
    type Output = Result<Response<ResponseBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (response, max_piece, ticket) = match self.project() {
            // A refusal's body is one line.
            AnswerProj::Refused { response } => (response.take(), usize::MAX, None),
            AnswerProj::Asked {
                mut call,
                ticket,
                connection,
                last,
                max_piece,
            } => {
                let Some(future) = call.as_mut().as_pin_mut() else {
                    return Poll::Pending;
                };
                let Poll::Ready(Ok(mut response)) = stall::note(future.poll(cx)) else {
                    return Poll::Pending;
                };
                // The request's body may live in the future; now it is known whether anyone still reads it.
                call.set(None);
                if let Some(connection) = &connection {
                    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
                    if !switches {
                        connection.set_tunnel(None);
                    }
                    if connection.must_close() && !switches || *last && !connection.is_switching() {
                        close_after(response.headers_mut());
                    }
                }
                (Some(response), *max_piece, ticket.take())
            }
        };
        match response {
            Some(response) => Poll::Ready(Ok(
                response.map(|body| ResponseBody::new(body, max_piece, ticket))
            )),
            // Only when polled after its end.
            None => Poll::Pending,
        }
    }
}

/// What the guard does for HTTP/1 and h2 leaves open.
fn check_http2(uri: &Uri, headers: &HeaderMap, limits: &Limits) -> Result<(), Fault> {
    if headers.len() > limits.headers {
        return Err(Fault::TOO_MANY_HEADERS);
    }
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    if path.len() as u64 > limits.uri_bytes.0 {
        return Err(Fault::URI_TOO_LONG);
    }
    if !path.is_ascii() {
        return Err(Fault::invalid(
            "the request target holds a character that must be escaped",
        ));
    }
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Fault::invalid("there is more than one `Host`"));
    }
    let authority = uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    match (authority, host) {
        (None, None) => return Err(Fault::invalid("there is no `:authority`")),
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            return Err(Fault::invalid("`:authority` and `Host` differ"));
        }
        (Some(name), _) | (None, Some(name)) => authority::check(name)?,
    }
    for expectation in headers.get_all(EXPECT) {
        head::check_expectation(expectation.as_bytes())?;
    }
    Ok(())
}

fn prepare(parts: &mut request::Parts, peer: Peer) {
    // The way out of HTTP is `Upgrade`, not hyper's own, which knows nothing of what came too early.
    parts.extensions.remove::<OnUpgrade>();
    parts.extensions.insert(peer);
}

fn close_after(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
}
