//! The external authorization server that allows everything, as a process of its own.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// Answer every check of Envoy's OK, without looking at it: what any authorizer costs.
#[derive(Parser)]
#[command(name = "always", version)]
struct Args {
    /// Address to listen on; port 0 takes a free one, which is printed
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// File with the framed message to answer, in place of the least that lets a request pass
    #[arg(long, value_name = "FILE")]
    answer: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let args = Args::parse();
    let answer = match args.answer {
        Some(file) => std::fs::read(file)?,
        None => benches::checks::allowed(),
    };
    let listener = benches::peers::announce("always", args.listen).await?;
    benches::checks::always(listener, answer).await
}
