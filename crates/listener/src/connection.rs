//! What the parts of one connection tell each other.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Fault;
use crate::upgrade::Tunnel;

/// Shared by the bytes' side of a connection (guard, driver) and the requests' side (entrance, bodies). All of it
/// is touched by one task at a time, but for bodies that were handed to another task.
#[derive(Debug)]
pub(crate) struct Connection {
    opened: Instant,
    /// Of the connection's task, over HTTP/2.
    turns: AtomicU64,
    in_flight: AtomicUsize,
    /// When the last request was over, in milliseconds since `opened`.
    quiet_since: AtomicU64,
    refused: OnceLock<(u64, Fault)>,
    body_left_unread: AtomicBool,
    closes_idle_at: OnceLock<Instant>,
    /// A request was over while the listener drains.
    ended: Notify,
    /// Which request asked to leave HTTP. It is the last one.
    upgrade: OnceLock<u64>,
    /// The client sent bytes behind that request before it was answered.
    spoke_early: AtomicBool,
    /// What the connection is from the answer on, when the service has switched.
    tunnel: Mutex<Option<Tunnel>>,
}

impl Connection {
    pub(crate) fn new() -> Self {
        Self {
            opened: Instant::now(),
            turns: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            quiet_since: AtomicU64::new(0),
            refused: OnceLock::new(),
            body_left_unread: AtomicBool::new(false),
            closes_idle_at: OnceLock::new(),
            ended: Notify::new(),
            upgrade: OnceLock::new(),
            spoke_early: AtomicBool::new(false),
            tunnel: Mutex::new(None),
        }
    }

    /// The connection's task is polled anew.
    pub(crate) fn begin_turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Which turn this is of the connection's task.
    pub(crate) fn turn(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// The guard put a request of its own in the place of the `nth` head, counted from 0.
    pub(crate) fn refuse(&self, nth: u64, fault: Fault) {
        // Only the first counts: nothing after it is read.
        _ = self.refused.set((nth, fault));
    }

    /// Why the `nth` request is none of the client's.
    pub(crate) fn refusal(&self, nth: u64) -> Option<Fault> {
        match self.refused.get() {
            Some(&(first, fault)) if nth >= first => Some(fault),
            _ => None,
        }
    }

    /// The `nth` head asks to leave HTTP. The guard passes nothing on behind it.
    pub(crate) fn ask_upgrade(&self, nth: u64) {
        _ = self.upgrade.set(nth);
    }

    /// Which head asks to leave HTTP, if one does.
    pub(crate) fn upgrade(&self) -> Option<u64> {
        self.upgrade.get().copied()
    }

    pub(crate) fn speak_early(&self) {
        self.spoke_early.store(true, Ordering::Relaxed);
    }

    pub(crate) fn spoke_early(&self) -> bool {
        self.spoke_early.load(Ordering::Relaxed)
    }

    /// From the end of the answer on the connection is `tunnel`'s; `None` takes that back.
    pub(crate) fn set_tunnel(&self, tunnel: Option<Tunnel>) {
        *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = tunnel;
    }

    pub(crate) fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    pub(crate) fn is_switching(&self) -> bool {
        self.tunnel
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    pub(crate) fn request_began(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request_ended(&self) {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.quiet_since.store(now, Ordering::Relaxed);
        self.in_flight.fetch_sub(1, Ordering::Release);
        if self.closes_idle_at.get().is_some() {
            self.ended.notify_one();
        }
    }

    /// Waits for the next request to be over, once the listener drains.
    pub(crate) async fn request_over(&self) {
        self.ended.notified().await;
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) > 0
    }

    /// When the connection will have been without a request for `idle`, if it stays so.
    pub(crate) fn idle_at(&self, idle: Duration) -> Instant {
        if self.is_busy() {
            return Instant::now() + idle;
        }
        self.opened + Duration::from_millis(self.quiet_since.load(Ordering::Relaxed)) + idle
    }

    /// A request's body was given up before its end, so what follows on the wire is not a request.
    pub(crate) fn leave_body_unread(&self) {
        self.body_left_unread.store(true, Ordering::Relaxed);
    }

    /// From now on every answer closes the connection, and from `at` on it closes where it is idle.
    pub(crate) fn drain(&self, at: Instant) {
        _ = self.closes_idle_at.set(at);
    }

    pub(crate) fn closes_idle_at(&self) -> Option<Instant> {
        self.closes_idle_at.get().copied()
    }

    /// Whether the answer that is about to be sent must be the last.
    pub(crate) fn must_close(&self) -> bool {
        self.closes_idle_at.get().is_some() || self.body_left_unread.load(Ordering::Relaxed)
    }
}
