//! Reading a key set from a URL or a file, within limits.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::CACHE_CONTROL;
use reqwest::{Certificate, Client, StatusCode, redirect};
use url::{Host, Url};

/// The largest set, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// Where a key set is published. Two issuers with one source share its keys and its fetches.
#[derive(Clone)]
pub(crate) enum Source {
    /// `https`, or `http` on loopback.
    Url {
        url: Url,
        client: Client,
        deadline: Duration,
    },
    /// A file on this machine.
    File(PathBuf),
}

/// What changes when a file is written, replaced, or reached through another symbolic link. The
/// time of change cannot be set, as that of modification is by whoever copies a file with its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What a source returned.
pub(crate) struct Fetched {
    pub(crate) bytes: Vec<u8>,
    /// The file that was read.
    pub(crate) stamp: Option<Stamp>,
    /// How long the publisher says it holds.
    pub(crate) max_age: Option<Duration>,
}

/// Why nothing could be read. The text names no URL: it is shown to operators beside the issuer.
#[derive(Debug)]
pub(crate) struct FetchError(String);

// === impl Source ===

impl Source {
    /// The source at a URL, or what is wrong with that URL.
    pub(crate) fn url(text: &str, deadline: Duration) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("`{text}` is no URL: {error}"))?;
        let loopback = is_loopback(&url);
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            _ => return Err("keys are fetched over https (http only from loopback)".into()),
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err("the URL may hold neither credentials nor a fragment".into());
        }
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(deadline)
            .timeout(deadline)
            .user_agent("portcullis");
        if loopback {
            builder = builder.no_proxy();
        }
        if url.scheme() == "http" {
            // No TLS is spoken here, so a machine without root certificates will do.
            builder = builder.tls_certs_only(std::iter::empty::<Certificate>());
        }
        let client = builder
            .build()
            .map_err(|error| format!("no HTTP client: {}", cause(&error)))?;
        Ok(Self::Url {
            url,
            client,
            deadline,
        })
    }

    /// What tells sources apart.
    pub(crate) fn id(&self) -> String {
        match self {
            Self::Url { url, .. } => url.to_string(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// The file as it is now; `None` when it is not to be had. A URL gives no sign.
    pub(crate) async fn stamp(&self) -> Option<Stamp> {
        match self {
            Self::Url { .. } => None,
            Self::File(path) => {
                let path = path.clone();
                // A network file system may take its time, or for ever.
                tokio::task::spawn_blocking(move || fs::metadata(path))
                    .await
                    .ok()?
                    .ok()
                    .map(|metadata| Stamp::of(&metadata))
            }
        }
    }

    /// Reads the source once, within its deadline.
    pub(crate) async fn fetch(&self) -> Result<Fetched, FetchError> {
        match self {
            Self::Url {
                url,
                client,
                deadline,
            } => tokio::time::timeout(*deadline, get(client, url))
                .await
                .map_err(|_| FetchError("timed out".into()))?,
            Self::File(path) => {
                let path = path.clone();
                tokio::task::spawn_blocking(move || read_file(&path))
                    .await
                    .map_err(|_| FetchError("the read was interrupted".into()))?
            }
        }
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id())
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

async fn get(client: &Client, url: &Url) -> Result<Fetched, FetchError> {
    let failed = |error: reqwest::Error| FetchError(cause(&error.without_url()));
    let mut response = client.get(url.clone()).send().await.map_err(failed)?;
    if response.status() != StatusCode::OK {
        return Err(FetchError(format!("status {}", response.status().as_u16())));
    }
    let max_age = response
        .headers()
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .find_map(max_age);
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if bytes.len() + chunk.len() > MAX_BYTES {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Fetched {
        bytes,
        stamp: None,
        max_age,
    })
}

/// Reads a key file. It blocks, for as long as a local file takes.
pub(crate) fn read_file(path: &Path) -> Result<Fetched, FetchError> {
    let failed = |error: io::Error| FetchError(format!("cannot read the file: {error}"));
    // Before it is opened: that of a pipe or a device may never end.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(FetchError("the file is not a regular file".into()));
    }
    let file = File::open(path).map_err(failed)?;
    let stamp = Stamp::of(&file.metadata().map_err(failed)?);
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > MAX_BYTES {
        return Err(too_large());
    }
    Ok(Fetched {
        bytes,
        stamp: Some(stamp),
        max_age: None,
    })
}

fn too_large() -> FetchError {
    FetchError(format!("larger than {MAX_BYTES} bytes"))
}

/// The `max-age` directive of a `Cache-Control` value (RFC 9111, 5.2).
fn max_age(value: &str) -> Option<Duration> {
    value.split(',').find_map(|directive| {
        let (name, seconds) = directive.trim().split_once('=')?;
        if !name.eq_ignore_ascii_case("max-age") {
            return None;
        }
        seconds
            .trim_matches('"')
            .parse()
            .ok()
            .map(Duration::from_secs)
    })
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

/// The innermost reason of an error, which is the one that an operator can act on.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
