//! Tables of cases, run against one sidecar; all rows that fail are reported together.

use super::http1::{Answer, Client};
use super::sidecar::Sidecar;
use super::upstream::{Request, Upstream};
use super::{PATIENCE, cases, until};
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What is asked, the upstream behind it, and what went wrong so far.
pub(crate) struct Table<'a> {
    /// Where the rows are sent.
    front: SocketAddr,
    upstream: &'a Upstream,
    rows: usize,
    failures: Vec<String>,
}

/// What must come of a row.
#[derive(Clone, Copy)]
pub(crate) enum Expect {
    /// Reached the upstream, which answered 200.
    Forwarded,
    /// `401` and a challenge without `error`: nothing was presented.
    NoCredentials,
    /// `401` with this code and `error="invalid_token"`.
    BadToken(&'static str),
    /// This status and code, the connection left as it may be.
    Refused(u16, &'static str),
    /// This status and code, and the connection closed: what follows on it cannot be trusted.
    Closed(u16, &'static str),
    /// Any of these statuses, closed.
    ClosedWith(&'static [u16]),
    /// Refused by whoever saw it first, in whatever words, or the connection closed without an answer.
    Denied,
    /// A body gone wrong on its way: closed, answered or not, with no 2xx, and the upstream had no whole request.
    Aborted,
}

const CLOSES_WITHIN: Duration = Duration::from_secs(5);

// === impl Table ===

impl<'a> Table<'a> {
    pub(crate) fn new(sidecar: &Sidecar, upstream: &'a Upstream) -> Table<'a> {
        Self::at(sidecar.proxy(), upstream)
    }

    /// A table whose rows are sent to `front`, behind which `upstream` stands.
    pub(crate) fn at(front: SocketAddr, upstream: &'a Upstream) -> Table<'a> {
        Table { front, upstream, rows: 0, failures: Vec::new() }
    }

    /// Sends `input` on a connection of its own. Returns what the upstream saw of a forwarded row.
    pub(crate) fn row(&mut self, case: u16, what: &str, input: &[u8], expect: Expect) -> Option<Request> {
        self.rows += 1;
        let bytes = self.upstream.bytes();
        let requests = self.upstream.requests().len();
        let mut client = Client::connect(self.front);
        client.send(input);
        let answer = client.answer_to(method(input)).map_err(|error| error.to_string());
        let mut faults = expect.faults(answer.as_ref());
        if expect.must_close() && !client.is_closed(CLOSES_WITHIN) {
            faults.push("the connection stayed open".to_owned());
        }
        let mut seen = None;
        match expect {
            Expect::Forwarded => {
                let requests = self.upstream.requests().split_off(requests);
                match <[Request; 1]>::try_from(requests) {
                    Ok([request]) => seen = Some(request),
                    Err(requests) => faults.push(format!("the upstream saw {} requests", requests.len())),
                }
            }
            // What had been passed on before the fault may still arrive; the next row must not be blamed for it.
            Expect::Aborted if self.settled().requests().len() != requests => {
                faults.push("the upstream saw a whole request".to_owned());
            }
            Expect::Aborted => {}
            _ if self.upstream.bytes() != bytes => {
                faults.push(format!("the upstream was sent {:?}", self.upstream.heads().last()));
            }
            _ => {}
        }
        if faults.is_empty()
            && let Err(error) = cases::record(case, &expect.answer(answer.as_ref().ok()))
        {
            faults.push(error);
        }
        self.note(case, what, input, answer.as_ref(), &faults);
        seen
    }

    /// `GET /v1/documents/report` with `token` as its bearer token.
    pub(crate) fn token(&mut self, case: u16, what: &str, token: &str, expect: Expect) {
        self.row(case, what, &bearer("GET", "/v1/documents/report", token), expect);
    }

    /// The upstream once it has received nothing for a moment.
    fn settled(&self) -> &'a Upstream {
        let mut last = (self.upstream.bytes(), Instant::now());
        until("the upstream to be left alone", PATIENCE, || {
            let bytes = self.upstream.bytes();
            if bytes != last.0 {
                last = (bytes, Instant::now());
            }
            (last.1.elapsed() > Duration::from_millis(50)).then_some(self.upstream)
        })
    }

    /// Notes what a test found wrong with a row by itself.
    pub(crate) fn fault(&mut self, case: u16, what: &str, fault: &str) {
        self.failures.push(format!("{case} {what}: {fault}"));
    }

    /// Reports all failures. A last honest request proves that nothing arrived late behind the refusals.
    pub(crate) fn finish(mut self) {
        let before = self.upstream.heads().len();
        self.row(0, "an honest request, last", b"GET /public/last HTTP/1.1\r\nHost: service\r\n\r\n", Expect::Forwarded);
        let late = self.upstream.heads().split_off(before);
        if late.len() != 1 {
            self.failures.push(format!("late arrivals at the upstream: {late:#?}"));
        }
        let (failed, rows) = (self.failures.len(), self.rows);
        assert!(self.failures.is_empty(), "{failed} of {rows} rows failed:\n{}", self.failures.join("\n"));
    }

    fn note(&mut self, case: u16, what: &str, input: &[u8], answer: Result<&Answer, &String>, faults: &[String]) {
        if faults.is_empty() {
            return;
        }
        let mut report = format!("{case} {what}: {}\n    input: {}", faults.join("; "), excerpt(input));
        match answer {
            Ok(answer) => {
                let challenge = answer.head.get("www-authenticate").unwrap_or("-");
                let _ = write!(report, "\n    got: {} {} (challenge {challenge})", answer.head.line, excerpt(&answer.body.bytes));
            }
            Err(error) => {
                let _ = write!(report, "\n    got: {error}");
            }
        }
        self.failures.push(report);
    }
}

// === impl Expect ===

impl Expect {
    /// What the catalogue calls it.
    fn answer(self, answer: Option<&Answer>) -> String {
        match self {
            Expect::Forwarded => cases::FORWARDED.to_owned(),
            Expect::NoCredentials => "401 missing_token".to_owned(),
            Expect::BadToken(code) => format!("401 {code}"),
            Expect::Refused(status, code) | Expect::Closed(status, code) => format!("{status} {code}"),
            Expect::ClosedWith(_) => answer.map_or_else(String::new, |answer| format!("{} {}", answer.status, answer.code())),
            Expect::Denied => "denied".to_owned(),
            Expect::Aborted => "aborted".to_owned(),
        }
    }

    fn must_close(self) -> bool {
        matches!(self, Expect::Closed(..) | Expect::ClosedWith(_) | Expect::Aborted)
    }

    fn faults(self, answer: Result<&Answer, &String>) -> Vec<String> {
        let answer = match (self, answer) {
            (_, Ok(answer)) => answer,
            (Expect::Aborted | Expect::Denied, Err(_)) => return Vec::new(),
            (_, Err(_)) => return vec!["no answer".to_owned()],
        };
        let mut faults = Vec::new();
        match self {
            Expect::Forwarded => expect(&mut faults, answer, 200, ""),
            Expect::NoCredentials => {
                expect(&mut faults, answer, 401, "missing_token");
                expect_challenge(&mut faults, answer, false);
            }
            Expect::BadToken(code) => {
                expect(&mut faults, answer, 401, code);
                expect_challenge(&mut faults, answer, true);
            }
            Expect::Refused(status, code) | Expect::Closed(status, code) => expect(&mut faults, answer, status, code),
            Expect::ClosedWith(statuses) if !statuses.contains(&answer.status) => {
                faults.push(format!("expected one of {statuses:?}"));
            }
            Expect::Aborted if (200..300).contains(&answer.status) => faults.push("answered 2xx".to_owned()),
            Expect::Denied if answer.status < 400 => faults.push("passed".to_owned()),
            Expect::ClosedWith(_) | Expect::Aborted | Expect::Denied => {}
        }
        if answer.status >= 400 && !matches!(self, Expect::Denied) {
            expect_envelope(&mut faults, answer);
        }
        faults
    }
}

fn expect(faults: &mut Vec<String>, answer: &Answer, status: u16, code: &str) {
    if answer.status != status || answer.code() != code {
        faults.push(format!("expected {status} {code}"));
    }
}

/// RFC 6750 §3: a request without credentials is told the scheme and nothing more.
fn expect_challenge(faults: &mut Vec<String>, answer: &Answer, error: bool) {
    let [challenge] = answer.head.all("www-authenticate")[..] else {
        faults.push("expected one challenge".to_owned());
        return;
    };
    let states_error = challenge.contains(r#"error="invalid_token""#);
    if !challenge.starts_with("Bearer realm=\"") || states_error != error || (!error && challenge.contains("error")) {
        faults.push(format!("wrong challenge `{challenge}`"));
    }
}

/// Every refusal has the one envelope, an id to find its cause by, and no word that the caller sent.
fn expect_envelope(faults: &mut Vec<String>, answer: &Answer) {
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(&answer.body.bytes) else {
        // An answer to HEAD has none.
        if !answer.body.bytes.is_empty() || answer.head.get("content-length").is_none_or(|length| length == "0") {
            faults.push("the refusal is not JSON".to_owned());
        }
        return;
    };
    let has = |pointer: &str, is: fn(&serde_json::Value) -> bool| body.pointer(pointer).is_some_and(is);
    if !(has("/error/message", serde_json::Value::is_string)
        && has("/retry/retryable", serde_json::Value::is_boolean)
        && has("/request_id", serde_json::Value::is_string))
    {
        faults.push("the envelope lacks a member".to_owned());
    }
    if answer.text().contains("eyJ") {
        faults.push("the refusal repeats the token".to_owned());
    }
}

// === inputs ===

/// A request with `token` as its bearer token.
pub(crate) fn bearer(method: &str, target: &str, token: &str) -> Vec<u8> {
    with_lines(method, target, &format!("Authorization: Bearer {token}\r\n"))
}

/// A request with more header lines, each ended by CRLF.
pub(crate) fn with_lines(method: &str, target: &str, lines: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nHost: service\r\n{lines}\r\n").into_bytes()
}

fn method(input: &[u8]) -> &str {
    std::str::from_utf8(input.split(|byte| *byte == b' ').next().unwrap_or_default()).unwrap_or("GET")
}

fn excerpt(bytes: &[u8]) -> String {
    let shown = bytes.escape_ascii().to_string();
    match shown.char_indices().nth(600) {
        Some((end, _)) => format!("{}… ({} bytes)", shown.get(..end).unwrap_or_default(), bytes.len()),
        None => shown,
    }
}
