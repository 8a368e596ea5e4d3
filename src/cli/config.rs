//! `portcullis config`: what the configuration may hold.

use std::io::Write;
use std::process::ExitCode;

use crate::config::ConfigFile;

/// Arguments of `portcullis config`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Print the JSON Schema of the configuration file, for editors and validators
    Schema,
}

/// Prints what is asked for.
pub(crate) fn run(args: Args) -> ExitCode {
    let Command::Schema = args.command;
    let schema = settings::schema::<ConfigFile>();
    match writeln!(std::io::stdout().lock(), "{schema:#}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::fail(
            super::EX_OSERR,
            &format!("cannot write the schema: {error}"),
        ),
    }
}
