//! Dates and times as the world writes them, into the one form that Cedar reads.

/// `text` as Cedar writes it, if it is a date and time of RFC 3339 or of ISO 8601 without seconds or
/// with another fraction; else as it is, and Cedar judges it. Digits after the milliseconds are cut.
///
/// Cedar wants `2024-05-31T15:22:00.000-0700`; the world also writes `2024-05-31T15:22-07:00`,
/// `2024-05-31 15:22:00Z` and `2024-05-31T15:22:00.5+00:00`.
pub(super) fn cedar(text: &str) -> String {
    rewritten(text).unwrap_or_else(|| text.to_owned())
}

fn rewritten(text: &str) -> Option<String> {
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (minutes, rest) = rest.split_at_checked(5)?;
    let (seconds, rest) = match rest.strip_prefix(':') {
        Some(rest) => rest.split_at_checked(2)?,
        None => ("00", rest),
    };
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            rest.split_at_checked(end)?
        }
        None => ("000", rest),
    };
    if fraction.is_empty() {
        return None;
    }
    let millis: String = fraction.chars().chain("000".chars()).take(3).collect();
    let zone = match rest {
        "Z" | "z" => "Z".to_owned(),
        offset => {
            let (hours, rest) = offset.split_at_checked(3)?;
            let minutes = rest.strip_prefix(':').unwrap_or(rest);
            format!("{hours}{}", if minutes.is_empty() { "00" } else { minutes })
        }
    };
    Some(format!("{date}T{minutes}:{seconds}.{millis}{zone}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_cedar_writes_them() {
        for (text, expected) in [
            ("2024-05-31T15:22:00Z", "2024-05-31T15:22:00.000Z"),
            ("2024-05-31t15:22:00z", "2024-05-31T15:22:00.000Z"),
            ("2024-05-31 15:22:01Z", "2024-05-31T15:22:01.000Z"),
            ("1985-10-26T01:22-07:00", "1985-10-26T01:22:00.000-0700"),
            ("2024-05-31T15:22:00.5+02", "2024-05-31T15:22:00.500+0200"),
            (
                "2024-05-31T15:22:00.123456789+0230",
                "2024-05-31T15:22:00.123+0230",
            ),
            // Left to Cedar.
            ("2024-05-31", "2024-05-31"),
            ("", ""),
            ("now", "now"),
            ("2024-05-31T15:22:00.", "2024-05-31T15:22:00."),
            ("2024-05-31T15:22:00.Z", "2024-05-31T15:22:00.Z"),
            (
                "2024-05-3\u{1f600}T15:22:00Z",
                "2024-05-3\u{1f600}T15:22:00Z",
            ),
        ] {
            assert_eq!(cedar(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_rewritten_is_what_cedar_reads() {
        for text in [
            "1985-10-26T01:22-07:00",
            "2024-05-31T15:22:00.5Z",
            "2024-05-31T15:22Z",
        ] {
            let value = cedar_policy::RestrictedExpression::new_datetime(cedar(text));
            assert!(
                cedar_policy::Context::from_pairs([("at".to_owned(), value)]).is_ok(),
                "{text}"
            );
        }
        // Nothing that is no time becomes one.
        for text in [
            "2024-13-31T15:22Z",
            "2024-05-31T25:22Z",
            "2024-05-31T15:22+2:00",
            "2024-05-31Tab:cdZ",
            "2024-05-31T15:22+99:99",
        ] {
            let value = cedar_policy::RestrictedExpression::new_datetime(cedar(text));
            assert!(
                cedar_policy::Context::from_pairs([("at".to_owned(), value)]).is_err(),
                "{text}"
            );
        }
    }
}
