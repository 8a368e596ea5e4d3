//! One connection to the Redis primary, kept alive in the background.
//!
//! Requests share it: each sends its commands in one piece, and the pieces of many requests travel together. A request
//! never waits for a connection to be made, because a lost one is replaced by [`Redis::run`] alone; until then every
//! request is told so at once. Nothing is believed that a server says unless it is a single primary that never evicts.

mod answers;
mod config;
mod metrics;
mod server;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::redis::aio::{ConnectionLike as _, MultiplexedConnection, PubSub};
use ::redis::{AsyncConnectionConfig, Client, Pipeline, RedisError, Value};
use arc_swap::ArcSwapOption;
use prometheus::Registry;
use tokio::sync::Notify;
use tracing::{error, info, warn};

pub(crate) use answers::{Answers, Unanswered};
pub use config::RedisConfig;
use metrics::Metrics;
use server::{client, describe, judge};

/// The Redis primary, as far as it can be reached.
pub(crate) struct Redis {
    client: Client,
    connecting: AsyncConnectionConfig,
    connect_timeout: Duration,
    timeout: Duration,
    /// The connection in use; none while there is none to be had.
    connection: ArcSwapOption<Link>,
    /// Wakes the keeper up when an answer is overdue.
    suspicion: Notify,
    asked: AtomicU64,
    /// Whether the first attempt to connect has ended, well or badly.
    attempted: AtomicBool,
    last_error: Mutex<Option<String>>,
    metrics: Metrics,
}

/// How Redis is, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisHealth {
    /// Whether requests are being answered.
    pub ready: bool,
    /// Why not, or what was wrong last. It may name addresses.
    pub last_error: Option<String>,
}

struct Link(MultiplexedConnection);

/// How often an idle connection is tried, and its server asked for its role and eviction policy.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// The pauses between attempts to connect, doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// Requests that wait for the connection to take their commands. More wait in line, no longer than the timeout.
const QUEUED: usize = 1024;
/// Commands that have been sent and not answered.
const UNANSWERED: usize = 16 * 1024;

// === impl Redis ===

impl Redis {
    /// Takes over the `redis:` section without connecting. Relative files are found from `base`. Each problem comes
    /// with its key below `redis`.
    pub(crate) fn new(
        config: &RedisConfig,
        base: &Path,
        registry: &Registry,
    ) -> Result<Arc<Self>, Vec<(String, String)>> {
        let client = client(config, base).map_err(|problem| vec![problem])?;
        let mut problems = Vec::new();
        for (key, span) in [
            ("connect_timeout", config.connect_timeout.0),
            ("timeout", config.timeout.0),
        ] {
            if span.is_zero() || span > Duration::from_secs(30) {
                problems.push((
                    key.to_owned(),
                    "must be more than zero and at most 30s".to_owned(),
                ));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let metrics = Metrics::register(registry)
            .map_err(|error| vec![(String::new(), format!("no metrics: {error}"))])?;
        let connecting = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(config.connect_timeout.0))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUED)
            .set_concurrency_limit(UNANSWERED);
        Ok(Arc::new(Self {
            client,
            connecting,
            connect_timeout: config.connect_timeout.0,
            timeout: config.timeout.0,
            connection: ArcSwapOption::empty(),
            suspicion: Notify::new(),
            asked: AtomicU64::new(0),
            attempted: AtomicBool::new(false),
            last_error: Mutex::new(None),
            metrics,
        }))
    }

