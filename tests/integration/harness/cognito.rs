//! A user pool of our own for what moto cannot do: it counts, throttles, stalls, and talks nonsense on demand.

use super::upstream::{Exchange, Upstream};
use super::{PATIENCE, until};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// The pool. It knows every user by any name, and the name is the `sub`.
pub(crate) struct Cognito {
    server: Upstream,
    state: Arc<Mutex<State>>,
}

/// How the pool takes what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Good,
    /// Nothing is answered while it lasts, and what was asked is answered after.
    Stalled,
    Throttled,
    Denied,
    Broken,
    Garbage,
    /// Answers that leave out whether the user is enabled.
    Incomplete,
    /// The connection ends in place of an answer.
    Cut,
}

struct State {
    mood: Mood,
    disabled: HashSet<String>,
    asked: Vec<String>,
}

// === impl Cognito ===

impl Cognito {
    pub(crate) fn start() -> Cognito {
        let state = Arc::new(Mutex::new(State { mood: Mood::Good, disabled: HashSet::new(), asked: Vec::new() }));
        let shared = state.clone();
        Cognito { server: Upstream::with(move |exchange| answer(exchange, &shared)), state }
    }

    /// The section `cognito` for this pool.
    pub(crate) fn config(&self) -> Value {
        json!({"user_pool_id": "us-east-1_depot", "region": "us-east-1", "endpoint": format!("http://{}", self.server.address()), "timeout": "5s"})
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    pub(crate) fn disable(&self, user: &str) {
        self.state.lock().unwrap().disabled.insert(user.to_owned());
    }

    /// How often it was asked, however it answered.
    pub(crate) fn asked(&self) -> usize {
        self.state.lock().unwrap().asked.len()
    }
}

fn answer(exchange: &mut Exchange, state: &Mutex<State>) {
    let Some(request) = exchange.read_request() else { return };
    let body: Value = serde_json::from_slice(&request.body.bytes).unwrap();
    let user = body["Username"].as_str().unwrap().to_owned();
    state.lock().unwrap().asked.push(user.clone());
    if state.lock().unwrap().mood == Mood::Stalled {
        // A test that ends before releasing it leaves this thread to its patience.
        until("the pool to answer again", 4 * PATIENCE, || (state.lock().unwrap().mood != Mood::Stalled).then_some(()));
    }
    let (mood, enabled) = {
        let state = state.lock().unwrap();
        (state.mood, !state.disabled.contains(&user))
    };
    let refusal = |code: &str| json!({"__type": code, "message": "no"}).to_string();
    let record = json!({"Username": user, "Enabled": enabled, "UserStatus": "CONFIRMED", "UserAttributes": [{"Name": "sub", "Value": user}]});
    let (status, body) = match mood {
        Mood::Good | Mood::Stalled => (200, record.to_string()),
        Mood::Throttled => (400, refusal("TooManyRequestsException")),
        Mood::Denied => (400, refusal("AccessDeniedException")),
        Mood::Broken => (500, refusal("InternalErrorException")),
        Mood::Garbage => (200, "\u{1}nonsense".to_owned()),
        Mood::Incomplete => (200, json!({"Username": user, "UserStatus": "CONFIRMED", "UserAttributes": record["UserAttributes"]}).to_string()),
        Mood::Cut => {
            exchange.close();
            return;
        }
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {length}\r\n\r\n");
    exchange.write(format!("{head}{body}").as_bytes());
}
