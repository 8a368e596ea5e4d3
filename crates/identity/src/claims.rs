//! The claims of a token (RFC 7519), required and typed, and the identity that they make.

mod acting;
mod read;
mod times;

use std::sync::Arc;

use crate::config::{Kind, SessionSource, UserStatusSource};
use crate::error::TokenError;
use crate::identity::{Identity, SessionRef};
use crate::jose::{Unverified, Verified};
use crate::json::{Json, Object};
use crate::profile::{Mapping, Profile};
use crate::trace::{Path, Silent, Trace};

/// An identity, and from when its token holds (leeway included).
pub(crate) struct Accepted {
    pub(crate) identity: Identity,
    pub(crate) valid_from: u64,
}

/// What comes of a claim that may be missing.
type Optional<T> = Result<Option<T>, TokenError>;

/// Reads claims one by one before somebody who looks on.
struct Claims<'a, T> {
    within: Option<&'static str>,
    members: &'a Object<'a>,
    trace: &'a mut T,
}

impl Profile {
    /// Checks what the header may choose, before any key is looked up.
    pub(crate) fn check_header(&self, token: &Unverified<'_>) -> Result<(), TokenError> {
        self.check_algorithm(token)?;
        self.check_type(token)
    }

    pub(crate) fn check_algorithm(&self, token: &Unverified<'_>) -> Result<(), TokenError> {
        if self.algorithms.contains(&token.algorithm) {
            Ok(())
        } else {
            Err(TokenError::Invalid(
                "an algorithm that the issuer does not use",
            ))
        }
    }

    pub(crate) fn check_type(&self, token: &Unverified<'_>) -> Result<(), TokenError> {
        if self.typ.contains(&token.typ) {
            Ok(())
        } else {
            Err(TokenError::Invalid("a type that the issuer does not use"))
        }
    }

    /// Whether the token is for this entry, where several share one issuer. Decides only whose
    /// rules and keys apply; the rules then check the same claims again.
    pub(crate) fn is_addressed(&self, token: &Unverified<'_>) -> bool {
        let claims = token.unverified_claims();
        self.check_use(claims.get("token_use")).is_ok() && self.check_target(claims).is_ok()
    }

    /// The same before somebody who takes notes.
    pub(crate) fn explain_address(&self, token: &Unverified<'_>, trace: &mut impl Trace) {
        let mut claims = Claims {
            within: None,
            members: token.unverified_claims(),
            trace,
        };
        // The notes hold what is wrong.
        let _ = claims.read("token_use", |usage| self.check_use(usage));
        let _ = self.read_target(&mut claims);
    }

    /// Makes an identity of verified claims, or says what is wrong with them. `url` is the exact
    /// issuer that the token was laid to, `now` in seconds since 1970.
    pub(crate) fn accept(
        &self,
        token: &Verified<'_>,
        url: &Arc<str>,
        now: u64,
    ) -> Result<Accepted, TokenError> {
        self.judge(token.claims(), url, now, &mut Silent)
    }

    /// The same judgement before somebody who takes notes, whatever the signature is worth: nothing
    /// comes of it but the notes.
    pub(crate) fn explain(
        &self,
        token: &Unverified<'_>,
        url: &Arc<str>,
        now: u64,
        trace: &mut impl Trace,
    ) -> Result<(), TokenError> {
        self.judge(token.unverified_claims(), url, now, trace)
            .map(|_| ())
    }

    /// The same of claims that somebody else has verified the signature of.
    pub(crate) fn accept_vouched(
        &self,
        claims: &Object<'_>,
        url: &Arc<str>,
        now: u64,
    ) -> Result<Identity, TokenError> {
        let accepted = self.judge(claims, url, now, &mut Silent)?;
        Ok(accepted.identity)
    }

    /// The identity that claims would make if somebody had signed them.
    #[cfg(test)]
    pub(crate) fn accept_unsigned(
        &self,
        claims: &serde_json::Value,
        now: u64,
    ) -> Result<Identity, TokenError> {
        let claims = claims.to_string();
        let claims = Object::parse(claims.as_bytes()).unwrap_or_default();
        let url = self.urls.first().cloned().unwrap_or_default();
        let accepted = self.judge(&claims, &url, now, &mut Silent);
        accepted.map(|accepted| accepted.identity)
    }

