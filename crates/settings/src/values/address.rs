//! Where a listener listens.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::{EXPECTED, Text};

/// A place to listen at: `0.0.0.0:8000`, `[::1]:8000`, `localhost:8000` or `unix:/run/portcullis.sock`.
///
/// No other host names: what a name resolves to may change, and with it who can connect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and port; port 0 takes any free one.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

const WORDS: &str =
    "an address such as `127.0.0.1:8000`, `localhost:8000` or `unix:/run/portcullis.sock`";

/// What the kernel has room for in the path of a Unix socket, its closing NUL not counted.
const LONGEST_PATH: usize = 107;

impl Address {
    /// Whether only processes of this machine can connect: loopback or a Unix socket.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected {WORDS}");
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() || path.contains('\0') {
                return Err(expected());
            }
            if path.len() > LONGEST_PATH {
                return Err(format!(
                    "the path of a unix socket of more than {LONGEST_PATH} bytes"
                ));
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        if let Some(port) = text.strip_prefix("localhost:") {
            // A sign would be taken by the parser of numbers.
            return port
                .parse()
                .ok()
                .filter(|_| port.starts_with(|c: char| c.is_ascii_digit()))
                .map(|port: u16| Self::Tcp((Ipv4Addr::LOCALHOST, port).into()))
                .ok_or_else(expected);
        }
        text.parse().map(Self::Tcp).map_err(|_| expected())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text::new(WORDS, str::parse))
    }
}

impl JsonSchema for Address {
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A place to listen at: `127.0.0.1:8000`, `[::1]:8000`, `localhost:8000` or `unix:/run/portcullis.sock`.",
            "pattern": "^(unix:.+|localhost:[0-9]{1,5}|[0-9.]+:[0-9]{1,5}|\\[[0-9A-Fa-f:.%]+\\]:[0-9]{1,5})$",
            EXPECTED: WORDS,
        })
    }
}
