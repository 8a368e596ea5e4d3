//! The reverse proxy: gate first, then forward
//!
//! ```text
//! request -> connection options -> loop? -> gate -> Permit -> strip, set headers -> upstream -> strip -> response
//!                          any failure -> Rejection
//! ```
//!
//! `forward` takes the [`Permit`] by value and sends what the permit names: its path and query to the
//! configured authority. The client's own target is not looked at again.

mod share;
#[cfg(test)]
mod tests;
mod tunnel;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, request};
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::Service;
use listener::{BodyError, Fault, Peer, RequestBody, Upgrade};
use prometheus::Registry;

use crate::body::{Relay, ResponseBody, Upload, UpstreamBody};
use crate::config::{ForwardedConfig, KeyedProblem, Protocol, StreamsConfig, UpstreamConfig};
use crate::decide::Permit;
use crate::forwarded::{Origin, Pseudonym, TrustedPeers};
use crate::gate::{Client, Gate};
use crate::headers::{ConnectionOptions, HeaderRules, REQUEST_ID, set_identity};
use crate::metrics::Metrics;
use crate::rejection::{Realm, Reason, Rejection, render_fault};
use crate::request_log::{Exchange, RequestId, log_fault};
use crate::stay::Stay;
use crate::uid::Uid;
use crate::upstream::{Upstream, UpstreamError};

use share::Shares;
use tunnel::{Handshake, Tunnel, is_switch};

/// Serves what the gate lets through from the upstream. Clones share everything.
#[derive(Clone)]
pub struct ReverseProxy(Arc<Parts>);

struct Parts {
    gate: Arc<Gate>,
    upstream: Upstream,
    rules: Arc<HeaderRules>,
    peers: TrustedPeers,
    pseudonym: Pseudonym,
    realm: Realm,
    preserve_host: bool,
    streams: StreamsConfig,
    /// Of the tunnels that are open.
    shares: Shares,
    metrics: Arc<Metrics>,
    /// The first half of every request id.
    process: u64,
    /// The second half of the next one.
    requests: AtomicU64,
}

/// What became of a request that was forwarded.
struct Answered {
    response: Response<Incoming>,
    /// Present where the request asked for an upgrade.
    handshake: Option<Handshake>,
    /// Whose exchange it is; none on a public route.
    stay: Option<Stay>,
}

/// Why there can be no proxy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Mistakes in section `upstream`, each with its key below the section.
    #[error("the configuration of the upstream is not usable")]
    Upstream(Vec<KeyedProblem>),
    /// The metrics are taken.
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The system gives no random numbers.
    #[error("no random numbers")]
    Random,
}

// === impl ReverseProxy ===

impl ReverseProxy {
    /// A proxy in front of the configured upstream, behind `gate`.
    pub fn new(
        gate: Arc<Gate>,
        upstream: &UpstreamConfig,
        streams: &StreamsConfig,
        forwarded: &ForwardedConfig,
        realm: Realm,
        registry: &Registry,
    ) -> Result<Self, StartError> {
        let client = Upstream::new(upstream)
            .map_err(|message| StartError::Upstream(vec![("url".to_owned(), message)]))?;
        let rules = HeaderRules::new(upstream).map_err(|(index, error)| {
            StartError::Upstream(vec![(format!("strip_headers[{index}]"), error.to_string())])
        })?;
        Ok(ReverseProxy(Arc::new(Parts {
            gate,
            upstream: client,
            rules: Arc::new(rules),
            peers: TrustedPeers::new(forwarded),
            pseudonym: Pseudonym::new(random()?),
            realm,
            preserve_host: upstream.preserve_host,
            streams: streams.clone(),
            shares: Shares::default(),
            metrics: Arc::new(Metrics::register(registry)?),
            process: random()?,
            requests: AtomicU64::new(0),
        })))
    }
}

impl Service<Request<RequestBody>> for ReverseProxy {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<RequestBody>) -> Self::Future {
        let parts = Arc::clone(&self.0);
        Box::pin(async move { Ok(parts.serve(request).await) })
    }
}

/// The answer to what a listener refused before it became a request: the envelope of every other refusal.
pub fn refuse(fault: Fault) -> Response<ResponseBody> {
    let request_id = RequestId::new(random().unwrap_or_default(), 0);
    log_fault(&request_id, "proxy", &fault);
    let mut response = render_fault(&fault, request_id.as_str())
        .map(Full::new)
        .map(ResponseBody::own);
    response
        .headers_mut()
        .insert(REQUEST_ID, request_id.to_header());
    response
}

// === impl Parts ===

