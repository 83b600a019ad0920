//! Ejections and retry budgets against a scripted clock: what holds whatever happens, and one outage from end to end.

use std::collections::VecDeque;
use std::time::Duration;

use corelane_balancer::health::{
    Board, BoardRules, Change, CheckRules, EjectionRules, Initial, Outcome, Outlier, OutlierRules, Reason,
    Reported, State, Trip,
};
use corelane_balancer::{Ask, BudgetRules, Group, Member, Picker, Policy, RetryBudget, Share, mix};
use proptest::collection::vec;
use proptest::prelude::*;

const SECOND_MS: u64 = 1_000;
const TIME_MS: u64 = 10 * SECOND_MS;
const TIME_MAX_MS: u64 = 35 * SECOND_MS;

fn members(weights: &[u32]) -> Vec<Member> {
    (0..).zip(weights).map(|(name, &weight)| Member { name, weight, priority: 0 }).collect()
}

fn ejection(ejected_percent_max: u8) -> EjectionRules {
    let [time, time_max] = [TIME_MS, TIME_MAX_MS].map(Duration::from_millis);
    EjectionRules { time, time_max, ejected_percent_max }
}

fn is_ejected(state: State) -> bool {
    matches!(state, State::Unavailable(Reason::ConsecutiveFailures | Reason::FailureRate))
}

/// What happens to an endpoint.
#[derive(Clone, Copy, Debug)]
enum Event {
    Checked { passed: bool },
    Reported { trip: Trip, has_worked: bool },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        any::<bool>().prop_map(|passed| Event::Checked { passed }),
        any::<bool>().prop_map(|has_worked| Event::Reported { trip: Trip::ConsecutiveFailures, has_worked }),
        any::<bool>().prop_map(|has_worked| Event::Reported { trip: Trip::FailureRate, has_worked }),
    ]
}

/// A board, and what its changes have told.
struct Watched {
    board: Board,
    are_checked: bool,
    percent_max: u8,
    weights: Vec<u32>,
    states: Vec<State>,
    /// When each endpoint was last taken out; `None`: nobody can tell, since its checks failed before.
    ejected_ms: Vec<Option<u64>>,
    /// The last one has failed, so that the others come back.
    come_back: bool,
}

impl Watched {
    fn new(weights: &[u32], are_checked: bool, percent_max: u8) -> Self {
        let checks = are_checked.then_some(CheckRules { rise: 1, fall: 2, initial: Initial::Up });
        let rules = BoardRules { checks, ejection: ejection(percent_max) };
        let board = Board::new(rules, &members(weights), None);
        let states = vec![State::Available; weights.len()];
        let ejected_ms = vec![None; weights.len()];
        Self {
            board,
            are_checked,
            percent_max,
            weights: weights.to_vec(),
            states,
            ejected_ms,
            come_back: false,
        }
    }

    /// How many that have a weight are available, and how many have one.
    fn left(&self) -> (usize, usize) {
        let working = || self.states.iter().zip(&self.weights).filter(|&(_, &weight)| weight > 0);
        (working().filter(|&(&state, _)| state == State::Available).count(), working().count())
    }

    fn changed(&mut self, change: Change, now_ms: u64) {
        assert_eq!(change.from, self.states[change.endpoint], "{change:?} begins where the last one ended");
        if !is_ejected(change.from) {
            self.ejected_ms[change.endpoint] = (change.from == State::Available).then_some(now_ms);
        } else if change.to == State::Available {
            let lasted_ms = self.ejected_ms[change.endpoint].map(|since_ms| now_ms - since_ms);
            // Failing checks of the others may end an ejection early.
            let is_due = self.are_checked || self.come_back || lasted_ms.is_none_or(|it| it >= TIME_MS);
            assert!(is_due, "{change:?} after {lasted_ms:?} ms");
        }
        self.states[change.endpoint] = change.to;
    }

    fn advance(&mut self, now_ms: u64) {
        while let Some(change) = self.board.advance(now_ms) {
            self.changed(change, now_ms);
        }
    }

