//! What instances tell each other through Redis: facts about users, who is asking about one, how many questions the
//! user pool was asked in this second. Ages are by the clock of Redis, which is one for all.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::invalidation::{Announcement, CHANNEL};
use crate::json::{Json, Object};
use crate::redis::{Answers, Redis, Unanswered};
use crate::standing::UserRecord;

use super::STALENESS;

/// The shared level of one user pool.
#[derive(Debug)]
pub(super) struct Shared {
    redis: Arc<Redis>,
    pool: String,
    /// The pool in whose name requests to all of them are counted.
    payer: String,
}

/// What was found there about a user.
#[derive(Debug)]
pub(super) struct Seen {
    /// A fact that holds still, and its age.
    pub(super) fact: Option<(Option<Arc<UserRecord>>, Duration)>,
    /// What invalidations have come to; a fact of another generation is void.
    pub(super) generation: String,
    /// The time by the clock of Redis, in milliseconds since 1970.
    pub(super) now: u64,
}

/// The longest fact that is shared, in bytes.
const MAX_FACT: usize = 64 * 1024;
/// How long a generation is kept: longer than any fact holds and any question takes.
const GENERATION_SECONDS: u32 = 120;

impl Shared {
    pub(super) fn new(redis: Arc<Redis>, pool: &str) -> Self {
        Self {
            redis,
            pool: pool.to_owned(),
            payer: pool.to_owned(),
        }
    }

    /// The same of another pool, which spends from the same budget.
    pub(super) fn beside(&self, pool: &str) -> Self {
        Self {
            redis: Arc::clone(&self.redis),
            pool: pool.to_owned(),
            payer: self.payer.clone(),
        }
    }

    /// Looks a user up.
    pub(super) async fn look(&self, username: &str) -> Result<Seen, Unanswered> {
        let mut answers = self
            .redis
            .ask(|commands| {
                commands
                    .cmd("GETRANGE")
                    .arg(self.key("user", username))
                    .arg(0)
                    .arg(MAX_FACT);
                commands
                    .cmd("GET")
                    .arg(self.key("user-generation", username));
                commands.cmd("TIME");
            })
            .await?;
        let fact = answers.text();
        let generation = answers.text()?.unwrap_or_default();
        let now = answers.time()?;
        // A fact that cannot be read is none: it was only a copy.
        let fact = fact
            .ok()
            .flatten()
            .and_then(|fact| read(&fact, &generation, now));
        Ok(Seen {
            fact,
            generation,
            now,
        })
    }

    /// Whether nobody else is asking the pool about this user, in which case we are, until [`Shared::put`] or `limit`.
    pub(super) async fn claim(&self, username: &str, limit: Duration) -> Result<bool, Unanswered> {
        let milliseconds = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let mut answers = self
            .redis
            .ask(|commands| {
                let command = commands
                    .cmd("SET")
                    .arg(self.key("user-claim", username))
                    .arg(1);
                command.arg("NX").arg("PX").arg(milliseconds);
            })
            .await?;
        answers.is_done()
    }

    /// Whether one more question to the pool is within what all may ask in this second.
    pub(super) async fn spend(&self, seen: &Seen, limit: u32) -> Result<bool, Unanswered> {
        let second = seen.now / 1000;
        let key = format!("portcullis:cognito:{}:{second}", self.payer);
        let mut answers = self
            .redis
            .ask(|commands| {
                commands.cmd("INCR").arg(&key);
                commands.cmd("EXPIRE").arg(&key).arg(10);
            })
            .await?;
        Ok(answers.count()? <= u64::from(limit))
    }

    /// Shares a fact that was asked for after `seen`. Says whether it holds: not when it was invalidated meanwhile.
    pub(super) async fn put(
        &self,
        username: &str,
        fact: Option<&UserRecord>,
        seen: &Seen,
    ) -> Result<bool, Unanswered> {
        let text = write(fact, seen);
        let life = u64::try_from(STALENESS.as_millis()).unwrap_or(u64::MAX);
        let mut answers = self
            .redis
            .ask(|commands| {
                if text.len() <= MAX_FACT {
                    let command = commands
                        .cmd("SET")
                        .arg(self.key("user", username))
                        .arg(&text);
                    command.arg("PX").arg(life);
                } else {
                    commands.cmd("PING");
                }
                commands.cmd("DEL").arg(self.key("user-claim", username));
                commands
                    .cmd("GET")
                    .arg(self.key("user-generation", username));
            })
            .await?;
        answers.skip();
        answers.skip();
        Ok(answers.text()?.unwrap_or_default() == seen.generation)
    }

    /// Lets others ask after a question that brought nothing.
    pub(super) async fn release(&self, username: &str) {
        let release = self.redis.ask(|commands| {
            commands.cmd("DEL").arg(self.key("user-claim", username));
        });
        if let Err(Unanswered(cause)) = release.await {
            tracing::debug!(cause, "the claim on a user was left to expire");
        }
    }

