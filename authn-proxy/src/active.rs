//! From an identity that a token proved to a user who may act right now.
//!
//! This is the one place where sessions and the status of users come in: whoever is no [`ActiveUser`] gets no further.

use std::sync::Arc;

use identity::config::Kind;
use identity::{Identity, Lapse, Standing, UserRecord, Welcome};
use tokio::time::Instant;

use crate::config::CallerKind;
use crate::rejection::{Reason, Rejection};

#[cfg(test)]
mod tests;

/// Someone whose token is good and who has not been shut out since it was issued. Only [`activate`] makes one.
#[derive(Clone, Debug)]
pub struct ActiveUser {
    identity: Arc<Identity>,
    welcome: Welcome,
}

/// Asks whether the bearer of a good token, and whoever the bearer acts for, may act at the moment.
///
/// # Errors
/// When something speaks against it, and when that cannot be found out: unknown is not active.
pub async fn activate(
    standing: &Standing,
    identity: Arc<Identity>,
) -> Result<ActiveUser, Rejection> {
    let welcome = standing.check(&identity).await?;
    Ok(ActiveUser { identity, welcome })
}

// === impl ActiveUser ===

impl ActiveUser {
    /// What the token proved.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The same, to be kept for longer than the request.
    pub(crate) fn shared_identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// When the bearer was known to be welcome.
    pub(crate) fn as_of(&self) -> Instant {
        self.welcome.as_of
    }

    /// What the user directory says of the bearer, where one was asked.
    pub fn record_of_bearer(&self) -> Option<&UserRecord> {
        match self.kind() {
            CallerKind::User => self.welcome.record.as_deref(),
            CallerKind::Service | CallerKind::Workload => None,
        }
    }

    /// What the user directory says of the user that the bearer, a service, acts for.
    pub fn record_of_acted_for(&self) -> Option<&UserRecord> {
        match self.kind() {
            CallerKind::User | CallerKind::Workload => None,
            CallerKind::Service => self.welcome.record.as_deref(),
        }
    }

    /// Whether a person, a service or a workload is calling.
    pub fn kind(&self) -> CallerKind {
        match self.identity.kind {
            Kind::Cognito | Kind::FirstParty => CallerKind::User,
            Kind::Service => CallerKind::Service,
            Kind::Spiffe => CallerKind::Workload,
        }
    }
}

impl From<Lapse> for Rejection {
    fn from(lapse: Lapse) -> Self {
        let reason = match lapse {
            Lapse::SessionRevoked(_) => Reason::SessionRevoked,
            Lapse::SessionsUnavailable(_) => Reason::SessionStoreUnavailable,
            Lapse::UserUnknown(_) => Reason::InvalidToken,
            Lapse::UserDisabled => Reason::UserDisabled,
            Lapse::UserNotActive(_) => Reason::UserNotActive,
            Lapse::StatusUnavailable(_) => Reason::UserStatusUnavailable,
        };
        Self::new(reason).because(lapse.to_string())
    }
}
