//! JSON into Cedar values, by the types that the schema declares.

use cedar_policy::{EntityUid, RestrictedExpression};
use serde_json::{Map, Number, Value};

use super::datetime;
use super::types::{Party, Types};
use crate::context_shape::{ContextKind, ContextShape};

/// The largest integer that a JSON number holds exactly wherever it was written (RFC 7493 section 2.2).
const MAX_EXACT: f64 = 9_007_199_254_740_991.0;

/// Why a value cannot be had in Cedar, and which it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Misfit {
    /// From the inside out.
    path: Vec<String>,
    expected: &'static str,
}

const ENTITY: &str = "__entity";
const EXTENSION: &str = "__extn";

const LONG: &str = "an integer of 64 bits";
const AN_ENTITY: &str = "an entity: `{\"type\":…,\"id\":…}`";

type Converted = Result<RestrictedExpression, Misfit>;

/// The members that `shape` declares. What it does not declare is ignored, and so is null.
pub(super) fn declared(
    mut members: Map<String, Value>,
    shape: &ContextShape,
    types: &Types,
) -> Result<Vec<(String, RestrictedExpression)>, Misfit> {
    let mut pairs = Vec::new();
    for (name, member) in shape.iter() {
        match members.remove(name) {
            None | Some(Value::Null) => {}
            Some(value) => {
                let value = typed(value, &member.kind, types).map_err(|error| error.below(name))?;
                pairs.push((name.to_owned(), value));
            }
        }
    }
    Ok(pairs)
}

/// All members as they are, where there is no schema; null is ignored.
pub(super) fn undeclared(
    members: Map<String, Value>,
    types: &Types,
) -> Result<Vec<(String, RestrictedExpression)>, Misfit> {
    members
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| match untyped(value, types) {
            Ok(value) => Ok((name, value)),
            Err(error) => Err(error.below(&name)),
        })
        .collect()
}

/// A value of a declared type.
pub(super) fn typed(value: Value, kind: &ContextKind, types: &Types) -> Converted {
    use RestrictedExpression as E;
    let misfit = |expected| Err(Misfit::new(expected));
    Ok(match (kind, value) {
        (ContextKind::Bool, Value::Bool(value)) => E::new_bool(value),
        (ContextKind::Bool, _) => return misfit("a boolean"),
        (ContextKind::Long, Value::Number(value)) => E::new_long(long(&value)?),
        (ContextKind::Long, _) => return misfit(LONG),
        (ContextKind::String, Value::String(value)) => E::new_string(value),
        (ContextKind::String, _) => return misfit("a string"),
        (ContextKind::Ip, Value::String(value)) => E::new_ip(value),
        (ContextKind::Ip, _) => return misfit("a string that holds an IP address"),
        (ContextKind::Decimal, Value::String(value)) => E::new_decimal(value),
        (ContextKind::Decimal, Value::Number(value)) => E::new_decimal(decimal(&value)),
        (ContextKind::Decimal, _) => return misfit("a decimal number"),
        (ContextKind::Datetime, Value::String(value)) => E::new_datetime(datetime::cedar(&value)),
        (ContextKind::Datetime, _) => return misfit("a string that holds a date and time"),
        (ContextKind::Duration, Value::String(value)) => E::new_duration(value),
        (ContextKind::Duration, _) => return misfit("a string that holds a duration"),
        (ContextKind::Entity(_), value) => match reference(&value, types) {
            Some(uid) => E::new_entity_uid(uid),
            None => return misfit(AN_ENTITY),
        },
        (ContextKind::Set(kind), Value::Array(values)) => {
            let members = values.into_iter().enumerate().map(|(at, value)| {
                typed(value, kind, types).map_err(|error| error.below(&at.to_string()))
            });
            E::new_set(members.collect::<Result<Vec<_>, _>>()?)
        }
        (ContextKind::Set(_), _) => return misfit("an array"),
        (ContextKind::Record(shape), Value::Object(members)) => {
            record(declared(members, shape, types)?)?
        }
        (ContextKind::Record(_), _) => return misfit("an object"),
    })
}

