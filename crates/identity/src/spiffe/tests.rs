use std::collections::BTreeMap;
use std::path::Path;

use prometheus::Registry;

use super::*;
use crate::Issuers;

fn entry(more: &str) -> Vec<IssuerConfig> {
    let text = format!(
        r#"[{{"name": "mesh", "kind": "spiffe", "trust_domains": ["cluster.local", "td-2"]{more}}}]"#
    );
    serde_json::from_str(&text).unwrap()
}

fn issuers(configs: &[IssuerConfig]) -> Result<std::sync::Arc<Issuers>, BTreeMap<String, String>> {
    Issuers::new(configs, Path::new("."), &Registry::new())
        .map_err(|problems| problems.into_iter().collect())
}

#[test]
fn one_workload_has_one_name() {
    let good = [
        "spiffe://cluster.local/ns/shop/sa/orders",
        "spiffe://td-2/x",
        "spiffe://a_b.c-d.9/A.b_c-d/...",
    ];
    for id in good {
        assert!(SpiffeId::parse(id).is_some(), "{id}");
    }
    let long = format!("spiffe://td/{}", "a".repeat(MAX_ID - 12));
    assert_eq!(long.len(), MAX_ID);
    assert!(SpiffeId::parse(&long).is_some());
    let wide = format!("spiffe://{}/a", "d".repeat(MAX_TRUST_DOMAIN));
    assert!(SpiffeId::parse(&wide).is_some());
    let bad = [
        "",
        "spiffe:",
        "spiffe://",
        "spiffe:///path",
        "spiffe://td",
        "spiffe://td/",
        "spiffe://td//a",
        "spiffe://td/a/",
        "spiffe://td/a//b",
        "spiffe://td/./a",
        "spiffe://td/a/..",
        "spiffe://td/a%2fb",
        "spiffe://td/a?x",
        "spiffe://td/a#x",
        "spiffe://td/a;x",
        "spiffe://td/a b",
        "spiffe://td/\u{e9}",
        "spiffe://td/a\0",
        "spiffe://TD/a",
        "spiffe://t\u{e9}/a",
        "spiffe://td:8443/a",
        "spiffe://user@td/a",
        "spiffe://[::1]/a",
        "SPIFFE://td/a",
        "Spiffe://td/a",
        "https://td/a",
        " spiffe://td/a",
        "spiffe://td/a ",
        "spiffe://td/a,spiffe://td/b",
        "CN=orders,O=shop",
        "orders.shop.svc.cluster.local",
    ];
    for id in bad {
        assert_eq!(SpiffeId::parse(id), None, "{id}");
    }
    assert_eq!(SpiffeId::parse(&format!("{long}a")), None);
    assert_eq!(SpiffeId::parse(&wide.replace("/a", "d/a")), None);
}

#[test]
fn a_workload_of_a_trusted_domain_is_a_principal() {
    let mapping = r#", "principal": {"type": "Workload", "id": "spiffe_id", "attributes": {
        "ns": "namespace", "account": "service_account", "domain": "trust_domain", "where": "path"}}"#;
    let issuers = issuers(&entry(mapping)).unwrap();
    let orders = issuers
        .workload("spiffe://cluster.local/ns/shop/sa/orders")
        .unwrap();
    assert_eq!(&*orders.issuer, "mesh");
    assert_eq!(&*orders.issuer_url, "spiffe://cluster.local");
    assert_eq!(
        (orders.kind, &*orders.principal_type),
        (Kind::Spiffe, "Workload")
    );
    assert_eq!(
        &*orders.principal_id,
        "spiffe://cluster.local/ns/shop/sa/orders"
    );
    let attributes: BTreeMap<_, _> = orders
        .attributes
        .iter()
        .map(|(name, value)| (&**name, value.clone()))
        .collect();
    let text = |text: &str| Claim::String(text.to_owned());
    let expected = [
        ("account", text("orders")),
        ("domain", text("cluster.local")),
        ("ns", text("shop")),
        ("where", text("/ns/shop/sa/orders")),
    ];
    assert_eq!(attributes, BTreeMap::from(expected));

    // Another form of path has neither namespace nor service account, and is a workload all the same.
    for other in [
        "spiffe://td-2/ns/shop",
        "spiffe://td-2/ns/a/b/sa/c",
        "spiffe://td-2/sa/x/ns/y",
    ] {
        assert_eq!(
            issuers.workload(other).unwrap().attributes.len(),
            2,
            "{other}"
        );
    }
    for stranger in [
        "spiffe://elsewhere/ns/shop/sa/orders",
        "spiffe://local/x",
        "spiffe://xcluster.local/x",
        "",
        "CN=orders",
    ] {
        assert!(issuers.workload(stranger).is_none(), "{stranger}");
    }
}

#[test]
fn what_means_nothing_for_workloads_is_refused() {
    let rows = [
        (r#", "issuer": "https://x""#, "[0].issuer"),
        (r#", "jwks": {"file": "x"}"#, "[0].jwks"),
        (r#", "algorithms": ["ES256"]"#, "[0].algorithms"),
        (r#", "audiences": ["x"]"#, "[0].audiences"),
        (r#", "session": "redis""#, "[0].session"),
        (r#", "user_status": "redis""#, "[0].user_status"),
        (r#", "leeway": "1s""#, "[0].leeway"),
        (r#", "typ": ["JWT"]"#, "[0].typ"),
        (
            r#", "principal": {"groups": {"claim": "x", "type": "Y"}}"#,
            "[0].principal.groups",
        ),
        (r#", "principal": {"id": "path"}"#, "[0].principal.id"),
        (
            r#", "principal": {"attributes": {"a": "email"}}"#,
            "[0].principal.attributes.a",
        ),
        (
            r#", "principal": {"attributes": {"a": {"directory": "email"}}}"#,
            "[0].principal.attributes.a",
        ),
    ];
    for (more, key) in rows {
        let problems = issuers(&entry(more)).unwrap_err();
        assert_eq!(
            problems.keys().collect::<Vec<_>>(),
            [key],
            "{more}: {problems:?}"
        );
    }
    let mut none = entry("");
    none[0].trust_domains.clear();
    assert!(
        issuers(&none)
            .unwrap_err()
            .contains_key("[0].trust_domains")
    );
    none[0].trust_domains = vec!["spiffe://td".to_owned()];
    assert!(
        issuers(&none)
            .unwrap_err()
            .contains_key("[0].trust_domains[0]")
    );

    // One workload must not be two principals.
    let mut twice = [entry(""), entry("")].concat();
    twice[1].name = "other".to_owned();
    twice[1].trust_domains.remove(0);
    assert!(
        issuers(&twice)
            .unwrap_err()
            .contains_key("[1].trust_domains")
    );
}
