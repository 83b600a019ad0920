//! A model of many cores that send requests to a few endpoints, to compare policies: the real pickers, everything
//! else made up. The same figures every time, as chance comes from a seed.
//!
//! Requests come by chance, each to one of the cores. Each core has a picker of its own and knows the others' requests as the
//! engine does (`engine/src/outstanding.rs`): as they were at most 4 ms ago, and taken to have changed since as its own have.
//! Latencies it knows of its own requests only; bytes of all, as old as the requests. An endpoint serves some
//! requests at once, and the others wait in a queue.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use corelane_balancer::{
    Ask, BANDWIDTH_TIME_CONSTANT_MS, Bandwidth, Group, LATENCY_TIME_CONSTANT_MS, PeakEwma, Picker, Policy,
    View, mix,
};

/// How old the others' counts become, and how often the coarse clock ticks: `READ_AGAIN_MS` of the engine, 250 Hz.
const READ_AGAIN_US: u64 = 4_000;
/// Requests that an endpoint serves at once.
pub(crate) const SLOTS: usize = 4;
/// Clients with a key of their own, equally busy.
const KEYS: u64 = 2_000;
/// What is not looked at: nothing is in progress at the begin.
const WARM_UP_US: u64 = 1_000_000;

/// What is compared.
#[derive(Clone)]
pub(crate) struct Setting {
    /// How endpoints are chosen.
    pub(crate) policy: Policy,
    /// Cores.
    pub(crate) workers: usize,
    /// How long each endpoint takes for a request, on average, while it has one in each slot.
    pub(crate) service_us: Vec<f64>,
    /// What the operator has set.
    pub(crate) weights: Vec<u32>,
    /// Requests, as a part of what all endpoints can serve together.
    pub(crate) load: f64,
    /// The first endpoint takes so many times as long in the third quarter.
    pub(crate) slowdown: f64,
    /// What is simulated, the begin included.
    pub(crate) duration_us: u64,
    /// Of chance.
    pub(crate) seed: u64,
}

/// What came out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Milliseconds.
    pub(crate) p50_ms: f64,
    /// Milliseconds.
    pub(crate) p99_ms: f64,
    /// Work at the fullest endpoint over the mean of all, on average over time: its requests, each as long as it takes there.
    pub(crate) imbalance: f64,
    /// Bytes of the endpoint that has sent the most over the mean of all.
    pub(crate) bytes_imbalance: f64,
}

/// Chance from a seed.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Above 0, at most 1.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 1.0) / (1_u64 << 53) as f64
    }

    /// Exponentially distributed, 1 on average.
    fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("it is below a usize")
    }
}

/// A request at an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Request {
    worker: usize,
    endpoint: usize,
    came_us: u64,
    bytes: u64,
}

/// An endpoint, and what each core counts of it.
struct Endpoint {
    busy: usize,
    queue: VecDeque<Request>,
    /// By worker.
    outstanding: Vec<Cell<u64>>,
    bytes: Vec<u64>,
    done: Vec<u64>,
}

/// What a core knows.
struct Worker {
    picker: RefCell<Picker>,
    latencies: Vec<PeakEwma>,
    bandwidths: Vec<Bandwidth>,
    /// Bytes and requests of all cores when they were last read.
    counted: Vec<(u64, u64)>,
    /// The own and the others' outstanding requests when they were last read.
    readings: Vec<(u64, u64)>,
    read_us: Option<u64>,
    bytes_each: u64,
}

/// A core's view of the endpoints.
struct Known<'a> {
    worker: usize,
    others: u64,
    now_ms: u64,
    state: &'a Worker,
    endpoints: &'a [Endpoint],
}

impl View for Known<'_> {
    fn outstanding(&self, endpoint: usize) -> u64 {
        let own = self.endpoints[endpoint].outstanding[self.worker].get();
        let (own_then, others_then) = self.state.readings[endpoint];
        let change = own.wrapping_sub(own_then).cast_signed();
        own + others_then.saturating_add_signed(change * self.others.cast_signed())
    }

    fn latency_us(&self, endpoint: usize) -> u64 {
        self.state.latencies[endpoint].latency_us(LATENCY_TIME_CONSTANT_MS, self.now_ms)
    }

    fn bytes_per_second(&self, endpoint: usize) -> u64 {
        let (outstanding, each) = (self.outstanding(endpoint), self.state.bytes_each);
        let bandwidth = &self.state.bandwidths[endpoint];
        bandwidth.bytes_per_second(outstanding, each, BANDWIDTH_TIME_CONSTANT_MS, self.now_ms)
    }

    fn request_bytes_per_second(&self) -> u64 {
        self.state.bytes_each * 1_000 / BANDWIDTH_TIME_CONSTANT_MS
    }
}

