//! Callers that prove themselves by the tokens that an issuer of services gives them.

use std::sync::Arc;

use identity::config::Kind;
use identity::{Identity, Issuers, Standing};

use crate::config::CallerConfig;
use crate::{Caller, Refusal};

/// The services that may call, and who is asked about their tokens.
#[derive(Debug)]
pub(crate) struct Services {
    known: Vec<Service>,
    issuers: Arc<Issuers>,
    standing: Arc<Standing>,
}

/// One caller.
#[derive(Debug)]
struct Service {
    caller: Caller,
    issuer: String,
    subjects: Vec<String>,
    scopes: Vec<String>,
}

// === impl Services ===

impl Services {
    /// The callers that name an issuer; none when there are none.
    pub(crate) fn new(
        configs: &[CallerConfig],
        issuers: Arc<Issuers>,
        standing: Arc<Standing>,
    ) -> Option<Self> {
        let services = configs.iter().filter_map(|config| {
            Some(Service {
                caller: Caller(config.name.as_str().into()),
                issuer: config.issuer.clone()?,
                subjects: config.subjects.clone(),
                scopes: config.scopes.clone(),
            })
        });
        let known: Vec<_> = services.collect();
        (!known.is_empty()).then_some(Self {
            known,
            issuers,
            standing,
        })
    }

    /// Which caller presents this token. A user's token is never one.
    ///
    /// # Errors
    /// When it proves no caller, one that may not, or when that cannot be found out.
    pub(crate) async fn identify(&self, token: &str) -> Result<Caller, Refusal> {
        let identity = self.issuers.verify(token).await.inspect_err(|error| {
            tracing::debug!(%error, "the token of a caller");
        })?;
        let service = self.find(&identity).ok_or(Refusal::InvalidToken)?;
        let has = |scope| identity.scopes.contains(scope);
        if !service.scopes.iter().all(has) {
            return Err(Refusal::InsufficientScope);
        }
        self.standing.check(&identity).await.inspect_err(|lapse| {
            tracing::debug!(%lapse, "the token of a caller");
        })?;
        Ok(service.caller.clone())
    }

    fn find(&self, identity: &Identity) -> Option<&Service> {
        if identity.kind != Kind::Service {
            return None;
        }
        self.known.iter().find(|service| {
            let mut subjects = service.subjects.iter();
            service.issuer == *identity.issuer
                && subjects.any(|subject| **subject == *identity.subject)
        })
    }
}
