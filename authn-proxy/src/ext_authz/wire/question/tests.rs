use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3::{
    self as core, Address, Pipe, SocketAddress, address,
};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{self, HttpRequest, Peer};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use proptest::prelude::*;

use super::*;

/// What is looked at, as prost reads it.
#[derive(Debug, PartialEq)]
struct Seen {
    http: Option<SeenHttp>,
    address: String,
    principal: String,
    route_set: Option<String>,
}

/// Method, path and host, and the headers in both encodings.
type SeenHttp = (String, String, String, Vec<Header>, Vec<Header>);

type Header = (String, Vec<u8>);

fn by_prost(message: &[u8]) -> Option<Seen> {
    let attributes = CheckRequest::decode(message)
        .ok()?
        .attributes
        .unwrap_or_default();
    let peer = attributes.source.unwrap_or_default();
    let address = peer.address.and_then(|address| address.address);
    let http = attributes.request.and_then(|request| request.http);
    Some(Seen {
        http: http.map(|http| {
            let mut headers: Vec<Header> = http
                .headers
                .into_iter()
                .map(|(name, value)| (name, value.into_bytes()))
                .collect();
            headers.sort();
            let lines = http.header_map.into_iter().flat_map(|map| map.headers);
            let lines = lines.map(|header| {
                let raw = header.raw_value;
                let value = if raw.is_empty() {
                    header.value.into_bytes()
                } else {
                    raw
                };
                (header.key, value)
            });
            (http.method, http.path, http.host, headers, lines.collect())
        }),
        address: match address {
            Some(address::Address::SocketAddress(socket)) => socket.address,
            _ => String::new(),
        },
        principal: peer.principal,
        route_set: attributes.context_extensions.get(ROUTES).cloned(),
    })
}

/// With the last value of each header of a map, which is what a map keeps.
fn by_us(message: &[u8]) -> Option<Seen> {
    let owned = |headers: &[(&str, &[u8])]| -> Vec<Header> {
        let owned = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.to_vec()));
        owned.collect()
    };
    let question = Question::read(message).ok()?;
    Some(Seen {
        http: question.http.map(|http| {
            let kept: HashMap<String, Vec<u8>> = owned(&http.headers).into_iter().collect();
            let mut headers: Vec<Header> = kept.into_iter().collect();
            headers.sort();
            let (method, path) = (http.method.to_owned(), http.path.to_owned());
            (
                method,
                path,
                http.host.to_owned(),
                headers,
                owned(&http.lines),
            )
        }),
        address: question.address.to_owned(),
        principal: question.principal.to_owned(),
        route_set: question.route_set.map(str::to_owned),
    })
}

fn check() -> impl Strategy<Value = CheckRequest> {
    let http = (
        (".{0,9}", ".{0,20}", ".{0,9}"),
        prop::collection::hash_map(".{0,9}", ".{0,200}", 0..6),
        prop::option::of(prop::collection::vec(
            (".{0,9}", ".{0,9}", prop::collection::vec(any::<u8>(), 0..9)),
            0..4,
        )),
        (any::<i64>(), prop::collection::vec(any::<u8>(), 0..300)),
    );
    let http = http.prop_map(|((method, path, host), headers, lines, (size, raw_body))| {
        let header_map = lines.map(|lines| core::HeaderMap {
            headers: lines
                .into_iter()
                .map(|(key, value, raw_value)| core::HeaderValue {
                    key,
                    value,
                    raw_value,
                })
                .collect(),
        });
        HttpRequest {
            method,
            path,
            host,
            headers,
            header_map,
            size,
            raw_body,
            ..HttpRequest::default()
        }
    });
    let socket = |address| {
        address::Address::SocketAddress(SocketAddress {
            address,
            ..SocketAddress::default()
        })
    };
    let address = prop_oneof![
        ".{0,20}".prop_map(socket),
        Just(address::Address::Pipe(Pipe::default())),
    ];
    let source = (prop::option::of(address), ".{0,9}").prop_map(|(address, principal)| Peer {
        address: address.map(|address| Address {
            address: Some(address),
        }),
        principal,
        ..Peer::default()
    });
    let name = prop_oneof![Just(ROUTES.to_owned()), ".{0,9}".prop_map(String::from)];
    (
        prop::option::of(source),
        prop::option::of(prop::option::of(http)),
        prop::collection::hash_map(name, ".{0,9}", 0..3),
    )
        .prop_map(|(source, request, context_extensions)| CheckRequest {
            attributes: Some(AttributeContext {
                destination: source.clone(),
                source,
                request: request.map(|http| attribute_context::Request {
                    http,
                    ..attribute_context::Request::default()
                }),
                context_extensions,
                ..AttributeContext::default()
            }),
        })
}

