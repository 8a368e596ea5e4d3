//! Compiled conditions, evaluated over what is stored, without copying it.
//!
//! The one rule: an answer is given only where it is Cedar's for certain. Whatever Cedar would call an
//! error, and whatever is not known here, is [`AskCedar`]: then Cedar's own evaluator is asked about
//! this one policy, and its error, to the letter, is the answer. Operands are evaluated in Cedar's
//! order and all of them before any is judged, so that what has been looked at when this gives up is
//! all that Cedar looks at.

use std::cell::{OnceCell, RefCell};

use cedar_policy_core::ast::{
    Context, ExtensionFunction, PartialValue, RepresentableExtensionValue,
};
use smol_str::SmolStr;

use super::Asked;
use super::compile::{Binary, Op};
use crate::entities::{Stored, View};
use crate::uid::Uid;
use crate::value::{Record, Set, Value};

/// Cedar is to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AskCedar;

/// What conditions see of one question.
pub(super) struct Sight<'q> {
    view: &'q View<'q>,
    asked: &'q Asked<'q>,
    /// The context in our form, once a condition has asked for it.
    converted: OnceCell<Option<Value>>,
    /// Every entity that was looked at, when Cedar is to see the same.
    looked_at: Option<RefCell<Vec<Uid>>>,
}

