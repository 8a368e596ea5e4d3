//! One keep-alive HTTP/1.1 connection with one request at a time.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Error, Exchange};

/// A connection and what was read from it but not yet used.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects, without Nagle's delay.
    pub async fn open(target: SocketAddr) -> Result<Self, Error> {
        let stream = TcpStream::connect(target).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(8 * 1024),
        })
    }

    /// Sends one whole request, reads its whole answer and gives its body. Anything but a 200 of
    /// known length is an error: a quick refusal must never pass for a quick answer.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<&[u8], Error> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the connection was closed before the answer was complete".into());
            }
            match answer_length(&self.buffer)? {
                Some((head, length)) if self.buffer.len() == length => {
                    return Ok(self.buffer.get(head..).unwrap_or_default());
                }
                Some((_, length)) if self.buffer.len() > length => {
                    return Err("more was answered than asked".into());
                }
                _ => {}
            }
        }
    }

    /// Sends several whole requests before it reads the first answer, and gives the bodies of all answers.
    pub async fn exchange_ahead(&mut self, requests: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Error> {
        self.stream.write_all(&requests.concat()).await?;
        self.buffer.clear();
        let mut bodies = Vec::with_capacity(requests.len());
        while bodies.len() < requests.len() {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the connection was closed before the answer was complete".into());
            }
            while let Some((head, length)) = answer_length(&self.buffer)?
                && self.buffer.len() >= length
            {
                let answer: Vec<u8> = self.buffer.drain(..length).collect();
                bodies.push(answer.get(head..).unwrap_or_default().to_vec());
            }
        }
        if bodies.len() > requests.len() || !self.buffer.is_empty() {
            return Err("more was answered than asked".into());
        }
        Ok(bodies)
    }
}

impl Exchange for Connection {
    async fn ask(&mut self, request: &[u8]) -> Result<(), Error> {
        self.exchange(request).await.map(|_| ())
    }
}

/// The lengths of the answer's head, and of head and body, as soon as the head is there.
fn answer_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Error> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = answer.parse(bytes)? else {
        return Ok(None);
    };
    match answer.code {
        Some(200) => {}
        code => return Err(format!("status {} instead of 200", code.unwrap_or(0)).into()),
    }
    let length = answer
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .ok_or("an answer without content-length")?;
    let body: usize = std::str::from_utf8(length.value)?.parse()?;
    Ok(Some((head, head + body)))
}
