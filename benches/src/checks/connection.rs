//! The HTTP/2 connection over which checks are asked, without a runtime: what it does between one check and the next is
//! in every figure.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::CHECK;
use super::call::{Call, MOST_ANSWER};
use super::fields;
use super::frames::{self, Frame};
use crate::load::{Error, Sample};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long nothing at all may be answered.
pub(super) const SILENCE: Duration = Duration::from_secs(60);
/// Room for what came together, which is more than the longest frame.
const ROOM: usize = 64 * 1024;
/// After so many bytes of answers the other end is told that they were read.
const READ: u32 = 16 * 1024 * 1024;

/// A connection, and the checks that are on their way.
pub(super) struct Connection {
    stream: TcpStream,
    poll: Poll,
    events: Events,
    /// How many checks may be on their way.
    streams: usize,
    peer: Option<Peer>,
    /// What may be sent before the other end has to say that it read what was sent.
    window: i64,
    /// The header blocks of the first check and of all later ones.
    blocks: [Vec<u8>; 2],
    next: u32,
    calls: Vec<Call>,
    /// What was answered last, framed.
    last: Vec<u8>,
    /// What was asked but not taken by the kernel.
    unsent: Vec<u8>,
    sent: usize,
    heard: Vec<u8>,
    filled: usize,
    /// How much was read of answers, and not yet said to be.
    read: u32,
}

/// What the other end allows, as far as it matters.
struct Peer {
    streams: u32,
    /// What may be sent of a stream before it says that it read that.
    window: u32,
}

