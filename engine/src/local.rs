//! A worker's own state for one snapshot: cursors and pools, indexed as the snapshot is.

mod budget;
mod choice;
mod measured;
mod outliers;
mod route;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use corelane_balancer::Tripper;
use corelane_filters::Edits;
use corelane_routing::{Request, Scratch};
use corelane_semantics::Span;
use rustls::ServerConfig;

use self::budget::Budget;
pub(crate) use self::choice::Choice;
pub(crate) use self::outliers::Attempt;
use self::outliers::Outliers;
use self::route::LocalRoute;
use crate::action::{Action, Timeouts};
use crate::command::Event;
use crate::event::EventSender;
use crate::failure::Failure;
use crate::health::HealthUpdate;
use crate::io::Dial;
use crate::limits::OpenConnections;
use crate::pool::{Place, Pool};
use crate::protocol::UpstreamProtocol;
use crate::record::{LogNames, Spreads};
use crate::snapshot::{
    Address, CAPTURES_MAX, Chains, Endpoint, Listener, RequestRules, Route, Snapshot, Upstream,
};
use crate::tls::noting_names;

/// See the module. Exchanges hold it through an `Rc` for as long as they run; the last one to let go sends the snapshot
/// back to the control thread.
pub(crate) struct Local<S> {
    snapshot: Arc<Snapshot>,
    upstreams: Vec<LocalUpstream<S>>,
    /// Only routes that split or mirror have something here.
    routes: Vec<Option<Box<LocalRoute>>>,
    /// The timeouts of each route that does not split.
    timeouts: Vec<Timeouts>,
    /// How the clients of each listener speak TLS, on this worker.
    tls_configs: Vec<Option<Arc<ServerConfig>>>,
    log_names: LogNames,
    log_spreads: Spreads,
    /// What the filters of a request, or of a response, write into; used within a step.
    edits: RefCell<Edits>,
    /// What the router's regexes need.
    routing: RefCell<Scratch>,
    worker: usize,
    /// Where the snapshot goes when it is no longer needed.
    retire: Option<EventSender>,
}

/// A worker's own state for one upstream.
pub(crate) struct LocalUpstream<S> {
    choice: Choice,
    outliers: Outliers,
    budget: Budget,
    /// Where there is a breaker.
    tripper: Option<Rc<RefCell<Tripper>>>,
    pools: Vec<Rc<Pool<S>>>,
}

impl<S: Dial> Local<S> {
    /// Before the first snapshot.
    pub(crate) fn empty(worker: usize) -> Self {
        Self {
            snapshot: Arc::default(),
            upstreams: Vec::new(),
            routes: Vec::new(),
            timeouts: Vec::new(),
            tls_configs: Vec::new(),
            log_names: LogNames::default(),
            log_spreads: Spreads::default(),
            edits: RefCell::default(),
            routing: RefCell::default(),
            worker,
            retire: None,
        }
    }

    /// The state for a new snapshot: what did not change is taken over from `previous`.
    pub(crate) fn new(snapshot: Arc<Snapshot>, previous: &Self, worker: usize, events: EventSender) -> Self {
        // By name: the worker answers nobody meanwhile, and looking each of 10 000 up in a row took 0.3 s.
        let known = previous.snapshot.upstreams.iter().zip(&previous.upstreams);
        let known: HashMap<&str, _> = known.map(|known| (&*known.0.name, known)).collect();
        let upstreams = snapshot
            .upstreams
            .iter()
            .map(|upstream| {
                let place = |endpoint: &Endpoint| Place {
                    upstream: upstream.name.clone(),
                    endpoint: endpoint.label.clone(),
                    counters: endpoint.counters.clone(),
                    worker,
                    events: events.clone(),
                };
                LocalUpstream::new(upstream, known.get(&*upstream.name).copied(), (worker, &events), place)
            })
            .collect::<Vec<_>>();
        end_pools(&previous.upstreams, &upstreams);
        let routes = route::local_routes(&snapshot, (&previous.snapshot, &previous.routes), worker);
        let timeouts = snapshot.routes.iter().map(|route| match route.action {
            Action::Upstream(upstream) => route.timeouts.towards(&snapshot.upstreams[upstream]),
            Action::Split(_) | Action::Answer => Timeouts::default(),
        });
        let timeouts = timeouts.collect();
        let tls_of = |listener: &Listener| listener.tls.as_ref().map(|tls| noting_names(&tls.config));
        let tls_configs = snapshot.listeners.iter().map(tls_of).collect();
        let log_names = LogNames::new(&snapshot);
        let log_spreads = previous.log_spreads_for(&snapshot);
        let (routing, edits) = (RefCell::new(snapshot.router.scratch()), RefCell::default());
        Self {
            snapshot,
            upstreams,
            routes,
            timeouts,
            tls_configs,
            log_names,
            log_spreads,
            edits,
            routing,
            worker,
            retire: Some(events),
        }
    }