/// A value where it lies, the name of an entity where it lies, or a value that was made just now.
enum Seen<'s> {
    There(&'s Value),
    Name(&'s Uid),
    Made(Value),
}

/// Stack that the evaluator takes for one level of a program's height, in bytes: more than a test
/// measures. Without optimisation its frames are several times as large.
const STACK_PER_LEVEL: usize = if cfg!(debug_assertions) {
    8 << 10
} else {
    2 << 10
};

/// Stack for all that is not the recursion.
const STACK_BASE: usize = 64 << 10;

/// The stack, in bytes, that a program of a height can take.
pub(super) fn stack_needed(height: usize) -> usize {
    STACK_BASE + height * STACK_PER_LEVEL
}

// === impl Sight ===

impl<'q> Sight<'q> {
    pub(super) fn new(asked: &'q Asked<'q>, view: &'q View<'q>) -> Self {
        Self {
            view,
            asked,
            converted: OnceCell::new(),
            looked_at: None,
        }
    }

    /// Keeps a record of the entities that are looked at from now on.
    pub(super) fn watch(&mut self) {
        self.looked_at.get_or_insert_default();
    }

    /// The entities that were looked at since [`Self::watch`].
    pub(super) fn looked_at(self) -> Vec<Uid> {
        self.looked_at.map(RefCell::into_inner).unwrap_or_default()
    }

    /// Whether a condition holds.
    pub(super) fn holds(&self, op: &Op) -> Result<bool, AskCedar> {
        match op {
            Op::Not(one) => self.holds(one).map(|holds| !holds),
            Op::All(all) => {
                for one in all {
                    if !self.holds(one)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Op::Any(all) => {
                for one in all {
                    if self.holds(one)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Op::If(three) => {
                let [test, then, otherwise] = &**three;
                self.holds(if self.holds(test)? { then } else { otherwise })
            }
            Op::Two(binary, two) => {
                let [left, right] = &**two;
                let (left, right) = (self.value(left)?, self.value(right)?);
                match binary {
                    Binary::Equal => Ok(left.is(&right)),
                    Binary::Less | Binary::AtMost => {
                        compare(*binary, left.value()?, right.value()?)
                    }
                    Binary::In => self.is_in(&left, &right),
                    Binary::Contains => Ok(right.is_member(set(&left)?)),
                    Binary::ContainsAll => {
                        let (left, right) = (set(&left)?, set(&right)?);
                        Ok(right.is_subset(left))
                    }
                    Binary::ContainsAny => {
                        let (left, right) = (set(&left)?, set(&right)?);
                        Ok(!left.is_disjoint(right))
                    }
                    Binary::HasTag => {
                        let (uid, tag) = (entity(&left)?, string(&right)?);
                        Ok(self
                            .entity(uid)
                            .is_some_and(|entity| entity.tags.get(tag).is_some()))
                    }
                    Binary::Add | Binary::Subtract | Binary::Multiply | Binary::GetTag => {
                        boolean(&self.two(*binary, left, right)?)
                    }
                }
            }
            Op::InAnyOf(one, uids) => {
                let one = self.value(one)?;
                Ok(self.is_within(entity(&one)?, uids.iter()))
            }
            Op::Is(one, kind) => Ok(entity(&self.value(one)?)?.kind() == kind),
            Op::Has(one, name) => self.has_path(&self.value(one)?, std::slice::from_ref(name)),
            Op::HasPath(one, names) => self.has_path(&self.value(one)?, names),
            Op::Like(one, pattern) => Ok(pattern.matches(string(&self.value(one)?)?)),
            Op::IsEmpty(one) => Ok(set(&self.value(one)?)?.is_empty()),
            _ => boolean(&self.value(op)?),
        }
    }

    fn value<'s>(&'s self, op: &'s Op) -> Result<Seen<'s>, AskCedar> {
        Ok(match op {
            Op::Constant(value) => Seen::There(value),
            Op::Principal => Seen::Name(&self.asked.principal),
            Op::Action => Seen::Name(&self.asked.action),
            Op::Resource => Seen::Name(&self.asked.resource),
            Op::Context => Seen::There(self.context()?),
            Op::Attribute(one, name) => return self.attribute(self.value(one)?, name),
            Op::If(three) => {
                let [test, then, otherwise] = &**three;
                return self.value(if self.holds(test)? { then } else { otherwise });
            }
            Op::Two(
                binary @ (Binary::Add | Binary::Subtract | Binary::Multiply | Binary::GetTag),
                two,
            ) => {
                let [left, right] = &**two;
                return self.two(*binary, self.value(left)?, self.value(right)?);
            }
            Op::Negate(one) => Seen::Made(negate(self.value(one)?.value()?)?),
            Op::Set(members) => {
                let members = members.iter().map(|member| self.made(member));
                Seen::Made(Value::Set(Set::new(
                    members.collect::<Result<Vec<_>, _>>()?,
                )))
            }
            Op::Record(members) => {
                let members = members
                    .iter()
                    .map(|(name, member)| Ok((name.clone(), self.made(member)?)));
                Seen::Made(Value::Record(Record::new(
                    members.collect::<Result<Vec<_>, _>>()?,
                )))
            }
            Op::Call(function, arguments) => {
                let arguments = arguments.iter().map(|argument| self.made(argument));
                let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
                Seen::Made(call(function, &arguments)?)
            }
            Op::Fails(operands) => {
                for operand in operands {
                    self.value(operand)?;
                }
                return Err(AskCedar);
            }
            #[cfg(test)]
            Op::Bent(bend, one) => Seen::Made(bend(self, one)?),
            Op::Not(_)
            | Op::IsEmpty(_)
            | Op::All(_)
            | Op::Any(_)
            | Op::Two(..)
            | Op::InAnyOf(..)
            | Op::Is(..)
            | Op::Has(..)
            | Op::HasPath(..)
            | Op::Like(..) => Seen::Made(Value::Bool(self.holds(op)?)),
        })
    }

    /// The value of an operation.
    pub(super) fn made(&self, op: &Op) -> Result<Value, AskCedar> {
        self.value(op).map(Seen::into_value)
    }

    fn context(&self) -> Result<&Value, AskCedar> {
        let converted = self.converted.get_or_init(|| match self.asked.context {
            Context::Value(members) => {
                Some(Value::Record(Record::of(members.iter(), &mut Uid::of)))
            }
            Context::RestrictedResidual(_) => None,
        });
        converted.as_ref().ok_or(AskCedar)
    }

    /// The entity, if there is one.
    fn entity(&self, uid: &Uid) -> Option<&Stored> {
        if let Some(looked_at) = &self.looked_at {
            looked_at.borrow_mut().push(uid.clone());
        }
        self.asked.entity(uid, self.view)
    }

    fn attribute<'s>(&'s self, of: Seen<'s>, name: &str) -> Result<Seen<'s>, AskCedar> {
        let found = match &of {
            Seen::There(Value::Record(record)) => record.get(name).map(Seen::There),
            Seen::Made(Value::Record(record)) => record.get(name).cloned().map(Seen::Made),
            _ => {
                let entity = self.entity(entity(&of)?);
                entity
                    .and_then(|entity| entity.attributes.get(name))
                    .map(Seen::There)
            }
        };
        found.ok_or(AskCedar)
    }

    fn has_path(&self, of: &Seen<'_>, names: &[SmolStr]) -> Result<bool, AskCedar> {
        // What is known of the value so far: once past the first name it lies somewhere.
        let mut value = None;
        for name in names {
            let next = match value.map_or(of.as_ref(), Seen::There) {
                Seen::There(Value::Record(record)) => record.get(name),
                seen => self
                    .entity(entity(&seen)?)
                    .and_then(|entity| entity.attributes.get(name)),
            };
            match next {
                Some(_) => value = next,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn is_in(&self, left: &Seen<'_>, right: &Seen<'_>) -> Result<bool, AskCedar> {
        let uid = entity(left)?;
        if let Some(around) = right.name() {
            return Ok(self.is_within(uid, std::iter::once(around)));
        }
        match right.value()? {
            Value::Set(set) => {
                // One that is no entity is an error, even where another is around.
                let around = set.iter().map(named).collect::<Result<Vec<_>, _>>();
                // Cedar looks the entity up before it looks into the set.
                if around.is_err() {
                    self.entity(uid);
                }
                Ok(self.is_within(uid, around?.into_iter()))
            }
            _ => {
                self.entity(uid);
                Err(AskCedar)
            }
        }
    }

    /// Whether an entity is one of `around`, or within one of them.
    fn is_within<'u>(&self, uid: &Uid, mut around: impl Iterator<Item = &'u Uid>) -> bool {
        let entity = self.entity(uid);
        around.any(|around| uid == around || entity.is_some_and(|entity| entity.is_within(around)))
    }

    /// The operators whose value is more than true or false.
    fn two<'s>(
        &'s self,
        binary: Binary,
        left: Seen<'s>,
        right: Seen<'s>,
    ) -> Result<Seen<'s>, AskCedar> {
        if binary == Binary::GetTag {
            let (uid, tag) = (entity(&left)?, string(&right)?);
            let tag = self.entity(uid).and_then(|entity| entity.tags.get(tag));
            return tag.map(Seen::There).ok_or(AskCedar);
        }
        arithmetic(binary, left.value()?, right.value()?).map(Seen::Made)
    }
}

// === impl Seen ===

impl Seen<'_> {
    fn into_value(self) -> Value {
        match self {
            Self::There(value) => value.clone(),
            Self::Name(uid) => Value::Entity(uid.clone()),
            Self::Made(value) => value,
        }
    }

    /// The same, where it lies.
    fn as_ref(&self) -> Seen<'_> {
        match self {
            Self::There(value) => Seen::There(value),
            Self::Name(uid) => Seen::Name(uid),
            Self::Made(value) => Seen::There(value),
        }
    }

    /// The name, if it is an entity.
    fn name(&self) -> Option<&Uid> {
        match self {
            Self::Name(uid) => Some(uid),
            Self::There(Value::Entity(uid)) | Self::Made(Value::Entity(uid)) => Some(uid),
            Self::There(_) | Self::Made(_) => None,
        }
    }

    /// The value, for operations that fail for the name of an entity.
    fn value(&self) -> Result<&Value, AskCedar> {
        match self {
            Self::There(value) => Ok(value),
            Self::Made(value) => Ok(value),
            Self::Name(_) => Err(AskCedar),
        }
    }

    fn is(&self, other: &Self) -> bool {
        match (self.name(), other.name()) {
            (Some(one), Some(other)) => one == other,
            (None, None) => self.value().ok() == other.value().ok(),
            _ => false,
        }
    }

    fn is_member(&self, set: &Set) -> bool {
        match self {
            Self::Name(uid) => set.contains_entity(uid),
            Self::There(value) => set.contains(value),
            Self::Made(value) => set.contains(value),
        }
    }
}

/// `==`, `<` and `<=`.
pub(super) fn compare(binary: Binary, left: &Value, right: &Value) -> Result<bool, AskCedar> {
    let order = match (left, right) {
        (Value::Long(left), Value::Long(right)) => left.cmp(right),
        (Value::Extension(left), Value::Extension(right)) if ordered(left, right) => {
            left.cmp(right)
        }
        _ => return Err(AskCedar),
    };
    Ok(match binary {
        Binary::Less => order.is_lt(),
        _ => order.is_le(),
    })
}

/// Whether two values are of one type, one that is ordered. The type is told by what it is in
/// memory: its name would have to be copied, and two threads would fight over the count.
fn ordered(left: &RepresentableExtensionValue, right: &RepresentableExtensionValue) -> bool {
    let (left, right) = (left.value(), right.value());
    left.supports_operator_overloading() && left.as_any().type_id() == right.as_any().type_id()
}

/// `+`, `-` and `*`.
pub(super) fn arithmetic(binary: Binary, left: &Value, right: &Value) -> Result<Value, AskCedar> {
    let (Value::Long(left), Value::Long(right)) = (left, right) else {
        return Err(AskCedar);
    };
    let result = match binary {
        Binary::Add => left.checked_add(*right),
        Binary::Subtract => left.checked_sub(*right),
        Binary::Multiply => left.checked_mul(*right),
        _ => None,
    };
    result.map(Value::Long).ok_or(AskCedar)
}

pub(super) fn negate(value: &Value) -> Result<Value, AskCedar> {
    match value {
        Value::Long(value) => value.checked_neg().map(Value::Long).ok_or(AskCedar),
        _ => Err(AskCedar),
    }
}

/// Calls a function of an extension.
pub(super) fn call(
    function: &'static ExtensionFunction,
    arguments: &[Value],
) -> Result<Value, AskCedar> {
    let arguments: Vec<_> = arguments.iter().map(Value::to_cedar).collect();
    match function.call(&arguments) {
        Ok(PartialValue::Value(value)) => Ok(Value::of(&value)),
        _ => Err(AskCedar),
    }
}

fn boolean(value: &Seen<'_>) -> Result<bool, AskCedar> {
    match value.value()? {
        Value::Bool(value) => Ok(*value),
        _ => Err(AskCedar),
    }
}

fn string<'s>(value: &'s Seen<'_>) -> Result<&'s str, AskCedar> {
    match value.value()? {
        Value::String(value) => Ok(value),
        _ => Err(AskCedar),
    }
}

fn set<'s>(value: &'s Seen<'_>) -> Result<&'s Set, AskCedar> {
    match value.value()? {
        Value::Set(set) => Ok(set),
        _ => Err(AskCedar),
    }
}

fn entity<'s>(value: &'s Seen<'_>) -> Result<&'s Uid, AskCedar> {
    value.name().ok_or(AskCedar)
}

fn named(value: &Value) -> Result<&Uid, AskCedar> {
    match value {
        Value::Entity(uid) => Ok(uid),
        _ => Err(AskCedar),
    }
}
