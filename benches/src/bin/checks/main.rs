//! External authorization: through a real Envoy beside an authorizer that always allows, and by itself.

mod envoy;
mod report;
mod scene;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use benches::checks::{self, check};
use benches::harness::{self, fail};
use benches::load::{self, Error, Requests};
use benches::process::Resident;
use clap::Parser;

use report::{Alone, Open, Report, Through};
use scene::{Authorizer, Scene};

/// How long each server works, unmeasured, before the first round.
const WARM_UP: Duration = Duration::from_millis(500);
/// The longest that the checks of the memory figure may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// The part of what it can do at which the latencies of the authorizer are looked at.
const OPEN_SHARE: f64 = 0.3;
/// In so many parts the memory figure is taken.
const PARTS: u32 = 4;

/// Measure what external authorization costs: drive a real Envoy that asks portcullis and, on
/// another listener, a server which always allows, in alternation; then portcullis alone on one
/// core, as Envoy would ask it; then its memory over a million checks.
///
/// Build all that is run first with `cargo build --release -p portcullis -p benches`, install
/// Envoy with `tests/run --install`, then start this from the root of the repository. About two
/// minutes with the defaults.
#[derive(Parser)]
#[command(
    name = "checks",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 measured, 1 could not be measured, 2 called wrongly, \
                  3 with --enforce: a figure is out of reach."
)]
struct Args {
    /// The portcullis binary
    #[arg(long, value_name = "FILE", default_value = "target/release/portcullis")]
    portcullis: PathBuf,
    /// The Envoy binary
    #[arg(long, value_name = "FILE", default_value = "tests/.venv/bin/envoy")]
    envoy: PathBuf,
    /// The folder that holds policies/fortress and schemas/fortress.cedarschema
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    root: PathBuf,
    /// Rounds; every figure is the median of them
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of each measurement; a round has five
    #[arg(long, default_value_t = 2.0, value_parser = harness::seconds)]
    seconds: f64,
    /// Connections to Envoy
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// Checks in flight when portcullis is asked directly
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=100))]
    streams: u16,
    /// Checks of the memory figure
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1000..=100_000_000))]
    checks: u32,
    /// Leave Envoy out: only portcullis, asked directly
    #[arg(long)]
    direct: bool,
    /// Exit with 3 if a figure misses what is to be reached
    #[arg(long)]
    enforce: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let report = match run(&args) {
        Ok(report) => report,
        Err(error) => return fail("checks", &error),
    };
    match report.print() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) if args.enforce => ExitCode::from(3),
        Ok(false) => ExitCode::SUCCESS,
        Err(error) => fail("checks", &error),
    }
}

fn run(args: &Args) -> Result<Report, Error> {
    let scene = Scene::new(&args.root)?;
    let mut report = Report::new(args.rounds, args.seconds, args.connections, args.streams);
    if !args.direct {
        through(args, &scene, &mut report)?;
    }
    alone(args, &scene, &mut report)?;
    Ok(report)
}

/// The same requests through an Envoy with three listeners, in turn: the second one's authorizer gives everybody an answer
/// of ours, which says what of the difference is Envoy's work with it.
fn through(args: &Args, scene: &Scene, report: &mut Report) -> Result<(), Error> {
    let duration = Duration::from_secs_f64(args.seconds);
    let connections = usize::from(args.connections);
    let upstream = scene.upstream()?;
    let (always, gate) = (
        scene.always(None)?,
        scene.portcullis(&args.portcullis, None)?,
    );
    let ours = match calls(scene, 1).first() {
        Some(call) => checks::answer(gate.at, call)?,
        None => checks::allowed(),
    };
    let same = scene.always_this(&ours)?;
    let authorizers = [&always, &same, &gate];
    let envoy = envoy::start(
        &args.envoy,
        &authorizers.map(|authorizer| authorizer.at),
        upstream.at,
    )?;
    let heads = scene.heads(args.connections.into());
    let requests = Requests::repeated(heads);
    for front in &envoy.at {
        load::polled(*front, &requests, connections, 1, WARM_UP)?;
    }
    for _ in 0..args.rounds {
        let mut round = Vec::with_capacity(authorizers.len());
        for (front, authorizer) in envoy.at.iter().zip(authorizers) {
            let before = (authorizer.process.cpu()?, envoy.process.cpu()?);
            let sample = load::polled(*front, &requests, connections, 1, duration)?;
            let authorizer = authorizer.process.cpu()? - before.0;
            let envoy = envoy.process.cpu()? - before.1;
            round.push(Through::new(&sample, authorizer, envoy));
        }
        report.through(round);
    }
    Ok(())
}

/// So many calls, each about another user who reads their own profile.
fn calls(scene: &Scene, count: u32) -> Vec<Vec<u8>> {
    let tokens = scene.tokens(count).into_iter();
    let calls = tokens.map(|(user, token)| check(&format!("/v1/users/{user}"), &token));
    calls.collect()
}

/// Portcullis alone: on the first core where there is more than one, the harness on another. Then at the same rate the
/// server that always allows, for what of a latency is the call and the machine.
fn alone(args: &Args, scene: &Scene, report: &mut Report) -> Result<(), Error> {
    let duration = Duration::from_secs_f64(args.seconds);
    let streams = usize::from(args.streams);
    let gate = scene.portcullis(&args.portcullis, Some(scene::FIRST_CORE))?;
    let always = scene.always(Some(scene::FIRST_CORE))?;
    scene::move_to(scene::SECOND_CORE)?;
    let few = calls(scene, args.streams.into());
    let again = || few.iter().cycle().map(Vec::as_slice);
    for authorizer in [&gate, &always] {
        checks::closed(authorizer.at, again(), streams, WARM_UP)?;
    }
    for _ in 0..args.rounds {
        let before = gate.process.cpu()?;
        let closed = checks::closed(gate.at, again(), streams, duration)?;
        let cpu = gate.process.cpu()? - before;
        let rate = closed.throughput() * OPEN_SHARE;
        let open = |authorizer: &Authorizer| -> Result<Open, Error> {
            let before = authorizer.process.cpu()?;
            let sample = checks::open(authorizer.at, again(), streams, rate, duration)?;
            Ok(Open::new(&sample, authorizer.process.cpu()? - before))
        };
        report.alone(Alone::new(&closed, cpu, open(&gate)?, open(&always)?));
    }

    // All of these tokens are remembered, so that what is kept of them is kept from the first part on.
    let many = calls(scene, 10_000);
    let mut resident: Vec<Resident> = Vec::new();
    let mut done = 0;
    for _ in 0..PARTS {
        let part = usize::try_from(args.checks / PARTS)?;
        done += part;
        let part = many.iter().cycle().take(part).map(Vec::as_slice);
        checks::closed(gate.at, part, streams, PATIENCE)?;
        resident.push(gate.process.resident()?);
    }
    report.memory(done, resident);
    Ok(())
}
