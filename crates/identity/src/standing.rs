//! Whether the bearer of a good token is still welcome: sessions, revocations and the status of users.
//!
//! [`Standing::check`] asks only what the token's issuer is configured to have asked, and the cheapest first. What is
//! known to be over is told apart from what cannot be found out, and neither is ever a yes.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::{IssuerConfig, Kind, SessionSource, UserStatusSource};
use crate::directory::{CognitoConfig, DirectoryHealth, NoAnswer};
use crate::identity::Identity;
use crate::invalidation::{self, Announcement};
use crate::redis::{Redis, RedisConfig, RedisHealth, Unanswered};
use crate::session::{self, Question};
use crate::status::{STALENESS, Users};
use crate::vigil::Vigils;

/// Where it is asked whether somebody is still welcome. The default has nobody to ask.
#[derive(Default)]
pub struct Standing {
    redis: Option<Arc<Redis>>,
    users: Option<Arc<Users>>,
    /// The users of other pools, by the names of the issuers that have them.
    pools: HashMap<String, Arc<Users>>,
    checks: Option<IntCounterVec>,
    pub(crate) vigils: Vigils,
}

/// How the sources are, for operators. What is not configured is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandingHealth {
    /// The Redis primary.
    pub redis: Option<RedisHealth>,
    /// The Cognito user pool.
    pub cognito: Option<DirectoryHealth>,
}

/// What a directory knows of a user.
#[derive(Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// The user's `sub` there.
    pub subject: String,
    /// Whether the user may sign in at all.
    pub enabled: bool,
    /// Whether the user is past registration and not barred for some other reason.
    pub active: bool,
    /// The directory's attributes under its own names, such as `email`.
    pub attributes: Vec<(String, String)>,
}

/// Somebody who may act, as far as was known not long ago.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// What the directory says of the user, where one was asked.
    pub record: Option<Arc<UserRecord>>,
    /// When that was known: now, but for what the pool said before and is still believed.
    pub as_of: Instant,
}

