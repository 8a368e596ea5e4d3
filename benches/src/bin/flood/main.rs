//! Tokens that name keys which nobody has, thousands a second: what they cost the issuer, the callers whose tokens are
//! good, and a rotation that comes in the middle of it.

mod issuer;
mod junk;
mod report;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use benches::fortress::{Fortress, own_profile};
use benches::harness::{self, beside, fail};
use benches::load::{self, Error, Requests, Sample};
use benches::process::{Process, Resident};
use clap::Parser;
use dev_issuer::{Algorithm, SigningKey};
use serde_json::json;

use issuer::Issuer;
use junk::Junk;

/// How often a second a good token is shown meanwhile.
const GOOD_RATE: f64 = 200.0;
/// How often somebody with the new key tries.
const TRY_EVERY: Duration = Duration::from_millis(20);
/// HTTP/2 connections and streams of each that the flood comes by: refusals end a connection of HTTP/1.
const CONNECTIONS: usize = 4;
const STREAMS: usize = 32;

/// Flood the gate with key ids that nobody knows.
///
/// Starts portcullis before an upstream and an issuer whose keys are fetched over HTTP. A good token is shown all the
/// time, first alone and then beside the flood; half way through the flood the issuer publishes a new key. Build all
/// that is run first with `cargo build --release -p portcullis -p benches`, then start this harness from the root of the
/// repository. About 40 seconds with the defaults.
#[derive(Parser)]
#[command(
    name = "flood",
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
    /// Tokens with unknown key ids a second
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    rate: u32,
    /// Seconds of the flood; a quarter of it comes before, without
    #[arg(long, default_value_t = 30.0, value_parser = harness::seconds)]
    seconds: f64,
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
    pub(crate) wanted: u32,
    /// The good token, alone and beside the flood.
    pub(crate) alone: Sample,
    pub(crate) beside: Sample,
    /// The tokens with unknown key ids, as answered.
    pub(crate) flood: Sample,
    /// Of those: 401, 503.
    pub(crate) answers: [u64; 2],
    /// How often the issuer was asked in all, and in how many seconds.
    pub(crate) fetches: usize,
    pub(crate) elapsed: Duration,
    /// From the publication of the new key to the first request that it got in.
    pub(crate) picked_up: Duration,
    pub(crate) before: Resident,
    pub(crate) after: Resident,
}

// One thread, and one for the good token: the harness must leave the cores to what it measures.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let figures = match run(&args).await {
        Ok(figures) => figures,
        Err(error) => return fail("flood", &error),
    };
    if let Some(path) = &args.json
        && let Err(error) = fs::write(path, format!("{:#}\n", report::json(&figures)))
    {
        let message = format!("cannot write `{}`: {error}", path.display());
        return fail("flood", &message.into());
    }
    if args.enforce && report::goals(&figures).iter().any(|goal| !goal.holds()) {
        return ExitCode::from(3);
    }
    ExitCode::SUCCESS
}

async fn run(args: &Args) -> Result<Figures, Error> {
    let fortress = Fortress::new(&args.root)?;
    let issuer = Issuer::start(&fortress.keys(&[])).await?;
    let upstream = Process::start(beside("upstream")?, "upstream: listening on ")?;
    let upstream_at = upstream.address("upstream: listening on ")?;
    let mut configuration = fortress.configuration(&["proxy", "telemetry"], Some(upstream_at));
    if let Some(jwks) = configuration.pointer_mut("/issuers/0/jwks") {
        *jwks = json!({ "url": issuer.url() });
    }
    let mut command = Command::new(harness::existing(&args.gate)?);
    command
        .args(["serve", "-c"])
        .arg(fortress.write("flood", &configuration)?);
    let started = Instant::now();
    let gate = tokio::task::spawn_blocking(|| Process::start(command, "portcullis: ready"));
    let gate = gate.await??;
    let at = gate.address("portcullis: proxy listening on ")?;

    let good = fortress.token("rita", &[]);
    let shown = Arc::new(Requests::repeated(vec![own_profile("rita", &good)]));
    let show = |span: Duration| {
        let shown = Arc::clone(&shown);
        thread::spawn(move || -> Result<Sample, Error> {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(load::open(at, &shown, 1, GOOD_RATE, span))
        })
    };
    let span = Duration::from_secs_f64(args.seconds);
    // The issuer answers from this thread.
    let alone = tokio::task::spawn_blocking({
        let alone = show(span / 4);
        move || alone.join()
    });
    let alone = alone
        .await?
        .map_err(|_| "the good token's thread failed")??;

    let before = gate.resident()?;
    let junk = Junk::connect(at, CONNECTIONS, STREAMS, &good).await?;
    let answers = junk.answers();
    let beside = show(span);
    // One for each stream; what they send they make themselves.
    let nothing = Arc::new(Requests::repeated(vec![Vec::new(); CONNECTIONS * STREAMS]));
    let (flood, picked_up) = tokio::join!(
        load::open_over(junk.streams(), &nothing, args.rate.into(), span),
        rotate(&fortress, &issuer, at, span / 2, span),
    );
    let beside = tokio::task::spawn_blocking(move || beside.join());
    let beside = beside
        .await?
        .map_err(|_| "the good token's thread failed")??;
    let figures = Figures {
        machine: benches::process::machine(),
        wanted: args.rate,
        alone,
        beside,
        flood: flood?,
        answers: answers.counts(),
        fetches: issuer.asked(),
        elapsed: started.elapsed(),
        picked_up: picked_up?,
        before,
        after: gate.resident()?,
    };
    report::print(&figures)?;
    Ok(figures)
}

/// Publishes a new key after `wait`, and tries it until it is let in.
async fn rotate(
    fortress: &Fortress,
    issuer: &Issuer,
    at: std::net::SocketAddr,
    wait: Duration,
    patience: Duration,
) -> Result<Duration, Error> {
    let key = SigningKey::generate(Algorithm::Es256, "rotated")?;
    let request = own_profile("rob", &fortress.token_by(&key, "rob", &[]));
    tokio::time::sleep(wait).await;
    issuer.publish(&fortress.keys(&[&key]));
    let published = Instant::now();
    while published.elapsed() < patience {
        // A refusal ends its connection.
        let mut connection = load::Connection::open(at).await?;
        if load::Exchange::ask(&mut connection, &request).await.is_ok() {
            return Ok(published.elapsed());
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
    Err(io::Error::other("the new key was not picked up while the flood lasted").into())
}
