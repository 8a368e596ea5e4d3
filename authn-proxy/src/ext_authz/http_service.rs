//! The HTTP form of the service: the request itself, without its body, is the question.
//!
//! Envoy lets a request pass on 200 and on nothing else, and takes a 5xx for an error. So a failure of ours is a 403 here.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::service::Service;
use listener::{Fault, Peer, RequestBody};

use super::{Check, Checker, deadline};
use crate::gate::Client;
use crate::headers::REQUEST_ID;
use crate::proxy::random;
use crate::rejection::{Reason, Rejection, render_fault};
use crate::request_log::{RequestId, log_fault};

const SURFACE: &str = "ext_authz_http";

/// Tells Envoy which headers of the request to remove.
const REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// The HTTP form of the service.
#[derive(Clone)]
pub struct HttpService(Arc<Checker>);

// === impl HttpService ===

impl HttpService {
    /// The service, answering through `checker`.
    pub fn new(checker: Arc<Checker>) -> Self {
        Self(checker)
    }
}

impl Service<Request<RequestBody>> for HttpService {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<RequestBody>) -> Self::Future {
        let checker = Arc::clone(&self.0);
        Box::pin(async move {
            let work = pin!(checker.check_http(request));
            Ok(deadline::outright(work, broken).await.map(Full::new))
        })
    }
}

/// The answer to what the listener refused before it became a request.
pub fn refuse(fault: Fault) -> Response<Full<Bytes>> {
    let id = RequestId::new(random().unwrap_or_default(), 0);
    log_fault(&id, SURFACE, &fault);
    never_an_error(render_fault(&fault, id.as_str())).map(Full::new)
}

/// The denial when nothing else can be said.
fn broken() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::FORBIDDEN;
    response
}

// === impl Checker ===

impl Checker {
    async fn check_http(&self, request: Request<RequestBody>) -> Response<Bytes> {
        let started = Instant::now();
        // A body, if Envoy sends one, says nothing that is decided about.
        let (mut head, _) = request.into_parts();
        let peer = head.extensions.get::<Peer>().and_then(|peer| peer.address);
        let origin = self.peers.origin(peer, &head.headers);
        let host = origin.host(head.headers.get(HOST).cloned());
        let client = Client {
            address: origin.client,
            counted: origin.client,
            host: host.as_ref().and_then(|host| host.to_str().ok()),
            ..Client::default()
        };
        let check = Check {
            id: self.next_id(),
            started,
            surface: SURFACE,
            client,
        };
        let admitted =
            match self.original(&head.uri) {
                Some(original) => {
                    head.uri = original;
                    let limit = deadline::of(&head.headers, self.deadline);
                    let work = pin!(self.admit(&head, &check.client));
                    deadline::answered(limit, work).await
                }
                None => Err(Rejection::new(Reason::RouteNotMapped)
                    .because("not below `ext_authz.path_prefix`")),
            };
        match self.conclude(&check, Some(&head), admitted) {
            Ok(passed) => {
                let mut response = Response::new(Bytes::new());
                *response.headers_mut() = passed.set;
                passed.permit.quotas().describe(response.headers_mut());
                if let Ok(names) = HeaderValue::try_from(passed.remove.join(",")) {
                    response.headers_mut().insert(REMOVE, names);
                }
                response
            }
            Err(rejection) => {
                let mut response = never_an_error(rejection.render(&self.realm, check.id.as_str()));
                response
                    .headers_mut()
                    .insert(REQUEST_ID, check.id.to_header());
                response
            }
        }
    }

    /// The target that Envoy received, without what its `path_prefix` put before it.
    fn original(&self, uri: &Uri) -> Option<Uri> {
        let target = uri.path_and_query()?.as_str();
        let rest = target.strip_prefix(&self.path_prefix)?;
        if !rest.starts_with('/') {
            return None;
        }
        PathAndQuery::try_from(rest).ok().map(Uri::from)
    }
}

/// Envoy would let a request pass on a 5xx, if it is told to on errors.
fn never_an_error(mut response: Response<Bytes>) -> Response<Bytes> {
    if response.status().is_server_error() {
        *response.status_mut() = StatusCode::FORBIDDEN;
    }
    response
}
