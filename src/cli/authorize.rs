//! `portcullis authorize`: one decision from files, or one for each of an array of requests.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use pdp::api::{Asked, Refusal, ask};
use pdp::load::{Ids, Rules, Sources, load};
use pdp::{Answer, Namespace, OnError};
use serde_json::{Value, json};

/// The largest request file, in bytes.
const MAX_REQUEST_BYTES: u64 = 64 << 20;

/// Depth that the JSON of a request may have.
const MAX_NESTING: usize = 64;

/// The decision is Deny.
const DENIED: u8 = 2;

/// The question could not be asked.
const NOT_ASKED: u8 = 1;

/// Arguments of `portcullis authorize`.
#[derive(clap::Args)]
#[command(after_help = "\
The request is {\"principal\",\"action\",\"resource\",\"context\"?,\"entities\"?}. An entity is
{\"type\":\"User\",\"id\":\"alice\"} or, in Cedar syntax, \"User::\\\"alice\\\"\"; a bare action string
is the id of an `Action`. An array of requests is answered with one line of JSON each.

Exit status: 0 allow (or an array was answered), 2 deny, 1 the question could not be asked.")]
pub(crate) struct Args {
    /// A .cedar file, or a folder that is read recursively
    #[arg(long, value_name = "PATH")]
    policies: PathBuf,
    /// The schema: Cedar syntax, or JSON where the name ends in .json
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// Entities, in Cedar JSON
    #[arg(long, value_name = "FILE")]
    entities: Option<PathBuf>,
    /// The request or an array of requests, in JSON; `-` is standard input
    #[arg(long, value_name = "FILE")]
    request: PathBuf,
    /// What becomes of an Allow when some policy could not be evaluated: deny, or Cedar's own rule
    #[arg(long, value_enum, default_value_t = OnErrorArg::Deny)]
    on_error: OnErrorArg,
    /// Hold neither policies nor requests to the schema, which still types entities and context
    #[arg(long)]
    no_validate: bool,
    /// Call policies `policy<n>`, as Cedar numbers them, whatever their `@id`
    #[arg(long)]
    positional_ids: bool,
    /// How to print the answer
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum OnErrorArg {
    Deny,
    Cedar,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Json,
    Text,
}

/// Decides and prints the answer.
pub(crate) fn run(args: Args) -> ExitCode {
    match answer(&args, &mut io::stdout().lock()) {
        Ok(code) => code,
        Err(problems) => {
            let mut stderr = io::stderr().lock();
            for problem in problems {
                // Nothing is left to do when standard error is gone.
                let _ = writeln!(stderr, "portcullis: {problem}");
            }
            ExitCode::from(NOT_ASKED)
        }
    }
}

fn answer(args: &Args, out: &mut impl Write) -> Result<ExitCode, Vec<String>> {
    let sources = Sources {
        policies: args.policies.clone(),
        schema: args.schema.clone(),
        entities: args.entities.clone(),
    };
    let rules = Rules {
        ids: if args.positional_ids {
            Ids::Positional
        } else {
            Ids::Annotated
        },
        validate: !args.no_validate,
        on_error: match args.on_error {
            OnErrorArg::Deny => OnError::Deny,
            OnErrorArg::Cedar => OnError::Cedar,
        },
    };
    // Both are tried, so that one run tells of every mistake.
    let snapshot = load(&sources, rules)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>());
    let request = read(&args.request).map_err(|problem| vec![problem]);
    let (snapshot, request) = match (snapshot, request) {
        (Ok(snapshot), Ok(request)) => (snapshot, request),
        (snapshot, request) => {
            let problems = [snapshot.err(), request.err()];
            return Err(problems.into_iter().flatten().flatten().collect());
        }
    };
    let refused =
        |refusal: Refusal| vec![format!("{}: {}", args.request.display(), refusal.message)];
    let unwritten = |error: io::Error| vec![format!("cannot write the answer: {error}")];
    let asked = ask(&request, MAX_NESTING, &snapshot, &Namespace::default()).map_err(refused)?;
    match asked {
        Asked::One(answer) => {
            let answer = answer.map_err(refused)?;
            print(out, args.format, &Ok(&answer)).map_err(unwritten)?;
            Ok(if answer.is_allow() {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(DENIED)
            })
        }
        Asked::Many(answers) => {
            for answer in &answers {
                print(out, args.format, &answer.as_ref()).map_err(unwritten)?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn print(
    out: &mut impl Write,
    format: Format,
    answer: &Result<&Answer, &Refusal>,
) -> io::Result<()> {
    match format {
        Format::Json => writeln!(out, "{}", in_json(answer)),
        Format::Text => in_text(out, answer),
    }
}

/// One of an array that could not be read is Deny, and its error names no policy.
fn in_json(answer: &Result<&Answer, &Refusal>) -> Value {
    match answer {
        Ok(answer) => {
            let errors: Vec<Value> = answer
                .errors
                .iter()
                .map(|error| json!({ "policy": error.policy.as_deref(), "message": error.message }))
                .collect();
            json!({
                "decision": answer.decision_name(),
                "determining_policies": answer.determining_policies,
                "errors": errors,
            })
        }
        Err(refusal) => json!({
            "decision": "DENY",
            "determining_policies": [],
            "errors": [{ "policy": null, "message": refusal.message }],
        }),
    }
}

fn in_text(out: &mut impl Write, answer: &Result<&Answer, &Refusal>) -> io::Result<()> {
    match answer {
        Ok(answer) => {
            write!(out, "{}", answer.decision_name())?;
            if !answer.determining_policies.is_empty() {
                write!(out, " by {}", answer.determining_policies.join(", "))?;
            }
            writeln!(out)?;
            for error in &answer.errors {
                match &error.policy {
                    Some(policy) => writeln!(out, "  error in {policy}: {}", error.message)?,
                    None => writeln!(out, "  error: {}", error.message)?,
                }
            }
            Ok(())
        }
        Err(refusal) => writeln!(out, "DENY\n  error: {}", refusal.message),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let most = MAX_REQUEST_BYTES + 1;
    let result = if path == Path::new("-") {
        io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    match result {
        Err(error) => Err(format!("{}: cannot be read: {error}", path.display())),
        Ok(_) if bytes.len() as u64 > MAX_REQUEST_BYTES => Err(format!(
            "{}: is larger than {} MiB",
            path.display(),
            MAX_REQUEST_BYTES >> 20
        )),
        Ok(_) => Ok(bytes),
    }
}
