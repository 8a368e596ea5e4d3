//! A Cognito user pool, asked about one user at a time.

mod config;

use std::sync::Mutex;
use std::time::Duration;

use aws_sdk_cognitoidentityprovider::Client;
use aws_sdk_cognitoidentityprovider::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_cognitoidentityprovider::config::retry::RetryConfig;
use aws_sdk_cognitoidentityprovider::config::timeout::TimeoutConfig;
use aws_sdk_cognitoidentityprovider::config::{
    BehaviorVersion, ConfigBag, Intercept, Region, RuntimeComponents,
};
use aws_sdk_cognitoidentityprovider::error::{
    BoxError, DisplayErrorContext, ProvideErrorMetadata as _, SdkError,
};
use aws_sdk_cognitoidentityprovider::operation::admin_get_user::{
    AdminGetUserError, AdminGetUserOutput,
};
use aws_sdk_cognitoidentityprovider::types::UserStatusType;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use serde::Deserialize;
use tokio::sync::OnceCell;
use tracing::{error, info, warn};
use url::{Host, Url};

pub use config::CognitoConfig;

use crate::clock::Clock;
use crate::redis::lock;
use crate::standing::UserRecord;

/// The user pool.
pub(crate) struct Directory {
    pub(crate) pool: String,
    region: String,
    endpoint: Option<String>,
    timeout: Duration,
    /// Made for the first question: finding credentials takes a while.
    client: OnceCell<Client>,
    clock: Clock,
    /// Set when the pool has had enough, so that it is left alone for a while.
    paused_until: Mutex<Duration>,
    last_error: Mutex<Option<String>>,
    metrics: Metrics,
}

/// How the user pool is, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryHealth {
    /// Whether the last question was answered; true before the first.
    pub ready: bool,
    /// Why it was not.
    pub last_error: Option<String>,
}

/// The pool's answer did not come, or makes no sense. The text is for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoAnswer(pub(crate) &'static str);

#[derive(Clone)]
struct Metrics {
    up: IntGauge,
    requests: IntCounterVec,
}

/// Refuses an answer that leaves out what is asked for: the SDK would read a missing `Enabled` as false.
#[derive(Debug)]
struct Complete;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(
    dead_code,
    reason = "only whether they are there, and of their types, is of interest"
)]
struct Required {
    enabled: bool,
    user_status: String,
}

/// How long a pool is left alone that has had enough.
const PAUSE: Duration = Duration::from_secs(1);

// === impl Directory ===

impl Directory {
    /// Takes over the `cognito:` section without asking anything. Each problem comes with its key below it.
    pub(crate) fn new(
        config: &CognitoConfig,
        clock: Clock,
        registry: &Registry,
    ) -> Result<Self, Vec<(String, String)>> {
        let mut problems = Vec::new();
        let mut add =
            |key: &str, message: &str| problems.push((key.to_owned(), message.to_owned()));
        if region(&config.user_pool_id).is_none() {
            add(
                "user_pool_id",
                "must be the id of a pool, such as `us-east-1_EXAMPLE`",
            );
        }
        if !is_word(&config.region) {
            add("region", "must be an AWS region, such as `us-east-1`");
        }
        if config
            .endpoint
            .as_deref()
            .is_some_and(|endpoint| !is_safe(endpoint))
        {
            add(
                "endpoint",
                "must be an `https` URL; `http` only on loopback",
            );
        }
        if config.max_requests_per_second == 0 {
            add(
                "max_requests_per_second",
                "must be more than zero: no user could be looked up",
            );
        }
        if config.timeout.0.is_zero() || config.timeout.0 > Duration::from_secs(10) {
            add("timeout", "must be more than zero and at most 10s");
        }
        let metrics = match Metrics::register(registry) {
            Ok(metrics) if problems.is_empty() => metrics,
            Ok(_) => return Err(problems),
            Err(error) => return Err(vec![(String::new(), format!("no metrics: {error}"))]),
        };
        Ok(Self {
            pool: config.user_pool_id.clone(),
            region: config.region.clone(),
            endpoint: config.endpoint.clone(),
            // The rest is for what comes before and after, so that a pool that hangs is told from what does not.
            timeout: config.timeout.0 * 4 / 5,
            client: OnceCell::new(),
            clock,
            paused_until: Mutex::new(Duration::ZERO),
            last_error: Mutex::new(None),
            metrics,
        })
    }

