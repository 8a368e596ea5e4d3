//! The fuzz targets' entries on stable Rust, for two seconds each: seeds, mutated by a generator whose seed is printed.

#[path = "../../fuzz/entries.rs"]
mod entries;

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use prost::Message as _;

const TIME: Duration = Duration::from_secs(2);

/// xorshift64*: small, repeatable, and random enough to damage bytes with.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }
}

/// Runs `entry` over mutants of `seeds`. `FUZZ_SEED` repeats a run.
fn smoke(name: &str, seeds: &[&[u8]], entry: impl Fn(&[u8])) {
    let given: Option<u64> = std::env::var("FUZZ_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into());
    let _ = writeln!(std::io::stderr(), "fuzz smoke {name}: FUZZ_SEED={seed}");
    let mut random = Random(seed | 1);
    let end = Instant::now() + TIME;
    let mut rounds = 0_u64;
    while Instant::now() < end {
        let mutant = mutate(seeds, &mut random);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| entry(&mutant)));
        assert!(outcome.is_ok(), "{name}, FUZZ_SEED={seed}, input: {}", mutant.escape_ascii());
        rounds += 1;
    }
    assert!(rounds > 100, "{name}: only {rounds} rounds");
}

fn mutate(seeds: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(7) {
            0 if at < bytes.len() => bytes[at] = random.byte(),
            1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 => bytes.insert(at, random.byte()),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 => bytes.truncate(at),
            5 => {
                let other = seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                let to = from + random.below(other.len() - from + 1);
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                let piece = b"\r\n %2e%2F/..;\\\0\"{}[]:,%\xff"[random.below(23)];
                bytes.insert(at, piece);
            }
        }
    }
    bytes
}

#[test]
fn tokens() {
    let honest = entries::honest_token();
    let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.";
    smoke("token", &[honest.as_bytes(), none.as_bytes(), b"a.b.c"], entries::token);
}

#[test]
fn paths() {
    smoke("path", &[b"/v1/users/alice", b"/v1/%75sers/%c3%a9?x=1", b"/a/../b", b"/a%2e%2e/b;c", b"/a//b/", b"/%41%7e-._~!$&'()*+,=:@"], entries::path);
}

#[test]
fn decision_requests() {
    smoke(
        "native_api",
        &[
            br#"{"principal":{"type":"User","id":"owner"},"action":"see","resource":{"type":"Thing","id":"1"},"context":{"a":1,"b":"x","c":["y"]}}"#,
            br#"{"principal":"Fuzz::User::\"other\"","action":"Fuzz::Action::\"see\"","resource":"Fuzz::Thing::\"1\"","entities":[{"uid":{"type":"Fuzz::Thing","id":"1"},"attrs":{},"parents":[]}]}"#,
            br#"{"principal":{"type":"User","id":"owner"},"action":{"type":"Action","id":"see"},"resource":{"type":"Thing","id":"\u0000"},"explain":true,"consistency":"fully_consistent"}"#,
        ],
        entries::native_api,
    );
}

#[test]
fn aws_requests() {
    smoke(
        "avp",
        &[
            br#"{"policyStoreId":"default","principal":{"entityType":"User","entityId":"owner"},"action":{"actionType":"Action","actionId":"see"},"resource":{"entityType":"Thing","entityId":"1"},"context":{"contextMap":{"a":{"long":1},"b":{"string":"x"},"c":{"set":[{"string":"y"}]}}}}"#,
            br#"{"principal":{"entityType":"Fuzz::User","entityId":"other"},"action":{"actionType":"Fuzz::Action","actionId":"see"},"resource":{"entityType":"Fuzz::Thing","entityId":"1"},"context":{"cedarJson":"{\"a\":1}"},"entities":{"entityList":[{"identifier":{"entityType":"Fuzz::Thing","entityId":"1"},"attributes":{},"parents":[],"tags":{}}]}}"#,
            br#"{"principal":{"entityType":"User","entityId":"owner"},"action":{"actionType":"Action","actionId":"see"},"resource":{"entityType":"Thing","entityId":"\u0000"},"entities":{"cedarJson":"[{\"uid\":{\"type\":\"Fuzz::Thing\",\"id\":\"1\"},\"attrs\":{},\"parents\":[]}]"}}"#,
        ],
        entries::avp,
    );
}

#[test]
fn authzen_requests() {
    smoke(
        "authzen",
        &[
            br#"{"subject":{"type":"User","id":"owner","properties":{"x":[1]}},"action":{"name":"see","properties":{"soft":true}},"resource":{"type":"Thing","id":"1"},"context":{"a":1,"b":"x","c":["y"]}}"#,
            br#"{"subject":{"type":"User","id":"other"},"action":{"name":"see"},"evaluations":[{"resource":{"type":"Thing","id":"1"}},{"resource":{"type":"Fuzz::Thing","id":"\u0000"},"context":{"a":1.0}}],"options":{"evaluations_semantic":"deny_on_first_deny","explain":true}}"#,
            br#"{"subject":{"type":"User"},"action":{"name":"see"},"resource":{"type":"Thing","id":"1"},"page":{"limit":2,"token":"eyJhIjoxfQ"}}"#,
            br#"{"subject":{"type":"User","id":"owner"},"resource":{"type":"Thing","id":"1"},"context":{},"page":{}}"#,
        ],
        entries::authzen,
    );
}

#[test]
fn checks() {
    let check = |http: HttpRequest| {
        let request = Request { http: Some(http), ..Request::default() };
        let attributes = AttributeContext { request: Some(request), ..AttributeContext::default() };
        CheckRequest { attributes: Some(attributes) }.encode_to_vec()
    };
    let http = |path: &str| HttpRequest { method: "GET".into(), path: path.into(), host: "a.test".into(), ..HttpRequest::default() };
    let headers = HashMap::from([(":path".to_owned(), "/a".to_owned()), ("authorization".to_owned(), "Bearer a.b.c".to_owned())]);
    let line = HeaderValue { key: "x".into(), raw_value: vec![0xff, b'a'], ..HeaderValue::default() };
    let lines = HeaderMap { headers: vec![line.clone(), line] };
    smoke(
        "check",
        &[&check(HttpRequest { headers, ..http("/a?b=c") }), &check(HttpRequest { header_map: Some(lines), ..http("/v1/%C3%A9") }), &check(http("/a/../b"))],
        entries::check,
    );
}

#[test]
fn request_heads() {
    smoke(
        "request_head",
        &[
            b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nt: v\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
        ],
        entries::request_head,
    );
}