    /// All claims are read before the first mistake ends it, so that an explanation names each.
    fn judge(
        &self,
        claims: &Object<'_>,
        url: &Arc<str>,
        now: u64,
        trace: &mut impl Trace,
    ) -> Result<Accepted, TokenError> {
        let mut claims = Claims {
            within: None,
            members: claims,
            trace,
        };
        let is_id = is_id_token(claims.members);
        let issuer = claims.read("iss", |iss| read::exactly(iss, url));
        let usage = claims.read("token_use", |usage| self.check_use(usage));
        let target = self.read_target(&mut claims);
        // Bound to a key or certificate that a bearer need not hold (RFC 7800).
        let unbound = claims.read("cnf", read::absent);
        let subject = claims.read("sub", |sub| read::subject(self.kind, sub));
        let username = self.read_username(&mut claims);
        let principal = read_mapped(&mut claims, self.kind, &self.principal);
        let scopes = claims.read("scope", read::scopes);
        let token_id = claims.read("jti", |jti| match self.kind {
            Kind::FirstParty => read::token_id(jti).map(Some),
            Kind::Cognito | Kind::Service | Kind::Spiffe => read::optional(jti, read::token_id),
        });
        let (origin_token_id, authenticated_at) = self.read_sign_in(&mut claims);
        let session = self.read_session(&mut claims);
        let on_behalf_of = self.read_acting(&mut claims);
        let times = self.read_times(&mut claims, now);

        issuer?;
        usage?;
        unbound?;
        let (client_id, subject, username) = (target?, subject?, username?);
        let (principal, scopes) = (principal?, scopes?);
        let (token_id, origin_token_id) = (token_id?, origin_token_id?);
        let (authenticated_at, session) = (authenticated_at?, session?);
        let on_behalf_of = on_behalf_of?;
        // Last, so that only a token that is good in all else is said to have expired.
        let times = times?;
        let identity = Identity {
            issuer: Arc::clone(&self.name),
            issuer_url: Arc::clone(url),
            kind: self.kind,
            is_id_token: is_id,
            subject,
            principal_type: Arc::clone(&self.principal.entity_type),
            principal_id: principal.id,
            group_type: self.principal.group_type(),
            groups: principal.groups,
            attributes: principal.attributes,
            scopes,
            username,
            client_id,
            token_id,
            origin_token_id,
            authenticated_at,
            issued_at: times.issued_at,
            expires_at: times.expires_at,
            session,
            session_source: self.session,
            status_source: self.user_status,
            on_behalf_of,
        };
        let valid_from = times
            .issued_at
            .max(times.not_before)
            .saturating_sub(self.leeway);
        Ok(Accepted {
            identity,
            valid_from,
        })
    }

    fn check_use(&self, token_use: Option<&Json<'_>>) -> Result<(), TokenError> {
        let usage = match token_use {
            None => Some(None),
            Some(Json::String(usage)) => Some(Some(&**usage)),
            Some(_) => None,
        };
        let accepted = |usage: Option<&str>| {
            let mut accepted = self.token_use.iter();
            accepted.any(|accepted| accepted.as_deref() == usage)
        };
        if usage.is_some_and(accepted) {
            Ok(())
        } else {
            Err(TokenError::Invalid("token use"))
        }
    }

    /// Whether the token is for us: for one of our audiences, or for one of the pool's app clients.
    /// Cognito names those as `client_id` in access tokens and as `aud` in id tokens; a token that
    /// says both is neither.
    fn check_target(&self, claims: &Object<'_>) -> Optional<Box<str>> {
        if self.kind != Kind::Cognito {
            return read::audience(claims.get("aud"), &self.audiences).map(|()| None);
        }
        let (named, other) = if is_id_token(claims) {
            ("aud", "client_id")
        } else {
            ("client_id", "aud")
        };
        read::absent(claims.get(other))?;
        read::one_of(claims.get(named), &self.client_ids).map(Some)
    }

    fn read_target<T: Trace>(&self, claims: &mut Claims<'_, T>) -> Optional<Box<str>> {
        let target = self.check_target(claims.members);
        let names: &[&str] = match self.kind {
            Kind::Cognito => &["client_id", "aud"],
            Kind::FirstParty | Kind::Service | Kind::Spiffe => &["aud"],
        };
        for name in names {
            let refused = target.as_ref().err().copied();
            let value = claims.members.get(name);
            claims.trace.claim(claims.path(name), value, refused);
        }
        target
    }