    /// Another pool of the same account, asked in the same way.
    pub(crate) fn beside(&self, pool: &str) -> Self {
        Self {
            pool: pool.to_owned(),
            region: region(pool).unwrap_or(&self.region).to_owned(),
            endpoint: self.endpoint.clone(),
            timeout: self.timeout,
            client: OnceCell::new(),
            clock: self.clock.clone(),
            paused_until: Mutex::new(Duration::ZERO),
            last_error: Mutex::new(None),
            metrics: self.metrics.clone(),
        }
    }

    /// What the pool knows of a user; none when it knows no such user. One request, never repeated: who asks has a
    /// budget of them.
    pub(crate) async fn ask(&self, username: &str) -> Result<Option<UserRecord>, NoAnswer> {
        if self.clock.elapsed() < *lock(&self.paused_until) {
            self.metrics.count("paused");
            return Err(NoAnswer("the user pool had enough a moment ago"));
        }
        let asking = async {
            let client = self.client.get_or_init(|| self.connect()).await;
            client
                .admin_get_user()
                .user_pool_id(&self.pool)
                .username(username)
                .send()
                .await
        };
        let answer = match tokio::time::timeout(self.timeout, asking).await {
            Err(_) => Err(self.failed("timeout", "the user pool did not answer in time", None)),
            Ok(Ok(output)) => read(&output)
                .map(Some)
                .map_err(|cause| self.failed("garbage", cause, None)),
            Ok(Err(error)) => self.refused(&error),
        };
        if let Ok(found) = &answer {
            self.metrics
                .count(if found.is_some() { "ok" } else { "not_found" });
            self.metrics.up.set(1);
            if lock(&self.last_error).take().is_some() {
                info!("the user pool answers again");
            }
        }
        answer
    }

    /// How the pool is.
    pub(crate) fn health(&self) -> DirectoryHealth {
        let last_error = lock(&self.last_error).clone();
        DirectoryHealth {
            ready: last_error.is_none(),
            last_error,
        }
    }

