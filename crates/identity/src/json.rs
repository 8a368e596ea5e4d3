//! JSON (RFC 8259) without its ambiguities. Two parsers that read one text differently are how a
//! token says one thing to the check and another to the policy, so a repeated member is refused at
//! every level, and depth and sizes are bounded before anything looks inside.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// The deepest nesting of arrays and objects.
const MAX_DEPTH: u8 = 32;
/// The most elements of one array.
const MAX_ELEMENTS: usize = 1024;
/// The most members of one object: finding duplicates takes the square of it.
const MAX_MEMBERS: usize = 128;

/// A JSON value, which borrows text without escapes from what was read. Numbers keep whether they were written as integers.
#[derive(Debug, PartialEq)]
pub(crate) enum Json<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A non-negative integer.
    Natural(u64),
    /// A negative integer.
    Negative(i64),
    /// A number with a fraction or an exponent, or out of range.
    Float,
    /// Text; the parser has refused lone surrogates and invalid UTF-8.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Json<'a>>),
    /// An object.
    Object(Object<'a>),
}

/// The members of an object, each name once.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Object<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

struct Value {
    depth: u8,
}

/// The name of a member.
struct Name;

// === impl Object ===

impl<'a> Object<'a> {
    /// Parses one object and nothing after it.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut parser = serde_json::Deserializer::from_slice(bytes);
        let value = Value { depth: 0 }.deserialize(&mut parser).ok()?;
        parser.end().ok()?;
        match value {
            Json::Object(object) => Some(object),
            _ => None,
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Json<'a>> {
        self.0
            .iter()
            .find_map(|(member, value)| (member == name).then_some(value))
    }

    /// Takes a member's value out.
    pub(crate) fn take(&mut self, name: &str) -> Option<Json<'a>> {
        let mut members = self.0.iter_mut();
        let (_, value) = members.find(|(member, _)| member == name)?;
        Some(std::mem::replace(value, Json::Null))
    }

    /// All members, in the order in which they are written.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, &Json<'a>)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(crate) fn string(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Json::as_str)
    }
}

// === impl Json ===

impl Json<'_> {
    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A text's own JSON form keeps control characters from the reader's terminal.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(truth) => truth.fmt(f),
            Self::Natural(number) => number.fmt(f),
            Self::Negative(number) => number.fmt(f),
            Self::Float => f.write_str("a number that is not whole, or out of range"),
            Self::String(text) => f.write_str(&quoted(text)),
            Self::Array(elements) => {
                f.write_str("[")?;
                for (index, element) in elements.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{element}")?;
                }
                f.write_str("]")
            }
            Self::Object(object) => {
                f.write_str("{")?;
                for (index, (name, value)) in object.members().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{}: {value}", quoted(name))?;
                }
                f.write_str("}")
            }
        }
    }
}

// === impl Value ===

impl<'de> DeserializeSeed<'de> for Value {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Natural(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(u64::try_from(value).map_or(Json::Negative(value), Json::Natural))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json<'de>, E> {
        Ok(Json::Float)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Json<'de>, A::Error> {
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(self.deeper()?)? {
            if array.len() == MAX_ELEMENTS {
                return Err(A::Error::custom("too many elements"));
            }
            array.push(element);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json<'de>, A::Error> {
        // As many as most tokens have, so that it seldom has to grow.
        let mut object = Object(Vec::with_capacity(16));
        while let Some(name) = members.next_key_seed(Name)? {
            if object.0.len() == MAX_MEMBERS {
                return Err(A::Error::custom("too many members"));
            }
            if object.has(&name) {
                return Err(A::Error::custom("a member is repeated"));
            }
            let value = members.next_value_seed(self.deeper()?)?;
            object.0.push((name, value));
        }
        Ok(Json::Object(object))
    }
}

impl Value {
    /// The seed of what a container at this depth holds.
    fn deeper<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom("nested too deeply"));
        }
        Ok(Self {
            depth: self.depth + 1,
        })
    }
}

// === impl Name ===

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}
