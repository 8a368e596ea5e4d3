//! A JWKS endpoint that can misbehave.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What the endpoint answers.
#[derive(Clone)]
pub(super) enum Answer {
    /// 200 with this body.
    Body(String),
    /// 200 with this body and `Cache-Control`.
    Cached(String, &'static str),
    /// Another status, with more header lines and a body that would be good.
    Status(u16, String, String),
    /// 200 and one byte at a time, for ever.
    Drip,
    /// A body that ends before its length.
    Truncated(String),
    /// The connection is closed at once.
    Close,
    /// This body, once the test lets it go.
    Held(String, Arc<Notify>),
}

/// A running endpoint.
pub(super) struct Server {
    pub(super) url: String,
    answer: Arc<Mutex<Answer>>,
    hits: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new(answer));
        let hits = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn({
            let (answer, hits) = (Arc::clone(&answer), Arc::clone(&hits));
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    hits.fetch_add(1, Ordering::SeqCst);
                    let answer = answer.lock().unwrap().clone();
                    tokio::spawn(async move {
                        let _ = serve(stream, answer).await;
                    });
                }
            }
        });
        Self {
            url,
            answer,
            hits,
            task,
        }
    }

    pub(super) fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// How many requests have come in.
    pub(super) fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, answer: Answer) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let ok = |more: &str, body: &str| {
        let length = body.len();
        format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\n{more}Content-Length: {length}\r\n\r\n{body}"
        )
    };
    let text = match answer {
        Answer::Body(body) => ok("", &body),
        Answer::Cached(body, control) => ok(&format!("Cache-Control: {control}\r\n"), &body),
        Answer::Held(body, gate) => {
            gate.notified().await;
            ok("", &body)
        }
        Answer::Status(status, headers, body) => {
            let length = body.len();
            format!(
                "HTTP/1.1 {status} X\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
            )
        }
        Answer::Truncated(body) => format!("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{body}"),
        Answer::Close => return Ok(()),
        Answer::Drip => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{")
                .await?;
            loop {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                stream.write_all(b" ").await?;
            }
        }
    };
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}
