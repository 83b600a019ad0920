//! What docs/balancing.md says about policies on many cores, in a shorter run of the same model.

#[path = "../benches/cores/model.rs"]
mod model;

use corelane_balancer::Policy;
use model::{Outcome, Setting};

/// Sixteen cores, ten endpoints of which two are slower.
fn run(policy: Policy, change: impl Fn(&mut Setting)) -> Outcome {
    let mut setting = Setting {
        policy,
        workers: 16,
        service_us: [vec![5_000.0; 8], vec![12_000.0; 2]].concat(),
        weights: vec![1; 10],
        load: 0.45,
        slowdown: 1.0,
        duration_us: 3_000_000,
        seed: 3,
    };
    change(&mut setting);
    setting.run()
}

#[test]
fn policies_that_look_keep_slow_endpoints_from_setting_the_tail() {
    let in_turn = run(Policy::RoundRobin, |_| {});
    for policy in [Policy::LeastConnections, Policy::P2c, Policy::Ewma] {
        let outcome = run(policy, |_| {});
        assert!(outcome.p99_ms < in_turn.p99_ms / 1.3, "{policy:?}: {outcome:?}, in turn {in_turn:?}");
        assert!(outcome.p50_ms < in_turn.p50_ms, "{policy:?}: {outcome:?}, in turn {in_turn:?}");
        assert!(outcome.imbalance < in_turn.imbalance, "{policy:?}: {outcome:?}, in turn {in_turn:?}");
    }
}

#[test]
fn the_right_weights_do_it_too() {
    let even = run(Policy::Weighted, |_| {});
    let weighted = run(Policy::Weighted, |it| it.weights = [vec![12; 8], vec![5; 2]].concat());
    assert!(weighted.p99_ms < even.p99_ms / 1.2, "{weighted:?}, {even:?}");
}

#[test]
fn an_endpoint_that_becomes_slow_is_avoided_by_those_that_look_only() {
    let slows_down = |it: &mut Setting| (it.service_us, it.slowdown) = (vec![5_000.0; 10], 20.0);
    for policy in [Policy::LeastConnections, Policy::P2c, Policy::Ewma] {
        let outcome = run(policy, slows_down);
        assert!(outcome.p99_ms < 25.0, "{policy:?}: {outcome:?}");
    }
    for policy in [Policy::RoundRobin, Policy::Random, Policy::Hash] {
        let outcome = run(policy, slows_down);
        assert!(outcome.p99_ms > 100.0, "{policy:?}: {outcome:?}");
    }
}

#[test]
fn many_cores_choose_nearly_as_well_as_one() {
    for policy in [Policy::LeastConnections, Policy::P2c, Policy::Ewma] {
        let [one, many] = [1, 16].map(|workers| run(policy, |it| (it.workers, it.load) = (workers, 0.7)));
        assert!(many.p99_ms < one.p99_ms * 1.15, "{policy:?}: {many:?}, on one core {one:?}");
    }
}

#[test]
fn least_bandwidth_evens_out_bytes() {
    // Few of the answers are large, so that one run says little.
    let excess = |policy| {
        let of = |seed| {
            run(policy, |it| (it.service_us, it.seed) = (vec![5_000.0; 10], seed)).bytes_imbalance - 1.0
        };
        (1..=6).map(of).sum::<f64>()
    };
    let (rates, chance) = (excess(Policy::LeastBandwidth), excess(Policy::Random));
    assert!(rates < chance * 0.8, "{rates}, by chance {chance}");
}
