//! Which commands a token causes, and what the values mean.

use super::*;

fn session() -> SessionRef {
    SessionRef {
        id: "s1".into(),
        version: 3,
    }
}

#[test]
fn a_session_is_its_owners_and_at_one_version() {
    let revoked = "session_revoked";
    let unavailable = "sessions_unavailable";
    for (record, expected) in [
        (Some(r#"{"user_id":"alice","version":3}"#), "open"),
        (
            Some(r#"{"user_id":"alice","version":3,"device":{"os":"x"}}"#),
            "open",
        ),
        (None, revoked),
        (Some(r#"{"user_id":"alice","version":4}"#), revoked),
        (Some(r#"{"user_id":"alice","version":2}"#), revoked),
        (Some(r#"{"user_id":"bob","version":3}"#), revoked),
        (Some(r#"{"user_id":"alice","version":"3"}"#), unavailable),
        (Some(r#"{"user_id":"alice","version":3.0}"#), unavailable),
        (Some(r#"{"user_id":"alice","version":-3}"#), unavailable),
        (Some(r#"{"user_id":7,"version":3}"#), unavailable),
        (Some(r#"{"user_id":"alice"}"#), unavailable),
        (
            Some(r#"{"user_id":"bob","user_id":"alice","version":3}"#),
            unavailable,
        ),
        (Some(r#"{"user_id":"alice","version":3} "#), "open"),
        (Some(r#"{"user_id":"alice","version":3}x"#), unavailable),
        (Some(r#"["alice",3]"#), unavailable),
        (Some("alice"), unavailable),
        (Some("\u{0}"), unavailable),
    ] {
        let outcome = judge_session(record, &session(), "alice");
        assert_eq!(
            outcome.map_or_else(Lapse::name, |()| "open"),
            expected,
            "{record:?}"
        );
    }
}

#[test]
fn valid_after_is_whole_seconds() {
    for (time, issued_at, expected) in [
        (None, 0, "ok"),
        (Some("100"), 100, "ok"),
        (Some("100"), 99, "session_revoked"),
        (Some("0"), 0, "ok"),
        (Some("1800000000000"), 1_800_000_000, "sessions_unavailable"),
        (Some("100.5"), 200, "sessions_unavailable"),
        (Some("+100"), 200, "sessions_unavailable"),
        (Some("-1"), 200, "sessions_unavailable"),
        (Some(" 100"), 200, "sessions_unavailable"),
        (Some("99999999999999999999999"), 200, "sessions_unavailable"),
        (Some("soon"), 200, "sessions_unavailable"),
    ] {
        let outcome = judge_time(time, issued_at);
        assert_eq!(
            outcome.map_or_else(Lapse::name, |()| "ok"),
            expected,
            "{time:?}"
        );
    }
}

#[test]
fn a_user_is_enabled_and_active() {
    for (record, expected) in [
        (Some(r#"{"enabled":true,"status":"active"}"#), "active"),
        (
            Some(r#"{"enabled":true,"status":"active","attributes":{"email":"a@b"}}"#),
            "active",
        ),
        (
            Some(r#"{"enabled":false,"status":"active"}"#),
            "user_disabled",
        ),
        (
            Some(r#"{"enabled":true,"status":"pending"}"#),
            "user_not_active",
        ),
        (
            Some(r#"{"enabled":true,"status":"Active"}"#),
            "user_not_active",
        ),
        (None, "user_not_active"),
        (
            Some(r#"{"enabled":"true","status":"active"}"#),
            "status_unavailable",
        ),
        (Some(r#"{"enabled":true}"#), "status_unavailable"),
        (Some(r#"{"status":"active"}"#), "status_unavailable"),
        (
            Some(r#"{"enabled":true,"status":"active","attributes":[]}"#),
            "status_unavailable",
        ),
        (
            Some(r#"{"enabled":true,"status":"active","attributes":{"n":1}}"#),
            "status_unavailable",
        ),
        (Some("true"), "status_unavailable"),
    ] {
        let outcome = judge_user(record, "alice");
        assert_eq!(
            outcome.map_or_else(Lapse::name, |_| "active"),
            expected,
            "{record:?}"
        );
    }
}

#[test]
fn keys_are_apart_whatever_the_ids_hold() {
    let question = |question: Question<'_>| {
        let mut commands = Pipeline::new();
        question.ask(&mut commands);
        String::from_utf8(commands.get_packed_pipeline()).unwrap()
    };
    let id = |id: &str| SessionRef {
        id: id.into(),
        version: 1,
    };
    let (plain, tricky) = (id("x"), id("x:y"));
    let all = [
        question(Question::Session {
            session: &plain,
            subject: "a",
        }),
        question(Question::Session {
            session: &tricky,
            subject: "a",
        }),
        question(Question::Revoked {
            token_id: Some("x"),
            origin: None,
        }),
        question(Question::Revoked {
            token_id: Some("x:y"),
            origin: None,
        }),
        question(Question::Revoked {
            token_id: Some("x"),
            origin: Some("y"),
        }),
        question(Question::Revoked {
            token_id: Some("x revoked:origin_jti:y"),
            origin: None,
        }),
        question(Question::Revoked {
            token_id: Some("x\r\n$3\r\nfoo"),
            origin: None,
        }),
        question(Question::ValidAfter {
            subject: "x",
            issued_at: 0,
        }),
        question(Question::User { subject: "x" }),
    ];
    for (index, one) in all.iter().enumerate() {
        assert!(!all[..index].contains(one), "{one}");
    }
    // Lengths are told, so that no value can end a command early.
    assert!(
        all[6].contains("$22\r\nrevoked:jti:x\r\n$3\r\nfoo\r\n"),
        "{}",
        all[6]
    );
}
