//! A real Envoy with one worker and a listener for each authorizer, in front of the upstream.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use benches::load::Error;
use benches::process::Process;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A running Envoy.
pub(crate) struct Envoy {
    /// Its listeners, one for each authorizer.
    pub(crate) at: Vec<SocketAddr>,
    pub(crate) process: Process,
    _folder: TempDir,
}

/// Starts an Envoy with a listener for each authorizer, which is asked about every request that comes in there. It is one
/// process, so that where code and data happen to lie is the same for all.
pub(crate) fn start(
    binary: &Path,
    authorizers: &[SocketAddr],
    upstream: SocketAddr,
) -> Result<Envoy, Error> {
    let binary = benches::harness::existing(binary)?;
    let fronts = free(authorizers.len())?;
    let last = *fronts.last().ok_or("no authorizers")?;
    let folder = tempfile::Builder::new()
        .prefix("portcullis-envoy-")
        .tempdir()?;
    let file = folder.path().join("envoy.json");
    let configuration = configuration(&fronts, authorizers, upstream);
    fs::write(&file, configuration.to_string())?;
    let mut command = Command::new(binary);
    command
        .args(["--use-dynamic-base-id", "--disable-hot-restart"])
        .args(["--concurrency", "1", "--log-level", "error", "-c"])
        .arg(&file);
    Ok(Envoy {
        // Listeners are opened in their order.
        process: Process::start_at(command, last)?,
        at: fronts,
        _folder: folder,
    })
}

/// So many addresses, free now, and nobody else's until Envoy takes them: a run that fails here can be repeated.
fn free(count: usize) -> Result<Vec<SocketAddr>, Error> {
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listeners: Vec<TcpListener> = (0..count).map(bind).collect::<Result<_, _>>()?;
    let addresses = listeners.iter().map(TcpListener::local_addr);
    Ok(addresses.collect::<Result<_, _>>()?)
}

fn configuration(fronts: &[SocketAddr], authorizers: &[SocketAddr], upstream: SocketAddr) -> Value {
    let http2 = json!({ "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": { "http2_protocol_options": {} },
    } });
    let mut listeners = Vec::new();
    let mut clusters = vec![cluster("upstream", upstream, &json!({}))];
    for (number, (front, authorizer)) in fronts.iter().zip(authorizers).enumerate() {
        let name = format!("authorizer-{number}");
        listeners.push(listener(*front, &name));
        clusters.push(cluster(&name, *authorizer, &http2));
    }
    json!({ "static_resources": { "listeners": listeners, "clusters": clusters } })
}

fn listener(at: SocketAddr, authorizer: &str) -> Value {
    let check = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "failure_mode_allow": false,
        "grpc_service": { "envoy_grpc": { "cluster_name": authorizer }, "timeout": "1s" },
    });
    let router = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
    });
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "route_config": { "virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "upstream" } }],
        }] },
        "http_filters": [
            { "name": "envoy.filters.http.ext_authz", "typed_config": check },
            { "name": "envoy.filters.http.router", "typed_config": router },
        ],
    });
    json!({
        "name": format!("asks-{authorizer}"),
        "address": socket(at),
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.http_connection_manager", "typed_config": manager,
        }] }],
    })
}

fn cluster(name: &str, at: SocketAddr, options: &Value) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": options,
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": socket(at) } }] }] },
    })
}

fn socket(at: SocketAddr) -> Value {
    json!({ "socket_address": { "address": at.ip().to_string(), "port_value": at.port() } })
}
