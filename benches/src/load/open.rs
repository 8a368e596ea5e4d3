//! The open loop: requests are due at a constant rate, whether or not earlier ones were answered.
//!
//! A latency counts from the moment at which the request was due, so a stall of the server is
//! charged to every request that it held up (no "coordinated omission").

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;

use super::{Connection, Error, Exchange, Requests, Sample};

/// Sends `rate` requests a second for `duration`, or until requests that are sent once run out,
/// evenly spread over the connections. Where a connection falls behind, its later requests follow
/// as fast as it can, each with the delay in its latency.
pub async fn open(
    target: SocketAddr,
    requests: &Arc<Requests>,
    connections: usize,
    rate: f64,
    duration: Duration,
) -> Result<Sample, Error> {
    let mut ready = Vec::with_capacity(connections);
    for _ in 0..connections {
        ready.push(Connection::open(target).await?);
    }
    open_over(ready, requests, rate, duration).await
}

/// The same where requests are asked over whatever is `ready` for them.
pub async fn open_over(
    connections: Vec<impl Exchange>,
    requests: &Arc<Requests>,
    rate: f64,
    duration: Duration,
) -> Result<Sample, Error> {
    let gap = Duration::from_secs_f64(1.0 / rate);
    let mut ready = Vec::with_capacity(connections.len());
    for connection in connections {
        ready.push((connection, Alarm::new()?));
    }
    let connections = ready.len();
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for (index, (connection, alarm)) in ready.into_iter().enumerate() {
        let requests = Arc::clone(requests);
        let schedule = Schedule {
            start,
            first: gap.mul_f64(index as f64),
            period: gap.mul_f64(connections as f64),
            end: duration,
        };
        tasks.spawn(async move {
            drive(connection, alarm, requests.of(index, connections), schedule).await
        });
    }
    let mut sample = Sample::empty()?;
    while let Some(part) = tasks.join_next().await {
        sample.merge(&part??)?;
    }
    Ok(sample)
}

/// When the requests of one connection are due, counted from `start`.
struct Schedule {
    start: Instant,
    first: Duration,
    period: Duration,
    end: Duration,
}

async fn drive(
    mut connection: impl Exchange,
    alarm: Alarm,
    requests: impl Iterator<Item = &[u8]>,
    schedule: Schedule,
) -> Result<Sample, Error> {
    let mut sample = Sample::empty()?;
    let mut due = schedule.first;
    for request in requests {
        if due >= schedule.end {
            break;
        }
        alarm.sleep_until(schedule.start + due).await?;
        connection.ask(request).await?;
        let now = schedule.start.elapsed();
        sample.record(now.saturating_sub(due));
        sample.elapsed = now;
        due += schedule.period;
    }
    Ok(sample)
}

/// A kernel timer exact to microseconds. The runtime's own timers have a grain of a millisecond,
/// many times what is measured here.
struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    #[expect(
        deprecated,
        reason = "the other constructor is unsafe, for descriptors that may be closed early; an `OwnedFd` is not"
    )]
    fn new() -> Result<Self, Error> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(Self(AsyncFd::new(timerfd_create(
            TimerfdClockId::Monotonic,
            flags,
        )?)?))
    }

    async fn sleep_until(&self, moment: Instant) -> Result<(), Error> {
        let wait = moment.saturating_duration_since(Instant::now());
        // Zero would disarm the timer.
        if wait.is_zero() {
            return Ok(());
        }
        let once = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec::try_from(wait)?,
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        loop {
            let mut ready = self.0.readable().await?;
            let mut expirations = [0; 8];
            if let Ok(read) =
                ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut expirations)?))
            {
                read?;
                return Ok(());
            }
        }
    }
}
