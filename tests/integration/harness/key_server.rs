//! A JWKS endpoint of our own, which misbehaves on demand and counts who asks.

use dev_issuer::{SigningKey, jwks};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A JWKS endpoint that can misbehave, differently at each path.
pub(crate) struct KeyServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    answers: HashMap<String, Answer>,
    hits: HashMap<String, usize>,
}

#[derive(Clone)]
pub(crate) enum Answer {
    /// All of it.
    Whole(String),
    /// Nothing, on a connection that stays open.
    Silence,
    /// One byte now and then, for ever.
    Drip,
}

// === impl KeyServer ===

impl KeyServer {
    pub(crate) fn start() -> KeyServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // The client hangs up as it likes.
                thread::spawn(move || drop(answer(stream, &state)));
            }
        });
        KeyServer { address, state }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn set(&self, path: &str, answer: Answer) {
        self.state.lock().unwrap().answers.insert(path.to_owned(), answer);
    }

    pub(crate) fn publish(&self, path: &str, keys: &[&SigningKey]) {
        self.set(path, ok(&jwks(keys).to_string()));
    }

    pub(crate) fn hits(&self, path: &str) -> usize {
        self.state.lock().unwrap().hits.get(path).copied().unwrap_or(0)
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let answer = {
        let mut state = state.lock().unwrap();
        *state.hits.entry(path.clone()).or_default() += 1;
        state.answers.get(&path).cloned()
    };
    match answer {
        None => Ok(()),
        Some(Answer::Whole(text)) => stream.write_all(text.as_bytes()),
        // Ends when the client hangs up.
        Some(Answer::Silence) => stream.read_exact(&mut byte),
        Some(Answer::Drip) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{")?;
            loop {
                stream.write_all(b" ")?;
                thread::park_timeout(Duration::from_millis(50));
            }
        }
    }
}

/// The whole of a good answer.
pub(crate) fn ok(body: &str) -> Answer {
    said("200 OK", "", body)
}

/// The whole of an answer with this status, these further lines, and this body.
pub(crate) fn said(status: &str, lines: &str, body: &str) -> Answer {
    let length = body.len();
    Answer::Whole(format!("HTTP/1.1 {status}\r\nConnection: close\r\n{lines}Content-Length: {length}\r\n\r\n{body}"))
}
