//! Values of attributes, tags and context, as the decision path handles them.
//!
//! The same values as Cedar's, without what the decision path has no use for: places in source
//! texts and a second copy of every set. They are equal, and in the same order, exactly when Cedar's
//! are.

mod attributes;

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use cedar_policy_core::ast;
use smol_str::SmolStr;

pub(crate) use self::attributes::Attributes;
use crate::uid::Uid;

/// A value. Cheap to copy: what is large is shared.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Bool(bool),
    Long(i64),
    String(SmolStr),
    Entity(Uid),
    Set(Set),
    Record(Record),
    Extension(Arc<ast::RepresentableExtensionValue>),
}

/// Values by name, sorted by name.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Record(Arc<[(SmolStr, Value)]>);

/// Values, sorted and each once.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Set(Arc<[Value]>);

/// Makes the names that stand in values, so that whoever keeps the values can share the names.
pub(crate) type Naming<'a> = &'a mut dyn FnMut(&ast::EntityUID) -> Uid;

// === impl Value ===

impl Value {
    pub(crate) fn of(value: &ast::Value) -> Self {
        Self::named(value, &mut Uid::of)
    }

    /// The value, with the names that `naming` gives.
    ///
    /// Recursion is bounded by the nesting limit of whatever the value was read from.
    pub(crate) fn named(value: &ast::Value, naming: Naming<'_>) -> Self {
        match value.value_kind() {
            ast::ValueKind::Lit(literal) => Self::literal(literal, naming),
            ast::ValueKind::Set(set) => {
                // Sorted as it comes: both sides have the same order.
                let members = set.iter().map(|member| Self::named(member, naming));
                Self::Set(Set(members.collect()))
            }
            ast::ValueKind::Record(record) => Self::Record(Record::of(record.iter(), naming)),
            ast::ValueKind::ExtensionValue(value) => Self::Extension(Arc::clone(value)),
        }
    }

    pub(crate) fn literal(literal: &ast::Literal, naming: Naming<'_>) -> Self {
        match literal {
            ast::Literal::Bool(value) => Self::Bool(*value),
            ast::Literal::Long(value) => Self::Long(*value),
            ast::Literal::String(value) => Self::String(value.clone()),
            ast::Literal::EntityUID(uid) => Self::Entity(naming(uid)),
        }
    }

    pub(crate) fn to_cedar(&self) -> ast::Value {
        let kind = match self {
            Self::Bool(value) => ast::ValueKind::Lit(ast::Literal::Bool(*value)),
            Self::Long(value) => ast::ValueKind::Lit(ast::Literal::Long(*value)),
            Self::String(value) => ast::ValueKind::Lit(ast::Literal::String(value.clone())),
            Self::Entity(uid) => {
                ast::ValueKind::Lit(ast::Literal::EntityUID(Arc::new(uid.to_cedar())))
            }
            Self::Set(set) => ast::ValueKind::Set(ast::Set::new(set.iter().map(Self::to_cedar))),
            Self::Record(record) => ast::ValueKind::Record(Arc::new(record.to_cedar().collect())),
            Self::Extension(value) => ast::ValueKind::ExtensionValue(Arc::clone(value)),
        };
        ast::Value::new(kind, None)
    }

    /// Tells `tell` every entity that the value names.
    pub(crate) fn names(&self, tell: &mut dyn FnMut(&Uid)) {
        match self {
            Self::Entity(uid) => tell(uid),
            Self::Set(set) => set.iter().for_each(|member| member.names(tell)),
            Self::Record(record) => record.names(tell),
            Self::Bool(_) | Self::Long(_) | Self::String(_) | Self::Extension(_) => {}
        }
    }
}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Self::Bool(value) => value.hash(state),
            Self::Long(value) => value.hash(state),
            Self::String(value) => value.hash(state),
            Self::Entity(uid) => Hash::hash(uid, state),
            Self::Set(set) => set.hash(state),
            Self::Record(record) => record.hash(state),
            // What made it may differ between equal values; the value itself cannot be hashed, but
            // it can be written in the one way that equal values share.
            Self::Extension(value) => extension_text(value).hash(state),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_cedar(), f)
    }
}

// === impl Record ===

impl Record {
    /// Of pairs that are sorted by name, each name once.
    pub(crate) fn of<'v>(
        sorted: impl Iterator<Item = (&'v SmolStr, &'v ast::Value)>,
        naming: Naming<'_>,
    ) -> Self {
        Self(
            sorted
                .map(|(key, value)| (key.clone(), Value::named(value, naming)))
                .collect(),
        )
    }

    /// Of pairs in any order; where a name stands twice, the last one counts.
    pub(crate) fn new(pairs: impl IntoIterator<Item = (SmolStr, Value)>) -> Self {
        let sorted: std::collections::BTreeMap<SmolStr, Value> = pairs.into_iter().collect();
        Self(sorted.into_iter().collect())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        // Few have more names than a glance takes in.
        let at = self.0.binary_search_by(|(name, _)| name.as_str().cmp(key));
        self.0.get(at.ok()?).map(|(_, value)| value)
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&SmolStr, &Value)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells `tell` every entity that a value in it names.
    pub(crate) fn names(&self, tell: &mut dyn FnMut(&Uid)) {
        self.iter().for_each(|(_, value)| value.names(tell));
    }

    pub(crate) fn to_cedar(&self) -> impl Iterator<Item = (SmolStr, ast::Value)> + use<'_> {
        self.iter()
            .map(|(key, value)| (key.clone(), value.to_cedar()))
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

// === impl Set ===

impl Set {
    pub(crate) fn new(members: impl IntoIterator<Item = Value>) -> Self {
        let mut members: Vec<Value> = members.into_iter().collect();
        members.sort_unstable();
        members.dedup();
        Self(members.into())
    }

    pub(crate) fn contains(&self, value: &Value) -> bool {
        self.0.binary_search(value).is_ok()
    }

    pub(crate) fn contains_entity(&self, uid: &Uid) -> bool {
        let place = self.0.binary_search_by(|member| match member {
            Value::Bool(_) | Value::Long(_) | Value::String(_) => Ordering::Less,
            Value::Entity(member) => member.cmp(uid),
            Value::Set(_) | Value::Record(_) | Value::Extension(_) => Ordering::Greater,
        });
        place.is_ok()
    }

    pub(crate) fn is_subset(&self, other: &Self) -> bool {
        self.len() <= other.len() && self.iter().all(|member| other.contains(member))
    }

    pub(crate) fn is_disjoint(&self, other: &Self) -> bool {
        let (few, many) = if self.len() <= other.len() {
            (self, other)
        } else {
            (other, self)
        };
        !few.iter().any(|member| many.contains(member))
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Value> {
        self.0.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The call that makes an extension value, in the one form that all equal values have.
pub(crate) fn extension_text(value: &ast::RepresentableExtensionValue) -> String {
    let (function, arguments) = value.value().canonical_repr();
    arguments
        .iter()
        .fold(function.to_string(), |text, argument| {
            format!("{text}({argument})")
        })
}

#[cfg(test)]
mod tests;
