//! One instance's levels on a clock that is set by hand, in front of a pool that answers as a test says.

use std::sync::atomic::AtomicUsize;

use aws_sdk_cognitoidentityprovider::config::Credentials;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::*;

/// A user pool over HTTP/1.1, and the users who ask it.
struct World {
    clock: Clock,
    users: Arc<Users>,
    pool: Arc<Pool>,
}

/// What the pool says, and how often it was asked.
struct Pool {
    answer: Mutex<(u16, String)>,
    asked: AtomicUsize,
    /// While it is held, answers wait.
    held: Mutex<bool>,
    released: Notify,
}

const ALICE: &str = r#"{"Username":"alice","Enabled":true,"UserStatus":"CONFIRMED","UserAttributes":[{"Name":"sub","Value":"s-1"},{"Name":"email","Value":"a@b"}]}"#;
const DISABLED: &str = r#"{"Username":"alice","Enabled":false,"UserStatus":"CONFIRMED","UserAttributes":[{"Name":"sub","Value":"s-1"}]}"#;

impl Users {
    async fn find(self: &Arc<Self>, username: &str) -> Result<Option<Arc<UserRecord>>, NoAnswer> {
        let found = self.find_within(username, STALENESS).await;
        found.map(|(record, _)| record)
    }
}

impl World {
    async fn new(config: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pool = Arc::new(Pool {
            answer: Mutex::new((200, ALICE.to_owned())),
            asked: AtomicUsize::new(0),
            held: Mutex::new(false),
            released: Notify::new(),
        });
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, Arc::clone(&pool)));
        let text = format!(
            r#"{{"user_pool_id": "us-east-1_x", "region": "us-east-1", "endpoint": "http://{address}", "timeout": "5s" {config}}}"#
        );
        let config: CognitoConfig = serde_json::from_str(&text).unwrap();
        let clock = Clock::manual(1_800_000_000);
        let users = Users::new(&config, None, clock.clone(), &Registry::new()).unwrap();
        users.directory.connect_with(Credentials::for_tests());
        Self { clock, users, pool }
    }

    async fn find(&self) -> Result<Option<Arc<UserRecord>>, NoAnswer> {
        self.users.find("alice").await
    }

    async fn is_enabled(&self) -> bool {
        self.find().await.unwrap().unwrap().enabled
    }

    fn answer(&self, status: u16, body: &str) {
        *lock(&self.pool.answer) = (status, body.to_owned());
    }

    fn asked(&self) -> usize {
        self.pool.asked.load(Ordering::SeqCst)
    }

    fn hold(&self) {
        *lock(&self.pool.held) = true;
    }

    fn release(&self) {
        *lock(&self.pool.held) = false;
        self.pool.released.notify_waiters();
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Waits until the pool has been asked so often.
    async fn until_asked(&self, times: usize) {
        while self.asked() < times {
            tokio::task::yield_now().await;
        }
    }

    async fn until_landed(&self) {
        while !lock(&self.users.flights).is_empty() {
            tokio::task::yield_now().await;
        }
    }
}

async fn serve(listener: TcpListener, pool: Arc<Pool>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let pool = Arc::clone(&pool);
        tokio::spawn(async move {
            let mut bytes = Vec::new();
            while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
                if stream.read_buf(&mut bytes).await.unwrap() == 0 {
                    return;
                }
            }
            let (status, body) = lock(&pool.answer).clone();
            pool.asked.fetch_add(1, Ordering::SeqCst);
            loop {
                let released = pool.released.notified();
                if !*lock(&pool.held) {
                    break;
                }
                released.await;
            }
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
    }
}

#[tokio::test]
async fn a_fact_holds_for_thirty_seconds_and_is_refreshed_before() {
    let world = World::new("").await;
    assert!(world.is_enabled().await);
    world.answer(200, DISABLED);
    world.advance(17);
    assert!(world.is_enabled().await);
    assert_eq!(world.asked(), 1, "known, and not yet to be refreshed");
    // Now it is asked for anew, and nobody waits for that.
    world.advance(8);
    assert!(world.is_enabled().await, "the old fact still holds");
    world.until_landed().await;
    assert_eq!(world.asked(), 2);
    assert!(!world.is_enabled().await);
    world.answer(200, ALICE);
    world.advance(30);
    assert!(world.is_enabled().await, "too old to be told to anyone");
    assert_eq!(world.asked(), 3);
}

