//! The HTTP client that carries admitted requests to the upstream
//!
//! One pool of connections to one authority. A connection is kept for less time than servers usually keep theirs
//! (`upstream.idle_timeout`), so that a request seldom meets one that is being closed; when it does, and the request
//! is idempotent and has no body, it is sent once more. Requests that never left this process are sent again by the
//! pool itself, whatever their method.

mod excess;
mod framing;
#[cfg(test)]
mod tests;
mod wire;

use std::error::Error as _;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use http::header::UPGRADE;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version, request};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use identity::End;
use listener::BodyError;
use tokio::time::{Instant, sleep_until, timeout_at};

pub use framing::FramingFault;
pub(crate) use wire::into_stream;
use wire::{Connector, Wire};

use crate::body::{Upload, UpstreamBody};
use crate::config::{Protocol, UpstreamConfig};
use crate::stay::Stay;

/// Most headers in a response.
const MAX_HEADERS: usize = 128;

/// Longest head of a response, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// Unread bytes per HTTP/2 stream. Small, so that slow readers cannot use up the connection's window, on which
/// everyone's responses wait.
const STREAM_WINDOW: u32 = 64 * 1024;

/// Unread bytes per HTTP/2 connection: the windows of a thousand streams.
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;

/// How often an HTTP/2 connection in use is asked whether it is alive, and how long the answer may take.
const PING_EVERY: Duration = Duration::from_secs(10);

/// The service behind the proxy. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Upstream {
    client: Client<Connector, UpstreamBody>,
    authority: Authority,
    host: HeaderValue,
    protocol: Protocol,
    response_timeout: Duration,
    body_timeout: Duration,
}

/// What became of a request.
#[derive(Debug)]
pub struct Sent {
    /// The head of the response, or why there is none.
    pub response: Result<Response<Incoming>, UpstreamError>,
    /// Whether the request was sent a second time.
    pub retried: bool,
}

/// Why there is no response to pass on.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection could be made; nothing was sent.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// No connection could be made in time; nothing was sent.
    #[error("connecting took too long")]
    ConnectTimeout,
    /// The head of the response did not come in time.
    #[error("no response in time")]
    Timeout,
    /// The connection broke, or what came was not HTTP.
    #[error("{0}")]
    Broken(String),
    /// What came cannot be framed.
    #[error(transparent)]
    Framing(#[from] FramingFault),
    /// The client's body could not be read to its end, so the request was never whole.
    #[error("the request's body: {0}")]
    Body(BodyError),
    /// The caller may no longer act.
    #[error("the caller may no longer act")]
    Over(End),
}

// === impl Upstream ===

