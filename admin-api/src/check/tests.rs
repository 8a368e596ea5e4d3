use serde_json::{Value, json};

use super::*;

const SCHEMA: &str = r#"
namespace Shop {
  entity Team;
  entity Guest;
  entity Customer in [Team] { tier?: String, age?: Long, tags?: Set<String>, since?: datetime };
  entity Order { owner: String, note?: String, total?: Long };
  action all;
  action read in [all] appliesTo { principal: [Customer, Guest], resource: Order };
  action pay in [all] appliesTo { principal: Customer, resource: Order };
}
entity Machine { rack: String };
action boot appliesTo { principal: Machine, resource: Machine };
"#;

fn findings(namespace: Option<&str>, routes: Value, principals: Value) -> Findings {
    let (schema, _) = Schema::from_cedarschema_str(SCHEMA).expect("a schema");
    let namespace = Namespace::new(namespace).expect("a namespace");
    let routes: Vec<RouteConfig> = serde_json::from_value(routes).expect("routes");
    let issuers: Vec<IssuerConfig> = principals
        .as_array()
        .expect("a list")
        .iter()
        .map(|principal| {
            serde_json::from_value(json!({ "principal": principal })).expect("an issuer")
        })
        .collect();
    check(&Parts {
        schema: &schema,
        namespace: &namespace,
        routes: &routes,
        route_sets: &[],
        issuers: &issuers,
    })
}

/// Place and message of every problem.
fn problems(findings: &Findings) -> Vec<String> {
    findings.problems.iter().map(render).collect()
}

fn render(finding: &Finding) -> String {
    let place = match &finding.place {
        Place::Configuration(key) | Place::Routes(key) | Place::RouteSet(_, key) => key,
        Place::Schema => "schema",
    };
    format!("{place}: {}", finding.message)
}

fn route(action: &str, resource: &str) -> Value {
    json!([{ "match": "GET /{id}", "action": action, "resource": { "type": resource, "id": "{id}" } }])
}

#[test]
fn services_and_the_users_that_they_act_for() {
    let (schema, _) = Schema::from_cedarschema_str(SCHEMA).expect("a schema");
    let namespace = Namespace::new(Some("Shop")).expect("a namespace");
    let service = |on_behalf_of: Value| -> IssuerConfig {
        let principal = json!({ "type": "Guest" });
        let issuer =
            json!({ "kind": "service", "principal": principal, "on_behalf_of": on_behalf_of });
        serde_json::from_value(issuer).expect("an issuer")
    };
    let found = |issuer: IssuerConfig, callers: Value| {
        let mut routes = route("read", "Order");
        routes[0]["callers"] = callers;
        let routes: Vec<RouteConfig> = serde_json::from_value(routes).expect("routes");
        let findings = check(&Parts {
            schema: &schema,
            namespace: &namespace,
            routes: &routes,
            route_sets: &[],
            issuers: &[issuer],
        });
        let warnings = findings.warnings.iter().map(render);
        let warnings = warnings.filter(|warning| warning.starts_with("issuers"));
        [problems(&findings), warnings.collect()].concat()
    };
    let both = json!(["user", "service"]);
    let customer = json!({ "type": "Customer", "groups": { "claim": "teams", "type": "Team" } });
    assert_eq!(found(service(customer.clone()), both.clone()), [""; 0]);
    assert_eq!(
        found(service(customer), json!(["user"])),
        ["routes[0].callers: nobody can pass: no issuer is for these callers"]
    );
    assert_eq!(
        found(service(json!({ "type": "Custmer" })), both.clone()),
        [
            "issuers[0].on_behalf_of.type: the schema has no entity type `Shop::Custmer`; did you mean `Shop::Customer`?"
        ]
    );
    assert_eq!(
        found(
            service(json!({ "type": "Customer", "attributes": { "since": "since" } })),
            both.clone()
        ),
        [
            "issuers[0].on_behalf_of.attributes.since: attribute `since` of `Shop::Customer` is of a type that no claim gives: String, Long, Bool and Set<String> are"
        ]
    );
    assert_eq!(
        found(service(Value::Null), both),
        [
            "issuers[0].on_behalf_of.type: the schema has no entity type `User`: services that act for users are denied everything"
        ]
    );
}

