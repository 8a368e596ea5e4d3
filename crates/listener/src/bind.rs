//! The sockets that listen.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use settings::Address;
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixSocket, UnixStream};
use tracing::debug;

use crate::transport::Socket;

/// A bound socket and where it is.
#[derive(Debug)]
pub(crate) enum Bound {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        /// Kept for its drop.
        _file: SocketFile,
    },
}

/// The name of a Unix socket in the file system; taken away with it, unless it is another's by then.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device_and_inode: (u64, u64),
}

/// The owner and the group may connect.
const SOCKET_MODE: u32 = 0o660;
/// Connections that the kernel may keep waiting while we are busy, or have as many as we take. It may have a limit
/// of its own (`net.core.somaxconn`).
const BACKLOG: u32 = 1024;

impl Bound {
    /// Binds and gives the address with the port that the kernel chose.
    pub(crate) async fn bind(at: &Address) -> io::Result<(Self, Address)> {
        match at {
            Address::Tcp(address) => {
                let listener = listen(*address)?;
                let bound = Address::Tcp(listener.local_addr()?);
                Ok((Self::Tcp(listener), bound))
            }
            Address::Unix(path) => {
                let (listener, file) = bind_unix(path).await?;
                Ok((
                    Self::Unix {
                        listener,
                        _file: file,
                    },
                    at.clone(),
                ))
            }
        }
    }

    /// The next connection and who is at its other end.
    pub(crate) async fn accept(&self) -> io::Result<(Socket, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Answers are written whole; waiting to fill a packet only adds latency.
                if let Err(error) = stream.set_nodelay(true) {
                    debug!("cannot turn off delays: {error}");
                }
                Ok((Socket::Tcp(stream), Some(address.ip().to_canonical())))
            }
            Self::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                Ok((Socket::Unix(stream), None))
            }
        }
    }
}

fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = match at {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart need not wait for what is left of the last process's connections.
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

/// Binds beside the path and moves into place, so that nobody finds a socket there whose permissions are not yet
/// set, and a dead one is replaced in one step.
async fn bind_unix(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    check_free(path).await?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(name);
    remove_if_there(&beside)?;
    let socket = UnixSocket::new_stream()?;
    socket.bind(&beside)?;
    let listener = socket.listen(BACKLOG)?;
    let file = place(&beside, path).inspect_err(|_| _ = remove_if_there(&beside))?;
    Ok((listener, file))
}

fn place(from: &Path, to: &Path) -> io::Result<SocketFile> {
    std::fs::set_permissions(from, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    std::fs::rename(from, to)?;
    let metadata = std::fs::symlink_metadata(to)?;
    Ok(SocketFile {
        path: to.to_owned(),
        device_and_inode: (metadata.dev(), metadata.ino()),
    })
}

/// Nothing there, or a socket that nobody answers on.
async fn check_free(path: &Path) -> io::Result<()> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the path is taken by something that is not a socket",
        ));
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process answers on the socket",
        )),
        Err(error) => Err(error),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|now| (now.dev(), now.ino()) == self.device_and_inode);
        if is_ours && let Err(error) = std::fs::remove_file(&self.path) {
            debug!("cannot remove the socket: {error}");
        }
    }
}
