//! One claim each: its type, its size, and the characters that it may hold.

use crate::config::Kind;
use crate::error::TokenError;
use crate::identity::Claim;
use crate::json::Json;

/// The longest subject, entity id, session id and token id, in bytes.
const MAX_ID: usize = 256;
/// The longest user name, in characters (Cognito's own limit).
const MAX_USERNAME: usize = 128;
/// The most groups, audiences or scopes, and the longest of each, in bytes.
const MAX_NAMES: usize = 256;
const MAX_NAME: usize = 128;
/// The longest text that becomes an attribute, in bytes.
const MAX_TEXT: usize = 4096;
/// The end of the year 9999: times beyond it are mistakes, and sums with them could overflow.
const MAX_TIME: u64 = 253_402_300_799;
/// What the names of services begin with, and no other name.
const SERVICE: &str = "spn:";
/// What a workload is told that shows a token as one.
const NOT_OF_TOKENS: TokenError = TokenError::Invalid("workloads show no tokens");

/// A claim that may be missing, and is held to the same rule where it is there.
pub(super) fn optional<R>(
    value: Option<&Json<'_>>,
    read: impl FnOnce(Option<&Json<'_>>) -> Result<R, TokenError>,
) -> Result<Option<R>, TokenError> {
    match value {
        None => Ok(None),
        some => read(some).map(Some),
    }
}

/// A claim that such a token may not have.
pub(super) fn absent(value: Option<&Json<'_>>) -> Result<(), TokenError> {
    match value {
        None => Ok(()),
        Some(_) => Err(TokenError::Invalid(
            "a claim that such a token may not have",
        )),
    }
}

/// Exactly this text.
pub(super) fn exactly(value: Option<&Json<'_>>, expected: &str) -> Result<(), TokenError> {
    match value.and_then(Json::as_str) {
        Some(text) if text == expected => Ok(()),
        _ => Err(TokenError::Invalid("issuer")),
    }
}

/// One of these texts, and no list.
pub(super) fn one_of(value: Option<&Json<'_>>, ours: &[String]) -> Result<Box<str>, TokenError> {
    let named = value.and_then(Json::as_str);
    let found = ours.iter().find(|our| named == Some(our.as_str()));
    found
        .map(|found| found.as_str().into())
        .ok_or(TokenError::Invalid("app client"))
}

/// `aud` is a string or an array of strings, one of which is ours; others may stand beside it.
pub(super) fn audience(aud: Option<&Json<'_>>, ours: &[String]) -> Result<(), TokenError> {
    let is_ours = |audience: &str| ours.iter().any(|our| our == audience);
    let addressed = match aud {
        Some(Json::String(audience)) => is_ours(audience),
        Some(Json::Array(list)) if list.len() <= MAX_NAMES => {
            list.iter()
                .all(|audience| audience.as_str().is_some_and(|text| !text.is_empty()))
                && list.iter().filter_map(Json::as_str).any(is_ours)
        }
        _ => false,
    };
    if addressed {
        Ok(())
    } else {
        Err(TokenError::Invalid("audience"))
    }
}

/// A non-negative integer, as `NumericDate` is here: fractions are refused.
pub(super) fn time(value: Option<&Json<'_>>) -> Result<u64, TokenError> {
    match value {
        Some(&Json::Natural(seconds)) if seconds <= MAX_TIME => Ok(seconds),
        _ => Err(TokenError::Invalid("a time is missing or no whole number")),
    }
}

/// `sub`: users and services have names of different forms, and the users of a Cognito pool have
/// UUIDs, which Cognito chooses.
pub(super) fn subject(kind: Kind, value: Option<&Json<'_>>) -> Result<Box<str>, TokenError> {
    match kind {
        Kind::FirstParty => user_id(value),
        Kind::Service => service_id(value),
        Kind::Cognito => text_where(value, is_uuid).ok_or(TokenError::Invalid("subject")),
        Kind::Spiffe => Err(NOT_OF_TOKENS),
    }
}

/// The entity id of the bearer.
pub(super) fn principal_id(kind: Kind, value: Option<&Json<'_>>) -> Result<Box<str>, TokenError> {
    match kind {
        Kind::FirstParty | Kind::Cognito => user_id(value),
        Kind::Service => service_id(value),
        Kind::Spiffe => Err(NOT_OF_TOKENS),
    }
}

/// An id that names one user and nothing else: it becomes part of log lines, headers and keys, so
/// it is short and made of letters, digits and `._@|+=-`. No `:` keeps users apart from services.
pub(super) fn user_id(value: Option<&Json<'_>>) -> Result<Box<str>, TokenError> {
    text_where(value, is_user_id).ok_or(TokenError::Invalid("subject"))
}

/// The name of a service: `spn:`, and then what a user's id could be.
fn service_id(value: Option<&Json<'_>>) -> Result<Box<str>, TokenError> {
    let sound = |id: &str| id.len() <= MAX_ID && id.strip_prefix(SERVICE).is_some_and(is_user_id);
    text_where(value, sound).ok_or(TokenError::Invalid("the subject is no service"))
}

/// A user's name in a directory: any text, but not what a service is called.
pub(super) fn username(value: Option<&Json<'_>>) -> Result<Box<str>, TokenError> {
    let sound = |name: &str| {
        (1..=MAX_USERNAME).contains(&name.chars().count())
            && is_text(name)
            && !name.starts_with(SERVICE)
    };
    text_where(value, sound).ok_or(TokenError::Invalid("user name"))
}

pub(super) fn token_id(value: Option<&Json<'_>>) -> Result<Box<str>, TokenError> {
    let sound = |id: &str| (1..=MAX_ID).contains(&id.len()) && is_text(id);
    text_where(value, sound).ok_or(TokenError::Invalid("token id"))
}

/// A session's id: it becomes part of a key, so nothing in it may end one or stand for many.
pub(super) fn session_id(value: Option<&Json<'_>>) -> Result<Box<str>, TokenError> {
    let sound = |id: &str| {
        (1..=MAX_ID).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._~+/=-".contains(&byte))
    };
    text_where(value, sound).ok_or(TokenError::Invalid("session"))
}

pub(super) fn session_version(value: Option<&Json<'_>>) -> Result<u64, TokenError> {
    match value {
        Some(&Json::Natural(version)) => Ok(version),
        _ => Err(TokenError::Invalid("session version")),
    }
}

/// Names joined by commas in a header: printable ASCII without commas, so that neither a joined
/// list nor a look-alike letter can make another name.
pub(super) fn groups(value: Option<&Json<'_>>) -> Result<Vec<String>, TokenError> {
    let sound = |group: &&str| {
        (1..=MAX_NAME).contains(&group.len())
            && group.trim() == *group
            && group
                .bytes()
                .all(|byte| (byte.is_ascii_graphic() || byte == b' ') && byte != b',')
    };
    let refused = TokenError::Invalid("groups");
    match value {
        None => Ok(Vec::new()),
        Some(Json::Array(list)) if list.len() <= MAX_NAMES => {
            let group = |group: &Json<'_>| group.as_str().filter(sound).map(str::to_owned);
            exactly_all(list, group).ok_or(refused)
        }
        Some(_) => Err(refused),
    }
}

/// Scopes as RFC 6749, 3.3 writes them: one string, separated by spaces. A `scope` that is no
/// string grants nothing.
pub(super) fn scopes(value: Option<&Json<'_>>) -> Result<Vec<String>, TokenError> {
    let Some(text) = value.and_then(Json::as_str) else {
        return Ok(Vec::new());
    };
    let refused = TokenError::Invalid("scope");
    let sound = |scope: &str| {
        scope.len() <= MAX_NAME
            && scope
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"\"\\,".contains(&byte))
    };
    let scopes: Vec<&str> = text.split(' ').filter(|scope| !scope.is_empty()).collect();
    if scopes.len() > MAX_NAMES || !scopes.iter().all(|scope| sound(scope)) {
        return Err(refused);
    }
    Ok(scopes.into_iter().map(str::to_owned).collect())
}

