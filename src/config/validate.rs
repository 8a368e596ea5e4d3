//! What a configuration must hold beyond the types of its keys.

mod ext_authz;
mod issuers;
mod listeners;

use std::path::PathBuf;

use authn_proxy::config::{Protocol, RouteFile, RoutesConfig};
use authn_proxy::{Realm, RouteTable};
use pdp::{Namespace, PoliciesConfig, PolicySource};
use settings::{Document, Environment, Loaded, Problem};

use super::{Config, ConfigFile, DecisionLogSink, Read, Routes};

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
        for (key, message) in file.tokens.problems() {
            self.add(&format!("tokens.{key}"), message);
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
            tokens,
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
            tokens,
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
