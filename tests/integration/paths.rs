//! Paths: one spelling for routing, deciding and forwarding, or a refusal.

use crate::harness::sidecar::Sidecar;
use crate::harness::table::{Expect, Table, bearer, with_lines};
use crate::harness::tokens::{KEYS, claims, reader};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use Expect::{Closed, Forwarded, NoCredentials, Refused};

const AMBIGUOUS: Expect = Refused(400, "ambiguous_path");
const MALFORMED: Expect = Closed(400, "invalid_request");
const UNMAPPED: Expect = Refused(403, "route_not_mapped");

#[test]
fn paths_and_routing() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let mut table = Table::new(&sidecar, &upstream);
    let admin = KEYS.token(&claims("root", &["admin", "reader"]));

    let refused: [(u16, &str, Expect); 47] = [
        (176, "/public/../admin", AMBIGUOUS),
        (176, "/public/./../admin", AMBIGUOUS),
        (176, "/public/..", AMBIGUOUS),
        (176, "/public/.", AMBIGUOUS),
        (176, "/../admin", AMBIGUOUS),
        (177, "/public/%2e%2e/admin", AMBIGUOUS),
        (177, "/public/.%2e/admin", AMBIGUOUS),
        (177, "/public/%2E./admin", AMBIGUOUS),
        (178, "/public/..%2fadmin", AMBIGUOUS),
        (178, "/public/a%2Fb", AMBIGUOUS),
        (178, "/public/..%5cadmin", AMBIGUOUS),
        (178, "/public/..\\admin", AMBIGUOUS),
        (178, "/public\\..\\admin", AMBIGUOUS),
        (179, "//admin", AMBIGUOUS),
        (179, "/public//admin", AMBIGUOUS),
        (179, "/public/a//", AMBIGUOUS),
        (180, "/admin;x=1", AMBIGUOUS),
        (180, "/public/..;/admin", AMBIGUOUS),
        (180, "/public/a%3Bx", AMBIGUOUS),
        (181, "/admin%00", AMBIGUOUS),
        (181, "/public/%0a", AMBIGUOUS),
        (181, "/public/%0d%0aX-Injected:%201", AMBIGUOUS),
        (181, "/public/%7f", AMBIGUOUS),
        (181, "/public/%c2%85", AMBIGUOUS),
        (181, "/public/\x01", MALFORMED),
        (181, "/public/\x7f", MALFORMED),
        (181, "/public/\t", MALFORMED),
        (181, "/public/é", MALFORMED),
        (182, "/public/%252e%252e/admin", AMBIGUOUS),
        (182, "/public/%25", AMBIGUOUS),
        (184, "/admin%", AMBIGUOUS),
        (184, "/public/%zz", AMBIGUOUS),
        (184, "/public/%6", AMBIGUOUS),
        (184, "/public/%u0061", AMBIGUOUS),
        (184, "/public/%c0%ae%c0%ae/admin", AMBIGUOUS),
        (184, "/public/%ed%a0%80", AMBIGUOUS),
        (184, "/public/%ff", AMBIGUOUS),
        (185, "/admin#x", MALFORMED),
        (185, "/public/%23x", AMBIGUOUS),
        (185, "/public/%3fx", AMBIGUOUS),
        (186, "/ADMIN", UNMAPPED),
        (186, "/admin/", UNMAPPED),
        (186, "/admin.json", UNMAPPED),
        (186, "/admin%20", UNMAPPED),
        (186, "/Public/x", UNMAPPED),
        (187, "/elsewhere?/public/x", UNMAPPED),
        (187, "/elsewhere?x=/../public/x", UNMAPPED),
    ];
    for (case, target, expect) in refused {
        table.row(case, target, &bearer("GET", target, &admin), expect);
        // Ambiguity is refused before anyone asks for credentials.
        table.row(case, &format!("{target}, no token"), &with_lines("GET", target, ""), expect);
    }

    for (what, lines) in [
        ("a health probe's agent", "User-Agent: kube-probe/1.31\r\n"),
        ("a load balancer's agent", "User-Agent: ELB-HealthChecker/2.0\r\nX-Forwarded-For: 127.0.0.1\r\n"),
        ("an original URL", "X-Original-URL: /public/x\r\nX-Rewrite-URL: /public/x\r\n"),
        ("a method override", "X-HTTP-Method-Override: OPTIONS\r\n"),
    ] {
        table.row(188, what, &with_lines("GET", "/admin", lines), NoCredentials);
    }
    table.row(187, "an open path in the query", &with_lines("GET", "/admin?/public/x", ""), NoCredentials);

    let forwarded = [
        (183, "/%61dmin", "/admin"),
        (183, "/public/%7Ea%2D%5F%2e", "/public/~a-_."),
        (183, "/public/%c3%a9", "/public/%C3%A9"),
        (183, "/public/a%20b", "/public/a%20b"),
        (187, "/admin?next=/public/../x;%zz&a=%2F", "/admin?next=/public/../x;%zz&a=%2F"),
        (190, "/admin?id=1&id=2", "/admin?id=1&id=2"),
        (183, "/public/...", "/public/..."),
        (183, "/public/@:!$&'()*+,=", "/public/@:!$&'()*+,="),
        (183, "/admin?", "/admin?"),
    ];
    for (case, target, canonical) in forwarded {
        if let Some(seen) = table.row(case, target, &bearer("GET", target, &admin), Forwarded)
            && seen.head.target() != canonical
        {
            table.fault(case, target, &format!("forwarded as `{}`", seen.head.target()));
        }
    }
    table.finish();
}

/// The id that Cedar is asked about is the one that the upstream reads from the same bytes.
#[test]
fn ids_from_paths() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let mut table = Table::new(&sidecar, &upstream);
    let token = KEYS.token(&reader());
    let forbidden = Refused(403, "forbidden");
    for (case, what, target, expect) in [
        (189, "an encoded slash", "/v1/documents/a%2Fb", AMBIGUOUS),
        (189, "the forbidden one", "/v1/documents/secret", forbidden),
        (189, "the forbidden one, partly escaped", "/v1/documents/%73ecret", forbidden),
        (189, "the forbidden one, all escaped", "/v1/documents/%73%65%63%72%65%74", forbidden),
        (189, "another, by case", "/v1/documents/Secret", Forwarded),
        (189, "no id", "/v1/documents/", UNMAPPED),
        (189, "an id too many", "/v1/documents/a/b", UNMAPPED),
        (189, "a quote in the id", "/v1/documents/%22secret%22", Forwarded),
    ] {
        table.row(case, what, &bearer("GET", target, &token), expect);
    }
    table.finish();
}
