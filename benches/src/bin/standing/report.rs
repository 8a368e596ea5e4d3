//! What is said of the figures, and what they have to reach.

use std::io::{self, Write};

use benches::harness::median;
use serde_json::{Value, json};

use crate::{Figures, Measured};

/// Something to be reached.
pub(crate) struct Goal {
    pub(crate) what: &'static str,
    pub(crate) figure: f64,
    pub(crate) least: f64,
}

impl Goal {
    pub(crate) fn holds(&self) -> bool {
        self.figure >= self.least
    }
}

/// What each gate is called, in the order of a round.
const NAMES: [&str; 3] = ["asks nobody", "sessions in Redis", "status of users"];
/// What the memory after the second pass may be of that after the first: nothing grows for ever.
const GROWTH: f64 = 1.1;

/// All goals, reached or not.
pub(crate) fn goals(figures: &Figures) -> Vec<Goal> {
    let [alone, sessions, users] = throughputs(figures);
    let [_, again] = of_one_token(figures);
    let [first, second] = figures.rotation.after;
    vec![
        Goal {
            what: "sessions in Redis / asks nobody",
            figure: sessions / alone,
            least: 0.5,
        },
        Goal {
            what: "status of users from memory / asks nobody",
            figure: users / alone,
            least: 0.9,
        },
        Goal {
            what: "all tokens once more / one token a connection",
            figure: again,
            least: 0.5,
        },
        Goal {
            what: "memory after all tokens once / twice, times 1.1",
            figure: first.now * GROWTH / second.now,
            least: 1.0,
        },
    ]
}

/// What of one token's throughput is left when all are new, and when each has been seen before.
fn of_one_token(figures: &Figures) -> [f64; 2] {
    let one = figures.rotation.one.sample.throughput();
    let passes = figures.rotation.passes.each_ref();
    passes.map(|pass| pass.sample.throughput() / one)
}

pub(crate) fn progress(round: u32, rounds: u32, measured: &[Measured; 3]) -> io::Result<()> {
    let [alone, sessions, users] = measured.each_ref().map(|one| one.sample.throughput());
    writeln!(
        io::stderr().lock(),
        "round {} of {rounds}: {alone:.0}, {sessions:.0}, {users:.0} requests a second",
        round + 1
    )
}

pub(crate) fn print(figures: &Figures) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}\n", figures.machine)?;
    writeln!(
        out,
        "{:<28} {:>10} {:>10} {:>10}",
        "", "requests/s", "proxy µs", "median µs"
    )?;
    for (index, name) in NAMES.iter().enumerate() {
        let of = |figure: fn(&Measured) -> f64| {
            median(
                figures
                    .rounds
                    .iter()
                    .filter_map(|round| round.get(index))
                    .map(figure)
                    .collect(),
            )
        };
        let rate = of(|one| one.sample.throughput());
        let (cpu, latency) = (of(|one| one.cpu_us), of(|one| one.sample.quantile_us(0.5)));
        writeln!(out, "{name:<28} {rate:>10.0} {cpu:>10.1} {latency:>10.0}")?;
    }
    let rotation = &figures.rotation;
    let [first, second] = &rotation.passes;
    for (name, one) in [
        ("one token a connection", &rotation.one),
        ("new tokens, each once", first),
        ("the same once more", second),
    ] {
        let (rate, latency) = (one.sample.throughput(), one.sample.quantile_us(0.5));
        writeln!(
            out,
            "{name:<28} {rate:>10.0} {:>10.1} {latency:>10.0}",
            one.cpu_us
        )?;
    }
    let [after, again] = rotation.after;
    writeln!(
        out,
        "\nmemory: {:.0} MB before {} tokens, {:.0} MB after them, {:.0} MB after them again (peak {:.0} MB)\n",
        rotation.idle.now, figures.tokens, after.now, again.now, again.peak
    )?;
    let [new, _] = of_one_token(figures);
    let what = "new tokens / one token a connection";
    writeln!(out, "{what:<48} {new:>5.2} (a signature each)")?;
    for goal in goals(figures) {
        let verdict = if goal.holds() { "ok" } else { "MISSED" };
        writeln!(
            out,
            "{:<48} {:>5.2} (at least {}) {verdict}",
            goal.what, goal.figure, goal.least
        )?;
    }
    out.flush()
}

pub(crate) fn json(figures: &Figures) -> Value {
    let measured = |one: &Measured| {
        json!({
            "requests_per_second": one.sample.throughput(),
            "cpu_us": one.cpu_us,
            "median_us": one.sample.quantile_us(0.5),
            "p99_us": one.sample.quantile_us(0.99),
        })
    };
    let rounds: Vec<Value> = figures
        .rounds
        .iter()
        .map(|round| json!(round.iter().map(measured).collect::<Vec<_>>()))
        .collect();
    let rotation = &figures.rotation;
    let goals: Vec<Value> = goals(figures)
        .iter()
        .map(|goal| json!({ "what": goal.what, "figure": goal.figure, "least": goal.least, "holds": goal.holds() }))
        .collect();
    json!({
        "machine": figures.machine,
        "gates": NAMES,
        "rounds": rounds,
        "tokens": figures.tokens,
        "one_token": measured(&rotation.one),
        "passes": rotation.passes.iter().map(measured).collect::<Vec<_>>(),
        "memory_mb": { "idle": rotation.idle.now, "after": rotation.after.map(|one| one.now) },
        "goals": goals,
    })
}

/// The medians of the rounds.
fn throughputs(figures: &Figures) -> [f64; 3] {
    [0, 1, 2].map(|index| {
        let of_gate = figures.rounds.iter().filter_map(|round| round.get(index));
        median(of_gate.map(|one| one.sample.throughput()).collect())
    })
}
