//! The event of each request

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

use super::stage::{Stage, Upstream, eventually};

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

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn events(&self) -> Vec<Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|event| event["target"] == "portcullis::decision")
            .map(|event| event["fields"].clone())
            .collect()
    }
}

#[tokio::test]
async fn each_request_has_one_event_without_secrets() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(lines.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let upstream = Upstream::answering("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok").await;
    let stage = Stage::new(upstream.address).await;
    let bearer = format!("Authorization: Bearer {}\r\n", stage.token);
    stage.get("/users/alice?access_token=sesame", &bearer).await;
    stage.get("/users/bob?access_token=sesame", &bearer).await;
    stage.get("/open/x", "X-User-Id: sesame\r\n").await;
    stage.get("/nowhere", "").await;
    stage.get(&format!("/open/{}", "y".repeat(1000)), "").await;
    eventually("all events", || lines.events().len() == 5).await;

    let events = lines.events();
    let expected = [
        ("/users/alice", "ALLOW", 201, "ok", Some("Fortress::User::\"alice\"")),
        ("/users/bob", "DENY", 403, "forbidden", Some("Fortress::User::\"alice\"")),
        ("/open/x", "PUBLIC", 201, "ok", None),
        ("/nowhere", "REFUSED", 403, "route_not_mapped", None),
    ];
    for (event, (path, decision, status, code, principal)) in events.iter().zip(expected) {
        assert_eq!(event["path"], path, "{event}");
        assert_eq!(event["decision"], decision, "{event}");
        assert_eq!(event["status"], status, "{event}");
        assert_eq!(event["code"], code, "{event}");
        assert_eq!(event.get("principal").and_then(Value::as_str), principal, "{event}");
        assert_eq!(event["surface"], "proxy");
        assert_eq!(event["client"], "127.0.0.1");
        assert_eq!(event["method"], "GET");
        assert_eq!(event["request_id"].as_str().unwrap().len(), 32);
        assert!(event["total_us"].as_u64() >= event["latency_us"].as_u64(), "{event}");
    }
    assert_eq!(events[0]["policies"], "own");
    assert_eq!(events[0]["action"], "Fortress::Action::\"view\"");
    assert_eq!(events[0]["source"], "engine");
    assert!(events[0]["revision"].is_string() && events[0]["route"].is_string());
    assert_eq!(events[4]["path"].as_str().unwrap().len(), 256);

    let all = lines.text();
    let ours: String = all.lines().filter(|line| line.contains("portcullis::decision")).collect();
    assert!(!ours.contains("sesame") && !ours.contains(stage.token.as_str()));
}