impl Parts {
    /// One request from its arrival to the head of its response.
    async fn serve(&self, request: Request<RequestBody>) -> Response<ResponseBody> {
        let (mut head, body) = request.into_parts();
        let upgrade = head.extensions.remove::<Upgrade>();
        let peer = head.extensions.get::<Peer>().and_then(|peer| peer.address);
        let origin = self.peers.origin(peer, &head.headers);
        let request_id =
            RequestId::new(self.process, self.requests.fetch_add(1, Ordering::Relaxed));
        let mut exchange = Exchange::open(
            Arc::clone(&self.metrics),
            request_id.clone(),
            origin.client,
            &head.method,
            &head.uri,
        );
        let version = head.version;
        let whole = body.is_end_stream();

        let answered = self
            .exchange(head, upgrade, body, origin, &mut exchange)
            .await;
        let mut response = match answered {
            Ok(answered) => self.relay(answered, version, exchange),
            Err(rejection) => {
                exchange.rejected(&rejection);
                // On HTTP/1 a refusal is the last answer: what was sent along with the request is not served, and the
                // rest of its body neither read as a request nor waited for.
                let last =
                    version < Version::HTTP_2 && !(whole && rejection.reason().is_upstreams());
                let mut response = rejection
                    .into_response(&self.realm, request_id.as_str())
                    .map(ResponseBody::own);
                if last {
                    response
                        .headers_mut()
                        .insert(CONNECTION, HeaderValue::from_static("close"));
                }
                response
            }
        };
        response
            .headers_mut()
            .insert(REQUEST_ID, request_id.to_header());
        response
    }

    async fn exchange(
        &self,
        head: request::Parts,
        upgrade: Option<Upgrade>,
        body: RequestBody,
        origin: Origin,
        exchange: &mut Exchange,
    ) -> Result<Answered, Rejection> {
        let admitted = self.admit(&head, &origin).await;
        exchange.decided();
        let (permit, options) = admitted?;
        let handshake = upgrade
            .map(|upgrade| {
                let (protocol, address) = (self.upstream.protocol(), origin.client);
                Handshake::admit(upgrade, &permit, &head, protocol, &self.shares, address)
            })
            .transpose()
            .map_err(|rejection| rejection.on(permit.route()).counted(*permit.quotas()))?;
        self.forward(permit, head, options, handshake, body, origin, exchange)
            .await
    }

    /// What can be refused without the gate, and then the gate.
    async fn admit(
        &self,
        head: &request::Parts,
        origin: &Origin,
    ) -> Result<(Permit, ConnectionOptions), Rejection> {
        let options = self
            .rules
            .connection(&head.headers)
            .map_err(|fault| Rejection::new(Reason::InvalidRequest).because(fault.to_string()))?;
        if self.pseudonym.has_seen(&head.headers) {
            return Err(Rejection::new(Reason::LoopDetected));
        }
        let requested = origin.host(requested_host(head));
        let client = Client {
            address: origin.client,
            counted: origin.client,
            host: requested.as_ref().and_then(|host| host.to_str().ok()),
            ..Client::default()
        };
        let permit = self.gate.admit(head, &client).await?;
        Ok((permit, options))
    }