/// Why somebody with a good token may not act. The texts are for the log and say nothing of the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lapse {
    /// The session or the token was ended.
    #[error("revoked: {0}")]
    SessionRevoked(&'static str),
    /// Whether it was cannot be found out: 503, never 401.
    #[error("sessions are unavailable: {0}")]
    SessionsUnavailable(&'static str),
    /// The directory does not know the token's subject: deleted, or replaced by another of that name.
    #[error("unknown user: {0}")]
    UserUnknown(&'static str),
    /// The user is disabled.
    #[error("the user is disabled")]
    UserDisabled,
    /// The user is not confirmed, or has to do something first.
    #[error("the user is not active: {0}")]
    UserNotActive(&'static str),
    /// The user's status cannot be found out: 503, never 401 or 403.
    #[error("the user's status is unavailable: {0}")]
    StatusUnavailable(&'static str),
}

// === impl Standing ===

impl Standing {
    /// Puts the sources together; what is not configured is not asked. Each problem comes with its key in the
    /// configuration file; relative files are found from `base`.
    pub fn new(
        redis: Option<&RedisConfig>,
        cognito: Option<&CognitoConfig>,
        base: &Path,
        registry: &Registry,
    ) -> Result<Self, Vec<(String, String)>> {
        let below = |section: &'static str| {
            move |problems: Vec<(String, String)>| -> Vec<(String, String)> {
                let key = |key: String| {
                    if key.is_empty() {
                        section.to_owned()
                    } else {
                        format!("{section}.{key}")
                    }
                };
                problems
                    .into_iter()
                    .map(|(name, message)| (key(name), message))
                    .collect()
            }
        };
        let redis = redis
            .map(|config| Redis::new(config, base, registry))
            .transpose()
            .map_err(below("redis"));
        let shared = redis.as_ref().ok().cloned().flatten();
        let users = cognito
            .map(|config| Users::new(config, shared, Clock::system(), registry))
            .transpose()
            .map_err(below("cognito"));
        let (redis, users) = match (redis, users) {
            (Ok(redis), Ok(users)) => (redis, users),
            (redis, users) => {
                let mut problems = redis.err().unwrap_or_default();
                problems.extend(users.err().unwrap_or_default());
                return Err(problems);
            }
        };
        let checks = IntCounterVec::new(
            Opts::new(
                "portcullis_standing_checks_total",
                "Good tokens whose session or user was looked up, by outcome.",
            ),
            &["outcome"],
        );
        let registered = checks.and_then(|checks| {
            registry.register(Box::new(checks.clone()))?;
            let vigils = IntGauge::new(
                "portcullis_vigils_open",
                "Tokens that something long is open with: a tunnel or a stream.",
            )?;
            registry.register(Box::new(vigils.clone()))?;
            Ok((checks, vigils))
        });
        let (checks, vigils) =
            registered.map_err(|error| vec![(String::new(), format!("no metrics: {error}"))])?;
        Ok(Self {
            redis,
            users,
            pools: HashMap::new(),
            checks: Some(checks),
            vigils: Vigils::new(Some(vigils)),
        })
    }

    /// The same, asking the pools that these issuers name about their users.
    #[must_use]
    pub fn asking_pools_of(mut self, issuers: &[IssuerConfig]) -> Self {
        let Some(first) = &self.users else {
            return self;
        };
        let mut made: Vec<Arc<Users>> = vec![Arc::clone(first)];
        for issuer in issuers {
            let Some(pool) = &issuer.user_pool else {
                continue;
            };
            let known = made.iter().find(|users| users.pool() == pool);
            let users = known.cloned().unwrap_or_else(|| first.beside(pool));
            made.push(Arc::clone(&users));
            self.pools.insert(issuer.name.clone(), users);
        }
        self
    }

    /// The users of the pool that an issuer's users are in.
    fn users_of(&self, issuer: &str) -> Option<&Arc<Users>> {
        self.pools.get(issuer).or(self.users.as_ref())
    }

    /// The users of each pool; of one that two issuers share more than once.
    fn all_users(&self) -> impl Iterator<Item = &Arc<Users>> {
        self.users.iter().chain(self.pools.values())
    }

    /// The same, asking about what is open at least this often (default 10 s). More than 15 s would not end everything
    /// within [`BOUND`](crate::BOUND).
    #[must_use]
    pub fn asking_every(mut self, pace: Duration) -> Self {
        self.vigils.set_pace(pace);
        self
    }

    /// Keeps the sources within reach until `stop`. Without it nobody is active.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()>) {
        match &self.redis {
            Some(redis) => tokio::select! {
                () = Arc::clone(redis).run(stop) => {}
                never = invalidation::listen(&self, redis) => match never {},
            },
            None => stop.await,
        }
    }

    /// Whether each source has been tried once, so that the first requests find what is to be had.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.redis.as_ref().is_none_or(|redis| redis.attempted())
    }

    /// How the sources are.
    #[must_use]
    pub fn health(&self) -> StandingHealth {
        StandingHealth {
            redis: self.redis.as_ref().map(|redis| redis.health()),
            // One pool that does not answer is worth knowing of, whatever the others say.
            cognito: self
                .all_users()
                .map(|users| users.health())
                .reduce(|one, other| if one.ready { other } else { one }),
        }
    }

    /// Whether the bearer, and whoever the bearer acts for, is still welcome.
    ///
    /// # Errors
    /// The first thing known to speak against it, or else what could not be found out.
    pub async fn check(&self, identity: &Identity) -> Result<Welcome, Lapse> {
        if identity.session_source == SessionSource::None
            && identity.status_source == UserStatusSource::None
            && identity.on_behalf_of.is_none()
        {
            return Ok(Welcome::new(None, Instant::now()));
        }
        // In memory of its own, which requests that ask nobody do not carry around.
        let outcome = Box::pin(self.look_up(identity, STALENESS)).await;
        let name = outcome
            .as_ref()
            .map_or_else(|lapse| lapse.name(), |_| "active");
        if let Some(checks) = &self.checks {
            checks.with_label_values(&[name]).inc();
        }
        outcome
    }

    /// The same question, to which what the pool said less than `limit` ago is an answer.
    pub(crate) async fn look_up(
        &self,
        identity: &Identity,
        limit: Duration,
    ) -> Result<Welcome, Lapse> {
        let asked = Instant::now();
        let record = self.ask_redis(identity).await?;
        match identity.status_source {
            UserStatusSource::None | UserStatusSource::Redis => {
                Ok(Welcome::new(record.map(Arc::new), asked))
            }
            UserStatusSource::Cognito => {
                let asked_pool = Instant::now();
                let (record, age) = self
                    .ask_pool(identity, limit)
                    .await?
                    .map_or((None, Duration::ZERO), |(record, age)| (Some(record), age));
                let told = asked_pool.checked_sub(age).unwrap_or(asked_pool);
                Ok(Welcome::new(record, asked.min(told)))
            }
        }
    }

    /// The user of the token, or whoever a service acts for, as the pool knew them less than `limit` ago, and how long
    /// ago that was.
    async fn ask_pool(
        &self,
        identity: &Identity,
        limit: Duration,
    ) -> Result<Option<(Arc<UserRecord>, Duration)>, Lapse> {
        let (username, subject) = match (&identity.on_behalf_of, identity.kind) {
            (Some(user), _) => (&user.username, &user.subject),
            // A service that acts for itself is no user of any pool, and neither is a workload.
            (None, Kind::Service | Kind::Spiffe) => return Ok(None),
            (None, Kind::FirstParty | Kind::Cognito) => (&identity.username, &identity.subject),
        };
        let Some(users) = self.users_of(&identity.issuer) else {
            return Err(Lapse::StatusUnavailable("no user pool is configured"));
        };
        // Where the token names no user, Cognito takes the subject for the name as well.
        let username = username.as_deref().unwrap_or(subject);
        let found = users.find_within(username, limit).await;
        let (found, age) = found.map_err(|NoAnswer(cause)| Lapse::StatusUnavailable(cause))?;
        let record = found.ok_or(Lapse::UserUnknown(
            "the directory knows nobody by that name",
        ))?;
        record.judge(subject)?;
        Ok(Some((record, age)))
    }

    /// Has a user's status asked for anew, by every instance that hears of it at once and by the others within thirty
    /// seconds. For those who have just changed it.
    ///
    /// # Errors
    /// When the other instances could not be told. This one has forgotten the user all the same.
    pub async fn invalidate_user(&self, username: &str) -> Result<(), Lapse> {
        // Which pool the name is of is not said, and a question too many does no harm.
        let mut told = Ok(());
        for users in self.all_users() {
            told = users.invalidate(username).await.and(told);
        }
        self.wake_vigils(username);
        told.map_err(|NoAnswer(cause)| Lapse::StatusUnavailable(cause))
    }

    /// Does what was announced: what is known of the user counts for nothing, and what they have open is asked about.
    pub(crate) fn heed(&self, announcement: &Announcement) {
        match announcement {
            Announcement::User { pool, user } => {
                if let Some(users) = self.all_users().find(|users| users.pool() == pool) {
                    users.forget(user);
                    self.wake_vigils(user);
                }
            }
            Announcement::Subject(subject) => self.wake_vigils(subject),
        }
    }

    /// Everything that Redis knows, in one round trip.
    async fn ask_redis(&self, identity: &Identity) -> Result<Option<UserRecord>, Lapse> {
        let questions = session::questions(identity, self.redis.is_some());
        if questions.is_empty() {
            return Ok(None);
        }
        let build = |commands: &mut ::redis::Pipeline| {
            for question in &questions {
                question.ask(commands);
            }
        };
        let answers = match &self.redis {
            Some(redis) => redis.ask(build).await,
            None => Err(Unanswered("no Redis is configured")),
        };
        let mut answers = answers.map_err(|Unanswered(cause)| {
            // Without any session in question it is the user's status that stays unknown.
            if matches!(questions.as_slice(), [Question::User { .. }]) {
                Lapse::StatusUnavailable(cause)
            } else {
                Lapse::SessionsUnavailable(cause)
            }
        })?;
        let mut record = None;
        let mut worst: Option<Lapse> = None;
        for question in &questions {
            match question.judge(&mut answers) {
                Ok(found) => record = found.or(record),
                // What is known to be over is over, whatever else could not be read.
                Err(lapse)
                    if worst.is_none_or(|worst| worst.is_unknown() && !lapse.is_unknown()) =>
                {
                    worst = Some(lapse);
                }
                Err(_) => {}
            }
        }
        worst.map_or(Ok(record), Err)
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing")
            .field("redis", &self.redis)
            .field("users", &self.users)
            .finish_non_exhaustive()
    }
}

// === impl Welcome ===

impl Welcome {
    fn new(record: Option<Arc<UserRecord>>, as_of: Instant) -> Self {
        Self { record, as_of }
    }
}

// === impl Lapse ===

impl Lapse {
    /// A short name without spaces, for metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SessionRevoked(_) => "session_revoked",
            Self::SessionsUnavailable(_) => "sessions_unavailable",
            Self::UserUnknown(_) => "user_unknown",
            Self::UserDisabled => "user_disabled",
            Self::UserNotActive(_) => "user_not_active",
            Self::StatusUnavailable(_) => "status_unavailable",
        }
    }

    /// Whether nothing is known, so that trying again may help.
    pub(crate) fn is_unknown(self) -> bool {
        matches!(
            self,
            Self::SessionsUnavailable(_) | Self::StatusUnavailable(_)
        )
    }
}

// === impl UserRecord ===

impl UserRecord {
    /// Whether this is a record of the token's subject, and of someone who may act.
    pub(crate) fn judge(&self, subject: &str) -> Result<(), Lapse> {
        if self.subject != subject {
            return Err(Lapse::UserUnknown(
                "the directory knows another subject by that name",
            ));
        }
        if !self.enabled {
            return Err(Lapse::UserDisabled);
        }
        if !self.active {
            return Err(Lapse::UserNotActive(
                "the directory's status is not that of an active user",
            ));
        }
        Ok(())
    }

    /// An attribute by the directory's name for it.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find_map(|(known, value)| (known == name).then_some(value.as_str()))
    }
}

impl fmt::Debug for UserRecord {
    /// Not the attributes, which are about a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserRecord")
            .field("enabled", &self.enabled)
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}