    /// Voids every fact about the user that was asked for before now, and tells who listens.
    pub(super) async fn invalidate(&self, username: &str) -> Result<(), Unanswered> {
        let generation = self.key("user-generation", username);
        let announcement = Announcement::User {
            pool: self.pool.clone(),
            user: username.to_owned(),
        };
        let mut answers = self
            .redis
            .ask(|commands| {
                commands.cmd("INCR").arg(&generation);
                commands
                    .cmd("EXPIRE")
                    .arg(&generation)
                    .arg(GENERATION_SECONDS);
                // Behind the other: whoever hears of it must not find the old fact shared.
                commands
                    .cmd("PUBLISH")
                    .arg(CHANNEL)
                    .arg(announcement.write());
            })
            .await?;
        answers.count()?;
        answers.skip();
        answers.count().map(|_| ())
    }

    /// A pool's id has no colon, so no two pairs of pool and name make one key.
    fn key(&self, what: &str, username: &str) -> String {
        format!("portcullis:{what}:{}:{username}", self.pool)
    }
}

// === the format of a fact ===

fn write(fact: Option<&UserRecord>, seen: &Seen) -> String {
    let user = fact.map(|record| {
        let attributes: Vec<_> = record.attributes.iter().map(|(name, value)| json!([name, value])).collect();
        json!({
            "sub": record.subject, "enabled": record.enabled, "active": record.active, "attributes": attributes,
        })
    });
    json!({ "generation": seen.generation, "checked_at": seen.now, "user": user }).to_string()
}

/// A fact and its age; none when it cannot be read, is void, or too old.
fn read(text: &str, generation: &str, now: u64) -> Option<(Option<Arc<UserRecord>>, Duration)> {
    let fact = Object::parse(text.as_bytes())?;
    let &Json::Natural(checked_at) = fact.get("checked_at")? else {
        return None;
    };
    // A fact from the future says nothing of its age.
    let age = Duration::from_millis(now.checked_sub(checked_at)?);
    if fact.string("generation")? != generation || age >= STALENESS {
        return None;
    }
    let record = match fact.get("user")? {
        Json::Null => None,
        Json::Object(user) => Some(Arc::new(read_user(user)?)),
        _ => return None,
    };
    Some((record, age))
}

fn read_user(user: &Object<'_>) -> Option<UserRecord> {
    let flag = |name: &str| match user.get(name)? {
        Json::Bool(flag) => Some(*flag),
        _ => None,
    };
    let Json::Array(attributes) = user.get("attributes")? else {
        return None;
    };
    let attribute = |pair: &Json<'_>| match pair {
        Json::Array(pair) => match pair.as_slice() {
            [Json::String(name), Json::String(value)] => {
                Some((name.to_string(), value.to_string()))
            }
            _ => None,
        },
        _ => None,
    };
    Some(UserRecord {
        subject: user.string("sub")?.to_owned(),
        enabled: flag("enabled")?,
        active: flag("active")?,
        attributes: attributes.iter().map(attribute).collect::<Option<_>>()?,
    })
}

// === answers of these commands ===

impl Answers {
    /// The answer to `SET … NX`: whether it was set.
    fn is_done(&mut self) -> Result<bool, Unanswered> {
        match self.next() {
            Some(::redis::Value::Okay) => Ok(true),
            Some(::redis::Value::Nil) => Ok(false),
            _ => Err(Unanswered("Redis gave another answer to `SET`")),
        }
    }

    /// The answer to `TIME`, in milliseconds since 1970.
    fn time(&mut self) -> Result<u64, Unanswered> {
        let number = |value: &::redis::Value| match value {
            ::redis::Value::BulkString(digits) => {
                std::str::from_utf8(digits).ok()?.parse::<u64>().ok()
            }
            _ => None,
        };
        let time = match self.next() {
            Some(::redis::Value::Array(parts)) => match parts.as_slice() {
                [seconds, micros] => number(seconds).zip(number(micros)),
                _ => None,
            },
            _ => None,
        };
        let (seconds, micros) = time.ok_or(Unanswered("Redis gave another answer to `TIME`"))?;
        Ok(seconds.saturating_mul(1000).saturating_add(micros / 1000))
    }

    fn skip(&mut self) {
        drop(self.next());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(generation: &str, now: u64) -> Seen {
        Seen {
            fact: None,
            generation: generation.to_owned(),
            now,
        }
    }

    #[test]
    fn a_fact_ages_and_is_voided() {
        let record = UserRecord {
            subject: "s-1".to_owned(),
            enabled: true,
            active: false,
            attributes: vec![("email".to_owned(), "a@b\"\n".to_owned())],
        };
        let text = write(Some(&record), &seen("3", 1_000_000));
        let (found, age) = read(&text, "3", 1_029_999).unwrap();
        assert_eq!(found.as_deref(), Some(&record));
        assert_eq!(age, Duration::from_millis(29_999));
        assert!(read(&text, "3", 1_030_000).is_none(), "too old");
        assert!(read(&text, "3", 999_999).is_none(), "from the future");
        assert!(read(&text, "4", 1_000_000).is_none(), "invalidated");
        assert!(
            read(&text, "", 1_000_000).is_none(),
            "invalidated, and the generation forgotten"
        );
        let unknown = write(None, &seen("", 5));
        assert_eq!(read(&unknown, "", 5).unwrap(), (None, Duration::ZERO));
        for garbage in [
            "",
            "{}",
            "null",
            &text.replace("true", "1"),
            &text.replace("attributes", "x"),
        ] {
            assert!(read(garbage, "3", 1_000_000).is_none(), "{garbage}");
        }
    }
}
