//! The figures as a table, and what is to be reached.

use std::io::{self, Write};

use benches::harness::median;
use benches::load::{Error, Sample};
use benches::process::Resident;

/// All figures of a run.
pub(crate) struct Report {
    /// As it was before the harness kept itself to one core.
    machine: String,
    rounds: u32,
    seconds: f64,
    connections: u16,
    streams: u16,
    /// Of each round: through the Envoy that asks who always allows, and through the one that asks portcullis.
    through: Vec<Vec<Through>>,
    alone: Vec<Alone>,
    checks: usize,
    resident: Vec<Resident>,
}

/// What one Envoy did in a round.
pub(crate) struct Through {
    throughput: f64,
    p50_us: f64,
    p99_us: f64,
    /// Processor time of the authorizer for a request.
    authorizer_us: f64,
}

/// What portcullis did in a round, asked directly.
pub(crate) struct Alone {
    throughput: f64,
    processor_us: f64,
    busy_p50_us: f64,
    busy_p99_us: f64,
    p50_us: f64,
    p99_us: f64,
}

/// How far the memory after the last part may lie above that after the first, as a share of it.
const FLAT: f64 = 0.05;

impl Through {
    /// `processor` is the authorizer's time in seconds.
    pub(crate) fn new(sample: &Sample, processor: f64) -> Self {
        Self {
            throughput: sample.throughput(),
            p50_us: sample.quantile_us(0.5),
            p99_us: sample.quantile_us(0.99),
            authorizer_us: processor * 1e6 / sample.answered() as f64,
        }
    }
}

impl Alone {
    /// What a closed loop and an open one saw; `processor` is the time in seconds that the closed one cost.
    pub(crate) fn new(closed: &Sample, open: &Sample, processor: f64) -> Self {
        Self {
            throughput: closed.throughput(),
            processor_us: processor * 1e6 / closed.answered() as f64,
            busy_p50_us: closed.quantile_us(0.5),
            busy_p99_us: closed.quantile_us(0.99),
            p50_us: open.quantile_us(0.5),
            p99_us: open.quantile_us(0.99),
        }
    }
}

impl Report {
    pub(crate) fn new(rounds: u32, seconds: f64, connections: u16, streams: u16) -> Self {
        Self {
            machine: benches::process::machine(),
            rounds,
            seconds,
            connections,
            streams,
            through: Vec::new(),
            alone: Vec::new(),
            checks: 0,
            resident: Vec::new(),
        }
    }

    pub(crate) fn through(&mut self, round: Vec<Through>) {
        self.through.push(round);
    }

    pub(crate) fn alone(&mut self, round: Alone) {
        self.alone.push(round);
    }

    /// The memory after each part of so many checks.
    pub(crate) fn memory(&mut self, checks: usize, resident: Vec<Resident>) {
        self.checks = checks;
        self.resident = resident;
    }

    /// Prints everything; whether all is within reach.
    pub(crate) fn print(&self) -> Result<bool, Error> {
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "{}; medians of {} rounds of {} s",
            self.machine, self.rounds, self.seconds
        )?;
        writeln!(
            out,
            "\nthrough Envoy, {:>3} connections   requests/s  authorizer µs  p50 µs  p99 µs",
            self.connections
        )?;
        for (index, name) in ["always OK", "portcullis"].into_iter().enumerate() {
            let of = |figure: fn(&Through) -> f64| self.through_median(index, figure);
            writeln!(
                out,
                "  {name:<30} {:>10.0} {:>14.1} {:>7.0} {:>7.0}",
                of(|one| one.throughput),
                of(|one| one.authorizer_us),
                of(|one| one.p50_us),
                of(|one| one.p99_us)
            )?;
        }
        let of = |figure: fn(&Alone) -> f64| median(self.alone.iter().map(figure).collect());
        writeln!(
            out,
            "\nCheck on one core, {:>3} streams      checks/s  processor µs  p50 µs  p99 µs",
            self.streams
        )?;
        writeln!(
            out,
            "  {:<30} {:>10.0} {:>14.1} {:>7.0} {:>7.0}",
            "closed loop: all it can do",
            of(|one| one.throughput),
            of(|one| one.processor_us),
            of(|one| one.busy_p50_us),
            of(|one| one.busy_p99_us)
        )?;
        writeln!(
            out,
            "  {:<30} {:>10.0} {:>14} {:>7.0} {:>7.0}",
            "open loop at 30 % of that",
            of(|one| one.throughput) * super::OPEN_SHARE,
            "",
            of(|one| one.p50_us),
            of(|one| one.p99_us)
        )?;
        let parts: Vec<String> = self
            .resident
            .iter()
            .map(|one| format!("{:.1}", one.now))
            .collect();
        writeln!(
            out,
            "\nresident MB after each part of {} checks: {}",
            self.checks,
            parts.join(", ")
        )?;

        let ratios = self
            .through
            .iter()
            .filter_map(|round| match round.as_slice() {
                [always, gate] => Some(gate.throughput / always.throughput),
                _ => None,
            });
        let growth = match (self.resident.first(), self.resident.last()) {
            (Some(first), Some(last)) => last.now / first.now - 1.0,
            _ => f64::NAN,
        };
        writeln!(out, "\nto reach")?;
        let mut all = true;
        for (name, value, limit, at_least) in [
            (
                "through Envoy, to always OK",
                median(ratios.collect()),
                0.85,
                true,
            ),
            (
                "checks/s on one core",
                of(|one| one.throughput),
                20_000.0,
                true,
            ),
            ("p50 of a check, µs", of(|one| one.p50_us), 150.0, false),
            ("p99 of a check, µs", of(|one| one.p99_us), 1000.0, false),
            ("growth of memory", growth, FLAT, false),
        ] {
            let holds = if at_least {
                value >= limit
            } else {
                value < limit
            };
            let sign = if at_least { '≥' } else { '<' };
            let verdict = if holds { "yes" } else { "NO" };
            all &= holds;
            writeln!(
                out,
                "  {name:<30} {value:>10.2} {sign} {limit:<8} {verdict}"
            )?;
        }
        Ok(all)
    }

    fn through_median(&self, index: usize, figure: fn(&Through) -> f64) -> f64 {
        let rounds = self.through.iter();
        median(
            rounds
                .filter_map(|round| round.get(index).map(figure))
                .collect(),
        )
    }
}
