//! Portcullis: an authorization sidecar. One binary; a subcommand chooses what it does.

mod app;
mod cli;
mod config;
mod decision_log;
mod dev;
mod diagnostics;
mod telemetry;

use std::process::ExitCode;

/// A request makes some seventy small allocations, many of which another worker frees. With jemalloc it takes about a
/// tenth less processor time than with the allocator of glibc (`benches/README.md`).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    if let Err(error) = identity::install_crypto() {
        return cli::fail(cli::EX_SOFTWARE, &format!("cannot start: {error}"));
    }
    cli::run()
}
