//! All that the candidates can read of a question, as one number.
//!
//! Two questions with the same digest get the same answer: they are about the same policies, which
//! the constraints tell that they meet, under the same names, and every condition reads the same.
//! What no candidate reads is left out, so that it may differ.

use aws_lc_rs::digest::{self, SHA256};
use cedar_policy_core::ast::Context;
use smallvec::SmallVec;
use smol_str::SmolStr;

use super::reads::{Fact, Path, Root};
use super::{Asked, Candidates};
use crate::canonical::Canonical;
use crate::entities::View;
use crate::uid::Uid;
use crate::value::{Record, Value};

/// A SHA-256. That two different contents have the same need not be feared.
pub(crate) type Digest = [u8; 32];

/// Why a question has no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Undigested {
    /// Evaluating it costs little more than to make a digest and look it up.
    Cheap,
    /// A candidate reads `context.now`.
    Now,
    /// What a candidate looks at is known only once it is evaluated.
    Elsewhere,
    /// What the candidates read is so much that evaluating them costs less.
    Large,
    /// An entity that a candidate may look at cannot be seen.
    Unseen,
}

/// Facts by number.
type Numbers = SmallVec<[u64; 8]>;

/// Facts that cost about as much to write down as all that every digest has.
const FACTS: u64 = 16;

/// Bytes of a digest for each operation that it saves: writing and hashing so many costs a fraction of
/// evaluating it.
const BYTES: u64 = 2;

/// Bytes that a digest may always have.
const LEAST_LIMIT: u64 = 4096;

/// Writes down what is read.
struct Reader<'a> {
    asked: &'a Asked<'a>,
    view: &'a View<'a>,
    content: Canonical,
}

// === impl Candidates ===

impl Candidates<'_> {
    /// The digest of a question to the policies of `revision`. `dear` is what evaluating it must cost
    /// at least, in operations, to be worth one.
    ///
    /// # Errors
    /// When there is no digest, or none that is worth making.
    pub(crate) fn digest(
        &self,
        asked: &Asked<'_>,
        view: &View<'_>,
        revision: &str,
        dear: u64,
    ) -> Result<Digest, Undigested> {
        self.digest_of(&self.engine.facts, asked, view, revision, dear)
    }

    /// As [`digest`](Self::digest), where `facts` are all that conditions can read.
    pub(super) fn digest_of(
        &self,
        facts: &[Fact],
        asked: &Asked<'_>,
        view: &View<'_>,
        revision: &str,
        dear: u64,
    ) -> Result<Digest, Undigested> {
        let mut cost = 0_u64;
        let conditions = || self.rules().filter_map(|(_, rule)| rule.condition.as_ref());
        for condition in conditions() {
            cost = cost.saturating_add(condition.program.cost);
        }
        if cost < dear {
            return Err(Undigested::Cheap);
        }
        let mut numbers = Numbers::from_elem(0, facts.len().div_ceil(64));
        for condition in conditions() {
            if let Some(why) = condition.undigested {
                return Err(why);
            }
            for number in &condition.facts {
                if let Some(word) = numbers.get_mut(*number as usize / 64) {
                    *word |= 1 << (number % 64);
                }
            }
        }
        let count: u64 = numbers
            .iter()
            .map(|word| u64::from(word.count_ones()))
            .sum();
        if cost < dear.saturating_mul(1 + count / FACTS) {
            return Err(Undigested::Cheap);
        }
        let limit = cost.saturating_mul(BYTES).max(LEAST_LIMIT);
        let mut reader = Reader {
            asked,
            view,
            content: Canonical::new(usize::try_from(limit).unwrap_or(usize::MAX)),
        };
        reader.content.text(b'v', revision);
        // The numbers of constraints are this engine's own.
        reader.content.count(b'e', self.engine.serial);
        for met in [&self.met.principal, &self.met.action, &self.met.resource] {
            reader.content.count(b'm', met.len());
            for constraint in met {
                reader.content.count(b'c', *constraint as usize);
            }
        }
        for uid in [&asked.principal, &asked.action, &asked.resource] {
            reader.content.uid(uid);
        }
        for (word, first) in numbers.into_iter().zip((0..).step_by(64)) {
            for number in (first..first + 64).filter(|number| word >> (number - first) & 1 == 1) {
                reader.content.count(b'f', number);
                facts
                    .get(number)
                    .into_iter()
                    .for_each(|fact| reader.fact(fact));
            }
        }
        reader.finish()
    }
}

