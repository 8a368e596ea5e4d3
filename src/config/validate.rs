//! What a configuration must hold beyond the types of its keys.

mod ext_authz;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use authn_proxy::config::{Protocol, RouteFile, RoutesConfig, UpstreamConfig};
use authn_proxy::principal::Principals;
use authn_proxy::{Realm, RouteTable};
use callers::CallerConfig;
use identity::config::{Kind, SessionSource, UserStatusSource};
use identity::{Issuers, Standing};
use pdp::{Namespace, PoliciesConfig, PolicySource};
use prometheus::Registry;
use settings::{Address, Document, Environment, Loaded, Problem};

use super::{Config, ConfigFile, DecisionLogSink, Listen, Read, Routes};

const UNAVAILABLE: &str = "is not available in this version; remove it";

/// The longest request target that the listener can be told to take, in bytes.
const MAX_URI_BYTES: u64 = 65_534;

/// Checks all sections, each by itself and then with the others.
pub(super) fn validate(loaded: Loaded<ConfigFile>, env: Environment<'_>) -> Read {
    let Loaded { document, problems } = loaded;
    let Some(document) = document else {
        return Read {
            config: None,
            problems,
        };
    };
    let (file, places) = document.split();
    let mut check = Check { places, problems };
    let config = check.all(file, env);
    let Check { places, problems } = check;
    Read {
        config: config.map(|make| make(places)),
        problems,
    }
}

struct Check {
    places: Document<()>,
    problems: Vec<Problem>,
}

impl Check {
    /// All checks, and how to make the configuration of what passed them.
    fn all(
        &mut self,
        mut file: ConfigFile,
        env: Environment<'_>,
    ) -> Option<impl FnOnce(Document<()>) -> Config + use<>> {
        self.unavailable(&file);
        let listen = self.listen(&mut file);
        self.upstream(file.upstream.as_ref(), &listen);
        self.callers(&file, &listen);
        self.numbers(&file);
        for (key, message) in file.cache.problems() {
            self.add(&format!("cache.{key}"), message);
        }
        for (key, message) in file.avp_api.problems() {
            self.add(&format!("avp_api.{key}"), message);
        }
        if let Err(message) = Realm::new(&file.realm) {
            self.add("realm", message);
        }
        let namespace = self.policies(file.policies.as_mut());
        for (key, message) in file.authzen.problems(&namespace, None) {
            self.add(&format!("authzen.{key}"), message);
        }
        let routes = self.routes("routes", file.routes.as_ref(), &namespace, env);
        let route_sets = self.ext_authz(&file, &listen, &namespace, env);
        self.streams(&file, &routes);
        let all = route_sets.values().chain([&routes]);
        self.issuers(&file, all, &namespace);
        self.standing(&file);
        if let DecisionLogSink::File(path) = &mut file.decision_log.to {
            *path = self.places.resolve(path);
        }
        let ConfigFile {
            upstream,
            streams,
            policies,
            issuers,
            redis,
            cognito,
            callers,
            forwarded,
            realm,
            decision_log,
            limits,
            timeouts,
            decision_api,
            engine,
            cache,
            avp_api,
            ext_authz,
            authzen,
            ..
        } = file;
        let policies = policies?;
        Some(move |places| Config {
            listen,
            upstream,
            streams,
            policies,
            routes,
            route_sets,
            issuers,
            redis,
            cognito,
            callers,
            forwarded,
            realm,
            decision_log,
            limits,
            timeouts,
            decision_api,
            engine,
            cache,
            avp_api,
            ext_authz,
            authzen,
            places,
        })
    }

    /// What is known and not served is refused: nobody may rely on what does not happen.
    fn unavailable(&mut self, file: &ConfigFile) {
        let listen = file.listen.as_ref();
        for (key, given) in [
            ("fallback", file.fallback.is_some()),
            (
                "listen.admin",
                listen.is_some_and(|listen| listen.admin.is_some()),
            ),
        ] {
            if given {
                self.add(key, UNAVAILABLE);
            }
        }
    }

