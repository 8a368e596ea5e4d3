//! One event per request
//!
//! The event is emitted when the exchange has ended: the response is out, or one side has gone away. It names the
//! request, the decision and the outcome; it never holds a token, a query string, a header or a body. Its target is
//! [`TARGET`], so that a subscriber can send it where decisions go.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, StatusCode, Uri};
use listener::Fault;

use crate::body::Upload;
use crate::decide::{Asked, Permit};
use crate::metrics::Metrics;
use crate::rejection::Rejection;
use crate::routes::Route;
use crate::uid::Uid;

/// The target of the event.
pub const TARGET: &str = "portcullis::decision";

/// Longest path in an event, in bytes.
const MAX_PATH: usize = 256;

/// The code of an exchange that went well.
pub(crate) const OK: &str = "ok";

/// The code of an exchange that nothing else ended: the client stopped listening.
const CLIENT_ABORTED: &str = "client_aborted";

/// The account of one request, from its arrival to the end of its response. Dropping it closes it: that is when it is
/// counted and logged.
pub(crate) struct Exchange {
    metrics: Arc<Metrics>,
    started: Instant,
    request_id: RequestId,
    client: Option<IpAddr>,
    method: Method,
    target: Uri,
    permit: Option<Permit>,
    status: Option<StatusCode>,
    outcome: &'static str,
    cause: Option<Cow<'static, str>>,
    /// How long the gate took; none until it has spoken.
    gate: Option<Duration>,
    upload: Option<Arc<Upload>>,
    sent: u64,
    logged: bool,
}

/// The name of one request, unique beyond this process: 32 hexadecimal digits.
#[derive(Clone, Debug)]
pub struct RequestId(HeaderValue);

/// What was decided about a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decided<'a> {
    /// `ALLOW`, `PUBLIC`, `DENY`, or `REFUSED` when it did not come to a decision.
    pub(crate) decision: &'static str,
    pub(crate) route: Option<&'a Route>,
    pub(crate) asked: Option<&'a Asked>,
}

/// All that an event says of a request, whichever enforcement point it came to. What is not known is left out.
pub(crate) struct Event<'a> {
    pub(crate) request_id: &'a RequestId,
    pub(crate) surface: &'static str,
    pub(crate) client: Option<IpAddr>,
    pub(crate) method: Option<&'a Method>,
    pub(crate) target: Option<&'a Uri>,
    pub(crate) decided: Decided<'a>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) code: &'static str,
    pub(crate) cause: Option<&'a str>,
    /// Bytes of the bodies; none where no body passes through us.
    pub(crate) received: Option<u64>,
    pub(crate) sent: Option<u64>,
    /// Until the gate had spoken.
    pub(crate) latency: Duration,
    /// Until the exchange was over, where that is later.
    pub(crate) total: Option<Duration>,
}

// === impl RequestId ===

impl RequestId {
    /// The id made of a process's random number and the count of its requests.
    pub fn new(process: u64, count: u64) -> Self {
        let number = u128::from(process) << 64 | u128::from(count);
        let digits: [u8; 32] =
            std::array::from_fn(|place| hexadecimal(number >> (124 - 4 * place)));
        RequestId(HeaderValue::from_bytes(&digits).unwrap_or(HeaderValue::from_static("0")))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// As a header's value.
    pub fn to_header(&self) -> HeaderValue {
        self.0.clone()
    }
}

// === impl Exchange ===

impl Exchange {
    /// Opens the account of a request.
    pub(crate) fn open(
        metrics: Arc<Metrics>,
        request_id: RequestId,
        client: Option<IpAddr>,
        method: &Method,
        target: &Uri,
    ) -> Self {
        metrics.in_flight.inc();
        Exchange {
            metrics,
            started: Instant::now(),
            request_id,
            client,
            method: method.clone(),
            target: target.clone(),
            permit: None,
            status: None,
            outcome: CLIENT_ABORTED,
            cause: None,
            gate: None,
            upload: None,
            sent: 0,
            logged: false,
        }
    }

    pub(crate) fn request_id(&self) -> &RequestId {
        &self.request_id
    }

    /// The gate has spoken.
    pub(crate) fn decided(&mut self) {
        let latency = self.started.elapsed();
        self.metrics.gate.observe(latency.as_secs_f64());
        self.gate = Some(latency);
    }

    /// The request is forwarded on this permit, which is used up by that.
    pub(crate) fn forwarded(&mut self, permit: Permit) {
        self.permit = Some(permit);
    }

    /// The request is answered by us. Before a permit was given this is the gate's no; after it, a failure on the way.
    pub(crate) fn rejected(&mut self, rejection: &Rejection) {
        self.status = Some(rejection.status());
        self.outcome = rejection.code();
        self.cause = rejection.cause().map(|cause| Cow::Owned(cause.to_owned()));
        if self.permit.is_none() {
            self.log(Decided::no(rejection));
        }
    }

    /// The request's body is on its way to the upstream.
    pub(crate) fn uploading(&mut self, upload: &Arc<Upload>) {
        self.upload = Some(Arc::clone(upload));
    }

