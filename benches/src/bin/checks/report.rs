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
    /// Of each round: through the listeners that ask who always allows, who always gives an answer of ours, and portcullis.
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
    /// That of Envoy, which is what the throughput ends at.
    envoy_us: f64,
}

/// What was seen in a round of authorizers that were asked directly.
pub(crate) struct Alone {
    throughput: f64,
    processor_us: f64,
    busy_p50_us: f64,
    busy_p99_us: f64,
    gate: Open,
    always: Open,
}

/// What one authorizer did in an open loop.
pub(crate) struct Open {
    rate: f64,
    processor_us: f64,
    p50_us: f64,
    p99_us: f64,
}

/// How far the memory after the last part may lie above that after the first, as a share of it.
const FLAT: f64 = 0.05;

impl Through {
    /// `authorizer` and `envoy` are their processor times in seconds.
    pub(crate) fn new(sample: &Sample, authorizer: f64, envoy: f64) -> Self {
        let each = |processor: f64| processor * 1e6 / sample.answered() as f64;
        Self {
            throughput: sample.throughput(),
            p50_us: sample.quantile_us(0.5),
            p99_us: sample.quantile_us(0.99),
            authorizer_us: each(authorizer),
            envoy_us: each(envoy),
        }
    }
}

impl Alone {
    /// What portcullis did in a closed loop, which cost `processor` seconds of its time, and both in an open one.
    pub(crate) fn new(closed: &Sample, processor: f64, gate: Open, always: Open) -> Self {
        Self {
            throughput: closed.throughput(),
            processor_us: processor * 1e6 / closed.answered() as f64,
            busy_p50_us: closed.quantile_us(0.5),
            busy_p99_us: closed.quantile_us(0.99),
            gate,
            always,
        }
    }
}

impl Open {
    /// `processor` is the authorizer's time in seconds.
    pub(crate) fn new(sample: &Sample, processor: f64) -> Self {
        Self {
            rate: sample.throughput(),
            processor_us: processor * 1e6 / sample.answered() as f64,
            p50_us: sample.quantile_us(0.5),
            p99_us: sample.quantile_us(0.99),
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
        if !self.through.is_empty() {
            self.print_through(&mut out)?;
        }
        self.print_alone(&mut out)?;
        self.print_goals(&mut out)
    }

    fn print_through(&self, out: &mut impl Write) -> Result<(), Error> {
        writeln!(
            out,
            "\nthrough Envoy, {:>3} connections   requests/s  authorizer µs  p50 µs  p99 µs  Envoy µs",
            self.connections
        )?;
        for (index, name) in ["always OK", "always an answer of ours", "portcullis"]
            .into_iter()
            .enumerate()
        {
            let of = |figure: fn(&Through) -> f64| self.through_median(index, figure);
            let figures = [
                of(|one| one.throughput),
                of(|one| one.authorizer_us),
                of(|one| one.p50_us),
                of(|one| one.p99_us),
            ];
            line(
                out,
                name,
                figures,
                &format!("{:>10.1}", of(|one| one.envoy_us)),
            )?;
        }
        Ok(())
    }

    fn print_alone(&self, out: &mut impl Write) -> Result<(), Error> {
        writeln!(
            out,
            "\nCheck on one core, {:>3} streams      checks/s   processor µs  p50 µs  p99 µs",
            self.streams
        )?;
        let of = |figure: fn(&Alone) -> f64| self.alone_median(figure);
        let closed = [
            of(|one| one.throughput),
            of(|one| one.processor_us),
            of(|one| one.busy_p50_us),
            of(|one| one.busy_p99_us),
        ];
        line(out, "closed loop: all it can do", closed, "")?;
        for (name, authorizer) in [
            (
                "open loop at 30 % of that",
                (|one| &one.gate) as fn(&Alone) -> &Open,
            ),
            ("  the same, always OK", |one| &one.always),
        ] {
            let of = |figure: fn(&Open) -> f64| {
                let rounds = self.alone.iter().map(authorizer);
                median(rounds.map(figure).collect())
            };
            let open = [
                of(|one| one.rate),
                of(|one| one.processor_us),
                of(|one| one.p50_us),
                of(|one| one.p99_us),
            ];
            line(out, name, open, "")?;
        }
        let parts = self.resident.iter();
        let parts: Vec<String> = parts.map(|one| format!("{:.1}", one.now)).collect();
        writeln!(
            out,
            "\nresident MB after each part of {} checks: {}",
            self.checks,
            parts.join(", ")
        )?;
        Ok(())
    }

    fn print_goals(&self, out: &mut impl Write) -> Result<bool, Error> {
        let ratios = self
            .through
            .iter()
            .filter_map(|round| match round.as_slice() {
                [always, _, gate] => Some(gate.throughput / always.throughput),
                _ => None,
            });
        let ratio = median(ratios.collect());
        let growth = match (self.resident.first(), self.resident.last()) {
            (Some(first), Some(last)) => last.now / first.now - 1.0,
            _ => f64::NAN,
        };
        let of = |figure: fn(&Alone) -> f64| self.alone_median(figure);
        let (throughput, p50, p99) = (
            of(|one| one.throughput),
            of(|one| one.gate.p50_us),
            of(|one| one.gate.p99_us),
        );
        let through = ("through Envoy, to always OK", ratio, 0.85, true);
        let direct = [
            ("checks/s on one core", throughput, 20_000.0, true),
            ("p50 of a check, µs", p50, 150.0, false),
            ("p99 of a check, µs", p99, 1000.0, false),
            ("growth of memory", growth, FLAT, false),
        ];
        // Envoy was left out where it has no rounds.
        let goals = (!self.through.is_empty()).then_some(through);
        writeln!(out, "\nto reach")?;
        let mut all = true;
        for (name, value, limit, at_least) in goals.into_iter().chain(direct) {
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
        let rounds = rounds.filter_map(|round| round.get(index).map(figure));
        median(rounds.collect())
    }

    fn alone_median(&self, figure: fn(&Alone) -> f64) -> f64 {
        median(self.alone.iter().map(figure).collect())
    }
}

/// Of a table: how many a second, the authorizer's time for each, the latencies, and what else there is.
fn line(out: &mut impl Write, name: &str, figures: [f64; 4], more: &str) -> Result<(), Error> {
    let [rate, processor, p50, p99] = figures;
    writeln!(
        out,
        "  {name:<30} {rate:>10.0} {processor:>14.1} {p50:>7.0} {p99:>7.0}{more}"
    )?;
    Ok(())
}
