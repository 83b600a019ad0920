//! How often each endpoint is chosen over a hundred thousand choices, for each policy: within what chance allows.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use corelane_balancer::{Ask, Group, GroupRules, Member, Picker, Policy, Share, SlowStart, View, mix};

const PICKS: u32 = 100_000;

/// What is in progress where.
struct Load(RefCell<Vec<u64>>);

impl View for Load {
    fn outstanding(&self, endpoint: usize) -> u64 {
        self.0.borrow()[endpoint]
    }

    fn latency_us(&self, _endpoint: usize) -> u64 {
        5_000
    }

    fn bytes_per_second(&self, endpoint: usize) -> u64 {
        self.outstanding(endpoint) * 1_000
    }

    fn request_bytes_per_second(&self) -> u64 {
        1_000
    }
}

/// The picks of so many requests that each stay until `in_progress` others have come.
fn picks(picker: &mut Picker, picks: u32, in_progress: usize, seed: u64) -> Vec<usize> {
    let load = Load(vec![0; 100].into());
    let mut staying = VecDeque::new();
    let mut pick = |number: u64| {
        let chance = mix(number ^ mix(seed));
        let ask = Ask { key: Some(mix(chance ^ 1)), random: chance, ..Ask::default() };
        let endpoint = picker.pick(&ask, &load).expect("one is available");
        load.0.borrow_mut()[endpoint] += 1;
        staying.push_back(endpoint);
        if staying.len() > in_progress {
            let done = staying.pop_front().expect("it is not empty");
            load.0.borrow_mut()[done] -= 1;
        }
        endpoint
    };
    (0..u64::from(picks)).map(&mut pick).collect()
}

fn count(picks: &[usize], endpoint: usize) -> f64 {
    picks.iter().filter(|&&pick| pick == endpoint).count() as f64
}

/// Members whose names have nothing to do with their places.
fn group(policy: Policy, weights: &[u32], seed: u64) -> Group {
    let member = |(index, &weight): (u64, &u32)| Member { name: mix(index ^ mix(seed)), weight, priority: 0 };
    let members: Vec<_> = (0..).zip(weights).map(member).collect();
    Group::new(GroupRules { policy, ..GroupRules::default() }, &members)
}

/// How far from its share a count may be: for chance five standard deviations.
fn tolerance(policy: Policy, due: f64, is_even: bool) -> f64 {
    let by_chance = 5.0 * (due * (1.0 - due / f64::from(PICKS))).sqrt();
    match policy {
        // They go in turn: the last cycle is not complete.
        Policy::RoundRobin | Policy::Weighted => 2.0,
        // What is in progress follows the weights, so over time do the choices.
        Policy::LeastConnections => 2.0 + due / 100.0,
        Policy::Random => by_chance,
        Policy::P2c | Policy::Ewma | Policy::LeastBandwidth if is_even => by_chance,
        // Of two that are drawn by weight the heavier is less loaded more often: docs/balancing.md says so.
        Policy::P2c | Policy::Ewma | Policy::LeastBandwidth => by_chance + due / 2.0,
        // The table has whole slots, at most one too many or too few.
        Policy::Hash => by_chance + f64::from(PICKS) / 65_537.0,
    }
}

#[test]
fn shares_follow_the_weights() {
    for policy in Policy::ALL {
        for weights in [&[1; 20][..], &[1, 1], &[1, 2, 3, 4, 0, 10], &[100, 1, 1]] {
            for (seed, in_progress) in [(1, 0), (2, 1), (3, 200)] {
                let mut picker = Picker::new(&group(policy, weights, seed), seed);
                let picks = picks(&mut picker, PICKS, in_progress, seed);
                let is_ignored = policy == Policy::RoundRobin;
                let weight = |&weight: &u32| f64::from(if is_ignored { weight.min(1) } else { weight });
                let all: f64 = weights.iter().map(weight).sum();
                let is_even = weights.iter().all(|it| it == &weights[0]);
                for (endpoint, of_it) in weights.iter().enumerate() {
                    let (got, due) = (count(&picks, endpoint), f64::from(PICKS) * weight(of_it) / all);
                    let is_near = (got - due).abs() <= tolerance(policy, due, is_even);
                    assert!(is_near, "{policy:?} {weights:?}, {in_progress} in progress: {got}, due {due}");
                }
            }
        }
    }
}

#[test]
fn nobody_starves() {
    for policy in Policy::ALL {
        for (seed, weights) in [(4, [1; 10]), (5, [1, 1, 1, 2, 2, 3, 3, 4, 4, 9])] {
            let mut picker = Picker::new(&group(policy, &weights, seed), seed);
            let picks = picks(&mut picker, PICKS, 30, seed);
            // The lightest is due once in `all` picks; by chance it waits for 20 times as long once in 5 * 10^8.
            let all: u32 = weights.iter().sum();
            let longest = match policy {
                Policy::RoundRobin | Policy::Weighted => all as usize,
                Policy::LeastConnections => 2 * all as usize,
                // It loses against half of those that it is drawn with.
                Policy::P2c | Policy::Ewma | Policy::LeastBandwidth => 40 * all as usize,
                Policy::Random | Policy::Hash => 20 * all as usize,
            };
            for endpoint in 0..weights.len() {
                let longest_wait = picks.split(|&pick| pick == endpoint).map(<[usize]>::len).max();
                assert!(
                    longest_wait <= Some(longest),
                    "{policy:?} {weights:?}: {longest_wait:?} for {endpoint}"
                );
            }
        }
    }
}

#[test]
fn who_comes_back_ramps_up() {
    let slow_start = SlowStart { time: Duration::from_secs(10), first: Share::new(26) };
    for policy in Policy::ALL {
        let endpoints = 5;
        let mut picker = Picker::new(&group(policy, &[1; 5], 6), 0);
        let mut before = 0.0;
        for second in 0..=10 {
            let share = slow_start.share(Duration::from_secs(second));
            let admission = picker.admit(|endpoint| if endpoint == 2 { share } else { Share::FULL });
            assert_eq!(admission.is_ramping, second < 10);
            let per_second = PICKS / 10;
            let got = count(&picks(&mut picker, per_second, 0, second), 2) / f64::from(per_second);
            let share = f64::from(share.parts()) / 256.0;
            let due = match policy {
                // Of its own keys; the rest of them is with the others.
                Policy::Hash => share / f64::from(endpoints),
                _ => share / (f64::from(endpoints) - 1.0 + share),
            };
            // Five standard deviations are 0.02.
            assert!((got - due).abs() < 0.02, "{policy:?} after {second} s: {got}, due {due}");
            assert!(got > before - 0.02, "{policy:?} after {second} s: {got}, {before} before");
            before = got;
        }
    }
}
