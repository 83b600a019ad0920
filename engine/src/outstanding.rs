//! How many requests are in progress at each endpoint, without a look at other workers' cache lines for each of them.

use crate::counters::{EndpointCounters, PerWorker};

/// How old the other workers' counts become before they are read again. The coarse clock may tick no more often than
/// this. For 128 workers and 100 endpoints a reading is 12 700 lines, a third of a millisecond: 8 % of a busy worker's time.
const READ_AGAIN_MS: u64 = 4;

/// What a worker knows of one upstream's endpoints.
///
/// Its own count is always exact. The others' are as they were read, and taken to have changed since as its own has:
/// did each worker see only itself change, all would send what they get between two readings to the same endpoint, and
/// with requests shorter than that the choice would be worse than round robin.
#[derive(Debug, Default)]
pub(crate) struct Outstanding {
    worker: usize,
    others: i64,
    read_ms: Option<u64>,
    readings: Vec<Reading>,
}

/// The requests in progress at an endpoint when the others' were read.
#[derive(Debug)]
struct Reading {
    own: u64,
    others: u64,
}

impl Outstanding {
    pub(crate) fn new(worker: usize) -> Self {
        Self { worker, ..Self::default() }
    }

    /// Reads the others' counts if they are old. `endpoints` are always the same ones.
    pub(crate) fn refresh<'a>(
        &mut self,
        endpoints: impl Iterator<Item = &'a PerWorker<EndpointCounters>>,
        now_ms: u64,
    ) {
        if self.read_ms.is_some_and(|read_ms| now_ms.saturating_sub(read_ms) < READ_AGAIN_MS) {
            return;
        }
        self.read_ms = Some(now_ms);
        self.readings.clear();
        for counters in endpoints {
            let counts = counters.iter().map(|counters| counters.outstanding.value());
            let (workers, all) = counts.fold((0, 0_u64), |(workers, all), count| (workers + 1, all + count));
            let own = counters.of(self.worker).outstanding.value();
            self.others = workers - 1;
            self.readings.push(Reading { own, others: all - own });
        }
    }

    /// The requests in progress at the endpoint with this index, on all workers.
    pub(crate) fn at(&self, index: usize, counters: &PerWorker<EndpointCounters>) -> u64 {
        let own = counters.of(self.worker).outstanding.value();
        let Some(reading) = self.readings.get(index) else { return own };
        let change = own.wrapping_sub(reading.own).cast_signed();
        own + reading.others.saturating_add_signed(change * self.others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::memory::Seed;
    use corelane_balancer::{Ask, Group, Picker, Policy};

    fn endpoints(count: usize, workers: usize) -> Vec<PerWorker<EndpointCounters>> {
        (0..count).map(|_| PerWorker::new(workers)).collect()
    }

    #[test]
    fn others_are_read_once_in_a_while() {
        let endpoints = endpoints(1, 3);
        let (own, other) = (endpoints[0].of(1), endpoints[0].of(2));
        let mut outstanding = Outstanding::new(1);
        let mut at = |now_ms| {
            outstanding.refresh(endpoints.iter(), now_ms);
            outstanding.at(0, &endpoints[0])
        };
        other.outstanding.add(7);
        assert_eq!(at(100), 7);
        other.outstanding.add(5);
        assert_eq!(at(100 + READ_AGAIN_MS - 1), 7);
        assert_eq!(at(100 + READ_AGAIN_MS), 12);
        // Two others are thought to do the same.
        own.outstanding.add(2);
        assert_eq!(at(100 + READ_AGAIN_MS), 12 + 2 + 2 * 2);
        assert_eq!(at(100 + 2 * READ_AGAIN_MS), 12 + 2);
        own.outstanding.decrement();
        assert_eq!(at(100 + 2 * READ_AGAIN_MS), 12 + 1 - 2);
    }

    #[test]
    fn the_others_are_never_below_nothing() {
        let endpoints = endpoints(1, 128);
        let mut outstanding = Outstanding::new(0);
        let own = &endpoints[0].of(0).outstanding;
        own.add(3);
        outstanding.refresh(endpoints.iter(), 1);
        own.decrement();
        assert_eq!(outstanding.at(0, &endpoints[0]), 2);
    }

    /// One worker of a simulation.
    struct Worker {
        picker: Picker,
        outstanding: Outstanding,
    }

    const ENDPOINTS: usize = 10;
    const DURATION_MS: usize = 400;
    const WORKERS: [usize; 4] = [1, 2, 8, 128];

    /// Sends `rate` requests a millisecond, each to a worker by chance. `takes_ms` says for how long each stays. Returns
    /// the fullest endpoint over the mean, on average over time, and how many requests each endpoint got.
    fn simulate(
        policy: Policy,
        workers: usize,
        rate: u32,
        takes_ms: impl Fn(&mut Seed, usize) -> usize,
    ) -> (f64, [u64; ENDPOINTS]) {
        let mut seed = Seed::new(7);
        let endpoints = endpoints(ENDPOINTS, workers);
        let group = Group::of_weights(policy, &[1; ENDPOINTS]);
        let mut crew: Vec<_> = (0..workers)
            .map(|worker| Worker {
                picker: Picker::new(&group, worker as u64),
                outstanding: Outstanding::new(worker),
            })
            .collect();
        let mut ends: Vec<Vec<(usize, usize)>> = vec![Vec::new(); 1 + DURATION_MS];
        let (mut got, mut fullness) = ([0; ENDPOINTS], 0.0);
        for now_ms in 0..DURATION_MS {
            for (worker, endpoint) in std::mem::take(&mut ends[now_ms]) {
                endpoints[endpoint].of(worker).outstanding.decrement();
            }
            for _ in 0..rate {
                let worker = seed.below(workers);
                let Worker { picker, outstanding } = &mut crew[worker];
                outstanding.refresh(endpoints.iter(), now_ms as u64);
                let view = |index: usize| outstanding.at(index, &endpoints[index]);
                let endpoint = picker.pick(&Ask::default(), &view).unwrap();
                endpoints[endpoint].of(worker).outstanding.increment();
                got[endpoint] += 1;
                let end_ms = (now_ms + takes_ms(&mut seed, endpoint)).min(DURATION_MS);
                ends[end_ms].push((worker, endpoint));
            }
            let counts =
                endpoints.iter().map(|counters| counters.iter().map(|it| it.outstanding.value()).sum());
            let counts: Vec<u64> = counts.collect();
            let (all, most) = (counts.iter().sum::<u64>(), counts.iter().max().unwrap());
            fullness += (*most * ENDPOINTS as u64) as f64 / all as f64;
        }
        (fullness / DURATION_MS as f64, got)
    }

    #[test]
    fn endpoints_are_evenly_full_with_old_counts() {
        for workers in WORKERS {
            let uneven = |policy, rate, most_ms| {
                let takes_ms = |seed: &mut Seed, _: usize| 1 + seed.below(most_ms);
                simulate(policy, workers, rate, takes_ms).0 - 1.0
            };
            // 20 ms on average.
            let (in_turn, least) =
                (uneven(Policy::RoundRobin, 40, 39), uneven(Policy::LeastConnections, 40, 39));
            assert!(least < in_turn / 2.0, "{workers} workers: {least} and {in_turn}");
            // 2 ms, half of how old the counts become: still no worse.
            let (in_turn, least) =
                (uneven(Policy::RoundRobin, 400, 3), uneven(Policy::LeastConnections, 400, 3));
            assert!(least < in_turn, "{workers} workers: {least} and {in_turn}");
        }
    }

    #[test]
    fn a_slow_endpoint_gets_few_requests() {
        for workers in WORKERS {
            // A hundred times slower than the others.
            let takes_ms = |_: &mut Seed, endpoint: usize| if endpoint == 0 { 200 } else { 2 };
            let (_, got) = simulate(Policy::LeastConnections, workers, 100, takes_ms);
            assert!(got[0] < got[1] / 10, "{workers} workers: {got:?}");
        }
    }
}
