//! `portcullis token inspect`: why a token is accepted or refused, claim by claim.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use authn_proxy::Rejection;
use clap::ValueEnum;
use identity::config::{IssuerConfig, SessionSource, UserStatusSource};
use identity::{Clock, Explanation, Finding, Identity, Issuers, Options, Step, TokenError};
use prometheus::Registry;
use serde_json::{Value, json};

use crate::cli::ConfigFile;
use crate::config::Config;

/// The token is refused.
const REFUSED: u8 = 2;

/// Whether the token is good cannot be found out.
const NOT_ASKED: u8 = 1;

/// The most that is read from standard input, in bytes.
const MAX_INPUT: u64 = 64 << 10;

/// Arguments of `portcullis token inspect`.
#[derive(clap::Args)]
#[command(after_help = "\
The token is judged by the code that judges requests. Where the configuration asks for sessions or
for the status of users, this command does not: it says so.

Exit status: 0 accepted, 2 refused, 1 whether it is good cannot be found out.")]
pub(super) struct Inspect {
    #[command(flatten)]
    file: ConfigFile,
    /// The token, a line `Authorization: Bearer …`, or `-` for standard input
    #[arg(default_value = "-", hide_default_value = true)]
    token: String,
    /// Judge as of this time: RFC 3339 such as 2026-01-31T12:00:00Z, or seconds since 1970 [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Option<u64>,
    /// How to print the answer
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

// === impl Inspect ===

impl Inspect {
    pub(super) fn run(self) -> ExitCode {
        crate::cli::block_on(async {
            match self.answer(&mut io::stdout().lock()).await {
                Ok(code) => ExitCode::from(code),
                Err(problems) => {
                    let mut stderr = io::stderr().lock();
                    for problem in problems {
                        // Nothing is left to do when standard error is gone.
                        let _ = writeln!(stderr, "portcullis: {problem}");
                    }
                    ExitCode::from(NOT_ASKED)
                }
            }
        })
    }

    async fn answer(&self, out: &mut impl Write) -> Result<u8, Vec<String>> {
        let env = |name: &str| std::env::var(name).ok();
        let config = Config::load(&self.file.config, &env)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let token = self.token().map_err(|problem| vec![problem])?;
        let options = Options {
            clock: self.at.map_or_else(Clock::system, Clock::manual),
            ..Options::default()
        };
        let issuers =
            Issuers::with_options(&config.issuers, config.base(), &Registry::new(), options)
                .map_err(|problems| {
                    let of = |(key, message): (String, String)| {
                        config
                            .problem(&format!("issuers{key}"), message)
                            .to_string()
                    };
                    problems.into_iter().map(of).collect::<Vec<_>>()
                })?;
        issuers.refresh().await;
        let explanation = issuers.explain(&token).await;
        let entry = config
            .issuers
            .iter()
            .find(|entry| explanation.issuer.as_deref() == Some(&entry.name));
        let unasked = unasked(entry, &explanation);
        let written = match self.format {
            Format::Text => in_text(out, &explanation, &unasked),
            Format::Json => writeln!(out, "{:#}", in_json(&explanation, &unasked)),
        };
        written.map_err(|error| vec![format!("cannot write the answer: {error}")])?;
        Ok(match explanation.outcome {
            Ok(_) => 0,
            Err(TokenError::KeysUnavailable | TokenError::KeysRefreshing) => NOT_ASKED,
            Err(_) => REFUSED,
        })
    }

    /// The token alone, however it was given.
    fn token(&self) -> Result<String, String> {
        let mut given = self.token.clone();
        if given == "-" {
            given.clear();
            io::stdin()
                .lock()
                .take(MAX_INPUT)
                .read_to_string(&mut given)
                .map_err(|error| format!("standard input cannot be read: {error}"))?;
        }
        Ok(bare(&given).to_owned())
    }
}

fn bare(given: &str) -> &str {
    let rest = strip_word(given.trim(), "authorization:");
    strip_word(rest, "bearer ")
}

fn strip_word<'a>(text: &'a str, word: &str) -> &'a str {
    match text.split_at_checked(word.len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case(word) => rest.trim_start(),
        _ => text,
    }
}

fn parse_time(text: &str) -> Result<u64, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let time = humantime::parse_rfc3339_weak(text).map_err(|error| error.to_string())?;
    time.duration_since(UNIX_EPOCH)
        .map(|since| since.as_secs())
        .map_err(|_| "it is before 1970".to_owned())
}

