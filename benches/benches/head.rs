//! The listener's judgement of a request head, before hyper sees it.

use std::hint::black_box;

use criterion::Criterion;
use listener::head::{HeadLimits, scan};

use crate::fixture::Fixture;

pub(crate) fn bench(criterion: &mut Criterion) {
    let fixture = Fixture::new();
    let token = fixture.tokens(&fixture.es256, 1).pop().expect("a token");
    let head = format!(
        "GET /v1/users/user-0?fields=name HTTP/1.1\r\nhost: users.example\r\naccept: application/json\r\n\
         accept-encoding: gzip, br\r\nuser-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101\r\n\
         x-forwarded-for: 192.0.2.1\r\nx-request-id: 0198b6f0-7d2b-7c3e-9a55-3a7f0b1e2c4d\r\n\
         authorization: Bearer {token}\r\n\r\n"
    );
    let limits = HeadLimits {
        bytes: 64 * 1024,
        headers: 100,
        uri_bytes: 8 * 1024,
    };
    criterion.bench_function("head/scan", |bencher| {
        bencher.iter(|| {
            scan(black_box(head.as_bytes()), &limits).map(|head| head.expect("a whole head"))
        });
    });
}
