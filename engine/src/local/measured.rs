//! What a worker measures at an upstream's endpoints, for the policies that choose by it: how long they take to answer, or
//! how much they carry.

use std::cell::Ref;

use corelane_balancer::{BANDWIDTH_TIME_CONSTANT_MS, Bandwidth, LATENCY_TIME_CONSTANT_MS, PeakEwma, Policy};

use crate::counters::{EndpointCounters, PerWorker};
use crate::snapshot::{Address, Upstream};

/// See the module. By endpoint.
pub(super) enum Measured {
    /// The policy asks for neither.
    Nothing,
    /// Answers that this worker got.
    Latency(Box<[PeakEwma]>),
    /// What all workers carried.
    Bandwidth(Box<Carried>),
}

/// What endpoints carry.
pub(super) struct Carried {
    worker: usize,
    others: u64,
    endpoints: Box<[Carrier]>,
    /// What a request brings on average.
    bytes_each: u64,
    read_ms: u64,
}

/// What one endpoint carries.
#[derive(Clone, Copy, Default)]
struct Carrier {
    meter: Bandwidth,
    /// All workers' counts when they were last read.
    read: Option<Reading>,
}

#[derive(Clone, Copy)]
struct Reading {
    bytes: u64,
    requests: u64,
    own_bytes: u64,
}

/// How old the other workers' counts become, as those of requests in progress do ([`crate::outstanding`]).
const READ_AGAIN_MS: u64 = 4;

impl Measured {
    /// `known`: what was measured before at the endpoint with this address, and its index then.
    pub(super) fn new<'a>(
        upstream: &Upstream,
        worker: usize,
        known: impl Fn(&Address) -> Option<(Ref<'a, Self>, usize)>,
    ) -> Self {
        let addresses = upstream.endpoints.iter().map(|endpoint| &endpoint.address);
        match upstream.group.policy() {
            Policy::Ewma => Self::Latency(
                addresses
                    .map(|address| match known(address) {
                        Some((known, endpoint)) => known.latency(endpoint).unwrap_or_default(),
                        None => PeakEwma::default(),
                    })
                    .collect(),
            ),
            Policy::LeastBandwidth => {
                let endpoints = addresses.map(|address| match known(address) {
                    Some((known, endpoint)) => known.carrier(endpoint).unwrap_or_default(),
                    None => Carrier::default(),
                });
                let endpoints = endpoints.collect();
                Self::Bandwidth(Box::new(Carried { worker, others: 0, endpoints, bytes_each: 0, read_ms: 0 }))
            }
            _ => Self::Nothing,
        }
    }

    /// Reads the counts of all workers if they are old.
    pub(super) fn refresh(&mut self, upstream: &Upstream, now_ms: u64) {
        if let Self::Bandwidth(carried) = self
            && now_ms.saturating_sub(carried.read_ms) >= READ_AGAIN_MS
        {
            carried.read(upstream, now_ms);
        }
    }

    /// An answer has come after so long.
    pub(super) fn note_answer(&mut self, endpoint: usize, latency_us: u64, now_ms: u64) {
        if let Self::Latency(latencies) = self
            && let Some(latency) = latencies.get_mut(endpoint)
        {
            latency.observe(latency_us, LATENCY_TIME_CONSTANT_MS, now_ms);
        }
    }

    /// None has come.
    pub(super) fn note_failure(&mut self, endpoint: usize, now_ms: u64) {
        if let Self::Latency(latencies) = self
            && let Some(latency) = latencies.get_mut(endpoint)
        {
            latency.observe_failure(LATENCY_TIME_CONSTANT_MS, now_ms);
        }
    }

    /// How long it takes to answer; 0: unknown.
    pub(super) fn latency_us(&self, endpoint: usize, now_ms: u64) -> u64 {
        self.latency(endpoint).map_or(0, |latency| latency.latency_us(LATENCY_TIME_CONSTANT_MS, now_ms))
    }

    /// What it carries, and what the requests in progress there are expected to bring.
    pub(super) fn bytes_per_second(
        &self,
        endpoint: usize,
        counters: &PerWorker<EndpointCounters>,
        outstanding: u64,
        now_ms: u64,
    ) -> u64 {
        let Self::Bandwidth(carried) = self else { return 0 };
        let Some(Carrier { meter, read }) = carried.endpoints.get(endpoint) else { return 0 };
        let known =
            meter.bytes_per_second(outstanding, carried.bytes_each, BANDWIDTH_TIME_CONSTANT_MS, now_ms);
        // The others are taken to have carried since as much as this worker.
        let own = read.map_or(0, |read| bytes(counters.of(carried.worker)).saturating_sub(read.own_bytes));
        let since = own.saturating_mul(1 + carried.others);
        known.saturating_add(since.saturating_mul(1000) / BANDWIDTH_TIME_CONSTANT_MS)
    }

    /// What one more request is expected to bring.
    pub(super) fn request_bytes_per_second(&self) -> u64 {
        let Self::Bandwidth(carried) = self else { return 1 };
        carried.bytes_each.saturating_mul(1000) / BANDWIDTH_TIME_CONSTANT_MS
    }

    fn latency(&self, endpoint: usize) -> Option<PeakEwma> {
        let Self::Latency(latencies) = self else { return None };
        latencies.get(endpoint).copied()
    }

    fn carrier(&self, endpoint: usize) -> Option<Carrier> {
        let Self::Bandwidth(carried) = self else { return None };
        carried.endpoints.get(endpoint).copied()
    }
}

impl Carried {
    fn read(&mut self, upstream: &Upstream, now_ms: u64) {
        self.read_ms = now_ms;
        for (carrier, endpoint) in self.endpoints.iter_mut().zip(&upstream.endpoints) {
            let mut now =
                Reading { bytes: 0, requests: 0, own_bytes: bytes(endpoint.counters.of(self.worker)) };
            self.others = 0;
            for counters in endpoint.counters.iter() {
                now.bytes += bytes(counters);
                now.requests += counters.requests.value();
                self.others += 1;
            }
            self.others = self.others.saturating_sub(1);
            // What was counted before the first reading was carried at any time.
            if let Some(read) = carrier.read {
                let (bytes, requests) = (now.bytes - read.bytes, now.requests - read.requests);
                carrier.meter.add(bytes, requests, BANDWIDTH_TIME_CONSTANT_MS, now_ms);
            }
            carrier.read = Some(now);
        }
        let meters = self.endpoints.iter().map(|carrier| &carrier.meter);
        self.bytes_each = Bandwidth::bytes_each(meters, BANDWIDTH_TIME_CONSTANT_MS, now_ms);
    }
}

fn bytes(counters: &EndpointCounters) -> u64 {
    counters.received_bytes.value() + counters.sent_bytes.value()
}