    /// What a tunnel needs of `whole`, apart from it: one listener, one route, one upstream with one endpoint.
    pub(crate) fn of_one(
        whole: &Self,
        listener: usize,
        route: usize,
        (upstream, endpoint): (usize, usize),
    ) -> Self {
        let snapshot = whole.snapshot();
        let chain = snapshot.routes[route].chain(listener, Some(upstream));
        let upstream = &snapshot.upstreams[upstream];
        let snapshot = Snapshot {
            serial: snapshot.serial,
            generation: snapshot.generation,
            listeners: vec![Listener {
                // What only a request head is judged by.
                trusted_proxies: Vec::new(),
                rules: RequestRules::default(),
                ..snapshot.listeners[listener].clone()
            }],
            routes: vec![Route {
                action: Action::Upstream(0),
                mirror: None,
                chains: Chains::only(chain),
                ..snapshot.routes[route].clone()
            }],
            upstreams: vec![Upstream {
                endpoints: vec![upstream.endpoints[endpoint].clone()],
                ..upstream.clone()
            }],
            access_log: snapshot.access_log.clone(),
            tracing: snapshot.tracing.clone(),
            histograms: snapshot.histograms,
            ..Snapshot::default()
        };
        let log_names = LogNames::new(&snapshot);
        let (snapshot, worker) = (Arc::new(snapshot), whole.worker);
        let (routing, edits) = (RefCell::default(), RefCell::default());
        let (upstreams, routes, timeouts) = (Vec::new(), Vec::new(), Vec::new());
        let log_spreads = whole.log_spreads.clone();
        Self {
            snapshot,
            upstreams,
            routes,
            timeouts,
            // It accepts nothing.
            tls_configs: Vec::new(),
            log_names,
            log_spreads,
            edits,
            routing,
            worker,
            retire: None,
        }
    }

    /// The snapshot.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The route of a request, if any.
    #[inline]
    pub(crate) fn find_route(&self, request: &Request<'_>) -> Option<usize> {
        self.snapshot.router.route(request, &mut self.routing.borrow_mut())
    }

    /// What the groups of a route's path have of a path, for its filters; how many they are.
    pub(crate) fn captures(
        &self,
        route: usize,
        path: &[u8],
        found: &mut [Option<Span>; CAPTURES_MAX],
    ) -> usize {
        let groups = &self.snapshot.routes[route].captures;
        if groups.is_empty() {
            return 0;
        }
        let mut scratch = self.routing.borrow_mut();
        let captures = self.snapshot.router.captures(route, path, &mut scratch);
        for (found, &group) in found.iter_mut().zip(groups) {
            *found = captures.get(group).map(|range| Span::new(range.start, range.end));
        }
        groups.len().min(CAPTURES_MAX)
    }

    /// What the access log calls the snapshot's parts.
    pub(crate) fn log_names(&self) -> &LogNames {
        &self.log_names
    }

    /// What the rules of the access log have still to give.
    pub(crate) fn log_spreads(&self) -> &Spreads {
        &self.log_spreads
    }

    /// The same for a next snapshot: it goes on where the rules are the same.
    fn log_spreads_for(&self, next: &Snapshot) -> Spreads {
        let rules = |snapshot: &Snapshot| {
            snapshot.access_log.as_ref().map(|log| log.sampling.clone()).unwrap_or_default()
        };
        let next = rules(next);
        if next == rules(&self.snapshot) { self.log_spreads.clone() } else { Spreads::new(next.len()) }
    }

    /// What filters write into.
    pub(crate) fn edits(&self) -> &RefCell<Edits> {
        &self.edits
    }

    /// Which worker this is.
    pub(crate) fn worker(&self) -> usize {
        self.worker
    }

    /// The state of the upstream with this index in the snapshot.
    pub(crate) fn upstream(&self, index: usize) -> Option<&LocalUpstream<S>> {
        self.upstreams.get(index)
    }

    /// The state of the route with this index in the snapshot, if it splits or mirrors.
    pub(crate) fn route_state(&self, index: usize) -> Option<&LocalRoute> {
        self.routes.get(index)?.as_deref()
    }

    /// How the clients of a listener speak TLS; `None`: they do not.
    pub(crate) fn tls_config(&self, listener: usize) -> Option<&Arc<ServerConfig>> {
        self.tls_configs.get(listener)?.as_ref()
    }

    /// The timeouts of the route with this index in the snapshot, which does not split.
    pub(crate) fn timeouts(&self, route: usize) -> Timeouts {
        self.timeouts[route]
    }

    /// Takes note of an endpoint that has come up or gone down. What the snapshot does not have was removed meanwhile.
    pub(crate) fn set_health(&self, update: &HealthUpdate) {
        let upstreams = self.snapshot.upstreams.iter().zip(&self.upstreams);
        for (upstream, local) in upstreams.filter(|(upstream, _)| upstream.name == update.upstream) {
            let is_meant = |endpoint: &Endpoint| endpoint.address == update.address;
            if let Some(endpoint) = upstream.endpoints.iter().position(is_meant) {
                local.choice.set_health(upstream, endpoint, update);
                if let Some(queue) = upstream.queue.as_ref().filter(|_| update.is_up) {
                    queue.line.call();
                }
            }
        }
    }

