use http::{HeaderMap, HeaderName, HeaderValue, Version};
use proptest::prelude::*;

use super::*;

fn peers() -> TrustedPeers {
    TrustedPeers::new(&ForwardedConfig {
        trusted_peers: ["10.0.0.0/8", "fd00::/8"]
            .iter()
            .map(|network| network.parse().unwrap())
            .collect(),
    })
}

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            )
        })
        .collect()
}

#[test]
fn the_client_is_found_from_the_right() {
    let cases: &[(&str, &[&str], &str, &str)] = &[
        // peer, X-Forwarded-For lines, client, what is passed on
        ("192.0.2.1", &[], "192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", &["198.51.100.7"], "192.0.2.1", "192.0.2.1"),
        ("10.1.1.1", &[], "10.1.1.1", "10.1.1.1"),
        (
            "10.1.1.1",
            &["198.51.100.7"],
            "198.51.100.7",
            "198.51.100.7, 10.1.1.1",
        ),
        (
            "10.1.1.1",
            &["198.51.100.7, 10.2.2.2"],
            "198.51.100.7",
            "198.51.100.7, 10.2.2.2, 10.1.1.1",
        ),
        (
            "10.1.1.1",
            &["198.51.100.7", "10.2.2.2"],
            "198.51.100.7",
            "198.51.100.7, 10.2.2.2, 10.1.1.1",
        ),
        // what stands left of the client is the client's own claim
        (
            "10.1.1.1",
            &["127.0.0.1, 198.51.100.7"],
            "198.51.100.7",
            "198.51.100.7, 10.1.1.1",
        ),
        (
            "10.1.1.1",
            &["rubbish, 198.51.100.7"],
            "198.51.100.7",
            "198.51.100.7, 10.1.1.1",
        ),
        // all trusted: the farthest
        (
            "10.1.1.1",
            &["10.3.3.3,10.2.2.2"],
            "10.3.3.3",
            "10.3.3.3, 10.2.2.2, 10.1.1.1",
        ),
        // with ports, in brackets, mapped
        (
            "10.1.1.1",
            &["198.51.100.7:4711"],
            "198.51.100.7",
            "198.51.100.7, 10.1.1.1",
        ),
        (
            "10.1.1.1",
            &["[2001:db8::1]:4711"],
            "2001:db8::1",
            "2001:db8::1, 10.1.1.1",
        ),
        (
            "10.1.1.1",
            &["[2001:db8::1]"],
            "2001:db8::1",
            "2001:db8::1, 10.1.1.1",
        ),
        (
            "::ffff:10.1.1.1",
            &["::ffff:198.51.100.7"],
            "198.51.100.7",
            "198.51.100.7, 10.1.1.1",
        ),
        (
            "fd00::1",
            &["198.51.100.7"],
            "198.51.100.7",
            "198.51.100.7, fd00::1",
        ),
        // malformed where it counts: the peer itself
        ("10.1.1.1", &["rubbish"], "10.1.1.1", "10.1.1.1"),
        (
            "10.1.1.1",
            &["198.51.100.7, unknown"],
            "10.1.1.1",
            "10.1.1.1",
        ),
        ("10.1.1.1", &["198.51.100.7, "], "10.1.1.1", "10.1.1.1"),
        ("10.1.1.1", &["198.51.100.7", ""], "10.1.1.1", "10.1.1.1"),
        ("10.1.1.1", &["_hidden, 10.2.2.2"], "10.1.1.1", "10.1.1.1"),
        ("10.1.1.1", &["198.51.100.7\u{e9}"], "10.1.1.1", "10.1.1.1"),
    ];
    for (peer, lines, client, passed) in cases {
        let lines: Vec<_> = lines
            .iter()
            .map(|line| ("x-forwarded-for", *line))
            .collect();
        let origin = peers().origin(Some(peer.parse().unwrap()), &headers(&lines));
        assert_eq!(
            origin.client,
            Some(client.parse().unwrap()),
            "{peer} {lines:?}"
        );
        let mut told = HeaderMap::new();
        origin.describe(None, &mut told);
        assert_eq!(told["x-forwarded-for"], *passed, "{peer} {lines:?}");
    }
}

#[test]
fn an_endless_way_back_leads_nowhere() {
    let way = vec!["10.2.2.2"; 33].join(",");
    let origin = peers().origin(
        Some("10.1.1.1".parse().unwrap()),
        &headers(&[("x-forwarded-for", &way)]),
    );
    assert_eq!(origin, Origin::direct(Some("10.1.1.1".parse().unwrap())));
}