impl Connection {
    /// Connects, and waits for what the other end allows, which has to be so many checks at once.
    pub(super) fn open(target: SocketAddr, streams: usize) -> Result<Self, Error> {
        let stream = std::net::TcpStream::connect(target)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        let poll = Poll::new()?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(0), interest)?;
        let mut connection = Self {
            stream,
            poll,
            events: Events::with_capacity(1),
            streams,
            peer: None,
            window: frames::FIRST_WINDOW.into(),
            blocks: fields::calls(target, CHECK)?,
            next: 1,
            calls: Vec::with_capacity(streams),
            last: Vec::new(),
            unsent: PREFACE.to_vec(),
            sent: 0,
            heard: vec![0; ROOM],
            filled: 0,
            read: 0,
        };
        let settings = frames::settings(&[
            (frames::HEADER_TABLE_SIZE, 0),
            (frames::ENABLE_PUSH, 0),
            (frames::INITIAL_WINDOW_SIZE, MOST_ANSWER),
        ]);
        connection.put(frames::SETTINGS, 0, 0, &settings)?;
        connection.widen(frames::MOST_WINDOW - frames::FIRST_WINDOW)?;
        let mut nothing = Sample::empty()?;
        while connection.peer.is_none() {
            connection.flush()?;
            connection.wait()?;
            connection.hear(Instant::now(), &mut nothing)?;
        }
        Ok(connection)
    }

    /// What was answered last, framed.
    pub(super) fn into_last(self) -> Vec<u8> {
        self.last
    }

    /// Whether no answer is awaited.
    pub(super) fn is_idle(&self) -> bool {
        self.calls.is_empty()
    }

    /// Asks a check, which is sent with the next flush and measured from `since` on. `false` where it has to wait: as
    /// many as may be are on their way, or the other end has yet to read what was sent.
    pub(super) fn ask(&mut self, check: &[u8], since: Instant) -> Result<bool, Error> {
        let length = i64::try_from(check.len())?;
        let peer = self.peer.as_ref().ok_or("the other end is not known")?;
        if length > peer.window.into() {
            return Err(format!(
                "a check of {length} bytes does not fit into a window of {}",
                peer.window
            )
            .into());
        }
        if self.calls.len() >= self.streams || length > self.window {
            return Ok(false);
        }
        let id = self.next;
        if id > frames::MOST_WINDOW {
            return Err("no more streams are left on the connection".into());
        }
        let (headers, out) = (frames::END_HEADERS, &mut self.unsent);
        let [first, later] = &self.blocks;
        let block = if id == 1 { first } else { later };
        frames::put(out, frames::HEADERS, headers, id, block)?;
        frames::put(out, frames::DATA, frames::END_STREAM, id, check)?;
        self.next += 2;
        self.window -= length;
        self.calls.push(Call::new(id, since));
        Ok(true)
    }

    /// Writes what the kernel takes.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        while let Some(bytes) = self.unsent.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(bytes) {
                Ok(taken) => self.sent += taken,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.unsent.clear();
        self.sent = 0;
        Ok(())
    }

    /// Sleeps until there is something to read, or room to write.
    pub(super) fn wait(&mut self) -> Result<(), Error> {
        match self.poll.poll(&mut self.events, Some(SILENCE)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error.into()),
            Ok(()) if self.events.is_empty() => Err(silence()),
            Ok(()) => Ok(()),
        }
    }

    /// Reads what is there, and gives the moment at which it was.
    pub(super) fn hear(&mut self, start: Instant, sample: &mut Sample) -> Result<Instant, Error> {
        loop {
            let room = self.heard.get_mut(self.filled..).unwrap_or_default();
            let most = room.len();
            let read = match self.stream.read(room) {
                Ok(0) => return Err("the connection was closed".into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let now = Instant::now();
            if read > 0 {
                self.filled += read;
                self.take(now, start, sample)?;
            }
            // What comes after less than was asked for is told of again.
            if read < most {
                return Ok(now);
            }
        }
    }

    /// Takes the whole frames out of what was read.
    fn take(&mut self, now: Instant, start: Instant, sample: &mut Sample) -> Result<(), Error> {
        let heard = std::mem::take(&mut self.heard);
        let mut rest = heard.get(..self.filled).unwrap_or_default();
        while let Some((frame, after)) = Frame::read(rest)? {
            rest = after;
            if let Some(call) = self.heed(&frame)? {
                sample.record(now.duration_since(call.since));
                sample.elapsed = now.duration_since(start);
                self.last = call.answer;
            }
        }
        let taken = self.filled - rest.len();
        self.heard = heard;
        self.heard.copy_within(taken..self.filled, 0);
        self.filled -= taken;
        Ok(())
    }

    /// Does what a frame asks for, and gives the check that ends with it.
    fn heed(&mut self, frame: &Frame<'_>) -> Result<Option<Call>, Error> {
        match frame.kind {
            frames::DATA | frames::HEADERS => {
                if frame.kind == frames::DATA {
                    self.read += u32::try_from(frame.payload.len())?;
                }
                if self.read >= READ {
                    self.widen(self.read)?;
                    self.read = 0;
                }
                let (at, call) = self.call(frame.stream)?;
                if call.hear(frame)? {
                    return Ok(Some(self.calls.swap_remove(at)));
                }
            }
            frames::SETTINGS if !frame.has(frames::ACK) => {
                self.settle(frame)?;
                self.put(frames::SETTINGS, frames::ACK, 0, &[])?;
            }
            frames::PING if !frame.has(frames::ACK) => {
                self.put(frames::PING, frames::ACK, 0, frame.payload)?;
            }
            // Of a stream it does not matter: a check fits into the first.
            frames::WINDOW_UPDATE if frame.stream == 0 => {
                self.window += i64::from(frames::number(frame.payload)?);
            }
            // What was answered whole may be reset without a reason, and nothing else.
            frames::RST_STREAM if self.call(frame.stream).is_ok() => {
                let code = frames::number(frame.payload)?;
                return Err(format!("a check was reset with code {code}").into());
            }
            frames::GOAWAY => {
                let code = frame.payload.get(4..).unwrap_or_default();
                let code = frames::number(code)?;
                return Err(format!("the other end went away with code {code}").into());
            }
            frames::PUSH_PROMISE | frames::CONTINUATION => {
                return Err("a frame that nobody asked for".into());
            }
            _ => {}
        }
        Ok(None)
    }

    /// Takes over what the other end allows.
    fn settle(&mut self, frame: &Frame<'_>) -> Result<(), Error> {
        let peer = self.peer.get_or_insert(Peer {
            streams: u32::MAX,
            window: frames::FIRST_WINDOW,
        });
        for (name, value) in frame.settings() {
            match name {
                frames::MAX_CONCURRENT_STREAMS => peer.streams = value,
                frames::INITIAL_WINDOW_SIZE => peer.window = value,
                _ => {}
            }
        }
        if self.streams > usize::try_from(peer.streams)? {
            return Err(format!(
                "the other end allows {} streams, and {} are wanted",
                peer.streams, self.streams
            )
            .into());
        }
        Ok(())
    }

    fn call(&mut self, id: u32) -> Result<(usize, &mut Call), Error> {
        let mut calls = self.calls.iter_mut().enumerate();
        let call = calls.find(|(_, call)| call.id == id);
        call.ok_or_else(|| format!("an answer on stream {id}, where none is awaited").into())
    }

    /// Lets the other end send so many bytes more.
    fn widen(&mut self, bytes: u32) -> Result<(), Error> {
        self.put(frames::WINDOW_UPDATE, 0, 0, &bytes.to_be_bytes())
    }

    fn put(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<(), Error> {
        frames::put(&mut self.unsent, kind, flags, stream, payload)
    }
}

/// What is said when nothing was answered for [`SILENCE`].
pub(super) fn silence() -> Error {
    format!("nothing was answered in {} s", SILENCE.as_secs()).into()
}