#[tokio::test]
async fn one_question_for_a_thousand_who_ask() {
    let world = World::new("").await;
    world.hold();
    let asking: Vec<_> = (0..1000)
        .map(|_| {
            let users = Arc::clone(&world.users);
            tokio::spawn(async move { users.find("alice").await })
        })
        .collect();
    world.until_asked(1).await;
    world.release();
    for one in asking {
        assert!(one.await.unwrap().unwrap().unwrap().enabled);
    }
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn whoever_asked_first_may_go_away() {
    let world = World::new("").await;
    world.hold();
    let users = Arc::clone(&world.users);
    let first = tokio::spawn(async move { users.find("alice").await });
    world.until_asked(1).await;
    first.abort();
    let users = Arc::clone(&world.users);
    let second = tokio::spawn(async move { users.find("alice").await });
    world.release();
    assert!(second.await.unwrap().unwrap().is_some());
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn what_is_invalidated_does_not_come_back() {
    let world = World::new("").await;
    world.hold();
    let users = Arc::clone(&world.users);
    let early = tokio::spawn(async move { users.find("alice").await });
    world.until_asked(1).await;
    // Disabled while the answer is on its way: the answer is from before.
    world.users.invalidate("alice").await.unwrap();
    world.answer(200, DISABLED);
    let users = Arc::clone(&world.users);
    let late = tokio::spawn(async move { users.find("alice").await });
    world.until_asked(2).await;
    world.release();
    assert!(
        early.await.unwrap().unwrap().unwrap().enabled,
        "asked before"
    );
    assert!(!late.await.unwrap().unwrap().unwrap().enabled);
    world.until_landed().await;
    assert!(!world.is_enabled().await, "the early answer was not kept");
    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn failures_are_not_kept_and_facts_outlive_them() {
    let world = World::new(r#", "requests_per_second_alone": 100"#).await;
    for (status, body, cause) in [
        (
            400,
            r#"{"__type":"InternalErrorException"}"#,
            "the user pool failed",
        ),
        (500, "", "the user pool"),
        (
            400,
            r#"{"__type":"AccessDeniedException"}"#,
            "may not be asked",
        ),
        (
            400,
            r#"{"__type":"ResourceNotFoundException"}"#,
            "may not be asked",
        ),
        (200, "garbage", "makes no sense"),
        (200, "{}", "makes no sense"),
        (
            200,
            &ALICE.replace(r#""Enabled":true,"#, ""),
            "makes no sense",
        ),
        (
            200,
            &ALICE.replace(r#""UserStatus":"CONFIRMED","#, ""),
            "makes no sense",
        ),
        (200, &ALICE.replace(r#""sub""#, r#""bus""#), "no subject"),
        (200, &ALICE.replace(r#""email""#, r#""sub""#), "no subject"),
    ] {
        world.answer(status, body);
        let NoAnswer(found) = world.find().await.unwrap_err();
        assert!(found.contains(cause), "{status} {body}: {found}");
    }
    assert!(!world.users.health().ready);
    world.answer(200, ALICE);
    assert!(world.is_enabled().await);
    assert!(world.users.health().ready);
    world.answer(400, r#"{"__type":"TooManyRequestsException"}"#);
    world.advance(25);
    assert!(world.is_enabled().await, "what is known still holds");
    world.until_landed().await;
    let asked = world.asked();
    world.advance(1);
    assert!(world.is_enabled().await);
    world.until_landed().await;
    assert_eq!(
        world.asked(),
        asked,
        "a refresh that failed is not tried again at once"
    );
    world.advance(1);
    assert!(world.is_enabled().await);
    world.until_landed().await;
    assert_eq!(world.asked(), asked + 1);
    world.advance(3);
    let asked = world.asked();
    assert!(world.find().await.is_err());
    assert_eq!(world.asked(), asked + 1);
    world.answer(200, ALICE);
    assert_eq!(
        world.find().await.unwrap_err(),
        NoAnswer("the user pool had enough a moment ago")
    );
    assert_eq!(
        world.asked(),
        asked + 1,
        "a pool that has had enough is left alone"
    );
    world.advance(1);
    assert!(world.is_enabled().await);
}

#[tokio::test]
async fn states_of_users() {
    let world = World::new(r#", "requests_per_second_alone": 100"#).await;
    for (status, expected) in [
        ("CONFIRMED", "active"),
        ("EXTERNAL_PROVIDER", "active"),
        ("UNCONFIRMED", "user_not_active"),
        ("RESET_REQUIRED", "user_not_active"),
        ("FORCE_CHANGE_PASSWORD", "user_not_active"),
        ("ARCHIVED", "user_not_active"),
        ("NEW_IN_2030", "user_not_active"),
    ] {
        world.answer(200, &ALICE.replace("CONFIRMED", status));
        world.users.invalidate("alice").await.unwrap();
        let record = world.find().await.unwrap().unwrap();
        let outcome = record
            .judge("s-1")
            .map_or_else(|lapse| lapse.name(), |()| "active");
        assert_eq!(outcome, expected, "{status}");
        assert_eq!(record.judge("s-2").unwrap_err().name(), "user_unknown");
        assert_eq!(record.attribute("email"), Some("a@b"));
    }
    world.answer(400, r#"{"__type":"UserNotFoundException"}"#);
    world.users.invalidate("alice").await.unwrap();
    assert_eq!(world.find().await.unwrap(), None);
    let asked = world.asked();
    assert_eq!(world.find().await.unwrap(), None);
    assert_eq!(world.asked(), asked, "that is a fact as well");
    assert_eq!(world.users.find(&"x".repeat(513)).await.unwrap(), None);
    assert_eq!(world.users.find("").await.unwrap(), None);
    assert_eq!(world.asked(), asked, "no such name is asked about");
}

#[tokio::test]
async fn an_instance_alone_keeps_to_its_share() {
    let world = World::new(r#", "max_requests_per_second": 30"#).await;
    let mut refused = 0;
    for user in 0..10 {
        match world.users.find(&format!("user-{user}")).await {
            Ok(_) => {}
            Err(NoAnswer(cause)) => {
                assert!(cause.contains("used up"), "{cause}");
                refused += 1;
            }
        }
    }
    assert_eq!((world.asked(), refused), (3, 7));
    world.advance(1);
    assert!(world.users.find("user-9").await.is_ok());
}

#[test]
fn mistakes_have_their_keys() {
    let problems = |members: &str| -> Vec<String> {
        let text = format!(r#"{{"user_pool_id": "us-east-1_x", "region": "us-east-1"{members}}}"#);
        let config: CognitoConfig = serde_json::from_str(&text).unwrap();
        let made = Users::new(&config, None, Clock::system(), &Registry::new());
        made.err()
            .unwrap_or_default()
            .into_iter()
            .map(|(key, _)| key)
            .collect()
    };
    assert_eq!(problems(""), [""; 0]);
    assert_eq!(
        problems(r#", "endpoint": "http://127.0.0.1:5000""#),
        [""; 0]
    );
    assert_eq!(
        problems(r#", "endpoint": "http://pool.example""#),
        ["endpoint"]
    );
    assert_eq!(
        problems(r#", "max_requests_per_second": 0"#),
        ["max_requests_per_second"]
    );
    assert_eq!(problems(r#", "timeout": "0s""#), ["timeout"]);
    let config = r#"{"user_pool_id": "a:b", "region": ""}"#;
    let config: CognitoConfig = serde_json::from_str(config).unwrap();
    let made = Users::new(&config, None, Clock::system(), &Registry::new()).unwrap_err();
    assert_eq!(made.len(), 2, "{made:?}");
}
