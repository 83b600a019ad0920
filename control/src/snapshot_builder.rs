//! From a configuration and the addresses known now to what the workers serve from.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use corelane_balancer::{CookieKey, Group, GroupRules, Member, Policy, SlowStart, fingerprint};
use corelane_engine::action::Mirror;
use corelane_engine::affinity::{Affinity, Seats};
use corelane_engine::error_page::ErrorPages;
use corelane_engine::limits::{
    EndpointConnections, OpenConnections, RequestLimit, RetryLimit, UpstreamBreaker,
};
use corelane_engine::record::{AccessLog, LogPolicy, Redaction};
use corelane_engine::retry::Retry;
use corelane_engine::snapshot::{Address, Endpoint, Listener, Queue, Route, Snapshot, Upstream};
use corelane_routing::{Router, Rule};

use crate::config::{self, Config, Target};
use crate::error_pages;
use crate::filters::{Compiled, RouteFilters};
use crate::health::Plan;
use crate::registry::Registry;
use crate::tracing;

/// The addresses of each host name that has resolved, sorted.
pub(crate) type Answers = HashMap<Arc<str>, Vec<IpAddr>>;

/// Which snapshot it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Version {
    /// Of the configuration.
    pub(crate) generation: u64,
    /// Of the snapshot.
    pub(crate) serial: u64,
}

/// Indexes the routes.
///
/// # Errors
///
/// A line for each pair of routes that no request could tell apart.
pub(crate) fn router(config: &Config) -> Result<Router, Vec<String>> {
    let rules: Vec<Rule> = config.routes.iter().map(config::Route::rule).collect();
    Router::build(&rules, config.listeners.len()).map_err(|conflicts| {
        let name = |route: usize| &config.routes[route].name;
        let line = |conflict: &corelane_routing::Conflict| {
            format!(
                "routes \"{}\" and \"{}\" match the same requests on listener \"{}\"",
                name(conflict.first),
                name(conflict.second),
                config.listeners[conflict.listener].name
            )
        };
        conflicts.iter().map(line).collect()
    })
}

/// Builds a snapshot; counters come from the registry.
pub(crate) fn build(
    config: &Config,
    router: Router,
    filters: &Compiled,
    (answers, plan): (&Answers, &Plan),
    registry: &mut Registry,
    version: Version,
) -> Snapshot {
    let serial = version.serial;
    let listeners = config.listeners.iter().zip(error_pages::by_listener(config));
    let routes = config.routes.iter().enumerate();
    let located = config.upstreams.iter().map(|it| (it, endpoint_addresses(it, answers)));
    Snapshot {
        serial,
        generation: version.generation,
        listeners: listeners.map(|(it, pages)| listener(it, pages, registry, serial)).collect(),
        routes: routes
            .map(|(index, it)| {
                let log = match &config.access_log {
                    Some(log) if it.access_log => log_policy(log, Some(index)),
                    _ => LogPolicy::Off,
                };
                route(it, filters.of_route(index), log, registry, serial)
            })
            .collect(),
        router,
        upstreams: located.map(|(it, endpoints)| upstream(it, endpoints, plan, registry, serial)).collect(),
        filters: filters.names().iter().map(|it| registry.filters.of(it.clone(), serial)).collect(),
        access_log: config.access_log.as_ref().map(|it| Arc::new(access_log(it))),
        tracing: config.tracing.as_ref().map(tracing::of_workers),
        histograms: config.admin.as_ref().is_some_and(|admin| admin.histograms),
        chooses_by_latency: config.upstreams.iter().any(|it| it.policy == Policy::Ewma),
    }
}

fn access_log(it: &config::AccessLog) -> AccessLog {
    AccessLog {
        format: it.format.clone(),
        redaction: Redaction::new(it.redacted.iter().map(String::as_str)),
        sampling: it.sampling.iter().map(|sampling| sampling.rule.clone()).collect(),
        unrouted: log_policy(it, None),
    }
}

/// Which rules of sampling hold for a route's requests, or for those without a route.
fn log_policy(log: &config::AccessLog, route: Option<usize>) -> LogPolicy {
    let holds = |sampling: &config::Sampling| match (&sampling.routes, route) {
        (None, _) => true,
        (Some(routes), Some(route)) => routes.binary_search(&route).is_ok(),
        (Some(_), None) => false,
    };
    let rules = log.sampling.iter().enumerate().filter(|(_, sampling)| holds(sampling));
    LogPolicy::Rules(rules.map(|(index, _)| index).collect())
}