#[test]
fn scheme_and_host_are_believed_from_trusted_peers_only() {
    let sent = headers(&[
        ("x-forwarded-for", "198.51.100.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example"),
        ("forwarded", "for=1.2.3.4;host=other.example;proto=https"),
    ]);
    for (peer, scheme, host) in [
        ("10.1.1.1", "https", "shop.example"),
        ("192.0.2.1", "http", "asked.example"),
    ] {
        let mut told = HeaderMap::new();
        peers()
            .origin(Some(peer.parse().unwrap()), &sent)
            .describe(Some(HeaderValue::from_static("asked.example")), &mut told);
        assert_eq!(told["x-forwarded-proto"], scheme);
        assert_eq!(told["x-forwarded-host"], host);
        assert_eq!(told.len(), 3);
    }
}

#[test]
fn nonsense_from_a_trusted_peer_is_not_passed_on() {
    for line in [
        ("x-forwarded-proto", "https, http"),
        ("x-forwarded-proto", "javascript"),
        ("x-forwarded-host", "a b"),
        ("x-forwarded-host", "user@host"),
        ("x-forwarded-host", "a, b"),
        ("x-forwarded-host", &"h".repeat(300)),
    ] {
        let mut told = HeaderMap::new();
        peers()
            .origin(Some("10.1.1.1".parse().unwrap()), &headers(&[line]))
            .describe(Some(HeaderValue::from_static("asked.example")), &mut told);
        assert_eq!(told["x-forwarded-proto"], "http", "{line:?}");
        assert_eq!(told["x-forwarded-host"], "asked.example", "{line:?}");
    }
}

#[test]
fn a_unix_socket_has_no_address() {
    let origin = peers().origin(None, &headers(&[("x-forwarded-for", "198.51.100.7")]));
    assert_eq!(origin.client, None);
    let mut told = HeaderMap::new();
    origin.describe(None, &mut told);
    assert_eq!(told.len(), 1, "nothing but the scheme");
}

#[test]
fn a_message_that_was_here_is_known_again() {
    let (mine, other) = (Pseudonym::new(1), Pseudonym::new(2));
    let mut headers = HeaderMap::new();
    assert!(!mine.has_seen(&headers));
    other.sign(Version::HTTP_2, &mut headers);
    assert!(!mine.has_seen(&headers));
    assert!(other.has_seen(&headers));
    mine.sign(Version::HTTP_11, &mut headers);
    other.sign(Version::HTTP_10, &mut headers);
    assert!(mine.has_seen(&headers));
    let all: Vec<_> = headers
        .get_all("via")
        .iter()
        .map(|v| v.to_str().unwrap())
        .collect();
    assert_eq!(
        all,
        [
            "2.0 portcullis-0000000000000002",
            "1.1 portcullis-0000000000000001",
            "1.0 portcullis-0000000000000002"
        ]
    );
    let joined = headers_of("1.1 edge,  1.1\tPORTCULLIS-0000000000000001 (comment)");
    assert!(mine.has_seen(&joined));
    assert!(!mine.has_seen(&headers_of("1.1 edge, 1.1 portcullis-00000000000000012")));
    assert!(mine.has_seen(&headers_of(&vec!["1.1 edge"; 33].join(","))));
    assert!(!mine.has_seen(&headers_of(&vec!["1.1 edge"; 32].join(","))));
}

fn headers_of(via: &str) -> HeaderMap {
    headers(&[("via", via)])
}

#[test]
fn a_proxy_is_believed_from_this_machine_and_from_trusted_networks() {
    let peers = TrustedPeers(vec!["10.0.0.0/8".parse().unwrap()]);
    for (address, believed) in [
        (None, true),
        (Some("127.0.0.1"), true),
        (Some("::1"), true),
        (Some("::ffff:127.0.0.1"), true),
        (Some("10.1.2.3"), true),
        (Some("::ffff:10.1.2.3"), true),
        (Some("11.1.2.3"), false),
        (Some("192.168.0.1"), false),
        (Some("2001:db8::1"), false),
    ] {
        let peer = Peer {
            address: address.map(|address| address.parse().unwrap()),
            listener: "ext_authz_grpc",
        };
        assert_eq!(peers.vouches(&peer), believed, "{address:?}");
    }
}

proptest! {
    /// Whoever is not trusted is the client, whatever they say.
    #[test]
    fn strangers_are_believed_nothing(octets in any::<[u8; 4]>(), line in "[ -~]{0,64}") {
        prop_assume!(octets[0] != 10);
        let peer = std::net::IpAddr::from(octets);
        let origin = peers().origin(Some(peer), &headers(&[("x-forwarded-for", &line), ("x-forwarded-proto", "https")]));
        prop_assert_eq!(origin, Origin::direct(Some(peer)));
    }

    /// Whatever stands to the left, the rightmost address that no one trusted vouches for is the client.
    #[test]
    fn claims_of_the_client_change_nothing(claim in "[ -~]{0,64}") {
        let origin = peers().origin(
            Some("10.1.1.1".parse().unwrap()),
            &headers(&[("x-forwarded-for", &format!("{claim}, 198.51.100.7"))]),
        );
        prop_assert_eq!(origin.client, Some("198.51.100.7".parse().unwrap()));
    }
}
