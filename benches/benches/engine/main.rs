//! The engine beside Cedar's own authorizer, question by question.
//!
//! The engine is asked as the product asks it, with the check of the question, the slice and the
//! answer; the authorizer gets request and entities ready made, and only decides. Every question is
//! another one, and timed by itself, so that there is a median and a tail. An argument names the
//! measures to take: `cargo bench -p benches --bench engine -- apps`.
#![expect(
    clippy::expect_used,
    reason = "a bench that cannot be set up has nothing to measure"
)]

mod apps;
mod entities;
mod floor;
mod measure;
mod policies;
mod reload;
mod scene;
mod stored;

use std::env;

/// That of the product.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let asked: Vec<String> = env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let wanted = |name: &str| {
        // The old way of naming all of them.
        asked.is_empty()
            || asked
                .iter()
                .any(|asked| name.contains(asked.as_str()) || asked == "engine")
    };
    if wanted("apps") {
        apps::measure();
    }
    if wanted("policies") {
        policies::by_number();
    }
    // Part of the one above.
    if asked.iter().any(|asked| asked == "flat") {
        policies::flat();
    }
    if wanted("entities") {
        entities::by_number();
    }
    if wanted("floor") {
        floor::by_number();
    }
    if wanted("memory") {
        policies::by_memory();
    }
    if wanted("reload") {
        reload::measure();
    }
    if wanted("conditions") {
        policies::by_conditions();
    }
    if wanted("threads") {
        policies::by_threads();
    }
}
