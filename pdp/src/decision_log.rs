//! The one event that tells of a decision. What is written of it, and where, is the subscriber's.

use std::fmt::{self, Write as _};
use std::time::Duration;

use cedar_policy::EntityUid;

use crate::answer::Answer;

/// The target of decision events.
pub const TARGET: &str = "portcullis::decision";

/// A decision and what it was about. Context and entities are left out: they hold what callers know
/// of people.
#[derive(Clone, Copy)]
pub struct Decided<'a> {
    /// The API that was asked, as in `native`.
    pub surface: &'static str,
    /// The id that the caller was told.
    pub request_id: &'a str,
    /// Who asked to act.
    pub principal: &'a dyn fmt::Display,
    /// What they asked to do.
    pub action: &'a dyn fmt::Display,
    /// What they asked to do it to.
    pub resource: &'a dyn fmt::Display,
    /// What was answered.
    pub answer: &'a Answer,
    /// How long it took, reading the question included.
    pub took: Duration,
}

/// One page of a search: many decisions that were made for one list. Each of them is that of the same
/// question asked by itself; of what is looked for, only the type or nothing is known beforehand.
#[derive(Clone, Copy)]
pub struct Searched<'a> {
    /// The API that was asked, as in `authzen`.
    pub surface: &'static str,
    /// The id that the caller was told.
    pub request_id: &'a str,
    /// What is looked for: `subject`, `resource` or `action`.
    pub sought: &'static str,
    /// Who would act, or the type of those looked for.
    pub principal: &'a dyn fmt::Display,
    /// What they would do, or nothing where actions are looked for.
    pub action: &'a dyn fmt::Display,
    /// What they would do it to, or the type of what is looked for.
    pub resource: &'a dyn fmt::Display,
    /// How many were decided.
    pub candidates: usize,
    /// How many of them were Allow.
    pub found: usize,
    /// Whether there may be more.
    pub more: bool,
    /// The content hash of what decided.
    pub revision: &'a str,
    /// How long it took, reading the question included.
    pub took: Duration,
}

/// An entity in Cedar syntax, as its own `Display` writes it. That takes many small steps, which plain names need not.
pub(crate) struct Literal<'a>(pub(crate) &'a EntityUid);

// === impl Decided ===

impl Decided<'_> {
    /// Tells of it.
    pub fn record(&self) {
        let answer = self.answer;
        // Nothing of this is computed where nobody listens.
        tracing::info!(
            target: TARGET,
            request_id = self.request_id,
            surface = self.surface,
            principal = written(self.principal),
            action = written(self.action),
            resource = written(self.resource),
            decision = answer.decision_name(),
            source = answer.source.name(),
            policies = answer.determining_policies.join(","),
            errors = failed(answer),
            revision = &*answer.revision,
            latency_us = micros(self.took),
        );
    }
}

// === impl Searched ===

impl Searched<'_> {
    /// Tells of it.
    pub fn record(&self) {
        tracing::info!(
            target: TARGET,
            request_id = self.request_id,
            surface = self.surface,
            search = self.sought,
            principal = %self.principal,
            action = %self.action,
            resource = %self.resource,
            candidates = self.candidates,
            found = self.found,
            more = self.more,
            revision = self.revision,
            latency_us = micros(self.took),
        );
    }
}

// === impl Literal ===

impl fmt::Display for Literal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (type_name, id) = (self.0.type_name(), self.0.id().unescaped());
        let is_plain = |byte| matches!(byte, b' '..=b'~') & !matches!(byte, b'"' | b'\'' | b'\\');
        if !id.bytes().fold(true, |all, byte| all & is_plain(byte)) {
            return self.0.fmt(f);
        }
        for part in type_name.namespace_components() {
            f.write_str(part)?;
            f.write_str("::")?;
        }
        for part in [type_name.basename(), "::\"", id, "\""] {
            f.write_str(part)?;
        }
        Ok(())
    }
}

/// Most names fit at once: text that grows bit by bit is moved each time.
fn written(name: &dyn fmt::Display) -> String {
    let mut text = String::with_capacity(64);
    // Memory does not fail to be written.
    let _ = write!(text, "{name}");
    text
}

/// Which policies failed, not why: a cause can quote what the question held.
fn failed(answer: &Answer) -> String {
    let policies = answer.errors.iter();
    let policies = policies.map(|error| error.policy.as_deref().unwrap_or("(question)"));
    policies.collect::<Vec<_>>().join(",")
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use cedar_policy::{EntityId, EntityTypeName};

    use super::*;

    #[test]
    fn an_entity_is_written_as_cedar_writes_it() {
        for type_name in ["User", "Shop::User", "A::B::C"] {
            for id in [
                "", "alice", "a b~", "O'Hara", "\"", "\\", "\n", "é", "\u{7f}",
            ] {
                let type_name: EntityTypeName = type_name.parse().unwrap();
                let uid = EntityUid::from_type_name_and_id(type_name, EntityId::new(id));
                assert_eq!(Literal(&uid).to_string(), uid.to_string());
            }
        }
    }
}
