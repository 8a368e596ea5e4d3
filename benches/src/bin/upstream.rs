//! The constant-answer upstream, as a process of its own.

use std::io;
use std::net::SocketAddr;

use clap::Parser;

/// Answer every HTTP/1.1 request with the same small JSON document.
#[derive(Parser)]
#[command(name = "upstream", version)]
struct Args {
    /// Address to listen on; port 0 takes a free one, which is printed
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

// One thread: it leaves the other core to the proxy that is measured.
#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let args = Args::parse();
    let listener = benches::peers::announce("upstream", args.listen).await?;
    benches::peers::upstream(listener).await
}
