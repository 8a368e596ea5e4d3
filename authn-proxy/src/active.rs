//! From an identity that a token proved to a user who may act right now.
//!
//! This is where sessions and the status of users are asked about. An issuer whose configuration asks for either is
//! refused when it is loaded as long as nothing here can answer for it, so a token that names a session is none of ours.

use std::sync::Arc;

use identity::Identity;
use identity::config::{Kind, SessionSource, UserStatusSource};

use crate::config::CallerKind;
use crate::rejection::{Reason, Rejection};

/// Someone whose token is good and who has not been shut out since it was issued. Only [`activate`] makes one.
#[derive(Clone, Debug)]
pub struct ActiveUser {
    identity: Arc<Identity>,
}

/// Asks whether the bearer of a good token may act at the moment.
///
/// # Errors
/// When the issuer keeps sessions, or a list of its users, that cannot be looked up: unknown is not active.
pub fn activate(identity: Arc<Identity>) -> Result<ActiveUser, Rejection> {
    if identity.session.is_some()
        || identity.session_source != SessionSource::None
        || identity.status_source != UserStatusSource::None
    {
        return Err(
            Rejection::new(Reason::SessionStoreUnavailable).because("no session store to ask")
        );
    }
    Ok(ActiveUser { identity })
}

// === impl ActiveUser ===

impl ActiveUser {
    /// What the token proved.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether a person or a service is calling.
    pub fn kind(&self) -> CallerKind {
        match self.identity.kind {
            Kind::Cognito | Kind::FirstParty => CallerKind::User,
            Kind::Service => CallerKind::Service,
        }
    }
}

#[cfg(test)]
mod tests {
    use identity::SessionRef;

    use super::*;
    use crate::fixture::identity;

    #[test]
    fn a_session_that_cannot_be_asked_about_is_not_open() {
        let mut identity = identity();
        assert_eq!(
            activate(Arc::new(identity.clone())).unwrap().identity(),
            &identity
        );
        identity.session = Some(SessionRef {
            id: "s".to_owned(),
            version: 1,
        });
        let rejection = activate(Arc::new(identity)).unwrap_err();
        assert_eq!(rejection.reason(), &Reason::SessionStoreUnavailable);
    }
}
