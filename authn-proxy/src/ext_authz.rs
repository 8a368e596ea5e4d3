//! External authorization for Envoy: the gate, asked by somebody else's proxy
//!
//! Envoy treats an RPC that fails, a timeout and an HTTP 5xx as an *error*, and with `failure_mode_allow` an error lets the
//! request pass. So every check that arrives is answered outright, in time, and a failure of ours is a denial like any other:
//! the listeners' own refusals, a message that cannot be read, a deadline, a panic. What is not answered, because the process is gone,
//! is for Envoy to decide.
//!
//! The same gate decides as in front of the reverse proxy, with one difference: Envoy forwards what it received, which nothing
//! here can rewrite, so a path that is not in its canonical form already is denied.

mod deadline;
mod grpc;
mod http_service;
mod verdict;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts, Registry};

pub use grpc::{GrpcService, refuse as refuse_grpc};
pub use http_service::{HttpService, refuse as refuse_http};
pub use tonic_reflection::server::Error as DescriptorError;

use crate::config::{ExtAuthzConfig, ForwardedConfig, JwtAuthnConfig};
use crate::decide::Permit;
use crate::forwarded::TrustedPeers;
use crate::gate::{Client, Gate};
use crate::headers::ReservedNames;
use crate::headers::reserved::{IDENTITY, OVERRIDES};
use crate::path::CanonicalPath;
use crate::proxy::random;
use crate::rejection::{Realm, Reason, Rejection};
use crate::request_log::{Decided, Event, OK, RequestId};
use verdict::Passed;

/// What both forms of the service share. Clones of them share it.
pub struct Checker {
    gate: Arc<Gate>,
    realm: Realm,
    peers: TrustedPeers,
    /// What a client may not send through: identities and method overrides. Envoy sees to the rest.
    reserved: ReservedNames,
    deadline: Duration,
    path_prefix: String,
    /// The filter of Envoy's whose word is taken for a token.
    jwt_authn: Option<JwtAuthnConfig>,
    metrics: Metrics,
    /// The first half of every request id.
    process: u64,
    /// The second half of the next one.
    checks: AtomicU64,
}

/// What is counted of checks.
struct Metrics {
    checks: IntCounterVec,
    seconds: Histogram,
}

/// One check, from its arrival to its answer.
struct Check<'a> {
    id: RequestId,
    started: Instant,
    surface: &'static str,
    client: Client<'a>,
}

/// Upper bounds in seconds: microseconds where everything is at hand, up to the deadline where something is not.
const BUCKETS: &[f64] = &[
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.15, 0.25, 1.0,
];

/// Reads a message as a check of Envoy's is read: the head of the request that it asks about. For fuzzing: no
/// bytes may make it panic.
#[must_use]
pub fn read_bytes(message: &Bytes) -> Option<Parts> {
    let question = wire::Question::read(message).ok()?;
    question.http()?.head(message).ok()
}

// === impl Checker ===

impl Checker {
    /// Answers through `gate`.
    ///
    /// # Errors
    /// When the metrics are taken or the system gives no random numbers.
    pub fn new(
        gate: Arc<Gate>,
        config: &ExtAuthzConfig,
        forwarded: &ForwardedConfig,
        realm: Realm,
        registry: &Registry,
    ) -> Result<Arc<Self>, prometheus::Error> {
        let process = random().map_err(|error| prometheus::Error::Msg(error.to_string()))?;
        Ok(Arc::new(Self {
            gate,
            realm,
            peers: TrustedPeers::new(forwarded),
            reserved: ReservedNames::fixed(&[IDENTITY, OVERRIDES]),
            deadline: config.deadline.0,
            path_prefix: config.path_prefix.clone(),
            jwt_authn: config.jwt_authn.clone(),
            metrics: Metrics::register(registry)?,
            process,
            checks: AtomicU64::new(0),
        }))
    }

    fn next_id(&self) -> RequestId {
        RequestId::new(self.process, self.checks.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes a request through the gate, in the form in which Envoy would forward it.
    async fn admit(&self, head: &Parts, client: &Client<'_>) -> Result<Permit, Rejection> {
        if let Some(target) = head.uri.path_and_query() {
            let canonical = CanonicalPath::of(target)?;
            if canonical.path_and_query() != target {
                return Err(Rejection::new(Reason::AmbiguousPath(
                    crate::path::AmbiguousPath {
                        reason: "a path that is not in its canonical form",
                    },
                )));
            }
        }
        self.gate.admit(head, client).await
    }

    /// Logs and counts how a check ended, and says what Envoy shall do to the headers if it passed.
    fn conclude<'a>(
        &self,
        check: &Check<'_>,
        head: Option<&'a Parts>,
        admitted: Result<Permit, Rejection>,
    ) -> Result<Passed<'a>, Rejection> {
        let took = check.started.elapsed();
        self.metrics.seconds.observe(took.as_secs_f64());
        let rejection = admitted.as_ref().err();
        let code = rejection.map_or(OK, Rejection::code);
        self.metrics
            .checks
            .with_label_values(&[check.surface, code])
            .inc();
        let event = Event {
            request_id: &check.id,
            surface: check.surface,
            client: check.client.address,
            method: head.map(|head| &head.method),
            target: head.map(|head| &head.uri),
            decided: admitted.as_ref().map_or_else(Decided::no, Decided::yes),
            status: rejection.map(Rejection::status),
            code,
            cause: rejection.and_then(Rejection::cause),
            received: None,
            sent: None,
            latency: took,
            total: None,
        };
        event.emit();
        let headers = head.map(|head| &head.headers);
        admitted.map(|permit| Passed::new(permit, headers, &self.reserved, &check.id))
    }
}

// === impl Metrics ===

impl Metrics {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            checks: IntCounterVec::new(
                Opts::new(
                    "portcullis_ext_authz_checks_total",
                    "Checks by surface and by how they ended: ok, or the code of the refusal.",
                ),
                &["surface", "code"],
            )?,
            seconds: Histogram::with_opts(
                HistogramOpts::new(
                    "portcullis_ext_authz_seconds",
                    "Time until a check was answered.",
                )
                .buckets(BUCKETS.to_vec()),
            )?,
        };
        registry.register(Box::new(metrics.checks.clone()))?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        Ok(metrics)
    }
}