    /// The name by which a directory knows the user: always there in Cognito's tokens; asked of
    /// others only where Cognito is to be asked about their users.
    fn read_username<T: Trace>(&self, claims: &mut Claims<'_, T>) -> Optional<Box<str>> {
        match self.kind {
            Kind::Cognito if is_id_token(claims.members) => {
                claims.read("cognito:username", read::username).map(Some)
            }
            Kind::Cognito => claims.read("username", read::username).map(Some),
            Kind::FirstParty if self.user_status == UserStatusSource::Cognito => {
                claims.read("username", |name| read::optional(name, read::username))
            }
            Kind::FirstParty | Kind::Service | Kind::Spiffe => Ok(None),
        }
    }

    /// What Cognito says of the sign-in behind a token.
    fn read_sign_in<T: Trace>(
        &self,
        claims: &mut Claims<'_, T>,
    ) -> (Optional<Box<str>>, Optional<u64>) {
        if self.kind != Kind::Cognito {
            return (Ok(None), Ok(None));
        }
        (
            claims.read("origin_jti", |id| read::optional(id, read::token_id)),
            claims.read("auth_time", |time| read::optional(time, read::time)),
        )
    }

    /// The session of a first-party user, who cannot be without one where sessions are kept.
    fn read_session<T: Trace>(
        &self,
        claims: &mut Claims<'_, T>,
    ) -> Result<Option<SessionRef>, TokenError> {
        if self.kind != Kind::FirstParty || self.session == SessionSource::None {
            return Ok(None);
        }
        let id = claims.read("sid", read::session_id);
        let version = claims.read("sidv", read::session_version);
        Ok(Some(SessionRef {
            id: id?,
            version: version?,
        }))
    }
}

// === impl Claims ===

impl<T: Trace> Claims<'_, T> {
    /// Reads one claim.
    fn read<R>(
        &mut self,
        name: &str,
        read: impl FnOnce(Option<&Json<'_>>) -> Result<R, TokenError>,
    ) -> Result<R, TokenError> {
        let value = self.members.get(name);
        let result = read(value);
        let refused = result.as_ref().err().copied();
        self.trace.claim(self.path(name), value, refused);
        result
    }

    /// A verdict on a claim that has been read and was found to have the right form.
    fn judge(&mut self, name: &str, result: Result<(), TokenError>) -> Result<(), TokenError> {
        result.inspect_err(|&refused| {
            let value = self.members.get(name);
            self.trace.claim(self.path(name), value, Some(refused));
        })
    }

    fn path<'n>(&self, name: &'n str) -> Path<'n> {
        Path {
            within: self.within,
            name,
        }
    }
}

// === impl Mapping ===

impl Mapping {
    fn group_type(&self) -> Option<Arc<str>> {
        let group_type = |(_, entity_type): &(String, Arc<str>)| Arc::clone(entity_type);
        self.groups.as_ref().map(group_type)
    }
}

fn is_id_token(claims: &Object<'_>) -> bool {
    claims.string("token_use") == Some("id")
}

/// What a mapping makes of claims.
struct Mapped {
    id: Box<str>,
    groups: Vec<String>,
    attributes: Vec<(Arc<str>, crate::identity::Claim)>,
}

fn read_mapped<T: Trace>(
    claims: &mut Claims<'_, T>,
    kind: Kind,
    mapping: &Mapping,
) -> Result<Mapped, TokenError> {
    let id = claims.read(&mapping.id_claim, |id| read::principal_id(kind, id));
    let groups = match &mapping.groups {
        Some((claim, _)) => claims.read(claim, read::groups),
        None => Ok(Vec::new()),
    };
    let mut attributes = Vec::with_capacity(mapping.attributes.len());
    let mut refused = Ok(());
    for (name, claim) in &mapping.attributes {
        match claims.read(claim, |value| read::optional(value, read::attribute)) {
            Ok(Some(value)) => attributes.push((Arc::clone(name), value)),
            Ok(None) => {}
            Err(error) => refused = Err(error),
        }
    }
    refused?;
    Ok(Mapped {
        id: id?,
        groups: groups?,
        attributes,
    })
}
