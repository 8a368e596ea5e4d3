//! Claims of well-signed tokens: times, issuer, audience, subject, roles, scopes.

use crate::harness::sidecar::{Sidecar, command};
use crate::harness::table::{Expect, Table, bearer, with_lines};
use crate::harness::tokens::{AUDIENCE, ISSUER, KEYS, claims, now, reader, with, with_null};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use Expect::{BadToken, Forwarded, Refused};
use serde_json::{Value, json};

const BAD: Expect = BadToken("invalid_token");

/// A reader's claims with some changed.
fn changed(members: Value) -> Value {
    with(&reader(), members)
}

/// A reader's token where `%` in the claims stands for `raw`, which no serializer would write.
fn raw_claim(name: &str, raw: &str) -> String {
    let payload = changed(json!({name: "%"})).to_string().replace("\"%\"", raw);
    KEYS.with_parts(br#"{"alg":"ES256","typ":"JWT","kid":"es-1"}"#, payload.as_bytes())
}

#[test]
fn claims_of_a_first_party_token() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let mut table = Table::new(&sidecar, &upstream);
    let now = now();

    let rows: Vec<(u16, &str, Value, Expect)> = vec![
        (72, "exp missing", changed(json!({"exp": null})), BAD),
        (72, "exp null", with_null(&reader(), "exp"), BAD),
        (73, "expired long ago", changed(json!({"iat": now - 900, "exp": now - 600})), BadToken("token_expired")),
        (73, "expired beyond the leeway", changed(json!({"iat": now - 300, "exp": now - 45})), BadToken("token_expired")),
        (73, "expired within the leeway", changed(json!({"iat": now - 300, "exp": now - 10})), Forwarded),
        (74, "exp a string", changed(json!({"exp": (now + 300).to_string()})), BAD),
        (74, "exp negative", changed(json!({"exp": -1})), BAD),
        (74, "exp true", changed(json!({"exp": true})), BAD),
        (74, "exp an array", changed(json!({"exp": [now + 300]})), BAD),
        (74, "exp an object", changed(json!({"exp": {"value": now + 300}})), BAD),
        (75, "lives an hour", changed(json!({"exp": now + 3600})), BAD),
        (75, "lives for ever", changed(json!({"exp": 253_402_300_799_u64})), BAD),
        (75, "lives a quarter of an hour", changed(json!({"iat": now, "exp": now + 900})), Forwarded),
        (76, "not yet valid", changed(json!({"nbf": now + 120})), BadToken("token_not_yet_valid")),
        (76, "valid within the leeway", changed(json!({"nbf": now + 10})), Forwarded),
        (76, "nbf a string", changed(json!({"nbf": now.to_string()})), BAD),
        (76, "nbf negative", changed(json!({"nbf": -1})), BAD),
        (76, "nbf null", with_null(&reader(), "nbf"), BAD),
        (77, "iat in the future", changed(json!({"iat": now + 120})), BAD),
        (77, "iat missing", changed(json!({"iat": null})), BAD),
        (77, "iat a string", changed(json!({"iat": now.to_string()})), BAD),
        (77, "iat negative", changed(json!({"iat": -5})), BAD),
        (77, "exp before iat", changed(json!({"iat": now, "exp": now - 1})), BAD),
        (79, "iss missing", changed(json!({"iss": null})), BAD),
        (79, "iss with a slash", changed(json!({"iss": format!("{ISSUER}/")})), BAD),
        (79, "iss in capitals", changed(json!({"iss": "https://AUTH.depot.test"})), BAD),
        (79, "iss over http", changed(json!({"iss": "http://auth.depot.test"})), BAD),
        (79, "iss as a prefix", changed(json!({"iss": format!("{ISSUER}_evil")})), BAD),
        (79, "iss with a path", changed(json!({"iss": format!("{ISSUER}/evil")})), BAD),
        (79, "iss cut short", changed(json!({"iss": "https://auth.depot"})), BAD),
        (79, "iss with a blank", changed(json!({"iss": format!(" {ISSUER}")})), BAD),
        (79, "iss an array", changed(json!({"iss": [ISSUER]})), BAD),
        (79, "iss an object", changed(json!({"iss": {"url": ISSUER}})), BAD),
        (79, "iss empty", changed(json!({"iss": ""})), BAD),
        (81, "aud missing", changed(json!({"aud": null})), BAD),
        (81, "aud wrong", changed(json!({"aud": "internal"})), BAD),
        (81, "aud empty", changed(json!({"aud": ""})), BAD),
        (81, "aud an empty array", changed(json!({"aud": []})), BAD),
        (81, "aud ours in an array", changed(json!({"aud": [AUDIENCE]})), Forwarded),
        (81, "aud ours and a number", changed(json!({"aud": [AUDIENCE, 1]})), BAD),
        (81, "aud as a prefix", changed(json!({"aud": format!("{AUDIENCE}-2")})), BAD),
        (81, "aud as a suffix", changed(json!({"aud": format!("my-{AUDIENCE}")})), BAD),
        (81, "aud in capitals", changed(json!({"aud": "CLOUD-APP"})), BAD),
        (81, "aud an object", changed(json!({"aud": {AUDIENCE: true}})), BAD),
        (81, "aud two in one string", changed(json!({"aud": format!("{AUDIENCE} internal")})), BAD),
        (86, "sub missing", changed(json!({"sub": null})), BAD),
        (86, "sub empty", changed(json!({"sub": ""})), BAD),
        (86, "sub too long", changed(json!({"sub": "r".repeat(257)})), BAD),
        (86, "sub a number", changed(json!({"sub": 7})), BAD),
        (86, "sub an array", changed(json!({"sub": ["rita"]})), BAD),
        (86, "sub with a line break", changed(json!({"sub": "rita\r\nx-portcullis-roles: admin"})), BAD),
        (86, "sub with a tab", changed(json!({"sub": "rita\t"})), BAD),
        (87, "jti missing", changed(json!({"jti": null})), BAD),
        (87, "jti empty", changed(json!({"jti": ""})), BAD),
        (87, "jti a number", changed(json!({"jti": 5})), BAD),
        (89, "roles a string", changed(json!({"roles": "admin"})), BAD),
        (89, "roles an object", changed(json!({"roles": {"admin": true}})), BAD),
        (89, "a role that is a number", changed(json!({"roles": ["reader", 1]})), BAD),
        (89, "a role that is null", changed(json!({"roles": ["reader", null]})), BAD),
        (89, "a role with NUL", changed(json!({"roles": ["admin\u{0}"]})), BAD),
        (89, "a role with a comma", changed(json!({"roles": ["reader", "x,admin"]})), BAD),
        (89, "a role with a line break", changed(json!({"roles": ["reader", "x\r\nadmin"]})), BAD),
        (89, "an empty role", changed(json!({"roles": ["reader", ""]})), BAD),
        (89, "three hundred roles", changed(json!({"roles": (0..300).map(|n| format!("{n}")).collect::<Vec<_>>()})), BAD),
        (89, "a role that looks alike", changed(json!({"roles": ["reader", "\u{0430}dmin"]})), BAD),
        (89, "no roles", changed(json!({"roles": []})), Refused(403, "forbidden")),
        (89, "roles missing", changed(json!({"roles": null})), Refused(403, "forbidden")),
        (91, "claims nobody knows", changed(json!({"x-new": {"deep": [1, 2]}, "role": "admin", "email": "r@depot.test"})), Forwarded),
    ];
    for (case, what, claims, expect) in rows {
        table.token(case, what, &KEYS.token(&claims), expect);
    }

    for raw in ["1e308", "9223372036854775808", "18446744073709551616", "1.5", "99999999999.0", "1e10", "-0"] {
        table.token(74, &format!("exp {raw}"), &raw_claim("exp", raw), BAD);
    }
    table.token(77, "iat 1.5", &raw_claim("iat", "1.5"), BAD);
    table.token(76, "nbf 1.5", &raw_claim("nbf", "1.5"), BAD);
    let several = changed(json!({"aud": [AUDIENCE, "internal"]}));
    table.token(81, "aud ours among others", &KEYS.token(&several), AUDIENCE_AMONG_OTHERS);
    table.finish();
}

