//! The claims of a token (RFC 7519), required and typed, and the identity that they make.

use std::sync::Arc;

use crate::error::TokenError;
use crate::identity::{Claim, Identity};
use crate::jose::{Unverified, Verified};
use crate::json::{Json, Object};
use crate::profile::Profile;

/// The longest subject, entity id and token id, in bytes.
const MAX_ID: usize = 256;
/// The most groups, audiences or scopes, and the longest of each, in bytes.
const MAX_NAMES: usize = 256;
const MAX_NAME: usize = 128;
/// The longest text that becomes an attribute, in bytes.
const MAX_TEXT: usize = 4096;
/// The end of the year 9999: times beyond it are mistakes, and sums with them could overflow.
const MAX_TIME: u64 = 253_402_300_799;

/// The times that bound a token's validity, in seconds since 1970.
struct Times {
    issued_at: u64,
    not_before: u64,
    expires_at: u64,
}

/// An identity, and from when its token holds (leeway included).
pub(crate) struct Accepted {
    pub(crate) identity: Identity,
    pub(crate) valid_from: u64,
}

impl Profile {
    /// Checks what the header may choose, before any key is looked up.
    pub(crate) fn check_header(&self, token: &Unverified<'_>) -> Result<(), TokenError> {
        if !self.algorithms.contains(&token.algorithm) {
            return Err(TokenError::Invalid(
                "an algorithm that the issuer does not use",
            ));
        }
        if !self.typ.contains(&token.typ) {
            return Err(TokenError::Invalid("a type that the issuer does not use"));
        }
        Ok(())
    }

    /// Whether the token is for this entry, where several share one issuer. Decides only whose
    /// rules and keys apply; the rules then check the same claims again.
    pub(crate) fn is_addressed(&self, token: &Unverified<'_>) -> bool {
        check_audience(token.unverified_claim("aud"), &self.audiences).is_ok()
            && self.check_use(token.unverified_claim("token_use")).is_ok()
    }

    /// Makes an identity of verified claims, or says what is wrong with them. `url` is the exact
    /// issuer that the token was laid to, `now` in seconds since 1970.
    pub(crate) fn accept(
        &self,
        token: &Verified,
        url: &Arc<str>,
        now: u64,
    ) -> Result<Accepted, TokenError> {
        let claims = token.claims();
        if claims.string("iss") != Some(url) {
            return Err(TokenError::Invalid("issuer"));
        }
        check_audience(claims.get("aud"), &self.audiences)?;
        self.check_use(claims.get("token_use"))?;
        // Bound to a key or certificate that a bearer need not hold; or acting for another user,
        // which is not a user's token.
        if claims.has("cnf") || claims.has("act") {
            return Err(TokenError::Invalid(
                "a claim that a bearer token may not have",
            ));
        }
        let identity = Identity {
            issuer: Arc::clone(&self.name),
            issuer_url: Arc::clone(url),
            kind: self.kind,
            subject: entity_id(claims, "sub")?,
            principal_type: Arc::clone(&self.principal_type),
            principal_id: entity_id(claims, &self.id_claim)?,
            group_type: self
                .groups
                .as_ref()
                .map(|(_, entity_type)| Arc::clone(entity_type)),
            groups: self
                .groups
                .as_ref()
                .map_or(Ok(Vec::new()), |(claim, _)| groups(claims, claim))?,
            attributes: self.attributes(claims)?,
            scopes: scopes(claims)?,
            username: None,
            client_id: None,
            token_id: Some(token_id(claims)?),
            origin_token_id: None,
            authenticated_at: None,
            issued_at: time(claims, "iat")?,
            expires_at: time(claims, "exp")?,
            session: None,
            session_source: self.session,
            status_source: self.user_status,
            on_behalf_of: None,
        };
        let times = Times {
            issued_at: identity.issued_at,
            not_before: if claims.has("nbf") {
                time(claims, "nbf")?
            } else {
                identity.issued_at
            },
            expires_at: identity.expires_at,
        };
        self.check_times(&times, now)?;
        let valid_from = times
            .issued_at
            .max(times.not_before)
            .saturating_sub(self.leeway);
        Ok(Accepted {
            identity,
            valid_from,
        })
    }

    fn check_times(&self, times: &Times, now: u64) -> Result<(), TokenError> {
        let lifetime = times
            .expires_at
            .checked_sub(times.issued_at)
            .filter(|&life| life > 0);
        if lifetime.is_none_or(|life| life > self.max_lifetime + self.leeway) {
            return Err(TokenError::Invalid("lifetime"));
        }
        if times.issued_at > now + self.leeway {
            return Err(TokenError::Invalid("issued in the future"));
        }
        if times.not_before > now + self.leeway {
            return Err(TokenError::NotYetValid);
        }
        if now >= times.expires_at + self.leeway {
            return Err(TokenError::Expired);
        }
        Ok(())
    }

