//! Tokens in every respect like a good one, but for the key that they name: each another that nobody has.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use benches::load::{Error, Exchange};
use bytes::Bytes;
use h2::client::SendRequest;
use http::StatusCode;
use tokio::net::TcpStream;

/// The connections of the flood.
pub(crate) struct Junk {
    senders: Vec<SendRequest<Bytes>>,
    streams: usize,
    uri: http::Uri,
    /// Claims and signature of the good token.
    rest: Arc<str>,
    answers: Answers,
}

/// One request at a time on one of the connections.
pub(crate) struct Stream {
    sender: SendRequest<Bytes>,
    uri: http::Uri,
    rest: Arc<str>,
    answers: Answers,
}

/// How the tokens were answered. Clones count together.
#[derive(Clone, Default)]
pub(crate) struct Answers(Arc<Counts>);

#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    refused: AtomicU64,
    later: AtomicU64,
}

impl Junk {
    /// So many connections, each for so many requests at a time, whose tokens are like `good`.
    pub(crate) async fn connect(
        target: SocketAddr,
        connections: usize,
        streams: usize,
        good: &str,
    ) -> Result<Self, Error> {
        let mut senders = Vec::with_capacity(connections);
        for _ in 0..connections {
            let connection = TcpStream::connect(target).await?;
            connection.set_nodelay(true)?;
            let (sender, driver) = h2::client::handshake(connection).await?;
            tokio::spawn(driver);
            senders.push(sender);
        }
        let (_, rest) = good.split_once('.').ok_or("a token of one part")?;
        Ok(Self {
            senders,
            streams,
            uri: format!("http://{target}/v1/users/rita").parse()?,
            rest: rest.into(),
            answers: Answers::default(),
        })
    }

    pub(crate) fn answers(&self) -> Answers {
        self.answers.clone()
    }

    pub(crate) fn streams(&self) -> Vec<Stream> {
        let stream = |sender: &SendRequest<Bytes>| Stream {
            sender: sender.clone(),
            uri: self.uri.clone(),
            rest: Arc::clone(&self.rest),
            answers: self.answers.clone(),
        };
        let turns = self.senders.iter().cycle();
        turns
            .take(self.senders.len() * self.streams)
            .map(stream)
            .collect()
    }
}

impl Exchange for Stream {
    /// The request is made here, so that no two name one key.
    async fn ask(&mut self, _: &[u8]) -> Result<(), Error> {
        let counts = &self.answers.0;
        let number = counts.sent.fetch_add(1, Ordering::Relaxed);
        // In no order, as somebody would send them who makes them up: an odd multiplier leaves no two alike.
        let kid = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let header = format!(r#"{{"alg":"ES256","typ":"JWT","kid":"{kid:016x}"}}"#);
        let token = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), self.rest);
        let head = http::Request::get(self.uri.clone())
            .header("authorization", format!("Bearer {token}"))
            .body(())?;
        let mut sender = self.sender.clone().ready().await?;
        let (response, _) = sender.send_request(head, true)?;
        let (head, mut body) = response.await?.into_parts();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
        }
        let count = match head.status {
            StatusCode::UNAUTHORIZED => &counts.refused,
            StatusCode::SERVICE_UNAVAILABLE => &counts.later,
            status => {
                return Err(format!("a token with an unknown key was answered {status}").into());
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Answers {
    /// 401 and 503.
    pub(crate) fn counts(&self) -> [u64; 2] {
        [&self.0.refused, &self.0.later].map(|count| count.load(Ordering::Relaxed))
    }
}
