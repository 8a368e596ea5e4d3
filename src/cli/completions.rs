//! `portcullis completions`: shell completions on standard output.

use std::io::Write;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

/// Arguments of `portcullis completions`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The shell to print completions for
    shell: Shell,
}

/// Prints the completions.
pub(crate) fn run(args: Args) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(
        args.shell,
        &mut super::Cli::command(),
        "portcullis",
        &mut script,
    );
    match std::io::stdout().lock().write_all(&script) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::fail(
            super::EX_OSERR,
            &format!("cannot write the completions: {error}"),
        ),
    }
}