    /// Closes an idle connection of these for a request that waits at another worker.
    pub(crate) fn make_room(&self, connections: &Arc<OpenConnections>) {
        for (upstream, local) in self.snapshot.upstreams.iter().zip(&self.upstreams) {
            for (endpoint, pool) in upstream.endpoints.iter().zip(&local.pools) {
                if let Some(limit) = &endpoint.connections
                    && Arc::ptr_eq(&limit.open, connections)
                {
                    pool.make_room(limit);
                }
            }
        }
    }

    /// Closes idle connections that have expired or died. Returns whether nothing is left to look after.
    pub(crate) fn sweep(&self, now_ms: u64) -> bool {
        let mut empty = true;
        for (upstream, local) in self.snapshot.upstreams.iter().zip(&self.upstreams) {
            for (endpoint, pool) in upstream.endpoints.iter().zip(&local.pools) {
                empty &= pool.sweep(now_ms, upstream, endpoint.connections.as_ref());
            }
        }
        empty
    }
}

/// Ends the pools of endpoints that are gone.
fn end_pools<S: Dial>(before: &[LocalUpstream<S>], now: &[LocalUpstream<S>]) {
    let kept: HashSet<_> = now.iter().flat_map(|it| &it.pools).map(Rc::as_ptr).collect();
    let gone = before.iter().flat_map(|it| &it.pools).filter(|pool| !kept.contains(&Rc::as_ptr(pool)));
    gone.for_each(|pool| pool.end());
}

impl<S> Drop for Local<S> {
    fn drop(&mut self) {
        if let Some(events) = self.retire.take() {
            let snapshot = std::mem::take(&mut self.snapshot);
            events.send(Event::Retired { worker: self.worker, snapshot });
        }
    }
}

/// What the connections in a pool have in common.
fn pool_key<'e>(
    upstream: &Upstream,
    endpoint: &'e Endpoint,
) -> (UpstreamProtocol, &'e Address, Option<&'e str>) {
    (upstream.protocol, &endpoint.address, endpoint.tls.as_ref().map(|tls| &*tls.identity))
}

impl<S: Dial> LocalUpstream<S> {
    fn new(
        upstream: &Upstream,
        previous: Option<(&Upstream, &Self)>,
        (worker, events): (usize, &EventSender),
        place: impl Fn(&Endpoint) -> Place,
    ) -> Self {
        let known = previous.into_iter().flat_map(|(known, local)| {
            let pools = known.endpoints.iter().zip(&local.pools);
            pools.map(move |(endpoint, pool)| (pool_key(known, endpoint), pool))
        });
        let known: HashMap<_, _> = known.collect();
        let pools = upstream
            .endpoints
            .iter()
            .map(|endpoint| {
                let kept = known.get(&pool_key(upstream, endpoint)).copied().cloned();
                kept.unwrap_or_else(|| Rc::new(Pool::new(place(endpoint))))
            })
            .collect();
        let budget = previous.map(|(_, local)| local.budget.clone()).unwrap_or_default();
        let counted = previous.and_then(|(_, local)| local.tripper.clone());
        let tripper = upstream.breaker.is_some().then(|| counted.unwrap_or_default());
        let outliers = previous.map(|(known, local)| (known, &local.outliers));
        let outliers = Outliers::new(upstream, outliers, worker, events.clone());
        let previous = previous.map(|(known, local)| (known, &local.choice));
        Self { choice: Choice::new(upstream, previous, worker), outliers, budget, tripper, pools }
    }

    /// How many attempts may be made again.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// What this worker has counted for the breaker, where there is one.
    pub(crate) fn tripper(&self) -> Option<&RefCell<Tripper>> {
        self.tripper.as_deref()
    }

    /// Which endpoint is next.
    pub(crate) fn choice(&self) -> &Choice {
        &self.choice
    }

    /// An attempt got a response with this status.
    #[inline(always)]
    pub(crate) fn note_answered(&self, upstream: &Upstream, attempt: Attempt, status: u16) {
        self.outliers.note_answer(upstream, &self.choice, attempt, status);
    }

    /// An attempt has failed, if it has.
    pub(crate) fn note_failed(&self, upstream: &Upstream, attempt: Attempt, failure: Option<Failure>) {
        if let Some(failure) = failure {
            self.outliers.note_failure(upstream, &self.choice, attempt, failure);
        }
    }

    /// The pool of an endpoint.
    pub(crate) fn pool(&self, endpoint: usize) -> Option<&Rc<Pool<S>>> {
        self.pools.get(endpoint)
    }
}
