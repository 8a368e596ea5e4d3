//! What each claim is held to, in words.

use super::Finding;
use crate::config::{Kind, SessionSource};
use crate::error::TokenError;
use crate::json::Json;
use crate::profile::Profile;
use crate::trace::Path;

/// The rule for one claim of an entry's tokens.
pub(super) fn of_claim(profile: &Profile, path: Path<'_>) -> Option<String> {
    let text = |text: &str| Some(text.to_owned());
    let mapping = if path.within.is_some() {
        &profile.on_behalf_of
    } else {
        &profile.principal
    };
    match (path.within, path.name) {
        (None, "iss") => text("the entry's issuer, to the letter"),
        (None, "token_use") => {
            let uses: Vec<_> = profile.token_use.iter().map(|one| one.as_deref()).collect();
            Some(listed_or_none(&uses))
        }
        (None, "client_id") if profile.kind == Kind::Cognito => Some(format!(
            "in an access token {}; an id token has none",
            listed(&texts(&profile.client_ids))
        )),
        (None, "aud") if profile.kind == Kind::Cognito => Some(format!(
            "in an id token {}; an access token has none",
            listed(&texts(&profile.client_ids))
        )),
        (None, "aud") => Some(format!(
            "among others, {}",
            listed(&texts(&profile.audiences))
        )),
        (_, "cnf") => text("absent: a bearer token is bound to no key"),
        (None, "act") if profile.kind == Kind::Service => {
            text("an object: the user that the service acts for")
        }
        (None, "act") => text("absent: users act for nobody"),
        (Some(_), "act") => text("absent: one service acts for one user"),
        (None, "sub") => text(match profile.kind {
            Kind::Cognito => "a UUID",
            Kind::FirstParty => USER_ID,
            Kind::Service => "`spn:` and then letters, digits and `._@|+=-`, at most 256 bytes",
            Kind::Spiffe => "absent: workloads show no tokens",
        }),
        (Some(_), "sub") => text(USER_ID),
        (_, "username" | "cognito:username") => {
            text("text of at most 128 characters that does not begin with `spn:`")
        }
        (_, "scope") => text("scopes in one text, separated by spaces"),
        (None, "jti" | "origin_jti") => text("text of at most 256 bytes"),
        (_, "sid") if profile.session != SessionSource::None => {
            text("letters, digits and `._~+/=-`, at most 256 bytes")
        }
        (_, "sidv") if profile.session != SessionSource::None => text("a whole number"),
        (None, "exp") => Some(format!(
            "whole seconds since 1970; at most {}s after `iat`, and not over, each with a leeway of {}s",
            profile.max_lifetime, profile.leeway
        )),
        (None, "iat" | "nbf") => Some(format!(
            "whole seconds since 1970; not in the future, with a leeway of {}s",
            profile.leeway
        )),
        (None, "auth_time") => text("whole seconds since 1970"),
        (_, name) => {
            let groups = mapping.groups.as_ref().filter(|(claim, _)| claim == name);
            if let Some((_, entity_type)) = groups {
                return Some(format!(
                    "an array of names without commas, which become parents of type `{entity_type}`"
                ));
            }
            if mapping.id_claim == name {
                return Some(format!(
                    "the id of the `{}`: {USER_ID}",
                    mapping.entity_type
                ));
            }
            let attribute = mapping.attributes.iter().find(|(_, claim)| claim == name);
            attribute.map(|(attribute, _)| {
                format!(
                    "text, a whole number, a truth value or texts: becomes attribute `{attribute}`"
                )
            })
        }
    }
}

/// The finding for a time that is over, or not come, with how far off it is.
pub(super) fn elapsed(error: TokenError, value: Option<&Json<'_>>, now: u64) -> Option<Finding> {
    let &Json::Natural(time) = value? else {
        return None;
    };
    match error {
        TokenError::Expired => Some(Finding::Refused(format!(
            "the token expired {}s ago",
            now.saturating_sub(time)
        ))),
        TokenError::NotYetValid => Some(Finding::Refused(format!(
            "the token is not valid for another {}s",
            time.saturating_sub(now)
        ))),
        _ => None,
    }
}

/// Names in backticks.
pub(super) fn listed(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(" or ")
}

/// The same, where having none may be right.
pub(super) fn listed_or_none(names: &[Option<&str>]) -> String {
    let name = |name: &Option<&str>| name.map_or("none".to_owned(), |name| format!("`{name}`"));
    let names: Vec<_> = names.iter().map(name).collect();
    names.join(" or ")
}

const USER_ID: &str = "letters, digits and `._@|+=-`, at most 256 bytes";

fn texts(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}
