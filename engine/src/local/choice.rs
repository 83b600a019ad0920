//! Which endpoint of an upstream gets an attempt, by what this worker knows of them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::fence;

use corelane_balancer::health::Standing;
use corelane_balancer::{Ask, NoEndpoint, Picker, Policy, View};

use super::measured::Measured;
use crate::affinity::Wish;
use crate::failure::Failure;
use crate::health::HealthUpdate;
use crate::io::clock;
use crate::limits::RequestLimit;
use crate::outstanding::Outstanding;
use crate::snapshot::{Address, Endpoint, Upstream};

/// See the module. One for each upstream of a snapshot.
pub(crate) struct Choice {
    worker: usize,
    picker: RefCell<Picker>,
    outstanding: RefCell<Outstanding>,
    measured: RefCell<Measured>,
    /// By endpoint.
    standings: RefCell<Box<[Standing]>>,
    /// Those that are only ejected.
    ejected: RefCell<Vec<usize>>,
    /// The picker needs to know nothing of the endpoints.
    is_plain: Cell<bool>,
    /// When the picker is to be told of standings again, as some ramp; `u64::MAX`: never.
    admit_again_ms: Cell<u64>,
    /// Of chance, another one for each choice.
    random: Cell<u64>,
}

/// How often an endpoint that ramps gets a larger share.
const RAMP_STEP_MS: u64 = 100;

impl Choice {
    /// Goes on where `previous` was.
    pub(super) fn new(upstream: &Upstream, previous: Option<(&Upstream, &Self)>, worker: usize) -> Self {
        let now_ms = clock::coarse_ms();
        let start = worker as u64;
        let picker = match previous {
            Some((known, local)) if is_same(known, upstream) => local.picker.borrow().clone(),
            Some((_, local)) => {
                let mut picker = Picker::new(&upstream.group, start);
                picker.take_over(&local.picker.borrow());
                picker
            }
            None => Picker::new(&upstream.group, start),
        };
        let known = previous.map(|(known, local)| {
            let known = known.endpoints.iter().map(|endpoint| &endpoint.address).zip(0..);
            (known.collect::<HashMap<&Address, usize>>(), local)
        });
        let measured = Measured::new(upstream, worker, |address| {
            let (known, local) = known.as_ref()?;
            Some((local.measured.borrow(), *known.get(address)?))
        });
        let before = |address: &Address| match &known {
            None => Standing::ALWAYS,
            Some((known, local)) => match known.get(address) {
                Some(&endpoint) => local.standings.borrow()[endpoint],
                None => Standing::Available { since_ms: now_ms },
            },
        };
        let standing = |endpoint: &Endpoint| match (before(&endpoint.address), endpoint.is_up) {
            (_, false) => Standing::Unavailable,
            (Standing::Unavailable, true) => Standing::Available { since_ms: now_ms },
            (before, true) => before,
        };
        let standings = upstream.endpoints.iter().map(standing).collect();
        let ejected = upstream.endpoints.iter().enumerate().filter(|(_, endpoint)| endpoint.is_ejected);
        let ejected = ejected.map(|(index, _)| index);
        let choice = Self {
            worker,
            picker: RefCell::new(picker),
            outstanding: RefCell::new(Outstanding::new(worker)),
            measured: RefCell::new(measured),
            standings: RefCell::new(standings),
            ejected: RefCell::new(ejected.collect()),
            is_plain: Cell::default(),
            admit_again_ms: Cell::default(),
            // Apart from other workers' and from those of the last start.
            random: Cell::new(clock::monotonic_ns() ^ (start << 48)),
        };
        choice.admit(upstream, now_ms);
        choice
    }

    /// Chooses an endpoint that is not in `excluded`.
    ///
    /// # Errors
    ///
    /// [`NoEndpoint`]: none can be chosen, now or at all.
    #[inline(always)]
    pub(crate) fn pick(
        &self,
        upstream: &Upstream,
        wish: &Wish,
        excluded: &[usize],
    ) -> Result<usize, NoEndpoint> {
        let picked = self.pick_by_policy(upstream, wish, excluded);
        match picked {
            Ok(endpoint) if !upstream.endpoints[endpoint].failures.is_suspected() => picked,
            _ => self.pick_again(upstream, wish, excluded, picked),
        }
    }

    #[inline(always)]
    fn pick_by_policy(
        &self,
        upstream: &Upstream,
        wish: &Wish,
        excluded: &[usize],
    ) -> Result<usize, NoEndpoint> {
        if self.is_plain.get() {
            let ask = Ask { excluded, ..Ask::default() };
            return self.picker.borrow_mut().pick(&ask, &());
        }
        self.pick_knowing(upstream, wish, excluded)
    }

