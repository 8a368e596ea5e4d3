//! `portcullis serve`: production.

use std::future::Future;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use prometheus::Registry;
use settings::Problem;
use tokio::signal::unix::{SignalKind, signal};

use super::{EX_OSERR, EX_USAGE, check, fail};
use crate::app::{Bound, StartError};
use crate::config::Config;
use crate::diagnostics;

/// Arguments of `portcullis serve`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    file: super::ConfigFile,
}

/// Serves until SIGTERM or SIGINT, then drains. Exits 0 after a drain, 64 when the configuration is
/// wrong, 71 when an address cannot be bound.
pub(crate) fn run(args: Args) -> ExitCode {
    super::block_on(async move {
        let shutdown = match shutdown_signal() {
            Ok(shutdown) => shutdown,
            Err(error) => return fail(EX_OSERR, &format!("cannot listen for signals: {error}")),
        };
        serve(&args.file.config, shutdown, |bound| {
            // In one piece: whoever has seen one of the lines has seen all of them.
            let mut lines = Vec::new();
            for (name, address) in bound.addresses() {
                writeln!(lines, "portcullis: {name} listening on {address}")?;
            }
            let mut out = io::stdout().lock();
            out.write_all(&lines)?;
            out.flush()
        })
        .await
    })
}

/// Starts the application from a configuration file, announces it, and runs it until `shutdown`.
pub(super) async fn serve(
    path: &Path,
    shutdown: impl Future<Output = ()>,
    announce: impl FnOnce(&Bound) -> io::Result<()>,
) -> ExitCode {
    let environment = |name: &str| std::env::var(name).ok();
    let config = match Config::load(path, &environment) {
        Ok(config) => config,
        // Not just what this file says of itself: all that stands in the way, in one run.
        Err(_) => return refuse(&check::examine(path, &environment).problems),
    };
    let registry = Registry::new();
    let _flushed_on_drop = match diagnostics::install(&config.decision_log, &registry) {
        Ok(guard) => guard,
        Err(error) => return fail(EX_OSERR, &format!("cannot open the decision log: {error}")),
    };
    let bound = match Bound::start(config, registry).await {
        Ok(bound) => bound,
        Err(StartError::Configuration(problems)) => return refuse(&problems),
        Err(error) => return fail(EX_OSERR, &error.to_string()),
    };
    // Whoever reads the announcement may have closed it; the service goes on.
    let _ = announce(&bound);
    bound
        .run(shutdown, || {
            let mut out = io::stdout().lock();
            let _ = writeln!(out, "portcullis: ready").and_then(|()| out.flush());
        })
        .await;
    ExitCode::SUCCESS
}

/// Resolves at the first SIGTERM or SIGINT.
pub(super) fn shutdown_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM received: draining"),
            _ = interrupt.recv() => tracing::info!("SIGINT received: draining"),
        }
    })
}

fn refuse(problems: &[Problem]) -> ExitCode {
    let mut out = io::stderr().lock();
    for problem in problems {
        let _ = writeln!(out, "{problem}");
    }
    drop(out);
    let noun = if problems.len() == 1 {
        "mistake"
    } else {
        "mistakes"
    };
    fail(
        EX_USAGE,
        &format!(
            "not started: {} {noun} in the configuration",
            problems.len()
        ),
    )
}
