use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::FakeRelativeClock;
use proptest::prelude::*;

use super::limiter::Limiter;
use super::*;
use crate::config::Rate;

fn rate(requests: u32, window: u16) -> Rate {
    let requests = NonZeroU32::new(requests).unwrap();
    Rate { requests, window }
}

fn limiter(rate: Rate, keys: usize) -> (Limiter<FakeRelativeClock>, FakeRelativeClock) {
    let clock = FakeRelativeClock::default();
    (Limiter::with_clock(rate, keys, clock.clone()), clock)
}

fn address(text: &str) -> Key {
    Key::of_address(Some(text.parse().unwrap()))
}

fn number(number: u32) -> Key {
    Key::V4(number.to_be_bytes())
}

#[test]
fn so_many_at_once_and_then_one_by_one() {
    let (limiter, clock) = limiter(rate(5, 60), 1000);
    let key = address("192.0.2.7");
    for remaining in [4, 3, 2, 1, 0] {
        let quota = Quota {
            requests: 5,
            window: 60,
            remaining,
            reset: 12,
        };
        assert_eq!(limiter.count(&key), Ok(quota));
    }
    let spent = limiter.count(&key).unwrap_err();
    assert_eq!((spent.remaining, spent.reset), (0, 12));
    // What is refused is not counted: it may be tried as often as one likes, and the wait only gets shorter.
    clock.advance(Duration::from_millis(11_001));
    assert_eq!(limiter.count(&key).unwrap_err().reset, 1);
    clock.advance(Duration::from_millis(999));
    assert_eq!(limiter.count(&key).unwrap().remaining, 0);
    assert!(limiter.count(&key).is_err());
    // Others have their own.
    assert_eq!(limiter.count(&address("192.0.2.8")).unwrap().remaining, 4);
    clock.advance(Duration::from_secs(60));
    assert_eq!(limiter.count(&key).unwrap().remaining, 4);
}

#[test]
fn a_key_is_one_caller() {
    for (one, other, same) in [
        ("2001:db8::1", "2001:db8::ffff:1", true),
        ("2001:db8::1", "2001:db8:0:0:ffff:ffff:ffff:ffff", true),
        ("2001:db8::1", "2001:db8:0:1::1", false),
        ("::ffff:192.0.2.7", "192.0.2.7", true),
        ("192.0.2.7", "192.0.2.8", false),
    ] {
        assert_eq!(address(one) == address(other), same, "{one} {other}");
    }
    assert_eq!(Key::of_address(None), Key::Nowhere);
    let principal = Key::of_principal;
    assert_eq!(principal("User", "alice"), principal("User", "alice"));
    assert_ne!(principal("User", "alice"), principal("User", "alicE"));
    assert_ne!(principal("User", "alice"), principal("Service", "alice"));
    assert_ne!(principal("Usera", "lice"), principal("User", "alice"));
}

/// A flood of strangers: bounded memory, and nobody known is forgotten for it.
#[test]
fn a_flood_resets_nobody() {
    const KEYS: u32 = 4096;
    let (limiter, clock) = limiter(rate(3, 60), usize::try_from(KEYS).unwrap());
    let known = address("2001:db8::1");
    for _ in 0..3 {
        assert!(limiter.count(&known).is_ok());
    }
    let mut passed = 0;
    for stranger in 0..1_000_000 {
        passed += u32::from(limiter.count(&number(stranger)).is_ok());
        if stranger % 50_000 == 0 {
            assert!(limiter.count(&known).is_err(), "after {stranger}");
        }
    }
    assert!(limiter.keys() <= usize::try_from(KEYS).unwrap());
    // Every place once, and what those without a place share.
    assert!((KEYS / 2..=KEYS + 16 * 3).contains(&passed), "{passed}");
    // Those who were known before keep what they have left.
    assert_eq!(limiter.count(&number(0)).unwrap().remaining, 1);

    // Once nothing of the flood is counted any more there is room again.
    clock.advance(Duration::from_secs(61));
    for stranger in 2_000_000..2_000_100 {
        assert_eq!(limiter.count(&number(stranger)).unwrap().remaining, 2);
    }
    assert!(limiter.keys() <= 102, "{}", limiter.keys());
    assert_eq!(limiter.count(&known).unwrap().remaining, 2);
}

#[test]
fn what_is_left_is_told() {
    let quota = |requests, window, remaining, reset| {
        Some(Quota {
            requests,
            window,
            remaining,
            reset,
        })
    };
    let cases = [
        (None, None, None),
        (
            quota(5, 60, 4, 12),
            None,
            Some((r#""address";q=5;w=60"#, r#""address";r=4;t=12"#)),
        ),
        (
            quota(100, 1, 99, 1),
            quota(1000, 3600, 0, 4),
            Some((
                r#""address";q=100;w=1, "principal";q=1000;w=3600"#,
                r#""address";r=99;t=1, "principal";r=0;t=4"#,
            )),
        ),
    ];
    for (address, principal, expected) in cases {
        let mut headers = HeaderMap::new();
        headers.append(RATE_LIMIT, HeaderValue::from_static("\"upstream\";r=1"));
        Quotas { address, principal }.describe(&mut headers);
        let lines = |name| -> Vec<&str> {
            let lines = headers.get_all(name).iter();
            lines.map(|line| line.to_str().unwrap()).collect()
        };
        let mut left = vec!["\"upstream\";r=1"];
        left.extend(expected.map(|(_, left)| left));
        assert_eq!(lines(RATE_LIMIT), left);
        let policies: Vec<_> = expected.iter().map(|(policies, _)| *policies).collect();
        assert_eq!(lines(RATE_LIMIT_POLICY), policies);
    }
}

proptest! {
    /// Over any stretch of time a key gets what its bucket holds and what comes in meanwhile, whatever others do; and who
    /// waits as long as it is told passes.
    #[test]
    fn nobody_gets_more_than_the_rate(
        requests in 1_u32..20,
        window in prop_oneof![Just(1_u16), Just(60), Just(3600)],
        steps in prop::collection::vec((0_u64..2000, 0_u32..3), 1..200),
    ) {
        let (limiter, clock) = limiter(rate(requests, window), 1000);
        let mut now = 0_u64;
        let mut passed: HashMap<u32, Vec<u64>> = HashMap::new();
        // Steps are a share of the time in which one more is let through.
        let one = u64::from(window) * 1_000_000_000 / u64::from(requests);
        for (share, caller) in steps {
            let wait = one / 1000 * share;
            clock.advance(Duration::from_nanos(wait));
            now += wait;
            match limiter.count(&number(caller)) {
                Ok(quota) => {
                    prop_assert!(quota.remaining < requests);
                    passed.entry(caller).or_default().push(now);
                }
                Err(spent) => {
                    prop_assert!(spent.reset >= 1 && spent.reset <= window);
                    let wait = u64::from(spent.reset) * 1_000_000_000;
                    clock.advance(Duration::from_nanos(wait));
                    now += wait;
                    prop_assert!(limiter.count(&number(caller)).is_ok());
                    passed.entry(caller).or_default().push(now);
                }
            }
        }
        for times in passed.values() {
            for (first, from) in times.iter().enumerate() {
                for (last, to) in times.iter().enumerate().skip(first) {
                    let count = u64::try_from(last - first + 1).unwrap();
                    let most = u64::from(requests) + (to - from) / one;
                    prop_assert!(count <= most, "{count} in {} ns", to - from);
                }
            }
        }
    }
}
