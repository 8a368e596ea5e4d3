//! Whether a route is for this caller.

use identity::Identity;
use identity::config::Kind;

use super::forbid;
use crate::config::CallerKind;
use crate::rejection::{Reason, Rejection};
use crate::routes::Rule;

/// Whether this kind of caller may use the route, and shows every scope it requires.
///
/// What the user grants and what the service may do are required separately: neither's scopes count for the other.
pub(super) fn check_caller(rule: &Rule, identity: &Identity) -> Result<(), Rejection> {
    match identity.kind {
        Kind::Cognito | Kind::FirstParty => {
            if !rule.admits(CallerKind::User) {
                return Err(forbid("the route is not for users"));
            }
            check_scopes(rule.scopes(), &identity.scopes)
        }
        Kind::Service => {
            // Where only users belong a service's token proves nobody.
            if !rule.admits(CallerKind::Service) {
                return Err(Rejection::new(Reason::InvalidToken)
                    .because("a service's token on a route for users"));
            }
            check_scopes(rule.service_scopes(), &identity.scopes)?;
            match &identity.on_behalf_of {
                Some(user) => check_scopes(rule.scopes(), &user.scopes),
                None if rule.scopes().is_empty() => Ok(()),
                None => Err(Rejection::new(Reason::ActorRequired)),
            }
        }
        Kind::Spiffe => {
            if !rule.admits(CallerKind::Workload) {
                return Err(forbid("the route is not for workloads"));
            }
            // A certificate grants no scope.
            check_scopes(rule.scopes(), &identity.scopes)
        }
    }
}

fn check_scopes(required: &[String], shown: &[String]) -> Result<(), Rejection> {
    if required.iter().all(|scope| shown.contains(scope)) {
        Ok(())
    } else {
        Err(Rejection::new(Reason::InsufficientScope(required.to_vec())))
    }
}
