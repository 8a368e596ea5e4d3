//! A token that was never seen beside aws-lc's own verification of its signature, in alternation: what the ratio is above
//! 1 is the cost of everything else that makes an identity of it.

use std::hint::black_box;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::runtime::Runtime;

use crate::fixture::Fixture;
use crate::token::public;

/// Distinct tokens in one round.
const TOKENS: usize = 500;
const ROUNDS: usize = 21;
/// What a verification may cost of aws-lc's own.
const GOAL: f64 = 1.2;

/// Measures both algorithms and prints medians and ratios.
pub(crate) fn compare() -> io::Result<()> {
    let runtime = Runtime::new()?;
    let fixture = Fixture::new();
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{:<8} {:>12} {:>12} {:>8}",
        "", "token µs", "aws-lc µs", "ratio"
    )?;
    for (name, key) in [("ES256", &fixture.es256), ("RS256", &fixture.rs256)] {
        let tokens = fixture.tokens(key, TOKENS);
        let signed: Vec<_> = tokens.iter().map(|token| parts(token)).collect();
        let public = public(key);
        let (mut whole, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let issuers = fixture.issuers();
            whole.push(runtime.block_on(async {
                let begun = Instant::now();
                for token in &tokens {
                    black_box(issuers.verify(black_box(token)).await).expect("a good token");
                }
                begun.elapsed()
            }));
            let begun = Instant::now();
            for (input, signature) in &signed {
                black_box(public.verify_sig(black_box(input.as_bytes()), signature))
                    .expect("a good signature");
            }
            bare.push(begun.elapsed());
        }
        let (whole, bare) = (micros(whole), micros(bare));
        let ratio = whole / bare;
        let verdict = if ratio <= GOAL { "ok" } else { "MISSED" };
        writeln!(
            out,
            "{name:<8} {whole:>12.1} {bare:>12.1} {ratio:>8.2} (at most {GOAL}) {verdict}"
        )?;
    }
    out.flush()
}

/// What is signed, and the signature.
fn parts(token: &str) -> (&str, Vec<u8>) {
    let (input, signature) = token.rsplit_once('.').expect("three parts");
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    (input, signature)
}

/// The median of the rounds, for one token, in microseconds.
fn micros(mut rounds: Vec<Duration>) -> f64 {
    rounds.sort();
    let median = rounds.get(rounds.len() / 2).copied().unwrap_or_default();
    median.as_secs_f64() * 1e6 / TOKENS as f64
}
