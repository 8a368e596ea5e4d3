//! What was measured, and the figures that follow from it.

use benches::harness;
use benches::load::{Error, Sample};
use benches::process::Process;
use benches::process::{Resident, machine_cpu, own_cpu};

use crate::scene::Scene;

/// Everything of one run.
pub(crate) struct Figures {
    pub(crate) machine: String,
    pub(crate) connections: usize,
    pub(crate) tokens: u32,
    pub(crate) seconds: f64,
    /// Requests a second when the upstream is asked directly: the ceiling of harness and upstream.
    pub(crate) alone: f64,
    pub(crate) rounds: Vec<Round>,
    /// The gate's memory before the first request.
    pub(crate) idle: Resident,
    /// The gate's memory after the last request.
    pub(crate) busy: Resident,
    /// The memory of `portcullis dev` after some requests.
    pub(crate) dev: Resident,
}

/// The measurements of one round.
pub(crate) struct Round {
    /// Requests a second of the open loop.
    pub(crate) rate: f64,
    /// Closed loop, bare proxy.
    pub(crate) bare: Measured,
    /// Closed loop, the gate, one token a connection.
    pub(crate) gate: Measured,
    /// Closed loop, the gate, distinct tokens that it has never seen.
    pub(crate) cold: Measured,
    /// Closed loop, the gate, the same tokens once more.
    pub(crate) revisited: Measured,
    /// Open loop, bare proxy.
    pub(crate) open_bare: Measured,
    /// Open loop, the gate, one token a connection.
    pub(crate) open_gate: Measured,
    /// Open loop, the gate, distinct tokens that it has never seen.
    pub(crate) open_cold: Measured,
}

/// A sample, and who used the processor for it.
pub(crate) struct Measured {
    pub(crate) sample: Sample,
    pub(crate) usage: Usage,
}

/// Processor time in seconds over all cores.
pub(crate) struct Usage {
    pub(crate) proxy: f64,
    pub(crate) upstream: f64,
    pub(crate) harness: f64,
    /// Everyone on the machine, other guests of the host included.
    pub(crate) everyone: f64,
}

/// A figure and what it is to reach.
pub(crate) struct Reach {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    pub(crate) limit: Limit,
    pub(crate) unit: &'static str,
}

/// On which side of a number a figure is to lie.
pub(crate) enum Limit {
    AtLeast(f64),
    Below(f64),
}

// === impl Figures ===

impl Figures {
    /// The median over the rounds.
    pub(crate) fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        harness::median(self.rounds.iter().map(figure).collect())
    }

    /// The goals, in the order of the report.
    pub(crate) fn reaches(&self) -> [Reach; 4] {
        let added = |share: f64| {
            self.median(|round| {
                round.open_gate.sample.quantile_us(share)
                    - round.open_bare.sample.quantile_us(share)
            })
        };
        let ratio =
            self.median(|round| round.gate.sample.throughput() / round.bare.sample.throughput());
        [
            Reach {
                name: "throughput, gate to bare",
                value: ratio,
                limit: Limit::AtLeast(0.6),
                unit: "",
            },
            Reach {
                name: "added p50",
                value: added(0.5),
                limit: Limit::Below(150.0),
                unit: "µs",
            },
            Reach {
                name: "added p99",
                value: added(0.99),
                limit: Limit::Below(1000.0),
                unit: "µs",
            },
            Reach {
                name: "memory of dev",
                value: self.dev.now,
                limit: Limit::Below(40.0),
                unit: "MB",
            },
        ]
    }
}

// === impl Measured ===

impl Measured {
    /// Processor time of the proxy, in microseconds a request.
    pub(crate) fn proxy_us(&self) -> f64 {
        self.usage.proxy * 1e6 / self.sample.answered() as f64
    }

    /// The share (0 to 1) of the used processor time that a part of it makes.
    pub(crate) fn share(&self, part: impl Fn(&Usage) -> f64) -> f64 {
        part(&self.usage) / self.usage.everyone
    }
}

// === impl Usage ===

impl Usage {
    /// What was used since each process started.
    pub(crate) fn now(scene: &Scene, proxy: &Process) -> Result<Self, Error> {
        Ok(Self {
            proxy: proxy.cpu()?,
            upstream: scene.upstream.cpu()?,
            harness: own_cpu()?,
            everyone: machine_cpu()?,
        })
    }

    /// What was used since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            proxy: self.proxy - before.proxy,
            upstream: self.upstream - before.upstream,
            harness: self.harness - before.harness,
            everyone: self.everyone - before.everyone,
        }
    }

    /// Everyone but the processes of the measurement: whatever disturbed it.
    pub(crate) fn others(&self) -> f64 {
        (self.everyone - self.proxy - self.upstream - self.harness).max(0.0)
    }
}

// === impl Reach ===

impl Reach {
    /// Whether the figure lies where it should.
    pub(crate) fn holds(&self) -> bool {
        match self.limit {
            Limit::AtLeast(limit) => self.value >= limit,
            Limit::Below(limit) => self.value < limit,
        }
    }
}