/// RFC 7519 §4.1.3: the token is for us if we are among its audiences.
const AUDIENCE_AMONG_OTHERS: Expect = Forwarded;

#[test]
fn scopes() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let mut table = Table::new(&sidecar, &upstream);
    let lacking = Refused(403, "insufficient_scope");
    for (what, scope, expect) in [
        ("the scope", json!("documents.read"), Forwarded),
        ("among others", json!("a documents.read b"), Forwarded),
        ("missing", Value::Null, lacking),
        ("empty", json!(""), lacking),
        ("another", json!("documents.write"), lacking),
        ("a longer one", json!("documents.readwrite"), lacking),
        ("a shorter one", json!("documents.rea"), lacking),
        ("with a prefix", json!("x.documents.read"), lacking),
        ("in capitals", json!("DOCUMENTS.READ"), lacking),
        ("joined by a comma", json!("x,documents.read"), BAD),
        ("an array", json!(["documents.read"]), lacking),
        ("a number", json!(1), lacking),
    ] {
        let token = KEYS.token(&changed(json!({"scope": scope})));
        table.row(88, what, &bearer("GET", "/v1/scoped/report", &token), expect);
    }
    table.finish();

    let token = KEYS.token(&changed(json!({"scope": "x"})));
    let lines = format!("Authorization: Bearer {token}\r\n");
    let answer = crate::harness::http1::get(sidecar.proxy(), "/v1/scoped/report", &lines);
    let challenge = answer.head.get("www-authenticate").unwrap();
    assert!(challenge.contains(r#"error="insufficient_scope""#), "{challenge}");
}

#[test]
fn decisions_at_the_gate() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let mut table = Table::new(&sidecar, &upstream);
    let denied = Refused(403, "forbidden");
    let unmapped = Refused(403, "route_not_mapped");
    let rows = [
        // Roles, and so what is allowed, come of each token anew.
        ("a reader views", "GET", "/v1/documents/report", "rita", vec!["reader"], Forwarded),
        ("a reader may not edit", "PUT", "/v1/documents/report", "rita", vec!["reader"], denied),
        ("an editor edits", "PUT", "/v1/documents/report", "ed", vec!["editor"], Forwarded),
        ("a stranger views nothing", "GET", "/v1/documents/report", "sam", vec![], denied),
        ("roles come from the token alone", "GET", "/v1/documents/report", "rita", vec![], denied),
        ("forbid wins", "GET", "/v1/documents/secret", "rita", vec!["reader", "editor", "admin"], denied),
        ("the store's attribute", "PUT", "/v1/documents/plan", "olga", vec![], Forwarded),
        ("another's document", "PUT", "/v1/documents/report", "olga", vec![], denied),
        ("the route's attribute", "GET", "/v1/own/olga/new", "olga", vec![], Forwarded),
        ("the route's attribute, another's", "GET", "/v1/own/sam/new", "olga", vec![], denied),
        ("an admin administers", "GET", "/admin", "root", vec!["admin"], Forwarded),
    ];
    for (what, method, target, subject, roles, expect) in rows {
        table.row(122, what, &bearer(method, target, &KEYS.token(&claims(subject, &roles))), expect);
    }
    for (what, method, target) in [("no route", "GET", "/v1/unknown"), ("no route for the method", "PATCH", "/v1/documents/report")] {
        table.row(129, what, &bearer(method, target, &KEYS.token(&claims("root", &["admin", "editor"]))), unmapped);
        table.row(129, &format!("{what}, no token"), &with_lines(method, target, ""), unmapped);
    }
    table.finish();
}

