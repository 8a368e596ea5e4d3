use proptest::prelude::*;

use super::*;

/// `expected` is the canonical path, or the reason for refusing it.
fn check(target: &str, expected: Result<&str, &str>) {
    let path = CanonicalPath::parse(target);
    let actual = path
        .as_ref()
        .map(CanonicalPath::as_str)
        .map_err(|fault| fault.reason);
    assert_eq!(actual, expected, "{target}");
    if let Ok(parsed) = target.parse::<PathAndQuery>()
        && !target.contains('#')
    {
        assert_eq!(CanonicalPath::of(&parsed), path, "{target}");
    }
}

#[test]
fn paths_with_one_reading_get_one_spelling() {
    for (target, canonical) in [
        ("/", "/"),
        ("/v1/users/alice", "/v1/users/alice"),
        ("/v1/users/", "/v1/users/"),
        ("/v1/users?next=/admin//..;%zz", "/v1/users"),
        ("/v1/users?", "/v1/users"),
        ("/%61dmin", "/admin"),
        ("/%7Ealice/%2D%5f", "/~alice/-_"),
        ("/a%2Eb", "/a.b"),
        ("/...", "/..."),
        ("/.hidden/a..b", "/.hidden/a..b"),
        ("/ADMIN", "/ADMIN"),
        ("/admin.json", "/admin.json"),
        ("/admin%20", "/admin%20"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a%3ab", "/a%3Ab"),
        (
            "/alice@example.com/!$&'()*+,=:",
            "/alice@example.com/!$&'()*+,=:",
        ),
    ] {
        check(target, Ok(canonical));
    }
}

#[test]
fn ambiguous_paths_are_refused() {
    for (target, reason) in [
        ("/public/../admin", "a dot segment"),
        ("/public/./../admin", "a dot segment"),
        ("/public/%2e%2e/admin", "a dot segment"),
        ("/public/.%2e/admin", "a dot segment"),
        ("/public/%2E./admin", "a dot segment"),
        ("/public/..", "a dot segment"),
        ("/.", "a dot segment"),
        ("/public/..%2fadmin", "an escaped slash"),
        ("/a%2Fb", "an escaped slash"),
        ("/a%5cb", "an escaped backslash"),
        ("/a\\b", "a backslash"),
        ("//admin", "an empty segment"),
        ("/public//admin", "an empty segment"),
        ("/public//", "an empty segment"),
        ("/admin;x=1", "a semicolon"),
        ("/public/..;/admin", "a semicolon"),
        ("/admin%3Bx=1", "an escaped semicolon"),
        ("/admin%00", "an escaped control character"),
        ("/admin%0a", "an escaped control character"),
        ("/admin%0d%0a", "an escaped control character"),
        ("/admin%7f", "an escaped control character"),
        ("/admin%c2%85", "an escaped control character"),
        ("/admin\n", "a control character"),
        ("/%252e%252e/admin", "an escaped percent sign"),
        ("/%25", "an escaped percent sign"),
        ("/admin%", "a malformed percent escape"),
        ("/admin%6", "a malformed percent escape"),
        ("/%zz", "a malformed percent escape"),
        ("/%u0061", "a malformed percent escape"),
        ("/%+1", "a malformed percent escape"),
        ("/%c0%ae%c0%ae/", "escapes that are not UTF-8"),
        ("/%ff", "escapes that are not UTF-8"),
        ("/%ed%a0%80", "escapes that are not UTF-8"),
        ("/admin#x", "a fragment"),
        ("/admin%23x", "an escaped delimiter"),
        ("/admin%3fx", "an escaped delimiter"),
        ("/admin x", "a character that has to be escaped"),
        ("/café", "a character that has to be escaped"),
        ("/a\"b", "a character that has to be escaped"),
        ("/{id}", "a character that has to be escaped"),
        ("/a|b^c`d", "a character that has to be escaped"),
        ("", "a path that does not start with a slash"),
        ("*", "a path that does not start with a slash"),
        ("admin", "a path that does not start with a slash"),
        ("?/public", "a path that does not start with a slash"),
        ("/a?b#c", "a character that a query may not hold"),
        ("/a?b c", "a character that a query may not hold"),
        ("/a?b\u{e9}", "a character that a query may not hold"),
    ] {
        check(target, Err(reason));
    }
}

#[test]
fn the_query_is_kept_as_it_came() {
    let path = CanonicalPath::parse("/%61?x=%2F..&y=[1]&x=2").unwrap();
    assert_eq!(path.query(), Some("x=%2F..&y=[1]&x=2"));
    assert_eq!(path.path_and_query().as_str(), "/a?x=%2F..&y=[1]&x=2");
}

#[test]
fn escapes_of_bare_reserved_characters_read_leniently() {
    let path = CanonicalPath::parse("/users/5%3Adisable/%20%40").unwrap();
    assert_eq!(path.lenient(), "/users/5:disable/%20@");
}

/// Targets that are mostly well formed, so that much gets past the first check.
fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        "/([a-zA-Z0-9._~:@%/-]|%[0-9a-fA-F]{2}|%[46][0-9a-fA-F]|%C3%A9){0,12}(\\?[ -~]{0,8})?",
        "/\\PC{0,12}",
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn canonical_is_canonical(target in target()) {
        if let Ok(path) = CanonicalPath::parse(&target) {
            prop_assert_eq!(&CanonicalPath::parse(path.path_and_query().as_str()).unwrap(), &path);
            prop_assert_eq!(&CanonicalPath::of(path.path_and_query()).unwrap(), &path);
            prop_assert!(path.as_str().starts_with('/'));
            prop_assert!(path.as_str().bytes().all(|byte| is_path_byte(byte) || byte == b'%'));
            prop_assert!(!path.as_str().contains("//"));
        }
    }

    #[test]
    fn what_is_said_survives(target in target()) {
        if let Ok(path) = CanonicalPath::parse(&target) {
            let raw = target.split('?').next().unwrap();
            let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
            prop_assert_eq!(decode(raw), decode(path.as_str()));
            prop_assert_eq!(decode(raw), decode(&path.lenient()));
        }
    }

    /// Whatever an id holds, if it can be written in a path at all, it comes back as it was.
    #[test]
    fn ids_round_trip(id in "\\PC{1,16}") {
        let escaped = percent_encoding::utf8_percent_encode(&id, percent_encoding::NON_ALPHANUMERIC).to_string();
        if let Ok(path) = CanonicalPath::parse(&format!("/users/{escaped}")) {
            let segment = path.as_str().strip_prefix("/users/").unwrap();
            prop_assert_eq!(percent_encoding::percent_decode_str(segment).decode_utf8().unwrap(), id.as_str());
        } else {
            prop_assert!(id == "." || id == ".." || id.contains(['/', '\\', '%', '#', '?', ';']) || id.chars().any(char::is_control));
        }
    }
}
