use http::StatusCode;
use identity::SessionRef;
use identity::config::{SessionSource, UserStatusSource};

use super::*;
use crate::fixture::identity;

#[tokio::test]
async fn what_cannot_be_asked_about_is_not_active() {
    let standing = Standing::default();
    let plain = identity();
    let user = activate(&standing, Arc::new(plain.clone())).await.unwrap();
    assert_eq!(user.identity(), &plain);

    let mut kept = identity();
    kept.session_source = SessionSource::Redis;
    let mut in_session = kept.clone();
    in_session.session = Some(SessionRef {
        id: "s".into(),
        version: 1,
    });
    let mut listed = identity();
    listed.status_source = UserStatusSource::Redis;
    let mut pooled = identity();
    pooled.status_source = UserStatusSource::Cognito;
    for (identity, reason) in [
        (kept, Reason::SessionStoreUnavailable),
        (in_session, Reason::SessionStoreUnavailable),
        (listed, Reason::UserStatusUnavailable),
        (pooled, Reason::UserStatusUnavailable),
    ] {
        let rejection = activate(&standing, Arc::new(identity)).await.unwrap_err();
        assert_eq!(rejection.reason(), &reason);
        assert_eq!(rejection.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
