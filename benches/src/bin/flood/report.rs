//! What is said of the figures, and what they have to reach.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::Figures;

/// Something to be held to.
pub(crate) struct Goal {
    pub(crate) what: &'static str,
    pub(crate) figure: f64,
    pub(crate) most: f64,
}

impl Goal {
    pub(crate) fn holds(&self) -> bool {
        self.figure <= self.most
    }
}

/// Fetches that are no kid's doing, at the start; those that kids may cause at once; and the seconds in which one more is
/// allowed. A background fetch each ten minutes is beyond these runs.
const FIRST: usize = 1;
const BURST: usize = 3;
const EARN_EVERY: u64 = 10;
/// An interval, and as much as a fetch may take.
const PICKED_UP_WITHIN: f64 = 13.0;
/// What a good token may take in the middle, in microseconds.
const MEDIAN_US: f64 = 1000.0;
/// What the flood may leave behind in memory, in megabytes.
const GROWTH_MB: f64 = 64.0;

/// All goals, reached or not.
pub(crate) fn goals(figures: &Figures) -> Vec<Goal> {
    let earned = usize::try_from(figures.elapsed.as_secs() / EARN_EVERY).unwrap_or(usize::MAX);
    vec![
        Goal {
            what: "fetches of the issuer's keys",
            figure: figures.fetches as f64,
            most: (FIRST + BURST + earned) as f64,
        },
        Goal {
            what: "seconds until the new key was picked up",
            figure: figures.picked_up.as_secs_f64(),
            most: PICKED_UP_WITHIN,
        },
        Goal {
            what: "median of a good token meanwhile, µs",
            figure: figures.beside.quantile_us(0.5),
            most: MEDIAN_US,
        },
        Goal {
            what: "memory more than before, MB",
            figure: figures.after.now - figures.before.now,
            most: GROWTH_MB,
        },
    ]
}

pub(crate) fn print(figures: &Figures) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let [refused, later] = figures.answers;
    writeln!(out, "{}\n", figures.machine)?;
    writeln!(
        out,
        "unknown keys: {:.0} a second of {} wanted, {} in all: {refused} answered 401, {later} answered 503",
        figures.flood.throughput(),
        figures.wanted,
        figures.flood.answered(),
    )?;
    for (name, sample) in [
        ("a good token alone", &figures.alone),
        ("a good token beside them", &figures.beside),
    ] {
        writeln!(
            out,
            "{name:<26} median {:>7.0} µs, 99 % {:>7.0} µs, worst {:>7.0} µs",
            sample.quantile_us(0.5),
            sample.quantile_us(0.99),
            sample.quantile_us(1.0)
        )?;
    }
    writeln!(
        out,
        "memory: {:.0} MB before, {:.0} MB after (peak {:.0} MB)\n",
        figures.before.now, figures.after.now, figures.after.peak
    )?;
    for goal in goals(figures) {
        let verdict = if goal.holds() { "ok" } else { "MISSED" };
        writeln!(
            out,
            "{:<42} {:>8.1} (at most {}) {verdict}",
            goal.what, goal.figure, goal.most
        )?;
    }
    out.flush()
}

pub(crate) fn json(figures: &Figures) -> Value {
    let [refused, later] = figures.answers;
    let sample = |sample: &benches::load::Sample| {
        json!({
            "requests_per_second": sample.throughput(),
            "median_us": sample.quantile_us(0.5),
            "p99_us": sample.quantile_us(0.99),
        })
    };
    let goals: Vec<Value> = goals(figures)
        .iter()
        .map(|goal| json!({ "what": goal.what, "figure": goal.figure, "most": goal.most, "holds": goal.holds() }))
        .collect();
    json!({
        "machine": figures.machine,
        "wanted": figures.wanted,
        "flood": sample(&figures.flood),
        "answers": { "401": refused, "503": later },
        "alone": sample(&figures.alone),
        "beside": sample(&figures.beside),
        "memory_mb": { "before": figures.before.now, "after": figures.after.now, "peak": figures.after.peak },
        "goals": goals,
    })
}
