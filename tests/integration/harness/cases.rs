//! The catalogue of cases, `tests/cases.md`, and the record of how they came out.
//!
//! A row that came out otherwise than the catalogue says fails. What ran is recorded where `PORTCULLIS_CASES` says, so that
//! `tests/run` can tell at the end whether every case of the catalogue, with every answer that it names, was among it.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::sync::LazyLock;

/// The answers of each case.
static CATALOGUE: LazyLock<BTreeMap<u16, Vec<&'static str>>> = LazyLock::new(|| {
    let rows = include_str!("../../cases.md").lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
        let number = cells[0].parse().ok()?;
        Some((number, cells[2].split("; ").map(|answer| answer.trim_matches('`')).collect()))
    });
    rows.collect()
});

/// An honest request beside the bad ones of any case.
pub(crate) const FORWARDED: &str = "forwarded";

/// Records that `case` came out with `answer`; the error says that the catalogue has another. Case 0 is none.
pub(crate) fn record(case: u16, answer: &str) -> Result<(), String> {
    if case == 0 {
        return Ok(());
    }
    let expected = CATALOGUE.get(&case).ok_or_else(|| format!("tests/cases.md has no case {case}"))?;
    if answer != FORWARDED && !expected.contains(&answer) {
        return Err(format!("tests/cases.md expects {expected:?}, not `{answer}`"));
    }
    if let Some(path) = std::env::var_os("PORTCULLIS_CASES") {
        // One write of one line, which other threads' come before or after.
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        let test = std::thread::current().name().unwrap_or("a thread of a test").to_owned();
        file.write_all(format!("{case}\t{answer}\t{test}\n").as_bytes()).unwrap();
    }
    Ok(())
}

/// The same for a test that has no table, where it has seen the case come out.
pub(crate) fn held(case: u16, answer: &str) {
    if let Err(error) = record(case, answer) {
        panic!("case {case}: {error}");
    }
}

#[test]
fn the_catalogue_is_whole() {
    let numbers: Vec<u16> = CATALOGUE.keys().copied().collect();
    assert_eq!(numbers, (1..=200).collect::<Vec<_>>());
    assert!(CATALOGUE.values().flatten().all(|answer| !answer.is_empty()));
}
