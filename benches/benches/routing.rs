//! Canonical path and route.

use std::hint::black_box;

use authn_proxy::CanonicalPath;
use criterion::Criterion;
use http::Method;
use http::uri::PathAndQuery;

use crate::fixture;

pub(crate) fn bench(criterion: &mut Criterion) {
    let routes = fixture::routes(&fixture::pdp());
    let mut group = criterion.benchmark_group("routing");
    for (name, target) in [
        ("canonical already", "/v1/users/user-1/disable"),
        ("escaped", "/v1/users/%75ser%2d1/disable"),
    ] {
        let target: PathAndQuery = target.parse().expect("a target");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let path = CanonicalPath::of(black_box(&target)).expect("one reading");
                black_box(routes.find(&Method::POST, &path)).expect("a route");
            });
        });
    }
    group.finish();
}