#[test]
fn what_fits_is_not_mentioned() {
    let routes = json!([
        { "match": "GET /health", "public": true },
        { "match": "GET /{id}", "action": "read", "resource": { "type": "Order", "id": "{id}" } },
        { "match": "POST /{id}", "action": "pay", "resource": { "type": "Order", "id": "{id}" }, "attributes": { "owner": "{id}" } },
    ]);
    let principals = json!([
        { "type": "Customer", "groups": { "claim": "roles", "type": "Team" },
          "attributes": { "tier": "tier", "age": "age", "tags": "tags", "since": { "store": true } } },
        { "type": "Guest" },
    ]);
    let found = findings(Some("Shop"), routes, principals);
    assert_eq!(problems(&found), Vec::<String>::new());
}

#[test]
fn routes_ask_what_the_schema_knows() {
    let customers = json!([{ "type": "Customer" }]);
    for (action, resource, expected) in [
        ("read", "Order", None),
        (
            "raed",
            "Order",
            Some(
                "routes[0].action: the schema has no action `Shop::Action::\"raed\"`; did you mean `read`?",
            ),
        ),
        (
            "destroy",
            "Order",
            Some("routes[0].action: the schema has no action `Shop::Action::\"destroy\"`"),
        ),
        (
            "all",
            "Order",
            Some(
                "routes[0].action: `Shop::Action::\"all\"` applies to nothing: a group of actions cannot be asked for, only its members",
            ),
        ),
        (
            "boot",
            "Order",
            Some(
                "routes[0].action: the schema has no action `Shop::Action::\"boot\"`; did you mean `Action::\"boot\"`, which is in no namespace?",
            ),
        ),
        (
            "pay",
            "Guest",
            Some(
                "routes[0].resource.type: `Shop::Guest` is no resource of action `Shop::Action::\"pay\"`, which applies to `Shop::Order`",
            ),
        ),
        (
            "pay",
            "Ordre",
            Some(
                "routes[0].resource.type: the schema has no entity type `Shop::Ordre`; did you mean `Shop::Order`?",
            ),
        ),
        (
            "pay",
            "Machine",
            Some(
                "routes[0].resource.type: the schema has no entity type `Shop::Machine`; did you mean `Machine`?",
            ),
        ),
    ] {
        let found = findings(Some("Shop"), route(action, resource), customers.clone());
        let expected: Vec<String> = expected.map(str::to_owned).into_iter().collect();
        assert_eq!(problems(&found), expected, "{action} {resource}");
    }
    // Names that are none belong to whoever reads them.
    assert!(
        problems(&findings(
            Some("Shop"),
            route("Action::\"", "a b"),
            customers
        ))
        .is_empty()
    );
}

#[test]
fn somebody_can_be_allowed() {
    let guests = findings(
        Some("Shop"),
        route("pay", "Order"),
        json!([{ "type": "Guest" }]),
    );
    assert_eq!(
        problems(&guests),
        [
            "routes[0].action: nobody can be allowed: `Shop::Action::\"pay\"` is for `Shop::Customer`, and no issuer makes such principals"
        ]
    );
    let both = json!([{ "type": "Guest" }, { "type": "Customer" }]);
    assert!(problems(&findings(Some("Shop"), route("pay", "Order"), both)).is_empty());
}

#[test]
fn attributes_of_resources_are_declared() {
    let routes = json!([{
        "match": "GET /{id}", "action": "read", "resource": { "type": "Order", "id": "{id}" },
        "attributes": { "ower": "{id}", "total": "{id}", "note": "x" }
    }]);
    assert_eq!(
        problems(&findings(
            Some("Shop"),
            routes,
            json!([{ "type": "Customer" }])
        )),
        [
            "routes[0].attributes.ower: `Shop::Order` declares no attribute `ower`; did you mean `owner`?",
            "routes[0].attributes.total: attribute `total` of `Shop::Order` is no String, and a path gives nothing else",
            "routes[0].attributes: `Shop::Order` requires `owner` as well",
        ]
    );
}

