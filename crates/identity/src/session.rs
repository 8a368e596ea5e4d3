//! What Redis says of a token since it was issued: is its session open, was it revoked, is its user still one.
//!
//! All of it is read from the primary on every request, in one round trip. The formats of the keys are a contract with
//! the services that write them; `docs/redis-keys.md` describes it.

#[cfg(test)]
mod tests;

use ::redis::Pipeline;

use crate::config::{Kind, SessionSource, UserStatusSource};
use crate::identity::{Identity, SessionRef};
use crate::json::{Json, Object};
use crate::redis::{Answers, Unanswered};
use crate::standing::{Lapse, UserRecord};

/// One thing to ask Redis about a token. Every key is a prefix of its own and one value behind it, so no two values,
/// whatever they hold, make one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question<'a> {
    /// `sid:<id>`: the session has to be this user's and at this version.
    Session {
        session: &'a SessionRef,
        subject: &'a str,
    },
    /// `revoked:jti:<jti>`, `revoked:origin_jti:<jti>`: there must be neither.
    Revoked {
        token_id: Option<&'a str>,
        origin: Option<&'a str>,
    },
    /// `valid_after:<sub>`: tokens issued before it are refused.
    ValidAfter { subject: &'a str, issued_at: u64 },
    /// `user:<sub>`: the user has to be enabled and active.
    User { subject: &'a str },
}

/// The longest value that is looked at, in bytes.
const MAX_VALUE: usize = 8 * 1024;
/// The end of the year 9999: a later time is no count of seconds.
const MAX_TIME: u64 = 253_402_300_799;

/// All that has to be asked about an identity. `shared` says whether there is a Redis for what concerns the user that a
/// service acts for, even where the service's own tokens are not looked up.
pub(crate) fn questions(identity: &Identity, shared: bool) -> Vec<Question<'_>> {
    let mut questions = Vec::with_capacity(4);
    if identity.session_source == SessionSource::Redis {
        let subject = &*identity.subject;
        if let Some(session) = &identity.session {
            questions.push(Question::Session { session, subject });
        }
        let (token_id, origin) = (
            identity.token_id.as_deref(),
            identity.origin_token_id.as_deref(),
        );
        if token_id.is_some() || origin.is_some() {
            questions.push(Question::Revoked { token_id, origin });
        }
        let issued_at = identity.issued_at;
        questions.push(Question::ValidAfter { subject, issued_at });
    }
    if let Some(user) = &identity.on_behalf_of {
        let subject = &*user.subject;
        if let Some(session) = &user.session {
            questions.push(Question::Session { session, subject });
        }
        if shared || identity.session_source == SessionSource::Redis {
            // `act` does not say when it was granted; the service's token cannot be older than that.
            let issued_at = identity.issued_at;
            questions.push(Question::ValidAfter { subject, issued_at });
        }
    }
    if identity.status_source == UserStatusSource::Redis
        && let Some(subject) = user_of(identity)
    {
        questions.push(Question::User { subject });
    }
    questions
}

/// The user whose status counts: the bearer, or whoever a service acts for.
fn user_of(identity: &Identity) -> Option<&str> {
    match (&identity.on_behalf_of, identity.kind) {
        (Some(user), _) => Some(&user.subject),
        (None, Kind::Service | Kind::Spiffe) => None,
        (None, Kind::FirstParty | Kind::Cognito) => Some(&identity.subject),
    }
}

// === impl Question ===

impl Question<'_> {
    /// Adds the one command that asks it. No command reads more of a value than is looked at, and each fails on a key
    /// of another type than it should have.
    pub(crate) fn ask(&self, commands: &mut Pipeline) {
        match *self {
            Self::Session { session, .. } => value_of(commands, &format!("sid:{}", session.id)),
            Self::Revoked { token_id, origin } => {
                let command = commands.cmd("EXISTS");
                if let Some(token_id) = token_id {
                    command.arg(format!("revoked:jti:{token_id}"));
                }
                if let Some(origin) = origin {
                    command.arg(format!("revoked:origin_jti:{origin}"));
                }
            }
            Self::ValidAfter { subject, .. } => {
                value_of(commands, &format!("valid_after:{subject}"))
            }
            Self::User { subject } => value_of(commands, &format!("user:{subject}")),
        }
    }

    /// Takes its answer. A user's record comes back for its attributes.
    pub(crate) fn judge(&self, answers: &mut Answers) -> Result<Option<UserRecord>, Lapse> {
        match *self {
            Self::Session { session, subject } => {
                let record = read(answers).map_err(Lapse::SessionsUnavailable)?;
                judge_session(record.as_deref(), session, subject).map(|()| None)
            }
            Self::Revoked { .. } => match answers.count() {
                Ok(0) => Ok(None),
                Ok(_) => Err(Lapse::SessionRevoked(
                    "the token is on the list of revoked ones",
                )),
                Err(Unanswered(cause)) => Err(Lapse::SessionsUnavailable(cause)),
            },
            Self::ValidAfter { issued_at, .. } => {
                let time = read(answers).map_err(Lapse::SessionsUnavailable)?;
                judge_time(time.as_deref(), issued_at).map(|()| None)
            }
            Self::User { subject } => {
                let record = read(answers).map_err(Lapse::StatusUnavailable)?;
                judge_user(record.as_deref(), subject).map(Some)
            }
        }
    }
}