// === impl Reader ===

impl Reader<'_> {
    fn finish(self) -> Result<Digest, Undigested> {
        if self.view.failure().is_some() {
            return Err(Undigested::Unseen);
        }
        let bytes = self.content.bytes().ok_or(Undigested::Large)?;
        let mut digest = Digest::default();
        for (byte, found) in digest
            .iter_mut()
            .zip(digest::digest(&SHA256, bytes).as_ref())
        {
            *byte = *found;
        }
        Ok(digest)
    }

    fn fact(&mut self, fact: &Fact) {
        match fact {
            Fact::Value(path) => self.follow(path, |reader, value| reader.content.value(value)),
            Fact::Has(path) => self.follow(path, |reader, _| reader.content.count(b'+', 0)),
            Fact::Ancestors(path) => self.follow(path, Self::ancestors),
            Fact::Tags(path) => self.follow(path, Self::tags),
        }
    }

    /// Writes down what the path leads through, and has `end` do so with what it leads to.
    fn follow(&mut self, path: &Path, end: fn(&mut Self, &Value)) {
        let entity = |uid: &Uid| Value::Entity(uid.clone());
        let root = match &path.root {
            Root::Principal => entity(&self.asked.principal),
            Root::Action => entity(&self.asked.action),
            Root::Resource => entity(&self.asked.resource),
            Root::Named(uid) => entity(uid),
            Root::Context => return self.context(&path.names, end),
        };
        self.descend(&root, &path.names, end);
    }

    /// As [`descend`](Self::descend), from the context, of which no more is converted than is read.
    fn context(&mut self, names: &[SmolStr], end: fn(&mut Self, &Value)) {
        let Context::Value(members) = self.asked.context else {
            return self.content.count(b'!', 0);
        };
        let mut naming = Uid::of;
        match names.split_first() {
            None => {
                let all = Record::of(members.iter(), &mut naming);
                end(self, &Value::Record(all));
            }
            Some((name, below)) => match members.get(name) {
                Some(member) => self.descend(&Value::of(member), below, end),
                None => self.content.count(b'-', names.len()),
            },
        }
    }

    fn descend(&mut self, value: &Value, names: &[SmolStr], end: fn(&mut Self, &Value)) {
        let Some((name, below)) = names.split_first() else {
            return end(self, value);
        };
        let view = self.view;
        let next = match value {
            Value::Record(record) => record.get(name),
            Value::Entity(uid) => {
                // Errors name it, and say whether it exists.
                self.content.uid(uid);
                let entity = view.entity(uid);
                self.content.count(b'?', usize::from(entity.is_some()));
                entity.and_then(|entity| entity.attributes.get(name))
            }
            // Nothing lies below it, and an error says of what type it is.
            other => {
                self.content.value(other);
                None
            }
        };
        match next {
            Some(next) => self.descend(next, below, end),
            // By how much the way was too long.
            None => self.content.count(b'-', names.len()),
        }
    }

    fn ancestors(&mut self, of: &Value) {
        let Value::Entity(uid) = of else {
            return self.content.count(b'!', 0);
        };
        // They are sorted by hash: in one order as long as this process lives.
        let above = self.view.entity(uid).map(|entity| entity.ancestors());
        let above = above.unwrap_or_default();
        self.content.count(b'a', above.len());
        above.iter().for_each(|uid| self.content.uid(uid));
    }

    fn tags(&mut self, of: &Value) {
        let Value::Entity(uid) = of else {
            return self.content.count(b'!', 0);
        };
        let entity = self.view.entity(uid);
        self.content.count(b'?', usize::from(entity.is_some()));
        if let Some(entity) = entity {
            self.content.record(&entity.tags);
        }
    }
}
