//! The whole crate through its one entrance.

mod cache;
mod claims;
mod config;
mod keys;
mod kinds;
mod properties;
mod server;
mod structure;
mod wycheproof;

use std::path::Path;
use std::sync::{Arc, LazyLock};

use dev_issuer::{Algorithm as Alg, SigningKey, jwks};
use prometheus::Registry;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::config::{Algorithm, GroupsConfig, IssuerConfig, Jwks};
use crate::{Clock, Identity, Issuers, Options, TokenError};

const NOW: u64 = 1_800_000_000;
const URL: &str = "https://auth.example.com";

static ES256: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::generate(Alg::Es256, "ec").unwrap());
static RS256: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::generate(Alg::Rs256, "rsa").unwrap());
/// Keys of somebody else, under the ids of ours.
static FORGER: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::generate(Alg::Es256, "ec").unwrap());

/// One issuer whose keys are in a file, at a time that stands still.
struct World {
    clock: Clock,
    issuers: Arc<Issuers>,
    _folder: TempDir,
}

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut IssuerConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwks.json");
        std::fs::write(&path, jwks(&[&ES256, &RS256]).to_string()).unwrap();
        let mut config = config(Jwks::File("jwks.json".into()));
        change(&mut config);
        let clock = Clock::manual(NOW);
        let issuers = issuers(&[config], folder.path(), &clock).unwrap();
        Self {
            clock,
            issuers,
            _folder: folder,
        }
    }

    fn verify(&self, token: &str) -> Result<Arc<Identity>, TokenError> {
        self.issuers.verify_now(token)
    }
}

fn issuers(
    configs: &[IssuerConfig],
    base: &Path,
    clock: &Clock,
) -> Result<Arc<Issuers>, Vec<(String, String)>> {
    let options = Options {
        clock: clock.clone(),
        fetch_deadline: std::time::Duration::from_millis(300),
        ..Options::default()
    };
    Issuers::with_options(configs, base, &Registry::new(), options)
}

fn config(jwks: Jwks) -> IssuerConfig {
    let mut config = IssuerConfig {
        name: "main".to_owned(),
        issuer: vec![URL.to_owned()],
        jwks: Some(jwks),
        algorithms: vec![Algorithm::Es256, Algorithm::Rs256],
        audiences: vec!["cloud-app".to_owned()],
        ..IssuerConfig::default()
    };
    config.principal.groups = Some(GroupsConfig {
        claim: "roles".to_owned(),
        entity_type: "Role".to_owned(),
    });
    config
}

fn claims() -> Value {
    json!({
        "iss": URL,
        "aud": "cloud-app",
        "sub": "alice",
        "jti": "token-1",
        "iat": NOW,
        "exp": NOW + 300,
        "roles": ["admin", "on call"],
        "scope": "user.read user.write",
    })
}

/// The good claims with one set to another value, or left out where that is null.
fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let members = claims.as_object_mut().unwrap();
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.to_owned(), value);
    }
    claims
}

fn token(claims: &Value) -> String {
    ES256.sign_jwt(Map::new(), claims)
}

fn token_with_header(overrides: Value) -> String {
    ES256.sign_jwt(overrides.as_object().unwrap().clone(), &claims())
}

/// What a case expects: an outcome's short name.
fn outcome(result: &Result<Arc<Identity>, TokenError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(error) => error.name(),
    }
}

/// Judges each token and names all cases that went otherwise.
fn check(world: &World, cases: &[(&str, String, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|(name, token, expected)| {
            let result = world.verify(token);
            (outcome(&result) != *expected)
                .then(|| format!("{name}: expected {expected}, got {result:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_good_token_becomes_an_identity() {
    let world = World::new();
    for key in [&*ES256, &*RS256] {
        let identity = world.verify(&key.sign_jwt(Map::new(), &claims())).unwrap();
        assert_eq!(&*identity.issuer, "main");
        assert_eq!(&*identity.issuer_url, URL);
        assert_eq!(&*identity.subject, "alice");
        assert_eq!(&*identity.principal_type, "User");
        assert_eq!(&*identity.principal_id, "alice");
        assert_eq!(identity.group_type.as_deref(), Some("Role"));
        assert_eq!(identity.groups, ["admin", "on call"]);
        assert_eq!(identity.scopes, ["user.read", "user.write"]);
        assert_eq!(identity.token_id.as_deref(), Some("token-1"));
        assert_eq!((identity.issued_at, identity.expires_at), (NOW, NOW + 300));
        assert_eq!(identity.session, None);
    }
}

#[test]
fn a_malleated_signature_is_another_token_with_the_same_id() {
    let world = World::new();
    let good = token(&claims());
    let twin = malleated(&good);
    assert_ne!(good, twin);
    assert_eq!(
        world.verify(&good).unwrap().token_id,
        world.verify(&twin).unwrap().token_id
    );
}

#[test]
fn the_crypto_self_test_passes_again_and_again() {
    assert_eq!(crate::install_crypto(), Ok(()));
    assert_eq!(crate::install_crypto(), Ok(()));
}

#[test]
fn neither_debug_nor_errors_tell_claims() {
    let world = World::with(|config| {
        let source = crate::config::AttributeSource::Claim("email".to_owned());
        config
            .principal
            .attributes
            .insert("email".to_owned(), source);
    });
    let claims = claims_with("email", json!("alice@secret.example"));
    let identity = world.verify(&token(&claims)).unwrap();
    let printed = format!("{identity:?} {:?}", world.issuers);
    assert!(
        !printed.contains("secret.example") && !printed.contains("token-1"),
        "{printed}"
    );
    let error = world
        .verify(&FORGER.sign_jwt(Map::new(), &claims))
        .unwrap_err();
    assert_eq!(error.to_string(), "the token is invalid: signature");
}

/// The second valid form of an ES256 signature: (r, n - s).
fn malleated(token: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let (input, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut borrow = 0;
    for place in (0..32).rev() {
        let difference = i16::from(ORDER[place]) - i16::from(signature[32 + place]) - borrow;
        borrow = i16::from(difference < 0);
        signature[32 + place] = (difference + 256 * borrow) as u8;
    }
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}