/// What a request with this token would be asked besides, and is not asked here.
fn unasked(entry: Option<&IssuerConfig>, explanation: &Explanation) -> Vec<&'static str> {
    let Some(entry) = entry.filter(|_| explanation.outcome.is_ok()) else {
        return Vec::new();
    };
    let mut unasked = Vec::new();
    if entry.session != SessionSource::None {
        unasked.push("whether the session is open and nothing is revoked");
    }
    if entry.user_status != UserStatusSource::None {
        unasked.push("whether the user is enabled");
    }
    unasked
}

// === output ===

fn in_text(out: &mut impl Write, explanation: &Explanation, unasked: &[&str]) -> io::Result<()> {
    for step in &explanation.steps {
        let (verdict, reason) = verdict(&step.finding);
        let value = step.value.as_deref().unwrap_or("-");
        writeln!(
            out,
            "{verdict:<8} {:<18} {}",
            plain(&step.name),
            plain(value)
        )?;
        if let Some(reason) = reason {
            writeln!(out, "         {}", plain(reason))?;
            if let Some(rule) = &step.rule {
                writeln!(out, "         expected: {}", plain(rule))?;
            }
        }
    }
    match &explanation.outcome {
        Ok(identity) => writeln!(out, "ACCEPTED {}", plain(&bearer(identity)))?,
        Err(error) => {
            let rejection = Rejection::from(*error);
            let status = rejection.status().as_u16();
            writeln!(out, "REFUSED  {status} {}: {error}", rejection.code())?;
        }
    }
    for question in unasked {
        writeln!(out, "         not asked here: {question}")?;
    }
    Ok(())
}

fn in_json(explanation: &Explanation, unasked: &[&str]) -> Value {
    let steps: Vec<Value> = explanation.steps.iter().map(step_in_json).collect();
    let refusal = explanation.outcome.as_ref().err().map(|&error| {
        let rejection = Rejection::from(error);
        json!({
            "status": rejection.status().as_u16(),
            "code": rejection.code(),
            "cause": error.to_string(),
        })
    });
    json!({
        "accepted": explanation.outcome.is_ok(),
        "issuer": explanation.issuer.as_deref(),
        "bearer": explanation.outcome.as_ref().ok().map(|identity| bearer_in_json(identity)),
        "refusal": refusal,
        "not_asked": unasked,
        "steps": steps,
    })
}

fn step_in_json(step: &Step) -> Value {
    let (verdict, reason) = verdict(&step.finding);
    json!({
        "stage": format!("{:?}", step.stage).to_lowercase(),
        "name": step.name,
        "value": step.value,
        "verdict": verdict,
        "reason": reason,
        "rule": step.rule,
    })
}

fn verdict(finding: &Finding) -> (&'static str, Option<&str>) {
    match finding {
        Finding::Good => ("ok", None),
        Finding::Refused(reason) => ("refused", Some(reason)),
        Finding::Unknown(reason) => ("unknown", Some(reason)),
        Finding::Ignored => ("ignored", None),
    }
}

fn bearer(identity: &Arc<Identity>) -> String {
    let mut text = format!(
        "as {}::{:?} by `{}`",
        identity.principal_type, identity.principal_id, identity.issuer
    );
    if let Some(user) = &identity.on_behalf_of {
        text.push_str(&format!(
            ", on behalf of {}::{:?}",
            user.principal_type, user.principal_id
        ));
    }
    text
}

fn bearer_in_json(identity: &Identity) -> Value {
    let user = identity.on_behalf_of.as_ref().map(|user| {
        json!({
            "type": &*user.principal_type,
            "id": user.principal_id,
            "groups": user.groups,
            "scopes": user.scopes,
        })
    });
    json!({
        "type": &*identity.principal_type,
        "id": identity.principal_id,
        "groups": identity.groups,
        "scopes": identity.scopes,
        "on_behalf_of": user,
    })
}

/// What a token says must not move the reader's cursor.
fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect()
            } else {
                vec![c]
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_may_come_as_a_line() {
        for given in [
            "x.y.z",
            " x.y.z\n",
            "Bearer x.y.z",
            "bearer   x.y.z",
            "Authorization: Bearer x.y.z\r\n",
            "authorization:x.y.z",
        ] {
            assert_eq!(bare(given), "x.y.z", "{given}");
        }
        assert_eq!(bare("ü"), "ü");
    }

    #[test]
    fn a_time_is_a_date_or_seconds() {
        assert_eq!(parse_time("1800000000"), Ok(1_800_000_000));
        assert_eq!(parse_time("1970-01-02T00:00:01Z"), Ok(86_401));
        for wrong in ["", "yesterday", "-1", "1969-01-01T00:00:00Z"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
