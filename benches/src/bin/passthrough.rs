//! The bare pass-through proxy, as a process of its own.

use std::io;
use std::net::SocketAddr;

use clap::Parser;

/// Pass every HTTP/1.1 request to one upstream, with no checks at all: what any proxy costs.
#[derive(Parser)]
#[command(name = "passthrough", version)]
struct Args {
    /// Address to listen on; port 0 takes a free one, which is printed
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Address of the upstream
    #[arg(long)]
    upstream: SocketAddr,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let args = Args::parse();
    let listener = benches::peers::announce("passthrough", args.listen).await?;
    benches::peers::passthrough(listener, args.upstream).await
}
