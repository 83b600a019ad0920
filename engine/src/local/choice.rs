//! Which endpoint of an upstream gets an attempt, by what this worker knows of them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use corelane_balancer::health::Standing;
use corelane_balancer::{Ask, NoEndpoint, Picker, Policy, View};

use super::measured::Measured;
use crate::affinity::Wish;
use crate::failure::Failure;
use crate::health::HealthUpdate;
use crate::io::clock;
use crate::outstanding::Outstanding;
use crate::snapshot::{Address, Endpoint, Upstream};

/// See the module. One for each upstream of a snapshot.
pub(crate) struct Choice {
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
        let last_resort = ejected.iter().filter(may_be).min_by_key(|it| upstream.endpoints[**it].priority);
        last_resort.copied().map_or(picked, Ok)
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
        picker.pick(&ask, &Known { upstream, outstanding: &outstanding, measured: &measured, now_ms })
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

    /// Why none could be chosen for a first attempt.
    #[cold]
    pub(crate) fn no_endpoint(&self, upstream: &Upstream) -> Failure {
        let standings = self.standings.borrow();
        let mut taking =
            upstream.endpoints.iter().zip(&**standings).filter(|(endpoint, _)| endpoint.weight > 0);
        match taking.any(|(_, standing)| *standing == Standing::Unavailable) {
            true => Failure::NoHealthyEndpoint,
            false => Failure::NoEndpoint,
        }
    }

    /// Tells the picker what is available.
    fn admit(&self, upstream: &Upstream, now_ms: u64) {
        let standings = self.standings.borrow();
        let share = |endpoint: usize| standings[endpoint].share(&upstream.slow_start, now_ms);
        let admission = self.picker.borrow_mut().admit(share);
        self.admit_again_ms.set(if admission.is_ramping { now_ms + RAMP_STEP_MS } else { u64::MAX });
        let is_in_turn = matches!(upstream.group.policy(), Policy::RoundRobin | Policy::Weighted);
        self.is_plain.set(is_in_turn && upstream.affinity.is_none() && !admission.is_ramping);
    }
}

/// What a picker is told.
struct Known<'a> {
    upstream: &'a Upstream,
    outstanding: &'a Outstanding,
    measured: &'a Measured,
    now_ms: u64,
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