    fn happens(&mut self, endpoint: usize, event: Event, now_ms: u64) {
        self.advance(now_ms);
        match event {
            Event::Checked { passed } => {
                if let Some(change) = self.board.check(endpoint, passed, now_ms) {
                    self.changed(change, now_ms);
                }
            }
            Event::Reported { trip, has_worked } => {
                match self.board.report(endpoint, trip, has_worked, now_ms) {
                    Reported::Ejected(change) => {
                        assert_eq!(change.from, State::Available);
                        assert!(is_ejected(change.to), "{change:?}");
                        self.changed(change, now_ms);
                        let (left, all) = self.left();
                        let lost_max = (all * usize::from(self.percent_max) / 100).max(1);
                        assert!(left > 0 && all - left <= lost_max, "{left} of {all} are left");
                    }
                    Reported::Exchanged | Reported::AllFail => {
                        assert!(self.states.iter().any(|&state| is_ejected(state)), "somebody comes back");
                        assert_eq!(self.states[endpoint], State::Available);
                        self.come_back = true;
                    }
                    Reported::Unavailable | Reported::Spared => {}
                }
            }
        }
        self.advance(now_ms);
        self.come_back = false;
        assert!(self.board.next_end_ms().is_none_or(|end_ms| end_ms > now_ms));
        for (endpoint, &state) in self.states.iter().enumerate() {
            assert_eq!(self.board.state(endpoint), Some(state));
            let lasts_ms = self.ejected_ms[endpoint].map(|since_ms| now_ms - since_ms);
            let is_over = is_ejected(state) && lasts_ms.is_some_and(|it| it >= TIME_MAX_MS);
            assert!(!is_over, "{endpoint}: {lasts_ms:?} ms");
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_enough_are_left_and_nobody_is_out_for_ever(
        weights in vec(0..3_u32, 1..8),
        percent_max in 0..=100_u8,
        are_checked in any::<bool>(),
        script in vec((0..6 * SECOND_MS, any::<prop::sample::Index>(), event()), 1..300),
    ) {
        let mut watched = Watched::new(&weights, are_checked, percent_max);
        let mut now_ms = 0;
        for (passed_ms, endpoint, event) in script {
            now_ms += passed_ms;
            watched.happens(endpoint.index(weights.len()), event, now_ms);
            let (left, all) = watched.left();
            prop_assert!(are_checked || left > 0 || all == 0, "ejections alone leave one");
        }
    }

    #[test]
    fn retries_are_never_more_than_the_budget_and_never_needlessly_refused(
        percent in 0..=100_u32,
        retries_min in 0..10_u32,
        script in vec((0..50_u64, 0..4_u32, 0..4_u32), 1..2_000),
    ) {
        let rules = BudgetRules { percent, retries_min, window: Duration::from_secs(1) };
        let mut budget = RetryBudget::default();
        // Times of requests and of retries.
        let (mut requests, mut retries) = (VecDeque::new(), VecDeque::new());
        let mut now_ms = SECOND_MS;
        for (passed_ms, new_requests, wanted) in script {
            now_ms += passed_ms;
            budget.requests(&rules, new_requests, now_ms);
            requests.extend((0..new_requests).map(|_| now_ms));
            for _ in 0..wanted {
                let may = budget.try_retry(&rules, now_ms);
                // It forgets a tenth of the second at a time.
                let since = |times: &VecDeque<u64>, ms: u64| {
                    times.iter().rev().take_while(|&&time| time + ms > now_ms).count() as u64
                };
                let share = |requests: u64| requests * u64::from(percent) / 100 + u64::from(retries_min);
                if may {
                    retries.push_back(now_ms);
                    prop_assert!(since(&retries, 900) <= share(since(&requests, 1_000)));
                } else {
                    prop_assert!(since(&retries, 1_000) >= share(since(&requests, 900)));
                }
            }
        }
    }
}

/// Two bits of chance choose one.
const WORKERS: u32 = 4;
const ENDPOINTS: usize = 5;
const IN_A_ROW: u32 = 5;

/// What one worker knows.
struct Worker {
    picker: Picker,
    outliers: [Outlier; ENDPOINTS],
    budget: RetryBudget,
}

/// Four workers before five endpoints, one of which is dead for a while.
struct Outage {
    workers: Vec<Worker>,
    board: Board,
    ejections: u32,
    /// Attempts at each endpoint since last asked, and how many of them failed.
    attempts: [u32; ENDPOINTS],
    failures: u32,
}

impl Outage {
    fn new(policy: Policy) -> Self {
        let group = Group::of_weights(policy, &[1; ENDPOINTS]);
        let worker = |index: u32| Worker {
            picker: Picker::new(&group, mix(index.into())),
            outliers: Default::default(),
            budget: RetryBudget::default(),
        };
        let rules = BoardRules { checks: None, ejection: ejection(50) };
        Self {
            workers: (0..WORKERS).map(worker).collect(),
            board: Board::new(rules, &members(&[1; ENDPOINTS]), None),
            ejections: 0,
            attempts: [0; ENDPOINTS],
            failures: 0,
        }
    }

    /// All workers know what the board says.
    fn publish(&mut self) {
        let board = &self.board;
        let share = |endpoint| match board.state(endpoint) {
            Some(State::Available) => Share::FULL,
            _ => Share::NONE,
        };
        for worker in &mut self.workers {
            worker.picker.admit(share);
        }
    }

    /// One request at a worker, which the attempts fail whose endpoint is dead; each is sent again within the budget.
    fn request(&mut self, worker: usize, dead: Option<usize>, now_ms: u64) {
        let rules = OutlierRules { consecutive_failures: Some(IN_A_ROW), failure_share: None };
        let budget = BudgetRules::default().of_each(WORKERS);
        if self.board.advance(now_ms).is_some() {
            self.publish();
        }
        let random = mix(now_ms ^ mix(worker as u64));
        self.workers[worker].budget.request(&budget, now_ms);
        let mut tried = Vec::new();
        loop {
            let it = &mut self.workers[worker];
            let ask = Ask { excluded: &tried, random, key: Some(random) };
            let endpoint = it.picker.pick(&ask, &()).expect("there is another one");
            self.attempts[endpoint] += 1;
            let failed = dead == Some(endpoint);
            let outcome = if failed { Outcome::Failure } else { Outcome::Success };
            let trip = it.outliers[endpoint].record(&rules, outcome, now_ms);
            let again = failed && it.budget.try_retry(&budget, now_ms);
            if let Some(trip) = trip {
                let reported = self.board.report(endpoint, trip, true, now_ms);
                assert!(matches!(reported, Reported::Ejected(_)), "{reported:?}");
                self.ejections += 1;
                self.publish();
            }
            if !failed {
                return;
            }
            assert!(again, "a budget of a fifth is enough at {now_ms} ms");
            self.failures += 1;
            tried.push(endpoint);
        }
    }
}

#[test]
fn a_dead_endpoint_costs_few_retries_no_request_and_nobody_else() {
    for policy in Policy::ALL {
        let mut outage = Outage::new(policy);
        // 250 requests a second for ten minutes; endpoint 3 is dead in the second to the fourth.
        let (dies_ms, lives_ms, end_ms) = (60 * SECOND_MS, 240 * SECOND_MS, 600 * SECOND_MS);
        for now_ms in (1..end_ms).filter(|it| it % 4 == 0) {
            let is_dead = (dies_ms..lives_ms).contains(&now_ms);
            let worker = (mix(now_ms) >> 62) as usize;
            outage.request(worker, is_dead.then_some(3), now_ms);
            if now_ms == lives_ms {
                // For 10, 20, 30, 35, 35, 35 and 35 s, the last of them beyond the end.
                assert_eq!(outage.ejections, 7, "{policy:?}");
                let most = outage.ejections * (WORKERS * (IN_A_ROW - 1) + 1);
                assert!(outage.failures <= most, "{policy:?}: {} failures", outage.failures);
            }
            if now_ms == lives_ms + TIME_MAX_MS {
                outage.attempts = [0; ENDPOINTS];
            }
        }
        assert_eq!(outage.ejections, 7, "{policy:?}: it works again");
        let all: u32 = outage.attempts.iter().sum();
        for (endpoint, &of_it) in outage.attempts.iter().enumerate() {
            let percent = 100 * of_it / all;
            assert!((18..=22).contains(&percent), "{policy:?}: {endpoint} has {percent} % in the end");
        }
    }
}