#[test]
fn principals_are_what_the_schema_declares() {
    let principals = json!([
        { "type": "Custommer" },
        { "type": "Guest", "groups": { "claim": "roles", "type": "Team" } },
        { "type": "Customer", "groups": { "claim": "roles", "type": "Guest" } },
        { "type": "Customer", "groups": { "claim": "roles", "type": "Role" } },
        { "type": "Customer", "attributes": { "teir": "tier", "since": "since" } },
        { "type": "Team" },
    ]);
    let found = findings(Some("Shop"), json!([]), principals);
    assert_eq!(
        problems(&found),
        [
            "issuers[0].principal.type: the schema has no entity type `Shop::Custommer`; did you mean `Shop::Customer`?",
            "issuers[1].principal.groups.type: `Shop::Guest` cannot be a member of `Shop::Team`: it is a member of nothing",
            "issuers[2].principal.groups.type: `Shop::Customer` cannot be a member of `Shop::Guest`: it may be a member of `Shop::Team`",
            "issuers[3].principal.groups.type: the schema has no entity type `Shop::Role`",
            "issuers[4].principal.attributes.since: attribute `since` of `Shop::Customer` is of a type that no claim gives: String, Long, Bool and Set<String> are",
            "issuers[4].principal.attributes.teir: `Shop::Customer` declares no attribute `teir`; did you mean `tier`?",
        ]
    );
    let warnings: Vec<String> = found.warnings.iter().map(render).collect();
    assert_eq!(
        warnings,
        [
            "issuers[5].principal.type: no action is for principals of type `Shop::Team`: all of them are denied everything"
        ]
    );
    let machines = findings(None, json!([]), json!([{ "type": "Machine" }]));
    assert_eq!(
        problems(&machines),
        [
            "issuers[0].principal.attributes: `Machine` requires `rack`: without a source every request is denied"
        ]
    );
}

#[test]
fn the_namespace_is_one_of_the_schema() {
    let found = findings(Some("Shopp"), json!([]), json!([]));
    assert_eq!(
        problems(&found),
        ["policies.namespace: the schema has no namespace `Shopp`: it has `Shop`"]
    );
    assert!(findings(None, json!([]), json!([])).problems.is_empty());
    // A forgotten namespace shows in everything that is named.
    let found = findings(None, route("read", "Order"), json!([]));
    assert_eq!(
        problems(&found),
        [
            "routes[0].action: the schema has no action `Action::\"read\"`; did you mean `Shop::Action::\"read\"` (set `policies.namespace: Shop`)?",
            "routes[0].resource.type: the schema has no entity type `Order`; did you mean `Shop::Order`?",
        ]
    );
}

#[test]
fn actions_that_nobody_asks_for_are_told() {
    let found = findings(
        Some("Shop"),
        route("read", "Order"),
        json!([{ "type": "Customer" }]),
    );
    let warnings: Vec<String> = found.warnings.iter().map(render).collect();
    assert_eq!(
        warnings,
        [
            "schema: no route asks for action `Action::\"boot\"`",
            "schema: no route asks for action `Shop::Action::\"pay\"`"
        ]
    );
    assert!(
        findings(Some("Shop"), json!([]), json!([]))
            .warnings
            .is_empty()
    );
}

#[test]
fn every_set_of_routes_is_looked_at() {
    let (schema, _) = Schema::from_cedarschema_str(SCHEMA).expect("a schema");
    let namespace = Namespace::new(Some("Shop")).expect("a namespace");
    let routes = |action: &str| -> Vec<RouteConfig> {
        serde_json::from_value(route(action, "Order")).expect("routes")
    };
    let (read, wrong) = (routes("read"), routes("raed"));
    let findings = check(&Parts {
        schema: &schema,
        namespace: &namespace,
        routes: &read,
        route_sets: &[("admin", &wrong)],
        issuers: &[],
    });
    let [problem] = &findings.problems[..] else {
        panic!("{findings:?}");
    };
    let place = Place::RouteSet("admin".to_owned(), "routes[0].action".to_owned());
    assert_eq!(problem.place, place);
}
