//! Clocks that jump: the real binary with Debian's libfaketime, whose file says how far from now it is.

use crate::harness::http1::{exchange, get};
use crate::harness::key_server::{KeyServer, said};
use crate::harness::sidecar::{Sidecar, command};
use crate::harness::table::{bearer, with_lines};
use crate::harness::tokens::{ISSUER, KEYS, now, reader, with};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use crate::harness::{PATIENCE, cases, until};
use crate::key_sets::entry;
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const TARGET: &str = "/v1/documents/report";
const HOUR: i64 = 3600;

/// A sidecar whose clocks a test sets.
struct Shifted {
    sidecar: Sidecar,
    workspace: Workspace,
}

// === impl Shifted ===

impl Shifted {
    /// Both clocks jump, or the wall clock alone.
    fn start(workspace: Workspace, monotonic_too: bool) -> Shifted {
        let config = workspace.config_path();
        let mut serve = command(&["serve", "-c", config.to_str().unwrap()]);
        workspace.write("clock", "+0");
        serve.env("LD_PRELOAD", library()).env("FAKETIME_NO_CACHE", "1").env("FAKETIME_TIMESTAMP_FILE", workspace.path("clock"));
        serve.env("FAKETIME_DONT_FAKE_MONOTONIC", if monotonic_too { "0" } else { "1" });
        let mut sidecar = Sidecar::spawn(serve);
        sidecar.await_ready();
        Shifted { sidecar, workspace }
    }

    /// How many seconds from now it shall be.
    fn set(&self, seconds: i64) {
        self.workspace.write("clock", &format!("{seconds:+}"));
    }

    /// What a reader is told whose token was issued when the clock was `at` seconds from now.
    fn told(&self, at: i64) -> (u16, String) {
        let now = now().checked_add_signed(at).unwrap();
        let token = KEYS.token(&with(&reader(), json!({"iat": now - 5, "exp": now + 300})));
        let answer = exchange(self.sidecar.proxy(), &bearer("GET", TARGET, &token)).unwrap();
        (answer.status, answer.code())
    }
}

fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let found = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    found.expect("no libfaketime: run tests/run, which installs it")
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// Case 69: what was fetched is used for a day while nothing newer can be had, and no longer.
#[test]
fn keys_serve_for_a_day() {
    let (server, upstream) = (KeyServer::start(), Upstream::start());
    server.publish("/jwks", &[&KEYS.es]);
    let workspace = Workspace::new(upstream.address()).set("/issuers", json!([entry("local", ISSUER, &server.url("/jwks"))]));
    let clocks = Shifted::start(workspace, true);
    assert_eq!(clocks.told(0).0, 200);
    server.set("/jwks", said("500 Oops", "", ""));
    clocks.set(23 * HOUR);
    let known = server.hits("/jwks");
    until("a fetch in vain", PATIENCE, || (server.hits("/jwks") > known).then_some(()));
    // The policies were looked at a day ago, too, until they are looked at again.
    until("a day that is not over", PATIENCE, || match clocks.told(23 * HOUR) {
        (200, _) => Some(()),
        other => {
            assert_eq!(other, refused(503, "authz_unavailable"));
            None
        }
    });
    let seen = upstream.bytes();
    clocks.set(24 * HOUR + 60);
    assert_eq!(clocks.told(24 * HOUR + 60), refused(503, "keys_unavailable"));
    assert_eq!(upstream.bytes(), seen);
    cases::held(69, "503 keys_unavailable");
    server.publish("/jwks", &[&KEYS.es]);
    until("keys again", 3 * PATIENCE, || (clocks.told(24 * HOUR + 60).0 == 200).then_some(()));
}

/// Case 70: a publisher may ask for a fetch every five minutes, and cannot put one off for more than ten.
#[test]
fn the_age_that_a_publisher_names_is_held_between_bounds() {
    let (server, upstream) = (KeyServer::start(), Upstream::start());
    let keys = dev_issuer::jwks(&[&KEYS.es]).to_string();
    for (path, age) in [("/short", "0"), ("/long", "315360000")] {
        server.set(path, said("200 OK", &format!("Cache-Control: max-age={age}\r\n"), &keys));
    }
    let issuers = json!([entry("short", ISSUER, &server.url("/short")), entry("long", "https://long.test", &server.url("/long"))]);
    let clocks = Shifted::start(Workspace::new(upstream.address()).set("/issuers", issuers), true);
    let hits = || ["/short", "/long"].map(|path| server.hits(path));
    assert_eq!(hits(), [1, 1]);
    // A tenth may come off, so that instances do not fetch together. The clocks are looked at every two seconds.
    let looked = || {
        let since = Instant::now();
        until("a look at the clock", PATIENCE, || (since.elapsed() > Duration::from_secs(3)).then_some(()));
    };
    clocks.set(260);
    looked();
    assert_eq!(hits(), [1, 1], "not before five minutes");
    clocks.set(310);
    until("a fetch after five minutes", PATIENCE, || (hits() == [2, 1]).then_some(()));
    clocks.set(530);
    looked();
    assert_eq!(hits()[1], 1, "not before ten minutes");
    clocks.set(610);
    until("a fetch after ten minutes", PATIENCE, || (hits()[1] == 2).then_some(()));
    cases::held(70, "fetched after 5 to 10 minutes");
}

/// Case 78: claims go by the wall clock, wherever it is set; what ages goes by the other, which nobody sets.
#[test]
fn the_wall_clock_is_set_forwards_and_back() {
    let (server, upstream) = (KeyServer::start(), Upstream::start());
    server.publish("/jwks", &[&KEYS.es]);
    let routes = json!([
        {"match": "GET /v1/documents/{id}", "action": "view", "resource": {"type": "Document", "id": "{id}"}},
        {"match": "POST /v1/auth/{*rest}", "public": true, "rate_limit": "2/h"},
    ]);
    let workspace = Workspace::new(upstream.address()).set("/issuers", json!([entry("local", ISSUER, &server.url("/jwks"))])).set("/routes", routes);
    let clocks = Shifted::start(workspace, false);
    let login = || exchange(clocks.sidecar.proxy(), &with_lines("POST", "/v1/auth/login", "Content-Length: 0\r\n")).unwrap().status;
    let token = KEYS.token(&reader());
    let told = || {
        let answer = get(clocks.sidecar.proxy(), TARGET, &format!("Authorization: Bearer {token}\r\n"));
        (answer.status, answer.code())
    };
    assert_eq!((told().0, login(), login(), login()), (200, 200, 200, 429));
    // The token was found good before, and that is remembered; its times are judged all the same.
    clocks.set(2 * HOUR);
    assert_eq!(told(), refused(401, "token_expired"));
    cases::held(78, "401 token_expired");
    assert_eq!(clocks.told(2 * HOUR).0, 200, "one of that time");
    assert_eq!(login(), 429, "two hours of the wall clock are none of the limit's");
    clocks.set(-2 * HOUR);
    assert_eq!(told(), refused(401, "invalid_token"), "issued in the future");
    cases::held(78, "401 invalid_token");
    assert_eq!(login(), 429);
    clocks.set(48 * HOUR);
    assert_eq!(clocks.told(48 * HOUR).0, 200, "keys do not age with it");
    clocks.set(0);
    assert_eq!(told().0, 200, "and back");
    assert_eq!(server.hits("/jwks"), 1);
}
