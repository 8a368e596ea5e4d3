//! Who may call an API of ours: whoever has a token whose hash is known here, and services that an issuer vouches for.
//!
//! [`require`] is the axum middleware that every API behind `callers:` puts first. Settings hold the SHA-256 of each
//! token and never the token, so that a settings file that leaks opens nothing.

mod config;
mod refusal;
mod services;

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use identity::{Issuers, Standing};
use settings::Address;

use services::Services;

pub use config::{CallerConfig, TokenDigest};
pub use refusal::{Refusal, RequestId};

/// The longest token that is looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 8192;

/// The callers of one listener. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Callers {
    known: Arc<[(Caller, TokenDigest)]>,
    services: Option<Arc<Services>>,
    /// Nobody is known and only this machine can connect: everyone may call.
    open: bool,
}

/// The name of an authenticated caller, in the extensions of its requests; absent where everyone may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(pub Arc<str>);

impl Callers {
    /// The callers of a listener at `bind`. Without any configured, everyone may call where only this machine can
    /// connect, and nobody elsewhere.
    #[must_use]
    pub fn new(configs: &[CallerConfig], bind: &Address) -> Self {
        Self {
            known: configs
                .iter()
                .filter_map(|config| {
                    Some((Caller(config.name.as_str().into()), config.token_sha256?))
                })
                .collect(),
            services: None,
            open: configs.is_empty() && bind.is_local(),
        }
    }

    /// The same, with those to ask about the tokens of services. Without them no service is a caller.
    #[must_use]
    pub fn asking(
        self,
        configs: &[CallerConfig],
        issuers: Arc<Issuers>,
        standing: Arc<Standing>,
    ) -> Self {
        let services = Services::new(configs, issuers, standing).map(Arc::new);
        Self { services, ..self }
    }

    /// Who sends these headers; `None` where everyone may call.
    ///
    /// # Errors
    /// When there is no bearer token, more than one `Authorization` header, or a token of nobody who may call; and when it
    /// cannot be found out whose it is.
    pub async fn identify(&self, headers: &HeaderMap) -> Result<Option<Caller>, Refusal> {
        if self.open {
            return Ok(None);
        }
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        let field = fields.next().ok_or(Refusal::MissingToken)?;
        if fields.next().is_some() {
            return Err(Refusal::InvalidToken);
        }
        let token = bearer(field.as_bytes())?;
        let presented = digest(&SHA256, token);
        let mut caller = None;
        // All are compared, so that the time taken says nothing about which one it was.
        for (name, known) in self.known.iter() {
            if verify_slices_are_equal(presented.as_ref(), known.as_bytes()).is_ok() {
                caller = Some(name);
            }
        }
        match (caller, &self.services) {
            (Some(caller), _) => Ok(Some(caller.clone())),
            (None, None) => Err(Refusal::InvalidToken),
            (None, Some(services)) => {
                let token = std::str::from_utf8(token).map_err(|_| Refusal::InvalidToken)?;
                services.identify(token).await.map(Some)
            }
        }
    }
}

/// Middleware: lets a request through when its caller is known, and answers as the [`Refusal`] says otherwise.
///
/// ```
/// # use axum::{Router, middleware::from_fn_with_state, routing::post};
/// # let callers = callers::Callers::new(&[], &"127.0.0.1:0".parse().unwrap());
/// let api: Router = Router::new()
///     .route("/v1/authorize", post(|| async { "…" }))
///     .layer(from_fn_with_state(callers, callers::require));
/// ```
pub async fn require(State(callers): State<Callers>, mut request: Request, next: Next) -> Response {
    let caller = match callers.identify(request.headers()).await {
        Ok(caller) => caller,
        Err(refusal) => {
            let request_id = request.extensions().get::<RequestId>().cloned();
            return refusal.into_response(&request_id.unwrap_or_else(RequestId::generate));
        }
    };
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    next.run(request).await
}

/// The token of an `Authorization` header's value (RFC 6750 section 2.1).
fn bearer(value: &[u8]) -> Result<&[u8], Refusal> {
    let (scheme, token) = value
        .iter()
        .position(|byte| *byte == b' ')
        .and_then(|space| value.split_at_checked(space))
        .ok_or(Refusal::InvalidToken)?;
    let token = token.trim_ascii_start();
    let valid = scheme.eq_ignore_ascii_case(b"bearer")
        && !token.is_empty()
        && token.len() <= MAX_TOKEN_BYTES
        && token
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte));
    valid.then_some(token).ok_or(Refusal::InvalidToken)
}

#[cfg(test)]
mod tests;
