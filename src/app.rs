//! The composition root: from a configuration to a running process. Only this file knows all parts.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use authn_proxy::ext_authz::{self, Checker, GrpcService, HttpService};
use authn_proxy::principal::Principals;
use authn_proxy::proxy::{self, ReverseProxy};
use authn_proxy::{Gate, Realm};
use axum::Router;
use axum::body::Body;
use callers::Callers;
use hyper::service::service_fn;
use identity::{Issuers, Options, Standing};
use listener::{Drain, DrainTrigger, Listener};
use pdp::api::{AnswerBody, DecisionApi};
use pdp::{Authzen, Pdp};
use prometheus::Registry;
use settings::{Address, Problem};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower_service::Service as _;
use tracing::{Instrument as _, info, info_span, warn};

use crate::config::Config;
use crate::telemetry::{self, Telemetry};

/// How often readiness is looked at while it is awaited.
const READINESS_INTERVAL: Duration = Duration::from_millis(10);

/// A running process: everything is loaded, every port is bound and answers.
pub(crate) struct Bound {
    addresses: Vec<(&'static str, Address)>,
    telemetry: Arc<Telemetry>,
    /// One task for each listener; it ends when its connections have.
    servers: JoinSet<()>,
    /// What keeps policies and keys fresh.
    background: JoinSet<()>,
    drain: DrainTrigger,
    /// Set when the background work shall end, which is after the last request.
    stop: watch::Sender<bool>,
    drain_deadline: Duration,
}

/// The parts that decide, put together and not yet reachable.
struct System {
    pdp: Arc<Pdp>,
    issuers: Arc<Issuers>,
    standing: Arc<Standing>,
    gate: Arc<Gate>,
    authzen: Authzen,
}

/// Why the process could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The configuration, or something that it names, is wrong.
    #[error("the configuration has mistakes")]
    Configuration(Vec<Problem>),
    /// An address could not be bound.
    #[error("cannot listen on `{address}` ({name}): {source}")]
    Bind {
        /// The key under `listen:`.
        name: &'static str,
        /// What was asked for.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// The system gave no random numbers, or two parts registered one metric.
    #[error("cannot start the proxy: {0}")]
    Proxy(proxy::StartError),
    /// What is told of the gRPC services cannot be read: a defect of ours.
    #[error("cannot describe the gRPC services: {0}")]
    Descriptors(#[from] ext_authz::DescriptorError),
    /// Two parts registered one metric: a defect of ours.
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

// === impl Bound ===

impl Bound {
    /// Loads what the configuration names, binds every port and begins to serve.
    ///
    /// # Errors
    /// Every mistake in what the configuration names, at once; or the first port that is not to be
    /// had. Nothing has been answered then.
    pub(crate) async fn start(config: Config, registry: Registry) -> Result<Self, StartError> {
        let System {
            pdp,
            issuers,
            standing,
            gate,
            authzen,
        } = System::open(&config, &registry)?;
        let checker = checker(&config, &gate, &registry)?;
        let bearers = gate.bearers();
        let reverse_proxy = reverse_proxy(&config, gate, &registry)?;
        let listeners = bind(&config, &registry).await?;

        let telemetry = Arc::new(Telemetry {
            registry,
            pdp: Arc::clone(&pdp),
            issuers: Arc::clone(&issuers),
            standing: Arc::clone(&standing),
            draining: AtomicBool::new(false),
        });
        let (stop, stopped) = watch::channel(false);
        let mut background = JoinSet::new();
        let until_stop = |mut stopped: watch::Receiver<bool>| async move {
            // A sender that is gone has stopped, too.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        background.spawn(
            Arc::clone(&pdp)
                .watch(until_stop(stopped.clone()))
                .instrument(info_span!("policies")),
        );
        background.spawn(
            Arc::clone(&issuers)
                .run(until_stop(stopped.clone()))
                .instrument(info_span!("keys")),
        );
        background.spawn(
            Arc::clone(&standing)
                .run(until_stop(stopped))
                .instrument(info_span!("standing")),
        );

        let (trigger, drain) = listener::drain();
        let addresses = listeners
            .iter()
            .map(|(name, at)| (*name, at.address().clone()))
            .collect();
        let mut servers = JoinSet::new();
        for (name, listener) in listeners {
            let drain = drain.clone();
            let span = info_span!("serve", listener = name);
            match (name, &reverse_proxy) {
                ("proxy", Some(service)) => {
                    let serving = listener.serve(service.clone(), proxy::refuse, drain);
                    servers.spawn(serving.instrument(span));
                }
                ("ext_authz_grpc", _) => {
                    let Some(checker) = checker.clone() else {
                        continue;
                    };
                    let service = GrpcService::new(checker).await?;
                    let serving =
                        listener
                            .with_small_answers()
                            .serve(service, ext_authz::refuse_grpc, drain);
                    servers.spawn(serving.instrument(span));
                }
                ("ext_authz_http", _) => {
                    let Some(checker) = checker.clone() else {
                        continue;
                    };
                    let service = HttpService::new(checker);
                    let serving =
                        listener
                            .with_small_answers()
                            .serve(service, ext_authz::refuse_http, drain);
                    servers.spawn(serving.instrument(span));
                }
                ("decisions", _) => {
                    let callers = Callers::new(&config.callers, listener.address()).asking(
                        &config.callers,
                        Arc::clone(&issuers),
                        Arc::clone(&standing),
                    );
                    let limits = config.decision_api.clone();
                    let avp = config.avp_api.clone();
                    let authzen = authzen.clone().listening_at(listener.address());
                    let bearers = bearers.clone();
                    let pdp = Arc::clone(&pdp);
                    let api = DecisionApi::new(pdp, callers, limits, avp, bearers, authzen);
                    servers.spawn(serve_decisions(listener, api, drain).instrument(span));
                }
                _ => {
                    let api = telemetry::router(Arc::clone(&telemetry));
                    servers.spawn(serve_api(listener, api, drain).instrument(span));
                }
            }
        }
        Ok(Self {
            addresses,
            telemetry,
            servers,
            background,
            drain: trigger,
            stop,
            drain_deadline: config.timeouts.drain.0,
        })
    }

    /// What listens where; port 0 is resolved.
    pub(crate) fn addresses(&self) -> &[(&'static str, Address)] {
        &self.addresses
    }

    /// Where one listener is.
    pub(crate) fn address(&self, name: &str) -> Option<&Address> {
        self.addresses
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, address)| address)
    }

    /// Serves until `shutdown`, then drains: unready, no new connections, requests in flight finish
    /// within the deadline. Calls `ready` once, when traffic may be sent here.
    pub(crate) async fn run(mut self, shutdown: impl Future<Output = ()>, ready: impl FnOnce()) {
        let mut shutdown = std::pin::pin!(shutdown);
        let telemetry = Arc::clone(&self.telemetry);
        let becoming_ready = async move {
            let mut ticks = tokio::time::interval(READINESS_INTERVAL);
            while !telemetry.ready() {
                ticks.tick().await;
            }
            ready();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = &mut shutdown => {}
            () = becoming_ready => {}
        }
        self.telemetry.draining.store(true, Ordering::Relaxed);
        self.drain.start(self.drain_deadline);
        while self.servers.join_next().await.is_some() {}
        self.stop.send_replace(true);
        while self.background.join_next().await.is_some() {}
        info!("drained");
    }
}

// === impl System ===

impl System {
    /// Loads policies, keys and routes and holds them against each other.
    fn open(config: &Config, registry: &Registry) -> Result<Self, StartError> {
        let mut problems = Vec::new();
        let options = Options {
            cache_bytes: config.tokens.cache_bytes.0,
            ..Options::default()
        };
        let issuers = Issuers::with_options(&config.issuers, config.base(), registry, options);
        let issuers = issuers.map_err(|mistakes| {
            let placed = |(key, message)| config.problem(&format!("issuers{key}"), message);
            mistakes.into_iter().map(placed).collect()
        });
        let issuers = keep(issuers, &mut problems);
        let sources = (config.redis.as_ref(), config.cognito.as_ref());
        let standing = Standing::new(sources.0, sources.1, config.base(), registry);
        let pace = config.streams.revalidate.0;
        let standing = standing.map(|standing| {
            let standing = standing.asking_pools_of(&config.issuers);
            Arc::new(standing.asking_every(pace))
        });
        let standing = standing.map_err(|mistakes| {
            let placed = |(key, message): (String, String)| config.problem(&key, message);
            mistakes.into_iter().map(placed).collect()
        });
        let standing = keep(standing, &mut problems);
        let pdp = Pdp::open(&config.policies, registry).map_err(|mistakes| {
            mistakes
                .into_iter()
                .map(|problem| config.place(problem))
                .collect()
        });
        let parts = keep(pdp, &mut problems).and_then(|pdp| {
            pdp.verify(config.engine.verify_sample);
            pdp.keep_answers(config.cache);
            if let Some(schema) = pdp.snapshot().schema() {
                let fit = config.fit(schema, pdp.namespace());
                for warning in fit.warnings {
                    warn!(%warning, "the configuration can be improved");
                }
                problems.extend(fit.problems);
            }
            let routes = keep(config.route_table(pdp.namespace()), &mut problems);
            let sets = keep(config.route_set_tables(pdp.namespace()), &mut problems);
            let principals =
                Principals::new(&config.issuers, pdp.namespace()).map_err(|mistakes| {
                    let placed = |(key, message): (String, String)| config.problem(&key, message);
                    mistakes.into_iter().map(placed).collect()
                });
            let principals = keep(principals, &mut problems);
            let authzen =
                Authzen::new(&config.authzen, pdp.namespace(), None).map_err(|mistakes| {
                    let placed = |(key, message): (String, String)| {
                        config.problem(&format!("authzen.{key}"), message)
                    };
                    mistakes.into_iter().map(placed).collect()
                });
            let authzen = keep(authzen, &mut problems);
            Some((pdp, (routes?, sets?), principals?, authzen?))
        });
        match (issuers, standing, parts) {
            (Some(issuers), Some(standing), Some((pdp, (routes, sets), principals, authzen)))
                if problems.is_empty() =>
            {
                let gate = Gate::new(routes, Arc::clone(&issuers), principals, Arc::clone(&pdp))
                    .with_route_sets(sets)
                    .asking(Arc::clone(&standing))
                    .measured(registry)?;
                Ok(Self {
                    pdp,
                    issuers,
                    standing,
                    gate: Arc::new(gate),
                    authzen,
                })
            }
            _ => Err(StartError::Configuration(problems)),
        }
    }
}

/// Sets the problems aside, so that those of the next part are found in the same run.
fn keep<T>(part: Result<T, Vec<Problem>>, problems: &mut Vec<Problem>) -> Option<T> {
    part.map_err(|mistakes| problems.extend(mistakes)).ok()
}

/// The proxy, where there is an upstream to stand in front of.
fn reverse_proxy(
    config: &Config,
    gate: Arc<Gate>,
    registry: &Registry,
) -> Result<Option<ReverseProxy>, StartError> {
    let Some(upstream) = &config.upstream else {
        return Ok(None);
    };
    let realm = Realm::new(&config.realm)
        .map_err(|message| StartError::Configuration(vec![config.problem("realm", message)]))?;
    let (streams, forwarded) = (&config.streams, &config.forwarded);
    match ReverseProxy::new(gate, upstream, streams, forwarded, realm, registry) {
        Ok(service) => Ok(Some(service)),
        Err(proxy::StartError::Upstream(mistakes)) => {
            let placed = |(key, message): (String, String)| {
                config.problem(&format!("upstream.{key}"), message)
            };
            Err(StartError::Configuration(
                mistakes.into_iter().map(placed).collect(),
            ))
        }
        Err(error) => Err(StartError::Proxy(error)),
    }
}

/// What answers Envoy, where it may ask.
fn checker(
    config: &Config,
    gate: &Arc<Gate>,
    registry: &Registry,
) -> Result<Option<Arc<Checker>>, StartError> {
    if config.listen.ext_authz_grpc.is_none() && config.listen.ext_authz_http.is_none() {
        return Ok(None);
    }
    let realm = Realm::new(&config.realm)
        .map_err(|message| StartError::Configuration(vec![config.problem("realm", message)]))?;
    let checker = Checker::new(
        Arc::clone(gate),
        &config.ext_authz,
        &config.forwarded,
        realm,
        registry,
    )?;
    Ok(Some(checker))
}

/// Binds every port before one of them serves: a process that cannot have all its ports takes none.
async fn bind(
    config: &Config,
    registry: &Registry,
) -> Result<Vec<(&'static str, Listener)>, StartError> {
    let metrics = listener::Metrics::register(registry)?;
    let named = config.listen.named();
    let served = named.iter().filter(|(_, address)| address.is_some());
    let kept = config
        .upstream
        .as_ref()
        .map_or(0, |upstream| upstream.max_idle);
    let limits = listener::fit_descriptors(&config.limits, served.count(), kept);
    let mut listeners = Vec::new();
    for (name, address) in named {
        let Some(address) = address else { continue };
        let (limits, timeouts) = (limits.clone(), config.timeouts.clone());
        let listener = Listener::bind(name, address, limits, timeouts, metrics.clone())
            .await
            .map_err(|source| StartError::Bind {
                name,
                address: address.clone(),
                source,
            })?;
        listeners.push((name, listener));
    }
    Ok(listeners)
}

/// Serves the decision APIs on a hardened listener.
async fn serve_decisions(listener: Listener, api: DecisionApi, drain: Drain) {
    let api = Arc::new(api);
    let service = service_fn(move |request: http::Request<listener::RequestBody>| {
        let api = Arc::clone(&api);
        async move { Ok::<_, Infallible>(api.call(request).await) }
    });
    let faults = |fault| proxy::refuse(fault).map(|body| AnswerBody::Right(Body::new(body)));
    listener.serve(service, faults, drain).await;
}

/// Serves an axum router on a hardened listener; what the listener refuses gets the envelope that
/// every refusal has.
async fn serve_api(listener: Listener, api: Router, drain: Drain) {
    let service = service_fn(move |request: http::Request<listener::RequestBody>| {
        let mut api = api.clone();
        async move { api.call(request.map(Body::new)).await }
    });
    listener
        .serve(service, |fault| proxy::refuse(fault).map(Body::new), drain)
        .await;
}
