//! What the steps of a request cost in process, each alone and all together.
#![expect(
    clippy::expect_used,
    reason = "a bench that cannot be set up has nothing to measure"
)]

mod cache;
mod decision;
mod fixture;
mod gate;
mod head;
mod routing;
mod signatures;
mod store;
#[path = "engine/stored.rs"]
mod stored;
mod token;

use std::time::Duration;

use criterion::Criterion;

/// That of the product.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    identity::install_crypto().expect("the crypto library works");
    if std::env::args().any(|argument| argument == "signatures") {
        signatures::compare().expect("standard output");
        return;
    }
    let mut criterion = Criterion::default()
        .measurement_time(Duration::from_secs(4))
        .configure_from_args();
    token::bench(&mut criterion);
    head::bench(&mut criterion);
    routing::bench(&mut criterion);
    decision::bench(&mut criterion);
    cache::bench(&mut criterion);
    gate::bench(&mut criterion);
    store::bench(&mut criterion);
    criterion.final_summary();
}
