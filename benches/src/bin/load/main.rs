//! The load harness: the gate beside a bare pass-through proxy, in one run.

mod figures;
mod report;
mod scene;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use benches::harness::{self, fail};
use benches::load::{self, Error, Requests, Sample};
use benches::process::Process;
use clap::Parser;

use figures::{Figures, Measured, Round, Usage};
use scene::Scene;

/// The part of the bare proxy's maximum at which latencies are compared.
const OPEN_SHARE: f64 = 0.3;
/// How long each proxy works, unmeasured, before the first round.
const WARM_UP: Duration = Duration::from_millis(500);

/// Measure what the gate costs: drive the real portcullis binary and a bare hyper pass-through
/// proxy in alternation, in front of one upstream on loopback, and print their ratio.
///
/// Build all that is run first with `cargo build --release -p portcullis -p benches`, then start
/// this harness from the root of the repository. Absolute figures depend on the machine and on
/// what else it does; the ratios of one run hold better. About 70 seconds with the defaults.
#[derive(Parser)]
#[command(
    name = "load",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 measured, 1 could not be measured, 2 called wrongly, \
                  3 with --enforce: a figure is out of reach."
)]
struct Args {
    /// The portcullis binary
    #[arg(long, value_name = "FILE", default_value = "target/release/portcullis")]
    gate: PathBuf,
    /// The folder that holds policies/fortress and schemas/fortress.cedarschema
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    root: PathBuf,
    /// Rounds; every figure is the median of them
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of each measurement; a round has four, and two of once through the tokens
    #[arg(long, default_value_t = 2.0, value_parser = harness::seconds)]
    seconds: f64,
    /// Connections to the proxy
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// Distinct tokens of the cold figures
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    tokens: u32,
    /// Also write everything as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Exit with 3 if a figure misses what is to be reached
    #[arg(long)]
    enforce: bool,
}

// One thread: the harness must leave the cores to what it measures.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let figures = match run(&args).await {
        Ok(figures) => figures,
        Err(error) => return fail("load", &error),
    };
    if let Some(path) = &args.json
        && let Err(error) = fs::write(path, format!("{:#}\n", report::json(&figures)))
    {
        let message = format!("cannot write `{}`: {error}", path.display());
        return fail("load", &message.into());
    }
    if args.enforce && figures.reaches().iter().any(|reach| !reach.holds()) {
        return ExitCode::from(3);
    }
    ExitCode::SUCCESS
}

async fn run(args: &Args) -> Result<Figures, Error> {
    let scene = Scene::start(&args.gate, &args.root)?;
    let connections = usize::from(args.connections);
    let duration = Duration::from_secs_f64(args.seconds);
    let warm = scene.requests("warm", args.connections.into());
    let again = Arc::new(Requests::repeated(warm));
    let idle = scene.gate.resident()?;

    let alone = load::closed(scene.upstream_at, &again, connections, WARM_UP).await?;
    for at in [scene.bare_at, scene.gate_at] {
        load::closed(at, &again, connections, WARM_UP).await?;
    }

    let mut rounds: Vec<Round> = Vec::new();
    for number in 0..args.rounds {
        let new_tokens = |kind: &str| {
            Arc::new(Requests::once(
                scene.requests(&format!("{kind}-{number}"), args.tokens),
            ))
        };
        let (first, second) = (new_tokens("closed"), new_tokens("open"));
        let saturate = async |proxy, at, requests| {
            measure(
                &scene,
                proxy,
                load::closed(at, requests, connections, duration),
            )
            .await
        };

        let (bare, gate) = alternate(
            number,
            async || saturate(&scene.bare, scene.bare_at, &again).await,
            async || saturate(&scene.gate, scene.gate_at, &again).await,
        )
        .await?;
        let whole = Duration::from_secs(60);
        let through = async || {
            measure(
                &scene,
                &scene.gate,
                load::closed(scene.gate_at, &first, connections, whole),
            )
            .await
        };
        let cold = through().await?;
        let revisited = through().await?;

        // The rate of all rounds stays that of the first, or their latencies would not compare.
        let rate = rounds
            .first()
            .map_or(bare.sample.throughput() * OPEN_SHARE, |round| round.rate);
        let schedule = async |proxy, at, requests| {
            measure(
                &scene,
                proxy,
                load::open(at, requests, connections, rate, duration),
            )
            .await
        };
        let (open_bare, open_gate) = alternate(
            number,
            async || schedule(&scene.bare, scene.bare_at, &again).await,
            async || schedule(&scene.gate, scene.gate_at, &again).await,
        )
        .await?;
        let open_cold = schedule(&scene.gate, scene.gate_at, &second).await?;

        let round = Round {
            rate,
            bare,
            gate,
            cold,
            revisited,
            open_bare,
            open_gate,
            open_cold,
        };
        report::progress(number, args.rounds, &round)?;
        rounds.push(round);
    }

    let busy = scene.gate.resident()?;
    drop(scene);
    let figures = Figures {
        machine: benches::process::machine(),
        connections,
        tokens: args.tokens,
        seconds: args.seconds,
        alone: alone.throughput(),
        rounds,
        idle,
        busy,
        dev: scene::memory_of_dev(&args.gate, &args.root).await?,
    };
    report::print(&figures)?;
    Ok(figures)
}

/// Runs a measurement and notes who used the processor meanwhile.
async fn measure(
    scene: &Scene,
    proxy: &Process,
    work: impl Future<Output = Result<Sample, Error>>,
) -> Result<Measured, Error> {
    let before = Usage::now(scene, proxy)?;
    let sample = work.await?;
    let usage = Usage::now(scene, proxy)?.since(&before);
    Ok(Measured { sample, usage })
}

/// Bare first in even rounds, the gate first in odd ones, so that a drift of the machine favours
/// neither.
async fn alternate<T>(
    round: u32,
    bare: impl AsyncFnOnce() -> Result<T, Error>,
    gate: impl AsyncFnOnce() -> Result<T, Error>,
) -> Result<(T, T), Error> {
    if round.is_multiple_of(2) {
        let bare = bare().await?;
        Ok((bare, gate().await?))
    } else {
        let gate = gate().await?;
        Ok((bare().await?, gate))
    }
}
