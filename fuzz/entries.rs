//! The places where a stranger's bytes enter, each with what must hold whatever they are. Used by the fuzz targets and,
//! on stable Rust and for seconds, by the integration tests.

use authn_proxy::CanonicalPath;
use bytes::Bytes;
use dev_issuer::{Algorithm, SigningKey};
use envoy_types::pb::envoy::service::auth::v3::CheckRequest;
use http::uri::PathAndQuery;
use identity::Issuers;
use identity::config::IssuerConfig;
use listener::head::HeadLimits;
use listener::requests::{Found, Requests};
use pdp::{Authzen, AuthzenConfig, Pdp, PoliciesConfig};
use prost::Message as _;
use serde_json::{Map, json};
use std::sync::{Arc, LazyLock};

/// The name that only the key's owner can put into a token.
const OWNER: &str = "owner";

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Algorithm::Es256, "fuzz").unwrap());
static ISSUERS: LazyLock<Arc<Issuers>> = LazyLock::new(issuers);
static PDP: LazyLock<Arc<Pdp>> = LazyLock::new(policies);
static AUTHZEN: LazyLock<Authzen> =
    LazyLock::new(|| Authzen::new(&AuthzenConfig::default(), PDP.namespace(), PDP.snapshot().schema()).unwrap_or_else(|problems| panic!("{problems:?}")));

/// A token that is good: the seed whose mutants must all be refused.
pub(crate) fn honest_token() -> String {
    let claims = json!({
        "iss": "https://fuzz.test", "aud": "fuzz", "sub": OWNER, "jti": "1", "iat": 1_700_000_000_u64, "exp": 1_700_000_600_u64,
    });
    KEY.sign_jwt(Map::new(), &claims)
}

/// No bytes panic, and none but a token signed by the key proves anything. The honest token itself is past its time.
pub(crate) fn token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    assert!(ISSUERS.verify_now(text).is_err(), "a stranger's token was accepted");
}