    /// Another one than one that is about to be ejected. If there is none, one that is ejected: what it had is longer ago. So
    /// is that one before none at all.
    #[cold]
    #[inline(never)]
    fn pick_again(
        &self,
        upstream: &Upstream,
        wish: &Wish,
        excluded: &[usize],
        picked: Result<usize, NoEndpoint>,
    ) -> Result<usize, NoEndpoint> {
        let mut not = excluded.to_vec();
        let mut again = picked;
        while let Ok(endpoint) = again {
            if !upstream.endpoints[endpoint].failures.is_suspected() {
                return again;
            }
            not.push(endpoint);
            again = self.pick_by_policy(upstream, wish, &not);
        }
        if picked == Err(NoEndpoint::Full) {
            return picked;
        }
        let may_be =
            |endpoint: &&usize| !excluded.contains(endpoint) && upstream.endpoints[**endpoint].weight > 0;
        let ejected = self.ejected.borrow();
        let mut ejected = ejected.iter().filter(may_be).peekable();
        let why_none = if ejected.peek().is_some() { Err(NoEndpoint::Full) } else { picked };
        let free = ejected.filter(|endpoint| !is_full(upstream, **endpoint, self.worker));
        let last_resort = free.min_by_key(|endpoint| upstream.endpoints[**endpoint].priority);
        last_resort.copied().map_or(picked.or(why_none), Ok)
    }

    #[inline(never)]
    fn pick_knowing(
        &self,
        upstream: &Upstream,
        wish: &Wish,
        excluded: &[usize],
    ) -> Result<usize, NoEndpoint> {
        let now_ms = clock::coarse_ms();
        if now_ms >= self.admit_again_ms.get() {
            self.admit(upstream, now_ms);
        }
        let mut picker = self.picker.borrow_mut();
        if let Some(seat) = wish.seat
            && picker.keeps_sessions(seat)
            && !is_full(upstream, seat, self.worker)
            && !excluded.contains(&seat)
        {
            return Ok(seat);
        }
        let (mut outstanding, mut measured) = (self.outstanding.borrow_mut(), self.measured.borrow_mut());
        if needs_counts(upstream.group.policy()) {
            let endpoints = upstream.endpoints.iter().map(|endpoint| &endpoint.counters);
            outstanding.refresh(endpoints, now_ms);
            measured.refresh(upstream, now_ms);
        }
        let random = self.random.get().wrapping_add(GOLDEN);
        self.random.set(random);
        let ask = Ask { excluded, key: wish.key, random };
        let (outstanding, measured) = (&*outstanding, &*measured);
        picker.pick(&ask, &Known { upstream, outstanding, measured, now_ms, worker: self.worker })
    }

    /// An endpoint has answered an attempt, after so long.
    pub(crate) fn note_answer(&self, endpoint: usize, latency_ns: u64) {
        self.measured.borrow_mut().note_answer(endpoint, latency_ns / 1000, clock::coarse_ms());
    }

    /// An attempt has failed by the endpoint's fault.
    pub(crate) fn note_failure(&self, endpoint: usize) {
        self.measured.borrow_mut().note_failure(endpoint, clock::coarse_ms());
    }

    /// An endpoint has come up or gone down.
    pub(super) fn set_health(&self, upstream: &Upstream, endpoint: usize, update: &HealthUpdate) {
        let now_ms = clock::coarse_ms();
        let mut ejected = self.ejected.borrow_mut();
        ejected.retain(|known| *known != endpoint);
        ejected.extend(update.is_ejected.then_some(endpoint));
        drop(ejected);
        if let Some(standing) = self.standings.borrow_mut().get_mut(endpoint) {
            *standing = match (*standing, update.is_up) {
                (_, false) => Standing::Unavailable,
                (Standing::Unavailable, true) => Standing::Available { since_ms: now_ms },
                (available, true) => available,
            };
        }
        self.admit(upstream, now_ms);
    }

    /// Whether an endpoint takes requests, and has done since then.
    pub(super) fn is_available_since(&self, endpoint: usize, then_ms: u64) -> bool {
        match self.standings.borrow().get(endpoint) {
            Some(Standing::Available { since_ms }) => *since_ms <= then_ms,
            Some(Standing::Unavailable) | None => false,
        }
    }

    /// Why none could be chosen.
    #[cold]
    pub(crate) fn no_endpoint(&self, upstream: &Upstream, why: NoEndpoint) -> Failure {
        if why == NoEndpoint::Full {
            return Failure::EndpointsFull;
        }
        let standings = self.standings.borrow();
        let mut taking =
            upstream.endpoints.iter().zip(&**standings).filter(|(endpoint, _)| endpoint.weight > 0);
        match taking.any(|(_, standing)| *standing == Standing::Unavailable) {
            true => Failure::NoHealthyEndpoint,
            false => Failure::NoEndpoint,
        }
    }

