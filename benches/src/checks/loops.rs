//! Both loops over one connection, on the thread that calls them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::connection::{Connection, SILENCE, silence};
use crate::load::{Error, Sample};

/// What one check is answered, framed.
///
/// # Errors
/// Anything but an allow, in time.
pub fn answer(target: SocketAddr, check: &[u8]) -> Result<Vec<u8>, Error> {
    let mut connection = Connection::open(target, 1)?;
    let now = Instant::now();
    connection.ask(check, now)?;
    while !connection.is_idle() {
        connection.flush()?;
        connection.wait()?;
        connection.hear(now, &mut Sample::empty()?)?;
    }
    Ok(connection.into_last())
}

/// Keeps `streams` checks on their way for `duration`, or until all were answered. Sleeps while there is nothing to read,
/// so that answers come together as they do for somebody who has other things to do.
///
/// # Errors
/// Anything but allows, in time.
pub fn closed<'a>(
    target: SocketAddr,
    checks: impl Iterator<Item = &'a [u8]>,
    streams: usize,
    duration: Duration,
) -> Result<Sample, Error> {
    let mut connection = Connection::open(target, streams)?;
    let mut checks = checks.peekable();
    let mut sample = Sample::empty()?;
    let start = Instant::now();
    let mut now = start;
    loop {
        let mut more = false;
        while now.duration_since(start) < duration
            && let Some(check) = checks.peek()
        {
            more = !connection.ask(check, now)?;
            if more {
                break;
            }
            checks.next();
        }
        if connection.is_idle() && !more {
            return Ok(sample);
        }
        connection.flush()?;
        connection.wait()?;
        now = connection.hear(start, &mut sample)?;
    }
}

/// Asks `rate` checks a second for `duration`, or until they run out, of which up to `streams` are on their way. A check
/// that cannot be sent when it is due is sent as soon as it can be, and its latency counts from the moment it was due.
///
/// It never sleeps, and needs a core that is its own: how long it takes to wake is then in no latency.
///
/// # Errors
/// Anything but allows, in time.
pub fn open<'a>(
    target: SocketAddr,
    checks: impl Iterator<Item = &'a [u8]>,
    streams: usize,
    rate: f64,
    duration: Duration,
) -> Result<Sample, Error> {
    let gap = Duration::from_secs_f64(1.0 / rate);
    let mut connection = Connection::open(target, streams)?;
    let mut checks = checks.peekable();
    let mut sample = Sample::empty()?;
    let start = Instant::now();
    let (mut now, mut answered) = (start, start);
    let mut due = Duration::ZERO;
    loop {
        while due < duration
            && start + due <= now
            && let Some(check) = checks.peek()
            && connection.ask(check, start + due)?
        {
            checks.next();
            due += gap;
        }
        if connection.is_idle() && (due >= duration || checks.peek().is_none()) {
            return Ok(sample);
        }
        connection.flush()?;
        let before = sample.answered();
        now = connection.hear(start, &mut sample)?;
        let waits = !connection.is_idle() || start + due <= now;
        if sample.answered() > before || !waits {
            answered = now;
        }
        // Whoever else belongs here: what servers print is taken in by threads of the harness on the same core.
        if sample.answered() == before {
            std::thread::yield_now();
        }
        if now.duration_since(answered) > SILENCE {
            return Err(silence());
        }
    }
}