impl Upstream {
    /// A client for the configured upstream, or what is wrong with its URL. Connects to nothing yet.
    pub fn new(config: &UpstreamConfig) -> Result<Self, String> {
        let authority = config.authority()?;
        let host = HeaderValue::from_str(authority.as_str())
            .map_err(|_| "the host cannot be written in a header".to_owned())?;
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(config.connect_timeout.0));
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(config.idle_timeout.0)
            .pool_max_idle_per_host(config.max_idle)
            .set_host(false)
            .retry_canceled_requests(true)
            .http1_max_headers(MAX_HEADERS)
            .http1_max_buf_size(MAX_HEAD)
            .http2_only(config.protocol == Protocol::Http2)
            .http2_max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PING_EVERY)
            .build(Connector(tcp));
        Ok(Upstream {
            client,
            authority,
            host,
            protocol: config.protocol,
            response_timeout: config.response_timeout.0,
            body_timeout: config.body_timeout.0,
        })
    }

    /// The URI of a request on the upstream: its authority is always the configured one.
    pub fn uri(&self, target: &PathAndQuery) -> Result<Uri, http::Error> {
        Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.authority.clone())
            .path_and_query(target.clone())
            .build()
    }

    /// The upstream's own `Host`.
    pub fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// The protocol that requests are sent with.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The version that requests are sent with.
    pub fn version(&self) -> Version {
        match self.protocol {
            Protocol::Http1 => Version::HTTP_11,
            Protocol::Http2 => Version::HTTP_2,
        }
    }

    /// Longest silence of the upstream in the middle of a response.
    pub fn body_timeout(&self) -> Duration {
        self.body_timeout
    }

    /// Sends a request and waits for the head of its response. `upload` watches the body, when there is one, and `stay`
    /// the caller, when somebody is known.
    pub(crate) async fn send(
        &self,
        head: request::Parts,
        body: UpstreamBody,
        upload: Option<&Upload>,
        mut stay: Option<&mut Stay>,
    ) -> Sent {
        let spare = (upload.is_none() && is_idempotent(&head.method)).then(|| copy(&head));
        let deadline = Instant::now() + self.response_timeout;
        let first = self
            .attempt(
                Request::from_parts(head, body),
                deadline,
                upload,
                stay.as_deref_mut(),
            )
            .await;
        match (first, spare) {
            (Err(Attempt::Unanswered(_)), Some(head)) => {
                let again = Request::from_parts(head, UpstreamBody::none());
                let second = self.attempt(again, deadline, None, stay).await;
                Sent {
                    response: second.map_err(Attempt::into_error),
                    retried: true,
                }
            }
            (first, _) => Sent {
                response: first.map_err(Attempt::into_error),
                retried: false,
            },
        }
    }

    async fn attempt(
        &self,
        request: Request<UpstreamBody>,
        deadline: Instant,
        upload: Option<&Upload>,
        mut stay: Option<&mut Stay>,
    ) -> Result<Response<Incoming>, Attempt> {
        let head_only = request.method() == Method::HEAD;
        let asked = request.headers().get(UPGRADE).cloned();
        let mut response = pin!(self.client.request(request));
        let mut deadline = deadline;
        let earliest = |stay: Option<&Stay>, deadline: Instant| {
            let due = stay.and_then(Stay::due);
            due.map_or(deadline, |due| due.min(deadline))
        };
        let mut clock = pin!(sleep_until(earliest(stay.as_deref(), deadline)));
        let result = loop {
            tokio::select! {
                biased;
                result = &mut response => break result,
                end = poll_fn(|cx| match &mut stay {
                    Some(stay) => stay.poll_over(cx),
                    None => Poll::Pending,
                }) => {
                    if let Some(upload) = upload {
                        upload.stop();
                    }
                    return Err(Attempt::Failed(UpstreamError::Over(end)));
                }
                () = &mut clock => {
                    if Instant::now() < deadline {
                        // It was rung for the caller's sake, who is asked about from now on.
                        if let Some(stay) = &mut stay {
                            stay.begin();
                        }
                        clock.as_mut().reset(deadline);
                        continue;
                    }
                    let patience = upload.map_or(Duration::ZERO, |upload| {
                        upload.patience(self.response_timeout)
                    });
                    if patience.is_zero() {
                        return Err(Attempt::Failed(UpstreamError::Timeout));
                    }
                    deadline = Instant::now() + patience;
                    clock.as_mut().reset(earliest(stay.as_deref(), deadline));
                }
            }
        };
        let mut response = match result {
            Ok(response) => response,
            Err(error) => return Err(self.failure(&error, upload)),
        };
        let wire = response.extensions_mut().remove::<Wire>();
        let bare = framing::is_bare(head_only, response.status());
        let mut checked = framing::check(response.status(), response.headers(), asked.as_ref());
        if bare && checked.is_ok() {
            checked = match (self.protocol, &wire) {
                (Protocol::Http1, Some(wire)) if wire.exceeded() => Err(FramingFault::Unannounced),
                (Protocol::Http2, _) => expect_end(response.body_mut(), deadline)
                    .await
                    .map_err(Attempt::Failed)?,
                _ => Ok(()),
            };
        }
        if let Err(fault) = checked {
            if let Some(wire) = wire
                && self.protocol == Protocol::Http1
            {
                wire.condemn();
            }
            return Err(Attempt::Failed(fault.into()));
        }
        Ok(response)
    }

    /// What a failed attempt means.
    fn failure(&self, error: &Error, upload: Option<&Upload>) -> Attempt {
        // The library reports a body that it could not read like a connection that it could not write to.
        if let Some(fault) = upload.and_then(Upload::fault) {
            return Attempt::Failed(UpstreamError::Body(fault));
        }
        if error.is_connect() {
            return Attempt::Failed(if is_timeout(error) {
                UpstreamError::ConnectTimeout
            } else {
                UpstreamError::Connect(innermost(error))
            });
        }
        let broken = UpstreamError::Broken(innermost(error));
        let died = match self.protocol {
            Protocol::Http1 => error.connect_info().is_some_and(|connected| {
                let mut extras = http::Extensions::new();
                connected.get_extras(&mut extras);
                extras.get::<Wire>().is_some_and(Wire::died_unanswered)
            }),
            Protocol::Http2 => was_turned_away(error),
        };
        if died {
            Attempt::Unanswered(broken)
        } else {
            Attempt::Failed(broken)
        }
    }
}

/// How one attempt ended without a response.
enum Attempt {
    /// A kept connection died before a byte of the response: the upstream was closing it. Or it said so.
    Unanswered(UpstreamError),
    Failed(UpstreamError),
}

// === impl Attempt ===

impl Attempt {
    fn into_error(self) -> UpstreamError {
        match self {
            Attempt::Unanswered(error) | Attempt::Failed(error) => error,
        }
    }
}

/// Waits for the end of a stream that has nothing more to bring.
async fn expect_end(
    body: &mut Incoming,
    deadline: Instant,
) -> Result<Result<(), FramingFault>, UpstreamError> {
    while !body.is_end_stream() {
        let frame = timeout_at(deadline, body.frame())
            .await
            .map_err(|_| UpstreamError::Timeout)?;
        match frame {
            None => break,
            Some(Err(error)) => return Err(UpstreamError::Broken(error.to_string())),
            Some(Ok(frame)) if frame.data_ref().is_some_and(|data| !data.is_empty()) => {
                return Ok(Err(FramingFault::Unannounced));
            }
            Some(Ok(_)) => {}
        }
    }
    Ok(Ok(()))
}

/// Methods that may be sent twice without doing twice (RFC 9110 section 9.2.2).
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
    )
}

/// The same head once more; extensions are of no use to the upstream.
fn copy(head: &request::Parts) -> request::Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = head.method.clone();
    parts.uri = head.uri.clone();
    parts.version = head.version;
    parts.headers = HeaderMap::clone(&head.headers);
    parts
}

fn is_timeout(error: &Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.kind() == io::ErrorKind::TimedOut
        {
            return true;
        }
        source = error.source();
    }
    false
}

/// Whether an HTTP/2 upstream said that it has not looked at the request, or was going away as it came.
fn was_turned_away(error: &Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM);
        }
        source = error.source();
    }
    false
}

/// The words of the cause itself, for the log.
fn innermost(error: &Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        words = error.to_string();
        source = error.source();
    }
    words
}
