//! The claims that issuers of each kind write, for tokens in their shape.

use std::str::FromStr;

use serde_json::{Map, Value, json};

use crate::Error;

/// A kind of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A user's token from an authorization server of one's own.
    FirstParty,
    /// A Cognito access token: `client_id`, `username`, `cognito:groups`, no `aud`.
    CognitoAccess,
    /// A Cognito id token: the app client as `aud`, `cognito:username`.
    CognitoId,
    /// A service's token: `token_use: svc`; the user it acts for in `act`.
    Service,
}

/// What a token is to say, whatever its shape.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// `iss`.
    pub issuer: String,
    /// Whom it is for: `aud`, or the one app client of a Cognito token.
    pub audiences: Vec<String>,
    /// `sub`.
    pub subject: String,
    /// The user name of a Cognito token; `subject` where there is none.
    pub username: Option<String>,
    /// `roles`, or `cognito:groups`.
    pub groups: Vec<String>,
    /// `scope`; left out when there are none.
    pub scopes: Vec<String>,
    /// `jti`, and `origin_jti` of Cognito.
    pub token_id: String,
    /// `iat`, in seconds since 1970.
    pub issued_at: u64,
    /// The seconds from `iat` to `exp`.
    pub lifetime: u64,
    /// `act`: the user a service acts for.
    pub act: Option<Value>,
}

impl Draft {
    /// The claims in this shape.
    pub fn claims(&self, shape: Shape) -> Map<String, Value> {
        let mut claims = Map::new();
        let mut set = |name: &str, value: Value| {
            claims.insert(name.to_owned(), value);
        };
        let audience = match self.audiences.as_slice() {
            [one] => json!(one),
            more => json!(more),
        };
        set("iss", json!(self.issuer));
        set("sub", json!(self.subject));
        set("iat", json!(self.issued_at));
        set("exp", json!(self.issued_at.saturating_add(self.lifetime)));
        set("jti", json!(self.token_id));
        let username = self.username.as_deref().unwrap_or(&self.subject);
        let groups = match shape {
            Shape::FirstParty | Shape::Service => "roles",
            Shape::CognitoAccess | Shape::CognitoId => "cognito:groups",
        };
        match shape {
            Shape::FirstParty => set("aud", audience),
            Shape::CognitoAccess => {
                set("client_id", audience);
                set("username", json!(username));
                set("token_use", json!("access"));
            }
            Shape::CognitoId => {
                set("aud", audience);
                set("cognito:username", json!(username));
                set("token_use", json!("id"));
            }
            Shape::Service => {
                set("aud", audience);
                set("token_use", json!("svc"));
            }
        }
        if matches!(shape, Shape::CognitoAccess | Shape::CognitoId) {
            set("origin_jti", json!(format!("origin-{}", self.token_id)));
            set("auth_time", json!(self.issued_at));
        }
        if !self.groups.is_empty() {
            set(groups, json!(self.groups));
        }
        if !self.scopes.is_empty() {
            set("scope", json!(self.scopes.join(" ")));
        }
        if let Some(act) = &self.act {
            set("act", act.clone());
        }
        claims
    }
}

impl FromStr for Shape {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "first_party" => Ok(Self::FirstParty),
            "cognito" | "cognito-access" => Ok(Self::CognitoAccess),
            "cognito-id" => Ok(Self::CognitoId),
            "service" => Ok(Self::Service),
            other => Err(Error::UnknownShape(other.to_owned())),
        }
    }
}
