//! The claim `act`: whom a service acts for.

use std::sync::Arc;

use super::{Claims, read, read_mapped};
use crate::config::{Kind, UserStatusSource};
use crate::error::TokenError;
use crate::identity::{ActingFor, SessionRef};
use crate::json::Json;
use crate::profile::Profile;
use crate::trace::Trace;

impl Profile {
    /// The user whom a service acts for: in its tokens `sub` is the service and `act` the user. A
    /// user acts for nobody.
    pub(super) fn read_acting<T: Trace>(
        &self,
        claims: &mut Claims<'_, T>,
    ) -> Result<Option<Box<ActingFor>>, TokenError> {
        if self.kind != Kind::Service {
            return claims.read("act", read::absent).map(|()| None);
        }
        let members = match claims.members.get("act") {
            Some(Json::Object(members)) => members,
            _ => return claims.read("act", read::absent).map(|()| None),
        };
        let mut act = Claims {
            within: Some("act"),
            members,
            trace: &mut *claims.trace,
        };
        // A chain of services could hide who is meant.
        let last = act.read("act", read::absent);
        let unbound = act.read("cnf", read::absent);
        let subject = act.read("sub", read::user_id);
        let mapped = read_mapped(&mut act, Kind::FirstParty, &self.on_behalf_of);
        let scopes = act.read("scope", read::scopes);
        let username = match self.user_status {
            UserStatusSource::Cognito => {
                act.read("username", |name| read::optional(name, read::username))
            }
            UserStatusSource::None | UserStatusSource::Redis => Ok(None),
        };
        let session = self.read_acting_session(&mut act);
        last?;
        unbound?;
        let mapped = mapped?;
        Ok(Some(Box::new(ActingFor {
            subject: subject?,
            principal_type: Arc::clone(&self.on_behalf_of.entity_type),
            principal_id: mapped.id,
            group_type: self.on_behalf_of.group_type(),
            groups: mapped.groups,
            attributes: mapped.attributes,
            scopes: scopes?,
            username: username?,
            session: session?,
        })))
    }

    /// The session of the user acted for counts where `act` names it, which it does in full or not
    /// at all.
    fn read_acting_session<T: Trace>(
        &self,
        act: &mut Claims<'_, T>,
    ) -> Result<Option<SessionRef>, TokenError> {
        let named = act.members.has("sid") || act.members.has("sidv");
        if !named {
            return Ok(None);
        }
        let id = act.read("sid", read::session_id);
        let version = act.read("sidv", read::session_version);
        Ok(Some(SessionRef {
            id: id?,
            version: version?,
        }))
    }
}
