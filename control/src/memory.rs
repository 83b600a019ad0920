//! What `check` says about memory: the most that the process can take with a configuration, from the limits in it.
//!
//! The parts are bounded in `engine/src/memory_bound.rs`. Not in it: the kernel's buffers of sockets, and configurations
//! from before a reload that long exchanges still use.

use std::fmt;
use std::sync::Arc;

use corelane_engine::memory_bound::{
    ConnectionLimits, HTTP2_IDLE_BYTES, HTTP2_UPSTREAM_BYTES, IDLE_CONNECTION_BYTES, PEER_CHAIN_BYTES,
    POOLED_CONNECTION_BYTES, TLS_IDLE_BYTES, access_log_bytes, busy_connection_bytes, http2_connection_bytes,
    http2_upstream_bytes, mirrors_bytes, spans_bytes, tls_busy_bytes, trace_bytes, worker_bytes,
};
use corelane_engine::worker;

use crate::config::{
    Config, ErrorPage, Listener, ListenerTls, LogTarget, PageSegment, Route, Target, Upstream,
};
use crate::health::{CHECK_BYTES_MAX, CHECKS_AT_ONCE, TASK_BYTES};
use crate::log_writer::WAITING_BYTES_MAX;
use crate::supervisor::LOG_BATCHES_MAX;
use crate::tracing::SPAN_BATCHES_MAX;

/// The most memory that the process can take. Displayed as the lines of `check`, each with its line end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryBound {
    listeners: Vec<ListenerMemory>,
    workers: u64,
    worker_bytes: u64,
    pooled_bytes: u64,
    /// 0 if nothing is mirrored.
    mirrors_bytes: u64,
    /// Of limits, which all workers share. 0 if there are none.
    tables_bytes: u64,
    access_log_bytes: u64,
    /// Of health checks. 0 if there are none.
    checks_bytes: u64,
    spans_bytes: u64,
    process_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ListenerMemory {
    name: Arc<str>,
    connections: u64,
    busy_bytes: u64,
    /// Of a connection that speaks HTTP/2, where it is spoken.
    http2_bytes: Option<u64>,
    idle_bytes: u64,
}

impl ListenerMemory {
    /// Of the connection that takes the most.
    fn most_bytes(&self) -> u64 {
        self.http2_bytes.unwrap_or(0).max(self.busy_bytes)
    }
}

impl MemoryBound {
    /// With as many workers as would be started here.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self::with_workers(config, workers(config, worker::available_cores().len()))
    }

    fn with_workers(config: &Config, workers: usize) -> Self {
        let head_bytes_max = config.listeners.iter().map(|it| it.head_bytes_max).max().unwrap_or(0);
        let upstreams = config.upstreams.iter();
        let pooled = upstreams.map(|upstream| {
            let tls_bytes = upstream.tls.as_ref().map_or(0, |_| TLS_IDLE_BYTES + PEER_CHAIN_BYTES);
            let connections = endpoints(upstream) * upstream.idle_connections_max as u64;
            let is_http2 = upstream.protocol.may_be_http2();
            let http2_bytes = if is_http2 { HTTP2_UPSTREAM_BYTES } else { 0 };
            connections * (POOLED_CONNECTION_BYTES + http2_bytes + tls_bytes)
        });
        let response_heads = config.upstreams.iter().map(|it| it.head_bytes_max);
        let any_head_bytes_max = response_heads.chain([head_bytes_max]).max().unwrap_or(0);
        let access_log = config.access_log.as_ref();
        let tables: u64 = config.filters.iter().map(|filter| filter.settings.table_bytes()).sum();
        let pages: u64 = config.error_pages.iter().map(|page| page_bytes(page) as u64).sum();
        Self {
            listeners: (0..config.listeners.len()).map(|index| listener(config, index)).collect(),
            workers: workers as u64,
            worker_bytes: worker_bytes(head_bytes_max),
            pooled_bytes: pooled.sum::<u64>() * workers as u64,
            mirrors_bytes: config.routes.iter().map(|route| mirrors(config, route)).sum::<u64>()
                * workers as u64,
            // A reload has the old ones and the new ones, until it knows that they are as large.
            tables_bytes: 2 * tables,
            access_log_bytes: access_log.map_or(0, |log| {
                let waiting = if matches!(log.target, LogTarget::Syslog(_)) { WAITING_BYTES_MAX } else { 0 };
                access_log_bytes(LOG_BATCHES_MAX, workers, any_head_bytes_max, &log.format) + waiting as u64
            }),
            checks_bytes: checks(config),
            spans_bytes: config.tracing.as_ref().map_or(0, |_| spans_bytes(SPAN_BATCHES_MAX, workers)),
            // A reload has the old pages and the new ones.
            process_bytes: PROCESS_BYTES + 2 * pages,
        }
    }

    /// All of it, in bytes.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.listeners.iter().map(|listener| listener.connections * listener.most_bytes()).sum::<u64>()
            + self.beside_bytes()
    }

    /// What is not of connections from clients.
    fn beside_bytes(&self) -> u64 {
        self.workers * self.worker_bytes
            + self.pooled_bytes
            + self.mirrors_bytes
            + self.tables_bytes
            + self.access_log_bytes
            + self.checks_bytes
            + self.spans_bytes
            + self.process_bytes
    }
}