    /// The request's body, when it has one.
    pub(crate) fn upload(&self) -> Option<&Arc<Upload>> {
        self.upload.as_ref()
    }

    /// The head of the upstream's response is there.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
        let admitted = self.gate.unwrap_or_default();
        let waited = self.started.elapsed().saturating_sub(admitted);
        self.metrics.upstream.observe(waited.as_secs_f64());
    }

    /// The request was sent a second time.
    pub(crate) fn retried(&self) {
        self.metrics.retries.inc();
    }

    /// Bytes of the response's body have been handed on.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent = self
            .sent
            .saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// The response has been handed on to its end.
    pub(crate) fn complete(&mut self) {
        if self.outcome == CLIENT_ABORTED {
            self.outcome = OK;
        }
    }

    /// What ended in some way has ended well after all.
    pub(crate) fn succeed(&mut self) {
        self.outcome = OK;
        self.cause = None;
    }

    /// The response broke off.
    pub(crate) fn fail(&mut self, code: &'static str, cause: &'static str) {
        self.outcome = code;
        self.cause = Some(Cow::Borrowed(cause));
    }

    fn log(&mut self, decided: Decided<'_>) {
        self.logged = true;
        let event = Event {
            request_id: &self.request_id,
            surface: "proxy",
            client: self.client,
            method: Some(&self.method),
            target: Some(&self.target),
            decided,
            status: self.status,
            code: self.outcome,
            cause: self.cause.as_deref(),
            received: self.upload.as_ref().map(|upload| upload.bytes()),
            sent: Some(self.sent),
            latency: self.gate.unwrap_or_default(),
            total: Some(self.started.elapsed()),
        };
        event.emit();
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        self.metrics.ended(self.outcome);
        self.metrics.sent.inc_by(self.sent);
        if let Some(upload) = &self.upload {
            self.metrics.received.inc_by(upload.bytes());
        }
        if self.logged {
            return;
        }
        let permit = self.permit.take();
        self.log(permit.as_ref().map_or(Decided::UNDECIDED, Decided::yes));
    }
}

// === impl Decided ===

impl<'a> Decided<'a> {
    /// A request that was gone before anything was decided.
    const UNDECIDED: Decided<'static> = Decided {
        decision: "REFUSED",
        route: None,
        asked: None,
    };

    pub(crate) fn yes(permit: &'a Permit) -> Self {
        let asked = permit.decision();
        Self {
            decision: if asked.is_some() { "ALLOW" } else { "PUBLIC" },
            route: Some(permit.route()),
            asked,
        }
    }

    pub(crate) fn no(rejection: &'a Rejection) -> Self {
        let asked = rejection.decision();
        Self {
            decision: if asked.is_some() { "DENY" } else { "REFUSED" },
            route: rejection.route().map(AsRef::as_ref),
            asked,
        }
    }
}

// === impl Event ===

impl Event<'_> {
    pub(crate) fn emit(&self) {
        if !tracing::enabled!(target: TARGET, tracing::Level::INFO) {
            return;
        }
        let Decided {
            decision,
            route,
            asked,
        } = self.decided;
        let answer = asked.map(|asked| &asked.answer);
        let policies = answer.map(|answer| answer.determining_policies.join(","));
        let path = self.target.map(Uri::path);
        let path = path.and_then(|path| path.get(..path.floor_char_boundary(MAX_PATH)));
        tracing::info!(
            target: TARGET,
            request_id = self.request_id.as_str(),
            surface = self.surface,
            client = self.client.map(display),
            method = self.method.map(Method::as_str),
            path,
            route = route.map(Route::name),
            principal = asked.map(|asked| display(Uid(&asked.principal))),
            on_behalf_of = asked
                .and_then(|asked| asked.on_behalf_of.as_ref())
                .map(|user| display(Uid(user))),
            workload = asked
                .and_then(|asked| asked.workload.as_ref())
                .map(|workload| display(Uid(workload))),
            action = asked.map(|asked| display(Uid(&asked.action))),
            resource = asked.map(|asked| display(Uid(&asked.resource))),
            decision,
            status = self.status.map(|status| status.as_u16()),
            code = self.code,
            cause = self.cause,
            policies,
            source = answer.map(|answer| answer.source.name()),
            revision = answer.map(|answer| answer.revision.as_ref()),
            received_bytes = self.received,
            sent_bytes = self.sent,
            latency_us = micros(self.latency),
            total_us = self.total.map(micros),
        );
    }
}

/// The event of a request that its listener refused, of which nothing else is known.
pub(crate) fn log_fault(request_id: &RequestId, surface: &str, fault: &Fault) {
    tracing::info!(
        target: TARGET,
        request_id = request_id.as_str(),
        surface,
        decision = "REFUSED",
        status = fault.status.as_u16(),
        code = fault.code,
        cause = fault.message,
    );
}

/// The digit for the last four bits.
fn hexadecimal(number: u128) -> u8 {
    match (number & 0xf) as u8 {
        digit @ 0..=9 => b'0' + digit,
        digit => b'a' + digit - 10,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
