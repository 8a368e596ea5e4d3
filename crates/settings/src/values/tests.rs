use std::time::Duration;

use jsonschema::validator_for;
use proptest::prelude::*;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Address, ByteSize, Span};

#[test]
fn spans() {
    for (text, expected) in [
        ("500ms", Some(500)),
        ("30s", Some(30_000)),
        ("1h", Some(3_600_000)),
        ("1h30m", Some(5_400_000)),
        ("0s", Some(0)),
        ("1500us", None),
        ("3650d", Some(315_360_000_000)),
    ] {
        let span: Span = text.parse().expect(text);
        if let Some(expected) = expected {
            assert_eq!(span.0, Duration::from_millis(expected), "{text}");
        }
    }
    for text in [
        "",
        "s",
        "5",
        "5 s",
        " 5s",
        "5s ",
        "-5s",
        "+5s",
        "1.5s",
        "5S",
        "5sec",
        "5s5",
        "ms",
        "3651d",
        "99999999999s",
        "5ms\n",
        "٣s",
        "4294967295d4294967295d",
        "1h-30m",
    ] {
        assert!(text.parse::<Span>().is_err(), "{text}");
    }
}

#[test]
fn byte_sizes() {
    for (text, expected) in [
        ("65536", 65536),
        ("64KiB", 65536),
        ("64 KiB", 65536),
        ("10MiB", 10 << 20),
        ("1GiB", 1 << 30),
        ("5B", 5),
        ("1KB", 1000),
        ("1kB", 1000),
        ("2MB", 2_000_000),
        ("18446744073709551615", u64::MAX),
    ] {
        assert_eq!(text.parse(), Ok(ByteSize(expected)), "{text}");
    }
    for text in [
        "",
        "KiB",
        "-1",
        "+1",
        "1.5KiB",
        "1 ",
        "1  KiB",
        "1kib",
        "18446744073709551616",
        "18446744073709551615KiB",
        "0x10",
        "1KiB1",
    ] {
        assert!(text.parse::<ByteSize>().is_err(), "{text}");
    }
}

#[test]
fn addresses() {
    for (text, local) in [
        ("127.0.0.1:8000", true),
        ("127.9.9.9:1", true),
        ("[::1]:8000", true),
        ("[::ffff:127.0.0.1]:8000", true),
        ("localhost:0", true),
        ("unix:/run/x.sock", true),
        ("unix:relative.sock", true),
        ("0.0.0.0:8000", false),
        ("[::]:8000", false),
        ("10.0.0.1:65535", false),
    ] {
        let address: Address = text.parse().expect(text);
        assert_eq!(address.is_local(), local, "{text}");
        assert_eq!(address.to_string().parse(), Ok(address), "{text}");
    }
    let long = format!("unix:/{}", "x".repeat(107));
    for text in [
        "",
        ":8000",
        "8000",
        "localhost",
        "localhost:",
        "localhost:+1",
        "localhost:65536",
        "LOCALHOST:1x",
        "0.0.0.0",
        "example.com:80",
        "0.0.0.0:70000",
        "unix:",
        "unix:\0",
        "http://127.0.0.1:80",
        "127.0.0.1:80 ",
        "[::1]",
        "010.0.0.1:80",
        &long,
    ] {
        assert!(text.parse::<Address>().is_err(), "{text}");
    }
}

/// Whatever a type reads, its schema allows: else editors and charts would refuse good settings.
fn agrees<T: DeserializeOwned + JsonSchema>(value: &Value) -> Result<(), TestCaseError> {
    let validator = validator_for(&crate::schema::<T>()).expect("a schema");
    if serde_json::from_value::<T>(value.clone()).is_ok() {
        prop_assert!(validator.is_valid(value), "{value} is read but not allowed");
    }
    Ok(())
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[0-9]{1,12}(us|ms|s|m|h|d)([0-9]{1,3}(ms|s))?",
        "[0-9]{1,20} ?[KMGk]?i?B?",
        "(localhost|[0-9.]{0,9}|\\[[0-9a-f:.]{0,9}\\]|unix):[0-9/a-z]{0,6}",
    ]
}

proptest! {
    #[test]
    fn schema_and_reader_agree(text in texts()) {
        let value = json!(text);
        agrees::<Span>(&value)?;
        agrees::<ByteSize>(&value)?;
        agrees::<Address>(&value)?;
    }

    #[test]
    fn what_is_displayed_is_read_back(micros in 0_u64..315_360_000_000_000_000, bytes in any::<u64>()) {
        let span = Span(Duration::from_micros(micros));
        // Long times in small units have more digits than are read; they are no settings anybody writes.
        if let Ok(read) = span.to_string().parse::<Span>() {
            prop_assert_eq!(read, span);
        }
        prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        prop_assert!(serde_json::from_value::<ByteSize>(json!(bytes)).is_ok());
    }

    #[test]
    fn numbers_that_are_no_sizes_are_refused(number in prop_oneof![(i64::MIN..0).prop_map(|n| json!(n)), Just(json!(0.5)), Just(json!(null)), Just(json!(true))]) {
        prop_assert!(serde_json::from_value::<ByteSize>(number).is_err());
    }
}
