//! Which HTTP version a new connection speaks, by its first bytes.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, timeout_at};

/// What the first bytes were; they are handed on to whoever serves the connection.
#[derive(Debug)]
pub(crate) enum Opening {
    /// Anything but the HTTP/2 preface, and when its first byte came.
    Http1(Bytes, Instant),
    /// The HTTP/2 preface, with prior knowledge (RFC 9113 §3.3).
    Http2(Bytes),
    /// The peer left, or said nothing in time.
    Silence,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Enough for the first request of most connections to arrive in one read.
const FIRST_READ: usize = 4096;

/// Reads until the version is clear. `patience` counts to the first byte and from there once more: a beginning of
/// the preface that then stops is handed on as HTTP/1, whose guard answers it.
pub(crate) async fn sniff(
    socket: &mut (impl AsyncRead + Unpin),
    patience: Duration,
) -> io::Result<Opening> {
    let mut read = BytesMut::with_capacity(FIRST_READ);
    let mut deadline = Instant::now() + patience;
    let mut first_byte_at = None;
    loop {
        let is_open = match timeout_at(deadline, socket.read_buf(&mut read)).await {
            Ok(length) => length? > 0,
            Err(_) => false,
        };
        let started = match first_byte_at {
            _ if read.is_empty() => return Ok(Opening::Silence),
            Some(started) => started,
            None => {
                let now = Instant::now();
                deadline = now + patience;
                *first_byte_at.insert(now)
            }
        };
        if read.starts_with(PREFACE) {
            return Ok(Opening::Http2(read.freeze()));
        }
        if !is_open || !PREFACE.starts_with(&read) {
            return Ok(Opening::Http1(read.freeze(), started));
        }
    }
}
