//! The figures as a table, and what is to be reached.

use std::io::{self, Write};

use benches::harness::median;
use benches::load::{Error, Sample};

use crate::servers::AHEAD;

/// Our own name.
const OURS: &str = "portcullis";

/// What is to be reached, of portcullis to a peer: at how many policies, by which figure.
const REACHES: [(usize, &str, Figure, f64); 5] = [
    (2, "bare hyper", Figure::Throughput, 0.6),
    (2, "cedar-agent", Figure::Throughput, 3.0),
    (1000, "cedar-agent", Figure::Throughput, 100.0),
    (2, "Cerbos", Figure::Throughput, 15.0),
    (2, "Cerbos", Figure::Tail, 5.0),
];

/// The figures of one server with one set of policies.
pub(crate) struct Measured {
    name: &'static str,
    cold: Round,
    /// One question at a time on each connection, which is what counts.
    warm: Vec<Round>,
    /// Several ahead on each connection.
    ahead: Vec<Round>,
}

struct Round {
    throughput: f64,
    p50_us: f64,
    p99_us: f64,
    /// Processor time of the server, and of the harness, in microseconds a question.
    server_us: f64,
    harness_us: f64,
}

/// All figures of a run.
#[derive(Default)]
pub(crate) struct Report {
    parts: Vec<(usize, Vec<&'static str>, Vec<Measured>)>,
}

#[derive(Clone, Copy)]
enum Figure {
    /// Questions a second: ours to theirs.
    Throughput,
    /// 99th percentile: theirs to ours.
    Tail,
}

impl Report {
    /// Takes in what was measured with so many policies, and who was missing.
    pub(crate) fn add(
        &mut self,
        policies: usize,
        missing: Vec<&'static str>,
        measured: Vec<Measured>,
    ) {
        self.parts.push((policies, missing, measured));
    }

    /// Prints everything; whether all that could be measured is within reach.
    pub(crate) fn print(&self, connections: u16, rounds: u32, seconds: f64) -> Result<bool, Error> {
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "{}; {connections} connections; warm: medians of {rounds} rounds of {seconds} s; cold: 10000 questions once",
            benches::process::machine()
        )?;
        for (policies, missing, measured) in &self.parts {
            writeln!(
                out,
                "\n{:<22} {:>12} {:>8} {:>11} {:>7} {:>7} {:>13} {:>8} {:>7}",
                format!("{policies} policies"),
                "questions/s",
                "cpu µs",
                "harness µs",
                "p50 µs",
                "p99 µs",
                "cold, per s",
                "p50 µs",
                "p99 µs"
            )?;
            for one in measured {
                writeln!(
                    out,
                    "  {:<20} {:>12.0} {:>8.1} {:>11.1} {:>7.0} {:>7.0} {:>13.0} {:>8.0} {:>7.0}",
                    one.name,
                    one.median(|round| round.throughput),
                    one.median(|round| round.server_us),
                    one.median(|round| round.harness_us),
                    one.median(|round| round.p50_us),
                    one.median(|round| round.p99_us),
                    one.cold.throughput,
                    one.cold.p50_us,
                    one.cold.p99_us,
                )?;
            }
            for name in missing {
                writeln!(out, "  {name:<20} not installed: benches/peers installs it")?;
            }
        }
        self.print_ahead(&mut out)?;
        writeln!(
            out,
            "\nto reach, with one question at a time on a connection"
        )?;
        let mut all = true;
        for (policies, peer, figure, limit) in REACHES {
            let name = match figure {
                Figure::Throughput => format!("throughput to {peer}'s, {policies} policies"),
                Figure::Tail => format!("{peer}'s p99 to ours, {policies} policies"),
            };
            let Some(value) = self.ratio(policies, peer, figure) else {
                writeln!(out, "  {name:<42} not measured")?;
                continue;
            };
            all &= value >= limit;
            let verdict = if value >= limit { "yes" } else { "NO" };
            writeln!(out, "  {name:<42} {value:>8.2} ≥ {limit:<5} {verdict}")?;
        }
        Ok(all)
    }

    /// The other view: all servers alike get several questions ahead, so that neither they nor the harness have to
    /// turn to the kernel for each.
    fn print_ahead(&self, out: &mut impl Write) -> Result<(), Error> {
        for (policies, _, measured) in &self.parts {
            writeln!(
                out,
                "\n{:<38} {:>12} {:>8} {:>11} {:>7} {:>7} {:>8}",
                format!("{policies} policies, {AHEAD} questions ahead"),
                "questions/s",
                "cpu µs",
                "harness µs",
                "p50 µs",
                "p99 µs",
                "to ours"
            )?;
            let throughput = |one: &Measured| median_of(&one.ahead, |round| round.throughput);
            let ours = measured.iter().find(|one| one.name == OURS).map(throughput);
            for one in measured {
                writeln!(
                    out,
                    "  {:<36} {:>12.0} {:>8.1} {:>11.1} {:>7.0} {:>7.0} {:>8.2}",
                    one.name,
                    throughput(one),
                    median_of(&one.ahead, |round| round.server_us),
                    median_of(&one.ahead, |round| round.harness_us),
                    median_of(&one.ahead, |round| round.p50_us),
                    median_of(&one.ahead, |round| round.p99_us),
                    ours.unwrap_or(f64::NAN) / throughput(one),
                )?;
            }
        }
        Ok(())
    }

    fn ratio(&self, policies: usize, peer: &str, figure: Figure) -> Option<f64> {
        let (_, _, measured) = self.parts.iter().find(|part| part.0 == policies)?;
        let of = |name: &str| measured.iter().find(|one| one.name == name);
        let (ours, theirs) = (of(OURS)?, of(peer)?);
        Some(match figure {
            Figure::Throughput => {
                ours.median(|round| round.throughput) / theirs.median(|round| round.throughput)
            }
            Figure::Tail => theirs.median(|round| round.p99_us) / ours.median(|round| round.p99_us),
        })
    }
}

impl Measured {
    /// A server of which only the cold figure is known yet.
    pub(crate) fn new(name: &'static str, cold: &Sample) -> Self {
        Self {
            name,
            cold: Round::of(cold, 0.0, 0.0),
            warm: Vec::new(),
            ahead: Vec::new(),
        }
    }

    /// Takes in a warm round with so many questions ahead on each connection, and the seconds of processor time that
    /// the server and the harness used for it.
    pub(crate) fn warm(&mut self, ahead: usize, sample: &Sample, server: f64, harness: f64) {
        let rounds = match ahead {
            1 => &mut self.warm,
            _ => &mut self.ahead,
        };
        rounds.push(Round::of(sample, server, harness));
    }

    fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median_of(&self.warm, figure)
    }
}

fn median_of(rounds: &[Round], figure: impl Fn(&Round) -> f64) -> f64 {
    median(rounds.iter().map(figure).collect())
}

impl Round {
    fn of(sample: &Sample, server: f64, harness: f64) -> Self {
        let each = |seconds: f64| seconds * 1e6 / sample.answered() as f64;
        Self {
            server_us: each(server),
            harness_us: each(harness),
            throughput: sample.throughput(),
            p50_us: sample.quantile_us(0.5),
            p99_us: sample.quantile_us(0.99),
        }
    }
}
