//! `portcullis check`: every mistake in a configuration and in all that it names, at once.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use pdp::load::{self, Ids, Rules, Sources};
use pdp::{Namespace, PolicySource, Snapshot};
use serde::Serialize;
use settings::{Environment, Problem};

use super::{EX_OSERR, fail};
use crate::config::{Config, Fit, Read};

/// Arguments of `portcullis check`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    file: super::ConfigFile,
    /// How the result is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Fail on warnings too
    #[arg(long)]
    deny_warnings: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Problems on standard error, one a line, and a summary on standard output
    Text,
    /// One JSON object on standard output
    Json,
}

/// What was found out about a configuration and all that it names.
#[derive(Debug, Default)]
pub(crate) struct Examination {
    /// What keeps it from being served.
    pub(crate) problems: Vec<Problem>,
    /// What can be served, and is probably not meant.
    pub(crate) warnings: Vec<Problem>,
    counts: Counts,
}

/// How much there is of everything that could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Counts {
    policies: usize,
    entities: usize,
    routes: usize,
    issuers: usize,
}

/// Checks, and exits 0 when all is well and 1 otherwise.
pub(crate) fn run(args: Args) -> ExitCode {
    let environment = |name: &str| std::env::var(name).ok();
    let examination = examine(&args.file.config, &environment);
    let well =
        examination.problems.is_empty() && (examination.warnings.is_empty() || !args.deny_warnings);
    let written = match args.format {
        Format::Text => examination.write_text(&args.file.config),
        Format::Json => examination.write_json(well),
    };
    match written {
        Err(error) => fail(EX_OSERR, &format!("cannot write the result: {error}")),
        Ok(()) if well => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
    }
}

/// Reads a configuration and everything that it names, and holds all parts against each other. A mistake in one part
/// does not hide those in another.
pub(crate) fn examine(path: &Path, env: Environment<'_>) -> Examination {
    let Read { config, problems } = Config::read(path, env);
    let mut examination = Examination {
        problems,
        ..Examination::default()
    };
    if let Some(config) = config {
        let sets = config.route_sets.values().chain([&config.routes]);
        examination.counts.routes = sets.map(|routes| routes.list.len()).sum();
        examination.counts.issuers = config.issuers.len();
        examination.policies(&config);
    }
    examination
}

impl Examination {
    fn policies(&mut self, config: &Config) {
        // Both are reported by the configuration itself.
        let (PolicySource::Dir(policies), Ok(namespace)) = (
            &config.policies.source,
            Namespace::new(config.policies.namespace.as_deref()),
        ) else {
            return;
        };
        let sources = Sources {
            policies: policies.clone(),
            schema: config.policies.schema.clone(),
            entities: config.policies.entities.clone(),
        };
        let rules = Rules {
            ids: Ids::Annotated,
            validate: true,
            on_error: config.policies.on_error,
        };
        match load::load(&sources, rules) {
            Err(problems) => self
                .problems
                .extend(problems.into_iter().map(|problem| config.place(problem))),
            Ok(snapshot) => self.snapshot(config, &snapshot, &namespace),
        }
    }

    fn snapshot(&mut self, config: &Config, snapshot: &Snapshot, namespace: &Namespace) {
        self.warnings.extend(snapshot.warnings().cloned());
        self.counts.policies = snapshot.policy_count();
        self.counts.entities = snapshot.entity_count();
        let Some(schema) = snapshot.schema() else {
            return;
        };
        // Actions are entities too; those of the schema are nobody's data.
        self.counts.entities -= schema.actions().count().min(self.counts.entities);
        let Fit { problems, warnings } = config.fit(schema, namespace);
        // A key that is wrong by itself needs no second opinion.
        let known: Vec<(PathBuf, String)> = self
            .problems
            .iter()
            .map(|problem| (problem.file.clone(), problem.key.clone()))
            .collect();
        self.problems.extend(
            problems
                .into_iter()
                .filter(|problem| !known.contains(&(problem.file.clone(), problem.key.clone()))),
        );
        self.warnings.extend(warnings);
    }

    fn write_text(&self, path: &Path) -> io::Result<()> {
        let mut err = io::stderr().lock();
        for problem in &self.problems {
            writeln!(err, "{problem}")?;
        }
        for warning in &self.warnings {
            writeln!(err, "warning: {warning}")?;
        }
        let Counts {
            policies,
            entities,
            routes,
            issuers,
        } = self.counts;
        let verdict = match (self.problems.len(), self.warnings.len()) {
            (0, 0) => "ok".to_owned(),
            (0, warnings) => format!("ok, {}", counted(warnings, "warning")),
            (problems, 0) => counted(problems, "problem"),
            (problems, warnings) => format!(
                "{}, {}",
                counted(problems, "problem"),
                counted(warnings, "warning")
            ),
        };
        writeln!(
            io::stdout().lock(),
            "{}: {verdict} ({}, {}, {}, {})",
            path.display(),
            match policies {
                1 => "1 policy".to_owned(),
                _ => format!("{policies} policies"),
            },
            match entities {
                1 => "1 entity".to_owned(),
                _ => format!("{entities} entities"),
            },
            counted(routes, "route"),
            counted(issuers, "issuer"),
        )
    }

    fn write_json(&self, ok: bool) -> io::Result<()> {
        let report = Report {
            ok,
            problems: self.problems.iter().map(Item::from).collect(),
            warnings: self.warnings.iter().map(Item::from).collect(),
            counts: self.counts,
        };
        let mut out = io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)
    }
}

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    problems: Vec<Item<'a>>,
    warnings: Vec<Item<'a>>,
    counts: Counts,
}

/// A problem; line and column are 0 where there is no place in the file.
#[derive(Serialize)]
struct Item<'a> {
    file: std::borrow::Cow<'a, str>,
    line: usize,
    column: usize,
    key: &'a str,
    message: &'a str,
}

impl<'a> From<&'a Problem> for Item<'a> {
    fn from(problem: &'a Problem) -> Self {
        Self {
            file: problem.file.to_string_lossy(),
            line: problem.line,
            column: problem.column,
            key: &problem.key,
            message: &problem.message,
        }
    }
}

fn counted(count: usize, noun: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{s}")
}

#[cfg(test)]
mod tests;