/// How many workers are started on a machine with so many cores.
pub(crate) fn workers(config: &Config, cores: usize) -> usize {
    config.process.workers.unwrap_or(cores).max(1)
}

/// What health checks can take: those under way, and a task for each endpoint.
fn checks(config: &Config) -> u64 {
    let checked = config.upstreams.iter().filter(|upstream| upstream.health.is_some());
    let endpoints: u64 = checked.map(endpoints).sum();
    endpoints * TASK_BYTES + endpoints.min(CHECKS_AT_ONCE as u64) * CHECK_BYTES_MAX
}

/// How many endpoints an upstream has at most.
fn endpoints(upstream: &Upstream) -> u64 {
    let endpoints = upstream.endpoints.iter().map(|endpoint| match endpoint.target {
        Target::Address(_) => 1,
        Target::Name { .. } => ADDRESSES_OF_A_NAME,
    });
    endpoints.sum()
}

/// What a route's mirrored requests can take on one worker.
fn mirrors(config: &Config, route: &Route) -> u64 {
    let Some(mirror) = &route.mirror else { return 0 };
    let upstream = &config.upstreams[mirror.upstream];
    let response_head_bytes_max = upstream.head_bytes_max;
    let tls_bytes = mirror.mirrors_max as u64 * upstream_tls_bytes(upstream);
    let of_listener = |&index: &usize| {
        let listener = &config.listeners[index];
        let limits = connection_limits(listener, response_head_bytes_max, 0, false);
        mirrors_bytes(&limits, mirror.body_bytes_max, mirror.mirrors_max)
    };
    route.listeners.iter().map(of_listener).max().unwrap_or(0) + tls_bytes
}

/// What TLS adds to a busy connection to an upstream.
fn upstream_tls_bytes(upstream: &Upstream) -> u64 {
    upstream.tls.as_ref().map_or(0, |_| tls_busy_bytes() + PEER_CHAIN_BYTES)
}

/// What HTTP/2 adds to a request to an upstream.
fn upstream_http2_bytes(upstream: &Upstream) -> u64 {
    match upstream.protocol.may_be_http2() {
        true => http2_upstream_bytes(&upstream.http2, upstream.head_bytes_max),
        false => 0,
    }
}

