//! An issuer that publishes keys and counts who asks for them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use benches::load::Error;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct Issuer {
    at: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    keys: Mutex<String>,
    asked: AtomicUsize,
}

impl Issuer {
    /// Publishes `keys` on a free port of the loopback.
    pub(crate) async fn start(keys: &str) -> Result<Self, Error> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let at = listener.local_addr()?;
        let shared = Arc::new(Shared {
            keys: Mutex::new(keys.to_owned()),
            asked: AtomicUsize::new(0),
        });
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                // The gate hangs up as it likes.
                tokio::spawn(async move { drop(answer(stream, &shared).await) });
            }
        });
        Ok(Self { at, shared })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/jwks.json", self.at)
    }

    pub(crate) fn publish(&self, keys: &str) {
        let mut published = self
            .shared
            .keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        keys.clone_into(&mut published);
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }
}

async fn answer(stream: TcpStream, shared: &Shared) -> Result<(), Error> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 && line.trim_end() != "" {
        line.clear();
    }
    shared.asked.fetch_add(1, Ordering::Relaxed);
    let answer = {
        let keys = shared.keys.lock().unwrap_or_else(PoisonError::into_inner);
        format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{keys}",
            keys.len()
        )
    };
    stream.get_mut().write_all(answer.as_bytes()).await?;
    Ok(())
}