    async fn connect(&self) -> Client {
        let shared = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(self.region.clone()))
            .load()
            .await;
        self.client_of(aws_sdk_cognitoidentityprovider::config::Builder::from(
            &shared,
        ))
    }

    /// Uses these credentials instead of searching for some.
    #[cfg(test)]
    pub(crate) fn connect_with(
        &self,
        credentials: aws_sdk_cognitoidentityprovider::config::Credentials,
    ) {
        let builder = aws_sdk_cognitoidentityprovider::config::Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(self.region.clone()))
            .credentials_provider(credentials);
        self.client.set(self.client_of(builder)).unwrap();
    }

    fn client_of(&self, builder: aws_sdk_cognitoidentityprovider::config::Builder) -> Client {
        let timeouts = TimeoutConfig::builder()
            .operation_timeout(self.timeout)
            .build();
        let mut builder = builder
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .interceptor(Complete);
        builder.set_endpoint_url(self.endpoint.clone());
        Client::from_conf(builder.build())
    }

    fn refused(&self, error: &SdkError<AdminGetUserError>) -> Result<Option<UserRecord>, NoAnswer> {
        let code = error.code();
        if let SdkError::ServiceError(refusal) = error {
            if refusal.err().is_user_not_found_exception() {
                return Ok(None);
            }
            if refusal.err().is_too_many_requests_exception()
                || matches!(code, Some("ThrottlingException" | "LimitExceededException"))
            {
                *lock(&self.paused_until) = self.clock.elapsed().saturating_add(PAUSE);
                return Err(self.failed(
                    "throttled",
                    "the user pool has had enough requests",
                    code,
                ));
            }
            if matches!(
                code,
                Some(
                    "AccessDeniedException"
                        | "NotAuthorizedException"
                        | "UnrecognizedClientException"
                        | "ExpiredTokenException"
                        | "ResourceNotFoundException"
                )
            ) {
                return Err(self.failed(
                    "denied",
                    "the user pool may not be asked, or is none",
                    code,
                ));
            }
            return Err(self.failed("failed", "the user pool failed", code));
        }
        tracing::debug!(error = %DisplayErrorContext(error), "no answer from the user pool");
        Err(match error {
            SdkError::TimeoutError(_) => {
                self.failed("timeout", "the user pool did not answer in time", None)
            }
            SdkError::DispatchFailure(_) => {
                self.failed("unreachable", "the user pool cannot be reached", None)
            }
            SdkError::ConstructionFailure(_) => {
                self.failed("failed", "there are no credentials for the user pool", None)
            }
            _ => self.failed("garbage", "the user pool's answer makes no sense", None),
        })
    }

    /// Counts a failure, and tells of it when it is another than the last.
    fn failed(&self, outcome: &str, cause: &'static str, code: Option<&str>) -> NoAnswer {
        self.metrics.count(outcome);
        self.metrics.up.set(0);
        let known = lock(&self.last_error).replace(cause.to_owned());
        if known.as_deref() != Some(cause) {
            if outcome == "denied" {
                error!(
                    code,
                    cause, "the status of users is unknown until the permissions are mended"
                );
            } else {
                warn!(
                    code,
                    cause, "the status of users is unknown until the pool answers"
                );
            }
        }
        NoAnswer(cause)
    }
}

fn read(output: &AdminGetUserOutput) -> Result<UserRecord, &'static str> {
    let attributes: Vec<(String, String)> = output
        .user_attributes()
        .iter()
        .filter_map(|attribute| Some((attribute.name().to_owned(), attribute.value()?.to_owned())))
        .collect();
    let mut subjects = attributes.iter().filter(|(name, _)| name == "sub");
    let (Some((_, subject)), None) = (subjects.next(), subjects.next()) else {
        return Err("the user pool names no subject");
    };
    // Users of a federated provider are never `CONFIRMED`. A status that is new to us is none that lets anyone act.
    let active = matches!(
        output.user_status(),
        Some(UserStatusType::Confirmed | UserStatusType::ExternalProvider)
    );
    Ok(UserRecord {
        subject: subject.clone(),
        enabled: output.enabled(),
        active,
        attributes,
    })
}

/// The region in the id of a user pool; none when it is no such id.
pub(crate) fn region(pool: &str) -> Option<&str> {
    let (region, rest) = pool.split_once('_')?;
    (is_word(pool) && !region.is_empty() && !rest.is_empty()).then_some(region)
}

fn is_word(word: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=128).contains(&word.len()) && word.bytes().all(is_part)
}

fn is_safe(endpoint: &str) -> bool {
    let Ok(url) = Url::parse(endpoint) else {
        return false;
    };
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}

// === impl Complete ===

impl Intercept for Complete {
    fn name(&self) -> &'static str {
        "complete"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        if response.status().is_success() {
            let body = response.body().bytes().unwrap_or_default();
            serde_json::from_slice::<Required>(body)?;
        }
        Ok(())
    }
}

// === impl Metrics ===

impl Metrics {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let up = IntGauge::new(
            "portcullis_cognito_up",
            "Whether the user pool answered the last request.",
        )?;
        let requests = IntCounterVec::new(
            Opts::new(
                "portcullis_cognito_requests_total",
                "AdminGetUser requests to the user pool, by outcome; `paused` ones were not sent.",
            ),
            &["outcome"],
        )?;
        registry.register(Box::new(up.clone()))?;
        registry.register(Box::new(requests.clone()))?;
        Ok(Self { up, requests })
    }

    fn count(&self, outcome: &str) {
        self.requests.with_label_values(&[outcome]).inc();
    }
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}
