//! The context of a question: the facts of the request that the action's schema asks for, and no others.
//!
//! Cedar refuses a context with an attribute that is not declared, and one that lacks a required attribute. So every
//! declared attribute is filled that there is a fact for, in the type it is declared with; where there is none, the
//! question falls outside the schema and the decision point denies it.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cedar_policy::{Context, EntityUid, RestrictedExpression};
use http::header::USER_AGENT;
use http::request::Parts;
use identity::Identity;
use pdp::{ContextKind, ContextShape};

use crate::gate::Client;
use crate::path::CanonicalPath;

#[cfg(test)]
mod tests;

/// Where the facts about one request come from.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// The request itself, where there is one beside the question.
    pub(crate) request: Option<RequestFacts<'a>>,
    /// The token, where it says what its bearer may do.
    pub(crate) token: Option<&'a Identity>,
    /// The user that the caller, a service, acts for.
    pub(crate) on_behalf_of: Option<&'a EntityUid>,
    /// The workload that the request came from, whoever is calling through it.
    pub(crate) workload: Option<&'a EntityUid>,
}

/// What an enforcement point sees of a request.
#[derive(Clone, Copy)]
pub(crate) struct RequestFacts<'a> {
    pub(crate) head: &'a Parts,
    pub(crate) path: &'a CanonicalPath,
    pub(crate) client: &'a Client<'a>,
    pub(crate) now: SystemTime,
}

/// One fact, before it is known what type the schema gives it.
enum Fact<'a> {
    Text(String),
    Texts(&'a [String]),
    Address(IpAddr),
    Entity(&'a EntityUid),
    /// Time since 1970.
    Instant(Duration),
}

/// The user that a service acts for, in a context.
pub(crate) const ON_BEHALF_OF: &str = "on_behalf_of";

/// The workload that a request came from, in a context.
pub(crate) const WORKLOAD: &str = "workload";

/// The records of facts and their members. Beside them stand `now`, `on_behalf_of` and `workload`.
const RECORDS: [(&str, &[&str]); 2] = [
    (
        "http",
        &["method", "path", "host", "client_ip", "user_agent"],
    ),
    (
        "token",
        &[
            "issuer",
            "subject",
            "id",
            "scopes",
            "issued_at",
            "expires_at",
        ],
    ),
];

// === impl Facts ===

impl Facts<'_> {
    /// The context that an action of this shape is asked with.
    ///
    /// # Errors
    /// When Cedar cannot hold a fact, in words for the log.
    pub(crate) fn declared(&self, shape: &ContextShape) -> Result<Context, String> {
        let pairs = shape.iter().filter_map(|(name, member)| {
            let value = match &member.kind {
                ContextKind::Record(members) => self.record(name, members)?,
                kind => express(self.top(name)?, kind)?,
            };
            Some((name.to_owned(), value))
        });
        Context::from_pairs(pairs).map_err(|error| error.to_string())
    }

    /// Every fact in its natural type, for policies without a schema.
    ///
    /// # Errors
    /// When Cedar cannot hold a fact, in words for the log.
    pub(crate) fn all(&self) -> Result<Context, String> {
        let known = RECORDS.iter().filter(|(record, _)| self.knows(record));
        let records = known.filter_map(|(record, members)| {
            let members = members.iter().filter_map(|name| {
                Some((
                    (*name).to_owned(),
                    express_naturally(self.member(record, name)?),
                ))
            });
            let value = RestrictedExpression::new_record(members).ok()?;
            Some(((*record).to_owned(), value))
        });
        let tops = ["now", ON_BEHALF_OF, WORKLOAD]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), express_naturally(self.top(name)?))));
        Context::from_pairs(records.chain(tops)).map_err(|error| error.to_string())
    }

    /// A declared record, filled as far as there are facts. A record that nothing is known of is left out; one that is
    /// known in part is not, because then its absence would say something untrue.
    fn record(&self, record: &str, shape: &ContextShape) -> Option<RestrictedExpression> {
        if !self.knows(record) {
            return None;
        }
        let members = shape.iter().filter_map(|(name, member)| {
            let value = express(self.member(record, name)?, &member.kind)?;
            Some((name.to_owned(), value))
        });
        RestrictedExpression::new_record(members).ok()
    }

    /// Whether anything is known that stands in this record.
    fn knows(&self, record: &str) -> bool {
        match record {
            "http" => self.request.is_some(),
            "token" => self.token.is_some(),
            _ => false,
        }
    }

    fn top(&self, name: &str) -> Option<Fact<'_>> {
        match name {
            "now" => {
                let now = self.request?.now;
                Some(Fact::Instant(now.duration_since(UNIX_EPOCH).ok()?))
            }
            ON_BEHALF_OF => self.on_behalf_of.map(Fact::Entity),
            WORKLOAD => self.workload.map(Fact::Entity),
            _ => None,
        }
    }

    fn member(&self, record: &str, name: &str) -> Option<Fact<'_>> {
        match record {
            "http" => self.request?.fact(name),
            "token" => of_token(self.token?, name),
            _ => None,
        }
    }
}

