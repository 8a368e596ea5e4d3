//! Why a token is accepted or refused, step by step and claim by claim: for whoever holds it and
//! asks. The verdicts are those of the code that judges requests, which here has a listener.

mod rules;

use std::sync::Arc;

use crate::error::TokenError;
use crate::identity::Identity;
use crate::issuers::{Issuer, Issuers};
use crate::jose::{Parts, Unverified};
use crate::json::{Json, Object};
use crate::keys::Lookup;
use crate::trace::{Path, Trace};

/// The longest value that is shown, in characters.
const SHOWN: usize = 120;

/// What happened to a token on its way through.
#[derive(Debug)]
pub struct Explanation {
    /// The `name` of the `issuers:` entry that it was laid to.
    pub issuer: Option<Arc<str>>,
    /// What was looked at, in order. Where a step that others build on fails, it is the last.
    pub steps: Vec<Step>,
    /// What a request with this token would be told.
    pub outcome: Result<Arc<Identity>, TokenError>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which part of the token.
    pub stage: Stage,
    /// Which member of it, such as `alg` or `act.sub`.
    pub name: String,
    /// What the token says there, shortened; `None` where it says nothing. Never the signature.
    pub value: Option<String>,
    /// What was made of it.
    pub finding: Finding,
    /// What it is held to, where there is a rule.
    pub rule: Option<String>,
}

/// The parts of a token, in the order in which they are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Size and structure.
    Token,
    /// The JOSE header.
    Header,
    /// Whose token it says it is.
    Issuer,
    /// The issuer's key.
    Key,
    /// The signature by that key.
    Signature,
    /// A claim of the payload.
    Claim,
}

/// What was made of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is as it must be.
    Good,
    /// It is not, and that alone refuses the token.
    Refused(String),
    /// Whether it is good cannot be found out at the moment.
    Unknown(String),
    /// Nothing depends on it.
    Ignored,
}

/// Takes notes of the claims that are judged.
struct Notes<'a> {
    issuer: &'a Issuer,
    now: u64,
    steps: Vec<Step>,
}

// === impl Issuers ===

impl Issuers {
    /// Judges a token like [`Issuers::verify`] and says what was seen on the way. Claims are shown:
    /// this is for whoever holds the token, not for logs.
    pub async fn explain(&self, token: &str) -> Explanation {
        let outcome = self.verify(token).await;
        let mut explanation = Explanation {
            issuer: None,
            steps: Vec::new(),
            outcome,
        };
        self.retrace(token, &mut explanation);
        explanation
    }

    /// Goes the way again, as far as it leads.
    fn retrace(&self, token: &str, explanation: &mut Explanation) {
        let steps = &mut explanation.steps;
        let size = Step {
            stage: Stage::Token,
            name: "size".to_owned(),
            value: Some(format!("{} bytes", token.len())),
            finding: Finding::Good,
            rule: Some(format!("at most {} bytes", self.token_bytes())),
        };
        if token.len() > self.token_bytes() {
            steps.push(size.but(TokenError::TooLarge));
            return;
        }
        steps.push(size);
        let structure = Step {
            stage: Stage::Token,
            name: "structure".to_owned(),
            value: None,
            finding: Finding::Good,
            rule: Some(
                "three parts in base64url, of which the first two are JSON objects, and a header that \
                 leaves nothing open (`alg` RS256 or ES256, `kid`, no `crit`, `jku`, `jwk` and such)"
                    .to_owned(),
            ),
        };
        let parts = match Parts::decode(token) {
            Ok(parts) => parts,
            Err(error) => {
                steps.push(structure.but(error));
                return;
            }
        };
        let unverified = match Unverified::parse(&parts) {
            Ok(unverified) => unverified,
            Err(error) => {
                steps.push(structure.but(error));
                return;
            }
        };
        steps.push(structure);
        let Some((issuer, url)) = self.retrace_issuer(&unverified, steps) else {
            return;
        };
        explanation.issuer = Some(Arc::clone(&issuer.profile.name));
        retrace_header(issuer, &unverified, steps);
        retrace_key(issuer, &parts, &unverified, steps);

        let now = self.clock().unix();
        let mut notes = Notes {
            issuer,
            now,
            steps: Vec::new(),
        };
        // The steps hold what is wrong.
        let _ = issuer.profile.explain(&unverified, url, now, &mut notes);
        notes.pass_over(None, unverified.unverified_claims());
        if let Some(Json::Object(act)) = unverified.unverified_claim("act")
            && notes.steps.iter().any(|step| step.name.starts_with("act."))
        {
            notes.pass_over(Some("act"), act);
        }
        steps.append(&mut notes.steps);
    }

    fn retrace_issuer(
        &self,
        token: &Unverified<'_>,
        steps: &mut Vec<Step>,
    ) -> Option<(&Issuer, &Arc<str>)> {
        let step = Step {
            stage: Stage::Issuer,
            name: "iss".to_owned(),
            value: token.unverified_claim("iss").map(show),
            finding: Finding::Good,
            rule: None,
        };
        let candidates = self.candidates(token);
        let Some((url, entries)) = candidates else {
            let rule = "the `issuer` of some entry, to the letter".to_owned();
            steps.push(Step {
                rule: Some(rule),
                ..step.but(TokenError::Invalid("no entry has this issuer"))
            });
            return None;
        };
        let names: Vec<_> = entries.iter().map(|issuer| &*issuer.profile.name).collect();
        let rule = Some(format!("the issuer of {}", rules::listed(&names)));
        let step = Step { rule, ..step };
        match self.choose(token) {
            Ok((issuer, _)) => {
                let name = &issuer.profile.name;
                steps.push(Step {
                    rule: Some(format!("judged as a token of `{name}`")),
                    ..step
                });
                Some((issuer, url))
            }
            Err(error) => {
                steps.push(step.but(error));
                for issuer in entries {
                    steps.extend(refusals(issuer, token));
                }
                None
            }
        }
    }
}

