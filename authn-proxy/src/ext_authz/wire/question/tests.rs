use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3::{
    self as core, Address, Pipe, SocketAddress, address,
};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{self, HttpRequest, Peer};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use proptest::prelude::*;
use prost::encoding;

use super::*;

/// What is looked at, as prost reads it.
#[derive(Debug, PartialEq)]
struct Seen {
    http: Option<SeenHttp>,
    address: String,
    principal: String,
    route_set: Option<String>,
    metadata: Metadata,
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
        metadata: attributes.metadata_context.unwrap_or_default(),
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
    let metadata = question.metadata().ok()?;
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
        metadata,
    })
}

/// What a field holds, of those that are looked at and of some beside them.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Number,
    Message(&'static [(u32, Kind)]),
}

const ENTRY: Kind = Kind::Message(&[(1, Kind::Text), (2, Kind::Text)]);

const PEER: Kind = Kind::Message(&[
    (
        1,
        Kind::Message(&[
            (1, Kind::Message(&[(1, Kind::Number), (2, Kind::Text)])),
            (2, ENTRY),
        ]),
    ),
    (2, Kind::Text),
    (4, Kind::Text),
]);

const HEADER: Kind = Kind::Message(&[(1, Kind::Text), (2, Kind::Text), (3, Kind::Text)]);

const HTTP: Kind = Kind::Message(&[
    (2, Kind::Text),
    (3, ENTRY),
    (4, Kind::Text),
    (5, Kind::Text),
    (9, Kind::Number),
    (13, Kind::Message(&[(1, HEADER)])),
]);

const STRUCT: Kind = Kind::Message(&[(
    1,
    Kind::Message(&[
        (1, Kind::Text),
        (2, Kind::Message(&[(3, Kind::Text), (4, Kind::Number)])),
    ]),
)]);

const METADATA: Kind = Kind::Message(&[(1, Kind::Message(&[(1, Kind::Text), (2, STRUCT)]))]);

const ATTRIBUTES: Kind = Kind::Message(&[
    (1, PEER),
    (2, PEER),
    (4, Kind::Message(&[(2, HTTP)])),
    (10, ENTRY),
    (11, METADATA),
]);

fn key(field: u32, wire: u8) -> Vec<u8> {
    let mut key = Vec::new();
    encoding::encode_varint(u64::from(field << 3) | u64::from(wire), &mut key);
    key
}

/// A length and so many bytes; `wide`, with a byte more than the length needs.
fn counted(content: &[u8], wide: bool) -> Vec<u8> {
    let mut whole = Vec::new();
    encoding::encode_varint(content.len() as u64, &mut whole);
    if wide && let Some(last) = whole.last_mut() {
        *last |= 0x80;
        whole.push(0);
    }
    whole.extend(content);
    whole
}

/// A field with what it should hold. `true` with a group, which we refuse.
fn field(number: u32, kind: Kind) -> BoxedStrategy<(Vec<u8>, bool)> {
    let content = match kind {
        Kind::Number => {
            let whole = any::<u64>().prop_map(move |value| {
                let mut whole = key(number, 0);
                encoding::encode_varint(value, &mut whole);
                (whole, false)
            });
            return whole.boxed();
        }
        Kind::Text => prop_oneof![Just(ROUTES.to_owned()), "[a-c]{0,2}"]
            .prop_map(|text| (text.into_bytes(), false))
            .boxed(),
        Kind::Message(kinds) => fields(kinds),
    };
    (content, any::<bool>())
        .prop_map(move |((content, grouped), wide)| {
            ([key(number, 2), counted(&content, wide)].concat(), grouped)
        })
        .boxed()
}

/// The fields of a message in any order and as often as they come, and seldom others, or others' values: what no encoder
/// writes, and every reader has an answer to.
fn fields(kinds: &'static [(u32, Kind)]) -> BoxedStrategy<(Vec<u8>, bool)> {
    let right = prop::sample::select(kinds).prop_flat_map(|(number, kind)| field(number, kind));
    let number = prop_oneof![1..16_u32, Just((1 << 29) - 1)];
    let wrong = (number, 0..6_u8, prop::collection::vec(any::<u8>(), 8));
    let wrong = wrong.prop_map(|(number, wire, bytes)| {
        let content = match wire {
            0 => vec![bytes[0] & 0x7f],
            1 => bytes,
            2 => counted(&bytes[..3], false),
            3 => key(number, 4),
            4 => Vec::new(),
            _ => bytes[..4].to_vec(),
        };
        ([key(number, wire), content].concat(), wire == 3)
    });
    prop::collection::vec(prop_oneof![40 => right, 1 => wrong], 0..5)
        .prop_map(|all| {
            let grouped = all.iter().any(|(_, grouped)| *grouped);
            (all.into_iter().flat_map(|(one, _)| one).collect(), grouped)
        })
        .boxed()
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

    /// Repeated, merged, out of order, of the wrong type and unknown: what prost takes we take for the same, but for groups.
    #[test]
    fn fields_mean_what_they_mean_to_prost_wherever_they_stand((message, grouped) in fields(&[(1, ATTRIBUTES)])) {
        match (by_us(&message), by_prost(&message)) {
            (Some(ours), Some(theirs)) => prop_assert_eq!(ours, theirs),
            (None, Some(_)) => prop_assert!(grouped),
            (_, None) => {}
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
