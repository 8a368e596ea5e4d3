use std::future::poll_fn;

use super::*;
use crate::config::{Kind, SessionSource, UserStatusSource};

/// Somebody whose token is good for so many seconds more.
fn identity(left: u64, session: SessionSource) -> Arc<Identity> {
    let now = Clock::system().unix();
    Arc::new(Identity {
        issuer: "local".into(),
        issuer_url: "https://auth.test".into(),
        kind: Kind::FirstParty,
        subject: "rita".into(),
        principal_type: "User".into(),
        principal_id: "rita".into(),
        group_type: None,
        groups: Vec::new(),
        attributes: Vec::new(),
        scopes: Vec::new(),
        username: Some("rita@depot".into()),
        client_id: None,
        is_id_token: false,
        token_id: Some("j-1".into()),
        origin_token_id: None,
        authenticated_at: None,
        issued_at: now - 60,
        expires_at: now + left,
        session: None,
        session_source: session,
        status_source: UserStatusSource::None,
        on_behalf_of: None,
    })
}

fn standing(every: Duration) -> Arc<Standing> {
    Arc::new(Standing::default().asking_every(every))
}

async fn over(vigil: &mut Vigil) -> End {
    poll_fn(|cx| vigil.poll_over(cx)).await
}

async fn eventually(is_true: impl Fn() -> bool) {
    let patient = async {
        while !is_true() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), patient)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_vigil_ends_with_its_token() {
    let standing = standing(Duration::from_millis(20));
    let mut vigil = standing.keep_vigil(&identity(2, SessionSource::None), Instant::now());
    let begun = Instant::now();
    assert_eq!(over(&mut vigil).await, End::Expired);
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(900), "{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// Within its leeway an expired token still opens something, which gets as long as what nobody has asked about yet.
#[tokio::test]
async fn what_begins_late_is_not_cut_at_once() {
    let pace = Duration::from_millis(500);
    let mut vigil = standing(pace).keep_vigil(&identity(0, SessionSource::None), Instant::now());
    let begun = Instant::now();
    assert_eq!(over(&mut vigil).await, End::Expired);
    assert!(begun.elapsed() >= pace * 3 / 4, "{:?}", begun.elapsed());
}

/// Nobody can say whether the session is open. The last good answer holds until it is too old.
#[tokio::test]
async fn what_cannot_be_found_out_ends_it_in_time() {
    let standing = standing(Duration::from_millis(20));
    let identity = identity(300, SessionSource::Redis);
    let almost = Instant::now().checked_sub(BOUND - Duration::from_secs(1));
    let mut vigil = standing.keep_vigil(&identity, almost.unwrap());
    let begun = Instant::now();
    assert!(matches!(
        over(&mut vigil).await,
        End::Lapsed(Lapse::SessionsUnavailable(_))
    ));
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(700), "{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// Whoever takes a stream slowly is looked at late, and not taken for a stranger for that.
#[tokio::test]
async fn what_is_looked_at_late_is_asked_about_first() {
    let standing = standing(Duration::from_millis(20));
    let long_ago = Instant::now().checked_sub(BOUND * 2).unwrap();
    let identity = identity(300, SessionSource::Redis);
    let mut vigil = standing.keep_vigil(&identity, long_ago);
    let begun = Instant::now();
    let end = over(&mut vigil).await;
    assert!(matches!(end, End::Lapsed(Lapse::SessionsUnavailable(_))));
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(700), "{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn one_token_is_asked_about_together_and_not_for_nobody() {
    let standing = standing(Duration::from_secs(10));
    let posts = || lock(&standing.vigils.posts).len();
    let (one, other) = (
        identity(300, SessionSource::None),
        identity(300, SessionSource::None),
    );
    let now = Instant::now();
    let first = standing.keep_vigil(&one, now);
    let second = standing.keep_vigil(&one, now);
    let third = standing.keep_vigil(&other, now);
    assert!(Arc::ptr_eq(&first.post, &second.post));
    assert_eq!(posts(), 2);
    drop((first, third));
    eventually(|| posts() == 1).await;
    drop(second);
    eventually(|| posts() == 0).await;
    // And from the start.
    let again = standing.keep_vigil(&one, now);
    assert_eq!(posts(), 1);
    drop(again);
    eventually(|| posts() == 0).await;
}

#[test]
fn an_announcement_concerns_its_user() {
    let mut identity = Arc::unwrap_or_clone(identity(300, SessionSource::None));
    assert!(concerns(&identity, "rita") && concerns(&identity, "rita@depot"));
    assert!(!concerns(&identity, "rit") && !concerns(&identity, "spn:bff"));
    identity.on_behalf_of = Some(Box::new(crate::ActingFor {
        subject: "olga".into(),
        principal_type: "User".into(),
        principal_id: "olga".into(),
        group_type: None,
        groups: Vec::new(),
        attributes: Vec::new(),
        scopes: Vec::new(),
        username: None,
        session: None,
    }));
    assert!(concerns(&identity, "olga"));
}