// === impl Step ===

impl Step {
    /// The same step with a bad end.
    fn but(self, error: TokenError) -> Self {
        Self {
            finding: Finding::of(error),
            ..self
        }
    }
}

// === impl Finding ===

impl Finding {
    fn of(error: TokenError) -> Self {
        match error {
            TokenError::Invalid(cause) => Self::Refused(cause.to_owned()),
            TokenError::TooLarge | TokenError::Expired | TokenError::NotYetValid => {
                Self::Refused(error.to_string())
            }
            TokenError::KeysUnavailable | TokenError::KeysRefreshing => {
                Self::Unknown(error.to_string())
            }
        }
    }
}

// === impl Notes ===

impl Trace for Notes<'_> {
    fn claim(&mut self, path: Path<'_>, value: Option<&Json<'_>>, refused: Option<TokenError>) {
        let name = full_name(path);
        let finding = refused.map_or(Finding::Good, |error| {
            rules::elapsed(error, value, self.now).unwrap_or_else(|| Finding::of(error))
        });
        match self.steps.iter_mut().find(|step| step.name == name) {
            // One claim may be read for several ends; the first that it is not good for counts.
            Some(step) if step.finding == Finding::Good => step.finding = finding,
            Some(_) => {}
            // What is not there and need not be is not worth a line.
            None if value.is_none() && finding == Finding::Good => {}
            None => self.steps.push(Step {
                stage: Stage::Claim,
                rule: rules::of_claim(&self.issuer.profile, path),
                value: value.map(show),
                name,
                finding,
            }),
        }
    }
}

impl Notes<'_> {
    /// Adds the members that nobody asked for.
    fn pass_over(&mut self, within: Option<&'static str>, members: &Object<'_>) {
        for (name, value) in members.members() {
            let name = full_name(Path { within, name });
            if !self.steps.iter().any(|step| step.name == name) {
                self.steps.push(Step {
                    stage: Stage::Claim,
                    name,
                    value: Some(show(value)),
                    finding: Finding::Ignored,
                    rule: None,
                });
            }
        }
    }
}

// === steps ===

/// Why a token is not for this entry.
fn refusals(issuer: &Issuer, token: &Unverified<'_>) -> Vec<Step> {
    let mut notes = Notes {
        issuer,
        now: 0,
        steps: Vec::new(),
    };
    issuer.profile.explain_address(token, &mut notes);
    let name = &issuer.profile.name;
    for step in &mut notes.steps {
        step.stage = Stage::Issuer;
        step.name = format!("{} for `{name}`", step.name);
    }
    notes.steps
}

fn retrace_header(issuer: &Issuer, token: &Unverified<'_>, steps: &mut Vec<Step>) {
    let profile = &issuer.profile;
    let of =
        |name: &str, value: Option<String>, rule: String, result: Result<(), TokenError>| Step {
            stage: Stage::Header,
            name: name.to_owned(),
            value,
            finding: result.map_or_else(Finding::of, |()| Finding::Good),
            rule: Some(rule),
        };
    let algorithms: Vec<_> = profile.algorithms.iter().map(|one| one.name()).collect();
    steps.push(of(
        "alg",
        Some(token.algorithm.name().to_owned()),
        rules::listed(&algorithms),
        profile.check_algorithm(token),
    ));
    let types: Vec<_> = profile.typ.iter().map(|typ| typ.as_deref()).collect();
    steps.push(of(
        "typ",
        token.typ.clone(),
        rules::listed_or_none(&types),
        profile.check_type(token),
    ));
}

fn retrace_key(
    issuer: &Issuer,
    parts: &Parts<'_>,
    unverified: &Unverified<'_>,
    steps: &mut Vec<Step>,
) {
    let step = Step {
        stage: Stage::Key,
        name: "kid".to_owned(),
        value: Some(unverified.kid.to_string()),
        finding: Finding::Good,
        rule: Some("the id of a usable key that the issuer publishes".to_owned()),
    };
    let key = match issuer.keys.find(&unverified.kid) {
        Lookup::Found(key, _) => key,
        Lookup::Unknown => {
            steps.push(step.but(TokenError::Invalid("the issuer's keys lack it")));
            return;
        }
        Lookup::Unavailable => {
            steps.push(step.but(TokenError::KeysUnavailable));
            return;
        }
    };
    steps.push(step);
    let verified = Unverified::parse(parts).and_then(|token| token.verify(&key));
    let finding = verified.map_or_else(Finding::of, |_| Finding::Good);
    steps.push(Step {
        stage: Stage::Signature,
        name: "signature".to_owned(),
        value: None,
        finding,
        rule: Some("made by that key over header and payload".to_owned()),
    });
}

// === helpers ===

fn full_name(path: Path<'_>) -> String {
    match path.within {
        Some(within) => format!("{within}.{}", path.name),
        None => path.name.to_owned(),
    }
}

/// A claim as text: JSON, cut where it grows long.
fn show(value: &Json<'_>) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
