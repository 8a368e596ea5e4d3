//! Portcullis: an authorization sidecar. One binary; a subcommand chooses what it does.

mod app;
mod cli;
mod config;
mod decision_log;
mod dev;
mod diagnostics;
mod telemetry;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Err(error) = identity::install_crypto() {
        return cli::fail(cli::EX_SOFTWARE, &format!("cannot start: {error}"));
    }
    cli::run()
}