// === impl RequestFacts ===

impl<'a> RequestFacts<'a> {
    fn fact(&self, name: &str) -> Option<Fact<'a>> {
        let text = |text: &str| Some(Fact::Text(text.to_owned()));
        match name {
            "method" => text(self.head.method.as_str()),
            "path" => text(self.path.as_str()),
            "host" => text(self.client.host?),
            "client_ip" => self.client.address.map(Fact::Address),
            "user_agent" => {
                let line = self.head.headers.get(USER_AGENT)?;
                text(&String::from_utf8_lossy(line.as_bytes()))
            }
            _ => None,
        }
    }
}

// === helpers ===

fn of_token<'a>(token: &'a Identity, name: &str) -> Option<Fact<'a>> {
    let text = |text: &str| Some(Fact::Text(text.to_owned()));
    let instant = |seconds| Some(Fact::Instant(Duration::from_secs(seconds)));
    match name {
        "issuer" => text(&token.issuer_url),
        "subject" => text(&token.subject),
        "id" => text(token.token_id.as_deref()?),
        "scopes" => Some(Fact::Texts(&token.scopes)),
        "issued_at" => instant(token.issued_at),
        "expires_at" => instant(token.expires_at),
        _ => None,
    }
}

/// The fact in the declared type; `None` when it has no such form.
fn express(fact: Fact<'_>, kind: &ContextKind) -> Option<RestrictedExpression> {
    Some(match (fact, kind) {
        (Fact::Text(text), ContextKind::String) => RestrictedExpression::new_string(text),
        (Fact::Texts(texts), ContextKind::Set(of)) if **of == ContextKind::String => strings(texts),
        (Fact::Address(address), ContextKind::Ip) => ip(address),
        (Fact::Address(address), ContextKind::String) => {
            RestrictedExpression::new_string(address.to_canonical().to_string())
        }
        (Fact::Entity(uid), ContextKind::Entity(of)) if uid.type_name() == of => {
            RestrictedExpression::new_entity_uid(uid.clone())
        }
        (Fact::Instant(since), ContextKind::Datetime) => datetime(since)?,
        (Fact::Instant(since), ContextKind::Long) => {
            RestrictedExpression::new_long(i64::try_from(since.as_secs()).ok()?)
        }
        _ => return None,
    })
}

fn express_naturally(fact: Fact<'_>) -> RestrictedExpression {
    match fact {
        Fact::Text(text) => RestrictedExpression::new_string(text),
        Fact::Texts(texts) => strings(texts),
        Fact::Address(address) => ip(address),
        Fact::Entity(uid) => RestrictedExpression::new_entity_uid(uid.clone()),
        Fact::Instant(since) => datetime(since)
            .unwrap_or_else(|| RestrictedExpression::new_string(since.as_secs().to_string())),
    }
}

fn strings(texts: &[String]) -> RestrictedExpression {
    RestrictedExpression::new_set(texts.iter().cloned().map(RestrictedExpression::new_string))
}

/// An IPv4 client of a dual-stack socket is an IPv4 client.
fn ip(address: IpAddr) -> RestrictedExpression {
    RestrictedExpression::new_ip(address.to_canonical().to_string())
}

/// `None` beyond the year 9999, which Cedar cannot write.
fn datetime(since: Duration) -> Option<RestrictedExpression> {
    const YEAR_10000: u64 = 253_402_300_800;
    if since.as_secs() >= YEAR_10000 {
        return None;
    }
    let instant = UNIX_EPOCH.checked_add(since)?;
    let text = humantime::format_rfc3339_millis(instant).to_string();
    Some(RestrictedExpression::new_datetime(text))
}