fn value_of(commands: &mut Pipeline, key: &str) {
    commands.cmd("GETRANGE").arg(key).arg(0).arg(MAX_VALUE);
}

/// The value asked for by [`value_of`]; none where there is none.
fn read(answers: &mut Answers) -> Result<Option<String>, &'static str> {
    match answers.text() {
        Ok(Some(value)) if value.len() > MAX_VALUE => Err("a value in Redis is too long"),
        Ok(value) => Ok(value.filter(|value| !value.is_empty())),
        Err(Unanswered(cause)) => Err(cause),
    }
}

/// `{"user_id": …, "version": …}`; other members are the session's own business.
fn judge_session(record: Option<&str>, session: &SessionRef, subject: &str) -> Result<(), Lapse> {
    let Some(record) = record else {
        return Err(Lapse::SessionRevoked("there is no such session any more"));
    };
    let record = Object::parse(record.as_bytes()).ok_or(Lapse::SessionsUnavailable(
        "the session's record is not JSON",
    ))?;
    let (Some(user), Some(Json::Natural(version))) =
        (record.string("user_id"), record.get("version"))
    else {
        return Err(Lapse::SessionsUnavailable(
            "the session's record lacks `user_id` or `version`",
        ));
    };
    if user != subject {
        return Err(Lapse::SessionRevoked("the session is another user's"));
    }
    if *version != session.version {
        return Err(Lapse::SessionRevoked("the session has another version"));
    }
    Ok(())
}

fn judge_time(time: Option<&str>, issued_at: u64) -> Result<(), Lapse> {
    let Some(time) = time else { return Ok(()) };
    let digits = time.bytes().all(|byte| byte.is_ascii_digit());
    let valid_after = time
        .parse::<u64>()
        .ok()
        .filter(|time| digits && *time <= MAX_TIME);
    match valid_after {
        None => Err(Lapse::SessionsUnavailable(
            "`valid_after` is no count of seconds",
        )),
        Some(valid_after) if issued_at < valid_after => Err(Lapse::SessionRevoked(
            "the token is older than `valid_after`",
        )),
        Some(_) => Ok(()),
    }
}

/// `{"enabled": …, "status": …, "attributes": {…}}`. Somebody without a record is no active user.
fn judge_user(record: Option<&str>, subject: &str) -> Result<UserRecord, Lapse> {
    let Some(record) = record else {
        return Err(Lapse::UserNotActive("there is no record of the user"));
    };
    let record = Object::parse(record.as_bytes())
        .ok_or(Lapse::StatusUnavailable("the user's record is not JSON"))?;
    let (Some(Json::Bool(enabled)), Some(status)) =
        (record.get("enabled"), record.string("status"))
    else {
        return Err(Lapse::StatusUnavailable(
            "the user's record lacks `enabled` or `status`",
        ));
    };
    let attributes = match record.get("attributes") {
        None => Vec::new(),
        Some(Json::Object(members)) => members
            .members()
            .map(|(name, value)| Some((name.to_owned(), value.as_str()?.to_owned())))
            .collect::<Option<_>>()
            .ok_or(Lapse::StatusUnavailable(
                "an attribute of the user's record is no text",
            ))?,
        Some(_) => {
            return Err(Lapse::StatusUnavailable(
                "the user's attributes are no object",
            ));
        }
    };
    let record = UserRecord {
        subject: subject.to_owned(),
        enabled: *enabled,
        active: status == "active",
        attributes,
    };
    record.judge(subject)?;
    Ok(record)
}