    /// Sends an admitted request on. There is no other way to the upstream, and none without a permit.
    #[expect(
        clippy::too_many_arguments,
        reason = "all that one request consists of"
    )]
    async fn forward(
        &self,
        permit: Permit,
        head: request::Parts,
        options: ConnectionOptions,
        handshake: Option<Handshake>,
        body: RequestBody,
        origin: Origin,
        exchange: &mut Exchange,
    ) -> Result<Answered, Rejection> {
        let quotas = *permit.quotas();
        let uri = self
            .upstream
            .uri(permit.path().path_and_query())
            .map_err(|_| Rejection::new(Reason::InvalidRequest).because("the target"))?;
        let requested = requested_host(&head);
        let has_length = head.headers.contains_key(CONTENT_LENGTH);

        let (mut forwarded, ()) = Request::new(()).into_parts();
        forwarded.method = head.method;
        forwarded.uri = uri;
        forwarded.version = self.upstream.version();
        forwarded.headers = head.headers;
        let headers = &mut forwarded.headers;
        self.rules.strip_request(headers, &options);
        self.frame(&forwarded.method, headers, &body, has_length);
        if let Some(handshake) = &handshake {
            handshake.ask(headers);
        }
        // HTTP/2 has `:authority` for it, which the client library takes from the URI.
        if self.upstream.protocol() == Protocol::Http1 {
            let host = requested.clone().filter(|_| self.preserve_host);
            headers.insert(HOST, host.unwrap_or_else(|| self.upstream.host().clone()));
        }
        origin.describe(requested, headers);
        self.pseudonym.sign(head.version, headers);
        headers.insert(REQUEST_ID, exchange.request_id().to_header());
        if let (Some(user), Some(principal)) = (permit.user(), permit.principal()) {
            set_identity(headers, user.identity(), &Uid(principal));
        }

        let mut stay = permit.user().map(|user| {
            let standing = Arc::clone(self.gate.standing());
            Stay::new(standing, user, self.streams.revalidate.0)
        });
        exchange.forwarded(permit);
        let upload = (!body.is_end_stream()).then(|| Arc::new(Upload::new()));
        let body = match &upload {
            Some(upload) => {
                exchange.uploading(upload);
                UpstreamBody::new(body, Arc::clone(upload), Arc::clone(&self.rules))
            }
            None => UpstreamBody::none(),
        };
        let sent = self
            .upstream
            .send(forwarded, body, upload.as_deref(), stay.as_mut())
            .await;
        if sent.retried {
            exchange.retried();
        }
        let unanswered = |error| unanswered(error).counted(quotas);
        let mut response = sent.response.map_err(unanswered)?;
        if let Some(handshake) = handshake.as_ref().filter(|_| is_switch(&response)) {
            // Looked at again now that nothing is awaited any more: from here on the client may speak.
            handshake
                .check()
                .map_err(|rejection| rejection.counted(quotas))?;
        }
        exchange.answered(response.status());
        quotas.describe(response.headers_mut());
        Ok(Answered {
            response,
            handshake,
            stay,
        })
    }

    /// Says how long the body is, from the body itself: what the client said about it was for this hop.
    fn frame(
        &self,
        method: &Method,
        headers: &mut HeaderMap,
        body: &RequestBody,
        has_length: bool,
    ) {
        let expects_body = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        if body.is_end_stream() {
            if has_length || expects_body {
                headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
            return;
        }
        let http1 = self.upstream.protocol() == Protocol::Http1;
        match body.size_hint().exact() {
            // On HTTP/1 trailers can only follow chunks.
            Some(length) if !(http1 && headers.contains_key(TRAILER)) => {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
            _ if http1 => {
                // Said outright, or the client library would leave out the body of a GET.
                headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
            _ => {}
        }
    }

    /// Passes a response on while it arrives, to a client that speaks `version`.
    fn relay(
        &self,
        answered: Answered,
        version: Version,
        exchange: Exchange,
    ) -> Response<ResponseBody> {
        let Answered {
            response,
            handshake,
            stay,
        } = answered;
        if let Some(handshake) = handshake
            && is_switch(&response)
        {
            return self.switch(response, handshake, stay, exchange);
        }
        let (head, incoming) = response.into_parts();
        let mut headers = head.headers;
        self.rules.strip_response(&mut headers);
        // As with requests: announced trailers need chunks, which HTTP/1.0 does not know.
        if version == Version::HTTP_11 && headers.contains_key(TRAILER) && !incoming.is_end_stream()
        {
            headers.remove(CONTENT_LENGTH);
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        self.pseudonym.sign(head.version, &mut headers);
        let upload = exchange.upload().cloned();
        let body = ResponseBody::relayed(Relay {
            incoming,
            limit: self.upstream.body_timeout(),
            upload,
            rules: Arc::clone(&self.rules),
            exchange,
            stay,
            clock: None,
            silent_at: None,
        });
        // The version and the reason phrase are this hop's own.
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.headers_mut() = headers;
        response
    }

    /// Passes a `101` on and has the tunnel opened behind it.
    fn switch(
        &self,
        mut response: Response<Incoming>,
        handshake: Handshake,
        stay: Option<Stay>,
        exchange: Exchange,
    ) -> Response<ResponseBody> {
        let mut headers = std::mem::take(response.headers_mut());
        self.rules.strip_response(&mut headers);
        self.pseudonym.sign(response.version(), &mut headers);
        handshake.grant(&mut headers);
        let idle = self.streams.idle_timeout.0;
        handshake.open(Tunnel::new(response, stay, idle, exchange));
        let mut response = Response::new(ResponseBody::own(Full::default()));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = headers;
        response
    }
}

/// The host that the client asked for: of the target, where it has one, else of the header.
fn requested_host(head: &request::Parts) -> Option<HeaderValue> {
    match head.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => head.headers.get(HOST).cloned(),
    }
}

/// The refusal of a request that was admitted and got no response.
fn unanswered(error: UpstreamError) -> Rejection {
    let reason = match &error {
        UpstreamError::Connect(_) | UpstreamError::Broken(_) | UpstreamError::Framing(_) => {
            Reason::UpstreamUnavailable
        }
        UpstreamError::ConnectTimeout | UpstreamError::Timeout => Reason::UpstreamTimeout,
        UpstreamError::Over(end) => return (*end).into(),
        UpstreamError::Body(BodyError::TooLarge) => Reason::BodyTooLarge,
        UpstreamError::Body(BodyError::TimedOut) => Reason::RequestTimeout,
        UpstreamError::Body(BodyError::Malformed | BodyError::Aborted) => Reason::InvalidRequest,
    };
    Rejection::new(reason).because(error.to_string())
}

/// Eight bytes that nobody can guess.
pub(crate) fn random() -> Result<u64, StartError> {
    let mut bytes = [0; 8];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| StartError::Random)?;
    Ok(u64::from_ne_bytes(bytes))
}