    fn listen(&mut self, file: &mut ConfigFile) -> Listen {
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

    fn upstream(&mut self, upstream: Option<&UpstreamConfig>, listen: &Listen) {
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

    fn callers(&mut self, file: &ConfigFile, listen: &Listen) {
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

    fn numbers(&mut self, file: &ConfigFile) {
        let limits = &file.limits;
        let timeouts = &file.timeouts;
        let api = &file.decision_api;
        for (key, zero) in [
            ("limits.connections", limits.connections == 0),
            ("limits.in_flight", limits.in_flight == 0),
            ("limits.header_bytes", limits.header_bytes.0 == 0),
            ("limits.headers", limits.headers == 0),
            ("limits.uri_bytes", limits.uri_bytes.0 == 0),
            ("limits.h2_streams", limits.h2_streams == 0),
            ("timeouts.header", timeouts.header.0.is_zero()),
            ("timeouts.idle", timeouts.idle.0.is_zero()),
            ("timeouts.body", timeouts.body.0.is_zero()),
            ("timeouts.write", timeouts.write.0.is_zero()),
            ("decision_api.request_bytes", api.request_bytes.0 == 0),
            ("decision_api.batch_bytes", api.batch_bytes.0 == 0),
            ("decision_api.batch_items", api.batch_items == 0),
            ("decision_api.batch_cpu", api.batch_cpu.0.is_zero()),
            ("decision_api.nesting", api.nesting == 0),
        ] {
            if zero {
                self.add(key, "must be more than zero: nothing could pass");
            }
        }
        if !(0.0..=1.0).contains(&file.engine.verify_sample) {
            self.add("engine.verify_sample", "must be from 0 to 1");
        }
        if limits.uri_bytes.0 > MAX_URI_BYTES {
            self.add(
                "limits.uri_bytes",
                format!("must be at most {MAX_URI_BYTES}"),
            );
        }
    }

    /// The namespace of names that have none; the empty one when it is wrong.
    fn policies(&mut self, policies: Option<&mut PoliciesConfig>) -> Namespace {
        let Some(policies) = policies else {
            self.add(
                "policies",
                "is missing: without policies nothing is allowed",
            );
            return Namespace::default();
        };
        policies.resolve(|path| self.places.resolve(path));
        match &policies.source {
            PolicySource::Dir(_) => {}
            PolicySource::Bundle(_) => self.add("policies.source.bundle", UNAVAILABLE),
            PolicySource::Avp(_) => self.add("policies.source.avp", UNAVAILABLE),
        }
        if policies.schema.is_none()
            && !policies.allow_no_schema
            && !self.places.refused("policies.allow_no_schema")
        {
            self.add(
                "policies.schema",
                "is missing: mistakes in policies would be found only when they decide; `allow_no_schema: true` accepts that",
            );
        }
        if policies.max_staleness.0.is_zero() {
            self.add(
                "policies.max_staleness",
                "must be more than zero: no policy could ever decide",
            );
        }
        match Namespace::new(policies.namespace.as_deref()) {
            Ok(namespace) => namespace,
            Err(error) => {
                self.add("policies.namespace", error.to_string());
                Namespace::default()
            }
        }
    }

    /// The routes below `key`.
    fn routes(
        &mut self,
        key: &str,
        config: Option<&RoutesConfig>,
        namespace: &Namespace,
        env: Environment<'_>,
    ) -> Routes {
        let (list, places) = match config {
            None => (Vec::new(), None),
            Some(RoutesConfig::List(list)) => (list.clone(), None),
            Some(RoutesConfig::File(config)) => {
                let path: PathBuf = self.places.resolve(&config.file);
                let Loaded { document, problems } = settings::load::<RouteFile>(&path, env);
                self.problems.extend(problems);
                match document.map(Document::split) {
                    Some((file, places)) => (file.routes, Some(places)),
                    None => (Vec::new(), None),
                }
            }
        };
        let routes = Routes {
            key: key.to_owned(),
            list,
            places,
        };
        let problems = RouteTable::compile(&routes.list, namespace)
            .err()
            .unwrap_or_default();
        for (key, message) in problems {
            let (places, key) = routes.place(&self.places, &key);
            if !places.refused(&key) {
                let problem = places.problem(&key, message);
                self.insert(problem);
            }
        }
        routes
    }

    /// What lasts, and whether the upstream can be spoken to in another protocol than HTTP.
    fn streams(&mut self, file: &ConfigFile, routes: &Routes) {
        for (key, message) in file.streams.problems() {
            self.add(&below("streams", &key), message);
        }
        let upstream = file.upstream.as_ref();
        if upstream.is_some_and(|upstream| upstream.protocol == Protocol::Http2)
            && routes.list.iter().any(|route| !route.upgrade.is_empty())
        {
            self.add(
                "upstream.protocol",
                "must be `http1` where a route has `upgrade`: no connection leaves HTTP/2",
            );
        }
    }

    fn issuers<'r>(
        &mut self,
        file: &ConfigFile,
        mut routes: impl Iterator<Item = &'r Routes>,
        namespace: &Namespace,
    ) {
        if file.issuers.is_empty() {
            if routes.any(|routes| routes.list.iter().any(|route| !route.public)) {
                self.add(
                    "issuers",
                    "is missing: routes that are not `public` need somebody whose tokens are believed",
                );
            }
            return;
        }
        // Made to be judged; those that serve are made with the registry that is served.
        if let Err(problems) = Issuers::new(&file.issuers, self.places.base(), &Registry::new()) {
            for (key, message) in problems {
                self.add(&format!("issuers{key}"), message);
            }
        }
        for (index, issuer) in file.issuers.iter().enumerate() {
            let key = format!("issuers[{index}].token_use");
            if issuer.token_use.is_empty() && self.places.given(&key) {
                self.add(&key, "must not be empty; leave it out for the default");
            }
        }
        if let Err(problems) = Principals::new(&file.issuers, namespace) {
            for (key, message) in problems {
                self.add(&key, message);
            }
        }
    }

    /// Redis and the user pool, and whether they are there where somebody needs them.
    fn standing(&mut self, file: &ConfigFile) {
        // Made to be judged, like the issuers.
        let (redis, cognito) = (file.redis.as_ref(), file.cognito.as_ref());
        let made = Standing::new(redis, cognito, self.places.base(), &Registry::new());
        for (key, message) in made.err().unwrap_or_default() {
            self.add(&key, message);
        }
        let common = cognito.map(|cognito| cognito.user_pool_id.as_str());
        for (index, issuer) in file.issuers.iter().enumerate() {
            let pool = issuer.user_pool.as_deref().or(common);
            if issuer.user_pool.is_some() && issuer.user_status != UserStatusSource::Cognito {
                let key = format!("issuers[{index}].user_pool");
                self.add(&key, "has no meaning without `user_status: cognito`");
            }
            let is_pools_own = |url: &String| url.rsplit('/').next() == pool;
            if let Some(pool) = pool
                && issuer.kind == Kind::Cognito
                && issuer.user_status == UserStatusSource::Cognito
                && !issuer.issuer.iter().all(is_pools_own)
            {
                let message = format!(
                    "would ask the pool `{pool}` about the users of another: name theirs in `user_pool`"
                );
                self.add(&format!("issuers[{index}].user_status"), message);
            }
            let (session, status) = (issuer.session, issuer.user_status);
            for (key, section, lacking) in [
                (
                    "session",
                    "redis",
                    session == SessionSource::Redis && redis.is_none(),
                ),
                (
                    "user_status",
                    "redis",
                    status == UserStatusSource::Redis && redis.is_none(),
                ),
                (
                    "user_status",
                    "cognito",
                    status == UserStatusSource::Cognito && cognito.is_none(),
                ),
            ] {
                if lacking && !self.places.refused(section) {
                    let key = format!("issuers[{index}].{key}");
                    self.add(
                        &key,
                        format!("needs the section `{section}`, which says where it is"),
                    );
                }
            }
        }
    }

    /// Notes what is wrong with a key, unless the file's own value for it was refused: then its absence, or what is
    /// left of it, is no news.
    fn add(&mut self, key: &str, message: impl Into<String>) {
        if self.places.refused(key) {
            return;
        }
        let problem = self.places.problem(key, message);
        self.insert(problem);
    }

    /// One problem a key: what two parts both find wrong is told once.
    fn insert(&mut self, problem: Problem) {
        let known = self
            .problems
            .iter()
            .any(|known| known.file == problem.file && known.key == problem.key);
        if !known {
            self.problems.push(problem);
        }
    }
}

fn below(section: &str, key: &str) -> String {
    if key.is_empty() {
        section.to_owned()
    } else {
        format!("{section}.{key}")
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
