//! The event of each request

use std::io;
use std::sync::{Arc, LazyLock, Mutex};

use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

use super::stage::{Stage, Upstream, eventually, header};
use crate::request_log::TARGET;

/// Lines that were logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Lines;

    fn make_writer(&'a self) -> Lines {
        self.clone()
    }
}

/// Everything that the tests of this crate log. One subscriber for all of them: one per test would race with the others
/// for which events are enabled.
static LOGGED: LazyLock<Lines> = LazyLock::new(|| {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::INFO)
        .with_writer(lines.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    lines
});

impl Lines {
    /// The event of the request with this response, once it is there.
    async fn event(&self, response: &str) -> (String, Value) {
        let id = header(response, "x-portcullis-request-id")[0];
        let find = || {
            let text = String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned();
            let mut lines = text
                .lines()
                .filter(|line| line.contains(id) && line.contains(TARGET));
            let line = lines.next().map(str::to_owned);
            assert!(lines.next().is_none(), "more than one event");
            line
        };
        eventually("the event", || find().is_some()).await;
        let line = find().unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["target"], TARGET);
        (line, event["fields"].clone())
    }
}

#[tokio::test]
async fn each_request_has_one_event_without_secrets() {
    let upstream = Upstream::answering("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok").await;
    let stage = Stage::new(upstream.address).await;
    let bearer = format!("Authorization: Bearer {}\r\n", stage.token);
    let lines = &*LOGGED;
    let responses = [
        stage.get("/users/alice?access_token=sesame", &bearer).await,
        stage.get("/users/bob?access_token=sesame", &bearer).await,
        stage.get("/open/x", "X-User-Id: sesame\r\n").await,
        stage.get("/nowhere", "").await,
        stage.get(&format!("/open/{}", "y".repeat(1000)), "").await,
    ];
    let mut events = Vec::new();
    for response in &responses {
        let (line, event) = lines.event(response).await;
        assert!(
            !line.contains("sesame") && !line.contains(stage.token.as_str()),
            "{line}"
        );
        events.push(event);
    }

    let expected = [
        (
            "/users/alice",
            "ALLOW",
            201,
            "ok",
            Some("Fortress::User::\"alice\""),
        ),
        (
            "/users/bob",
            "DENY",
            403,
            "forbidden",
            Some("Fortress::User::\"alice\""),
        ),
        ("/open/x", "PUBLIC", 201, "ok", None),
        ("/nowhere", "REFUSED", 403, "route_not_mapped", None),
    ];
    for (event, (path, decision, status, code, principal)) in events.iter().zip(expected) {
        assert_eq!(event["path"], path, "{event}");
        assert_eq!(event["decision"], decision, "{event}");
        assert_eq!(event["status"], status, "{event}");
        assert_eq!(event["code"], code, "{event}");
        assert_eq!(
            event.get("principal").and_then(Value::as_str),
            principal,
            "{event}"
        );
        assert_eq!(event["surface"], "proxy");
        assert_eq!(event["client"], "127.0.0.1");
        assert_eq!(event["method"], "GET");
        assert_eq!(event["request_id"].as_str().unwrap().len(), 32);
        assert!(
            event["total_us"].as_u64() >= event["latency_us"].as_u64(),
            "{event}"
        );
    }
    assert_eq!(events[0]["policies"], "own");
    assert_eq!(events[0]["action"], "Fortress::Action::\"view\"");
    assert_eq!(events[0]["source"], "engine");
    assert!(events[0]["revision"].is_string() && events[0]["route"].is_string());
    assert_eq!(events[4]["path"].as_str().unwrap().len(), 256);
}

#[tokio::test]
async fn what_the_listener_refuses_has_an_event_too() {
    let lines = &*LOGGED;
    let stage = Stage::new("127.0.0.1:1".parse().unwrap()).await;
    let response = stage
        .ask("POST /open/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let (_, event) = lines.event(&response).await;
    assert_eq!(
        (&event["decision"], &event["code"]),
        (&"REFUSED".into(), &"invalid_request".into())
    );
    assert_eq!(event["status"], 400);
}
