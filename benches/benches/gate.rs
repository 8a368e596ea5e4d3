//! The whole gate in process, from a request head to a permit.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use authn_proxy::{Client, Gate};
use criterion::Criterion;
use http::Request;
use http::request::Parts;
use tokio::runtime::Runtime;

use crate::fixture::{Fixture, user};

/// Distinct tokens of the cold figure.
const MANY: usize = 10_000;

pub(crate) fn bench(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let fixture = Fixture::new();
    let heads: Vec<Parts> = fixture
        .tokens(&fixture.es256, MANY)
        .iter()
        .enumerate()
        .map(|(number, token)| head(number, token))
        .collect();

    let mut group = criterion.benchmark_group("gate");
    let gate = fixture.gate();
    for (name, count) in [("warm", 1), ("warm, 10000 tokens in turn", MANY)] {
        let known = || heads.iter().take(count);
        runtime.block_on(admit(&gate, known()));
        let mut turn = known().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let heads = turn
                    .by_ref()
                    .take(usize::try_from(iterations).unwrap_or(usize::MAX));
                runtime.block_on(admit(&gate, heads))
            });
        });
    }
    group.bench_function("cold", |bencher| {
        bencher
            .to_async(&runtime)
            .iter_custom(|iterations| cold(&fixture, &heads, iterations));
    });
    group.finish();
}

/// The time that so many requests take whose tokens were never seen before.
async fn cold(fixture: &Fixture, heads: &[Parts], iterations: u64) -> Duration {
    let mut elapsed = Duration::ZERO;
    let mut left = usize::try_from(iterations).unwrap_or(usize::MAX);
    while left > 0 {
        let gate = fixture.gate();
        let share = heads.iter().take(left);
        left -= share.len();
        elapsed += admit(&gate, share).await;
    }
    elapsed
}

/// Admits them one after the other.
async fn admit(gate: &Gate, heads: impl Iterator<Item = &Parts>) -> Duration {
    let client = Client {
        address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        host: Some("users.example"),
        ..Client::default()
    };
    let start = Instant::now();
    for head in heads {
        black_box(gate.admit(black_box(head), &client).await).expect("admitted");
    }
    start.elapsed()
}

/// A user reads their own profile.
fn head(number: usize, token: &str) -> Parts {
    let request = Request::get(format!("/v1/users/{}", user(number)))
        .header("host", "users.example")
        .header("accept", "application/json")
        .header("user-agent", "bench")
        .header("authorization", format!("Bearer {token}"))
        .body(())
        .expect("a request");
    request.into_parts().0
}
