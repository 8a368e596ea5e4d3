//! Identifiers and values into Cedar's: lengths and patterns are those of the service's model.

use std::sync::LazyLock;

use cedar_policy::EntityUid;
use regex::bytes::Regex;
use serde_json::{Map, Value, json};

use super::fault::Invalid;
use super::wire::{ActionIdentifier, AttributeValue, Attributes, EntityIdentifier};
use crate::namespace::Namespace;

/// What a text may be: its length in characters, and its pattern.
pub(super) struct Text {
    pub(super) min: usize,
    pub(super) max: usize,
    /// As in the model; the whole text has to match.
    pattern: &'static str,
    regex: LazyLock<Regex>,
}

/// Names that Cedar's JSON gives a meaning of their own.
const RESERVED: [&str; 3] = ["__entity", "__extn", "__expr"];

/// Declares a text with its lengths and pattern.
macro_rules! text {
    ($name:ident, $min:literal..=$max:literal, $pattern:literal) => {
        pub(super) static $name: Text = Text {
            min: $min,
            max: $max,
            pattern: $pattern,
            regex: LazyLock::new(|| {
                Regex::new(concat!("^(?s-u:", $pattern, ")$")).expect("the pattern is one")
            }),
        };
    };
}

text!(POLICY_STORE_ID, 1..=200, "[a-zA-Z0-9-/_]*");
text!(
    TOKEN,
    1..=131_072,
    "[A-Za-z0-9-_=]+.[A-Za-z0-9-_=]+.[A-Za-z0-9-_=]+"
);
text!(ENTITY_TYPE, 1..=200, ".*");
text!(ENTITY_ID, 1..=612, ".*");
text!(ACTION_TYPE, 1..=200, "Action$|^.+::Action");
text!(ACTION_ID, 1..=512, ".*");
text!(IP_ADDR, 1..=44, r"[0-9a-fA-F\.:\/]*");
text!(DECIMAL, 3..=23, r"-?\d{1,15}\.\d{1,4}");
text!(
    DATETIME,
    10..=28,
    r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}(\.\d{3})?(Z|[+-]\d{4}))?"
);
text!(DURATION, 2..=100, r"-?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?");

/// The entity that is meant.
pub(super) fn entity(
    identifier: &EntityIdentifier,
    namespace: &Namespace,
) -> Result<EntityUid, Invalid> {
    let EntityIdentifier {
        entity_type,
        entity_id,
    } = identifier;
    ENTITY_TYPE.check(entity_type, "entityType")?;
    ENTITY_ID.check(entity_id, "entityId")?;
    namespace
        .entity(entity_type, entity_id)
        .map_err(|error| Invalid::new(error.to_string()).within("entityType"))
}

/// The action that is meant.
pub(super) fn action(
    identifier: &ActionIdentifier,
    namespace: &Namespace,
) -> Result<EntityUid, Invalid> {
    let ActionIdentifier {
        action_type,
        action_id,
    } = identifier;
    ACTION_TYPE.check(action_type, "actionType")?;
    ACTION_ID.check(action_id, "actionId")?;
    namespace
        .entity(action_type, action_id)
        .map_err(|error| Invalid::new(error.to_string()).within("actionType"))
}

/// The values in Cedar's JSON, which says the same of types that values say here.
pub(super) fn record(values: &Attributes, namespace: &Namespace) -> Result<Value, Invalid> {
    let mut record = Map::new();
    for (name, value) in &values.0 {
        if RESERVED.contains(&name.as_str()) {
            return Err(Invalid::new("is a name that Cedar keeps for itself").within(name));
        }
        let value = cedar(value, namespace).map_err(|invalid| invalid.within(name))?;
        record.insert(name.clone(), value);
    }
    Ok(Value::Object(record))
}

/// An entity's name in the words of the service.
pub(super) fn identifier(uid: &EntityUid) -> EntityIdentifier {
    EntityIdentifier {
        entity_type: uid.type_name().to_string(),
        entity_id: uid.id().unescaped().to_owned(),
    }
}

/// An entity's name in Cedar's JSON.
pub(super) fn uid(uid: &EntityUid) -> Value {
    json!({ "type": uid.type_name().to_string(), "id": uid.id().unescaped() })
}

fn cedar(value: &AttributeValue, namespace: &Namespace) -> Result<Value, Invalid> {
    let call = |function: &str, text: &Text, argument: &str, member: &str| {
        text.check(argument, member)?;
        Ok(json!({ "__extn": { "fn": function, "arg": argument } }))
    };
    match value {
        AttributeValue::Boolean(value) => Ok(Value::Bool(*value)),
        AttributeValue::EntityIdentifier(identifier) => entity(&identifier.0, namespace)
            .map(|entity| json!({ "__entity": uid(&entity) }))
            .map_err(|invalid| invalid.within("entityIdentifier")),
        AttributeValue::Long(value) => Ok(Value::Number((*value).into())),
        AttributeValue::String(value) => Ok(Value::String(value.clone())),
        AttributeValue::Set(values) => {
            let values = values.iter().enumerate().map(|(index, value)| {
                cedar(value, namespace)
                    .map_err(|invalid| invalid.within(&format!("[{index}]")).within("set"))
            });
            values.collect::<Result<_, _>>().map(Value::Array)
        }
        AttributeValue::Record(values) => {
            record(values, namespace).map_err(|invalid| invalid.within("record"))
        }
        AttributeValue::Ipaddr(text) => call("ip", &IP_ADDR, text, "ipaddr"),
        AttributeValue::Decimal(text) => call("decimal", &DECIMAL, text, "decimal"),
        AttributeValue::Datetime(text) => call("datetime", &DATETIME, text, "datetime"),
        AttributeValue::Duration(text) => call("duration", &DURATION, text, "duration"),
    }
}

// === impl Text ===

impl Text {
    /// The pattern of the whole text.
    pub(super) fn anchored(&self) -> String {
        format!("^(?:{})$", self.pattern)
    }

    /// Whether a value of `member` is within the model.
    pub(super) fn check(&self, value: &str, member: &str) -> Result<(), Invalid> {
        let Self {
            min, max, pattern, ..
        } = self;
        // Four bytes a character at most: what is far too long is not counted.
        let length = match value.len() {
            bytes if bytes > max * 4 => usize::MAX,
            _ => value.chars().count(),
        };
        let wrong = if length < *min {
            format!("must have at least {min} characters")
        } else if length > *max {
            format!("must have at most {max} characters")
        } else if !self.regex.is_match(value.as_bytes()) {
            format!("must match `{pattern}`")
        } else {
            return Ok(());
        };
        Err(Invalid::new(wrong).within(member))
    }
}