fn connection_limits(
    listener: &Listener,
    response_head_bytes_max: usize,
    answer_bytes_max: usize,
    keeps_words: bool,
) -> ConnectionLimits {
    let Listener { head_bytes_max, limits, .. } = listener;
    ConnectionLimits {
        head_bytes_max: *head_bytes_max,
        host_bytes_max: limits.field_bytes_max.max(limits.request_line_bytes_max).min(*head_bytes_max),
        pipeline_bytes_max: limits.pipeline_bytes_max,
        response_head_bytes_max,
        answer_bytes_max,
        keeps_words,
    }
}

fn listener(config: &Config, index: usize) -> ListenerMemory {
    let listener = &config.listeners[index];
    let routes = config.routes.iter().filter(|route| route.listeners.contains(&index));
    let upstreams = routes.flat_map(|route| route.action.upstreams());
    let upstreams: Vec<_> = upstreams.map(|upstream| &config.upstreams[upstream]).collect();
    let response_heads = upstreams.iter().map(|upstream| upstream.head_bytes_max);
    let chain_bytes = |tls: &ListenerTls| tls.client_auth.as_ref().map_or(0, |_| PEER_CHAIN_BYTES);
    let client_tls = |bytes| listener.tls.as_ref().map_or(0, |tls| bytes + chain_bytes(tls));
    let upstream_tls_bytes = upstreams.iter().map(|it| upstream_tls_bytes(it)).max().unwrap_or(0);
    let upstream_http2_bytes = upstreams.iter().map(|it| upstream_http2_bytes(it)).max().unwrap_or(0);
    let holds = |page: &&ErrorPage| page.listeners.as_ref().is_none_or(|on| on.contains(&index));
    let pages = config.error_pages.iter().filter(holds).map(page_bytes);
    let answer_bytes_max = pages.max().unwrap_or(0).max(ANSWER_BYTES);
    let keeps_words = config.access_log.as_ref().is_some_and(|log| log.format.keeps_words());
    let limits =
        connection_limits(listener, response_heads.max().unwrap_or(0), answer_bytes_max, keeps_words);
    let trace_bytes = config.tracing.as_ref().map_or(0, |_| trace_bytes());
    let exchange_bytes = upstream_tls_bytes + upstream_http2_bytes + trace_bytes;
    ListenerMemory {
        name: listener.name.clone(),
        connections: listener.limits.connections_max as u64,
        busy_bytes: busy_connection_bytes(&limits) + client_tls(tls_busy_bytes()) + exchange_bytes,
        http2_bytes: listener.http2.as_ref().map(|http2| {
            http2_connection_bytes(&limits, http2, listener.fields_max)
                + client_tls(tls_busy_bytes())
                + u64::from(http2.streams_max) * exchange_bytes
        }),
        idle_bytes: IDLE_CONNECTION_BYTES
            + client_tls(TLS_IDLE_BYTES)
            + listener.http2.as_ref().map_or(0, |_| HTTP2_IDLE_BYTES),
    }
}

/// A page as it is sent, at most.
fn page_bytes(page: &ErrorPage) -> usize {
    let bytes = page.segments.iter().map(|segment| match segment {
        PageSegment::Text(text) => text.len(),
        PageSegment::Variable(_) => VARIABLE_BYTES,
    });
    bytes.sum()
}

impl fmt::Display for MemoryBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for listener in &self.listeners {
            let ListenerMemory { name, connections, busy_bytes, http2_bytes, idle_bytes } = listener;
            let times =
                |bytes: u64| format!("{connections} x {} = {}", shown(bytes), shown(connections * bytes));
            let (most, idle) = (shown(listener.most_bytes()), times(*idle_bytes));
            let all = shown(connections * listener.most_bytes());
            let http1 =
                http2_bytes.map_or(String::new(), |_| format!("of HTTP/1.1 {}, ", times(*busy_bytes)));
            writeln!(
                f,
                "memory at most: {name} {connections} connections x {most} = {all} ({http1}idle {idle})"
            )?;
        }
        let part = |name, bytes| match bytes {
            0 => String::new(),
            bytes => format!(", {name} {}", shown(bytes)),
        };
        let (mirrors, tables) = (part("mirrors", self.mirrors_bytes), part("limits", self.tables_bytes));
        let spans = part("spans", self.spans_bytes);
        let checks = part("checks", self.checks_bytes);
        writeln!(
            f,
            "memory at most: {} workers x {}, pools {}{mirrors}{tables}, access log {}{spans}{checks}, process {} = {}",
            self.workers,
            shown(self.worker_bytes),
            shown(self.pooled_bytes),
            shown(self.access_log_bytes),
            shown(self.process_bytes),
            shown(self.beside_bytes())
        )?;
        let total = shown(self.total_bytes());
        writeln!(f, "memory at most: {total} in all, beside the kernel's buffers of sockets")
    }
}

