use super::*;

#[test]
fn announcements_are_read_as_they_are_written() {
    for announcement in [
        Announcement::User {
            pool: "us-east-1_x".to_owned(),
            user: "anna \"the\" first".to_owned(),
        },
        Announcement::Subject("s-1".to_owned()),
    ] {
        let text = announcement.write();
        assert_eq!(
            Announcement::read(text.as_bytes()),
            Some(announcement),
            "{text}"
        );
    }
    let long = format!(r#"{{"subject":"{}"}}"#, "x".repeat(MAX_MESSAGE));
    for garbage in [
        "",
        "anna",
        "{}",
        "[]",
        r#"{"user":"anna"}"#,
        r#"{"pool":"p"}"#,
        r#"{"subject":7}"#,
        r#"{"subject":"s","pool":"p","user":"u"}"#,
        r#"{"subject":"s","subject":"t"}"#,
        &long,
    ] {
        assert_eq!(Announcement::read(garbage.as_bytes()), None, "{garbage}");
    }
    let more = br#"{"pool":"p","user":"u","reason":"disabled"}"#;
    assert!(Announcement::read(more).is_some(), "members may be added");
}