    /// Keeps a connection until `stop`. Without it there is none.
    pub(crate) async fn run(self: Arc<Self>, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = stop => {}
            () = self.keep_connected() => {}
        }
    }

    /// Whether the first attempt to connect is over, so that waiting longer says nothing more.
    pub(crate) fn attempted(&self) -> bool {
        self.attempted.load(Ordering::Relaxed)
    }

    /// How Redis is.
    pub(crate) fn health(&self) -> RedisHealth {
        RedisHealth {
            ready: self.connection.load().is_some(),
            last_error: lock(&self.last_error).clone(),
        }
    }

    /// Sends the commands that `build` adds, in one piece, and waits for all answers within the timeout. An answer is
    /// never older than the question: nothing is kept.
    pub(crate) async fn ask(
        &self,
        build: impl FnOnce(&mut Pipeline),
    ) -> Result<Answers, Unanswered> {
        let Some(link) = self.connection.load_full() else {
            self.metrics.count("not_connected");
            return Err(Unanswered("not connected to Redis"));
        };
        let begun = Instant::now();
        let number = self.asked.fetch_add(1, Ordering::Relaxed).to_string();
        // Whatever mixed up the answers of two requests would make one user's session another's: the first answer
        // has to be the number of this request.
        let mut commands = Pipeline::new();
        commands.cmd("PING").arg(&number);
        build(&mut commands);
        let outcome = tokio::time::timeout(self.timeout, exchange(&link, &commands)).await;
        self.metrics.seconds.observe(begun.elapsed().as_secs_f64());
        let answers = match outcome {
            Err(_) => {
                self.suspicion.notify_one();
                self.metrics.count("timeout");
                return Err(Unanswered("Redis did not answer in time"));
            }
            Ok(Err(_)) => {
                self.suspicion.notify_one();
                self.metrics.count("failed");
                return Err(Unanswered("the connection to Redis failed"));
            }
            Ok(Ok(answers)) => answers,
        };
        let mut answers = Answers(answers.into_iter());
        if answers.text() != Ok(Some(number)) {
            error!("Redis answered another question than was asked; the connection is given up");
            self.drop_link(&link);
            self.metrics.count("garbage");
            return Err(Unanswered("Redis answered another question"));
        }
        self.metrics.count("ok");
        Ok(answers)
    }

    /// A connection of its own that hears what is published on `channel`.
    pub(crate) async fn subscribe(&self, channel: &str) -> Result<PubSub, String> {
        let opened = self.client.get_async_pubsub().await;
        let mut pubsub = opened.map_err(|error| describe(&error))?;
        let subscribed = pubsub.subscribe(channel).await;
        subscribed.map_err(|error| describe(&error))?;
        Ok(pubsub)
    }

    async fn keep_connected(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.connect().await {
                Ok(link) => {
                    let link = Arc::new(link);
                    self.connection.store(Some(Arc::clone(&link)));
                    self.metrics.up.set(1);
                    self.attempted.store(true, Ordering::Relaxed);
                    let previous = lock(&self.last_error).take();
                    info!(after = previous, "connected to Redis");
                    pause = FIRST_PAUSE;
                    let cause = self.watch(&link).await;
                    self.connection.store(None);
                    self.metrics.up.set(0);
                    warn!(
                        cause,
                        "lost Redis: what needs it is refused until it is back"
                    );
                    *lock(&self.last_error) = Some(cause);
                }
                Err(cause) => {
                    let known = lock(&self.last_error).replace(cause.clone());
                    if known.as_ref() != Some(&cause) {
                        error!(
                            cause,
                            "cannot use Redis: what needs it is refused until it can be used"
                        );
                    }
                    self.attempted.store(true, Ordering::Relaxed);
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    async fn connect(&self) -> Result<Link, String> {
        let connecting = self
            .client
            .get_multiplexed_async_connection_with_config(&self.connecting);
        let link = match tokio::time::timeout(self.connect_timeout, connecting).await {
            Ok(Ok(connection)) => Link(connection),
            Ok(Err(error)) => return Err(describe(&error)),
            Err(_) => return Err("no connection within `connect_timeout`".to_owned()),
        };
        self.probe(&link).await?;
        Ok(link)
    }

    /// Tries the connection again and again; says why it is no longer good.
    async fn watch(&self, link: &Arc<Link>) -> String {
        loop {
            // Either way the connection is tried; what differs is how soon.
            let _ = tokio::time::timeout(PROBE_EVERY, self.suspicion.notified()).await;
            let in_use = self.connection.load();
            if in_use
                .as_ref()
                .is_none_or(|in_use| !Arc::ptr_eq(in_use, link))
            {
                return "its answers were not those to our questions".to_owned();
            }
            drop(in_use);
            if let Err(cause) = self.probe(link).await {
                return cause;
            }
        }
    }

    /// Whether a server answers that is a single primary and never evicts.
    async fn probe(&self, link: &Link) -> Result<(), String> {
        let mut commands = Pipeline::new();
        commands.cmd("INFO").arg("server");
        commands.cmd("INFO").arg("replication");
        commands.cmd("INFO").arg("memory");
        let probing = tokio::time::timeout(self.connect_timeout, exchange(link, &commands));
        let answers = match probing.await {
            Ok(Ok(answers)) => answers,
            Ok(Err(error)) => return Err(describe(&error)),
            Err(_) => return Err("no answer to `INFO` within `connect_timeout`".to_owned()),
        };
        let mut answers = Answers(answers.into_iter());
        let mut section = || answers.text().ok().flatten().unwrap_or_default();
        judge(&section(), &section(), &section())
    }

    /// Takes the connection out of use, unless another has replaced it already.
    fn drop_link(&self, link: &Arc<Link>) {
        self.connection.compare_and_swap(link, None);
        self.suspicion.notify_one();
    }
}

impl std::fmt::Debug for Redis {
    /// Not the client: it knows the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").finish_non_exhaustive()
    }
}

// === helpers ===

async fn exchange(link: &Link, commands: &Pipeline) -> Result<Vec<Value>, RedisError> {
    // The clone is a handle on the one connection.
    let mut connection = link.0.clone();
    connection
        .req_packed_commands(commands, 0, commands.len())
        .await
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
