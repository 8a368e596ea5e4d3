//! Lengths of time.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::{EXPECTED, Text};

/// A length of time as settings write it: `500ms`, `30s`, `1h`, `1h30m`; at most 3650 days.
///
/// Units are `us`, `ms`, `s`, `m`, `h` and `d`; there is no number without a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

const WORDS: &str = "a duration such as `500ms`, `30s` or `1h30m`";
const LONGEST: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

impl Span {
    /// A span of whole seconds, for defaults.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// A span of whole milliseconds, for defaults.
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected {WORDS}");
        let mut total = Duration::ZERO;
        let mut rest = text;
        loop {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit())
                .ok_or_else(expected)?;
            let (number, after) = rest.split_at_checked(digits).ok_or_else(expected)?;
            let letters = after
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(after.len());
            let (unit, after) = after.split_at_checked(letters).ok_or_else(expected)?;
            let one = match unit {
                "us" => Duration::from_micros(1),
                "ms" => Duration::from_millis(1),
                "s" => Duration::from_secs(1),
                "m" => Duration::from_secs(60),
                "h" => Duration::from_secs(60 * 60),
                "d" => Duration::from_secs(24 * 60 * 60),
                _ => return Err(expected()),
            };
            // No digits at all are not a number; too many are too long a time.
            if number.is_empty() {
                return Err(expected());
            }
            total = number
                .parse()
                .ok()
                .and_then(|number: u32| one.checked_mul(number))
                .and_then(|part| total.checked_add(part))
                .filter(|total| *total <= LONGEST)
                .ok_or_else(|| "a duration of more than 3650 days".to_owned())?;
            if after.is_empty() {
                return Ok(Self(total));
            }
            rest = after;
        }
    }
}

/// The same form that is read, in the largest units that lose nothing.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        let (unit, size) = [
            ("d", 86_400_000_000),
            ("h", 3_600_000_000),
            ("m", 60_000_000),
            ("s", 1_000_000),
            ("ms", 1_000),
        ]
        .into_iter()
        .find(|(_, size)| micros > 0 && micros.is_multiple_of(*size))
        .unwrap_or(("us", 1));
        write!(f, "{}{unit}", micros / size)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text::new(WORDS, str::parse))
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A length of time: `500ms`, `30s`, `1h30m`; units are us, ms, s, m, h and d.",
            "pattern": "^([0-9]+(us|ms|s|m|h|d))+$",
            EXPECTED: WORDS,
        })
    }
}
