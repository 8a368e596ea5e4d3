//! Token verification: cold, from the cache, and the bare signature check that cold cannot beat.

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::Criterion;
use dev_issuer::SigningKey;
use tokio::runtime::Runtime;

use crate::fixture::Fixture;

/// Distinct ES256 tokens: what the cold figure is stated for.
const MANY: usize = 10_000;
/// Distinct RS256 tokens; fewer, because signing one takes long.
const FEW: usize = 500;

pub(crate) fn bench(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let fixture = Fixture::new();
    let es256 = fixture.tokens(&fixture.es256, MANY);
    let rs256 = fixture.tokens(&fixture.rs256, FEW);

    let mut group = criterion.benchmark_group("token");
    for (name, tokens) in [("es256 cold", &es256), ("rs256 cold", &rs256)] {
        group.bench_function(name, |bencher| {
            bencher
                .to_async(&runtime)
                .iter_custom(|iterations| cold(&fixture, tokens, iterations));
        });
    }
    for (name, key) in [
        ("es256 signature alone", &fixture.es256),
        ("rs256 signature alone", &fixture.rs256),
    ] {
        let token = fixture.tokens(key, 1).pop().expect("a token");
        let (input, signature) = token.rsplit_once('.').expect("three parts");
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        let public = public(key);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                public
                    .verify_sig(black_box(input.as_bytes()), &signature)
                    .expect("a good signature")
            });
        });
    }
    for (name, count) in [
        ("es256 repeated", 1),
        ("es256 repeated, 10000 tokens in turn", MANY),
    ] {
        let issuers = fixture.issuers();
        let mut tokens = es256.iter().take(count).cycle();
        // Once through, so that all are known.
        runtime.block_on(async {
            for token in es256.iter().take(count) {
                issuers.verify(token).await.expect("a good token");
            }
        });
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                runtime.block_on(async {
                    let start = Instant::now();
                    for token in tokens
                        .by_ref()
                        .take(usize::try_from(iterations).unwrap_or(usize::MAX))
                    {
                        black_box(issuers.verify(black_box(token)).await).expect("a good token");
                    }
                    start.elapsed()
                })
            });
        });
    }
    group.finish();
}

/// The time that so many tokens take which were never seen before.
async fn cold(fixture: &Fixture, tokens: &[String], iterations: u64) -> Duration {
    let mut elapsed = Duration::ZERO;
    let mut left = usize::try_from(iterations).unwrap_or(usize::MAX);
    while left > 0 {
        let issuers = fixture.issuers();
        let share = tokens.iter().take(left);
        left -= share.len();
        let start = Instant::now();
        for token in share {
            black_box(issuers.verify(black_box(token)).await).expect("a good token");
        }
        elapsed += start.elapsed();
    }
    elapsed
}

/// A public key, parsed beforehand.
pub(crate) fn public(key: &SigningKey) -> ParsedPublicKey {
    let jwk = key.public_jwk();
    let number = |member: &str| {
        let text = jwk
            .get(member)
            .and_then(serde_json::Value::as_str)
            .expect("a number");
        URL_SAFE_NO_PAD.decode(text).expect("base64url")
    };
    match key.algorithm() {
        dev_issuer::Algorithm::Es256 => {
            let point = [vec![4], number("x"), number("y")].concat();
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        }
        dev_issuer::Algorithm::Rs256 => {
            let components = PublicKeyComponents {
                n: number("n"),
                e: number("e"),
            };
            let der: PublicKeyX509Der<'_> = components.as_der().expect("DER");
            ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der.as_ref())
        }
    }
    .expect("a public key")
}
