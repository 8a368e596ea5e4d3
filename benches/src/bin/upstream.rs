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
    /// Threads; one leaves the other core to the proxy that is measured
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: u8,
}

fn main() -> io::Result<()> {
    let args = Args::parse();
    let mut runtime = match args.threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime
        .worker_threads(args.threads.into())
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = benches::peers::announce("upstream", args.listen).await?;
        // On a worker: the thread that waits here is none of them.
        tokio::spawn(benches::peers::upstream(listener))
            .await
            .map_err(io::Error::other)?
    })
}
