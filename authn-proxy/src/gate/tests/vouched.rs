//! What a proxy in front of us has verified: the claims of a token, the name in a certificate; and the routes it chooses.

use identity::VouchedClaims;

use super::*;

const ROUTES: &str = r#"
routes:
  - { match: "GET /users/{id}", action: view, resource: { type: User, id: "{id}" } }
  - { match: "GET /relay", action: relay, resource: { type: User, id: x }, callers: [user, workload] }
  - match: "GET /relay/{*id}"
    action: relay
    resource: { type: Workload, id: "spiffe://{id}" }
    attributes: { account: root }
    callers: [user, workload]
  - { match: "GET /relayed", action: relayed, resource: { type: User, id: x }, callers: [user, workload] }
  - { match: "GET /scoped", action: relay, resource: { type: User, id: x }, callers: [workload], scopes: [s] }
  - { match: "GET /told", action: told, resource: { type: User, id: x }, callers: [workload] }
"#;

const POLICIES: &str = r#"
@id("own") permit(principal, action == Fortress::Action::"view", resource) when { principal == resource };
@id("orders") permit(principal == Fortress::Workload::"spiffe://cluster.local/ns/shop/sa/orders", action, resource);
@id("account") permit(principal is Fortress::Workload, action, resource)
  when { principal has account && principal.account == "cart" };
@id("through") permit(principal is Fortress::User, action == Fortress::Action::"relay", resource)
  when { context has workload && context.workload has account && context.workload.account == "front" };
@id("no token") forbid(principal, action == Fortress::Action::"told", resource) when { context has token };
"#;

const ORDERS: &str = "spiffe://cluster.local/ns/shop/sa/orders";
const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";
const FRONT: &str = "spiffe://cluster.local/ns/shop/sa/front";

fn by_certificate(certificate: &str) -> Client<'_> {
    Client {
        vouched: Vouched {
            certificate: Some(certificate),
            ..Vouched::default()
        },
        ..Client::default()
    }
}

fn claims(subject: &str, more: Value) -> VouchedClaims {
    let now = unix_now();
    let mut claims = json!({
        "iss": ISSUER, "aud": "cloud-app", "sub": subject, "jti": "jti", "iat": now, "exp": now + 300,
    });
    if let (Value::Object(claims), Value::Object(more)) = (&mut claims, more) {
        claims.extend(more);
    }
    VouchedClaims::new("first-party".into(), &claims)
}

#[test]
fn a_certificate_stands_in_for_a_token_where_workloads_may_call() {
    let world = World::new(ROUTES, POLICIES);
    let alice = world.token("alice", json!({}));
    let cases = [
        ("GET /relay", None, ORDERS, "ok orders"),
        ("GET /relay", None, CART, "ok account"),
        ("GET /relay", None, FRONT, "forbidden"),
        // Not for workloads, not of the mesh, or no name of a workload: nobody has shown anything.
        ("GET /users/alice", None, ORDERS, "missing_token"),
        (
            "GET /relay",
            None,
            "spiffe://elsewhere/ns/shop/sa/orders",
            "missing_token",
        ),
        (
            "GET /relay",
            None,
            "spiffe://cluster.local/ns/shop/../sa/orders",
            "missing_token",
        ),
        ("GET /relay", None, "CN=orders", "missing_token"),
        ("GET /relay", None, "", "missing_token"),
        // A certificate grants no scopes.
        ("GET /scoped", None, ORDERS, "insufficient_scope"),
        // The token is the principal, the workload is where it came from.
        ("GET /relay", Some(&alice), FRONT, "ok through"),
        ("GET /relay", Some(&alice), ORDERS, "forbidden"),
        ("GET /users/alice", Some(&alice), ORDERS, "ok own"),
        // A path says nothing about the workload that is calling.
        (
            "GET /relay/cluster.local/ns/shop/sa/front",
            None,
            FRONT,
            "forbidden",
        ),
        // Another type than the schema has would look like no workload at all.
        ("GET /relayed", None, ORDERS, "forbidden"),
        // There is no token, and nothing is said of one.
        ("GET /told", None, ORDERS, "ok orders"),
    ];
    for (request, token, certificate, expected) in cases {
        let client = by_certificate(certificate);
        let result =
            RUNTIME.block_on(world.admit_from(request, token.map(String::as_str), &client));
        assert_eq!(
            outcome(&result),
            expected,
            "{request} by {certificate}: {result:?}"
        );
    }
    let bad = RUNTIME.block_on(world.admit_from("GET /relay", Some("x"), &by_certificate(ORDERS)));
    assert_eq!(
        outcome(&bad),
        "invalid_token",
        "a bad token is not made good"
    );
}