proptest! {
    /// One message behind another is one message, of which what comes later counts.
    #[test]
    fn every_check_is_read_as_prost_reads_it(first in check(), then in prop::option::of(check())) {
        let mut message = first.encode_to_vec();
        message.extend(then.iter().flat_map(CheckRequest::encode_to_vec));
        prop_assert_eq!(by_us(&message), by_prost(&message));
        prop_assert!(by_us(&message).is_some());
    }

    /// Of damaged messages too: we may refuse what prost steps over, groups, and step over what it would refuse in fields
    /// that nobody looks at.
    #[test]
    fn no_damage_is_read_as_something_else(
        whole in check(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut message = whole.encode_to_vec();
        if message.is_empty() {
            return Ok(());
        }
        for (at, byte) in damage {
            let at = at.index(message.len());
            message[at] = byte;
        }
        if let Some(cut) = cut {
            message.truncate(cut.index(message.len()));
        }
        if let (Some(ours), Some(theirs)) = (by_us(&message), by_prost(&message)) {
            prop_assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn no_bytes_are_too_strange(message in prop::collection::vec(any::<u8>(), 0..64)) {
        if let (Some(ours), Some(theirs)) = (by_us(&message), by_prost(&message)) {
            prop_assert_eq!(ours, theirs);
        }
    }
}

fn http(headers: &[(&str, &str)], lines: &[(&str, &str)]) -> Result<HeaderMap, Rejection> {
    let request = HttpRequest {
        method: "GET".to_owned(),
        path: "/a".to_owned(),
        header_map: Some(core::HeaderMap {
            headers: lines
                .iter()
                .map(|(name, value)| core::HeaderValue {
                    key: (*name).to_owned(),
                    raw_value: value.as_bytes().to_vec(),
                    ..core::HeaderValue::default()
                })
                .collect(),
        }),
        ..HttpRequest::default()
    };
    let mut message = request.encode_to_vec();
    for (name, value) in headers {
        let one = HttpRequest {
            headers: HashMap::from([((*name).to_owned(), (*value).to_owned())]),
            ..HttpRequest::default()
        };
        message.extend(one.encode_to_vec());
    }
    let message = Bytes::from(message);
    let mut http = Http::default();
    http.read(&message).unwrap();
    http.head(&message).map(|head| head.headers)
}

#[test]
fn headers_come_in_either_encoding() {
    let one = http(&[(":path", "/b"), ("accept", "x")], &[]).unwrap();
    assert_eq!(one.len(), 1);
    assert_eq!(one["accept"], "x");
    let several = http(&[], &[(":path", "/b"), ("accept", "x"), ("accept", "y")]).unwrap();
    let several: Vec<_> = several.get_all("accept").iter().collect();
    assert_eq!(several, ["x", "y"]);
}

/// Readers of maps differ in which of two entries for one key they keep.
#[test]
fn a_map_that_names_a_header_twice_is_refused() {
    for twice in [["accept", "accept"], ["accept", "Accept"]] {
        let rejection = http(&[(twice[0], "x"), (twice[1], "y")], &[]).unwrap_err();
        assert_eq!(rejection.reason(), &Reason::InvalidRequest);
    }
    for (name, value) in [("a b", "x"), ("", "x"), ("a", "x\ny")] {
        assert!(http(&[(name, value)], &[]).is_err());
        assert!(http(&[], &[(name, value)]).is_err());
    }
}
