//! How much of an HTTP/2 connection is read at once.
//!
//! Many requests may come in one piece. Read as they come, all of them would be begun, and the first one's answer would be
//! written when the last one's is ready; whoever sent them waits that long with nothing to do. So the connection's task reads
//! a few, lets their streams run, writes their answers while it reads more, and so on. The lots grow, because whoever sent
//! them is busy with the first answers then, and few large writes are less work than many small ones.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

use crate::connection::Connection;

/// Bytes of the first lot: one request with a large token, or a few with small ones. `benches/README.md` has what was measured
/// of other sizes.
const FIRST: usize = 4 * 1024;
/// How many times the one before each further lot is.
const GROWTH: usize = 4;

/// Reads a connection in lots, no other one in the turn of its task in which one was used up: hyper asks for more in the turn
/// that it was given some, before any stream can run.
#[derive(Debug)]
pub(crate) struct Lots {
    connection: Arc<Connection>,
    /// The turn of the last read.
    turn: u64,
    /// The size of the present lot, and what is left of it.
    size: usize,
    left: usize,
}

impl Lots {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self {
            connection,
            turn: 0,
            size: FIRST,
            left: FIRST,
        }
    }

    /// Reads what belongs to the present lot. When it is used up there is nothing to read until the next turn, which is asked
    /// for; when the peer has no more to say, the next lot is a first one.
    pub(crate) fn poll_read<I: AsyncRead + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let turn = self.connection.turn();
        if self.left == 0 {
            if self.turn == turn {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.size = self.size.saturating_mul(GROWTH);
            self.left = self.size;
        }
        self.turn = turn;
        let before = buf.filled().len();
        let mut lot = io.take(u64::try_from(self.left).unwrap_or(u64::MAX));
        let read = Pin::new(&mut lot).poll_read(cx, buf);
        if read.is_pending() {
            (self.size, self.left) = (FIRST, FIRST);
        }
        ready!(read)?;
        self.left -= buf.filled().len().saturating_sub(before).min(self.left);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    /// Reads all that can be read now.
    fn read(lots: &mut Lots, io: &mut (impl AsyncRead + Unpin), waker: &Waker) -> usize {
        let mut memory = vec![0; 1 << 20];
        let mut buf = ReadBuf::new(&mut memory);
        let cx = &mut Context::from_waker(waker);
        while let Poll::Ready(read) = lots.poll_read(io, cx, &mut buf) {
            read.unwrap();
        }
        buf.filled().len()
    }

    #[tokio::test]
    async fn each_turn_reads_one_lot_and_they_grow() {
        let (mut peer, mut io) = duplex(1 << 20);
        let waker = Waker::noop();
        let connection = Arc::new(Connection::new());
        let mut lots = Lots::new(connection.clone());
        let all = FIRST * (1 + GROWTH + GROWTH * GROWTH) + 1;
        // The second time it is as the first: what was read to its end begins anew.
        for _ in 0..2 {
            peer.write_all(&vec![0; all]).await.unwrap();
            for expected in [FIRST, FIRST * GROWTH, FIRST * GROWTH * GROWTH, 1] {
                connection.begin_turn();
                assert_eq!(read(&mut lots, &mut io, waker), expected);
                assert_eq!(read(&mut lots, &mut io, waker), 0, "in the same turn");
            }
        }
    }

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn another_turn_is_asked_for_only_where_there_may_be_more() {
        for (sent, expected) in [(0, 0), (FIRST - 1, 0), (FIRST, 1), (FIRST + 1, 1)] {
            let (mut peer, mut io) = duplex(1 << 20);
            peer.write_all(&vec![0; sent]).await.unwrap();
            let woken = Arc::new(Woken::default());
            let waker = Waker::from(woken.clone());
            let mut lots = Lots::new(Arc::new(Connection::new()));
            lots.connection.begin_turn();
            assert_eq!(read(&mut lots, &mut io, &waker), sent.min(FIRST));
            assert_eq!(woken.0.load(Ordering::Relaxed), expected, "{sent}");
        }
    }

    #[test]
    fn the_end_of_the_peer_is_passed_on() {
        let mut lots = Lots::new(Arc::new(Connection::new()));
        let cx = &mut Context::from_waker(Waker::noop());
        let mut memory = [0; 8];
        let mut buf = ReadBuf::new(&mut memory);
        let end = lots.poll_read(&mut tokio::io::empty(), cx, &mut buf);
        assert!(matches!(end, Poll::Ready(Ok(()))) && buf.filled().is_empty());
    }
}
