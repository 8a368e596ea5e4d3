//! Portcullis: an authorization sidecar. One binary; a subcommand chooses what it does.

mod app;
mod cli;
mod config;
mod decision_log;
mod dev;
mod diagnostics;
mod telemetry;

use std::process::ExitCode;

/// A request allocates a hundred times in small pieces, on one thread, and frees them on it: what
/// this allocator is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Err(error) = identity::install_crypto() {
        return cli::fail(cli::EX_SOFTWARE, &format!("cannot start: {error}"));
    }
    cli::run()
}