impl Worker {
    /// Reads what the others have counted, if that is old.
    fn refresh(&mut self, worker: usize, endpoints: &[Endpoint], now_us: u64) {
        let coarse_us = now_us / READ_AGAIN_US * READ_AGAIN_US;
        if self.read_us.is_some_and(|read_us| coarse_us < read_us + READ_AGAIN_US) {
            return;
        }
        self.read_us = Some(coarse_us);
        let now_ms = now_us / 1_000;
        for (index, endpoint) in endpoints.iter().enumerate() {
            let own = endpoint.outstanding[worker].get();
            let all: u64 = endpoint.outstanding.iter().map(Cell::get).sum();
            self.readings[index] = (own, all - own);
            let counted = (endpoint.bytes.iter().sum(), endpoint.done.iter().sum());
            let (bytes, done) = (counted.0 - self.counted[index].0, counted.1 - self.counted[index].1);
            self.counted[index] = counted;
            self.bandwidths[index].add(bytes, done, BANDWIDTH_TIME_CONSTANT_MS, now_ms);
        }
        self.bytes_each = Bandwidth::bytes_each(&self.bandwidths, BANDWIDTH_TIME_CONSTANT_MS, now_ms);
    }
}

/// Everything, while it runs.
struct Run<'a> {
    setting: &'a Setting,
    chance: Chance,
    workers: Vec<Worker>,
    endpoints: Vec<Endpoint>,
    /// When requests will be answered.
    ends: BinaryHeap<Reverse<(u64, Request)>>,
    latencies_us: Vec<u64>,
    fullest: Fullest,
}

/// Sums up how much fuller than the mean the fullest is.
#[derive(Default)]
struct Fullest {
    sum: f64,
    samples: f64,
}

impl Fullest {
    fn add(&mut self, each: impl Iterator<Item = f64>) {
        let (mut count, mut all, mut most) = (0.0, 0.0, 0.0_f64);
        for one in each {
            (count, all, most) = (count + 1.0, all + one, most.max(one));
        }
        if all > 0.0 {
            self.sum += most * count / all;
            self.samples += 1.0;
        }
    }

    fn mean(&self) -> f64 {
        self.sum / self.samples
    }
}

impl Setting {
    /// Runs it.
    #[must_use]
    pub(crate) fn run(&self) -> Outcome {
        let count = self.service_us.len();
        let group = Group::of_weights(self.policy, &self.weights);
        let worker = |index| Worker {
            picker: Picker::new(&group, index).into(),
            latencies: vec![PeakEwma::default(); count],
            bandwidths: vec![Bandwidth::default(); count],
            counted: vec![(0, 0); count],
            readings: vec![(0, 0); count],
            read_us: None,
            bytes_each: 0,
        };
        let endpoint = |_| Endpoint {
            busy: 0,
            queue: VecDeque::new(),
            outstanding: vec![Cell::new(0); self.workers],
            bytes: vec![0; self.workers],
            done: vec![0; self.workers],
        };
        let run = Run {
            setting: self,
            chance: Chance(self.seed),
            workers: (0..self.workers as u64).map(worker).collect(),
            endpoints: (0..count).map(endpoint).collect(),
            ends: BinaryHeap::new(),
            latencies_us: Vec::new(),
            fullest: Fullest::default(),
        };
        run.run()
    }

    /// Requests in a microsecond.
    fn rate(&self) -> f64 {
        self.load * self.service_us.iter().map(|service_us| SLOTS as f64 / service_us).sum::<f64>()
    }
}

