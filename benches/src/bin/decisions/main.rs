//! The decision API beside its peers: the same questions to each, in one run.

mod questions;
mod report;
mod servers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use benches::harness;
use benches::load::{self, Error, Requests};
use clap::Parser;

use report::{Measured, Report};
use servers::Server;

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
    let mut report = Report::default();
    for policies in [2, 1000] {
        let world = questions::write(&folder.path().join(policies.to_string()), policies)?;
        let (servers, missing) = servers::start(&args.portcullis, &args.peers, &world).await?;
        servers::agree(&servers, &world).await?;
        let measured = measure(args, &servers).await?;
        report.add(policies, missing, measured);
    }
    report.print(args.connections, args.rounds, args.seconds)
}

/// First each server cold, then all of them warm, in turn and beginning with another every round.
async fn measure(args: &Args, servers: &[Server]) -> Result<Vec<Measured>, Error> {
    let connections = usize::from(args.connections);
    let duration = Duration::from_secs_f64(args.seconds);
    let mut measured = Vec::with_capacity(servers.len());
    for server in servers {
        let once = Arc::new(Requests::once(server.requests.clone()));
        let cold = load::closed(server.at, &once, connections, COLD).await?;
        measured.push(Measured::new(server.name, &cold));
    }
    let again: Vec<_> = servers
        .iter()
        .map(|server| Arc::new(Requests::repeated(server.requests.clone())))
        .collect();
    for (server, requests) in servers.iter().zip(&again) {
        load::closed(server.at, requests, connections, WARM_UP).await?;
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
            let before = server.process.cpu()?;
            let sample = load::closed(server.at, requests, connections, duration).await?;
            of.warm(&sample, server.process.cpu()? - before);
        }
    }
    Ok(measured)
}
