//! The gate without a request: who presents the tokens of a question to the decision APIs
//!
//! The same steps in the same order: key, signature, claims, session and status. What the bearer may do is then for the
//! decision point to say, as for anyone else that it is asked about.

use std::sync::Arc;

use http::StatusCode;
use pdp::{Bearer, Bearers, Tokens, Unproven};
use serde_json::{Map, Value};

use super::{Gate, context, end_of};
use crate::active::{self, ActiveUser};
use crate::context::Facts;
use crate::rejection::Rejection;

/// Somebody with good tokens, who may act or may not at the moment.
struct Presented {
    /// Whose `identity` token it is, or else `access` token.
    identity: Arc<identity::Identity>,
    /// None where something speaks against them.
    user: Result<ActiveUser, &'static str>,
}

impl Gate {
    /// Finds out who presents the tokens of questions. The gate is kept as long as that is asked.
    pub fn bearers(self: &Arc<Self>) -> Bearers {
        let gate = Arc::clone(self);
        Bearers::new(move |tokens| {
            let gate = Arc::clone(&gate);
            Box::pin(async move { gate.bearer(tokens).await })
        })
    }

    async fn bearer(self: Arc<Self>, tokens: Tokens) -> Result<Bearer, Unproven> {
        let Tokens { identity, access } = tokens;
        let identity = match &identity {
            Some(token) => Some(self.prove(token, true).await?),
            None => None,
        };
        let access = match &access {
            Some(token) => Some(self.prove(token, false).await?),
            None => None,
        };
        if let (Some(one), Some(other)) = (&identity, &access) {
            let (one, other) = (&one.identity, &other.identity);
            if (&one.issuer_url, &one.subject) != (&other.issuer_url, &other.subject) {
                return Err(Unproven::Access(
                    "is not of the user that the identity token is of",
                ));
            }
        }
        let barred = [&identity, &access]
            .into_iter()
            .flatten()
            .find_map(|one| one.user.as_ref().err().copied());
        let expires_at = [&identity, &access]
            .into_iter()
            .flatten()
            .filter_map(|one| end_of(&one.identity))
            .min();
        let who = identity.as_ref().or(access.as_ref());
        let who = who.ok_or(Unproven::Access("is missing"))?;
        let mapping = self.principals.of(&who.identity);
        let mapping = mapping.ok_or(Unproven::Unavailable("the issuer has no mapping"))?;
        let principal = mapping.uid(&*who.identity);
        let user = who.user.clone().ok();
        let told = access.and_then(|access| access.user.ok());

        let gate = Arc::clone(&self);
        let entities = move |snapshot: &pdp::Snapshot, (): &()| {
            let entities = user.iter().flat_map(|user| gate.people(user, snapshot));
            entities.collect()
        };
        let context = move |snapshot: &pdp::Snapshot, action: &pdp::EntityUid| match barred {
            Some(message) => Err(message.to_owned()),
            None => self.told(told.as_ref(), action, snapshot),
        };
        Ok(Bearer {
            principal,
            entities: Box::new(entities),
            context: Box::new(context),
            expires_at,
        })
    }

    /// Takes a token through the steps that prove somebody; `is_id` says what kind it has to be of.
    async fn prove(&self, token: &str, is_id: bool) -> Result<Presented, Unproven> {
        let invalid = |message| {
            if is_id {
                Unproven::Identity(message)
            } else {
                Unproven::Access(message)
            }
        };
        let refused = |rejection: &Rejection| {
            tracing::debug!(
                code = rejection.code(),
                cause = rejection.cause(),
                "a token of a question proves nobody"
            );
            if rejection.status() == StatusCode::UNAUTHORIZED {
                invalid(rejection.message())
            } else {
                Unproven::Unavailable(rejection.message())
            }
        };
        let verified = self.issuers.verify(token).await;
        let identity = verified.map_err(|error| refused(&error.into()))?;
        if identity.is_id_token != is_id {
            return Err(invalid(if is_id {
                "is no identity token"
            } else {
                "is an identity token"
            }));
        }
        let user = match active::activate(&self.standing, Arc::clone(&identity)).await {
            Ok(user) => Ok(user),
            // Known, and known not to be let: that is an answer.
            Err(rejection) if rejection.status() == StatusCode::FORBIDDEN => {
                Err(rejection.message())
            }
            Err(rejection) => return Err(refused(&rejection)),
        };
        Ok(Presented { identity, user })
    }

    /// The bearer, and whoever the bearer acts for.
    fn people(&self, user: &ActiveUser, snapshot: &pdp::Snapshot) -> Vec<pdp::Entity> {
        let identity = user.identity();
        let bearer = self.principals.of(identity).map(|mapping| {
            let record = user.record_of_bearer();
            mapping.entity(mapping.uid(identity), identity, record, snapshot)
        });
        let acted_for = identity.on_behalf_of.as_deref().and_then(|acting| {
            let mapping = self.principals.acted_for(identity)?;
            let record = user.record_of_acted_for();
            Some(mapping.entity(mapping.uid(acting), acting, record, snapshot))
        });
        bearer.into_iter().chain(acted_for).collect()
    }

    /// What the token says that an action asks for, in Cedar's JSON.
    fn told(
        &self,
        user: Option<&ActiveUser>,
        action: &pdp::EntityUid,
        snapshot: &pdp::Snapshot,
    ) -> Result<Map<String, Value>, String> {
        let token = user.map(ActiveUser::identity);
        let acted_for = token.map_or(Ok(None), |token| self.acted_for(token));
        let explain = |rejection: Rejection| match rejection.cause() {
            Some(cause) => cause.to_owned(),
            None => rejection.message().to_owned(),
        };
        let acted_for = acted_for.map_err(explain)?;
        let facts = Facts {
            request: None,
            token,
            on_behalf_of: acted_for.as_ref().map(|(uid, _, _)| uid),
            workload: None,
        };
        let context = context(action, &facts, snapshot).map_err(explain)?;
        match context.to_json_value() {
            Ok(Value::Object(members)) => Ok(members),
            Ok(_) | Err(_) => Err("the token's facts cannot be written".to_owned()),
        }
    }
}