fn listener(
    it: &config::Listener,
    error_pages: Arc<ErrorPages>,
    registry: &mut Registry,
    serial: u64,
) -> Listener {
    Listener {
        name: it.name.clone(),
        address: it.address.clone(),
        tls: None,
        http2: it.http2.clone(),
        head_timeout: it.head_timeout,
        body_idle_timeout: it.body_idle_timeout,
        keepalive_timeout: it.keepalive_timeout,
        send_timeout: it.send_timeout,
        head_bytes_max: it.head_bytes_max,
        fields_max: it.fields_max,
        trusted_proxies: it.trusted_proxies.clone(),
        forwarded: it.forwarded,
        client_half_close: it.client_half_close,
        limits: it.limits.clone(),
        rules: it.rules.clone(),
        shared_limits: registry.shared_limits.of(it.name.clone(), serial),
        error_pages,
        counters: registry.listeners.of(it.name.clone(), serial),
    }
}

fn route(
    it: &config::Route,
    filters: RouteFilters,
    log: LogPolicy,
    registry: &mut Registry,
    serial: u64,
) -> Route {
    Route {
        name: it.name.clone(),
        action: it.action.clone(),
        mirror: it
            .mirror
            .clone()
            .map(|rule| Mirror { rule, counters: registry.mirrors.of(it.name.clone(), serial) }),
        timeouts: it.timeouts,
        host: it.host.clone(),
        body_bytes_max: it.body_bytes_max,
        upgrades: it.upgrades.clone(),
        grpc_web: it.grpc_web,
        captures: filters.captures,
        chains: filters.chains,
        log,
        counters: registry.routes.of(it.name.clone(), serial),
    }
}

fn upstream(
    it: &config::Upstream,
    endpoints: Vec<Located>,
    plan: &Plan,
    registry: &mut Registry,
    serial: u64,
) -> Upstream {
    let line = registry.line(it.name.clone(), serial);
    let endpoints = endpoints.into_iter().map(|endpoint| Endpoint {
        label: endpoint.address.to_string().into(),
        weight: endpoint.weight,
        priority: endpoint.priority,
        is_up: plan.is_up(it, &endpoint),
        is_ejected: plan.is_ejected(it, &endpoint),
        failures: registry.failures.of((it.name.clone(), endpoint.address.clone()), serial, Default::default),
        tls: None,
        limit: (endpoint.requests_max > 0).then(|| RequestLimit {
            requests_max: endpoint.requests_max,
            places: registry.places.of((it.name.clone(), endpoint.address.clone()), serial, Default::default),
            line: line.clone(),
        }),
        connections: (endpoint.connections_max > 0).then(|| EndpointConnections {
            connections_max: endpoint.connections_max,
            open: registry.connections_open.of((it.name.clone(), endpoint.address.clone()), serial, || {
                OpenConnections::new(line.clone())
            }),
        }),
        counters: registry.endpoints.of((it.name.clone(), endpoint.address.clone()), serial),
        address: endpoint.address,
    });
    let endpoints: Vec<_> = endpoints.collect();
    let name = &it.name;
    let limit = (it.limits.requests_max > 0).then(|| RequestLimit {
        requests_max: it.limits.requests_max,
        places: registry.upstream_places.of(name.clone(), serial, Default::default),
        line: line.clone(),
    });
    let retry_limit = (it.limits.retries_max > 0).then(|| RetryLimit {
        retries_max: it.limits.retries_max,
        places: registry.retry_places.of(name.clone(), serial, Default::default),
    });
    let breaker = it.breaker.as_ref().map(|breaker| UpstreamBreaker {
        rules: breaker.rules,
        statuses: breaker.statuses.clone().into(),
        shared: registry.breakers.of(name.clone(), serial, Default::default),
    });
    let members: Vec<_> = endpoints.iter().map(member).collect();
    let counters = registry.upstreams.of(it.name.clone(), serial);
    let workers = u32::try_from(counters.iter().count()).unwrap_or(u32::MAX);
    let rules = GroupRules { policy: it.policy, panic_percent: it.panic_percent, ..GroupRules::default() };
    Upstream {
        name: it.name.clone(),
        group: Group::new(rules, &members),
        affinity: affinity(it, &members),
        slow_start: SlowStart { time: it.slow_start, ..SlowStart::default() },
        endpoints,
        connect_timeout: it.connect_timeout,
        response_head_timeout: it.response_head_timeout,
        body_idle_timeout: it.body_idle_timeout,
        idle_timeout: it.idle_timeout,
        request_timeout: it.request_timeout,
        idle_connections_max: it.idle_connections_max,
        attempts_max: it.attempts_max,
        retry: Retry { budget: it.retry.budget.of_each(workers), ..it.retry.clone() },
        head_bytes_max: it.head_bytes_max,
        tunnel_idle_timeout: it.tunnel_idle_timeout,
        quarantine: it.quarantine,
        panic_percent: it.panic_percent,
        outlier: it.outlier.detection.clone(),
        limit,
        retry_limit,
        breaker,
        queue: it.queue.map(|rules| Queue { rules, line: line.clone() }),
        protocol: it.protocol,
        http2: it.http2,
        counters,
    }
}