    fn check_use(&self, token_use: Option<&Json>) -> Result<(), TokenError> {
        let accepted = match token_use {
            None => self.token_use.is_empty(),
            Some(Json::String(usage)) if self.token_use.is_empty() => usage == "access",
            Some(Json::String(usage)) => self.token_use.contains(usage),
            Some(_) => false,
        };
        if accepted {
            Ok(())
        } else {
            Err(TokenError::Invalid("token use"))
        }
    }

    fn attributes(&self, claims: &Object) -> Result<Vec<(Arc<str>, Claim)>, TokenError> {
        let mut attributes = Vec::with_capacity(self.attributes.len());
        for (name, claim) in &self.attributes {
            if let Some(value) = claims.get(claim) {
                let value = attribute(value).ok_or(TokenError::Invalid("attribute claim"))?;
                attributes.push((Arc::clone(name), value));
            }
        }
        Ok(attributes)
    }
}

/// `aud` is a string or an array of strings, one of which is ours; others may stand beside it.
fn check_audience(aud: Option<&Json>, ours: &[String]) -> Result<(), TokenError> {
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
fn time(claims: &Object, name: &str) -> Result<u64, TokenError> {
    match claims.get(name) {
        Some(&Json::Natural(seconds)) if seconds <= MAX_TIME => Ok(seconds),
        _ => Err(TokenError::Invalid("a time is missing or no whole number")),
    }
}

/// An id that names one principal and nothing else: it becomes part of log lines, headers and keys,
/// so it is short and made of letters, digits and `._@|+=-`. No `:` keeps users apart from services,
/// whose names start with `spn:`.
fn entity_id(claims: &Object, name: &str) -> Result<String, TokenError> {
    let sound = |id: &&str| {
        (1..=MAX_ID).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._@|+=-".contains(&byte))
    };
    let id = claims
        .string(name)
        .filter(sound)
        .ok_or(TokenError::Invalid("subject"))?;
    Ok(id.to_owned())
}

fn token_id(claims: &Object) -> Result<String, TokenError> {
    let sound = |id: &&str| (1..=MAX_ID).contains(&id.len()) && is_text(id);
    let id = claims
        .string("jti")
        .filter(sound)
        .ok_or(TokenError::Invalid("token id"))?;
    Ok(id.to_owned())
}

/// Names joined by commas in a header: printable ASCII without commas, so that neither a joined
/// list nor a look-alike letter can make another name.
fn groups(claims: &Object, name: &str) -> Result<Vec<String>, TokenError> {
    let sound = |group: &&str| {
        (1..=MAX_NAME).contains(&group.len())
            && group.trim() == *group
            && group
                .bytes()
                .all(|byte| (byte.is_ascii_graphic() || byte == b' ') && byte != b',')
    };
    let refused = TokenError::Invalid("groups");
    match claims.get(name) {
        None => Ok(Vec::new()),
        Some(Json::Array(list)) if list.len() <= MAX_NAMES => list
            .iter()
            .map(|group| {
                group
                    .as_str()
                    .filter(sound)
                    .map(str::to_owned)
                    .ok_or(refused)
            })
            .collect(),
        Some(_) => Err(refused),
    }
}

/// Scopes as RFC 6749, 3.3 writes them: one string, separated by spaces. A `scope` that is no
/// string grants nothing.
fn scopes(claims: &Object) -> Result<Vec<String>, TokenError> {
    let Some(text) = claims.string("scope") else {
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

fn attribute(value: &Json) -> Option<Claim> {
    let text = |text: &str| (text.len() <= MAX_TEXT && is_text(text)).then(|| text.to_owned());
    match value {
        Json::String(value) => text(value).map(Claim::String),
        Json::Bool(value) => Some(Claim::Bool(*value)),
        Json::Natural(value) => i64::try_from(*value).ok().map(Claim::Long),
        Json::Negative(value) => Some(Claim::Long(*value)),
        Json::Array(list) if list.len() <= MAX_NAMES => {
            let texts: Option<_> = list
                .iter()
                .map(|item| item.as_str().and_then(text))
                .collect();
            texts.map(Claim::Strings)
        }
        Json::Null | Json::Float | Json::Array(_) | Json::Object(_) => None,
    }
}

fn is_text(text: &str) -> bool {
    !text.chars().any(char::is_control)
}
