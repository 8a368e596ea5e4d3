use super::*;

#[test]
fn a_file_that_is_another_than_the_scan_saw_is_not_read() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for version in [".1", ".2"] {
        std::fs::write(path(version), "permit(principal, action, resource);").unwrap();
    }
    let lead_to = |version: &str| {
        symlink(version, path(".next")).unwrap();
        std::fs::rename(path(".next"), path("p.cedar")).unwrap();
    };
    lead_to(".1");
    let sources = Sources {
        policies: folder.path().to_owned(),
        schema: None,
        entities: None,
    };
    let scan = Scan::of(&sources);
    assert!(read(&scan).unwrap().is_some());
    lead_to(".2");
    assert!(read(&scan).unwrap().is_none());
    // Swapped back, the scans before and after are equal; only the read itself saw the other one.
    lead_to(".1");
    assert_eq!(Scan::of(&sources), scan);
    assert!(read(&scan).unwrap().is_some());
    std::fs::remove_file(path("p.cedar")).unwrap();
    assert!(read(&scan).is_err());
}

#[test]
fn only_what_was_written_just_now_makes_a_start_wait() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.cedar"), "").unwrap();
    let scan = Scan::of(&Sources {
        policies: folder.path().to_owned(),
        schema: None,
        entities: None,
    });
    let now = SystemTime::now();
    assert!(scan.changed_within(Duration::from_secs(10), now));
    assert!(scan.changed_within(STEADY, now - Duration::from_secs(3600)));
    assert!(!scan.changed_within(STEADY, now + Duration::from_secs(10)));
}

#[test]
fn what_came_after_the_scan_is_not_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let all = "permit(principal, action, resource);";
    std::fs::write(folder.path().join("a.cedar"), all).unwrap();
    let sources = Sources {
        policies: folder.path().to_owned(),
        schema: None,
        entities: None,
    };
    let early = Scan::of(&sources);
    std::fs::write(folder.path().join("b.cedar"), all).unwrap();
    let (scan, texts) = read_steady(&sources, early, Duration::ZERO).unwrap();
    assert_eq!(texts.policies.len(), 2);
    assert_eq!(scan, Scan::of(&sources));
}