#[test]
fn vouched_claims_stand_in_for_a_token_and_are_held_to_its_rules() {
    let world = World::new(ROUTES, POLICIES);
    let now = unix_now();
    let cases = [
        (json!({}), "ok own"),
        (json!({ "iss": "https://elsewhere.test" }), "invalid_token"),
        (json!({ "aud": "elsewhere" }), "invalid_token"),
        (json!({ "token_use": "svc" }), "invalid_token"),
        (json!({ "sub": 7 }), "invalid_token"),
        (
            json!({ "iat": now - 600, "exp": now - 300 }),
            "token_expired",
        ),
        (json!({ "exp": now + 90_000 }), "invalid_token"),
        (json!({ "exp": null }), "invalid_token"),
        (json!({ "cnf": {} }), "invalid_token"),
        (json!({ "roles": "admin" }), "invalid_token"),
    ];
    for (more, expected) in cases {
        let claims = claims("alice", more.clone());
        let result = admit_vouched(&world, None, &claims);
        assert_eq!(outcome(&result), expected, "{more}: {result:?}");
    }
    for no_claims in [json!(null), json!("x"), json!([]), json!({})] {
        let claims = VouchedClaims::new("first-party".into(), &no_claims);
        assert_eq!(
            outcome(&admit_vouched(&world, None, &claims)),
            "invalid_token",
            "{no_claims}"
        );
    }
    let unknown = VouchedClaims::new("nobody".into(), &json!({ "iss": ISSUER }));
    assert_eq!(
        outcome(&admit_vouched(&world, None, &unknown)),
        "invalid_token"
    );
    let mesh = VouchedClaims::new(
        "mesh".into(),
        &json!({ "iss": "spiffe://cluster.local", "sub": ORDERS }),
    );
    assert_eq!(
        outcome(&admit_vouched(&world, None, &mesh)),
        "invalid_token"
    );
}

#[test]
fn a_token_that_reaches_us_is_what_counts() {
    let world = World::new(ROUTES, POLICIES);
    let alices = claims("alice", json!({}));
    let bob = world.token("bob", json!({}));
    assert_eq!(
        outcome(&admit_vouched(&world, Some(&bob), &alices)),
        "forbidden"
    );
    assert_eq!(
        outcome(&admit_vouched(&world, Some("forged"), &alices)),
        "invalid_token"
    );
}

#[test]
fn a_set_of_routes_is_chosen_by_name() {
    let world = World::new(ROUTES, POLICIES);
    for (request, set, expected) in [
        ("GET /other", Some("other"), "ok public"),
        ("GET /other", None, "route_not_mapped"),
        ("GET /relay", Some("other"), "route_not_mapped"),
        ("GET /other", Some("unknown"), "route_not_mapped"),
        ("GET /other", Some(""), "route_not_mapped"),
    ] {
        let client = Client {
            route_set: set,
            ..Client::default()
        };
        let result = RUNTIME.block_on(world.admit_from(request, None, &client));
        assert_eq!(outcome(&result), expected, "{request} of {set:?}");
    }
}

fn admit_vouched(
    world: &World,
    token: Option<&str>,
    claims: &VouchedClaims,
) -> Result<Permit, Rejection> {
    let client = Client {
        vouched: Vouched {
            claims: Some(claims),
            ..Vouched::default()
        },
        ..Client::default()
    };
    RUNTIME.block_on(world.admit_from("GET /users/alice", token, &client))
}
