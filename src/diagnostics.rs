//! What the process says of itself, on standard error; and the wiring of the decision log.

use std::io;

use tracing_subscriber::filter::{EnvFilter, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::decision_log::{self, DecisionLog};

/// Keeps the writer of the decision log alive; what is queued is written when it is dropped.
pub(crate) struct Guard {
    _decisions: Option<decision_log::Writer>,
}

/// `info`, but for `h2`, whose warnings any peer can provoke with every frame it sends.
const QUIET: &str = "info,h2=error";

/// Installs the subscriber: diagnostics at `info` unless `PORTCULLIS_LOG` says otherwise (the
/// syntax of `tracing-subscriber`'s `EnvFilter`), and the decision log where the settings want it.
///
/// # Errors
/// When the file of the decision log cannot be opened.
pub(crate) fn install(
    settings: &crate::config::DecisionLogConfig,
    registry: &prometheus::Registry,
) -> io::Result<Guard> {
    let (decisions, guard) = match DecisionLog::open(settings, registry)? {
        Some((log, guard)) => (Some(log), Some(guard)),
        None => (None, None),
    };
    let levels =
        EnvFilter::try_from_env("PORTCULLIS_LOG").unwrap_or_else(|_| EnvFilter::new(QUIET));
    let diagnostics = fmt::layer()
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_filter(filter_fn(|metadata| {
            metadata.target() != decision_log::TARGET
        }))
        .with_filter(levels);
    let only_decisions = Targets::new().with_target(decision_log::TARGET, tracing::Level::INFO);
    // A second initialisation happens only in tests that start two applications in one process.
    let _ = tracing_subscriber::registry()
        .with(decisions.map(|log| log.with_filter(only_decisions)))
        .with(diagnostics)
        .try_init();
    Ok(Guard { _decisions: guard })
}
