//! The load generator: raw HTTP/1.1 over keep-alive connections, as cheap as it can be, because it
//! shares the cores with what it measures.

mod closed;
mod connection;
mod open;
mod polled;

use std::time::Duration;

use hdrhistogram::Histogram;

pub use closed::closed;
pub use connection::Connection;
pub use open::{open, open_over};
pub use polled::polled;

/// Anything that makes a measurement worthless: a refused request, a closed connection.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Where one request at a time is asked: a connection, or a stream of one.
pub trait Exchange: Send + 'static {
    /// Sends one whole request and reads its whole answer. Anything but the expected answer is an error.
    fn ask(&mut self, request: &[u8]) -> impl Future<Output = Result<(), Error>> + Send;
}

/// The requests of one measurement, whole heads ready to be written. Of `n` connections, number
/// `i` sends the requests `i`, `i + n`, `i + 2n` and so on.
pub struct Requests {
    heads: Vec<Vec<u8>>,
    again: bool,
}

/// What one measurement saw.
pub struct Sample {
    /// Latencies in nanoseconds. In a closed loop from sending; in an open loop from the moment
    /// at which the schedule wanted the request sent.
    pub latency: Histogram<u64>,
    /// From the start until the last answer.
    pub elapsed: Duration,
}

impl Requests {
    /// Requests that are sent over and over.
    pub fn repeated(heads: Vec<Vec<u8>>) -> Self {
        Self { heads, again: true }
    }

    /// Requests of which each is sent once; the measurement ends with them.
    pub fn once(heads: Vec<Vec<u8>>) -> Self {
        Self {
            heads,
            again: false,
        }
    }

    /// How many requests the share of connection `index` of `connections` holds, each once.
    fn share(&self, index: usize, connections: usize) -> usize {
        self.heads.iter().skip(index).step_by(connections).len()
    }

    /// The share of connection `index` of `connections`.
    fn of(&self, index: usize, connections: usize) -> impl Iterator<Item = &[u8]> {
        let share = move || {
            self.heads
                .iter()
                .skip(index)
                .step_by(connections)
                .map(Vec::as_slice)
        };
        let rounds = if self.again { usize::MAX } else { 1 };
        (0..rounds)
            .map_while(move |_| Some(share()).filter(|share| share.len() > 0))
            .flatten()
    }
}

impl Sample {
    pub(crate) fn empty() -> Result<Self, Error> {
        // Up to a minute, to three digits.
        let latency = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
        Ok(Self {
            latency,
            elapsed: Duration::ZERO,
        })
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.latency
            .saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Takes another connection's sample of the same measurement in.
    fn merge(&mut self, other: &Self) -> Result<(), Error> {
        self.latency.add(&other.latency)?;
        self.elapsed = self.elapsed.max(other.elapsed);
        Ok(())
    }

    /// Requests that were answered.
    pub fn answered(&self) -> u64 {
        self.latency.len()
    }

    /// Requests answered in a second.
    pub fn throughput(&self) -> f64 {
        self.answered() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency in microseconds below which this share (0 to 1) of the requests stayed.
    pub fn quantile_us(&self, share: f64) -> f64 {
        self.latency.value_at_quantile(share) as f64 / 1000.0
    }
}

#[cfg(test)]
mod tests;
