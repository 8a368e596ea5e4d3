//! The figures as a table and as JSON.

use std::io::{self, Write};

use benches::process::Resident;
use serde_json::{Value, json};

use crate::figures::{Figures, Limit, Measured, Round, Usage};

/// A share of others above which a run says more about them.
const DISTURBED: f64 = 0.1;

/// One line when a round is over, on standard error.
pub(crate) fn progress(number: u32, rounds: u32, round: &Round) -> io::Result<()> {
    let (bare, gate) = (
        round.bare.sample.throughput(),
        round.gate.sample.throughput(),
    );
    writeln!(
        io::stderr().lock(),
        "round {} of {rounds}: bare {bare:.0}/s, gate {gate:.0}/s, ratio {:.2}",
        number + 1,
        gate / bare
    )
}

/// The table, on standard output.
pub(crate) fn print(figures: &Figures) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let rounds = figures.rounds.len();
    let Figures {
        machine,
        connections,
        tokens,
        seconds,
        alone,
        ..
    } = figures;
    writeln!(
        out,
        "{machine}; {connections} connections; medians of {rounds} rounds of {seconds} s"
    )?;
    writeln!(out, "harness and upstream alone: {alone:.0} requests/s")?;

    writeln!(
        out,
        "\nclosed loop                      requests/s  to bare  proxy µs  p50 µs  p99 µs"
    )?;
    closed(&mut out, figures, "bare pass-through", |round| &round.bare)?;
    closed(&mut out, figures, "gate, a token a connection", |round| {
        &round.gate
    })?;
    closed(
        &mut out,
        figures,
        &format!("gate, {tokens} new tokens"),
        |round| &round.cold,
    )?;
    closed(&mut out, figures, "gate, the same tokens again", |round| {
        &round.revisited
    })?;

    let rate = figures.median(|round| round.rate);
    let head = format!("open loop, {rate:.0} requests/s");
    writeln!(out, "\n{head:<33}    p50 µs   p99 µs  p99.9 µs")?;
    open(&mut out, figures, "bare pass-through", |round, share| {
        round.open_bare.sample.quantile_us(share)
    })?;
    open(
        &mut out,
        figures,
        "gate, a token a connection",
        |round, share| round.open_gate.sample.quantile_us(share),
    )?;
    open(
        &mut out,
        figures,
        "gate, every token new",
        |round, share| round.open_cold.sample.quantile_us(share),
    )?;
    open(&mut out, figures, "added", |round, share| {
        round.open_gate.sample.quantile_us(share) - round.open_bare.sample.quantile_us(share)
    })?;
    open(
        &mut out,
        figures,
        "added, every token new",
        |round, share| {
            round.open_cold.sample.quantile_us(share) - round.open_bare.sample.quantile_us(share)
        },
    )?;

    writeln!(
        out,
        "\nmemory                               resident MB  peak MB"
    )?;
    memory(&mut out, "gate, before the first request", figures.idle)?;
    memory(&mut out, "gate, after the last", figures.busy)?;
    memory(&mut out, "portcullis dev", figures.dev)?;

    writeln!(
        out,
        "\nshares of the used processor time   proxy  upstream  harness  others"
    )?;
    shares(&mut out, figures, "bare pass-through", |round| &round.bare)?;
    shares(&mut out, figures, "gate, a token a connection", |round| {
        &round.gate
    })?;

    writeln!(out, "\nto reach")?;
    for reach in figures.reaches() {
        let (sign, limit) = match reach.limit {
            Limit::AtLeast(limit) => ("≥", limit),
            Limit::Below(limit) => ("<", limit),
        };
        let (verdict, unit) = (if reach.holds() { "yes" } else { "NO" }, reach.unit);
        writeln!(
            out,
            "  {:<28} {:>9.2} {sign} {limit} {unit:<3} {verdict}",
            reach.name, reach.value
        )?;
    }
    let others = figures.median(|round| round.gate.share(Usage::others));
    if others > DISTURBED {
        writeln!(
            out,
            "\nothers used the machine too: repeat this on a quiet one"
        )?;
    }
    Ok(())
}

