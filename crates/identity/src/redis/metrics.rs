//! How Redis is, in numbers.

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry};

/// What is counted of the server and of what it is asked.
#[derive(Clone)]
pub(super) struct Metrics {
    pub(super) up: IntGauge,
    requests: IntCounterVec,
    pub(super) seconds: Histogram,
}

// === impl Metrics ===

impl Metrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let up = IntGauge::new(
            "portcullis_redis_up",
            "Whether there is a usable connection to Redis.",
        )?;
        let requests = IntCounterVec::new(
            Opts::new(
                "portcullis_redis_requests_total",
                "Requests to Redis, by outcome.",
            ),
            &["outcome"],
        )?;
        let seconds = Histogram::with_opts(
            HistogramOpts::new(
                "portcullis_redis_request_seconds",
                "How long Redis took to answer.",
            )
            .buckets(vec![
                0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
            ]),
        )?;
        registry.register(Box::new(up.clone()))?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Self {
            up,
            requests,
            seconds,
        })
    }

    pub(super) fn count(&self, outcome: &str) {
        self.requests.with_label_values(&[outcome]).inc();
    }
}