/// Rounded up to what a person reads: `233 KiB`, `293 MiB`, `11.1 GiB`.
fn shown(bytes: u64) -> String {
    const GIB: u64 = 1 << 30;
    if bytes >= GIB {
        let tenths = (u128::from(bytes) * 10).div_ceil(u128::from(GIB));
        return format!("{}.{} GiB", tenths / 10, tenths % 10);
    }
    if bytes >= 1 << 20 {
        format!("{} MiB", bytes.div_ceil(1 << 20))
    } else {
        format!("{} KiB", bytes.div_ceil(1 << 10))
    }
}

/// Addresses that a name is taken to have. A guess: more do not fit the answer of most servers.
const ADDRESSES_OF_A_NAME: u64 = 32;

/// The largest answer of Corelane's own without a page. Rounded up.
const ANSWER_BYTES: usize = 1024;

/// The longest value of a variable of a page. Rounded up.
const VARIABLE_BYTES: usize = 256;

/// The program, its control thread, the admin server, two configurations. Rounded up from about 10 MiB for a small one.
const PROCESS_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ClientAuth, ClientAuthMode, Filter, PageVariable, StatusPattern};
    use crate::fixtures;
    use corelane_engine::action::{Action, Destination, Split, Token};
    use corelane_engine::protocol::{Http2Limits, UpstreamProtocol};
    use corelane_filters::Settings;
    use corelane_filters::filter::{concurrency_limit, rate_limit};

    #[test]
    fn mirrors_count_for_each_worker_and_splits_with_their_largest_upstream() {
        let mut config = fixtures::config();
        let plain = MemoryBound::with_workers(&config, 2);
        assert!(!plain.to_string().contains("mirrors"));
        config.routes[0].mirror = Some(fixtures::mirror(0));
        let (one, two) = (MemoryBound::with_workers(&config, 1), MemoryBound::with_workers(&config, 2));
        // 64 of 1 MiB each, and what goes with them.
        assert!((64 << 20..120 << 20).contains(&one.mirrors_bytes), "{}", one.mirrors_bytes);
        assert_eq!(two.mirrors_bytes, 2 * one.mirrors_bytes);
        assert_eq!(two.total_bytes(), plain.total_bytes() + two.mirrors_bytes);
        let told = format!(", mirrors {}, access log ", shown(two.mirrors_bytes));
        assert!(two.to_string().contains(&told), "{two}");

        config.upstreams.push(fixtures::upstream("large", vec![fixtures::endpoint("127.0.0.1:2", 1)]));
        config.upstreams[1].head_bytes_max = 64 << 10;
        let destination = |upstream| Destination { upstream, weight: 1, token: Token::of("") };
        let destinations = vec![destination(0), destination(1)];
        config.routes[0].action = Action::Split(Split { destinations, sticky: None });
        let split = MemoryBound::with_workers(&config, 2);
        assert!(split.listeners[0].busy_bytes > two.listeners[0].busy_bytes);
    }

    #[test]
    fn tables_of_limits_count_twice_however_many_workers() {
        let mut config = fixtures::config();
        let plain = MemoryBound::with_workers(&config, 4);
        assert!(!plain.to_string().contains("limits"));
        let rate = rate_limit::Settings { requests: 1, keys_max: 1 << 20, ..rate_limit::Settings::default() };
        let few = concurrency_limit::Settings { requests_max: 1, keys_max: 1, ..Default::default() };
        let filters = [Settings::RateLimit(rate), Settings::ConcurrencyLimit(few)];
        let filters = filters.map(|settings| Filter { name: settings.kind().into(), settings });
        config.filters = filters.into();
        let bound = MemoryBound::with_workers(&config, 4);
        // 2²⁰ keys, four to a set of 128 bytes, rounded up to a power of two; and one set.
        assert_eq!(bound.tables_bytes, 2 * ((32 << 20) + 128));
        assert_eq!(bound.total_bytes(), plain.total_bytes() + bound.tables_bytes);
        assert_eq!(MemoryBound::with_workers(&config, 8).tables_bytes, bound.tables_bytes);
        assert!(bound.to_string().contains(", limits 65 MiB, access log "), "{bound}");
    }

    #[test]
    fn says_what_each_listener_and_all_of_them_can_take() {
        let mut config = fixtures::config();
        config.listeners.push(fixtures::listener("inner", "127.0.0.1:1"));
        config.listeners[1].limits.connections_max = 10;
        let bound = MemoryBound {
            worker_bytes: 82 << 20,
            process_bytes: 64 << 20,
            ..MemoryBound::with_workers(&config, 4)
        };
        let [web, inner] =
            [&bound.listeners[0], &bound.listeners[1]].map(|listener| shown(listener.busy_bytes));
        let all = [&bound.listeners[0], &bound.listeners[1]].map(|it| shown(it.connections * it.busy_bytes));
        let total = shown(bound.total_bytes());
        let told = bound.to_string();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(
            lines,
            [
                &*format!(
                    "memory at most: web 50000 connections x {web} = {} (idle 50000 x 2 KiB = 98 MiB)",
                    all[0]
                ),
                &format!(
                    "memory at most: inner 10 connections x {inner} = {} (idle 10 x 2 KiB = 20 KiB)",
                    all[1]
                ),
                "memory at most: 4 workers x 82 MiB, pools 64 KiB, access log 0 KiB, process 64 MiB = 393 MiB",
                &format!("memory at most: {total} in all, beside the kernel's buffers of sockets"),
            ]
        );
        let each = bound.listeners.iter().map(|it| it.connections * it.busy_bytes).sum::<u64>();
        assert_eq!(bound.total_bytes(), each + ((4 * 82 + 64) << 20) + (64 << 10));
        // The route leads to the one upstream from "web" only.
        assert!(bound.listeners[0].busy_bytes > bound.listeners[1].busy_bytes);
    }

    #[test]
    fn connections_of_http2_count_with_all_their_streams() {
        let mut config = fixtures::config();
        let plain = MemoryBound::with_workers(&config, 1);
        config.listeners[0].http2 = Some(Http2Limits::default());
        let bound = MemoryBound::with_workers(&config, 1);
        let (web, before) = (&bound.listeners[0], &plain.listeners[0]);
        assert_eq!(web.busy_bytes, before.busy_bytes);
        assert_eq!(web.idle_bytes, before.idle_bytes + HTTP2_IDLE_BYTES);
        assert!(web.most_bytes() > 100 * web.busy_bytes);
        assert_eq!(bound.total_bytes() - bound.beside_bytes(), 50_000 * web.most_bytes());
        let told = format!("x {} = ", shown(web.most_bytes()));
        let http1 = format!(
            "(of HTTP/1.1 50000 x {} = {}, idle",
            shown(web.busy_bytes),
            shown(50_000 * web.busy_bytes)
        );
        assert!(bound.to_string().contains(&told) && bound.to_string().contains(&http1), "{bound}");
    }

    #[test]
    fn every_limit_counts() {
        let base = fixtures::config();
        let total = |change: &dyn Fn(&mut Config)| {
            let mut config = base.clone();
            change(&mut config);
            MemoryBound::with_workers(&config, 2).total_bytes()
        };
        let least = total(&|_| {});
        let page = ErrorPage {
            statuses: vec![StatusPattern::Class(5)],
            listeners: None,
            content_type: "text/html".into(),
            segments: vec![
                PageSegment::Text(vec![b'x'; 64 << 10].into()),
                PageSegment::Variable(PageVariable::Reason),
            ],
        };
        let changes: [&dyn Fn(&mut Config); 14] = [
            &|config| config.upstreams[0].protocol = UpstreamProtocol::Negotiated,
            &|config| config.listeners[0].http2 = Some(Http2Limits::default()),
            &|config| config.listeners[0].limits.connections_max += 1,
            &|config| config.listeners[0].limits.pipeline_bytes_max *= 2,
            &|config| config.listeners[0].limits.field_bytes_max *= 2,
            &|config| config.listeners[0].head_bytes_max *= 2,
            &|config| config.upstreams[0].head_bytes_max *= 2,
            &|config| config.upstreams[0].idle_connections_max *= 2,
            &|config| config.upstreams[0].endpoints.push(fixtures::name_endpoint("app.test", 80, 1)),
            &|config| config.access_log = Some(fixtures::access_log()),
            &|config| config.tracing = Some(fixtures::tracing()),
            &|config| config.error_pages = vec![page.clone()],
            &|config| config.listeners[0].tls = Some(fixtures::listener_tls()),
            &|config| config.upstreams[0].tls = Some(fixtures::upstream_tls()),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert!(total(change) > least, "change {number}");
        }
        assert!(MemoryBound::with_workers(&base, 3).total_bytes() > least);
    }

    #[test]
    fn what_peers_show_of_themselves_counts_where_it_is_asked_for() {
        let mut config = fixtures::config();
        let bound = |config: &Config| MemoryBound::with_workers(config, 1);
        config.listeners[0].tls = Some(fixtures::listener_tls());
        let [web] = &bound(&config).listeners[..] else { panic!("there is one listener") };
        assert_eq!(web.idle_bytes, IDLE_CONNECTION_BYTES + TLS_IDLE_BYTES);
        let tls = config.listeners[0].tls.as_mut().unwrap();
        tls.client_auth =
            Some(ClientAuth { mode: ClientAuthMode::Optional, ca: "ca.pem".into(), crls: vec![] });
        let asked = bound(&config);
        assert_eq!(asked.listeners[0].idle_bytes - web.idle_bytes, PEER_CHAIN_BYTES);
        assert_eq!(asked.listeners[0].busy_bytes - web.busy_bytes, PEER_CHAIN_BYTES);
        // Endpoints always are.
        config.routes[0].mirror = Some(fixtures::mirror(0));
        let plain = bound(&config);
        config.upstreams[0].tls = Some(fixtures::upstream_tls());
        let secured = bound(&config);
        let connection = tls_busy_bytes() + PEER_CHAIN_BYTES;
        assert_eq!(secured.listeners[0].busy_bytes - plain.listeners[0].busy_bytes, connection);
        assert_eq!(secured.mirrors_bytes - plain.mirrors_bytes, 64 * connection);
        let idle = endpoints(&config.upstreams[0]) * config.upstreams[0].idle_connections_max as u64;
        assert_eq!(secured.pooled_bytes - plain.pooled_bytes, idle * (TLS_IDLE_BYTES + PEER_CHAIN_BYTES));
    }

    #[test]
    fn sizes_are_rounded_up() {
        assert_eq!(shown(0), "0 KiB");
        assert_eq!(shown(1), "1 KiB");
        assert_eq!(shown((1 << 20) + 1), "2 MiB");
        assert_eq!(shown(11 << 30), "11.0 GiB");
        assert_eq!(shown((11 << 30) + 1), "11.1 GiB");
        assert_eq!(shown(u64::MAX), "17179869184.0 GiB");
    }
}
