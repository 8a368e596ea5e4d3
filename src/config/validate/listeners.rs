//! Where we listen, what stands behind the proxy, and who may ask.

use std::net::{Ipv4Addr, SocketAddr};

use authn_proxy::config::UpstreamConfig;
use callers::CallerConfig;
use settings::Address;

use super::super::{ConfigFile, Listen};
use super::{Check, below};

impl Check {
    pub(super) fn listen(&mut self, file: &mut ConfigFile) -> Listen {
        let Some(config) = file.listen.take() else {
            let local = |port| Some(Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
            let everywhere = Address::Tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8000)));
            return Listen {
                proxy: file.upstream.is_some().then_some(everywhere),
                decisions: local(8180),
                telemetry: local(9180),
                ..Listen::default()
            };
        };
        let resolve = |address: Option<Address>| match address {
            Some(Address::Unix(path)) => Some(Address::Unix(self.places.resolve(&path))),
            other => other,
        };
        let listen = Listen {
            proxy: resolve(config.proxy),
            decisions: resolve(config.decisions),
            telemetry: resolve(config.telemetry),
            ext_authz_grpc: resolve(config.ext_authz_grpc),
            ext_authz_http: resolve(config.ext_authz_http),
        };
        if listen == Listen::default() {
            self.add(
                "listen",
                "names nothing to serve: give `proxy`, `decisions`, `ext_authz_grpc` or another",
            );
        }
        let named = listen.named();
        for (at, (name, address)) in named.iter().enumerate() {
            for (other, earlier) in named.iter().take(at) {
                if let (Some(address), Some(earlier)) = (*address, *earlier)
                    && collide(address, earlier)
                {
                    let message = format!("is the address of `listen.{other}` too: `{address}`");
                    self.add(&format!("listen.{name}"), message);
                }
            }
        }
        listen
    }

    pub(super) fn upstream(&mut self, upstream: Option<&UpstreamConfig>, listen: &Listen) {
        let Some(upstream) = upstream else {
            if listen.proxy.is_some() {
                self.add(
                    "upstream",
                    "is missing: `listen.proxy` needs a service to stand in front of",
                );
            }
            return;
        };
        for (key, message) in upstream.problems() {
            self.add(&below("upstream", &key), message);
        }
        if let (Ok(authority), Some(proxy)) = (upstream.authority(), &listen.proxy)
            && is_own(&authority, proxy)
        {
            self.add(
                "upstream.url",
                "is where the proxy itself listens: requests would go round in circles",
            );
        }
    }

    pub(super) fn callers(&mut self, file: &ConfigFile, listen: &Listen) {
        let callers = &file.callers;
        for (key, message) in CallerConfig::problems(callers, &file.issuers) {
            self.add(&format!("callers{key}"), message);
        }
        if let Some(decisions) = &listen.decisions
            && !decisions.is_local()
            && callers.is_empty()
            && !self.places.refused("callers")
        {
            let message = format!(
                "`callers` is missing: at `{decisions}` more than this machine can connect, so callers have to be known"
            );
            self.add("listen.decisions", message);
        }
    }
}

/// Whether only one of two listeners could be bound.
fn collide(a: &Address, b: &Address) -> bool {
    match (a, b) {
        (Address::Tcp(a), Address::Tcp(b)) => {
            a.port() != 0
                && a.port() == b.port()
                && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
        }
        (Address::Unix(a), Address::Unix(b)) => a == b,
        _ => false,
    }
}

/// Whether an upstream is the proxy itself, as far as can be seen without asking the network.
fn is_own(upstream: &http::uri::Authority, proxy: &Address) -> bool {
    let Address::Tcp(proxy) = proxy else {
        return false;
    };
    let host = upstream.host();
    let address = match host {
        "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        host => host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .ok(),
    };
    proxy.port() == upstream.port_u16().unwrap_or(80)
        && address.is_some_and(|address| {
            address == proxy.ip() || (proxy.ip().is_unspecified() && address.is_loopback())
        })
}
