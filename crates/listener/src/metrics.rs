//! What listeners count.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::Fault;

/// The families of all listeners of a process; labels are the listener's name and a fault's code or cause, nothing
/// that callers choose.
#[derive(Clone, Debug)]
pub struct Metrics {
    connections: IntCounterVec,
    open: IntGaugeVec,
    in_flight: IntGaugeVec,
    tunnels: IntGaugeVec,
    refused: IntCounterVec,
    aborted: IntCounterVec,
}

/// The families seen from one listener, looked up once.
#[derive(Debug)]
pub(crate) struct ListenerMetrics {
    listener: &'static str,
    pub(crate) connections: IntCounter,
    pub(crate) open: IntGauge,
    pub(crate) in_flight: IntGauge,
    pub(crate) tunnels: IntGauge,
    refused: IntCounterVec,
    /// HTTP/2 connections that sent too many frames of no use.
    pub(crate) floods: IntCounter,
}

/// Counts up while it lives.
#[derive(Debug)]
pub(crate) struct Held(IntGauge);

impl Metrics {
    /// Registers the families; once for each registry.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            connections: IntCounterVec::new(
                Opts::new("portcullis_connections_total", "Connections accepted."),
                &["listener"],
            )?,
            open: IntGaugeVec::new(
                Opts::new("portcullis_connections_open", "Connections open now."),
                &["listener"],
            )?,
            in_flight: IntGaugeVec::new(
                Opts::new(
                    "portcullis_requests_in_flight",
                    "Requests being answered now.",
                ),
                &["listener"],
            )?,
            tunnels: IntGaugeVec::new(
                Opts::new(
                    "portcullis_tunnels_open",
                    "Connections that left HTTP for another protocol, or are asking to.",
                ),
                &["listener"],
            )?,
            refused: IntCounterVec::new(
                Opts::new(
                    "portcullis_requests_refused_total",
                    "Requests that no service saw, because they were malformed, too large, too slow or too many.",
                ),
                &["listener", "code"],
            )?,
            aborted: IntCounterVec::new(
                Opts::new(
                    "portcullis_connections_aborted_total",
                    "Connections ended because of what the peer did on them.",
                ),
                &["listener", "cause"],
            )?,
        };
        registry.register(Box::new(metrics.connections.clone()))?;
        registry.register(Box::new(metrics.open.clone()))?;
        registry.register(Box::new(metrics.in_flight.clone()))?;
        registry.register(Box::new(metrics.tunnels.clone()))?;
        registry.register(Box::new(metrics.refused.clone()))?;
        registry.register(Box::new(metrics.aborted.clone()))?;
        Ok(metrics)
    }

    pub(crate) fn of(&self, listener: &'static str) -> ListenerMetrics {
        ListenerMetrics {
            listener,
            connections: self.connections.with_label_values(&[listener]),
            open: self.open.with_label_values(&[listener]),
            in_flight: self.in_flight.with_label_values(&[listener]),
            tunnels: self.tunnels.with_label_values(&[listener]),
            refused: self.refused.clone(),
            floods: self
                .aborted
                .with_label_values(&[listener, "http2_frame_flood"]),
        }
    }
}

impl ListenerMetrics {
    pub(crate) fn count_refusal(&self, fault: &Fault) {
        self.refused
            .with_label_values(&[self.listener, fault.code])
            .inc();
    }
}

impl Held {
    pub(crate) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}
