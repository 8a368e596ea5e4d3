//! `envoy.service.auth.v3.Authorization/Check`, and the standard health and reflection services beside it.
//!
//! The framing of the one unary call is read and written here rather than by a framework, which would answer what it cannot
//! read with an RPC error of its own.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::service::Service;
use identity::VouchedClaims;
use listener::{Fault, Peer, RequestBody};
use tonic::body::Body;
use tonic::service::Routes;
use tower_service::Service as _;

use super::{Check, Checker, deadline, wire};
use crate::decide::Permit;
use crate::gate::{Client, Vouched};
use crate::proxy::random;
use crate::rejection::{Reason, Rejection, render_fault};
use crate::request_log::{Decided, RequestId, log_fault};

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const SURFACE: &str = "ext_authz_grpc";

/// `Authorization` and its messages, for clients that ask what is served.
const DESCRIPTORS: &[u8] = include_bytes!("../../descriptors/ext_authz.binpb");

/// The gRPC form of the service.
#[derive(Clone)]
pub struct GrpcService {
    checker: Arc<Checker>,
    /// Health and reflection.
    others: Routes,
}

// === impl GrpcService ===

impl GrpcService {
    /// The service, answering through `checker`.
    ///
    /// # Errors
    /// When our own descriptors cannot be read.
    pub async fn new(checker: Arc<Checker>) -> Result<Self, tonic_reflection::server::Error> {
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter
            .set_service_status(
                "envoy.service.auth.v3.Authorization",
                tonic_health::ServingStatus::Serving,
            )
            .await;
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let others = Routes::new(health)
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?);
        Ok(Self { checker, others })
    }
}

impl Service<Request<RequestBody>> for GrpcService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<RequestBody>) -> Self::Future {
        if request.uri().path() == CHECK {
            let checker = Arc::clone(&self.checker);
            Box::pin(async move {
                let work = pin!(checker.check_grpc(request));
                Ok(deadline::outright(work, broken).await)
            })
        } else {
            let answer = self.others.clone().call(request);
            Box::pin(async move { Ok(answer.await.unwrap_or_else(|never| match never {})) })
        }
    }
}

/// The answer to what the listener refused before it became a call: a denial, because Envoy takes anything else for an error.
pub fn refuse(fault: Fault) -> Response<Body> {
    let id = RequestId::new(random().unwrap_or_default(), 0);
    log_fault(&id, SURFACE, &fault);
    let response = render_fault(&fault, id.as_str());
    reply(wire::denied(&response, false, fault.message, None))
}

/// The denial when nothing else can be said.
fn broken() -> Response<Body> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    reply(wire::denied(&response, false, "", None))
}

// === impl Checker ===

impl Checker {
    /// What is handed to combinators here is pinned where it is, because each would else keep a copy of its own of all that a
    /// check may have to remember while it waits.
    async fn check_grpc(&self, request: Request<RequestBody>) -> Response<Body> {
        let started = Instant::now();
        let limit = deadline::of(request.headers(), self.deadline);
        let mut asked = None;
        let admitted = {
            let work = pin!(self.admit_grpc(request, &mut asked));
            deadline::answered(limit, work).await
        };
        let head = asked.as_ref().map(|asked| &asked.head);
        let check = Check {
            id: self.next_id(),
            started,
            surface: SURFACE,
            client: asked.as_ref().map(Asked::client).unwrap_or_default(),
        };
        let answer = match self.conclude(&check, head, admitted) {
            Ok(passed) => wire::ok(&passed, &check.id),
            Err(rejection) => {
                let for_grpc = head.is_some_and(|head| is_grpc(&head.headers));
                let response = rejection.render(&self.realm, check.id.as_str());
                let told = (Decided::no(&rejection), rejection.code(), &check.id);
                wire::denied(&response, for_grpc, rejection.message(), Some(told))
            }
        };
        reply(answer)
    }

    /// Reads the call and takes what it asks about through the gate; what was read is left in `asked` for the log.
    async fn admit_grpc(
        &self,
        request: Request<RequestBody>,
        asked: &mut Option<Asked>,
    ) -> Result<Permit, Rejection> {
        let peer = request.extensions().get::<Peer>().copied();
        let body = request.into_body().collect().await;
        let body = body
            .map_err(|_| unreadable("the call broke off"))?
            .to_bytes();
        let asked = asked.insert(self.read(&body, peer)?);
        self.admit(&asked.head, &asked.client()).await
    }

    /// What a call asks about.
    fn read(&self, body: &Bytes, peer: Option<Peer>) -> Result<Asked, Rejection> {
        let message = message(body).ok_or_else(|| unreadable("not one uncompressed message"))?;
        let malformed = |_| unreadable("not a CheckRequest");
        let question = wire::Question::read(&message).map_err(malformed)?;
        let http = question
            .http()
            .ok_or_else(|| unreadable("no HTTP request"))?;
        let head = http.head(&message)?;
        let claims = match &self.jwt_authn {
            Some(filter) => wire::claims(&question, filter).map_err(malformed)?,
            None => None,
        };
        let address = wire::client(&question);
        // An Envoy that is not trusted to know its clients is one client.
        let counted = peer.and_then(|peer| {
            if self.peers.vouches(&peer) {
                self.peers.origin(address, &head.headers).client
            } else {
                peer.address
            }
        });
        Ok(Asked {
            head,
            address,
            counted,
            host: http.host().map(str::to_owned),
            claims,
            certificate: wire::certificate(&question).map(str::to_owned),
            route_set: wire::route_set(&question).map(str::to_owned),
        })
    }
}

/// What a call asks about.
struct Asked {
    head: http::request::Parts,
    /// The client's address, as Envoy determined it.
    address: Option<IpAddr>,
    /// The address whose requests are counted together.
    counted: Option<IpAddr>,
    host: Option<String>,
    /// The claims of a token that Envoy has verified, where its word is taken.
    claims: Option<VouchedClaims>,
    /// The name in the client's certificate, which Envoy has verified.
    certificate: Option<String>,
    route_set: Option<String>,
}

impl Asked {
    fn client(&self) -> Client<'_> {
        Client {
            address: self.address,
            counted: self.counted,
            host: self.host.as_deref(),
            vouched: Vouched {
                claims: self.claims.as_ref(),
                certificate: self.certificate.as_deref(),
            },
            route_set: self.route_set.as_deref(),
        }
    }
}

// === framing ===

fn unreadable(cause: &'static str) -> Rejection {
    Rejection::new(Reason::InvalidRequest).because(cause)
}

/// The one message of a call: a flag, a length of four bytes, and as many bytes.
fn message(body: &Bytes) -> Option<Bytes> {
    let (&[compressed, a, b, c, d], message) = body.split_first_chunk::<5>()?;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    (compressed == 0 && message.len() == length).then(|| body.slice_ref(message))
}

/// A call that went well, whatever it answers.
fn reply(answer: Bytes) -> Response<Body> {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    let body = Full::new(answer).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests;
