//! What other instances, and the services that write Redis, announce: a user has changed.
//!
//! An announcement only hastens what happens anyway: whoever misses one knows of the change when what is known of the
//! user has grown old. So the channel may be down, and nobody is refused for it.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use crate::json::Object;
use crate::redis::Redis;
use crate::standing::Standing;

/// The channel; its messages are in `docs/redis-keys.md`.
pub(crate) const CHANNEL: &str = "portcullis:invalidate";

/// Who has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Announcement {
    /// A user of a pool, by the name there.
    User { pool: String, user: String },
    /// Somebody whose sessions, revocations or status in Redis were written.
    Subject(String),
}

/// The longest message that is looked at, in bytes.
const MAX_MESSAGE: usize = 4096;
/// How many messages may come in a second. The client library reads ahead without limit, so whoever sends more is not
/// listened to for a while, which empties what was read.
const MOST: u32 = 10_000;
/// How often a silent channel is tried, and how long the answer may take.
const TRY_EVERY: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(5);
/// The pauses between attempts to subscribe, doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// Heeds announcements for as long as it is polled.
pub(crate) async fn listen(standing: &Standing, redis: &Redis) -> Infallible {
    let mut pause = FIRST_PAUSE;
    let mut complained = false;
    loop {
        let begun = Instant::now();
        let cause = heed(standing, redis, &mut complained).await;
        if begun.elapsed() > TRY_EVERY {
            pause = FIRST_PAUSE;
        }
        if complained {
            debug!(cause, "not subscribed to invalidations");
        } else {
            complained = true;
            warn!(
                cause,
                "not subscribed to invalidations: changes of users are noticed when what is known of them expires"
            );
        }
        sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// Subscribes and heeds; says why that came to an end.
async fn heed(standing: &Standing, redis: &Redis, complained: &mut bool) -> String {
    let connecting = timeout(PATIENCE, redis.subscribe(CHANNEL)).await;
    let (mut sink, mut messages) = match connecting {
        Ok(Ok(pubsub)) => pubsub.split(),
        Ok(Err(cause)) => return cause,
        Err(_) => return "no subscription in time".to_owned(),
    };
    info!("subscribed to invalidations");
    *complained = false;
    let (mut second, mut heard) = (Instant::now(), 0_u32);
    loop {
        if second.elapsed() >= Duration::from_secs(1) {
            (second, heard) = (Instant::now(), 0);
        }
        heard += 1;
        if heard > MOST {
            return "too many messages".to_owned();
        }
        match timeout(TRY_EVERY, messages.next()).await {
            Ok(Some(message)) => match Announcement::read(message.get_payload_bytes()) {
                Some(announcement) => standing.heed(&announcement),
                None => warn!("an invalidation that cannot be read was ignored"),
            },
            Ok(None) => return "the connection ended".to_owned(),
            Err(_) => match timeout(PATIENCE, sink.ping::<::redis::Value>()).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return "the connection failed".to_owned(),
                Err(_) => return "the connection is silent".to_owned(),
            },
        }
    }
}

// === impl Announcement ===

impl Announcement {
    /// `{"pool": …, "user": …}` or `{"subject": …}`; other members are ignored, so that there can be more.
    pub(crate) fn read(message: &[u8]) -> Option<Self> {
        if message.len() > MAX_MESSAGE {
            return None;
        }
        let message = Object::parse(message)?;
        match (
            message.string("pool"),
            message.string("user"),
            message.string("subject"),
        ) {
            (Some(pool), Some(user), None) => Some(Self::User {
                pool: pool.to_owned(),
                user: user.to_owned(),
            }),
            (None, None, Some(subject)) => Some(Self::Subject(subject.to_owned())),
            _ => None,
        }
    }

    pub(crate) fn write(&self) -> String {
        match self {
            Self::User { pool, user } => json!({ "pool": pool, "user": user }),
            Self::Subject(subject) => json!({ "subject": subject }),
        }
        .to_string()
    }
}