/// A value that Cedar and JSON share.
pub(super) fn attribute(value: Option<&Json<'_>>) -> Result<Claim, TokenError> {
    let text = |text: &str| (text.len() <= MAX_TEXT && is_text(text)).then(|| text.to_owned());
    let claim = match value {
        Some(Json::String(value)) => text(value).map(Claim::String),
        Some(Json::Bool(value)) => Some(Claim::Bool(*value)),
        Some(Json::Natural(value)) => i64::try_from(*value).ok().map(Claim::Long),
        Some(Json::Negative(value)) => Some(Claim::Long(*value)),
        Some(Json::Array(list)) if list.len() <= MAX_NAMES => {
            exactly_all(list, |item| item.as_str().and_then(text)).map(Claim::Strings)
        }
        None | Some(Json::Null | Json::Float | Json::Array(_) | Json::Object(_)) => None,
    };
    claim.ok_or(TokenError::Invalid("attribute claim"))
}

// === helpers ===

/// The texts of all elements, or none where one has none. The list has room for no more: it is kept for as long as the
/// token is remembered, and collecting `Option`s would leave room for four where there is one.
fn exactly_all(
    list: &[Json<'_>],
    text: impl Fn(&Json<'_>) -> Option<String>,
) -> Option<Vec<String>> {
    let mut texts = Vec::with_capacity(list.len());
    for element in list {
        texts.push(text(element)?);
    }
    Some(texts)
}

fn text_where(value: Option<&Json<'_>>, sound: impl FnOnce(&str) -> bool) -> Option<Box<str>> {
    let text = value.and_then(Json::as_str)?;
    sound(text).then(|| text.into())
}

fn is_user_id(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._@|+=-".contains(&byte))
}

/// Five groups of hexadecimal digits (RFC 9562, 4).
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_text(text: &str) -> bool {
    !text.chars().any(char::is_control)
}
