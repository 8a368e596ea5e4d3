//! A request's place among those in flight.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connection::Connection;
use crate::metrics::{Held, ListenerMetrics};

/// Held from before the service is called until the response's body was handed over whole, or given up.
#[derive(Debug)]
pub(crate) struct Ticket {
    connection: Arc<Connection>,
    _place: OwnedSemaphorePermit,
    _counted: Held,
}

impl Ticket {
    /// `None` if all places are taken: better a quick refusal than a queue that nobody in it survives.
    pub(crate) fn take(
        places: &Arc<Semaphore>,
        connection: &Arc<Connection>,
        metrics: &ListenerMetrics,
    ) -> Option<Self> {
        let place = places.clone().try_acquire_owned().ok()?;
        connection.request_began();
        Some(Self {
            connection: connection.clone(),
            _place: place,
            _counted: Held::new(&metrics.in_flight),
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.connection.request_ended();
    }
}