/// Case 123: where nobody can decide, nobody is let in; and an Allow beside which a policy failed is none, because the policy
/// that failed could have been the one to forbid.
#[test]
fn decisions_that_cannot_be_made() {
    let upstream = Upstream::start();
    // Older than any file can have been looked at.
    let stale = Workspace::new(upstream.address()).set("/policies/max_staleness", json!("1ms"));
    let mut sidecar = Sidecar::spawn(command(&["serve", "-c", stale.config_path().to_str().unwrap()]));
    sidecar.await_listening();
    let mut table = Table::new(&sidecar, &upstream);
    let token = KEYS.token(&reader());
    for _ in 0..3 {
        table.token(123, "policies too old to decide", &token, Refused(503, "authz_unavailable"));
    }
    table.finish();
    let answer = crate::harness::http1::get(sidecar.proxy(), "/v1/documents/report", &format!("Authorization: Bearer {token}\r\n"));
    assert_eq!((answer.json()["retry"]["retryable"].as_bool(), answer.head.get("retry-after")), (Some(true), Some("5")));

    for (on_error, expect) in [("deny", Refused(403, "forbidden")), ("cedar", Forwarded)] {
        let workspace = Workspace::new(upstream.address()).set("/policies/on_error", json!(on_error));
        let schema = include_str!("pack/depot.cedarschema").replace("owner?: String,", "owner?: String,\n    pages?: Long,");
        workspace.write("depot.cedarschema", &schema);
        workspace.write("entities.json", r#"[{"uid": {"type": "Depot::Document", "id": "endless"}, "attrs": {"pages": 9223372036854775807}, "parents": []}]"#);
        let long = r#"@id("long") forbid (principal, action, resource) when { resource has pages && resource.pages + 1 > 1000 };"#;
        workspace.write("policies/long.cedar", long);
        let sidecar = Sidecar::start(&workspace);
        let mut table = Table::new(&sidecar, &upstream);
        table.row(123, "allowed, and a policy that fails", &bearer("GET", "/v1/documents/endless", &token), expect);
        table.token(123, "allowed, and no policy fails", &token, Forwarded);
        table.finish();
    }
}

/// A good token is good whether it is remembered or not, and how many are is for the configuration to say.
#[test]
fn tokens_are_remembered_as_configured() {
    let upstream = Upstream::start();
    for (bytes, kept) in [(json!(0), 0), (json!("64KiB"), 1)] {
        let sidecar = Sidecar::start(&Workspace::new(upstream.address()).set("/tokens", json!({"cache_bytes": bytes})));
        let mut table = Table::new(&sidecar, &upstream);
        let token = KEYS.token(&reader());
        for _ in 0..2 {
            table.token(122, "a good token", &token, Forwarded);
        }
        table.finish();
        let metrics = crate::harness::http1::get(sidecar.telemetry(), "/metrics", "").text();
        let entries = format!("portcullis_token_cache_entries {kept}\n");
        let cached = format!("outcome=\"cached\"}} {kept}\n");
        assert!(metrics.contains(&entries) && metrics.contains(&cached), "{bytes}: {metrics}");
    }
}