/// Medians, goals, and each round's own figures.
pub(crate) fn json(figures: &Figures) -> Value {
    let reaches: Vec<Value> = figures
        .reaches()
        .iter()
        .map(|reach| json!({ "name": reach.name, "value": reach.value, "unit": reach.unit, "holds": reach.holds() }))
        .collect();
    let resident = |memory: Resident| json!({ "now_mb": memory.now, "peak_mb": memory.peak });
    let rounds: Vec<Value> = figures
        .rounds
        .iter()
        .map(|round| {
            json!({
                "open_loop_rate": round.rate,
                "bare": measured(&round.bare),
                "gate": measured(&round.gate),
                "gate_new_tokens": measured(&round.cold),
                "gate_tokens_again": measured(&round.revisited),
                "open_bare": measured(&round.open_bare),
                "open_gate": measured(&round.open_gate),
                "open_gate_new_tokens": measured(&round.open_cold),
            })
        })
        .collect();
    json!({
        "machine": figures.machine,
        "connections": figures.connections,
        "tokens": figures.tokens,
        "seconds": figures.seconds,
        "alone_rps": figures.alone,
        "to_reach": reaches,
        "memory": {
            "gate_idle": resident(figures.idle),
            "gate_busy": resident(figures.busy),
            "dev": resident(figures.dev),
        },
        "rounds": rounds,
    })
}

fn measured(measured: &Measured) -> Value {
    let Measured { sample, usage } = measured;
    json!({
        "answered": sample.answered(),
        "rps": sample.throughput(),
        "p50_us": sample.quantile_us(0.5),
        "p99_us": sample.quantile_us(0.99),
        "p999_us": sample.quantile_us(0.999),
        "max_us": sample.quantile_us(1.0),
        "cpu_s": {
            "proxy": usage.proxy,
            "upstream": usage.upstream,
            "harness": usage.harness,
            "others": usage.others(),
        },
    })
}

fn closed(
    out: &mut impl Write,
    figures: &Figures,
    name: &str,
    of: impl Fn(&Round) -> &Measured,
) -> io::Result<()> {
    writeln!(
        out,
        "  {name:<30} {:>10.0} {:>8.2} {:>9.1} {:>7.0} {:>7.0}",
        figures.median(|round| of(round).sample.throughput()),
        figures.median(|round| of(round).sample.throughput() / round.bare.sample.throughput()),
        figures.median(|round| of(round).proxy_us()),
        figures.median(|round| of(round).sample.quantile_us(0.5)),
        figures.median(|round| of(round).sample.quantile_us(0.99)),
    )
}

fn open(
    out: &mut impl Write,
    figures: &Figures,
    name: &str,
    of: impl Fn(&Round, f64) -> f64,
) -> io::Result<()> {
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| figures.median(|round| of(round, share)));
    writeln!(out, "  {name:<30} {p50:>10.0} {p99:>8.0} {p999:>9.0}")
}

fn memory(out: &mut impl Write, name: &str, memory: Resident) -> io::Result<()> {
    writeln!(
        out,
        "  {name:<34} {:>11.1} {:>8.1}",
        memory.now, memory.peak
    )
}

fn shares(
    out: &mut impl Write,
    figures: &Figures,
    name: &str,
    of: impl Fn(&Round) -> &Measured,
) -> io::Result<()> {
    let share = |part: fn(&Usage) -> f64| 100.0 * figures.median(|round| of(round).share(part));
    writeln!(
        out,
        "  {name:<32} {:>5.0}% {:>8.0}% {:>7.0}% {:>6.0}%",
        share(|usage| usage.proxy),
        share(|usage| usage.upstream),
        share(|usage| usage.harness),
        share(Usage::others),
    )
}