/// A value as it is. Cedar's JSON escapes name what JSON has no form for.
fn untyped(value: Value, types: &Types) -> Converted {
    use RestrictedExpression as E;
    Ok(match value {
        Value::Bool(value) => E::new_bool(value),
        Value::Number(value) => E::new_long(long(&value)?),
        Value::String(value) => E::new_string(value),
        Value::Array(values) => {
            let members = values.into_iter().enumerate().map(|(at, value)| {
                untyped(value, types).map_err(|error| error.below(&at.to_string()))
            });
            E::new_set(members.collect::<Result<Vec<_>, _>>()?)
        }
        Value::Object(members) => match escaped(&members, types) {
            Some(value) => value?,
            None => record(undeclared(members, types)?)?,
        },
        Value::Null => return Err(Misfit::new("a value that Cedar has, which null is not")),
    })
}

fn record(pairs: Vec<(String, RestrictedExpression)>) -> Converted {
    // A map has no key twice, which alone could fail.
    RestrictedExpression::new_record(pairs).map_err(|_| Misfit::new("an object"))
}

/// An integer, however it was written: to JSON, 1 and 1.0 are one number.
fn long(number: &Number) -> Result<i64, Misfit> {
    if let Some(value) = number.as_i64() {
        return Ok(value);
    }
    match number.as_f64() {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "has no fraction and is in range"
        )]
        Some(value) if value.fract() == 0.0 && value.abs() <= MAX_EXACT => Ok(value as i64),
        _ => Err(Misfit::new(LONG)),
    }
}

/// A number in the form of Cedar's decimals, which want a point.
fn decimal(number: &Number) -> String {
    let text = match (number.as_i64(), number.as_f64()) {
        (None, Some(value)) => value.to_string(),
        _ => number.to_string(),
    };
    if text.contains('.') {
        text
    } else {
        text + ".0"
    }
}

/// The entity of `{"type":…,"id":…}`, or of the same in Cedar's escape.
fn reference(value: &Value, types: &Types) -> Option<EntityUid> {
    let members = value.as_object()?;
    if let (1, Some(inner)) = (members.len(), members.get(ENTITY)) {
        return reference(inner, types);
    }
    let text = |name| members.get(name)?.as_str().map(str::to_owned);
    match types.party(text("type")?, text("id")?) {
        Party::Entity(uid) => Some(uid),
        Party::Nameless { .. } => None,
    }
}

/// What Cedar's escapes stand for; `None` for an object that is none.
fn escaped(members: &Map<String, Value>, types: &Types) -> Option<Converted> {
    let (key, value) = members.iter().next().filter(|_| members.len() == 1)?;
    let (value, expected) = match key.as_str() {
        ENTITY => (
            reference(value, types).map(RestrictedExpression::new_entity_uid),
            AN_ENTITY,
        ),
        EXTENSION => (extension(value), "`{\"fn\":…,\"arg\":…}`"),
        _ => return None,
    };
    Some(value.ok_or_else(|| Misfit::new(expected).below(key)))
}

/// `{"fn":"ip","arg":"10.0.0.1"}` and the like. Cedar's `unknown` is none of them.
fn extension(value: &Value) -> Option<RestrictedExpression> {
    let argument = value.get("arg")?.as_str()?;
    Some(match value.get("fn")?.as_str()? {
        "ip" => RestrictedExpression::new_ip(argument),
        "decimal" => RestrictedExpression::new_decimal(argument),
        "datetime" => RestrictedExpression::new_datetime(argument),
        "duration" => RestrictedExpression::new_duration(argument),
        _ => return None,
    })
}

// === impl Misfit ===

impl Misfit {
    fn new(expected: &'static str) -> Self {
        Self {
            path: Vec::new(),
            expected,
        }
    }

    pub(super) fn below(mut self, name: &str) -> Self {
        self.path.push(name.to_owned());
        self
    }
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("`")?;
        for (at, name) in self.path.iter().rev().enumerate() {
            if at > 0 {
                f.write_str(".")?;
            }
            f.write_str(name)?;
        }
        write!(f, "` is not {}", self.expected)
    }
}

#[cfg(test)]
mod tests;