impl Run<'_> {
    fn run(mut self) -> Outcome {
        let (rate, end_us) = (self.setting.rate(), self.setting.duration_us);
        let (mut now_us, mut sample_us) = (0.0, WARM_UP_US);
        loop {
            now_us += self.chance.exponential() / rate;
            let whole_us = whole(now_us);
            if whole_us >= end_us {
                break;
            }
            while let Some(&Reverse((at_us, request))) = self.ends.peek()
                && at_us <= whole_us
            {
                self.ends.pop();
                self.answer(request, at_us);
            }
            while sample_us <= whole_us {
                sample_us += 1_000;
                let work = |(endpoint, service_us): (&Endpoint, &f64)| {
                    endpoint.outstanding.iter().map(Cell::get).sum::<u64>() as f64 * service_us
                };
                self.fullest.add(self.endpoints.iter().zip(&self.setting.service_us).map(work));
            }
            self.request(whole_us);
        }
        // What still waits has waited at least until now.
        let waiting = self.endpoints.iter().flat_map(|endpoint| &endpoint.queue);
        let waiting = waiting.filter(|it| it.came_us >= WARM_UP_US).map(|it| end_us - it.came_us);
        self.latencies_us.extend(waiting);
        self.latencies_us.sort_unstable();
        let quantile = |part: usize| self.latencies_us[self.latencies_us.len() * part / 100] as f64 / 1_000.0;
        let mut bytes = Fullest::default();
        bytes.add(self.endpoints.iter().map(|endpoint| endpoint.bytes.iter().sum::<u64>() as f64));
        Outcome {
            p50_ms: quantile(50),
            p99_ms: quantile(99),
            imbalance: self.fullest.mean(),
            bytes_imbalance: bytes.mean(),
        }
    }

    fn request(&mut self, now_us: u64) {
        let worker = self.chance.below(self.workers.len());
        let key = mix(self.chance.next() % KEYS);
        let ask = Ask { key: Some(key), random: self.chance.next(), ..Ask::default() };
        self.workers[worker].refresh(worker, &self.endpoints, now_us);
        let known = Known {
            worker,
            others: self.workers.len() as u64 - 1,
            now_ms: now_us / 1_000,
            state: &self.workers[worker],
            endpoints: &self.endpoints,
        };
        let picked = self.workers[worker].picker.borrow_mut().pick(&ask, &known);
        let endpoint = picked.expect("all are available");
        // Many small answers and a few large ones: 2 KiB on average, one in a hundred has a hundred times as much.
        let is_large = self.chance.below(100) == 0;
        let bytes = whole(1_024.0 * self.chance.exponential() * if is_large { 100.0 } else { 1.0 });
        let of_worker = &self.endpoints[endpoint].outstanding[worker];
        of_worker.set(of_worker.get() + 1);
        let request = Request { worker, endpoint, came_us: now_us, bytes };
        if self.endpoints[endpoint].busy < SLOTS {
            self.serve(request, now_us);
        } else {
            self.endpoints[endpoint].queue.push_back(request);
        }
    }

    fn serve(&mut self, request: Request, now_us: u64) {
        self.endpoints[request.endpoint].busy += 1;
        let third_quarter = self.setting.duration_us / 2..self.setting.duration_us * 3 / 4;
        let is_slow = request.endpoint == 0 && third_quarter.contains(&now_us);
        let slowdown = if is_slow { self.setting.slowdown } else { 1.0 };
        let spread = 0.75 + 0.25 * self.chance.exponential();
        let took_us = self.setting.service_us[request.endpoint] * spread * slowdown;
        self.ends.push(Reverse((now_us + whole(took_us), request)));
    }

    fn answer(&mut self, request: Request, now_us: u64) {
        let Request { worker, endpoint: index, came_us, bytes } = request;
        let endpoint = &mut self.endpoints[index];
        let of_worker = &endpoint.outstanding[worker];
        of_worker.set(of_worker.get() - 1);
        endpoint.bytes[worker] += bytes;
        endpoint.done[worker] += 1;
        endpoint.busy -= 1;
        let latency_us = now_us - came_us;
        self.workers[worker].latencies[index].observe(latency_us, LATENCY_TIME_CONSTANT_MS, now_us / 1_000);
        if came_us >= WARM_UP_US {
            self.latencies_us.push(latency_us);
        }
        if let Some(next) = self.endpoints[index].queue.pop_front() {
            self.serve(next, now_us);
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "times of seconds, sizes of kilobytes, none negative")]
fn whole(number: f64) -> u64 {
    number as u64
}
