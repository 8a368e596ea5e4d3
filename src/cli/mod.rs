//! The command line: one file per subcommand.

mod authorize;
mod check;
mod completions;
mod config;
mod dev;
mod serve;
mod token;

use std::ffi::OsString;
use std::future::Future;
use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

/// The command was called wrongly, or the configuration is wrong (`EX_USAGE` of sysexits.h).
pub(crate) const EX_USAGE: u8 = 64;
/// An internal fault (`EX_SOFTWARE`).
pub(crate) const EX_SOFTWARE: u8 = 70;
/// Something of the operating system was refused, such as an address already in use (`EX_OSERR`).
pub(crate) const EX_OSERR: u8 = 71;

/// An authorization sidecar: proves who is calling, asks Cedar, and only then lets the request
/// through.
#[derive(Parser)]
#[command(
    name = "portcullis",
    version,
    propagate_version = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything on loopback with a demo upstream and a local issuer, to try it out
    Dev(dev::Args),
    /// Run the sidecar with a configuration file
    Serve(serve::Args),
    /// Validate configuration, schema, policies, entities and routes; report every mistake
    Check(check::Args),
    /// Decide one request, or an array of them, from files
    Authorize(authorize::Args),
    /// Explain a token; make keys and tokens for development and tests
    Token(token::Args),
    /// Print what the configuration may hold
    Config(config::Args),
    /// Print shell completions
    Completions(completions::Args),
}

/// The configuration file that a command reads.
#[derive(clap::Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(
        short,
        long,
        value_name = "FILE",
        env = "PORTCULLIS_CONFIG",
        default_value = "portcullis.yaml"
    )]
    config: PathBuf,
}

/// Says on the terminal how far a long load has come.
fn tell_progress(step: &pdp::load::Step) {
    let percent = step.read.saturating_mul(100) / step.bytes.max(1);
    let (path, read, bytes) = (step.path.display(), step.read >> 20, step.bytes >> 20);
    // Nobody is there to be told when the terminal is gone.
    let _ = writeln!(
        io::stderr().lock(),
        "{path}: {percent} % ({read} of {bytes} MiB)"
    );
}

/// Parses the arguments and runs the command.
pub(crate) fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, &arguments),
    };
    if io::stderr().is_terminal() {
        pdp::load::tell_progress(tell_progress);
    }
    match cli.command {
        Command::Dev(args) => dev::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Check(args) => check::run(args),
        Command::Authorize(args) => authorize::run(args),
        Command::Token(args) => token::run(args),
        Command::Config(args) => config::run(args),
        Command::Completions(args) => completions::run(args),
    }
}

/// Says on standard error why the command could not do its work.
pub(crate) fn fail(code: u8, message: &str) -> ExitCode {
    // Nothing is left to do when standard error is gone.
    let _ = writeln!(std::io::stderr().lock(), "portcullis: {message}");
    ExitCode::from(code)
}

/// Runs a future to its end on the runtime that every long-running command uses.
pub(crate) fn block_on<F: Future<Output = ExitCode>>(future: F) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("portcullis")
        // Cedar's evaluator measures the stack that is left and skips a policy when it runs out;
        // a skipped `forbid` does not forbid. `pdp` limits the depth of policies to what fits here.
        .thread_stack_size(pdp::EVALUATION_STACK)
        .build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(future);
            // All that had to end has ended; a read that hangs in a file system is not waited for.
            runtime.shutdown_background();
            code
        }
        Err(error) => fail(EX_OSERR, &format!("cannot start the runtime: {error}")),
    }
}

/// Help and version are answers; everything else is a mistake in the call. `authorize` and `token
/// inspect` promise 2 for a no, so a mistake in their call is 1, "could not be asked".
fn usage(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ if is_question(arguments) => ExitCode::from(1),
        _ => ExitCode::from(EX_USAGE),
    }
}

fn is_question(arguments: &[OsString]) -> bool {
    let mut words = arguments.iter().skip(1);
    match words.next() {
        Some(name) if name == "authorize" => true,
        Some(name) if name == "token" => words.next().is_some_and(|name| name == "inspect"),
        _ => false,
    }
}
