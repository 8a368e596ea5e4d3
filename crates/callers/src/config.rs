//! Section `callers`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use identity::config::{IssuerConfig, Kind};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};
use settings::EXPECTED;

/// Section `callers`, one item: who may call the decision API, proved by a bearer token: one of its own, whose hash is
/// known here (`token_sha256`), or those that an issuer of services gives it (`issuer` and `subjects`).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallerConfig {
    /// The caller's name in logs; unique.
    pub name: String,
    /// The SHA-256 of the caller's token in hexadecimal, as `printf %s "$TOKEN" | sha256sum` prints it. A token has to
    /// be random and long (128 bits or more), or its hash gives it away.
    #[serde(default)]
    #[schemars(with = "TokenDigest")]
    pub token_sha256: Option<TokenDigest>,
    /// The `name` of the entry of `issuers`, of kind `service`, whose tokens prove the caller. A user's token is never a
    /// caller.
    #[serde(default)]
    #[schemars(with = "String")]
    pub issuer: Option<String>,
    /// The services that are this caller: the `sub` of their tokens, such as `spn:orders`, to the letter.
    #[serde(default)]
    pub subjects: Vec<String>,
    /// Scopes that such a token must carry, all of them.
    #[serde(default)]
    pub scopes: Vec<String>,
}

/// The SHA-256 of a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

const WORDS: &str = "the sha-256 of a token in 64 hexadecimal digits";

/// The SHA-256 of no bytes at all: what hashing an unset variable gives.
const OF_NOTHING: TokenDigest = TokenDigest([
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
]);

impl CallerConfig {
    /// Every mistake in a list of callers beside these issuers, each with its key below the section, such as `[1].name`.
    #[must_use]
    pub fn problems(callers: &[Self], issuers: &[IssuerConfig]) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut names = HashMap::new();
        let mut digests = HashMap::new();
        let mut subjects = HashMap::new();
        for (index, caller) in callers.iter().enumerate() {
            if caller.name.is_empty() {
                problems.push((format!("[{index}].name"), "must not be empty".to_owned()));
            } else if names.insert(caller.name.as_str(), index).is_some() {
                problems.push((
                    format!("[{index}].name"),
                    format!("another caller is named `{}`", caller.name.escape_debug()),
                ));
            }
            let mut add =
                |key: &str, message: String| problems.push((format!("[{index}].{key}"), message));
            if let Some(digest) = caller.token_sha256 {
                if digest == OF_NOTHING {
                    add(
                        "token_sha256",
                        "is the sha-256 of an empty token".to_owned(),
                    );
                } else if let Some(other) = digests.insert(digest, index) {
                    add("token_sha256", taken("token", other));
                }
            }
            for (at, subject) in caller.subjects.iter().enumerate() {
                let known = subjects.insert((&caller.issuer, subject), index);
                if let Some(other) = known {
                    add(&format!("subjects[{at}]"), taken("subject", other));
                }
            }
            caller.check_proof(issuers, add);
        }
        problems
    }

    /// Whether there is one proof, and a whole one.
    fn check_proof(&self, issuers: &[IssuerConfig], mut add: impl FnMut(&str, String)) {
        let Some(issuer) = &self.issuer else {
            if self.token_sha256.is_none() {
                let message = "is missing: give the hash of the caller's token, or an `issuer`";
                add("token_sha256", message.to_owned());
            }
            for (key, given) in [
                ("subjects", !self.subjects.is_empty()),
                ("scopes", !self.scopes.is_empty()),
            ] {
                if given {
                    add(key, "has no meaning without an `issuer`".to_owned());
                }
            }
            return;
        };
        if self.token_sha256.is_some() {
            let message = "and `token_sha256` are two proofs: give one of them";
            add("issuer", message.to_owned());
        }
        match issuers.iter().find(|known| known.name == *issuer) {
            None => add(
                "issuer",
                format!("there is no issuer `{}`", issuer.escape_debug()),
            ),
            Some(known) if known.kind != Kind::Service => {
                let issuer = issuer.escape_debug();
                add(
                    "issuer",
                    format!("`{issuer}` is no issuer of services: its `kind` has to be `service`"),
                );
            }
            Some(_) => {}
        }
        if self.subjects.is_empty() {
            let message = "is missing: name the services that are this caller";
            add("subjects", message.to_owned());
        }
        for (at, subject) in self.subjects.iter().enumerate() {
            if subject.strip_prefix("spn:").is_none_or(str::is_empty) {
                let message = "is no service: their names begin with `spn:`";
                add(&format!("subjects[{at}]"), message.to_owned());
            }
        }
        for (at, scope) in self.scopes.iter().enumerate() {
            if !is_scope(scope) {
                let message = format!("`{}` is not a scope", scope.escape_debug());
                add(&format!("scopes[{at}]"), message);
            }
        }
    }
}

impl TokenDigest {
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Not shown: whoever confuses the token and its hash would find the token in a log.
impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<digest>")
    }
}

impl<'de> Deserialize<'de> for TokenDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Hex)
    }
}

impl JsonSchema for TokenDigest {
    fn schema_name() -> Cow<'static, str> {
        "TokenDigest".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "The SHA-256 of a token in hexadecimal.",
            "pattern": "^[0-9A-Fa-f]{64}$",
            "writeOnly": true,
            EXPECTED: WORDS,
        })
    }
}

struct Hex;

impl Visitor<'_> for Hex {
    type Value = TokenDigest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WORDS)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<TokenDigest, E> {
        let expected = || E::custom(format!("expected {WORDS}"));
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut bytes = [0; 32];
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return Err(expected());
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = nibble(*high)
                .zip(nibble(*low))
                .map(|(high, low)| high << 4 | low)
                .ok_or_else(expected)?;
        }
        Ok(TokenDigest(bytes))
    }
}

/// What is wrong with a proof that another caller has as well.
fn taken(what: &str, other: usize) -> String {
    format!("is the {what} of callers[{other}] too, so nobody could tell the two apart")
}

/// `scope-token` of RFC 6749 section 3.3.
fn is_scope(scope: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    !scope.is_empty() && scope.bytes().all(is_part)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
