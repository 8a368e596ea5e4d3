//! `portcullis dev`: try everything on loopback.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use super::{EX_OSERR, fail, serve};
use crate::dev::{Demo, Ports, Walkthrough};

/// Arguments of `portcullis dev`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder that holds policies/fortress and schemas/fortress.cedarschema; where they are
    /// missing, copies that you can edit are written to a temporary folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Where the proxy listens [default: 127.0.0.1:8000, or a free port if that is taken]
    #[arg(long, value_name = "ADDRESS")]
    proxy: Option<SocketAddr>,
    /// Where the decision API listens [default: 127.0.0.1:8180, likewise]
    #[arg(long, value_name = "ADDRESS")]
    decisions: Option<SocketAddr>,
    /// Where health and metrics listen [default: 127.0.0.1:9180, likewise]
    #[arg(long, value_name = "ADDRESS")]
    telemetry: Option<SocketAddr>,
    /// Where the demo upstream listens [default: 127.0.0.1:3000, likewise]
    #[arg(long, value_name = "ADDRESS")]
    upstream: Option<SocketAddr>,
    /// Where the local issuer listens [default: 127.0.0.1:9280, likewise]
    #[arg(long, value_name = "ADDRESS")]
    issuer: Option<SocketAddr>,
}

/// Runs the demo until Ctrl-C.
pub(crate) fn run(args: Args) -> ExitCode {
    let Args {
        folder,
        proxy,
        decisions,
        telemetry,
        upstream,
        issuer,
    } = args;
    let ports = Ports {
        proxy,
        decisions,
        telemetry,
        upstream,
        issuer,
    };
    super::block_on(async move {
        let shutdown = match serve::shutdown_signal() {
            Ok(shutdown) => shutdown,
            Err(error) => return fail(EX_OSERR, &format!("cannot listen for signals: {error}")),
        };
        let demo = match Demo::start(&folder, &ports).await {
            Ok(demo) => demo,
            Err(error) => return fail(EX_OSERR, &format!("cannot start the demo: {error}")),
        };
        serve::serve(&demo.configuration, shutdown, |bound| {
            let address = |name: &str| {
                bound
                    .address(name)
                    .map(ToString::to_string)
                    .unwrap_or_default()
            };
            let walkthrough = Walkthrough::new(&demo, address).map_err(io::Error::other)?;
            let mut out = io::stdout().lock();
            write!(out, "{walkthrough}")?;
            out.flush()
        })
        .await
    })
}
