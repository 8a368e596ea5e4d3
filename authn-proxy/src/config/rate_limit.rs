//! Key `rate_limit` of a route: how often it may be asked for.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use settings::EXPECTED;

/// How often a route may be asked for: one rate for each address and each principal, or one of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimitConfig {
    /// Of each client address, counted before a token is looked at.
    pub address: Option<Rate>,
    /// Of each principal, counted once it is known who is calling.
    pub principal: Option<Rate>,
    /// Whether one rate was written for both.
    pub is_common: bool,
}

/// So many requests in a window, such as `5/min`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub requests: NonZeroU32,
    /// In which time, in seconds: a second, a minute or an hour.
    pub window: u16,
}

/// The map form.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Each {
    /// Of each client address, counted before a token is looked at; an IPv6 network of 64 bits is one address.
    address: Option<Rate>,
    /// Of each principal, counted once it is known who is calling.
    principal: Option<Rate>,
}

const WORDS: &str = "a rate such as `10/s`, `5/min` or `100/h`";

const EITHER: &str =
    "a rate such as `10/s`, `5/min` or `100/h`, or `{ address: 5/min, principal: 10/s }`";

// === impl Rate ===

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (requests, unit) = text.split_once('/')?;
            let window = match unit {
                "s" => 1,
                "min" => 60,
                "h" => 3600,
                _ => return None,
            };
            let plain = requests.len() <= 9 && requests.bytes().all(|byte| byte.is_ascii_digit());
            let requests = requests.parse().ok().filter(|_| plain)?;
            Some(Self { requests, window })
        };
        parse().ok_or_else(|| format!("expected {WORDS}"))
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "So many requests in a second, a minute or an hour: `10/s`, `5/min`, `100/h`.",
            "pattern": "^[1-9][0-9]{0,8}/(s|min|h)$",
            EXPECTED: WORDS,
        })
    }
}

// === impl RateLimitConfig ===

/// By hand, because serde's untagged enums forget what was wrong.
impl<'de> Deserialize<'de> for RateLimitConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrEach;

        impl<'de> Visitor<'de> for OneOrEach {
            type Value = RateLimitConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EITHER)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RateLimitConfig, E> {
                let rate = text.parse().map_err(E::custom)?;
                Ok(RateLimitConfig {
                    address: Some(rate),
                    principal: Some(rate),
                    is_common: true,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RateLimitConfig, A::Error> {
                let Each { address, principal } =
                    Each::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RateLimitConfig {
                    address,
                    principal,
                    is_common: false,
                })
            }
        }

        deserializer.deserialize_any(OneOrEach)
    }
}

impl JsonSchema for RateLimitConfig {
    fn schema_name() -> Cow<'static, str> {
        "RateLimitConfig".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let rate = generator.subschema_for::<Rate>();
        let each = generator.subschema_for::<Each>();
        json_schema!({ "anyOf": [rate, each] })
    }
}
