//! The decision API beside its peers: the same questions to each, in one run.

mod questions;
mod reload;
mod report;
mod servers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use benches::load::{self, Error, Requests};
use benches::{harness, process};
use clap::Parser;

use report::{Measured, Report};
use servers::{AHEAD, Server};

/// How long each server works, unmeasured, between its cold figure and the first round.
const WARM_UP: Duration = Duration::from_millis(300);
/// The longest that 10,000 questions may take once.
const COLD: Duration = Duration::from_secs(120);

/// Ask portcullis, cedar-agent and Cerbos the same 10,000 questions over HTTP, beside a bare
/// hyper server that reads the body and answers a constant, and print the ratios.
///
/// Build with `cargo build --release -p portcullis -p benches`, install the peers with
/// `benches/peers`, then start this from the root of the repository. A peer that is not installed
/// is named and left out. About a minute with the defaults.
#[derive(Parser)]
#[command(name = "decisions", version, max_term_width = 100)]
struct Args {
    /// The portcullis binary
    #[arg(long, value_name = "FILE", default_value = "target/release/portcullis")]
    portcullis: PathBuf,
    /// Where `benches/peers` has installed the peers
    #[arg(long, value_name = "FOLDER", default_value = "target/peers")]
    peers: PathBuf,
    /// Rounds; every warm figure is the median of them
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 1.5, value_parser = harness::seconds)]
    seconds: f64,
    /// Connections to each server
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// Measure instead how long questions to portcullis take while 10,000 policies and 100,000 links are reloaded
    #[arg(long)]
    reload: bool,
    /// Exit with 3 if a figure misses what is to be reached
    #[arg(long)]
    enforce: bool,
}

// One thread: the harness must leave the cores to what it measures.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) if args.enforce => ExitCode::from(3),
        Ok(false) => ExitCode::SUCCESS,
        Err(error) => harness::fail("decisions", &error),
    }
}

/// Whether every figure that could be measured is within reach.
async fn run(args: &Args) -> Result<bool, Error> {
    let folder = tempfile::Builder::new()
        .prefix("portcullis-decisions-")
        .tempdir()?;
    if args.reload {
        return reload::measure(args, folder.path()).await;
    }
    let mut report = Report::default();
    for policies in [2, 1000] {
        let world = questions::write(&folder.path().join(policies.to_string()), policies)?;
        let (servers, missing) = servers::start(&args.portcullis, &args.peers, &world).await?;
        servers::agree(&servers, &world).await?;
        let measured = measure(args, &servers)?;
        report.add(policies, missing, measured);
    }
    report.print(args.connections, args.rounds, args.seconds)
}

/// First each server cold, then all of them warm, in turn and beginning with another every round.
fn measure(args: &Args, servers: &[Server]) -> Result<Vec<Measured>, Error> {
    let connections = usize::from(args.connections);
    let duration = Duration::from_secs_f64(args.seconds);
    let mut measured = Vec::with_capacity(servers.len());
    for server in servers {
        let once = Requests::once(server.requests.clone());
        let cold = load::polled(server.at, &once, connections, 1, COLD)?;
        measured.push(Measured::new(server.name, &cold));
    }
    let again: Vec<_> = servers
        .iter()
        .map(|server| Requests::repeated(server.requests.clone()))
        .collect();
    for (server, requests) in servers.iter().zip(&again) {
        load::polled(server.at, requests, connections, 1, WARM_UP)?;
    }
    for round in 0..args.rounds as usize {
        let order = (0..servers.len()).map(|place| (place + round) % servers.len());
        for index in order {
            let (Some(server), Some(requests), Some(of)) = (
                servers.get(index),
                again.get(index),
                measured.get_mut(index),
            ) else {
                continue;
            };
            for ahead in [1, AHEAD] {
                let (own, before) = (process::own_cpu()?, server.process.cpu()?);
                let sample = load::polled(server.at, requests, connections, ahead, duration)?;
                let took = server.process.cpu()? - before;
                of.warm(ahead, &sample, took, process::own_cpu()? - own);
            }
        }
    }
    Ok(measured)
}
