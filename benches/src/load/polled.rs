//! The closed loop without a runtime: one thread asks over all connections and waits for all of them together, so that
//! next to nothing but the two system calls of an exchange is its own. For servers that answer as quickly as a task
//! for each connection asks.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use memchr::memmem;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::{Error, Requests, Sample};

/// How long nothing at all may be answered.
const SILENCE: Duration = Duration::from_secs(60);
/// Room for answers that came together, at first and at most.
const ROOM: usize = 16 * 1024;
const MOST_ROOM: usize = 1024 * 1024;

/// A connection, what it has to ask, and what it was answered.
struct Client {
    stream: TcpStream,
    /// Its requests, one behind the other, and where each ends: several are then written at once without a copy.
    script: Vec<u8>,
    ends: Vec<usize>,
    again: bool,
    /// The next request of the script.
    next: usize,
    /// What of the script was asked but not taken by the kernel.
    unsent: Range<usize>,
    /// When those were asked that are not answered yet.
    asked: VecDeque<Instant>,
    answers: Vec<u8>,
    filled: usize,
}

/// Keeps `connections` busy for `duration`, or until requests that are sent once are all answered. Each has up to
/// `ahead` requests on their way: one is the ordinary closed loop, more is HTTP/1.1 pipelining.
///
/// # Errors
/// Anything but answers of status 200 and known length, in time.
pub fn polled(
    target: SocketAddr,
    requests: &Requests,
    connections: usize,
    ahead: usize,
    duration: Duration,
) -> Result<Sample, Error> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(connections);
    let mut clients = Vec::with_capacity(connections);
    for index in 0..connections {
        let stream = std::net::TcpStream::connect(target)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(&mut stream, Token(index), interest)?;
        let script = requests.of(index, connections);
        // One round of it.
        let script = script.take(requests.share(index, connections));
        clients.push(Client::new(stream, script, requests.again));
    }

    let mut sample = Sample::empty()?;
    let start = Instant::now();
    let mut busy = 0_usize;
    for client in &mut clients {
        client.ask(ahead, start)?;
        busy += usize::from(client.is_busy());
    }
    while busy > 0 {
        poll.poll(&mut events, Some(SILENCE))?;
        if events.is_empty() {
            return Err(format!("nothing was answered in {} s", SILENCE.as_secs()).into());
        }
        for event in &events {
            let Some(client) = clients.get_mut(event.token().0) else {
                continue;
            };
            if !client.is_busy() {
                continue;
            }
            client.flush()?;
            let now = client.hear(start, &mut sample)?;
            if now.duration_since(start) < duration {
                client.ask(ahead, now)?;
            }
            busy -= usize::from(!client.is_busy());
        }
    }
    Ok(sample)
}

// === impl Client ===

impl Client {
    fn new<'a>(stream: TcpStream, requests: impl Iterator<Item = &'a [u8]>, again: bool) -> Self {
        let (mut script, mut ends) = (Vec::new(), Vec::new());
        for request in requests {
            script.extend_from_slice(request);
            ends.push(script.len());
        }
        Self {
            stream,
            script,
            ends,
            again,
            next: 0,
            unsent: 0..0,
            asked: VecDeque::new(),
            answers: vec![0; ROOM],
            filled: 0,
        }
    }

    /// Whether an answer is awaited.
    fn is_busy(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Asks until `ahead` requests are on their way, or none is left.
    fn ask(&mut self, ahead: usize, now: Instant) -> Result<(), Error> {
        while self.unsent.is_empty() && self.asked.len() < ahead {
            if self.next == self.ends.len() && self.again {
                self.next = 0;
            }
            let from = self.next.checked_sub(1);
            let from = from.and_then(|last| self.ends.get(last)).copied();
            let last = self.ends.len().min(self.next + ahead - self.asked.len());
            let to = last.checked_sub(1).and_then(|last| self.ends.get(last));
            let Some(to) = to.filter(|_| last > self.next) else {
                break;
            };
            self.unsent = from.unwrap_or_default()..*to;
            self.asked.extend((self.next..last).map(|_| now));
            self.next = last;
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what the kernel takes of the requests that were asked.
    fn flush(&mut self) -> Result<(), Error> {
        while !self.unsent.is_empty() {
            let bytes = self.script.get(self.unsent.clone()).unwrap_or_default();
            match self.stream.write(bytes) {
                Ok(taken) => self.unsent.start += taken,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads the answers that are there, and gives the moment at which they were.
    fn hear(&mut self, start: Instant, sample: &mut Sample) -> Result<Instant, Error> {
        loop {
            let room = self.answers.get_mut(self.filled..).unwrap_or_default();
            let most = room.len();
            let read = match self.stream.read(room) {
                Ok(0) => {
                    return Err("the connection was closed before the answer was complete".into());
                }
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let now = Instant::now();
            self.filled += read;
            self.take(now, start, sample)?;
            // What comes after less than was asked for is told of again.
            if read < most {
                return Ok(now);
            }
            if self.filled == self.answers.len() {
                if self.filled >= MOST_ROOM {
                    return Err("an answer is too long".into());
                }
                self.answers.resize(2 * self.filled, 0);
            }
        }
    }

    /// Takes the whole answers out of what was read.
    fn take(&mut self, now: Instant, start: Instant, sample: &mut Sample) -> Result<(), Error> {
        let mut taken = 0;
        while let Some(rest) = self.answers.get(taken..self.filled) {
            let Some(length) = answer_length(rest)?.filter(|length| *length <= rest.len()) else {
                break;
            };
            let asked = self.asked.pop_front();
            let asked = asked.ok_or("more was answered than asked")?;
            sample.record(now.duration_since(asked));
            sample.elapsed = now.duration_since(start);
            taken += length;
        }
        self.answers.copy_within(taken..self.filled, 0);
        self.filled -= taken;
        Ok(())
    }
}

/// The length of an answer, head and body, as soon as its head is there.
fn answer_length(bytes: &[u8]) -> Result<Option<usize>, Error> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = bytes.get(..end).unwrap_or(bytes);
    let mut lines = head.split(|byte| *byte == b'\n');
    let status = lines.next().unwrap_or_default();
    if !status.starts_with(b"HTTP/1.1 200 ") {
        let status = String::from_utf8_lossy(status);
        return Err(format!("`{}` instead of status 200", status.trim_end()).into());
    }
    let length = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(b"content-length:".len())?;
        name.eq_ignore_ascii_case(b"content-length:")
            .then_some(value)
    });
    let length = length.ok_or("an answer without content-length")?;
    let length: usize = std::str::from_utf8(length)?.trim().parse()?;
    Ok(Some(end + 4 + length))
}