/// An endpoint as the balancer knows it: by its address, on every machine.
fn member(endpoint: &Endpoint) -> Member {
    let name = fingerprint(endpoint.label.as_bytes());
    Member { name, weight: endpoint.weight, priority: endpoint.priority }
}

fn affinity(it: &config::Upstream, members: &[Member]) -> Option<Affinity> {
    let names: Vec<u64> = members.iter().map(|member| member.name).collect();
    let seats = it.sticky.as_ref().map(|sticky| {
        let key = CookieKey::new(&sticky.secret.0, &it.name);
        Seats::new(sticky.cookie.clone(), key, &names)
    });
    let is_any = seats.is_some() || !it.key.is_empty();
    is_any.then(|| Affinity { key: it.key.clone(), seats })
}

/// An endpoint whose address is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) address: Address,
    /// The host name that it is an address of; the first of several.
    pub(crate) name: Option<Arc<str>>,
    /// Whether it is spoken to over TLS.
    pub(crate) tls: bool,
    /// 0 to 65 535.
    pub(crate) weight: u32,
    pub(crate) priority: u32,
    /// 0: no limit.
    pub(crate) requests_max: u32,
    pub(crate) connections_max: u32,
}

/// The lower of two limits; 0 is none.
fn lower(one: u32, other: u32) -> u32 {
    if one.min(other) > 0 { one.min(other) } else { one.max(other) }
}

/// Each address once, since it is the identity of a pool: an address that several entries lead to gets the sum of their
/// weights, the lowest of their priorities, and the lowest of their limits, and speaks TLS if one of them does.
pub(crate) fn endpoint_addresses(it: &config::Upstream, answers: &Answers) -> Vec<Located> {
    let mut found: Vec<Located> = Vec::new();
    let mut index: HashMap<Address, usize> = HashMap::new();
    for endpoint in &it.endpoints {
        let (name, addresses) = match &endpoint.target {
            Target::Address(address) => (None, vec![address.clone()]),
            Target::Name { host, port } => {
                let ips = answers.get(host).map_or(&[][..], Vec::as_slice);
                let addresses = ips.iter().map(|&ip| Address::Tcp(SocketAddr::new(ip, *port)));
                (Some(host), addresses.collect())
            }
        };
        for address in addresses {
            match index.get(&address) {
                Some(&at) => {
                    let known = &mut found[at];
                    known.tls |= endpoint.tls;
                    known.weight = (known.weight + endpoint.weight).min(WEIGHT_MAX);
                    known.priority = known.priority.min(endpoint.priority);
                    known.requests_max = lower(known.requests_max, endpoint.requests_max);
                    known.connections_max = lower(known.connections_max, endpoint.connections_max);
                }
                None => {
                    index.insert(address.clone(), found.len());
                    found.push(Located {
                        address,
                        name: name.cloned(),
                        tls: endpoint.tls,
                        weight: endpoint.weight,
                        priority: endpoint.priority,
                        requests_max: endpoint.requests_max,
                        connections_max: endpoint.connections_max,
                    });
                }
            }
        }
    }
    found
}

/// What [`Endpoint::weight`] may hold.
const WEIGHT_MAX: u32 = 65_535;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn names_become_an_endpoint_for_each_address() {
        let mut config = fixtures::config();
        config.upstreams[0].endpoints = vec![
            fixtures::name_endpoint("app.test", 80, 2),
            fixtures::endpoint("10.0.0.1:80", 5),
            fixtures::name_endpoint("unknown.test", 80, 1),
        ];
        let ip = |text: &str| text.parse().expect("an address");
        let answers = Answers::from([("app.test".into(), vec![ip("10.0.0.1"), ip("::1")])]);
        let mut registry = fixtures::registry(1);
        let version = Version { generation: 1, serial: 1 };
        let snapshot = build(
            &config,
            router(&config).expect("no conflict"),
            &Compiled::default(),
            (&answers, &Plan::default()),
            &mut registry,
            version,
        );
        let endpoints: Vec<_> =
            snapshot.upstreams[0].endpoints.iter().map(|it| (&*it.label, it.weight)).collect();
        assert_eq!(endpoints, [("10.0.0.1:80", 7), ("[::1]:80", 2)]);

        snapshot.upstreams[0].endpoints[1].counters.of(0).requests.increment();
        let again = build(
            &config,
            router(&config).expect("no conflict"),
            &Compiled::default(),
            (&answers, &Plan::default()),
            &mut registry,
            Version { generation: 1, serial: 2 },
        );
        assert_eq!(again.upstreams[0].endpoints[1].counters.of(0).requests.value(), 1);
    }

    #[test]
    fn routes_that_nothing_tells_apart_are_an_error() {
        let mut config = fixtures::config();
        let mut twin = config.routes[0].clone();
        twin.name = "twin".into();
        config.routes.push(twin);
        assert_eq!(
            router(&config).expect_err("a conflict"),
            ["routes \"all\" and \"twin\" match the same requests on listener \"web\""]
        );
    }
}
