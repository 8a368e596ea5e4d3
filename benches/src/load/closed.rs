//! The closed loop: each connection sends as soon as it has its answer. Measures how much a server
//! can do, and says little about latency.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{Connection, Error, Exchange, Requests, Sample};

/// Keeps `connections` busy for `duration`, or until requests that are sent once are all answered.
pub async fn closed(
    target: SocketAddr,
    requests: &Arc<Requests>,
    connections: usize,
    duration: Duration,
) -> Result<Sample, Error> {
    let mut ready = Vec::with_capacity(connections);
    for _ in 0..connections {
        ready.push(Connection::open(target).await?);
    }
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for (index, connection) in ready.into_iter().enumerate() {
        let requests = Arc::clone(requests);
        tasks.spawn(async move {
            drive(connection, requests.of(index, connections), start, duration).await
        });
    }
    let mut sample = Sample::empty()?;
    while let Some(part) = tasks.join_next().await {
        sample.merge(&part??)?;
    }
    Ok(sample)
}

async fn drive(
    mut connection: Connection,
    requests: impl Iterator<Item = &[u8]>,
    start: Instant,
    duration: Duration,
) -> Result<Sample, Error> {
    let mut sample = Sample::empty()?;
    for request in requests {
        let sent = Instant::now();
        if sent.duration_since(start) >= duration {
            break;
        }
        connection.ask(request).await?;
        sample.record(sent.elapsed());
        sample.elapsed = start.elapsed();
    }
    Ok(sample)
}
