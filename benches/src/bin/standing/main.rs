//! What it costs to know who is calling, and whether they are still welcome: the gate that asks nobody, the gates that
//! ask Redis and a user pool, and the gate that meets 100,000 tokens, in one run.

mod report;
mod scene;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use benches::harness::{self, fail};
use benches::load::{self, Error, Requests, Sample};
use benches::process::{Process, Resident};
use clap::Parser;

use scene::{Gate, Scene};

/// How long each gate works, unmeasured, before the first round.
const WARM_UP: Duration = Duration::from_millis(500);
/// Longest time that one pass through all tokens may take.
const PASS: Duration = Duration::from_secs(300);

/// Measure what sessions in Redis, the status of users and many tokens cost the gate.
///
/// Starts portcullis four times in front of one upstream on loopback: asking nobody, asking a real
/// redis-server about each request's session, asking a user pool about users, and once more for
/// the tokens, so that its memory is theirs. Build all that is run first with
/// `cargo build --release -p portcullis -p benches`, then start this harness from the root of the
/// repository. About 90 seconds with the defaults.
#[derive(Parser)]
#[command(
    name = "standing",
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
    /// The redis-server binary
    #[arg(long, value_name = "FILE", default_value = "redis-server")]
    redis: PathBuf,
    /// Rounds; every figure is the median of them
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of each measurement; a round has three
    #[arg(long, default_value_t = 2.0, value_parser = harness::seconds)]
    seconds: f64,
    /// Connections to the gate
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// Distinct tokens in rotation
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    tokens: u32,
    /// Also write everything as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Exit with 3 if a figure misses what is to be reached
    #[arg(long)]
    enforce: bool,
}

/// What was measured.
pub(crate) struct Figures {
    pub(crate) machine: String,
    pub(crate) tokens: u32,
    /// One for each round: asking nobody, Redis, the user pool.
    pub(crate) rounds: Vec<[Measured; 3]>,
    pub(crate) rotation: Rotation,
}

/// One measurement of one gate.
pub(crate) struct Measured {
    pub(crate) sample: Sample,
    /// Processor time of the gate for each request, in microseconds.
    pub(crate) cpu_us: f64,
}

/// Many tokens, each in its turn.
pub(crate) struct Rotation {
    /// One token, over and over.
    pub(crate) one: Measured,
    /// All tokens, none of which was seen before, and all of them once more.
    pub(crate) passes: [Measured; 2],
    /// Memory before the first of them, and after each pass.
    pub(crate) idle: Resident,
    pub(crate) after: [Resident; 2],
}

// One thread: the harness must leave the cores to what it measures.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let figures = match run(&args).await {
        Ok(figures) => figures,
        Err(error) => return fail("standing", &error),
    };
    if let Some(path) = &args.json
        && let Err(error) = fs::write(path, format!("{:#}\n", report::json(&figures)))
    {
        let message = format!("cannot write `{}`: {error}", path.display());
        return fail("standing", &message.into());
    }
    if args.enforce && report::goals(&figures).iter().any(|goal| !goal.holds()) {
        return ExitCode::from(3);
    }
    ExitCode::SUCCESS
}

async fn run(args: &Args) -> Result<Figures, Error> {
    let scene = Scene::start(&args.gate, &args.root, &args.redis).await?;
    let connections = usize::from(args.connections);
    let duration = Duration::from_secs_f64(args.seconds);
    let heads = scene.requests("warm", args.connections.into());
    scene.open_sessions("warm", args.connections.into()).await?;
    let warm = Arc::new(Requests::repeated(heads));
    let gates = [&scene.alone, &scene.sessions, &scene.users];
    for gate in gates {
        load::closed(gate.at, &warm, connections, WARM_UP).await?;
    }

    let mut rounds = Vec::new();
    for round in 0..args.rounds {
        // Forwards and backwards, so that a drift of the machine favours none.
        let mut measured = [const { None }; 3];
        let mut order = [0, 1, 2];
        if !round.is_multiple_of(2) {
            order.reverse();
        }
        for index in order {
            if let (Some(gate), Some(place)) = (gates.get(index), measured.get_mut(index)) {
                *place = Some(measure(gate, &warm, connections, duration).await?);
            }
        }
        let [Some(alone), Some(sessions), Some(users)] = measured else {
            return Err("a round was not measured".into());
        };
        let round_of_three = [alone, sessions, users];
        report::progress(round, args.rounds, &round_of_three)?;
        rounds.push(round_of_three);
    }

    let rotation = rotate(&scene, args.tokens, connections, duration).await?;
    let figures = Figures {
        machine: benches::process::machine(),
        tokens: args.tokens,
        rounds,
        rotation,
    };
    report::print(&figures)?;
    Ok(figures)
}

/// One token for as long as a measurement takes, then all of them twice.
async fn rotate(
    scene: &Scene,
    tokens: u32,
    connections: usize,
    duration: Duration,
) -> Result<Rotation, Error> {
    let gate = &scene.many;
    let one = Arc::new(Requests::repeated(
        scene.requests("one", u32::try_from(connections)?),
    ));
    load::closed(gate.at, &one, connections, WARM_UP).await?;
    let one = measure(gate, &one, connections, duration).await?;
    let all = Arc::new(Requests::once(scene.requests("many", tokens)));
    let idle = gate.process.resident()?;
    let first = measure(gate, &all, connections, PASS).await?;
    let after_first = gate.process.resident()?;
    let second = measure(gate, &all, connections, PASS).await?;
    let after_second = gate.process.resident()?;
    for pass in [&first, &second] {
        if pass.sample.answered() < u64::from(tokens) {
            return Err("not all tokens were shown within the time".into());
        }
    }
    Ok(Rotation {
        one,
        passes: [first, second],
        idle,
        after: [after_first, after_second],
    })
}

async fn measure(
    gate: &Gate,
    requests: &Arc<Requests>,
    connections: usize,
    duration: Duration,
) -> Result<Measured, Error> {
    let used = |process: &Process| process.cpu();
    let before = used(&gate.process)?;
    let sample = load::closed(gate.at, requests, connections, duration).await?;
    let seconds = used(&gate.process)? - before;
    let cpu_us = seconds * 1e6 / sample.answered().max(1) as f64;
    Ok(Measured { sample, cpu_us })
}