    /// Whether the upstream, and any endpoint that is available, may have another request.
    #[cold]
    pub(crate) fn has_room(&self, upstream: &Upstream) -> bool {
        let standings = self.standings.borrow();
        let is_open = |&endpoint: &usize| {
            standings[endpoint] != Standing::Unavailable && !is_full(upstream, endpoint, self.worker)
        };
        let has_place = upstream.limit.as_ref().is_none_or(|limit| !limit.is_full());
        has_place && (0..upstream.endpoints.len()).any(|endpoint| is_open(&endpoint))
    }

    /// Has a worker close an idle connection, for a request that waits here, to an endpoint that has no room but for them.
    /// False: there is none.
    #[cold]
    pub(crate) fn ask_for_room(&self, upstream: &Upstream) -> bool {
        // What the workers have is read after the request has joined the line: see `limits/permits.rs`.
        fence(SeqCst);
        let standings = self.standings.borrow();
        let mut most = (0, None);
        for (endpoint, standing) in upstream.endpoints.iter().zip(&**standings) {
            let Some(limit) = &endpoint.connections else { continue };
            let has_place = endpoint.limit.as_ref().is_none_or(|limit| !limit.is_full());
            if *standing == Standing::Unavailable || !has_place {
                continue;
            }
            for (counters, worker) in endpoint.counters.iter().zip(0..) {
                let idle = counters.idle.value() + counters.http2_connections.value();
                // Those at a worker that was called for one are meant for it.
                if idle > most.0 && !limit.line().is_called(worker) {
                    most = (idle, Some((worker, limit)));
                }
            }
        }
        if let (_, Some((worker, limit))) = most {
            limit.line().ask_for_room(worker, &limit.open);
        }
        most.1.is_some()
    }

    /// Tells the picker what is available.
    fn admit(&self, upstream: &Upstream, now_ms: u64) {
        let standings = self.standings.borrow();
        let share = |endpoint: usize| standings[endpoint].share(&upstream.slow_start, now_ms);
        let admission = self.picker.borrow_mut().admit(share);
        self.admit_again_ms.set(if admission.is_ramping { now_ms + RAMP_STEP_MS } else { u64::MAX });
        let is_in_turn = matches!(upstream.group.policy(), Policy::RoundRobin | Policy::Weighted);
        let is_limited = upstream.endpoints.iter().any(Endpoint::is_limited);
        let is_plain = is_in_turn && !is_limited && upstream.affinity.is_none() && !admission.is_ramping;
        self.is_plain.set(is_plain);
    }
}

/// What a picker is told.
struct Known<'a> {
    upstream: &'a Upstream,
    outstanding: &'a Outstanding,
    measured: &'a Measured,
    now_ms: u64,
    worker: usize,
}

impl View for Known<'_> {
    fn outstanding(&self, endpoint: usize) -> u64 {
        let known = self.upstream.endpoints.get(endpoint);
        known.map_or(u64::MAX, |known| self.outstanding.at(endpoint, &known.counters))
    }

    fn latency_us(&self, endpoint: usize) -> u64 {
        self.measured.latency_us(endpoint, self.now_ms)
    }

    fn bytes_per_second(&self, endpoint: usize) -> u64 {
        let Some(known) = self.upstream.endpoints.get(endpoint) else { return u64::MAX };
        let outstanding = self.outstanding.at(endpoint, &known.counters);
        self.measured.bytes_per_second(endpoint, &known.counters, outstanding, self.now_ms)
    }

    fn request_bytes_per_second(&self) -> u64 {
        self.measured.request_bytes_per_second()
    }

    fn is_full(&self, endpoint: usize) -> bool {
        is_full(self.upstream, endpoint, self.worker)
    }
}

/// Whether an endpoint has as many requests as it may have, or as many connections and none that this worker could use.
fn is_full(upstream: &Upstream, endpoint: usize, worker: usize) -> bool {
    let Some(endpoint) = upstream.endpoints.get(endpoint) else { return true };
    let counters = endpoint.counters.of(worker);
    // One that is shared may have room.
    let is_needed = || counters.idle.value() + counters.http2_connections.value() == 0;
    endpoint.limit.as_ref().is_some_and(RequestLimit::is_full)
        || endpoint.connections.as_ref().is_some_and(|limit| is_needed() && limit.is_full())
}

fn needs_counts(policy: Policy) -> bool {
    match policy {
        Policy::LeastConnections | Policy::P2c | Policy::Ewma | Policy::LeastBandwidth => true,
        Policy::RoundRobin | Policy::Weighted | Policy::Random | Policy::Hash => false,
    }
}

/// Whether a picker of the one chooses for the other as well.
fn is_same(one: &Upstream, other: &Upstream) -> bool {
    one.group.policy() == other.group.policy()
        && one.panic_percent == other.panic_percent
        && one.endpoints.len() == other.endpoints.len()
        && one.endpoints.iter().zip(&other.endpoints).all(|(one, other)| {
            (&one.address, one.weight, one.priority) == (&other.address, other.weight, other.priority)
        })
}

/// An odd number whose multiples are spread well: the golden ratio of 2^64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
