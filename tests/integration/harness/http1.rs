//! HTTP/1 by hand: bytes out, bytes in, so that a table can say exactly what is on the wire.

use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A client connection. A server that closes while we still send is no error: its answer is read all the same.
pub(crate) struct Client {
    stream: TcpStream,
}

/// The start line and the fields of a message, as received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) line: String,
    pub(crate) fields: Vec<(String, String)>,
}

/// A body without its framing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

/// A response read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Body,
    /// Statuses of the interim responses before it.
    pub(crate) interim: Vec<u16>,
}

const READ_LIMIT: Duration = Duration::from_secs(20);

// === impl Client ===

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// A client on a connection that is there.
    pub(crate) fn over(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(READ_LIMIT)).unwrap();
        stream.set_write_timeout(Some(READ_LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> &mut Client {
        // A peer that refused early may have closed already; what it said is what the test reads next.
        let _ = self.stream.write_all(bytes);
        self
    }

    /// Like `send`, for tests that want to see the failure.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next final response.
    pub(crate) fn answer(&mut self) -> io::Result<Answer> {
        self.answer_to("GET")
    }

    /// The next final response to a request with `method`, which decides whether a body follows.
    pub(crate) fn answer_to(&mut self, method: &str) -> io::Result<Answer> {
        let mut interim = Vec::new();
        loop {
            let head = self.head()?;
            let status = head.status();
            if (100..200).contains(&status) && status != 101 {
                interim.push(status);
                continue;
            }
            let bodiless = method == "HEAD" || matches!(status, 101 | 204 | 304);
            let body = if bodiless { Body::default() } else { read_response_body(&mut self.stream, &head)? };
            return Ok(Answer { status, head, body, interim });
        }
    }

    /// The next head, whatever its status.
    pub(crate) fn head(&mut self) -> io::Result<Head> {
        read_head(&mut self.stream)?.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer"))
    }

    /// Some bytes of a body under way.
    pub(crate) fn some_bytes(&mut self) -> io::Result<Vec<u8>> {
        let mut chunk = vec![0; 4096];
        let read = self.stream.read(&mut chunk)?;
        chunk.truncate(read);
        Ok(chunk)
    }

    /// All bytes until the server closes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        // A reset ends the conversation as an end of file does.
        let _ = self.stream.read_to_end(&mut all);
        all
    }

    /// Whether the server has closed, waiting for it at most `limit`. Anything it still sends counts as open.
    pub(crate) fn is_closed(&mut self, limit: Duration) -> bool {
        self.stream.set_read_timeout(Some(limit)).unwrap();
        let closed = match self.stream.read(&mut [0; 1]) {
            Ok(read) => read == 0,
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        };
        self.stream.set_read_timeout(Some(READ_LIMIT)).unwrap();
        closed
    }

    /// How long a read waits from now on.
    pub(crate) fn set_patience(&self, limit: Duration) {
        self.stream.set_read_timeout(Some(limit)).unwrap();
    }
}

/// Sends one request on a connection of its own and reads the answer.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> io::Result<Answer> {
    let method = request.split(|byte| *byte == b' ').next().unwrap_or_default();
    let method = String::from_utf8_lossy(method).into_owned();
    Client::connect(address).send(request).answer_to(&method)
}

/// `GET path` with more header lines, each ended by CRLF.
pub(crate) fn get(address: SocketAddr, path: &str, lines: &str) -> Answer {
    exchange(address, format!("GET {path} HTTP/1.1\r\nHost: service\r\n{lines}\r\n").as_bytes()).unwrap()
}

/// `POST path` with a JSON body.
pub(crate) fn post(address: SocketAddr, path: &str, lines: &str, body: &str) -> Answer {
    let length = body.len();
    let request = format!("POST {path} HTTP/1.1\r\nHost: service\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{lines}\r\n{body}");
    exchange(address, request.as_bytes()).unwrap()
}

// === impl Head ===

impl Head {
    /// Values of every field of this name, in order; the name's case does not matter.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let same = self.fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        same.map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    pub(crate) fn method(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    /// The request target.
    pub(crate) fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    fn status(&self) -> u16 {
        self.line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    fn is_chunked(&self) -> bool {
        self.all("transfer-encoding").iter().any(|value| value.eq_ignore_ascii_case("chunked"))
    }
}

// === impl Answer ===

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body.bytes).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body.bytes).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    /// `error.code` of the envelope; empty when there is none.
    pub(crate) fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body.bytes).unwrap_or_default();
        body.pointer("/error/code").and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

// === reading ===

/// The next head, or `None` at the end of the stream before its first byte.
pub(crate) fn read_head(stream: &mut impl Read) -> io::Result<Option<Head>> {
    let mut head = Head::default();
    let mut first = true;
    loop {
        let Some(line) = read_line(stream)? else {
            return if first { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        };
        if first {
            head.line = line;
            first = false;
        } else if line.is_empty() {
            return Ok(Some(head));
        } else {
            head.fields.push(field(&line));
        }
    }
}

/// The body that `head` of a request announces.
pub(crate) fn read_body(stream: &mut impl Read, head: &Head) -> io::Result<Body> {
    if head.is_chunked() {
        return read_chunked(stream);
    }
    let length = head.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = Body { bytes: vec![0; length], trailers: Vec::new() };
    stream.read_exact(&mut body.bytes)?;
    Ok(body)
}

fn read_response_body(stream: &mut impl Read, head: &Head) -> io::Result<Body> {
    if head.is_chunked() || head.get("content-length").is_some() {
        return read_body(stream, head);
    }
    let mut body = Body::default();
    stream.read_to_end(&mut body.bytes)?;
    Ok(body)
}

fn read_chunked(stream: &mut impl Read) -> io::Result<Body> {
    let mut body = Body::default();
    loop {
        let line = read_line(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = line.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).map_err(|_| io::Error::other(format!("chunk size `{line}`")))?;
        if size == 0 {
            break;
        }
        let start = body.bytes.len();
        body.bytes.resize(start + size, 0);
        stream.read_exact(&mut body.bytes[start..])?;
        stream.read_exact(&mut [0; 2])?;
    }
    loop {
        let line = read_line(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            return Ok(body);
        }
        body.trailers.push(field(&line));
    }
}

/// A line without its CRLF, byte by byte so that nothing behind it is swallowed.
fn read_line(stream: &mut impl Read) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        if stream.read(&mut byte)? == 0 {
            return if line.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        if byte[0] == b'\n' {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            // Latin-1 keeps every byte visible.
            return Ok(Some(line.iter().map(|byte| char::from(*byte)).collect()));
        }
        line.push(byte[0]);
    }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.to_owned(), value.trim().to_owned())
}
