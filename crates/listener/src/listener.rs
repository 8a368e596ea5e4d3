//! The accept loop.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::service::Service;
use settings::Address;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, debug_span, info, warn};

use crate::bind::Bound;
use crate::drain::Drain;
use crate::entrance::House;
use crate::metrics::{Held, Metrics};
use crate::serve::Server;
use crate::transport::Socket;
use crate::{Fault, Limits, RequestBody, Timeouts};

/// A bound port that does not serve yet.
#[derive(Debug)]
pub struct Listener {
    bound: Bound,
    address: Address,
    connections: Arc<Semaphore>,
    house: Arc<House>,
    small_answers: bool,
}

/// Who sent a request; among the extensions of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The address of the other end; `None` over a Unix socket.
    pub address: Option<IpAddr>,
    /// The listener's name.
    pub listener: &'static str,
}

/// Out of file descriptors and the like: nothing helps but waiting for connections to close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// When the drain starts, the kernel's queue counts as empty after this long without a connection from it.
const QUEUE_QUIET: Duration = Duration::from_millis(20);
/// However many come, what connects this long after the drain began was not in the queue: the port closes.
const QUEUE_CLOSES: Duration = Duration::from_millis(200);
/// How long closed connections get to let go of what they hold.
const LAST_CALL: Duration = Duration::from_secs(1);

impl Listener {
    /// Binds `at`; connections wait in the kernel's queue until [`serve`](Self::serve). A Unix socket gets the
    /// mode 0660 and replaces a dead one; one that somebody answers on, or a file of another kind, is an error.
    ///
    /// `name` is the key under `listen:`; it labels metrics and requests.
    pub async fn bind(
        name: &'static str,
        at: &Address,
        limits: Limits,
        timeouts: Timeouts,
        metrics: Metrics,
    ) -> io::Result<Self> {
        let (bound, address) = Bound::bind(at).await?;
        let at_most = |limit: usize| Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
        Ok(Self {
            bound,
            address,
            connections: at_most(limits.connections),
            house: Arc::new(House {
                name,
                places: at_most(limits.in_flight),
                tunnels: at_most(limits.tunnels),
                limits,
                timeouts,
                metrics: metrics.of(name),
            }),
            small_answers: false,
        })
    }

    /// The same for a service whose answers are a kilobyte or two: over HTTP/2 those that are ready together are copied
    /// together and written at once, instead of each by itself, and of requests that come together the first few are answered
    /// before the rest are read.
    #[must_use]
    pub fn with_small_answers(self) -> Self {
        Self {
            small_answers: true,
            ..self
        }
    }

    /// Where it listens; port 0 is resolved.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Serves until the drain is over. A request that is refused before `service` sees it is answered with what
    /// `faults` makes of it.
    ///
    /// The drain loses nothing that was sent in time: what waits in the kernel's queue is accepted, requests in
    /// flight are finished, an idle HTTP/1 connection may bring one more request within a second, and HTTP/2
    /// peers are told with GOAWAY. Every answer asks to close. What is left at the deadline is cut.
    pub async fn serve<S, B>(self, service: S, faults: fn(Fault) -> Response<B>, drain: Drain)
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let tasks = TaskTracker::new();
        let cut = CancellationToken::new();
        let open = |(socket, address, place): (Socket, Option<IpAddr>, OwnedSemaphorePermit)| {
            let server = Server {
                service: service.clone(),
                faults,
                house: self.house.clone(),
                drain: drain.clone(),
                tasks: tasks.clone(),
                small_answers: self.small_answers,
            };
            let peer = Peer {
                address,
                listener: self.house.name,
            };
            let cut = cut.clone();
            let is_open = Held::new(&self.house.metrics.open);
            self.house.metrics.connections.inc();
            let span = debug_span!("connection", listener = self.house.name);
            let served = async move {
                let _until_closed = (place, is_open);
                tokio::select! {
                    biased;
                    () = cut.cancelled() => {}
                    () = server.serve(socket, peer) => {}
                }
            };
            tasks.spawn(served.instrument(span));
        };

        let mut signaled = std::pin::pin!(drain.signaled());
        let deadline = loop {
            tokio::select! {
                biased;
                deadline = signaled.as_mut() => break deadline,
                accepted = self.accept() => open(accepted),
            }
        };
        let queue_closes = deadline.min(Instant::now() + QUEUE_CLOSES);
        // The clock is asked here too: a timeout lets through what is ready, and under load one always is.
        while Instant::now() < queue_closes
            && let Some(accepted) = self.accept_queued(queue_closes).await
        {
            open(accepted);
        }
        drop(self.bound);
        tasks.close();
        if timeout_at(deadline, tasks.wait()).await.is_err() {
            info!(
                listener = self.house.name,
                open = tasks.len(),
                "cutting connections that did not finish in time"
            );
            cut.cancel();
            if timeout(LAST_CALL, tasks.wait()).await.is_err() {
                warn!(
                    listener = self.house.name,
                    left = tasks.len(),
                    "requests did not end with their connections"
                );
            }
        }
    }

    /// The next connection, once there is room for it.
    async fn accept(&self) -> (Socket, Option<IpAddr>, OwnedSemaphorePermit) {
        let mut pause = ACCEPT_PAUSE;
        loop {
            let Ok(place) = self.connections.clone().acquire_owned().await else {
                // The semaphore is never closed.
                return std::future::pending().await;
            };
            match self.bound.accept().await {
                Ok((socket, address)) => return (socket, address, place),
                // The peer gave up while it waited.
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    warn!(
                        listener = self.house.name,
                        "cannot accept connections: {error}"
                    );
                    drop(place);
                    sleep(pause).await;
                    pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
                }
            }
        }
    }

    /// A connection that the kernel had established before the drain, if there is another.
    async fn accept_queued(
        &self,
        closes: Instant,
    ) -> Option<(Socket, Option<IpAddr>, OwnedSemaphorePermit)> {
        let place = timeout_at(closes, self.connections.clone().acquire_owned())
            .await
            .ok()?
            .ok()?;
        loop {
            let quiet = closes.min(Instant::now() + QUEUE_QUIET);
            match timeout_at(quiet, self.bound.accept()).await.ok()? {
                Ok((socket, address)) => return Some((socket, address, place)),
                Err(error) if is_of_one_connection(&error) => {}
                Err(_) => return None,
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