/// A path that has a canonical form has one only, whoever parses it, and that form has nothing to argue about.
pub(crate) fn path(bytes: &[u8]) {
    let Ok(target) = std::str::from_utf8(bytes) else {
        return;
    };
    let parsed = CanonicalPath::parse(target);
    // The HTTP library drops a fragment without a word; the listener refuses one before.
    if !target.contains('#')
        && let Ok(read) = PathAndQuery::try_from(target)
        && read.as_str() == target
    {
        assert_eq!(CanonicalPath::of(&read), parsed);
    }
    let Ok(path) = parsed else { return };
    let canonical = path.path_and_query().as_str();
    assert_eq!(CanonicalPath::parse(canonical).unwrap().path_and_query(), path.path_and_query());
    let text = path.as_str();
    assert!(text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(!text.contains([';', '\\', '#', '?']) && !text.contains("//"));
    assert!(text.split('/').all(|segment| segment != "." && segment != ".."));
    for escape in ["%2F", "%5C", "%25", "%00", "%2E"] {
        assert!(!text.to_ascii_uppercase().contains(escape));
    }
}

/// No body panics; what can be read as a question can be decided.
pub(crate) fn native_api(bytes: &[u8]) {
    let snapshot = PDP.snapshot();
    if let Ok(Some(question)) = pdp::api::read_bytes(bytes, 32, &snapshot, PDP.namespace()) {
        let answer = PDP.decide(&snapshot, &question);
        assert_eq!(answer.is_allow(), question.principal.to_string() == "Fuzz::User::\"owner\"" && answer.errors.is_empty());
    }
}

/// No body panics; what can be read as a question can be decided.
pub(crate) fn avp(bytes: &[u8]) {
    let snapshot = PDP.snapshot();
    if let Ok(Some(question)) = pdp::api::read_avp_bytes(bytes, 32, &snapshot, PDP.namespace()) {
        let answer = PDP.decide(&snapshot, &question);
        assert_eq!(answer.is_allow(), question.principal.to_string() == "Fuzz::User::\"owner\"" && answer.errors.is_empty());
    }
}

/// No body panics, whichever call of AuthZEN it is for; what can be read as a question can be decided.
pub(crate) fn authzen(bytes: &[u8]) {
    let snapshot = PDP.snapshot();
    for question in pdp::api::read_authzen_bytes(bytes, 32, &snapshot, &AUTHZEN) {
        let answer = PDP.decide(&snapshot, &question);
        assert_eq!(answer.is_allow(), question.principal.to_string() == "Fuzz::User::\"owner\"" && answer.errors.is_empty());
    }
}

/// No message panics, and a request that is read out of one is the request that every other reader of protocol buffers sees.
pub(crate) fn check(bytes: &[u8]) {
    let message = Bytes::copy_from_slice(bytes);
    let (Some(head), Ok(check)) = (authn_proxy::ext_authz::read_bytes(&message), CheckRequest::decode(message)) else {
        return;
    };
    let http = check.attributes.and_then(|attributes| attributes.request).and_then(|request| request.http).unwrap();
    assert_eq!((head.method.as_str(), head.uri.to_string()), (&*http.method, http.path));
    for (name, value) in http.headers.iter().filter(|(name, _)| !name.starts_with(':')) {
        assert!(head.headers.get_all(name).iter().any(|read| read == value), "{name} is missing");
    }
}

/// A connection is cut in the same places however its bytes arrive, and nothing is passed on behind a refusal.
pub(crate) fn request_head(bytes: &[u8]) {
    let whole = follow(bytes, bytes.len().max(1));
    for step in [1, 2, 7] {
        assert_eq!(follow(bytes, step), whole, "cut differently in pieces of {step}");
    }
}

/// How many bytes of a connection pass, how many heads are among them, and why it ended.
fn follow(bytes: &[u8], step: usize) -> (usize, u64, Option<&'static str>) {
    let limits = HeadLimits { bytes: 4096, headers: 20, uri_bytes: 1024 };
    let mut requests = Requests::new(limits);
    let (mut passed, mut shown) = (0, 0);
    while shown < bytes.len() {
        shown = (shown + step).min(bytes.len());
        match requests.advance(&bytes[passed..shown]) {
            Found::Good(more) => passed += more,
            Found::Refused(more, fault) => {
                return (passed + more, requests.passed(), Some(fault.code));
            }
            Found::Malformed(more) => return (passed + more, requests.passed(), Some("malformed")),
        }
    }
    // How much of an unfinished head has been held back depends on the pieces; whole messages do not.
    (0, requests.passed(), None)
}

fn issuers() -> Arc<Issuers> {
    identity::install_crypto().unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("jwks.json"), dev_issuer::jwks(&[&KEY]).to_string()).unwrap();
    let config: IssuerConfig = serde_json::from_value(json!({
        "name": "fuzz", "kind": "first_party", "issuer": ["https://fuzz.test"], "jwks": {"file": "jwks.json"},
        "audiences": ["fuzz"], "algorithms": ["ES256"], "principal": {"type": "User", "id": "sub"},
    }))
    .unwrap();
    Issuers::new(&[config], folder.path(), &prometheus::Registry::new()).unwrap()
}

fn policies() -> Arc<Pdp> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let schema = write(
        "fuzz.cedarschema",
        "namespace Fuzz { entity User; entity Thing; action see appliesTo { principal: User, resource: Thing, context: { a?: Long, b?: String, c?: Set<String> } }; }",
    );
    let policy = write("fuzz.cedar", "permit (principal == Fuzz::User::\"owner\", action, resource);");
    let config: PoliciesConfig = serde_json::from_value(json!({"source": {"dir": policy}, "schema": schema, "namespace": "Fuzz"})).unwrap();
    Pdp::open(&config, &prometheus::Registry::new()).unwrap_or_else(|problems| panic!("{problems:?}"))
}
