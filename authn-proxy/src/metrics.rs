//! What the proxy counts
//!
//! Labels are codes and methods of a fixed set, never anything that a client can choose.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// The proxy's metrics. A clone counts the same things.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Requests by how they ended: `ok`, or the code of the refusal or of what broke off.
    requests: IntCounterVec,
    /// Seconds until a request was admitted or refused.
    pub(crate) gate: Histogram,
    /// Seconds from admission to the head of the upstream's response.
    pub(crate) upstream: Histogram,
    /// Exchanges that have not ended.
    pub(crate) in_flight: IntGauge,
    /// Bytes of request bodies, without framing.
    pub(crate) received: IntCounter,
    /// Bytes of response bodies, without framing.
    pub(crate) sent: IntCounter,
    /// Requests that were sent a second time.
    pub(crate) retries: IntCounter,
}

/// Upper bounds in seconds: the gate answers in microseconds, or in milliseconds when keys or policies are slow.
const GATE_BUCKETS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05,
    0.25, 1.0,
];

/// Upper bounds in seconds for what the upstream takes.
const UPSTREAM_BUCKETS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0,
];

// === impl Metrics ===

impl Metrics {
    /// Makes the metrics known to `registry`; fails when they are there already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Metrics {
            requests: IntCounterVec::new(
                Opts::new(
                    "portcullis_proxy_requests_total",
                    "Requests by how they ended: ok, or the code of the refusal or failure.",
                ),
                &["code"],
            )?,
            gate: Histogram::with_opts(
                HistogramOpts::new(
                    "portcullis_proxy_gate_seconds",
                    "Time until a request was admitted or refused.",
                )
                .buckets(GATE_BUCKETS.to_vec()),
            )?,
            upstream: Histogram::with_opts(
                HistogramOpts::new(
                    "portcullis_proxy_upstream_seconds",
                    "Time from admission to the head of the upstream's response.",
                )
                .buckets(UPSTREAM_BUCKETS.to_vec()),
            )?,
            in_flight: IntGauge::new(
                "portcullis_proxy_in_flight",
                "Exchanges that have not ended.",
            )?,
            received: IntCounter::new(
                "portcullis_proxy_request_body_bytes_total",
                "Bytes of request bodies, without framing.",
            )?,
            sent: IntCounter::new(
                "portcullis_proxy_response_body_bytes_total",
                "Bytes of response bodies, without framing.",
            )?,
            retries: IntCounter::new(
                "portcullis_proxy_upstream_retries_total",
                "Requests sent a second time because a kept connection had died.",
            )?,
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.gate.clone()))?;
        registry.register(Box::new(metrics.upstream.clone()))?;
        registry.register(Box::new(metrics.in_flight.clone()))?;
        registry.register(Box::new(metrics.received.clone()))?;
        registry.register(Box::new(metrics.sent.clone()))?;
        registry.register(Box::new(metrics.retries.clone()))?;
        Ok(metrics)
    }

    /// Counts one ended request. Codes are literals of this program, so their number is bounded.
    pub(crate) fn ended(&self, code: &'static str) {
        self.requests.with_label_values(&[code]).inc();
    }
}
